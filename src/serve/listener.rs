//! Where the sidecar listens: TCP addresses and Unix sockets.
//!
//! A socket file that a sidecar left behind is replaced, one that somebody listens on is not; the
//! file goes with the listener. Its taker accepts and serves.

use std::{
    fmt, fs, io,
    net::{self, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::{
        self,
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// What is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no address: an address is an IP address and a port, such as 127.0.0.1:7400, or unix:/path/of/a.sock"
)]
pub struct InvalidListenAddress(String);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: ListenAddress,
    /// What the system says.
    #[source]
    pub cause: io::Error,
}

/// Who may connect to a Unix socket, beside what its directory allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone who can reach it: the applications of the pod, whichever user they run as.
    Everyone,
    /// The user who runs the sidecar.
    Owner,
}

/// A bound socket. Accepting from clones takes turns.
#[derive(Debug)]
pub struct Listener {
    socket: BoundSocket,
    address: ListenAddress,
}

/// The socket itself.
#[derive(Debug)]
pub(super) enum BoundSocket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener, Arc<SocketFile>),
}

/// The file of a Unix socket; removed when dropped, unless another one stands there by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// How many connections wait to be accepted, at most: a pod's applications may all start at once.
const BACKLOG: i32 = 1024;

// === impl ListenAddress ===

impl FromStr for ListenAddress {
    type Err = InvalidListenAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidListenAddress(text.to_owned());
        match text.strip_prefix("unix:") {
            Some("") => Err(invalid()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| invalid()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Listener ===

impl Listener {
    /// Binds an address and listens on it; on IPv4 alone when it is `[::]` and the machine has no
    /// IPv6.
    ///
    /// # Errors
    /// When the system refuses, or somebody listens on it already.
    pub fn bind(address: &ListenAddress, access: Access) -> Result<Self, BindError> {
        let bound = match address {
            ListenAddress::Tcp(address) => bind_tcp(*address).and_then(Self::of_tcp),
            ListenAddress::Unix(path) => bind_unix(path, access),
        };
        bound.map_err(|cause| BindError {
            address: address.clone(),
            cause,
        })
    }

    /// Binds several addresses. An IPv6 address that the machine does not have is left out, unless
    /// no other is left.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn bind_all(
        addresses: impl IntoIterator<Item = ListenAddress>,
        access: Access,
    ) -> Result<Vec<Self>, BindError> {
        let bind = |address| Self::bind(&address, access);
        bind_each(addresses.into_iter().map(bind))
    }

    fn of_tcp(socket: net::TcpListener) -> io::Result<Self> {
        Ok(Self {
            address: ListenAddress::Tcp(socket.local_addr()?),
            socket: BoundSocket::Tcp(socket),
        })
    }

    /// The address that it was bound to, with the port that it got.
    pub const fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Shares it with another thread.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            BoundSocket::Tcp(socket) => BoundSocket::Tcp(socket.try_clone()?),
            BoundSocket::Unix(socket, file) => {
                BoundSocket::Unix(socket.try_clone()?, Arc::clone(file))
            }
        };
        Ok(Self {
            socket,
            address: self.address.clone(),
        })
    }

    pub(super) fn into_bound(self) -> BoundSocket {
        self.socket
    }
}

/// Binds a TCP address and listens on it. `[::]` takes IPv4 in too, and is `0.0.0.0` where the
/// machine has no IPv6.
///
/// # Errors
/// When the system refuses.
pub fn bind_tcp(address: SocketAddr) -> io::Result<net::TcpListener> {
    or_on_ipv4_alone(address, |address| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.ip() == Ipv6Addr::UNSPECIFIED {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        listen(socket).map(Into::into)
    })
}

