//! The stream of changes.

use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep},
};
use tonic::Status;

use super::{network::Network, renderer::ScriptedRenderer, *};
use crate::{
    logged::CapturedLog,
    revision::Order,
    upstream::{ChangedInput, Heard},
};

fn change(number: u64) -> ChangedInput {
    ChangedInput {
        project: shop(),
        order: Order::new(1, number),
    }
}

/// The next change; what else is heard is passed over.
async fn next(changes: &mut mpsc::Receiver<Heard>) -> Option<ChangedInput> {
    loop {
        let heard = timeout(Duration::from_secs(3_600), changes.recv()).await;
        match heard.expect("no change came") {
            Some(Heard::Change(change)) => return Some(change),
            Some(Heard::Resync { .. }) => {}
            None => return None,
        }
    }
}

/// Since when, after `start`, what is held is next to be confirmed, in seconds.
async fn next_resync(changes: &mut mpsc::Receiver<Heard>, start: Instant) -> f64 {
    loop {
        let heard = timeout(Duration::from_secs(3_600), changes.recv()).await;
        if let Some(Heard::Resync { since }) = heard.expect("no resync came") {
            return since.duration_since(start).as_secs_f64();
        }
    }
}

/// How many lines hold some words.
fn count(log: &CapturedLog, words: &str) -> usize {
    let lines = log.lines();
    lines.iter().filter(|line| line.contains(words)).count()
}

