//! The one loop that accepts connections, whatever is served on them.
//!
//! An error that is not one connection's own, mostly the want of file descriptors, is waited out:
//! it is counted, and logged once for all listeners until accepting has gone well for a while.

use std::{
    future::Future,
    io,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::yield_now,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    calls::Calls,
    connections::{ConnectionSeat, Connections},
    listener::{BoundSocket, Listener},
};
use crate::metrics::{Metrics, Role};

/// How long connections may take to close by themselves: a caller that stops reading would never
/// let them.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait after a connection could not be accepted.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// How long accepting must have gone well before it is called well again: under churn a descriptor
/// is free now and then.
const WELL_AFTER: Duration = Duration::from_secs(3);

/// What the listeners of one role share: who is connected, when they close, and what goes wrong.
#[derive(Clone, Debug)]
pub struct RoleState {
    /// Who is connected.
    pub connections: Connections,
    /// Is cancelled when connections are to close.
    pub closing: CancellationToken,
    /// Remembers what could not be accepted.
    pub accepting: Accepting,
    /// Calls that one connection of gRPC may have open at once.
    pub max_streams: NonZeroU32,
    /// The calls of all connections.
    pub calls: Calls,
}

/// Whether connections can be accepted. Clones remember together.
#[derive(Clone, Debug)]
pub struct Accepting {
    failed: Arc<Mutex<Option<Instant>>>,
    metrics: Metrics,
    role: Role,
}

/// Serves a connection until it ends or its seat is needed.
pub(super) trait Host: Send + 'static {
    /// Serves one.
    fn host<S: ConnectionSocket>(
        &self,
        socket: S,
        seat: ConnectionSeat,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// A connection's socket.
pub(super) trait ConnectionSocket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ConnectionSocket for S {}

impl Accepting {
    /// Starts well.
    pub fn new(metrics: Metrics) -> Self {
        Self {
            failed: Arc::default(),
            metrics,
            role: Role::Lookup,
        }
    }

    /// Counts for listeners of that role, and remembers together with the others.
    pub fn of(&self, role: Role) -> Self {
        Self {
            role,
            ..self.clone()
        }
    }

    fn record_failure(&self, error: &io::Error) {
        self.metrics.accept_failed(self.role);
        let listener = self.role.as_str();
        if self.lock().replace(Instant::now()).is_none() {
            tracing::warn!(listener, %error, "cannot accept connections; will retry");
        }
    }

    fn record_success(&self) {
        let mut failed = self.lock();
        if failed.is_some_and(|at| at.elapsed() >= WELL_AFTER) {
            *failed = None;
            tracing::info!("accepting connections again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hosts every connection of a listener until its role is closing; those left then have
/// [`CLOSE_WITHIN`].
///
/// # Errors
/// When the listener cannot be used.
pub(super) async fn serve(
    listener: Listener,
    host: impl Host,
    role_state: RoleState,
) -> io::Result<()> {
    match listener.into_bound() {
        BoundSocket::Tcp(socket) => {
            accept_all(TcpListener::from_std(socket)?, host, role_state).await;
        }
        BoundSocket::Unix(socket, _file) => {
            accept_all(UnixListener::from_std(socket)?, host, role_state).await;
        }
    }
    Ok(())
}

async fn accept_all(listener: impl Accept, host: impl Host, role_state: RoleState) {
    let hosted = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept_one() => accepted,
            () = role_state.closing.cancelled() => break,
        };
        match accepted {
            Ok(socket) => {
                role_state.accepting.record_success();
                let seat = role_state.connections.enter(&role_state.closing);
                hosted.spawn(host.host(socket, seat));
                if role_state.connections.are_full() {
                    // A connection that was told to leave gives its descriptor back before another
                    // is accepted.
                    yield_now().await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                role_state.accepting.record_failure(&error);
                sleep(AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    hosted.close();
    if timeout(CLOSE_WITHIN, hosted.wait()).await.is_err() {
        tracing::warn!(within = ?CLOSE_WITHIN, "some connections are still open after the drain");
    }
}

/// Whether a peer left before it was accepted: the next one has nothing to wait for.
fn is_of_one_connection(error: &io::Error) -> bool {
    [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::ConnectionReset,
    ]
    .contains(&error.kind())
}

/// Accepts connections of one kind.
trait Accept {
    type Socket: ConnectionSocket;

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
