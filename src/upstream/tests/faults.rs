//! What a network and a renderer do to calls: partitions, resets, trickles, and applications that
//! leave by the hundred.

use tokio::time::{Duration, Instant, sleep};

use super::{
    network::{Network, Route},
    renderer::{Manner, ScriptedRenderer, response},
    *,
};
use crate::render::RenderError;

#[tokio::test(start_paused = true)]
async fn a_partition_costs_one_deadline_and_is_over_when_a_dial_succeeds() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    let upstream = start(&network);
    until_up(&upstream).await;
    sleep(Duration::from_secs(60)).await;
    network.hold();
    network.now(Route::Swallows);
    time_out(&upstream, Duration::from_secs(2)).await;
    until_down(&upstream).await;
    sleep(Duration::from_secs(300)).await;
    let asked = Instant::now();
    assert!(matches!(
        render(&upstream).await,
        Err(RenderError::Unreachable)
    ));
    assert_eq!(asked.elapsed(), Duration::ZERO);
    network.now(Route::Serves);
    until_up_since(&upstream, 2).await;
    assert!(asked.elapsed() <= Duration::from_secs(31));
    assert!(render(&upstream).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reset_fails_its_own_call_and_no_other() {
    let renderer = ScriptedRenderer::stalls();
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    let mut other = tokio::spawn(render(&upstream));
    renderer.until_rendering(1).await;
    renderer.now(Manner::Resets);
    for _ in 0..200 {
        assert!(render(&upstream).await.is_err());
    }
    renderer.now(Manner::Answers(response(b"{}")));
    assert!(render(&upstream).await.is_ok());
    tokio::select! {
        ended = &mut other => panic!("{ended:?}"),
        () = sleep(Duration::from_secs(20)) => {}
    }
    assert_eq!(network.dials(), 1);
    other.abort();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_trickles_in_is_waited_for_and_is_no_suspicion() {
    let renderer = ScriptedRenderer::answers(&[b'x'; 90_000]);
    let network = Network::before(&renderer);
    network.now(Route::Trickles);
    let upstream = start(&network);
    until_up(&upstream).await;
    let asked = Instant::now();
    assert!(matches!(
        render(&upstream).await,
        Ok(Rendered::Revision(offer)) if offer.payload.len() == 90_000
    ));
    assert!(asked.elapsed() >= Duration::from_millis(800));

    time_out(&upstream, Duration::from_millis(500)).await;
    assert!(render(&upstream).await.is_ok());
    assert_eq!(network.dials(), 1);
}

/// h2 counts resets that are pending, and a peer may take too many of them for an attack
/// (CVE-2023-44487).
#[tokio::test(start_paused = true)]
async fn renders_given_up_by_the_hundred_are_reset_and_keep_the_connection() {
    let renderer = ScriptedRenderer::stalls();
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    let calls: Vec<_> = (0..200).map(|_| tokio::spawn(render(&upstream))).collect();
    renderer.until_rendering(200).await;
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    let mut resets = renderer.resets.subscribe();
    until(&mut resets, |resets| *resets == 200).await;
    renderer.now(Manner::Answers(response(b"{}")));
    assert!(render(&upstream).await.is_ok());
    assert_eq!(network.dials(), 1);
}
