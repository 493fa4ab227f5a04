//! Opens the byte stream that a connection runs over: TCP to the renderer, or whatever a test puts
//! in its place.
//!
//! Knows nothing of HTTP/2, and of time only the socket's own and the delay between the addresses
//! of a name: the dial that calls it has a timeout around everything.

use std::{future::Future, io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::Uri;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::sleep,
};

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up: gRPC's
/// keepalive timeout (gRFC A18).
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// After how long without a byte the kernel asks whether the peer is still there: what the network
/// swallowed silently is noticed within a minute, also while nothing is sent.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
/// How long the kernel waits between two such probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// After how many probes without an answer it gives up.
const KEEPALIVE_PROBES: u32 = 3;
/// How long an address has before the next one is tried beside it: the Connection Attempt Delay of
/// RFC 8305 §5.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Opens byte streams to a renderer, one at a time; clones may do so at the same time.
pub trait Connect: Clone + Send + 'static {
    /// The byte stream.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens one. It need not bound its time; dropping the future gives up.
    fn connect(&mut self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

/// Opens TCP connections to a host, whose name it resolves anew each time.
#[derive(Clone, Debug)]
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

    /// Tries the addresses of the name in random order, so that the replicas behind it share the
    /// sidecars.
    async fn connect(&mut self) -> io::Result<TcpStream> {
        let mut addresses: Vec<_> = lookup_host((self.host.as_str(), self.port))
            .await?
            .collect();
        self.random.shuffle(&mut addresses);
        race(alternate(&addresses), open).await
    }
}

/// Puts addresses of the other family behind each, so that one family that leads nowhere delays by
/// one attempt (RFC 8305 §4).
fn alternate(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first = |address: &SocketAddr| address.is_ipv4() == addresses[0].is_ipv4();
    let (first, second): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_first);
    let mut second = second.into_iter();
    let mut alternated = Vec::with_capacity(addresses.len());
    for address in first {
        alternated.push(address);
        alternated.extend(second.next());
    }
    alternated.extend(second);
    alternated
}

/// Connects to the first address that accepts ("happy eyeballs", RFC 8305 §5): the next one is
/// tried as soon as one refuses, or has not answered for [`ATTEMPT_DELAY`], while those before it
/// go on.
async fn race<T, F>(addresses: Vec<SocketAddr>, attempt: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = FuturesUnordered::new();
    for address in addresses {
        attempts.push(attempt(address));
        tokio::select! {
            biased;
            Some(ended) = attempts.next() => match ended {
                Ok(connected) => return Ok(connected),
                Err(error) => refusal = error,
            },
            () = sleep(ATTEMPT_DELAY) => {}
        }
    }
    while let Some(ended) = attempts.next().await {
        match ended {
            Ok(connected) => return Ok(connected),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    fn addresses(of: &[&str]) -> Vec<SocketAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_socket_sends_at_once_and_gives_up_what_is_not_acknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let stream = Tcp::new(&url.parse().unwrap(), 1).connect().await.unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }

    #[test]
    fn an_address_of_version_6_loses_its_brackets() {
        let tcp = Tcp::new(&"http://[::1]".parse().unwrap(), 1);
        assert_eq!((tcp.host.as_str(), tcp.port), ("::1", 80));
    }

    #[test]
    fn addresses_of_both_families_take_turns() {
        let mixed = addresses(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1", "1.1.1.2:1"]);
        let turns = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(alternate(&mixed), turns);
        assert_eq!(alternate(&[]), []);
    }

    /// A name with two addresses, one of which is dead: it took up to 5.5 s to connect.
    #[tokio::test(start_paused = true)]
    async fn a_dead_address_delays_a_connection_by_a_quarter_of_a_second() {
        let [dead, alive] = ["1.1.1.1:1", "1.1.1.2:1"];
        let began = Instant::now();
        let tried = RefCell::new(Vec::new());
        let attempt = |address: SocketAddr| {
            tried.borrow_mut().push((address, began.elapsed()));
            async move {
                if address == dead.parse().unwrap() {
                    pending::<()>().await;
                }
                Ok(address)
            }
        };
        let connected = race(addresses(&[dead, alive]), attempt).await.unwrap();
        assert_eq!(connected, alive.parse().unwrap());
        assert_eq!(began.elapsed(), ATTEMPT_DELAY);
        assert_eq!(tried.borrow().len(), 2);

        let began = Instant::now();
        race(addresses(&[alive, dead]), attempt).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(tried.borrow().len(), 3, "the second is not tried");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_delays_nothing_and_a_slow_one_may_win() {
        let began = Instant::now();
        let attempt = |address: SocketAddr| async move {
            match address.port() {
                1 => Err(io::ErrorKind::ConnectionRefused.into()),
                2 => {
                    sleep(Duration::from_millis(400)).await;
                    Ok(address)
                }
                _ => {
                    sleep(Duration::from_secs(9)).await;
                    Ok(address)
                }
            }
        };
        let all = addresses(&["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3"]);
        assert_eq!(race(all, attempt).await.unwrap().port(), 2);
        assert_eq!(began.elapsed(), Duration::from_millis(400));

        let refused = race(addresses(&["1.1.1.1:1", "1.1.1.2:1"]), attempt).await;
        assert_eq!(
            refused.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert!(race(Vec::new(), attempt).await.is_err());
    }
}