/// Binds several TCP addresses as [`bind_tcp`] does. An IPv6 address that the machine does not have
/// is left out, unless no other is left.
///
/// # Errors
/// When the system refuses one.
pub fn bind_tcp_all(
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Result<Vec<net::TcpListener>, BindError> {
    bind_each(addresses.into_iter().map(|address| {
        bind_tcp(address).map_err(|cause| BindError {
            address: ListenAddress::Tcp(address),
            cause,
        })
    }))
}

/// Takes what was bound, and logs what the machine has no IPv6 for.
fn bind_each<T>(tried: impl Iterator<Item = Result<T, BindError>>) -> Result<Vec<T>, BindError> {
    let (bound, left_out) = leave_out_ipv6(tried)?;
    for BindError { address, cause } in left_out {
        tracing::info!(%address, %cause, "no IPv6 on this machine; not listening on this address");
    }
    Ok(bound)
}

fn or_on_ipv4_alone<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    bind(address).or_else(|error| {
        if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_family(&error) {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        } else {
            Err(error)
        }
    })
}

/// Parts what was bound from what the machine has no IPv6 for; when nothing is bound, the first of
/// these is the error.
fn leave_out_ipv6<T>(
    tried: impl Iterator<Item = Result<T, BindError>>,
) -> Result<(Vec<T>, Vec<BindError>), BindError> {
    let (mut bound, mut left_out) = (Vec::new(), Vec::new());
    for tried in tried {
        match tried {
            Ok(one) => bound.push(one),
            Err(error) if error.is_without_ipv6() => left_out.push(error),
            Err(error) => return Err(error),
        }
    }
    match left_out.pop() {
        Some(error) if bound.is_empty() => Err(error),
        last => {
            left_out.extend(last);
            Ok((bound, left_out))
        }
    }
}

impl BindError {
    fn is_without_ipv6(&self) -> bool {
        let is_ipv6 = matches!(self.address, ListenAddress::Tcp(address) if address.is_ipv6());
        is_ipv6 && is_without_family(&self.cause)
    }
}

/// Whether the kernel was built or started without a family of addresses, or has it switched off
/// for its interfaces.
fn is_without_family(error: &io::Error) -> bool {
    /// `EAFNOSUPPORT` of Linux, for which std has no kind.
    const NO_SUCH_FAMILY: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}

fn bind_unix(path: &Path, access: Access) -> io::Result<Listener> {
    remove_left_behind(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile {
        inode: inode(path)?,
        path: path.to_owned(),
    };
    let mode = match access {
        Access::Everyone => 0o666,
        Access::Owner => 0o600,
    };
    // Nothing can connect before it listens, so there is no moment with wider permissions.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(Listener {
        socket: BoundSocket::Unix(listen(socket)?.into(), Arc::new(file)),
        address: ListenAddress::Unix(path.to_owned()),
    })
}

