//! Changes over a connection of their own, beside one of few streams.

use tokio::time::{Duration, Instant, sleep};

use super::{
    network::{Network, Route},
    renderer::ScriptedRenderer,
    *,
};
use crate::{
    logged::CapturedLog,
    revision::Order,
    upstream::{ChangedInput, Heard},
};

/// A renderer that takes `streams` streams over a connection, and a client that listens to its
/// changes.
async fn listened_to(streams: u32) -> (ScriptedRenderer, Network, Upstream) {
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    network.allow_streams(streams);
    let upstream = start(&network);
    until_up(&upstream).await;
    renderer.until_listening(1).await;
    (renderer, network, upstream)
}

/// Waits for a change of that number.
async fn hear(changes: &mut tokio::sync::mpsc::Receiver<Heard>, number: u64) {
    let change = Heard::Change(ChangedInput {
        project: shop(),
        order: Order::new(1, number),
    });
    let heard = async { while changes.recv().await.unwrap() != change {} };
    timeout(Duration::from_secs(3_600), heard).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn changes_have_their_own_connection_below_ten_streams() {
    for (streams, dials) in [(1, 2), (2, 2), (9, 2), (10, 1), (100, 1)] {
        let (renderer, network, upstream) = listened_to(streams).await;
        let mut changes = upstream.changes();
        let began = Instant::now();
        assert!(render(&upstream).await.is_ok());
        assert_eq!(began.elapsed(), Duration::ZERO, "{streams} streams");
        renderer.tell("shop", 2);
        hear(&mut changes, 2).await;
        assert_eq!(network.dials(), dials, "{streams} streams");
    }
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_the_connection_of_changes_touches_no_call() {
    let (renderer, network, upstream) = listened_to(1).await;
    let mut changes = upstream.changes();
    network.cut_newest();
    renderer.until_listening(2).await;
    renderer.tell("shop", 2);
    hear(&mut changes, 2).await;
    assert_eq!(until_up(&upstream).await, 1);
    assert!(render(&upstream).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_connection_of_changes_goes_with_the_one_in_use() {
    let (renderer, network, upstream) = listened_to(1).await;
    network.cut_oldest();
    until_up_since(&upstream, 2).await;
    renderer.until_listening(2).await;
    network.until_closed(2).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((network.dials(), *network.closed.borrow()), (4, 2));
}

/// A fleet whose replica leaves would dial the next one in the same instant.
#[tokio::test(start_paused = true)]
async fn a_connection_of_changes_that_is_sent_away_is_replaced_with_jitter() {
    let (renderer, network, _upstream) = listened_to(1).await;
    sleep(Duration::from_secs(60)).await;
    let began = Instant::now();
    network.cut_newest();
    renderer.until_listening(2).await;
    let took = began.elapsed();
    assert!(
        took > Duration::ZERO && took <= Duration::from_secs(2),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_changes_that_cannot_be_made_is_logged_once_and_dialled_with_a_back_off() {
    let log = CapturedLog::start();
    let (renderer, network, upstream) = listened_to(1).await;
    network.now(Route::Refuses);
    network.cut_newest();
    sleep(Duration::from_secs(300)).await;
    let dials = network.dials();
    assert!((12..=50).contains(&dials), "{dials}");
    assert!(render(&upstream).await.is_ok());
    network.now(Route::Serves);
    renderer.until_listening(2).await;
    sleep(Duration::from_secs(60)).await;
    log.assert_says(&[
        "stream of changes keeps ending",
        "stream of changes no longer keeps ending",
    ]);
}

#[tokio::test(start_paused = true)]
async fn changes_that_are_of_no_interest_are_not_dialled_for() {
    let (_, network, upstream) = listened_to(1).await;
    drop(upstream.changes());
    network.until_closed(1).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(network.dials(), 2);
    assert!(render(&upstream).await.is_ok());
}
