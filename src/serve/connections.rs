//! Who is connected: every connection of the lookup listeners is counted for as long as it is open.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
    time::timeout,
};
use tonic::transport::server::Connected;

/// Counts open connections. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    open: Arc<watch::Sender<usize>>,
}

/// A connection that counts as open until dropped.
#[derive(Debug)]
pub(super) struct Counted<S> {
    socket: S,
    connections: Connections,
}

impl Connections {
    /// Starts with none.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until none was open for `quiet`, counted from this call at the earliest.
    pub async fn idle(&self, quiet: Duration) {
        let gone = "BUG: the connections outlive those who wait for them";
        let mut open = self.open.subscribe();
        loop {
            open.wait_for(|open| *open == 0).await.expect(gone);
            match timeout(quiet, open.changed()).await {
                Ok(changed) => changed.expect(gone),
                Err(_) => return,
            }
        }
    }

    /// Counts a connection.
    pub(super) fn count<S>(&self, socket: S) -> Counted<S> {
        self.open.send_modify(|open| *open += 1);
        Counted {
            socket,
            connections: self.clone(),
        }
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.connections.open.send_modify(|open| *open -= 1);
    }
}

impl<S: Connected> Connected for Counted<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.socket.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
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
    use tokio::time::{Instant, sleep};

    use super::*;

    const QUIET: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn is_idle_when_nobody_was_connected_for_a_while() {
        let connections = Connections::new();
        let began = Instant::now();
        connections.idle(QUIET).await;
        assert_eq!(began.elapsed(), QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_visit_starts_the_wait_anew() {
        let connections = Connections::new();
        let staying = connections.count(());
        let began = Instant::now();
        let idle = tokio::spawn({
            let connections = connections.clone();
            async move { connections.idle(QUIET).await }
        });
        sleep(Duration::from_secs(5)).await;
        assert_eq!(connections.open(), 1);
        drop(staying);
        sleep(Duration::from_millis(900)).await;
        drop(connections.count(()));
        sleep(Duration::from_millis(900)).await;
        assert!(!idle.is_finished());
        idle.await.unwrap();
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(6900), "{waited:?}");
        assert!(waited < Duration::from_millis(6910), "{waited:?}");
    }
}
