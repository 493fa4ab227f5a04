//! One connection of HTTP/1, and the little memory and time that it gets.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};
use tower::Service as _;

use crate::serve::{
    accept::{ConnectionSocket, Host},
    connections::ConnectionSeat,
};

/// The most bytes of a request's head, and the most of what is read ahead.
const MAX_HEAD: usize = 16 * 1024;

/// How long a request's head may take to come; for the first one, counted from when the connection
/// was accepted.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection may stay between requests: longer than the usual interval of scrapers, a
/// minute.
const IDLE: Duration = Duration::from_secs(120);

/// Hosts connections of HTTP/1.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) routes: Router,
}

impl Host for Pages {
    fn host<S: ConnectionSocket>(
        &self,
        socket: S,
        seat: ConnectionSeat,
    ) -> impl Future<Output = ()> + Send + 'static {
        serve_connection(socket, self.routes.clone(), seat)
    }
}

/// How far a connection's next request has come. Clones are of the same connection.
#[derive(Clone, Debug)]
struct RequestProgress(Arc<Mutex<Phase>>);

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// A request comes since then: its first byte did, or the connection was accepted.
    Coming(Instant),
    /// The last request came then.
    Asked(Instant),
}

/// A socket that notes when bytes come.
#[derive(Debug)]
struct WatchedSocket<S> {
    socket: S,
    progress: RequestProgress,
}

/// Serves a connection until it ends, takes too long, or has to leave.
async fn serve_connection<S: ConnectionSocket>(socket: S, routes: Router, seat: ConnectionSeat) {
    let progress = RequestProgress::accepted();
    let socket = WatchedSocket {
        socket,
        progress: progress.clone(),
    };
    let (asked, seat) = (progress.clone(), &seat);
    let answering = hyper::service::service_fn(move |request: Request<Incoming>| {
        asked.request_came();
        seat.mark_used();
        let mut routes = routes.clone();
        async move { routes.call(request.map(Body::new)).await }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_header_size(MAX_HEAD)
            .serve_connection(TokioIo::new(socket), answering)
    );
    let mut over = pin!(sleep_until(progress.ends()));
    let mut leave = pin!(seat.leave().cancelled());
    poll_fn(|context| {
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let ends = progress.ends();
        if over.deadline() != ends {
            over.as_mut().reset(ends);
        }
        if over.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        leave.as_mut().poll(context)
    })
    .await;
}

impl RequestProgress {
    fn accepted() -> Self {
        Self(Arc::new(Mutex::new(Phase::Coming(Instant::now()))))
    }

    // Coming → Asked
    fn request_came(&self) {
        *self.phase() = Phase::Asked(Instant::now());
    }

    // Asked → Coming
    fn bytes_came(&self) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Asked(_)) {
            *phase = Phase::Coming(Instant::now());
        }
    }

    /// When the connection has to end, unless something happens before.
    fn ends(&self) -> Instant {
        match *self.phase() {
            Phase::Coming(since) => since + HEAD_WITHIN,
            Phase::Asked(at) => at + IDLE,
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.progress.bytes_came();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::sleep,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::serve::Connections;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    /// A caller's side of a connection.
    fn connect() -> DuplexStream {
        let (ours, theirs) = duplex(64 * 1024);
        let connections = Connections::at_most(NonZeroUsize::MIN);
        let seat = connections.enter(&CancellationToken::new());
        let routes = Router::new().route("/", get(async || "here"));
        tokio::spawn(serve_connection(theirs, routes, seat));
        ours
    }

    async fn asks(caller: &mut DuplexStream) {
        caller.write_all(REQUEST).await.unwrap();
        let mut answer = [0; 1000];
        let length = caller.read(&mut answer).await.unwrap();
        assert!(answer[..length].ends_with(b"here"));
    }

    /// How long the connection goes on.
    async fn ends(mut caller: DuplexStream) -> Duration {
        let began = Instant::now();
        while caller.read(&mut [0; 1000]).await.is_ok_and(|read| read > 0) {}
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_comes_ends_soon() {
        assert_eq!(ends(connect()).await, HEAD_WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_has_as_long_as_one_that_stalls() {
        let mut caller = connect();
        let began = Instant::now();
        for byte in REQUEST {
            if caller.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        ends(caller).await;
        assert!(began.elapsed() <= HEAD_WITHIN + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_scraper_that_comes_once_a_minute_keeps_its_connection_and_an_idle_one_loses_it() {
        let mut caller = connect();
        for _ in 0..10 {
            asks(&mut caller).await;
            sleep(Duration::from_secs(60)).await;
        }
        asks(&mut caller).await;
        assert_eq!(ends(caller).await, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_request_that_does_not_come_to_its_end_ends_the_connection() {
        let mut caller = connect();
        asks(&mut caller).await;
        sleep(Duration::from_secs(60)).await;
        caller.write_all(b"GET / HT").await.unwrap();
        assert_eq!(ends(caller).await, HEAD_WITHIN);
    }
}
