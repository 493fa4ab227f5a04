//! A pod starts: once it is ready, its first lookup is answered (flagd#2047, ld-relay#549).

use serde_json::json;

use super::support::{StormRenderer, StormSidecar, millis, sample};

async fn first_lookups_are_answered(starts: usize) {
    let renderer = StormRenderer::start(sample(starts, millis(1))).await;
    for project in &renderer.projects()[..starts] {
        let sidecar = StormSidecar::start(&renderer, json!({})).await;
        let answer = sidecar.get(project).await;
        assert!(answer.is_ok(), "{project}: {answer:?}");
    }
}

#[tokio::test]
async fn the_first_lookup_after_ready_is_answered_in_a_hundred_starts() {
    first_lookups_are_answered(100).await;
}

#[tokio::test]
#[ignore = "takes 20 s: tests/long/starts runs it"]
async fn the_first_lookup_after_ready_is_answered_in_a_thousand_starts() {
    first_lookups_are_answered(1000).await;
}
