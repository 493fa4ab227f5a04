//! Dials, losses, replacements.

use std::sync::atomic::Ordering;

use tokio::time::{Duration, Instant, sleep};
use tonic::Status;

use super::{
    network::{Network, Route, on_loopback},
    renderer::{Manner, ScriptedRenderer, response},
    *,
};
use crate::{
    logged::CapturedLog,
    proto::v1,
    render::RenderError,
    upstream::{dial::JITTER, wire::Condition},
};

#[tokio::test]
async fn renders_over_a_real_socket() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let (url, _end) = on_loopback(&renderer).await;
    let upstream = Upstream::start(options(url));
    until_up(&upstream).await;
    assert!(matches!(
        render(&upstream).await,
        Ok(Rendered::Revision(offer)) if offer.payload == "{}"
    ));
}

#[tokio::test]
async fn a_refused_connection_is_down_and_calls_fail_at_once() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let upstream = Upstream::start(options(url.parse().unwrap()));
    assert_eq!(
        *upstream.connection_state().borrow(),
        ConnectionState::Dialling
    );
    until_down(&upstream).await;
    assert!(matches!(
        render(&upstream).await,
        Err(RenderError::Unreachable)
    ));
    assert!(matches!(
        fetch(&upstream).await,
        Err(RenderError::Unreachable)
    ));
}

