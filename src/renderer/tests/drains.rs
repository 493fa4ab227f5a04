use tokio::task::JoinHandle;
use tonic::Status;

use super::{faults::until_port, *};
use crate::renderer::fault::Port;

const LONG: Duration = Duration::from_secs(600);

type RenderTask = JoinHandle<Result<RenderResponse, Status>>;

/// A renderer, and a render of it that is under way.
async fn start_rendering(cost: Duration) -> (RunningRenderer, RendererClient, RenderTask) {
    let (running, client) = start(RendererOptions {
        cost: Cost::fixed(cost),
        ..quick()
    })
    .await;
    let mut asking = client.clone();
    let call = tokio::spawn(async move {
        let response = asking.render(ask("brewbird", 1)).await;
        response.map(tonic::Response::into_inner)
    });
    until(&running, |renders| renders.in_flight == 1).await;
    (running, client, call)
}

/// Drains it, which may take a test's time but not all that it is granted.
async fn drain(running: RunningRenderer) {
    let drained = timeout(Duration::from_secs(10), running.drain(LONG)).await;
    assert!(drained.is_ok(), "it waits though nothing runs");
}

#[tokio::test]
async fn a_renderer_that_drains_ends_the_render_that_runs_and_begins_no_other() {
    let (running, mut client, call) = start_rendering(Duration::from_millis(300)).await;
    let address = address(&running);
    let mut changes = client.changes(ChangesRequest::default()).await.unwrap();
    let stands = changes.get_mut().message().await.unwrap();
    assert!(stands.is_some_and(|stands| stands.project.is_empty()));
    let draining = tokio::spawn(drain(running));
    assert_eq!(changes.get_mut().message().await.unwrap(), None);
    until_port(address, Port::Closed).await;
    assert!(!call.is_finished());
    assert!(!call.await.unwrap().unwrap().payload.is_empty());
    draining.await.unwrap();
}

#[tokio::test]
async fn a_renderer_that_drains_cuts_what_does_not_end_in_time() {
    let (running, _client, call) = start_rendering(LONG).await;
    running.drain(Duration::from_millis(50)).await;
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn a_dead_renderer_has_nothing_to_wait_for() {
    let (running, _client, call) = start_rendering(LONG).await;
    running.faults().set(Fault::Dead);
    until_port(address(&running), Port::Closed).await;
    drain(running).await;
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn a_stopped_renderer_lets_go_of_its_port() {
    let (running, mut client) = start(quick()).await;
    let address = address(&running);
    running.stop().await;
    TcpListener::bind(address).await.unwrap();
    assert!(client.render(ask("brewbird", 1)).await.is_err());
}
