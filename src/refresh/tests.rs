//! What the timer leaves to lookups.

use std::num::NonZeroU32;

use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    admission::{FetchLimits, Tuning},
    render::fake::FakeRenderer,
    revision::Revision,
};

const MILLISECOND: Duration = Duration::from_millis(1);
/// A sweep of that many projects takes this many steps.
const STEPS: u32 = 8;

/// A refresh that may render nothing, and holds outdated projects that are wanted.
fn wants(projects: usize) -> Refresh {
    let clock = Clock::start();
    let cache = Arc::new(Cache::new(64 << 20));
    let renderer = FakeRenderer::new();
    let options = RefreshOptions {
        deadline: Duration::from_secs(10),
        fetch_deadline: Duration::from_secs(1),
        max_payload: 1 << 20,
        seed: 1,
    };
    let limits = Limits {
        rate: 0.0,
        burst: NonZeroU32::MIN,
        concurrency: NonZeroU32::MIN,
        queue: NonZeroU32::MIN,
        fetch: FetchLimits {
            rate: 0.0,
            concurrency: NonZeroU32::MIN,
        },
    };
    let parts = Parts {
        cache: Arc::clone(&cache),
        freshness: Arc::new(Freshness::new(2, None, clock.now())),
        render: Arc::new(renderer.clone()),
        stored: Arc::new(renderer),
        observe: Arc::new(()),
        fleet: None,
    };
    let refresh = Refresh::new(clock, options, limits, parts);
    for number in 0..projects {
        let project = Project::new(&format!("demo/{number}")).unwrap();
        let order = Order::new(1, 1);
        let revision = Revision::new(project.clone(), order, None, "".into(), b"{}");
        cache.store(revision, clock.now());
        refresh.want(&project, Asked::default());
    }
    refresh
}

/// Guards against a timer that keeps lookups from the lock while a raised target is told to
/// thousands of projects: its steps followed each other without a pause.
#[tokio::test(start_paused = true)]
async fn the_timer_leaves_the_lock_alone_for_a_millisecond_between_the_steps_of_a_sweep() {
    let refresh = wants(STEPS as usize * Tuning::DEFAULT.turns.swept);
    let is_settled = || refresh.shared.lock().admission.is_settled();
    while !is_settled() {
        sleep(MILLISECOND).await;
    }
    let start = Instant::now();
    refresh.set_target(3);
    while !is_settled() {
        sleep(MILLISECOND).await;
    }
    // The first step is done with the raise itself, and the next one follows at once.
    let took = start.elapsed();
    assert!(took >= MILLISECOND * (STEPS - 2), "{took:?}");
    assert!(took <= MILLISECOND * 2 * STEPS, "{took:?}");
}
