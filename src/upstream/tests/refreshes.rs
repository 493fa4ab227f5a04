//! Lookups, refreshes and the real client of a renderer together: connections that go while renders
//! wait for them, and renderers that die and come back.

use std::{num::NonZeroU32, sync::Arc};

use futures_util::future::join_all;
use tokio::time::{Duration, Instant, sleep};

use super::{
    network::{Network, Route},
    renderer::{Manner, ScriptedRenderer},
    *,
};
use crate::{
    admission::{self, FetchLimits, Link},
    answer::{Answer, Failure, Served},
    cache::Cache,
    freshness::Freshness,
    logged::CapturedLog,
    lookup::{self, Lookup, Query},
    moment::Clock,
    reason::NotRefreshed,
    refresh::{self, Refresh},
    revision::Order,
    upstream::Heard,
};

/// Longer than a connection lasts.
const HOUR: Duration = Duration::from_secs(3_600);

/// A whole core, which the upstream tells of connections and changes as in a sidecar.
struct ConnectedCore {
    upstream: Upstream,
    refresh: Refresh,
    lookup: Lookup,
    cache: Arc<Cache>,
}

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn projects(n: usize) -> Vec<Project> {
    (0..n)
        .map(|i| Project::new(&format!("demo/{i}")).unwrap())
        .collect()
}

impl ConnectedCore {
    /// A core whose connection is up; a render may take as long as `deadline`.
    async fn before(network: &Network, deadline: Duration) -> Self {
        let upstream = start(network);
        let clock = Clock::start();
        let cache = Arc::new(Cache::new(64 << 20));
        let freshness = Arc::new(Freshness::new(1, None, clock.now()));
        let options = refresh::RefreshOptions {
            deadline,
            fetch_deadline: Duration::from_secs(1),
            max_payload: MAX_PAYLOAD,
            seed: 7,
        };
        let limits = admission::Limits {
            rate: 100.0,
            burst: count(100),
            concurrency: count(8),
            queue: count(512),
            fetch: FetchLimits {
                rate: 1_000.0,
                concurrency: count(16),
            },
        };
        let parts = refresh::Parts {
            cache: Arc::clone(&cache),
            freshness: Arc::clone(&freshness),
            render: Arc::new(upstream.clone()),
            stored: Arc::new(upstream.clone()),
            observe: Arc::new(()),
            fleet: None,
        };
        let refresh = Refresh::new(clock, options, limits, parts);
        let lookup_limits = lookup::WaitLimits {
            patience: Duration::from_millis(50),
            cold_patience: Duration::from_secs(2),
            max_patience: Duration::from_secs(30),
            max_waiting: 4_096,
        };
        let lookup = Lookup::new(
            clock,
            Arc::clone(&cache),
            freshness,
            refresh.clone(),
            lookup_limits,
        );
        tokio::spawn(tell_of_connections(
            refresh.clone(),
            upstream.connection_state(),
        ));
        let (told, mut changes) = (refresh.clone(), upstream.changes());
        tokio::spawn(async move {
            while let Some(heard) = changes.recv().await {
                match heard {
                    Heard::Change(change) => told.changed(&change.project, change.order),
                    Heard::Resync { since } => told.resync(told.clock().moment(since)),
                }
            }
        });
        until_up(&upstream).await;
        Self {
            upstream,
            refresh,
            lookup,
            cache,
        }
    }

    async fn get(&self, project: &Project, patience: Duration) -> Result<Answer, Failure> {
        let query = Query {
            project: project.clone(),
            patience: Some(patience),
            deadline: None,
            min_revision: None,
            max_outdated: None,
            trace: None,
        };
        self.lookup.get(query).await
    }

    /// Has projects held.
    async fn holds(&self, projects: &[Project]) {
        for project in projects {
            self.get(project, Duration::from_secs(5)).await.unwrap();
        }
    }

    /// Looks projects up that are held, and tells why they are not fresh.
    async fn look_up(&self, projects: &[Project]) -> Vec<NotRefreshed> {
        let mut reasons = Vec::new();
        for project in projects {
            let answer = self.get(project, Duration::ZERO).await.unwrap();
            if let Served::Outdated(outdated) = answer.served {
                reasons.push(outdated.refusal.reason);
            }
        }
        reasons
    }

    /// Looks projects up until all are held of that rollout, and tells how long that took.
    async fn converges(&self, projects: &[Project], rollout: u64) -> Duration {
        let start = Instant::now();
        let is_held = |project: &Project| {
            let held = self.cache.get(project.as_str());
            held.is_some_and(|held| held.revision.order.rollout == rollout)
        };
        while !projects.iter().all(is_held) {
            self.look_up(projects).await;
            sleep(Duration::from_millis(100)).await;
            assert!(start.elapsed() < HOUR, "never converges");
        }
        start.elapsed()
    }
}

