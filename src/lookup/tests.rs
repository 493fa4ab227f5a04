//! What a lookup promises, over a scripted renderer and in simulated time.

use std::{num::NonZeroU32, sync::Mutex};

use tokio::time::{advance, sleep};

use super::*;
use crate::{
    admission::{self, FetchLimits, FleetMode, Link, Reserved},
    refresh,
    render::{
        Message, Pushback, PushbackScope, RenderError, RenderReason,
        fake::{Behaviour, FakeRenderer},
    },
    trace::TraceSpan,
};

mod absences;
mod confirmations;
mod decisions;
mod demands;
mod faults;
mod landings;
mod notices;
mod recalled;
mod renderers;
mod storms;
mod told;
mod traces;
mod watches;

/// A whole core over a fake renderer.
pub(super) struct LookupCore {
    pub(super) lookup: Lookup,
    pub(super) refresh: Refresh,
    pub(super) renderer: FakeRenderer,
    pub(super) cache: Arc<Cache>,
    pub(super) clock: Clock,
    pub(super) seen: SeenFlights,
}

/// What was told of flights whose trace is sampled.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenFlights(Arc<Mutex<Vec<SeenFlight>>>);

/// The span of a flight, what it asked for, what it came to, and how long it took.
type SeenFlight = (TraceSpan, refresh::Called, refresh::RenderResult, Duration);

impl refresh::Observe for SeenFlights {
    fn rendered(&self, _: Class, _: refresh::RenderResult, _: Duration) {}
    fn fetched(&self, _: refresh::RenderResult, _: Duration) {}
    fn refused(&self, _: Class, _: admission::Gate) {}

    fn flown(&self, flown: &refresh::Flown<'_>) {
        let seen = (flown.span, flown.call, flown.result, flown.duration);
        self.0.lock().unwrap().push(seen);
    }
}

pub(super) fn limits() -> admission::Limits {
    admission::Limits {
        rate: 100.0,
        burst: count(100),
        concurrency: count(4),
        queue: count(512),
        fetch: FetchLimits {
            rate: 1_000.0,
            concurrency: count(16),
        },
    }
}

pub(super) fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

pub(super) fn project(name: &str) -> Project {
    Project::new(name).unwrap()
}

