//! Where the sidecar listens: TCP addresses and Unix sockets.
//!
//! A socket file that a sidecar left behind is replaced, one that somebody listens on is not; the file goes with the
//! listener. Accepting and serving is the business of whoever takes it.

use std::{
    fmt, fs, io,
    net::{self, SocketAddr},
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
pub enum Address {
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
pub struct InvalidAddress(String);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: Address,
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
    socket: Bound,
    address: Address,
}

/// The socket itself.
#[derive(Debug)]
pub(super) enum Bound {
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

// === impl Address ===

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddress(text.to_owned());
        match text.strip_prefix("unix:") {
            Some("") => Err(invalid()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| invalid()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// === impl Listener ===

impl Listener {
    /// Binds an address and listens on it.
    ///
    /// # Errors
    /// When the system refuses, or somebody listens on it already.
    pub fn bind(address: &Address, access: Access) -> Result<Self, BindError> {
        let bound = match address {
            Address::Tcp(address) => bind_tcp(*address),
            Address::Unix(path) => bind_unix(path, access),
        };
        bound.map_err(|cause| BindError {
            address: address.clone(),
            cause,
        })
    }

    /// The address that it was bound to, with the port that it got.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Shares it with another thread.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            Bound::Tcp(socket) => Bound::Tcp(socket.try_clone()?),
            Bound::Unix(socket, file) => Bound::Unix(socket.try_clone()?, Arc::clone(file)),
        };
        Ok(Self {
            socket,
            address: self.address.clone(),
        })
    }

    pub(super) fn into_bound(self) -> Bound {
        self.socket
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    let socket: net::TcpListener = listen(socket)?.into();
    Ok(Listener {
        address: Address::Tcp(socket.local_addr()?),
        socket: Bound::Tcp(socket),
    })
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
    // Before it listens nobody can connect, so that there is no moment at which others could.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(Listener {
        socket: Bound::Unix(listen(socket)?.into(), Arc::new(file)),
        address: Address::Unix(path.to_owned()),
    })
}

fn listen(socket: Socket) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Removes a socket that nobody listens on; leaves what is no socket alone.
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
    match unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
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
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "unix:", "localhost:7400", "7400", "/run/a.sock"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
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

    #[test]
    fn a_unix_socket_has_its_mode_and_goes_with_the_last_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = Listener::bind(&Address::Unix(path.clone()), Access::Owner).unwrap();
        assert_eq!(mode(&path), 0o600);
        let other = listener.try_clone().unwrap();
        drop(listener);
        unix::net::UnixStream::connect(&path).unwrap();
        drop(other);
        assert!(!path.exists());

        let listener = Listener::bind(&Address::Unix(path.clone()), Access::Everyone).unwrap();
        assert_eq!(mode(&path), 0o666);
        drop(listener);
    }

    #[test]
    fn replaces_a_socket_left_behind_but_none_in_use_and_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lookup.sock");
        let address = Address::Unix(path.clone());
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
        let listener = Listener::bind(&Address::Unix(path.clone()), Access::Everyone).unwrap();
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        let successor = unix::net::UnixListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(successor);
    }
}