/// tonic#1635, tonic#2839: a connect without a timeout, and a dial for each call that waits.
#[tokio::test(start_paused = true)]
async fn a_black_hole_is_dialled_once_at_a_time_with_a_back_off() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    network.now(Route::Swallows);
    let began = Instant::now();
    let upstream = start(&network);
    until_down(&upstream).await;
    assert_eq!(began.elapsed(), CONNECT_TIMEOUT);

    for _ in 0..1_000 {
        let asked = Instant::now();
        assert!(matches!(
            render(&upstream).await,
            Err(RenderError::Unreachable)
        ));
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
    sleep(Duration::from_secs(600)).await;
    assert_eq!(network.most_dialling.load(Ordering::Relaxed), 1);
    // 16 s is a dial with its timeout and the mean delay.
    let dials = network.dials();
    assert!((30..=60).contains(&dials), "{dials}");

    network.now(Route::Serves);
    let healed = Instant::now();
    until_up(&upstream).await;
    assert!(healed.elapsed() <= Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_no_settings_is_no_contact_and_is_let_go() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    network.now(Route::Mute);
    let began = Instant::now();
    let upstream = start(&network);
    until_down(&upstream).await;
    assert_eq!(began.elapsed(), CONNECT_TIMEOUT);
    network.until_closed(1).await;
}

#[tokio::test(start_paused = true)]
async fn answers_and_errors_say_over_which_connection_they_came() {
    let renderer = ScriptedRenderer::fails(Status::not_found("shop"));
    let network = Network::before(&renderer);
    let upstream = start(&network);
    assert_eq!(fetch_answered(&upstream).await.connection, None);
    until_up(&upstream).await;
    renderer.fetch_now(Manner::Answers(response(b"stored")));
    for generation in [1, 2] {
        until_up_since(&upstream, generation).await;
        let stored = fetch_answered(&upstream).await;
        assert!(stored.result.is_ok());
        assert_eq!(stored.connection, Some(generation));
        renderer.fetch_now(Manner::Fails(Status::not_found("none stored")));
        let nothing = fetch_answered(&upstream).await;
        assert!(nothing.result.is_err());
        assert_eq!(nothing.connection, Some(generation));
        renderer.fetch_now(Manner::Answers(response(b"stored")));
        network.cut();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_in_flight_is_unavailable_and_dialled_anew() {
    let renderer = ScriptedRenderer::stalls();
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    let call = tokio::spawn(render(&upstream));
    renderer.until_rendering(1).await;
    network.cut();
    assert!(matches!(
        call.await.unwrap(),
        Err(RenderError::Unavailable(_))
    ));
    assert_eq!(until_up_since(&upstream, 2).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_could_no_longer_be_sent_was_unreachable() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    let upstream = start(&network);
    until_up(&upstream).await;
    let connection = upstream.connection.borrow().clone().unwrap();
    network.cut();
    connection.worse_than(Condition::Leaving).await;
    let request = v1::FetchRequest::default();
    let call = connection.call(
        DEADLINE,
        |mut client| async move { client.fetch(request).await },
    );
    assert!(matches!(call.await, Err(failed) if matches!(failed.error, RenderError::Unreachable)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_idle_connection_is_noticed_at_once() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    let upstream = start(&network);
    until_up(&upstream).await;
    sleep(Duration::from_secs(60)).await;
    let lost = Instant::now();
    network.cut();
    until_up_since(&upstream, 2).await;
    assert!(lost.elapsed() <= JITTER);
    assert!(render(&upstream).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_leaving_renderer_answers_open_calls_and_gets_no_new_ones() {
    let renderer = ScriptedRenderer::stalls();
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    sleep(Duration::from_secs(60)).await;
    let mut old = tokio::spawn(render(&upstream));
    renderer.until_rendering(1).await;
    network.shut_down();
    until_up_since(&upstream, 2).await;
    renderer.now(Manner::Answers(response(b"new")));
    assert!(render(&upstream).await.is_ok());
    tokio::select! {
        ended = &mut old => panic!("{ended:?}"),
        () = sleep(Duration::from_secs(20)) => {}
    }
    assert_eq!(*renderer.resets.borrow(), 0);
    old.abort();
}

/// gRPC servers with a maximal connection age, and nginx with `keepalive_requests`, end connections
/// by GOAWAY all the time.
#[tokio::test(start_paused = true)]
async fn connections_that_are_sent_away_fail_no_call_and_are_no_outage() {
    let log = CapturedLog::start();
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    let began = Instant::now();
    let follow = tokio::spawn({
        let upstream = upstream.clone();
        async move { until_down(&upstream).await }
    });
    for _ in 0..50 {
        renderer.now(Manner::Stalls);
        let rendering = renderer.renders.borrow().len();
        let old = tokio::spawn(render(&upstream));
        renderer.until_rendering(rendering + 1).await;
        network.shut_down();
        renderer.now(Manner::Answers(response(b"{}")));
        assert!(render(&upstream).await.is_ok());
        assert!(!old.is_finished());
        old.abort();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    until_up_since(&upstream, 51).await;
    assert!(!follow.is_finished());
    follow.abort();
    log.assert_says(&[]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_with_an_age_of_two_seconds_is_no_outage() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    for _ in 0..20 {
        sleep(Duration::from_secs(2)).await;
        network.shut_down();
    }
    sleep(Duration::from_secs(1)).await;
    assert!(network.dials() > 20, "{}", network.dials());
    assert!(render(&upstream).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_renderer_never_saw_is_made_again_over_the_next_connection() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    network.now(Route::SendsAway);
    let upstream = start(&network);
    until_up(&upstream).await;
    network.now(Route::Serves);
    let answered = fetch_answered(&upstream).await;
    assert!(matches!(answered.result, Err(RenderError::Unimplemented)));
    assert_eq!(answered.connection, Some(2));
    assert_eq!(renderer.fetches.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_sent_away_twice_was_unreachable() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    network.now(Route::SendsAway);
    let upstream = start(&network);
    until_up(&upstream).await;
    let error = render(&upstream).await.unwrap_err();
    assert!(matches!(error, RenderError::Unreachable), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_every_connection_away_at_once_is_dialled_with_a_back_off() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    network.now(Route::Dismisses);
    let upstream = start(&network);
    sleep(Duration::from_secs(600)).await;
    assert!((30..=70).contains(&network.dials()), "{}", network.dials());
    drop(upstream);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_something_else_is_named_in_one_line() {
    for (words, said) in [
        (
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n".as_slice(),
            "the renderer at http://renderer answers HTTP/1.1 with status 400, not HTTP/2",
        ),
        (
            &[0x15, 3, 1, 0, 2, 2, 70],
            "the renderer at http://renderer speaks TLS, not plain HTTP/2",
        ),
        (
            b"<!DOCTYPE HTML PUBLIC>",
            "the renderer at http://renderer answers \\\"<!DOCTYPE HTML P\\\", not HTTP/2",
        ),
    ] {
        let log = CapturedLog::start();
        let network = Network::before(&ScriptedRenderer::answers(b"{}"));
        network.now(Route::Says(words));
        let upstream = start(&network);
        until_down(&upstream).await;
        log.assert_says(&[said]);
    }
}

/// A replica that leaves sends all its sidecars away in the same instant.
#[tokio::test(start_paused = true)]
async fn a_fleet_that_is_sent_away_does_not_redial_in_the_same_instant() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    let url = Uri::from_static("http://renderer");
    let fleet: Vec<_> = (0..200)
        .map(|seed| {
            let options = UpstreamOptions {
                seed,
                ..options(url.clone())
            };
            Upstream::start_over(network.clone(), options)
        })
        .collect();
    for upstream in &fleet {
        until_up(upstream).await;
        assert!(render(upstream).await.is_ok());
    }
    network.shut_down();
    let mut most_in_a_tenth = 0;
    for _ in 0..10 {
        let before = network.dials();
        sleep(Duration::from_millis(100)).await;
        most_in_a_tenth = most_in_a_tenth.max(network.dials() - before);
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(network.dials(), 400);
    assert!((15..=35).contains(&most_in_a_tenth), "{most_in_a_tenth}");
    for upstream in &fleet {
        until_up_since(upstream, 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_age_is_replaced_and_its_calls_finish() {
    let renderer = ScriptedRenderer::stalls();
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    let began = Instant::now();
    let old = tokio::spawn(render_within(&upstream, Duration::from_secs(3_600)));
    renderer.until_rendering(1).await;

    let mut connection = upstream.connection_state();
    connection.mark_unchanged();
    timeout(Duration::from_secs(3_600), connection.changed())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        *connection.borrow(),
        ConnectionState::Up { generation: 2, .. }
    ));
    assert!((480..=720).contains(&began.elapsed().as_secs()));

    renderer.now(Manner::Answers(response(b"new")));
    assert!(render(&upstream).await.is_ok());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        (*renderer.resets.borrow(), *network.closed.borrow()),
        (0, 0)
    );
    old.abort();
    network.until_closed(1).await;
    assert_eq!(*renderer.resets.borrow(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_to_be_replaced_is_so_at_once_and_only_while_it_is_in_use() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    let upstream = start(&network);
    until_up(&upstream).await;
    upstream.redial(1);
    until_up_since(&upstream, 2).await;
    upstream.redial(1);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(network.dials(), 2);

    network.now(Route::Refuses);
    upstream.redial(2);
    sleep(Duration::from_secs(60)).await;
    assert!(render(&upstream).await.is_ok(), "the old one does still");
    network.now(Route::Serves);
    until_up_since(&upstream, 3).await;
}

#[tokio::test(start_paused = true)]
async fn an_aged_connection_stays_in_use_while_it_cannot_be_replaced() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    let upstream = start(&network);
    until_up(&upstream).await;
    network.now(Route::Refuses);
    sleep(Duration::from_secs(1_200)).await;
    assert!(network.dials() > 10);
    assert!(matches!(
        *upstream.connection_state().borrow(),
        ConnectionState::Up { generation: 1, .. }
    ));
    assert!(render(&upstream).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_without_a_byte_has_the_connection_replaced() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    sleep(Duration::from_secs(60)).await;
    network.hold();
    time_out(&upstream, Duration::from_secs(2)).await;
    until_up_since(&upstream, 2).await;
    assert!(render(&upstream).await.is_ok());

    network.hold();
    network.now(Route::Swallows);
    time_out(&upstream, Duration::from_secs(2)).await;
    until_down(&upstream).await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_no_suspicion_while_bytes_arrive_or_when_the_caller_left_before() {
    let renderer = ScriptedRenderer::stalls();
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    let left = tokio::spawn(render(&upstream));
    renderer.until_rendering(1).await;
    left.abort();

    let slow = render_within(&upstream, Duration::from_secs(2));
    let slow = tokio::spawn(timeout(Duration::from_secs(2), slow));
    renderer.until_rendering(2).await;
    renderer.now(Manner::Answers(response(b"{}")));
    assert!(render(&upstream).await.is_ok());
    assert!(slow.await.unwrap().is_err());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(network.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renderer_that_hangs_is_not_dialled_in_a_loop() {
    let network = Network::before(&ScriptedRenderer::stalls());
    let upstream = start(&network);
    until_up(&upstream).await;
    for _ in 0..100 {
        time_out(&upstream, Duration::from_millis(100)).await;
    }
    assert!((2..20).contains(&network.dials()), "{}", network.dials());
    assert!(matches!(
        *upstream.connection_state().borrow(),
        ConnectionState::Up { .. }
    ));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_upstream_closes_its_connection() {
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    let upstream = start(&network);
    until_up(&upstream).await;
    let clone = upstream.clone();
    drop(upstream);
    assert!(render(&clone).await.is_ok());
    drop(clone);
    network.until_closed(1).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_one_log_line_at_its_start_and_one_at_its_end() {
    let log = CapturedLog::start();
    let network = Network::before(&ScriptedRenderer::answers(b"{}"));
    let upstream = start(&network);
    until_up(&upstream).await;
    network.now(Route::Refuses);
    network.cut();
    sleep(Duration::from_secs(600)).await;
    network.now(Route::Serves);
    until_up_since(&upstream, 2).await;
    log.assert_says(&["renderer is unreachable", "renderer is reachable again"]);
}
