//! Callers that come in crowds, and hang up.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use evenkeel::{
    proto::v1::{Served, config_service_client::ConfigServiceClient},
    renderer::CallState,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tonic::transport::Endpoint;

use super::support::{
    HUNG, StormRenderer, StormSidecar, asking, millis, sample, secs, until, waiting,
};

#[tokio::test]
async fn two_hundred_callers_of_a_missing_project_share_one_render_though_most_hang_up() {
    let renderer = StormRenderer::start(sample(23, secs(2))).await;
    let sidecar = StormSidecar::start(&renderer, json!({})).await;
    let project = &renderer.projects()[0];
    let mut callers = JoinSet::new();
    let mut leaving = Vec::new();
    for caller in 0..200 {
        let (mut client, request) = (sidecar.client(), waiting(project, HUNG));
        let calling = callers.spawn(async move { client.get_config(request).await });
        if caller % 4 != 3 {
            leaving.push(calling);
        }
    }
    sidecar.until_waiting(200).await;
    leaving.iter().for_each(|calling| calling.abort());
    sidecar.until_waiting(50).await;

    let mut answered = 0;
    while let Some(ended) = callers.join_next().await {
        if let Ok(answer) = ended {
            assert_eq!(answer.unwrap().get_ref().served(), Served::Rendered);
            answered += 1;
        }
    }
    assert_eq!((answered, renderer.renders().asked), (50, 1));
}

/// consul#23806: the first caller leaves during the render, and takes its result along.
#[tokio::test]
async fn a_lone_caller_that_hangs_up_leaves_its_result_behind() {
    let renderer = StormRenderer::start(sample(23, millis(300))).await;
    let sidecar = StormSidecar::start(&renderer, json!({})).await;
    let project = &renderer.projects()[0];
    let (mut client, request) = (sidecar.client(), asking(project));
    let calling = tokio::spawn(async move { client.get_config(request).await });
    let renders = async || renderer.renders().in_flight == 1;
    until("it renders", HUNG, renders).await;
    calling.abort();
    sidecar.until_waiting(0).await;
    sidecar.until_fresh(1, HUNG).await;
    let answer = sidecar.get(project).await.unwrap();
    assert_eq!(answer.served(), Served::Fresh);
    assert_eq!(renderer.renders().count(CallState::Rendered), 1);
}

/// h2 ends a connection on which too many streams are reset (its limit of pending resets, against
/// "rapid reset").
#[tokio::test]
async fn applications_that_cancel_by_the_hundred_keep_their_connection_and_cancel_no_render() {
    let renderer = StormRenderer::start(sample(23, secs(3))).await;
    let sidecar = StormSidecar::start(&renderer, json!({})).await;
    let (address, dials) = (sidecar.address(), Arc::new(AtomicUsize::new(0)));
    let dialled = Arc::clone(&dials);
    let connector = tower::service_fn(move |_| {
        dialled.fetch_add(1, Relaxed);
        async move { TcpStream::connect(address).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://sidecar");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    let client = ConfigServiceClient::new(channel);
    let projects = renderer.projects();

    for round in 0..40 {
        let mut calls = JoinSet::new();
        for call in 0..100 {
            let (mut client, mut request) = (client.clone(), waiting(&projects[call % 8], HUNG));
            if round % 2 == 0 {
                // The sidecar is told as well.
                request.set_timeout(millis(10));
            }
            calls.spawn(async move { drop(timeout(millis(10), client.get_config(request)).await) });
        }
        calls.join_all().await;
    }
    sidecar.until_fresh(8, HUNG).await;
    let answer = client.clone().get_config(asking(&projects[0])).await;
    assert_eq!(answer.unwrap().get_ref().served(), Served::Fresh);
    assert_eq!(dials.load(Relaxed), 1, "one connection lasted");
    let renders = renderer.renders();
    assert_eq!((renders.asked, renders.count(CallState::Rendered)), (8, 8));
}
