//! What operators are answered, over a scripted renderer and in simulated time.

use tokio::time::{Instant, advance};

use super::*;
use crate::{
    admission::{FetchLimits, Gate, Limits, Link},
    lookup::{Lookup, Query, WaitLimits},
    reason::NotRefreshed,
    refresh,
    render::{
        Message, RenderError,
        fake::{Behaviour, FakeRenderer},
    },
    revision::{Order, Revision},
};

struct OperateCore {
    operate: Operate,
    lookup: Lookup,
    refresh: Refresh,
    renderer: FakeRenderer,
    cache: Arc<Cache>,
    clock: Clock,
}

fn project(name: &str) -> Project {
    Project::new(name).unwrap()
}

fn count(n: u32) -> std::num::NonZeroU32 {
    std::num::NonZeroU32::new(n).unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn limits(rate: f64) -> Limits {
    Limits {
        rate,
        burst: count(100),
        concurrency: count(4),
        queue: count(512),
        fetch: FetchLimits {
            rate: 0.0,
            concurrency: count(16),
        },
    }
}

impl OperateCore {
    async fn new() -> Self {
        let core = Self::started(Clock::start());
        advance(secs(1)).await;
        core
    }

    fn started(clock: Clock) -> Self {
        let renderer = FakeRenderer::new();
        let cache = Arc::new(Cache::new(64 << 20));
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
            observe: Arc::new(()),
            fleet: None,
        };
        let refresh = Refresh::new(clock, options, limits(100.0), parts);
        let waits = WaitLimits {
            patience: Duration::from_millis(50),
            cold_patience: secs(2),
            max_patience: secs(30),
            max_waiting: 4096,
        };
        let lookup = Lookup::new(
            clock,
            Arc::clone(&cache),
            Arc::clone(&freshness),
            refresh.clone(),
            waits,
        );
        refresh.set_link(Link::Up);
        Self {
            operate: Operate::new(clock, Arc::clone(&cache), freshness, refresh.clone()),
            lookup,
            refresh,
            renderer,
            cache,
            clock,
        }
    }

    /// Holds a project of rollout 1.
    fn holds(&self, name: &str) {
        let order = Order::new(1, 7);
        let revision = Revision::new(project(name), order, None, "".into(), b"{\"a\": 1}");
        self.cache.store(revision, self.clock.now());
    }

    async fn looks_up(&self, name: &str) {
        let _answer = self
            .lookup
            .get(Query {
                project: project(name),
                patience: None,
                deadline: None,
                min_revision: None,
                max_outdated: None,
                trace: None,
            })
            .await;
    }

    async fn names(&self, filter: ProjectFilter, limit: usize) -> (Vec<String>, usize) {
        let Listing { projects, total } = self.operate.list(filter, limit).await;
        let names = projects.iter().map(|it| it.project.to_string());
        (names.collect(), total)
    }

    fn fails(&self, name: &str, said: &str) {
        self.renderer.behaves_for(
            &project(name),
            Behaviour::Fails(RenderError::Failed {
                code: "INTERNAL",
                message: Message::new(said),
            }),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_outdated_come_first_then_by_name_and_the_total_counts_the_rest() {
    let core = OperateCore::new().await;
    core.refresh.set_limits(limits(0.0));
    core.holds("b/first");
    core.holds("a/first");
    core.refresh.set_target(2);
    advance(secs(5)).await;
    let later = Revision::new(project("0/later"), Order::new(2, 7), None, "".into(), b"{}");
    core.cache.store(later, core.clock.now());
    let fresh = Revision::new(project("0/fresh"), Order::new(3, 7), None, "".into(), b"{}");
    core.cache.store(fresh, core.clock.now());
    core.refresh.set_target(3);
    advance(secs(5)).await;
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        core.names(ProjectFilter::Outdated, 50).await,
        (names(&["a/first", "b/first", "0/later"]), 3)
    );
    assert_eq!(
        core.names(ProjectFilter::Outdated, 1).await,
        (names(&["a/first"]), 3)
    );
    assert_eq!(
        core.names(ProjectFilter::All, 50).await,
        (names(&["a/first", "b/first", "0/later", "0/fresh"]), 4)
    );
    assert_eq!(core.names(ProjectFilter::Failing, 50).await, (vec![], 0));
    let listing = core.operate.list(ProjectFilter::All, 50).await;
    let ages: Vec<_> = listing.projects.iter().map(|it| it.outdated_for).collect();
    assert!(
        ages[0] >= Some(secs(10)) && ages[2] < Some(secs(6)),
        "{ages:?}"
    );
    assert_eq!(ages[3], None, "fresh");
}

#[tokio::test(start_paused = true)]
async fn missing_are_those_that_are_wanted_or_unknown_to_the_renderer() {
    let core = OperateCore::new().await;
    core.renderer
        .behaves_for(&project("typo"), Behaviour::Fails(RenderError::NotFound));
    core.looks_up("typo").await;
    core.holds("held");
    core.refresh.set_limits(limits(0.0));
    core.looks_up("wanted").await;
    let Listing { projects, total } = core.operate.list(ProjectFilter::Missing, 50).await;
    assert_eq!(total, 2);
    let [wanted, typo] = &projects[..] else {
        panic!("{projects:?}")
    };
    assert_eq!(wanted.project, project("wanted"));
    assert!(wanted.refusal.is_some() && wanted.outdated_for.is_some());
    assert_eq!(typo.project, project("typo"));
    assert!(typo.refusal.is_none() && typo.absent_for.is_some());
    assert_eq!(core.names(ProjectFilter::All, 50).await.1, 3);

    let explained = core.operate.explain(&project("typo")).expect("is known");
    assert!(explained.gates.is_empty() && explained.state.held.is_none());
    assert!(core.operate.explain(&project("never")).is_none());
}

/// What a renderer says reaches a terminal: it stays one line of printable characters, and short.
#[tokio::test(start_paused = true)]
async fn the_last_failure_is_kept_escaped_and_short_for_as_long_as_a_project_fails() {
    let core = OperateCore::new().await;
    core.holds("poison");
    core.holds("well");
    let said = format!("line 1\nline 2\x1b[31m{}", "ü".repeat(150));
    core.fails("poison", &said);
    core.refresh.set_target(2);
    core.looks_up("poison").await;
    core.looks_up("well").await;
    let Listing { projects, total } = core.operate.list(ProjectFilter::Failing, 50).await;
    assert_eq!((projects.len(), total), (1, 1));
    let poison = &projects[0];
    assert_eq!(poison.failures, 1);
    assert_eq!(
        poison.refusal.map(|it| it.reason),
        Some(NotRefreshed::CoolingDown)
    );
    let failure = poison.last_failure.as_deref().expect("is kept");
    let begin = r"the render failed with INTERNAL: line 1\nline 2\u{1b}[31mü";
    assert!(failure.starts_with(begin), "{failure}");
    assert!(failure.len() <= 200 && failure.ends_with('…'), "{failure}");

    core.renderer
        .behaves_for(&project("poison"), Behaviour::Answers);
    advance(secs(600)).await;
    core.looks_up("poison").await;
    sleep(secs(1)).await;
    assert_eq!(core.names(ProjectFilter::Failing, 50).await, (vec![], 0));
    let poison = core.operate.explain(&project("poison")).unwrap().state;
    assert_eq!((poison.last_failure, poison.failures), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn explain_answers_by_every_gate_in_admissions_order_with_numbers() {
    let core = OperateCore::new().await;
    core.refresh.set_limits(limits(0.0));
    for name in ["a", "b", "c"] {
        core.holds(name);
    }
    core.refresh.set_target(2);
    for name in ["a", "b", "c"] {
        core.looks_up(name).await;
    }
    let Explained { state, gates } = core.operate.explain(&project("b")).unwrap();
    assert_eq!(
        state.refusal.map(|it| it.reason),
        Some(NotRefreshed::Throttled)
    );
    let turn = state.turn.expect("it waits in turn");
    assert!((1..=3).contains(&turn.place) && turn.of == 3, "{turn:?}");
    let names: Vec<_> = gates.iter().map(|answer| answer.gate).collect();
    assert_eq!(names, Gate::ALL.map(Gate::as_str));
    let shut: Vec<_> = gates.iter().filter(|it| it.opens_in.is_some()).collect();
    assert_eq!(shut.len(), 1, "{gates:?}");
    assert_eq!(shut[0].gate, "tokens");
    assert_eq!(shut[0].says, "0.00 tokens, at 0.00/s");
    let says = |gate: Gate| &gates[gate as usize].says;
    assert_eq!(says(Gate::Concurrency), "0 of 3 renders in flight");
    assert_eq!(says(Gate::Queue), "0 of 512 missing projects wait");

    core.refresh.set_limits(limits(100.0));
    core.renderer.behaves(Behaviour::Stalls);
    core.looks_up("b").await;
    let Explained { state, gates } = core.operate.explain(&project("b")).unwrap();
    assert!(state.is_in_flight && gates.is_empty(), "{gates:?}");
}

/// Guards against a walk that keeps lookups from admission's lock: its steps have to leave it alone
/// in between.
#[tokio::test(start_paused = true)]
async fn a_list_leaves_the_lock_alone_for_a_millisecond_between_its_steps() {
    const STEPS: usize = 8;
    let core = OperateCore::new().await;
    core.refresh.set_limits(limits(0.0));
    for number in 0..STEPS * STEP {
        let name = format!("demo/{number}");
        core.holds(&name);
    }
    core.refresh.set_target(2);
    for number in 0..STEPS * STEP {
        let asked = refresh::Asked::default();
        core.refresh
            .want(&project(&format!("demo/{number}")), asked);
    }
    let start = Instant::now();
    let listing = core.operate.list(ProjectFilter::Failing, 50).await;
    assert_eq!(listing.total, 0);
    let took = start.elapsed();
    assert!(took >= PAUSE * (STEPS as u32 - 1), "{took:?}");

    let listing = core.operate.list(ProjectFilter::Outdated, 500).await;
    assert_eq!((listing.projects.len(), listing.total), (500, STEPS * STEP));
}

/// An operator's script in a loop must not become a load.
#[tokio::test(start_paused = true)]
async fn at_most_two_lists_are_made_at_once() {
    let core = OperateCore::new().await;
    let busy: Vec<_> = (0..AT_ONCE)
        .map(|_| Arc::clone(&core.operate.lists).try_acquire_owned().unwrap())
        .collect();
    let waits = tokio::time::timeout(secs(5), core.operate.list(ProjectFilter::All, 1)).await;
    assert!(waits.is_err());
    drop(busy);
    assert_eq!(core.operate.list(ProjectFilter::All, 1).await.total, 0);
}

/// Prints how long a step of a walk over 50,000 wanted projects holds admission's lock, and how
/// long a list takes: to be run by hand, with `--ignored --nocapture`.
#[tokio::test]
#[ignore = "it measures"]
async fn measures_the_steps_of_a_list() {
    const PROJECTS: usize = 50_000;
    let clock = Clock::start();
    let core = OperateCore::started(clock);
    core.refresh.set_limits(limits(0.0));
    let projects: Vec<_> = (0..PROJECTS).map(|n| format!("demo/{n}")).collect();
    projects.iter().for_each(|name| core.holds(name));
    core.refresh.set_target(2);
    for name in &projects {
        core.refresh.want(&project(name), refresh::Asked::default());
    }
    sleep(secs(2)).await;
    let mut steps = Vec::new();
    let mut after = None;
    loop {
        let start = Instant::now();
        let step = core.refresh.walk(after.as_ref(), STEP, |_| true);
        steps.push(start.elapsed());
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    steps.sort();
    let (median, longest) = (steps[steps.len() / 2], steps[steps.len() - 1]);
    println!("a step, of which all is kept: median {median:?}, longest {longest:?}");
    let one = project("demo/25000");
    let start = Instant::now();
    let _inspected = core.refresh.inspect(&one);
    println!("one project: {:?}", start.elapsed());
    for filter in [
        ProjectFilter::Failing,
        ProjectFilter::Outdated,
        ProjectFilter::All,
    ] {
        let start = Instant::now();
        let listing = core.operate.list(filter, 500).await;
        println!(
            "{filter:?}: {:?} for {} of {}",
            start.elapsed(),
            listing.projects.len(),
            listing.total
        );
    }
}
