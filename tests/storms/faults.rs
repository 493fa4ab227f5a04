//! A renderer that is not well: what lookups get meanwhile, and how all is well again by itself.

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::support::{
    StormLoad, StormRenderer, StormSidecar, millis, sample, secs, served, until, waiting,
};
use evenkeel::{
    proto::v1::{NotRefreshed, Served},
    renderer::Fault,
};

#[tokio::test]
async fn a_renderer_that_hangs_delays_no_lookup_and_is_used_again_when_it_is_well() {
    let renderer = StormRenderer::start(sample(20, millis(20))).await;
    let mut sidecar =
        StormSidecar::start(&renderer, json!({ "upstream": { "deadline": "2s" } })).await;
    let projects = &renderer.projects()[..20];
    sidecar.hold(projects).await;
    sidecar.limit(1000.0, 1000, 4).await;
    let before = renderer.renders();
    let [late_before, all_before] = sidecar.metrics().await.late_lookups();

    renderer.faults().set(Fault::Hang);
    renderer.release(2);
    sidecar.release(2).await;
    let load = StormLoad::start(&sidecar, projects, 16).await;
    let start = Instant::now();
    while start.elapsed() < secs(7) {
        assert!(sidecar.metrics().await.sum("renders_in_flight", &[]) <= 4.0);
        sleep(millis(20)).await;
    }
    let [late, all] = sidecar.metrics().await.late_lookups();
    let share = (late - late_before) / (all - all_before);
    assert!(share <= 0.001, "{share} of the lookups were answered late");
    let calls = renderer.renders().calls.split_off(before.calls.len());
    assert!(calls.len() > 4, "the renderer is tried again");
    let mut fives = calls.windows(5);
    let permits_are_held = fives.all(|five| five[4].arrived - five[0].arrived > millis(1900));
    assert!(permits_are_held, "for 2 s each: {calls:?}");

    renderer.faults().clear();
    sidecar.until_fresh(20, secs(60)).await;
    load.stop().await;
}

/// tonic drops the handler and answers CANCELLED when its own deadline wins. A machine too busy to
/// keep a timer by 10 ms may fail a try; a sidecar without a margin fails all three.
#[tokio::test]
async fn forty_lookups_with_60_ms_to_live_are_answered_while_the_render_hangs() {
    let renderer = StormRenderer::start(sample(23, millis(5))).await;
    let mut sidecar = StormSidecar::start(&renderer, json!({})).await;
    let projects = &renderer.projects()[..3];
    for project in projects {
        sidecar.get(project).await.unwrap();
    }
    renderer.faults().set(Fault::Hang);
    renderer.release(2);
    sidecar.release(2).await;
    let mut tries = Vec::new();
    for project in projects {
        tries.push(answered_within_60_ms(&sidecar, project).await);
        if tries.last() == Some(&40) {
            break;
        }
    }
    assert_eq!(tries.last(), Some(&40), "answered: {tries:?}");
    assert_eq!(renderer.renders().asked, 3 + tries.len() as u64);
}

/// How many of forty lookups are answered outdated.
async fn answered_within_60_ms(sidecar: &StormSidecar, project: &str) -> usize {
    let mut answered = 0;
    for _ in 0..40 {
        let mut request = waiting(project, millis(500));
        request.set_timeout(millis(60));
        if let Ok(answer) = sidecar.ask(request).await {
            assert_eq!(served(&answer), (Served::Outdated, NotRefreshed::TimedOut));
            answered += 1;
        }
    }
    answered
}

/// argo-cd#29766: a replica on the old rollout is asked in a tight loop.
#[tokio::test]
async fn a_renderer_on_the_old_rollout_is_asked_seldom_and_used_once_it_is_right() {
    let renderer = StormRenderer::start(sample(23, millis(5))).await;
    let mut sidecar = StormSidecar::start(&renderer, json!({})).await;
    let project = &renderer.projects()[0];
    sidecar.get(project).await.unwrap();
    renderer.faults().set(Fault::Behind);
    renderer.release(2);
    sidecar.release(2).await;
    let start = Instant::now();
    let behind = sidecar.ask(waiting(project, secs(1))).await.unwrap();
    assert_eq!(
        served(&behind),
        (Served::Outdated, NotRefreshed::RendererBehind)
    );
    while start.elapsed() < secs(3) {
        let answer = sidecar.get(project).await.unwrap();
        assert_eq!(answer.served(), Served::Outdated);
        sleep(millis(20)).await;
    }
    assert!(
        (2..=3).contains(&renderer.renders().asked),
        "once for what is held, and at most twice more"
    );

    renderer.faults().clear();
    until("it is used", secs(30), async || {
        sidecar.get(project).await.unwrap().served() != Served::Outdated
    })
    .await;
}

#[tokio::test]
async fn a_renderer_that_flaps_fails_no_lookup_and_all_is_fresh_in_the_end() {
    let renderer = StormRenderer::start(sample(40, millis(20))).await;
    let mut sidecar = StormSidecar::start(&renderer, json!({})).await;
    let projects = renderer.projects();
    sidecar.hold(&projects).await;
    sidecar.limit(10.0, 4, 4).await;
    renderer.faults().set(Fault::Flap);
    renderer.release(2);
    sidecar.release(2).await;
    let load = StormLoad::start(&sidecar, &projects, 8).await;
    sleep(secs(6)).await;
    renderer.faults().clear();
    sidecar.until_fresh(40, secs(60)).await;
    load.stop().await;
}
