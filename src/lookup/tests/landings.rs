//! What a landing costs during a release. `tests/bench/instructions.py` runs these tests under
//! callgrind, and compares the instructions of [`landings_of_a_release`].

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    refresh::{Asked, Told},
    revision::Revision,
};

/// How long the release is watched, at 1,000 renders per second.
const WATCHED: Duration = millis(150);

/// A core with a rate of 0 that holds this number of projects, each outdated and wanted.
async fn outdated(projects: usize) -> LookupCore {
    let core = LookupCore::paced(0.0, 1).await;
    core.renderer.costs(millis(1));
    let projects = self::projects(projects);
    for project in &projects {
        let (order, payload) = (Order::new(1, 1), b"{}");
        let revision = Revision::new(project.clone(), order, None, "text/plain".into(), payload);
        core.cache.store(revision, core.clock.now());
    }
    core.refresh.set_target(2);
    for project in &projects {
        let told = core.refresh.want(project, Asked::default());
        assert!(matches!(told, Told::Refused(_)), "{told:?}");
    }
    assert_eq!(core.refresh.snapshot().wanted_outdated, projects.len());
    core
}

#[inline(never)]
fn landings_of_a_release(runtime: &Runtime) {
    runtime.block_on(async { sleep(WATCHED).await });
}

fn a_release_goes_on_with(projects: usize) {
    let paused = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = paused.unwrap();
    let core = runtime.block_on(outdated(projects));
    let rate = 1_000.0;
    let (burst, concurrency) = (count(1), count(16));
    runtime.block_on(async {
        core.refresh.set_limits(admission::Limits {
            rate,
            burst,
            concurrency,
            ..limits()
        });
        // What concerned every project has reached each.
        sleep(millis(100)).await;
    });
    let before = core.cache.below(2);
    landings_of_a_release(&runtime);
    let landed = before - core.cache.below(2);
    assert!((145..=150).contains(&landed), "{landed} landed");
}

#[test]
fn a_release_goes_on_with_300_outdated_projects() {
    a_release_goes_on_with(300);
}

#[test]
fn a_release_goes_on_with_2_400_outdated_projects() {
    a_release_goes_on_with(2_400);
}
