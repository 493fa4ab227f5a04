//! Streams that the renderer refuses before it processes them.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Response;
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::upstream::Connect;

/// Connects to a peer that refuses the first `refuses` streams of renders, and answers later ones
/// with NOT_FOUND.
#[derive(Clone, Default)]
struct Refusing {
    refuses: usize,
    renders: Arc<AtomicUsize>,
}

impl Connect for Refusing {
    type Io = DuplexStream;

    async fn connect(&mut self) -> io::Result<DuplexStream> {
        let (near, far) = duplex(64 * 1024);
        let peer = self.clone();
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(far).await.unwrap();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let is_render = request.uri().path().ends_with("/Render");
                if is_render && peer.renders.fetch_add(1, Ordering::Relaxed) < peer.refuses {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    continue;
                }
                let status = if is_render { "5" } else { "12" };
                let answer = Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", status);
                respond
                    .send_response(answer.body(()).unwrap(), true)
                    .unwrap();
            }
        });
        Ok(near)
    }
}

/// What a render comes to, and how many streams it took.
async fn renders_over(refuses: usize) -> (RenderError, usize) {
    let peer = Refusing {
        refuses,
        ..Refusing::default()
    };
    let upstream = Upstream::start_over(peer.clone(), options(Uri::from_static("http://renderer")));
    until_up(&upstream).await;
    let error = render(&upstream).await.unwrap_err();
    (error, peer.renders.load(Ordering::Relaxed))
}

/// The first try of each render was reset so, and the breaker opened.
#[tokio::test(start_paused = true)]
async fn a_refused_stream_is_tried_again_at_once_and_once() {
    let (error, renders) = renders_over(1).await;
    assert!(matches!(error, RenderError::NotFound), "{error}");
    assert_eq!(renders, 2);
    let (error, renders) = renders_over(2).await;
    assert!(matches!(error, RenderError::Refused(_)), "{error}");
    assert_eq!(renders, 2);
}