async fn tell_of_connections(refresh: Refresh, mut connection: watch::Receiver<ConnectionState>) {
    loop {
        let link = match *connection.borrow_and_update() {
            ConnectionState::Dialling => Link::Dialling,
            ConnectionState::Up { .. } => Link::Up,
            ConnectionState::Down { retry_at } => Link::Down {
                retry_at: refresh.clock().moment(retry_at),
            },
        };
        refresh.set_link(link);
        if connection.changed().await.is_err() {
            return;
        }
    }
}

/// What a renderer does that is well.
fn renders(number: u64) -> Manner {
    Manner::Renders {
        number,
        cost: Duration::from_millis(10),
    }
}

/// A core that holds these projects of rollout 1, and a target of 2, for which some are being
/// rendered, though only one of them could be sent: its connection has no room for more.
async fn with_calls_that_wait(
    renderer: &ScriptedRenderer,
    network: &Network,
    held: &[Project],
) -> ConnectedCore {
    let core = ConnectedCore::before(network, HOUR).await;
    renderer.until_listening(1).await;
    core.holds(held).await;
    renderer.now(Manner::Stalls);
    core.refresh.set_target(2);
    core.look_up(held).await;
    while core.refresh.snapshot().in_flight < 6 {
        sleep(Duration::from_millis(10)).await;
    }
    core
}

