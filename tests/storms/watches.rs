//! Watches over a release and over changes of the input.

use std::fs;

use serde_json::json;
use tokio::time::timeout;
use tonic::Streaming;

use super::support::{HUNG, StormRenderer, StormSidecar, millis, rollout, sample, until};
use evenkeel::{
    proto::v1::{GetConfigResponse, WatchConfigResponse, watch_config_response::Event},
    renderer::RendererOptions,
};

async fn next(watch: &mut Streaming<WatchConfigResponse>) -> GetConfigResponse {
    let message = timeout(HUNG, watch.message()).await;
    let message = message.expect("a message comes").expect("the watch lasts");
    match message.and_then(|it| it.event) {
        Some(Event::Answer(answer)) => answer,
        other => unreachable!("no answer: {other:?}"),
    }
}

#[tokio::test]
async fn watchers_of_twenty_projects_see_a_release_without_a_lookup() {
    let renderer = StormRenderer::start(sample(23, millis(20))).await;
    let mut sidecar = StormSidecar::start(&renderer, json!({})).await;
    let mut watches = Vec::new();
    for project in &renderer.projects()[..20] {
        watches.push(sidecar.watch(project).await);
    }
    for watch in &mut watches {
        assert_eq!(rollout(&next(watch).await), 1);
    }
    renderer.release(2);
    sidecar.release(2).await;
    for watch in &mut watches {
        assert_eq!(rollout(&next(watch).await), 2);
    }
    assert_eq!(renderer.renders().asked, 40);
}

/// A broadcast with one slot loses what is newer; an unbounded queue grows with each reader that
/// does not read.
#[tokio::test]
async fn a_watcher_that_does_not_read_ends_on_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let write = |number: u64| {
        let text = format!("name: Ada {number}\ndomain: ada.example");
        fs::write(folder.path().join("ada.yaml"), text).unwrap();
    };
    write(0);
    let renderer = StormRenderer::start(RendererOptions {
        projects: folder.path().to_owned(),
        pad: 3 << 20,
        ..sample(1, millis(1))
    })
    .await;
    let sidecar = StormSidecar::start(&renderer, json!({})).await;
    let mut watch = sidecar.watch("ada").await;
    let number = |answer: &GetConfigResponse| answer.revision.as_ref().map_or(0, |it| it.number);
    let first = number(&next(&mut watch).await);
    let mut newest = first;
    for change in 1..=8 {
        write(change);
        let before = newest;
        until("the change is held", HUNG, async || {
            number(&sidecar.get("ada").await.unwrap()) > before
        })
        .await;
        newest = number(&sidecar.get("ada").await.unwrap());
    }

    let mut seen = vec![first];
    while seen.last() != Some(&newest) {
        seen.push(number(&next(&mut watch).await));
    }
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
    assert!(seen.len() < 8, "what was replaced is not sent: {seen:?}");
}
