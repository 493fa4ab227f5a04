//! Serves gRPC on a listener until told to close, and then for no longer than its bound.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::Poll,
    time::Duration,
};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connections::Connections,
    gathered::{Gathered, Room},
    listener::{Bound, Listener},
    service::Service,
};

/// How long connections may take to close by themselves: a caller that stops reading would never let them.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How many calls may be cancelled before they were accepted, and how many streams may end in an error of ours, before a
/// connection is told to go away. The defaults, 20 and 1024, guard a public server; here they would hit applications whose
/// deadlines are short. A call that waits so costs some hundred bytes.
const MAX_RESETS: usize = 8192;

/// How long to wait after a connection could not be accepted, which is mostly for want of file descriptors.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// Serves on a listener until `closing`, counting its connections.
///
/// # Errors
/// When the listener cannot be used.
pub(super) async fn serve(
    listener: Listener,
    service: impl Service,
    connections: Connections,
    closing: CancellationToken,
) -> io::Result<()> {
    match listener.into_bound() {
        Bound::Tcp(socket) => {
            let listener = TcpListener::from_std(socket)?;
            accept_all(listener, service, connections, closing).await;
        }
        Bound::Unix(socket, _file) => {
            let listener = UnixListener::from_std(socket)?;
            accept_all(listener, service, connections, closing).await;
        }
    }
    Ok(())
}

/// Serves every connection that a listener gets. What cannot be accepted is waited out.
async fn accept_all(
    listener: impl Accept,
    service: impl Service,
    connections: Connections,
    closing: CancellationToken,
) {
    let serving = TaskTracker::new();
    let room = Room::default();
    let mut well = true;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept_one() => accepted,
            () = closing.cancelled() => break,
        };
        match accepted {
            Ok(socket) => {
                if !well {
                    tracing::info!("accepting connections again");
                }
                well = true;
                let counted = connections.count(socket);
                let gathered = Gathered::new(counted, room.clone());
                serving.spawn(serve_connection(gathered, service.clone(), closing.clone()));
            }
            Err(error) => {
                if well {
                    tracing::warn!(%error, "cannot accept connections");
                }
                well = false;
                sleep(AFTER_ACCEPT_ERROR).await;
            }
        }
    }
    drop(listener);
    serving.close();
    if timeout(CLOSE_WITHIN, serving.wait()).await.is_err() {
        tracing::warn!(within = ?CLOSE_WITHIN, "connections did not close by themselves");
    }
}

/// Serves one connection until it ends; once `closing`, it is told to go away and ends with its last call.
pub(super) async fn serve_connection<S>(
    gathered: Gathered<S>,
    service: impl Service,
    closing: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answering = hyper::service::service_fn(move |request| {
        let answer = service.clone().answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(None)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            // gRPC has no use for it.
            .auto_date_header(false)
            .serve_connection(TokioIo::new(gathered.clone()), answering)
    );
    let mut closed = pin!(closing.cancelled());
    let mut is_closing = false;
    let ended = poll_fn(|context| {
        if !is_closing && closed.as_mut().poll(context).is_ready() {
            is_closing = true;
            connection.as_mut().graceful_shutdown();
        }
        let ended = connection.as_mut().poll(context);
        match gathered.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
            Poll::Ready(Ok(())) | Poll::Pending => ended.map_err(|error| error.to_string()),
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke");
    }
}

/// Accepts connections of one kind.
trait Accept {
    type Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept_one(&self) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

impl Accept for TcpListener {
    type Socket = TcpStream;

    async fn accept_one(&self) -> io::Result<TcpStream> {
        let (socket, _) = self.accept().await?;
        // A socket that does not take it has lost its peer already; serving it will find out.
        let _ = socket.set_nodelay(true);
        Ok(socket)
    }
}

impl Accept for UnixListener {
    type Socket = UnixStream;

    async fn accept_one(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(socket, _)| socket)
    }
}

#[cfg(test)]
mod tests;
