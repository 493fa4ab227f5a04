//! Serves gRPC on a listener until told to close, and then for no longer than its bound.

use std::{future::Future, io, time::Duration};

use futures_util::stream::{self, Stream};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    service::Routes,
    transport::{Server, server::Connected},
};

use super::{
    arrival::Stamp,
    connections::{Connections, Counted},
    listener::{Bound, Listener},
};

/// How long connections may take to close by themselves: a caller that stops reading would never let them.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How many calls may be cancelled before they were accepted, and how many streams may end in an error of ours, before a
/// connection is told to go away. The defaults, 20 and 1024, guard a public server; here they would hit applications whose
/// deadlines are short. A call that waits so costs some hundred bytes.
const MAX_RESETS: usize = 8192;

/// How long to wait after a connection could not be accepted, which is mostly for want of file descriptors.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// Serves `routes` on a listener until `closing`, counting its connections.
///
/// # Errors
/// When the listener cannot be used.
pub(super) async fn serve(
    listener: Listener,
    routes: Routes,
    connections: Connections,
    closing: CancellationToken,
) -> io::Result<()> {
    match listener.into_bound() {
        Bound::Tcp(socket) => {
            let listener = TcpListener::from_std(socket)?;
            serve_incoming(incoming(listener, connections), routes, closing).await
        }
        Bound::Unix(socket, _file) => {
            let listener = UnixListener::from_std(socket)?;
            serve_incoming(incoming(listener, connections), routes, closing).await
        }
    }
}

/// Serves `routes` on connections.
///
/// # Errors
/// When tonic does not serve any.
pub(super) async fn serve_incoming<S>(
    incoming: impl Stream<Item = io::Result<S>>,
    routes: Routes,
    closing: CancellationToken,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let served = Server::builder()
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_RESETS))
        .layer(Stamp)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, closing.cancelled());
    let overdue = async {
        closing.cancelled().await;
        sleep(CLOSE_WITHIN).await;
    };
    tokio::select! {
        served = served => served.map_err(io::Error::other),
        () = overdue => {
            tracing::warn!(within = ?CLOSE_WITHIN, "connections did not close by themselves");
            Ok(())
        }
    }
}

/// Accepts connections of one kind.
trait Accept {
    type Socket;

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

/// Every connection that a listener gets. Never ends: what cannot be accepted is waited out.
fn incoming<L: Accept>(
    listener: L,
    connections: Connections,
) -> impl Stream<Item = io::Result<Counted<L::Socket>>> {
    stream::unfold((listener, connections, true), async |state| {
        let (listener, connections, mut well) = state;
        let socket = loop {
            match listener.accept_one().await {
                Ok(socket) => break socket,
                Err(error) => {
                    if well {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    well = false;
                    sleep(AFTER_ACCEPT_ERROR).await;
                }
            }
        };
        if !well {
            tracing::info!("accepting connections again");
        }
        let counted = connections.count(socket);
        Some((Ok(counted), (listener, connections, true)))
    })
}
