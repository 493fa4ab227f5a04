//! What calls send, and what becomes of the answers.

use std::sync::atomic::Ordering;

use axum::{Router, body::Bytes, http::StatusCode, routing::any};
use prost::Message as _;
use tokio::time::sleep;
use tonic::{Status, codec::CompressionEncoding, service::Routes};

use super::{
    network::Network,
    renderer::{Manner, ScriptedRenderer, response},
    *,
};
use crate::{
    proto::v1::{self, render_service_server::RenderServiceServer},
    render::{Pushback, PushbackScope, Rejected, RenderError},
    revision::{Digest, Order},
};

async fn up(renderer: &ScriptedRenderer) -> Upstream {
    let upstream = start(&Network::before(renderer));
    until_up(&upstream).await;
    upstream
}

async fn error_of(renderer: &ScriptedRenderer) -> RenderError {
    render(&up(renderer).await).await.unwrap_err()
}

/// What a render comes to when the renderer's side answers in plain HTTP.
async fn error_of_http(
    status: StatusCode,
    content_type: &'static str,
    body: &'static [u8],
) -> RenderError {
    let page = any(move || async move {
        let content_type = [("content-type", content_type)];
        (status, content_type, Bytes::from_static(body))
    });
    let routes = Routes::from(Router::new().fallback(page));
    let upstream = start(&Network::before_routes(routes));
    until_up(&upstream).await;
    render(&upstream).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_render_says_what_is_asked_what_is_held_and_how_long_it_may_take() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let upstream = up(&renderer).await;
    let digest = Digest::of(b"held");
    let ask = Ask {
        project: shop(),
        rollout: 9,
        held: Some((Order::new(8, 3), digest)),
        reason: RenderReason::Outdated,
        span: TraceContext::fresh().span(),
    };
    let rendered = upstream.render(permit(), ask, DEADLINE).await;
    assert!(matches!(
        rendered.result,
        Ok(Rendered::Revision(offer)) if offer.order == Order::new(1, 1) && offer.project == "shop"
    ));
    let (request, timeout) = renderer.renders.borrow()[0].clone();
    let expected = v1::RenderRequest {
        project: "shop".to_owned(),
        component: "identity".to_owned(),
        rollout: 9,
        held: Some(v1::HeldRevision {
            rollout: 8,
            number: 3,
            digest: digest.to_string(),
        }),
        reason: v1::RenderReason::Outdated.into(),
    };
    assert_eq!((request, timeout.as_str()), (expected, "30000000u"));
}

#[tokio::test(start_paused = true)]
async fn renders_and_fetches_carry_their_trace_with_a_span_of_their_own() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let upstream = up(&renderer).await;
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = TraceContext::parse(caller).unwrap();
    let [rendering, fetching] = [trace.span(), trace.span()];
    let ask = Ask {
        project: shop(),
        rollout: 1,
        held: None,
        reason: RenderReason::Missing,
        span: rendering,
    };
    let _rendered = upstream.render(permit(), ask, DEADLINE).await;
    let _fetched = upstream
        .fetch(fetch_permit(), shop(), fetching, DEADLINE)
        .await;
    let held = (Order::new(1, 1), Digest::of(b"held"));
    let fresh_connection = up(&renderer).await;
    let _confirmed = fresh_connection
        .confirm(fetch_permit(), shop(), held, DEADLINE)
        .await;
    let sent = renderer.traceparents.lock().unwrap().clone();
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[..2], [rendering, fetching].map(TraceSpan::traceparent));
    let confirming = TraceContext::parse(&sent[2]).unwrap();
    assert_ne!(confirming.trace(), trace.trace(), "no lookup causes it");
}

