//! The stream of changes.

use tokio::{
    sync::mpsc,
    time::{Duration, sleep},
};
use tonic::Status;

use super::{network::Network, renderer::Renderer, *};
use crate::{revision::Order, upstream::Change};

fn change(number: u64) -> Change {
    Change {
        project: shop(),
        order: Order::new(1, number),
    }
}

async fn next(changes: &mut mpsc::Receiver<Change>) -> Option<Change> {
    let heard = timeout(Duration::from_secs(3_600), changes.recv()).await;
    heard.expect("no change came")
}

#[tokio::test(start_paused = true)]
async fn changes_are_passed_on_and_impossible_projects_skipped() {
    let renderer = Renderer::answers(b"{}");
    let upstream = start(&Network::before(&renderer));
    let mut changes = upstream.changes();
    renderer.until_listening(1).await;
    renderer.tell("shop", 1);
    renderer.tell("no such name", 2);
    renderer.tell("shop", 3);
    assert_eq!(next(&mut changes).await, Some(change(1)));
    assert_eq!(next(&mut changes).await, Some(change(3)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_is_opened_again() {
    let renderer = Renderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    let mut changes = upstream.changes();
    renderer.until_listening(1).await;
    renderer.end_changes();
    renderer.until_listening(2).await;
    renderer.tell("shop", 1);
    assert_eq!(next(&mut changes).await, Some(change(1)));

    network.cut();
    renderer.until_listening(3).await;
    renderer.tell("shop", 2);
    assert_eq!(next(&mut changes).await, Some(change(2)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_again_and_again_is_opened_with_a_back_off() {
    let renderer = Renderer::answers(b"{}");
    renderer.refuse_changes(Status::unavailable("not now"));
    let upstream = start(&Network::before(&renderer));
    until_up(&upstream).await;
    sleep(Duration::from_secs(300)).await;
    let listens = *renderer.listens.borrow();
    assert!((10..40).contains(&listens), "{listens}");
}

#[tokio::test(start_paused = true)]
async fn a_renderer_without_changes_is_asked_once_for_each_connection() {
    let renderer = Renderer::answers(b"{}");
    renderer.refuse_changes(Status::unimplemented("no changes"));
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    sleep(Duration::from_secs(300)).await;
    assert_eq!(*renderer.listens.borrow(), 1);
    network.cut();
    renderer.until_listening(2).await;
}

#[tokio::test(start_paused = true)]
async fn no_change_is_lost_while_a_connection_is_replaced() {
    let renderer = Renderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    let mut changes = upstream.changes();
    renderer.until_listening(1).await;

    // A task, for it runs before the one that opens the second stream.
    let (teller, follow) = (renderer.clone(), upstream.clone());
    let told = tokio::spawn(async move {
        until_up_since(&follow, 2).await;
        assert_eq!(*teller.listens.borrow(), 1, "the second stream is open");
        teller.tell("shop", 1);
    });
    told.await.unwrap();
    assert_eq!(next(&mut changes).await, Some(change(1)));

    sleep(Duration::from_secs(60)).await;
    renderer.tell("shop", 2);
    assert_eq!(next(&mut changes).await, Some(change(2)));
    assert_eq!(network.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_changes_ends_the_stream_but_not_the_connection() {
    let renderer = Renderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    let changes = upstream.changes();
    renderer.until_listening(1).await;
    drop(changes);
    sleep(Duration::from_secs(60)).await;
    assert!(render(&upstream).await.is_ok());
    assert_eq!((*renderer.listens.borrow(), network.dials()), (1, 1));
}
