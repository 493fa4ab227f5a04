//! Opens the byte stream that a connection runs over: TCP to the renderer, or whatever a test puts in its place.
//!
//! Knows nothing of HTTP/2, and of time only the socket's own: the dial that calls it has a timeout around everything.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use http::Uri;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up: gRPC's keepalive timeout (gRFC A18).
const USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens byte streams to a renderer, one at a time.
pub trait Connect: Send + 'static {
    /// The byte stream.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens one. It need not bound its time; dropping the future gives up.
    fn connect(&mut self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// Opens TCP connections to a host, whose name it resolves anew each time.
#[derive(Debug)]
pub(super) struct Tcp {
    host: String,
    port: u16,
    random: fastrand::Rng,
}

impl Tcp {
    /// Takes host and port of a URL; port 80 when it names none.
    pub(super) fn new(url: &Uri, seed: u64) -> Self {
        let host = url.host().unwrap_or_default();
        Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port_u16().unwrap_or(80),
            random: fastrand::Rng::with_seed(seed),
        }
    }
}

impl Connect for Tcp {
    type Io = TcpStream;

    /// Tries the addresses of the name in random order, so that the replicas behind it share the sidecars.
    async fn connect(&mut self) -> io::Result<TcpStream> {
        let mut addresses: Vec<_> = lookup_host((self.host.as_str(), self.port))
            .await?
            .collect();
        self.random.shuffle(&mut addresses);
        let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match open(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_sends_at_once_and_gives_up_what_is_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let stream = Tcp::new(&url.parse().unwrap(), 1).connect().await.unwrap();
        assert!(stream.nodelay().unwrap());
        let timeout = socket2::SockRef::from(&stream).tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(USER_TIMEOUT));
    }

    #[test]
    fn an_address_of_version_6_loses_its_brackets() {
        let tcp = Tcp::new(&"http://[::1]".parse().unwrap(), 1);
        assert_eq!((tcp.host.as_str(), tcp.port), ("::1", 80));
    }
}