#[tokio::test(start_paused = true)]
async fn not_modified_is_passed_on_with_its_order() {
    let renderer = ScriptedRenderer::answers(b"");
    renderer.now(Manner::Answers(v1::RenderResponse {
        not_modified: true,
        ..response(b"")
    }));
    assert!(matches!(
        render(&up(&renderer).await).await,
        Ok(Rendered::NotModified { project, order }) if project == "shop" && order == Order::new(1, 1)
    ));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_resets_it_at_the_renderer() {
    let renderer = ScriptedRenderer::stalls();
    let upstream = up(&renderer).await;
    let call = tokio::spawn(render(&upstream));
    renderer.until_rendering(1).await;
    call.abort();
    let mut resets = renderer.resets.subscribe();
    until(&mut resets, |resets| *resets == 1).await;
}

/// Guards against statsig-forward-proxy's reading of error pages: an outage that mentions "403"
/// came out as permission denied.
#[tokio::test(start_paused = true)]
async fn an_outage_that_mentions_403_stays_an_outage() {
    let renderer = ScriptedRenderer::fails(Status::unavailable("upstream said: 403 Forbidden"));
    assert!(matches!(
        error_of(&renderer).await,
        RenderError::Unavailable(_)
    ));
    let page = error_of_http(
        StatusCode::SERVICE_UNAVAILABLE,
        "text/html",
        b"<h1>403 Forbidden</h1>",
    )
    .await;
    assert!(matches!(page, RenderError::Unavailable(_)), "{page:?}");
}

#[tokio::test(start_paused = true)]
async fn statuses_of_a_renderer_keep_their_meaning() {
    let error = error_of(&ScriptedRenderer::fails(Status::not_found("shop"))).await;
    assert!(matches!(error, RenderError::NotFound));
    let error = error_of(&ScriptedRenderer::fails(Status::aborted("again"))).await;
    assert!(matches!(error, RenderError::Aborted(_)));
    let error = error_of(&ScriptedRenderer::fails(Status::internal("a bug"))).await;
    assert!(matches!(
        error,
        RenderError::Failed {
            code: "INTERNAL",
            ..
        }
    ));
    let error = error_of(&ScriptedRenderer::fails(Status::out_of_range("what"))).await;
    assert!(matches!(
        error,
        RenderError::Failed {
            code: "OUT_OF_RANGE",
            ..
        }
    ));
}

#[tokio::test(start_paused = true)]
async fn pushback_arrives_with_its_scope() {
    let mut status = Status::resource_exhausted("busy");
    let metadata = status.metadata_mut();
    metadata.insert("grpc-retry-pushback-ms", "3000".parse().unwrap());
    metadata.insert("evenkeel-pushback-scope", "global".parse().unwrap());
    let expected = Pushback {
        after: Some(Duration::from_secs(3)),
        scope: PushbackScope::Global,
    };
    let error = error_of(&ScriptedRenderer::fails(status)).await;
    assert!(matches!(error, RenderError::Exhausted { pushback, .. } if pushback == expected));
}

/// tonic panics on such details when they reach it.
#[tokio::test(start_paused = true)]
async fn details_that_are_garbled_are_left_out() {
    let garbled = any(|| async {
        let headers = [
            ("grpc-status", "14"),
            ("grpc-message", "down"),
            ("grpc-status-details-bin", "%%%"),
        ];
        (headers, "")
    });
    let routes = Routes::from(Router::new().fallback(garbled));
    let upstream = start(&Network::before_routes(routes));
    until_up(&upstream).await;
    let error = render(&upstream).await.unwrap_err();
    assert!(matches!(error, RenderError::Unavailable(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_payload_up_to_the_limit_is_received_and_a_larger_one_is_rejected() {
    let renderer = ScriptedRenderer::answers(&vec![b'x'; MAX_PAYLOAD]);
    let upstream = up(&renderer).await;
    assert!(render(&upstream).await.is_ok());

    renderer.now(Manner::Answers(response(&vec![b'x'; 10 * MAX_PAYLOAD])));
    let error = render(&upstream).await.unwrap_err();
    assert!(
        matches!(
            error,
            RenderError::Rejected(Rejected::OversizedPayload { bytes, limit: MAX_PAYLOAD })
                if bytes > 10 * MAX_PAYLOAD
        ),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_revision_or_sense_is_rejected() {
    let renderer = ScriptedRenderer::answers(b"");
    renderer.now(Manner::Answers(v1::RenderResponse::default()));
    let error = error_of(&renderer).await;
    assert!(matches!(error, RenderError::Rejected(Rejected::Unreadable)));

    for garbage in [
        b"\0\0\0\0\x04\xff\xff\xff\xff".as_slice(),
        b"<h1>Log in</h1>",
    ] {
        let error = error_of_http(StatusCode::OK, "application/grpc", garbage).await;
        assert!(
            matches!(error, RenderError::Rejected(Rejected::Unreadable)),
            "{error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_cut_short_is_a_failure_of_its_call_alone() {
    for body in [b"".as_slice(), b"\0\0", b"\0\0\0\0\x04\x0a"] {
        let error = error_of_http(StatusCode::OK, "application/grpc+proto", body).await;
        assert!(
            matches!(
                error,
                RenderError::Failed {
                    code: "INTERNAL",
                    ..
                }
            ),
            "{body:?}: {error:?}"
        );
    }
}

/// tonic alone takes the first message, and drops what follows.
#[tokio::test(start_paused = true)]
async fn an_answer_of_several_messages_is_a_failure_of_its_call_alone() {
    let rendered = response(b"{}").encode_to_vec();
    let length = u32::try_from(rendered.len()).unwrap().to_be_bytes();
    let message = [[0].as_slice(), &length, &rendered].concat();
    for (messages, is_failure) in [(1, false), (2, true)] {
        let body = message.repeat(messages);
        let page = any(move || async move {
            let headers = [("content-type", "application/grpc"), ("grpc-status", "0")];
            (headers, body)
        });
        let upstream = start(&Network::before_routes(Routes::from(
            Router::new().fallback(page),
        )));
        until_up(&upstream).await;
        let rendered = render(&upstream).await;
        let is_failed = matches!(
            rendered,
            Err(RenderError::Failed {
                code: "INTERNAL",
                ..
            })
        );
        assert_eq!(is_failed, is_failure, "{rendered:?}");
    }
}

/// A gateway's 404 page of two seconds switched Fetch off for ten minutes.
#[tokio::test(start_paused = true)]
async fn a_page_is_a_fault_of_the_way_and_named_by_its_number() {
    for (status, content_type, said) in [
        (
            404,
            "text/html",
            "answers HTTP status 404 (text/html), not gRPC",
        ),
        (
            200,
            "text/html; charset=utf-8",
            "answers HTTP status 200 (text/html; charset=utf-8), not gRPC",
        ),
        (
            400,
            "text/plain",
            "answers HTTP status 400 (text/plain), not gRPC",
        ),
        (502, "", "answers HTTP status 502 (), not gRPC"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let error = error_of_http(status, content_type, b"<h1>UNIMPLEMENTED</h1>").await;
        assert!(matches!(error, RenderError::Unavailable(_)), "{error:?}");
        assert!(error.to_string().ends_with(said), "{error}");
    }
    let unknown = error_of_http(StatusCode::UNAUTHORIZED, "text/html", b"").await;
    assert!(
        matches!(
            unknown,
            RenderError::Failed {
                code: "UNAUTHENTICATED",
                ..
            }
        ),
        "{unknown:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_compressed_with_gzip_is_read_and_with_anything_else_is_a_fault_of_the_way() {
    let renderer = ScriptedRenderer::answers(&[b'x'; 90_000]);
    let service =
        RenderServiceServer::new(renderer.clone()).send_compressed(CompressionEncoding::Gzip);
    let upstream = start(&Network::before_routes(Routes::new(service)));
    until_up(&upstream).await;
    assert!(matches!(
        render(&upstream).await,
        Ok(Rendered::Revision(offer)) if offer.payload.len() == 90_000
    ));

    // A bomb: 10 MB in 10 kB.
    renderer.now(Manner::Answers(response(&vec![0; 10_000_000])));
    let error = render(&upstream).await.unwrap_err();
    assert!(
        matches!(error, RenderError::Rejected(Rejected::Unreadable)),
        "{error:?}"
    );

    let brotli = any(|| async {
        (
            [
                ("content-type", "application/grpc"),
                ("grpc-encoding", "br"),
            ],
            "",
        )
    });
    let upstream = start(&Network::before_routes(Routes::from(
        Router::new().fallback(brotli),
    )));
    until_up(&upstream).await;
    let error = fetch(&upstream).await.unwrap_err();
    assert!(matches!(error, RenderError::Unavailable(_)), "{error:?}");
}

/// A stack trace of 20 KB in the status broke the stream, and counted as an outage.
#[tokio::test(start_paused = true)]
async fn a_status_message_of_60_kb_is_read_and_a_longer_one_fails_its_call_alone() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    for kilobytes in [20, 60] {
        let trace = "x".repeat(kilobytes * 1_000);
        renderer.now(Manner::Fails(Status::not_found(trace)));
        assert!(
            matches!(render(&upstream).await, Err(RenderError::NotFound)),
            "{kilobytes}"
        );
    }
    let mut other = tokio::spawn({
        renderer.now(Manner::Stalls);
        render(&upstream)
    });
    renderer.until_rendering(3).await;
    renderer.now(Manner::Fails(Status::not_found("x".repeat(100_000))));
    let error = render(&upstream).await.unwrap_err();
    assert!(
        matches!(
            error,
            RenderError::Failed {
                code: "INTERNAL",
                ..
            }
        ),
        "{error:?}"
    );
    tokio::select! {
        ended = &mut other => panic!("{ended:?}"),
        () = sleep(Duration::from_secs(20)) => {}
    }
    assert_eq!(network.dials(), 1);
    other.abort();
}

#[tokio::test(start_paused = true)]
async fn a_missing_fetch_is_remembered_for_a_minute_or_as_long_as_the_connection_lasts() {
    let renderer = ScriptedRenderer::answers(b"{}");
    let network = Network::before(&renderer);
    let upstream = start(&network);
    until_up(&upstream).await;
    for _ in 0..3 {
        assert!(matches!(
            fetch(&upstream).await,
            Err(RenderError::Unimplemented)
        ));
    }
    assert_eq!(renderer.fetches.load(Ordering::Relaxed), 1);
    sleep(Duration::from_secs(61)).await;
    assert!(fetch(&upstream).await.is_err());
    assert_eq!(renderer.fetches.load(Ordering::Relaxed), 2);

    renderer.fetch_now(Manner::Answers(response(b"stored")));
    network.cut();
    until_up_since(&upstream, 2).await;
    assert_eq!(fetch(&upstream).await.unwrap().payload, "stored");

    renderer.fetch_now(Manner::Fails(Status::not_found("none stored")));
    assert!(matches!(fetch(&upstream).await, Err(RenderError::NotFound)));
}