/// The stream of changes held the only stream, and no lookup was answered.
#[tokio::test(start_paused = true)]
async fn a_renderer_of_one_stream_answers_every_lookup() {
    let renderer = ScriptedRenderer::new(renders(1));
    let network = Network::before(&renderer);
    network.allow_streams(1);
    let core = ConnectedCore::before(&network, DEADLINE).await;
    renderer.until_listening(1).await;
    let projects = projects(5);
    let began = Instant::now();
    let lookups = projects
        .iter()
        .map(|project| core.get(project, Duration::from_secs(5)));
    for answered in join_all(lookups).await {
        assert_eq!(answered.unwrap().served, Served::Rendered);
    }
    // 10 ms for each, one after the other.
    let took = began.elapsed();
    assert!(took <= Duration::from_millis(60), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn renders_go_on_over_a_new_connection_when_calls_on_the_aged_one_could_not_be_sent() {
    let renderer = ScriptedRenderer::new(renders(1));
    let network = Network::before(&renderer);
    network.allow_streams(1);
    let projects = projects(12);
    let core = with_calls_that_wait(&renderer, &network, &projects).await;
    until_up_since(&core.upstream, 2).await;
    core.look_up(&projects).await;
    renderer.now(renders(1));
    network.cut_oldest();
    sleep(Duration::from_secs(1)).await;
    let reasons = core.look_up(&projects).await;
    assert!(!reasons.contains(&NotRefreshed::Unreachable), "{reasons:?}");
    assert!(reasons.len() <= 2, "those that were sent: {reasons:?}");
    let took = core.converges(&projects, 2).await;
    assert!(took <= Duration::from_secs(20), "{took:?}");
    assert_eq!(network.dials(), 4, "each with one for changes");
}

#[tokio::test(start_paused = true)]
async fn renders_go_on_over_a_new_connection_when_a_renderer_leaves_before_calls_could_be_sent() {
    let renderer = ScriptedRenderer::new(renders(1));
    let network = Network::before(&renderer);
    network.allow_streams(1);
    let projects = projects(12);
    let core = with_calls_that_wait(&renderer, &network, &projects).await;
    sleep(Duration::from_secs(60)).await;
    core.look_up(&projects).await;
    renderer.now(renders(1));
    network.shut_down();
    until_up_since(&core.upstream, 2).await;
    sleep(Duration::from_secs(1)).await;
    let reasons = core.look_up(&projects).await;
    assert!(!reasons.contains(&NotRefreshed::Unreachable), "{reasons:?}");
    assert!(reasons.len() <= 2, "those that were sent: {reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renderer_restarted_with_its_numbers_from_one_loses_nothing_and_is_right_again_with_the_next_rollout()
 {
    let renderer = ScriptedRenderer::new(renders(50));
    let network = Network::before(&renderer);
    let core = ConnectedCore::before(&network, DEADLINE).await;
    let shop = shop();
    core.holds(std::slice::from_ref(&shop)).await;
    renderer.until_listening(1).await;

    network.now(Route::Refuses);
    network.cut();
    sleep(Duration::from_secs(5)).await;
    renderer.now(renders(1));
    network.now(Route::Serves);
    renderer.until_listening(2).await;
    renderer.tell("shop", 2);
    sleep(Duration::from_secs(1)).await;
    let answer = core.get(&shop, Duration::ZERO).await.unwrap();
    assert_eq!(answer.served, Served::Fresh);

    core.refresh.set_max_age(Some(Duration::from_secs(100)));
    sleep(Duration::from_secs(200)).await;
    let answer = core.get(&shop, Duration::from_secs(1)).await.unwrap();
    assert_eq!(answer.revision.order, Order::new(1, 50));
    let Served::Outdated(outdated) = answer.served else {
        panic!("it renders 1/1");
    };
    assert_eq!(outdated.refusal.reason, NotRefreshed::RendererBehind);

    renderer.now(renders(2));
    core.refresh.set_target(2);
    let answer = core.get(&shop, Duration::from_secs(1)).await.unwrap();
    assert_eq!(
        (answer.served, answer.revision.order),
        (Served::Rendered, Order::new(2, 2))
    );
}

/// The process of a renderer ends whenever it renders that project, and is back a second later.
async fn dies_of(poison: Project, renderer: ScriptedRenderer, network: Network) {
    let mut renders = renderer.renders.subscribe();
    let mut seen = 0;
    while renders.changed().await.is_ok() {
        let is_fatal = {
            let renders = renders.borrow_and_update();
            let new = &renders[seen..];
            seen = renders.len();
            new.iter()
                .any(|(asked, _)| asked.project == poison.as_str())
        };
        if is_fatal {
            network.now(Route::Refuses);
            network.cut();
            sleep(Duration::from_secs(1)).await;
            network.now(Route::Serves);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_project_that_kills_the_renderer_cools_down_alone() {
    let renderer = ScriptedRenderer::new(renders(1));
    let network = Network::before(&renderer);
    let core = ConnectedCore::before(&network, DEADLINE).await;
    let projects = projects(40);
    core.holds(&projects).await;
    let poison = projects[0].clone();
    let death = tokio::spawn(dies_of(poison.clone(), renderer.clone(), network.clone()));
    let asked_of = |project: &Project| {
        let asked = renderer.renders.borrow();
        asked
            .iter()
            .filter(|(asked, _)| asked.project == project.as_str())
            .count()
    };

    core.refresh.set_target(2);
    let took = core.converges(&projects[1..], 2).await;
    assert!(took <= Duration::from_secs(30), "{took:?}");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(600) {
        core.look_up(&projects).await;
        sleep(Duration::from_secs(1)).await;
    }
    let deaths = asked_of(&poison) - 1;
    assert!((2..=30).contains(&deaths), "{deaths} deaths");
    let answer = core.get(&poison, Duration::ZERO).await.unwrap();
    assert_eq!(answer.revision.order, Order::new(1, 1));
    let reasons = core.look_up(&projects[1..]).await;
    assert!(reasons.is_empty(), "{reasons:?}");
    for project in &projects[1..] {
        assert!(asked_of(project) <= 3, "lost with the poison once at most");
    }
    death.abort();
}

/// flagd#2027, unleash-edge's loop of one second: ten minutes of an upstream that is away, each
/// attempt of them logged.
#[tokio::test(start_paused = true)]
async fn ten_minutes_without_a_renderer_cost_some_dials_and_are_said_once() {
    let renderer = ScriptedRenderer::new(renders(1));
    let network = Network::before(&renderer);
    let core = ConnectedCore::before(&network, DEADLINE).await;
    let projects = projects(20);
    core.holds(&projects).await;
    core.refresh.set_target(2);
    let log = CapturedLog::start();
    network.now(Route::Refuses);
    network.cut();
    until_down(&core.upstream).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(600) {
        sleep(Duration::from_millis(100)).await;
        let reasons = core.look_up(&projects).await;
        assert_eq!(reasons, [NotRefreshed::Unreachable; 20]);
    }
    assert_eq!(renderer.renders.borrow().len(), 20);
    // 15 s is the mean delay between dials.
    let dials = network.dials();
    assert!((30..=60).contains(&dials), "{dials} dials");
    network.now(Route::Serves);
    let took = core.converges(&projects, 2).await;
    assert!(took <= Duration::from_secs(31), "{took:?}");
    log.assert_says(&[
        "renderer is unreachable",
        "not fresh yet: 20 of 20 outdated, no end in sight",
        "renderer is reachable again",
        "all wanted projects are fresh",
    ]);
}