pub(super) fn projects(n: usize) -> Vec<Project> {
    (0..n).map(|i| project(&format!("demo/{i}"))).collect()
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn unavailable() -> RenderError {
    RenderError::Unavailable(Message::new("403 Forbidden"))
}

/// RESOURCE_EXHAUSTED with a pushback of this many seconds.
pub(super) fn exhausted(seconds: u64, scope: PushbackScope) -> RenderError {
    RenderError::Exhausted {
        pushback: Pushback {
            after: Some(secs(seconds)),
            scope,
        },
        message: Message::new("too many renders"),
    }
}

impl LookupCore {
    /// A core whose connection is up and whose first token is there.
    pub(super) async fn new() -> Self {
        Self::with(limits(), 64 << 20).await
    }

    /// As [`LookupCore::new`], at a given rate, in renders per second, and burst.
    pub(super) async fn paced(rate: f64, burst: u32) -> Self {
        let paced = admission::Limits {
            rate,
            burst: count(burst),
            ..limits()
        };
        Self::with(paced, 64 << 20).await
    }

    pub(super) async fn with(limits: admission::Limits, max_bytes: usize) -> Self {
        let core = Self::unconnected(limits, max_bytes);
        core.refresh.set_link(Link::Up);
        if limits.rate > 0.0 {
            advance(Duration::from_secs_f64(1.0 / limits.rate)).await;
        }
        core
    }

    pub(super) fn unconnected(limits: admission::Limits, max_bytes: usize) -> Self {
        let clock = Clock::start();
        let renderer = FakeRenderer::new();
        let seen = SeenFlights::default();
        let cache = Arc::new(Cache::new(max_bytes));
        let freshness = Arc::new(Freshness::new(1, None, clock.now()));
        let options = refresh::RefreshOptions {
            deadline: secs(30),
            fetch_deadline: secs(1),
            max_payload: 16 << 20,
            seed: 7,
        };
        let parts = refresh::Parts {
            cache: Arc::clone(&cache),
            freshness: Arc::clone(&freshness),
            render: Arc::new(renderer.clone()),
            stored: Arc::new(renderer.clone()),
            observe: Arc::new(seen.clone()),
            fleet: None,
        };
        let refresh = Refresh::new(clock, options, limits, parts);
        let lookup_limits = WaitLimits {
            patience: millis(50),
            cold_patience: secs(2),
            max_patience: secs(30),
            max_waiting: 4096,
        };
        let lookup = Lookup::new(
            clock,
            Arc::clone(&cache),
            freshness,
            refresh.clone(),
            lookup_limits,
        );
        Self {
            lookup,
            refresh,
            renderer,
            cache,
            clock,
            seen,
        }
    }

    pub(super) async fn get(&self, project: &Project) -> Result<Answer, Failure> {
        self.lookup.get(query(project)).await
    }

    pub(super) async fn get_within(
        &self,
        project: &Project,
        patience: Duration,
    ) -> Result<Answer, Failure> {
        let patience = Some(patience);
        self.lookup
            .get(Query {
                patience,
                ..query(project)
            })
            .await
    }

    /// Looks projects up until all are held fresh.
    pub(super) async fn holds(&self, projects: &[Project]) {
        for project in projects {
            while !self
                .get(project)
                .await
                .is_ok_and(|answer| answer.served != Served::Rendered)
            {
                sleep(millis(20)).await;
            }
        }
    }

    /// The rollout that is held of a project.
    pub(super) fn held_rollout(&self, project: &Project) -> Option<u64> {
        self.cache
            .get(project.as_str())
            .map(|held| held.revision.order.rollout)
    }

    /// Waits until every project is held of a rollout, and tells how long that took.
    pub(super) async fn converges(&self, projects: &[Project], rollout: u64) -> Duration {
        let start = Instant::now();
        while !projects
            .iter()
            .all(|project| self.held_rollout(project) == Some(rollout))
        {
            sleep(millis(10)).await;
            assert!(start.elapsed() < secs(3_600), "never converges");
        }
        start.elapsed()
    }

    pub(super) fn renders(&self) -> usize {
        self.renderer.renders().len()
    }
}

pub(super) fn query(project: &Project) -> Query {
    Query {
        project: project.clone(),
        patience: None,
        deadline: None,
        min_revision: None,
        max_outdated: None,
        trace: None,
    }
}

/// The reason of an outdated answer.
pub(super) fn reason(answer: &Result<Answer, Failure>) -> NotRefreshed {
    match answer {
        Ok(Answer {
            served: Served::Outdated(outdated),
            ..
        }) => outdated.refusal.reason,
        other => panic!("not an outdated answer: {other:?}"),
    }
}

/// The reason of a failure.
pub(super) fn failure(answer: &Result<Answer, Failure>) -> NotRefreshed {
    match answer {
        Err(Failure::NotRefreshed { refusal, .. }) => refusal.reason,
        other => panic!("not a failure with a reason: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_project_is_rendered_while_the_caller_waits_and_then_held_fresh() {
    let core = LookupCore::new().await;
    core.renderer.costs(millis(300));
    let shop = project("demo/shop");
    assert_eq!(core.get(&shop).await.unwrap().served, Served::Rendered);
    assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
    assert_eq!(core.renderer.renders()[0].reason, RenderReason::Missing);
    assert_eq!(core.renderer.fetches(), [shop]);
}

#[tokio::test(start_paused = true)]
async fn an_outdated_project_is_answered_within_patience_and_becomes_fresh_behind_it() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.costs(millis(300));
    core.refresh.set_target(2);
    let start = Instant::now();
    let answer = core.get(&shop).await;
    assert_eq!(reason(&answer), NotRefreshed::TimedOut);
    assert!(start.elapsed() <= millis(50));
    assert_eq!(answer.unwrap().revision.order.rollout, 1);
    sleep(millis(300)).await;
    assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_patience_is_told_that_the_refresh_it_caused_is_scheduled() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.costs(millis(300));
    core.refresh.set_target(2);
    assert_eq!(
        reason(&core.get_within(&shop, Duration::ZERO).await),
        NotRefreshed::Scheduled
    );
    assert_eq!(
        reason(&core.get_within(&shop, Duration::ZERO).await),
        NotRefreshed::TimedOut
    );
}

/// consul#23806, statsig forward proxy: the first caller leaves during the fetch, the upstream
/// fails, all are wedged.
#[tokio::test(start_paused = true)]
async fn a_first_caller_that_leaves_before_a_failure_blocks_no_other() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer.costs(millis(500));
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    let _ = tokio::time::timeout(millis(100), core.get(&shop)).await;
    sleep(secs(1)).await;
    core.renderer.behaves(Behaviour::Answers);
    sleep(secs(2)).await;
    assert!(core.get(&shop).await.is_ok());
}

/// consul#23806: traffic extended the life of an entry that should have been refreshed.
#[tokio::test(start_paused = true)]
async fn traffic_never_hides_that_a_project_is_outdated() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    core.refresh.set_target(2);
    let mut last = Duration::ZERO;
    for _ in 0..1_000 {
        sleep(millis(10)).await;
        let Served::Outdated(outdated) = core.get(&shop).await.unwrap().served else {
            panic!("served an outdated revision as fresh");
        };
        assert!(outdated.outdated_for > last);
        last = outdated.outdated_for;
    }
    assert!(last >= secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_lone_caller_that_hangs_up_still_leaves_its_result_in_the_cache() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer.costs(secs(1));
    let _ = tokio::time::timeout(millis(100), core.get(&shop)).await;
    sleep(secs(2)).await;
    assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
    assert_eq!(core.renders(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_on_one_missing_project_costs_one_render_though_most_hang_up() {
    let core = LookupCore::new().await;
    core.renderer.costs(millis(800));
    let shop = project("demo/shop");
    let callers = (0..200).map(|caller| {
        let (core, shop) = (&core, &shop);
        async move {
            let patience = if caller < 150 { millis(100) } else { secs(10) };
            tokio::time::timeout(patience, core.get(shop)).await
        }
    });
    let answers = join_all(callers).await;
    assert_eq!(
        answers
            .iter()
            .filter(|answer| matches!(answer, Ok(Ok(_))))
            .count(),
        50
    );
    assert_eq!(core.renders(), 1);
}

/// pingora's RTCache and the Varnish guide: followers of a failed flight start one of their own
/// each, or get the leader's error.
#[tokio::test(start_paused = true)]
async fn lookups_that_wait_for_a_failed_flight_are_answered_outdated_and_start_no_new_one() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.refresh.set_target(2);
    core.renderer.costs(millis(20));
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    let before = core.renders();
    let answers = join_all((0..64).map(|_| core.get(&shop))).await;
    assert!(
        answers
            .iter()
            .all(|answer| reason(answer) == NotRefreshed::RenderFailed)
    );
    assert_eq!(core.renders(), before + 1);
    assert_eq!(reason(&core.get(&shop).await), NotRefreshed::CoolingDown);
}

/// statsig forward proxy: a body that contains "403" became PERMISSION_DENIED.
#[tokio::test(start_paused = true)]
async fn a_cold_miss_with_a_failing_upstream_is_a_failed_render_whatever_the_upstream_says() {
    let core = LookupCore::new().await;
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    assert_eq!(
        failure(&core.get(&project("demo/shop")).await),
        NotRefreshed::RenderFailed
    );
}

/// nginx's cache_lock_timeout releases all waiters onto the origin.
#[tokio::test(start_paused = true)]
async fn waiters_whose_patience_runs_out_together_do_not_stampede_the_renderer() {
    let core = LookupCore::new().await;
    core.renderer.behaves(Behaviour::Stalls);
    let shop = project("demo/shop");
    let answers = join_all((0..64).map(|_| core.get(&shop))).await;
    assert!(
        answers
            .iter()
            .all(|answer| failure(answer) == NotRefreshed::TimedOut)
    );
    let again = join_all((0..64).map(|_| core.get(&shop))).await;
    assert!(again.iter().all(Result::is_err));
    assert_eq!(core.renders(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_render_is_a_failed_one_and_gives_its_permit_back() {
    let core = LookupCore::new().await;
    core.renderer.behaves(Behaviour::Panics);
    assert_eq!(
        failure(&core.get(&project("demo/shop")).await),
        NotRefreshed::RenderFailed
    );
    assert_eq!(core.refresh.snapshot().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_above_max_waiting_does_not_wait() {
    let core = LookupCore::new().await;
    core.lookup.set_limits(WaitLimits {
        max_waiting: 1,
        ..**core.lookup.limits.load()
    });
    core.renderer.costs(secs(1));
    let (shop, mail) = (project("demo/shop"), project("demo/mail"));
    let (first, second) = tokio::join!(core.get(&shop), core.get(&mail));
    assert!(first.is_ok());
    assert_eq!(failure(&second), NotRefreshed::QueueFull);

    core.get(&mail).await.unwrap();
    core.refresh.set_target(2);
    let both = async || {
        tokio::join!(
            core.get_within(&shop, secs(5)),
            core.get_within(&mail, secs(5))
        )
    };
    let (first, second) = both().await;
    assert_eq!(first.unwrap().served, Served::Rendered);
    assert_eq!(reason(&second), NotRefreshed::QueueFull);

    core.get(&mail).await.unwrap();
    sleep(secs(11)).await;
    core.refresh.set_target(3);
    core.refresh.set_limits(admission::Limits {
        rate: 0.0,
        ..limits()
    });
    let (_, second) = both().await;
    assert_eq!(reason(&second), NotRefreshed::Throttled, "a gate refused");
}

#[tokio::test(start_paused = true)]
async fn a_lone_caller_that_runs_out_of_patience_leaves_nothing_behind() {
    let core = LookupCore::new().await;
    core.renderer.costs(secs(5));
    for project in projects(4) {
        let answer = core.get_within(&project, secs(1)).await;
        assert_eq!(failure(&answer), NotRefreshed::TimedOut);
    }
    assert_eq!(core.refresh.waited_for(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_asks_for_at_most_a_quarter_of_the_queue() {
    let core = LookupCore::with(
        admission::Limits {
            queue: count(40),
            ..limits()
        },
        64 << 20,
    )
    .await;
    let results = core
        .lookup
        .get_many(&projects(30), Some(secs(5)), None, None)
        .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10);
    assert!(
        results
            .iter()
            .skip(10)
            .all(|result| failure(result) == NotRefreshed::QueueFull)
    );
}

/// tonic drops the handler when its own deadline passes, and answers CANCELLED.
#[tokio::test(start_paused = true)]
async fn a_caller_whose_deadline_is_shorter_than_its_patience_gets_the_outdated_answer_in_time() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.refresh.set_target(2);
    core.renderer.behaves(Behaviour::Stalls);
    for _ in 0..40 {
        let start = Instant::now();
        let answer = core
            .lookup
            .get(Query {
                patience: Some(millis(500)),
                deadline: Some(start + millis(60)),
                ..query(&shop)
            })
            .await;
        assert_eq!(reason(&answer), NotRefreshed::TimedOut);
        assert!(start.elapsed() <= millis(50));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_already_past_is_answered_from_memory_and_still_counts_as_interest() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.refresh.set_target(2);
    let past = Some(Instant::now());
    sleep(millis(1)).await;
    let answer = core
        .lookup
        .get(Query {
            deadline: past,
            ..query(&shop)
        })
        .await;
    assert_eq!(reason(&answer), NotRefreshed::Scheduled);
    core.converges(&[shop], 2).await;
}