fn listen(socket: Socket) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Removes a socket without a listener; leaves other files alone.
fn remove_left_behind(path: &Path) -> io::Result<()> {
    let is_socket = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !is_socket {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file, and it is no socket",
        ));
    }
    // One that is not accepted in time would keep a call that blocks waiting for ever.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
        // Its backlog is full: somebody listens, and is slow.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::AddrInUse.into())
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn reads_addresses() {
        for text in [
            "127.0.0.1:7400",
            "[::1]:0",
            "unix:/run/evenkeel/lookup.sock",
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "localhost:7400", "7400", "/run/a.sock"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn port_0_takes_one_that_is_free() {
        let any = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(&any, Access::Everyone).unwrap();
        assert_ne!(listener.address(), &any);
        let error = Listener::bind(listener.address(), Access::Everyone).unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with("cannot listen on 127.0.0.1:"));
    }

    /// A cluster with IPv6 only or first probes the pod at its IPv6 address, which `0.0.0.0`
    /// refuses.
    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_in_too() {
        let any = "[::]:0".parse().unwrap();
        let listener = Listener::bind(&any, Access::Everyone).unwrap();
        let ListenAddress::Tcp(bound) = listener.address() else {
            panic!("{listener:?}");
        };
        net::TcpStream::connect((Ipv4Addr::LOCALHOST, bound.port())).unwrap();
        if bound.is_ipv6() {
            net::TcpStream::connect((Ipv6Addr::LOCALHOST, bound.port())).unwrap();
        }
    }

    #[test]
    fn where_there_is_no_ipv6_the_unspecified_address_is_that_of_ipv4() {
        for refusal in [
            io::Error::from_raw_os_error(97),
            io::ErrorKind::AddrNotAvailable.into(),
        ] {
            let refusal = std::cell::Cell::new(Some(refusal));
            let bind = |address: SocketAddr| match refusal.take() {
                Some(refusal) => Err(refusal),
                None => Ok(address),
            };
            let bound = or_on_ipv4_alone("[::]:7402".parse().unwrap(), bind);
            assert_eq!(bound.unwrap().to_string(), "0.0.0.0:7402");
        }
        let refused = |_| Err::<(), _>(io::Error::from_raw_os_error(97));
        or_on_ipv4_alone("[::1]:7402".parse().unwrap(), refused).unwrap_err();
        let taken = |_| Err::<(), _>(io::ErrorKind::AddrInUse.into());
        or_on_ipv4_alone("[::]:7402".parse().unwrap(), taken).unwrap_err();
    }

    #[test]
    fn an_ipv6_address_is_left_out_where_there_is_none_unless_nothing_is_left() {
        let missing = |address: &str| {
            Err(BindError {
                address: address.parse().unwrap(),
                cause: io::Error::from_raw_os_error(97),
            })
        };
        let tried = [Ok("127.0.0.1"), missing("[::1]:7400")];
        let (bound, left_out) = leave_out_ipv6(tried.into_iter()).unwrap();
        assert_eq!((bound, left_out.len()), (vec!["127.0.0.1"], 1));
        leave_out_ipv6([missing("[::1]:7400")].into_iter()).unwrap_err();
        leave_out_ipv6([Ok("[::1]"), missing("10.0.0.1:1")].into_iter()).unwrap_err();
    }

    /// A start hung, deaf to SIGTERM, when a process at the path had stopped accepting.
    #[test]
    fn a_socket_whose_backlog_is_full_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lookup.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let address = SockAddr::unix(&path).unwrap();
        socket.bind(&address).unwrap();
        socket.listen(0).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            let caller = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            caller.set_nonblocking(true).unwrap();
            match caller.connect(&address) {
                Ok(()) => waiting.push(caller),
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(full, io::ErrorKind::WouldBlock);
        let error = Listener::bind(&ListenAddress::Unix(path), Access::Everyone).unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_unix_socket_has_its_mode_and_goes_with_the_last_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = Listener::bind(&ListenAddress::Unix(path.clone()), Access::Owner).unwrap();
        assert_eq!(mode(&path), 0o600);
        let other = listener.try_clone().unwrap();
        drop(listener);
        unix::net::UnixStream::connect(&path).unwrap();
        drop(other);
        assert!(!path.exists());

        let listener =
            Listener::bind(&ListenAddress::Unix(path.clone()), Access::Everyone).unwrap();
        assert_eq!(mode(&path), 0o666);
        drop(listener);
    }

    #[test]
    fn replaces_a_socket_left_behind_but_none_in_use_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lookup.sock");
        let address = ListenAddress::Unix(path.clone());
        drop(unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind(&address, Access::Everyone).unwrap();

        let error = Listener::bind(&address, Access::Everyone).unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::AddrInUse);
        unix::net::UnixStream::connect(&path).unwrap();
        drop(listener);

        fs::write(&path, "precious").unwrap();
        assert!(Listener::bind(&address, Access::Everyone).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn leaves_the_socket_of_a_successor_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lookup.sock");
        let listener =
            Listener::bind(&ListenAddress::Unix(path.clone()), Access::Everyone).unwrap();
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        let successor = unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(successor);
    }
}
