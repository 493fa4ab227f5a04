//! A release makes everything outdated: what it costs the renderer, and how all becomes fresh
//! again.

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::support::{
    HUNG, LaunchBudget, StormLoad, StormRenderer, StormSidecar, millis, sample, secs, waiting,
};
use evenkeel::renderer::RendererOptions;

/// The incident; argo-cd#27971: every project is outdated at one instant.
#[tokio::test]
async fn two_hundred_projects_outdated_at_once_cost_two_hundred_renders_within_the_budget() {
    let renderer = StormRenderer::start(sample(200, millis(100))).await;
    let mut sidecar = StormSidecar::start(&renderer, json!({})).await;
    let projects = renderer.projects();
    sidecar.hold(&projects).await;
    sidecar.limit(20.0, 10, 8).await;
    let before = renderer.renders();
    let load = StormLoad::start(&sidecar, &projects, 16).await;

    let start = Instant::now();
    renderer.release(2);
    sidecar.release(2).await;
    sidecar.until_fresh(200, secs(14) - start.elapsed()).await;
    assert_eq!(renderer.renders().asked - before.asked, 200);
    sleep(secs(10)).await;

    let renders = renderer.renders();
    assert_eq!(renders.asked - before.asked, 200, "and none more");
    assert!(renders.projects.values().all(|project| project.asked == 2));
    LaunchBudget::new(20.0, 10.0).assert_kept(&renders, before.now);
    let answers = load.stop().await;
    assert!(answers.contains_key(&("SERVED_OUTDATED", "NOT_REFRESHED_THROTTLED")));
}

#[tokio::test]
async fn renders_in_flight_stay_within_the_limit() {
    let renderer = StormRenderer::start(sample(40, millis(100))).await;
    let mut sidecar = StormSidecar::start(&renderer, json!({})).await;
    let projects = renderer.projects();
    sidecar.limit(1000.0, 1000, 4).await;
    sidecar.hold(&projects).await;
    renderer.release(2);
    sidecar.release(2).await;
    let load = StormLoad::start(&sidecar, &projects, 16).await;
    sidecar.until_fresh(40, secs(10)).await;
    load.stop().await;
    let renders = renderer.renders();
    assert_eq!((renders.asked, renders.most_in_flight), (80, 4));
}

#[tokio::test]
async fn forty_projects_looked_up_once_after_a_release_become_fresh_in_silence() {
    let renderer = StormRenderer::start(sample(40, millis(20))).await;
    let mut sidecar = StormSidecar::start(&renderer, json!({})).await;
    let projects = renderer.projects();
    sidecar.hold(&projects).await;
    sidecar.limit(10.0, 1, 4).await;
    renderer.release(2);
    sidecar.release(2).await;
    sidecar.get_all(&projects).await;
    sidecar.until_fresh(40, secs(8)).await;
    assert_eq!(renderer.renders().asked, 80);
}

/// A new pod holds nothing, and an ordinary release replaces pods: that alone must not cost a
/// render.
#[tokio::test]
async fn a_new_sidecar_fetches_what_is_stored_and_renders_nothing() {
    let renderer = StormRenderer::start(sample(200, millis(1))).await;
    let projects = renderer.projects();
    StormSidecar::start(&renderer, json!({}))
        .await
        .hold(&projects)
        .await;
    let before = renderer.renders();

    let scarce = json!({ "admission": { "rate": 0.01, "burst": 1, "concurrency": 1 } });
    let new = StormSidecar::start(&renderer, scarce).await;
    assert_eq!(new.get_all(&projects).await.len(), 200);
    new.until_fresh(200, secs(1)).await;
    let renders = renderer.renders();
    assert_eq!(renders.asked, before.asked);
    assert_eq!(renders.fetched - before.fetched, 200);
}

#[tokio::test]
async fn an_answer_of_15_mib_passes_to_a_client_that_allows_it() {
    let pad = 15 << 20;
    let renderer = StormRenderer::start(RendererOptions {
        pad,
        ..sample(23, millis(1))
    })
    .await;
    let sidecar = StormSidecar::start(&renderer, json!({})).await;
    for _ in 0..2 {
        let answer = sidecar.ask(waiting("brewbird", HUNG)).await.unwrap();
        assert_eq!(answer.payload.len(), pad);
    }
}