/// Lets `seconds` pass in which nothing is heard.
async fn nothing_is_heard_for(changes: &mut mpsc::Receiver<Heard>, seconds: u64) {
    let heard = timeout(Duration::from_secs(seconds), changes.recv()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn changes_are_passed_on_and_impossible_projects_skipped() {
    let renderer = ScriptedRenderer::answers(b"{}");
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
    let renderer = ScriptedRenderer::answers(b"{}");
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
    let renderer = ScriptedRenderer::answers(b"{}");
    renderer.refuse_changes(Status::unavailable("not now"));
    let upstream = start(&Network::before(&renderer));
    until_up(&upstream).await;
    sleep(Duration::from_secs(300)).await;
    let listens = *renderer.listens.borrow();
    assert!((10..40).contains(&listens), "{listens}");
}

#[tokio::test(start_paused = true)]
async fn a_renderer_without_changes_is_asked_once_a_minute_and_for_each_connection() {
    let renderer = ScriptedRenderer::answers(b"{}");
    renderer.refuse_changes(Status::unimplemented("no changes"));
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    sleep(Duration::from_secs(59)).await;
    assert_eq!(*renderer.listens.borrow(), 1);
    sleep(Duration::from_secs(242)).await;
    assert_eq!(*renderer.listens.borrow(), 6);
    network.cut();
    renderer.until_listening(7).await;
}

#[tokio::test(start_paused = true)]
async fn no_change_is_lost_while_a_connection_is_replaced() {
    let renderer = ScriptedRenderer::answers(b"{}");
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
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    let changes = upstream.changes();
    renderer.until_listening(1).await;
    drop(changes);
    sleep(Duration::from_secs(60)).await;
    assert!(render(&upstream).await.is_ok());
    assert_eq!((*renderer.listens.borrow(), network.dials()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_renderer_without_positions_is_taken_to_have_missed_changes_after_a_stream_that_broke() {
    let began = Instant::now();
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    let mut changes = upstream.changes();
    assert!(next_resync(&mut changes, began).await < 1.0, "the first");
    assert!((4.9..6.0).contains(&began.elapsed().as_secs_f64()));
    assert!(upstream.changes_up().now());

    sleep(Duration::from_secs(20)).await;
    let cut = began.elapsed().as_secs_f64();
    network.cut();
    let since = next_resync(&mut changes, began).await;
    assert!((cut..cut + 3.0).contains(&since), "{since}");
    let told = began.elapsed().as_secs_f64() - since;
    assert!((4.9..6.0).contains(&told), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_renderer_with_positions_is_asked_for_what_changed_after_the_last() {
    let renderer = ScriptedRenderer::answers(b"{}");
    renderer.stands_at_once("p1", false);
    let network = Network::before(&renderer);
    let upstream = start(&network);
    let mut changes = upstream.changes();
    next_resync(&mut changes, Instant::now()).await;
    renderer.stand("p2", false);
    renderer.tell("shop", 1);
    next(&mut changes).await;
    network.cut();
    renderer.until_listening(2).await;
    nothing_is_heard_for(&mut changes, 30).await;
    assert_eq!(*renderer.afters.lock().unwrap(), ["", "p2"]);

    renderer.stands_at_once("q1", true);
    network.cut();
    next_resync(&mut changes, Instant::now()).await;
    assert_eq!(renderer.afters.lock().unwrap()[2], "p1");
}

#[tokio::test(start_paused = true)]
async fn a_planned_redial_misses_nothing_whether_or_not_there_are_positions() {
    for position in [None, Some("p1")] {
        let renderer = ScriptedRenderer::answers(b"{}");
        if let Some(position) = position {
            renderer.stands_at_once(position, true);
        }
        let network = Network::before(&renderer);
        let upstream = start(&network);
        let mut changes = upstream.changes();
        next_resync(&mut changes, Instant::now()).await;
        let alive = tokio::spawn({
            let renderer = renderer.clone();
            async move {
                loop {
                    sleep(Duration::from_secs(20)).await;
                    renderer.stand("", false);
                }
            }
        });
        nothing_is_heard_for(&mut changes, 800).await;
        assert_eq!(network.dials(), 2, "one of 10 min ± 20 %");
        alive.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_gives_no_sign_of_life_has_the_connection_dialled_anew() {
    let renderer = ScriptedRenderer::answers(b"{}");
    renderer.stands_at_once("p1", false);
    let network = Network::before(&renderer);
    let upstream = start(&network);
    let _changes = upstream.changes();
    until_up(&upstream).await;
    let began = Instant::now();
    until_up_since(&upstream, 2).await;
    let silent = began.elapsed().as_secs_f64();
    assert!((40.0..=52.0).contains(&silent), "{silent}");
    renderer.until_listening(2).await;
    assert!(render(&upstream).await.is_ok());
    assert_eq!(renderer.afters.lock().unwrap()[1], "p1");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_keeps_failing_is_logged_once_and_its_recovery_once() {
    let log = CapturedLog::start();
    let renderer = ScriptedRenderer::answers(b"{}");
    renderer.refuse_changes(Status::internal("no\nchanges"));
    let upstream = start(&Network::before(&renderer));
    let _changes = upstream.changes();
    until_up(&upstream).await;
    sleep(Duration::from_secs(300)).await;
    assert!(!upstream.changes_up().now());
    assert_eq!(count(&log, "stream of changes keeps ending"), 1);
    assert_eq!(count(&log, "no longer keeps ending"), 0);

    renderer.take_changes();
    sleep(Duration::from_secs(300)).await;
    assert!(upstream.changes_up().now());
    assert_eq!(count(&log, "no longer keeps ending"), 1);
    assert_eq!(count(&log, "stream of changes keeps ending"), 1);
}

#[tokio::test(start_paused = true)]
async fn changes_that_are_not_offered_are_no_error() {
    let log = CapturedLog::start();
    let renderer = ScriptedRenderer::answers(b"{}");
    renderer.refuse_changes(Status::unimplemented("no changes"));
    let network = Network::before(&renderer);
    let upstream = start(&network);
    let _changes = upstream.changes();
    for generation in 1..5 {
        until_up_since(&upstream, generation).await;
        sleep(Duration::from_secs(60)).await;
        network.cut();
    }
    assert_eq!(count(&log, "stream of changes"), 0);
    assert!(!upstream.changes_up().now());
}
