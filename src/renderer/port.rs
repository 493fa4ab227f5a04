//! A port: serves the renderer's services on a listener that faults can close, and that opens again
//! on the same address.
//!
//! Dead means dead: the listener is gone and every connection is cut. The address stays bound
//! meanwhile, without listening, so that connecting is refused and no other process takes the port.
//! Draining is kinder: calls that run may end.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{
    service::Routes,
    transport::server::{Connected, Server, TcpConnectInfo},
};

use super::fault::{Faults, Port};

/// How many connections wait to be accepted.
const BACKLOG: u32 = 1024;

/// Serves until `drain`, and on until no connection is left; cuts those at `stop`.
///
/// # Errors
/// When the address cannot be had again after a fault.
pub(super) async fn serve(
    mut listener: TcpListener,
    routes: Routes,
    faults: Faults,
    drain: CancellationToken,
    stop: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let serve = async {
        loop {
            let cut = stop.child_token();
            tokio::select! {
                biased;
                () = faults.until(Port::Closed) => {}
                served = serve_open(listener, routes.clone(), &drain, cut.clone()) => return served,
            }
            cut.cancel();
            let socket = reserve(address)?;
            tracing::info!(%address, "port closed");
            tokio::select! {
                () = faults.until(Port::Open) => {}
                () = drain.cancelled() => return Ok(()),
            }
            listener = socket.listen(BACKLOG)?;
            tracing::info!(%address, "port open again");
        }
    };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = serve => ended,
    }
}

async fn serve_open(
    listener: TcpListener,
    routes: Routes,
    drain: &CancellationToken,
    cut: CancellationToken,
) -> io::Result<()> {
    let connections = TcpListenerStream::new(listener).filter_map(|accepted| {
        let stream = accepted.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Ok::<_, io::Error>(CuttableConnection {
            stream,
            cut: Box::pin(cut.clone().cancelled_owned()),
        }))
    });
    Server::builder()
        .add_routes(routes)
        .serve_with_incoming_shutdown(connections, drain.cancelled())
        .await
        .map_err(io::Error::other)
}

/// Binds the address without listening on it.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// A connection that can be cut: from then on reading fails.
struct CuttableConnection {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for CuttableConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for CuttableConnection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}
