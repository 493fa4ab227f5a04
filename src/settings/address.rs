//! The addresses that a field may hold: of the renderer, and those to listen on.
//!
//! What would need TLS to be safe is refused until there is TLS.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use http::Uri;

use super::setting::{JsonType, Setting, Written};

impl Setting for Uri {
    const ACCEPTED: &'static str = "http://HOST:PORT with a port from 1 to 65535 (80 when left out), without a user, path, query or \
         fragment (https is refused until the sidecar speaks TLS)";
    const JSON: JsonType = JsonType::Text;

    fn read(written: &Written) -> Option<Self> {
        let text = written.text()?;
        let uri: Self = text.parse().ok()?;
        let authority = uri.authority()?.as_str();
        // The parser drops a fragment without a word.
        let is_bare = uri.path() == "/" && uri.query().is_none() && !text.contains('#');
        let is_fit = uri.scheme_str() == Some("http") && is_bare && is_host_and_port(authority);
        is_fit.then_some(uri)
    }

    fn show(&self) -> String {
        self.to_string().trim_end_matches('/').to_owned()
    }
}

/// Whether it is a host with a port that there is, or with none; http takes any digits, and none,
/// for a port.
fn is_host_and_port(authority: &str) -> bool {
    let host_end = authority.rfind(']').unwrap_or_default();
    let colon = authority[host_end..].find(':').map(|at| host_end + at);
    let (host, port) = match colon {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse().is_ok_and(|port: u16| port > 0)
    };
    !host.is_empty() && !host.contains('@') && port.is_none_or(is_port)
}

/// Where the store of a fleet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreAddress {
    /// The name or address of its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The port of a Valkey or Redis.
const STORE_PORT: u16 = 6379;

impl Setting for StoreAddress {
    const ACCEPTED: &'static str = "redis://HOST:PORT with a port from 1 to 65535 (6379 when left out), without a user, path or query \
         (the sidecar speaks neither TLS to it, nor to a Sentinel or a cluster)";
    const JSON: JsonType = JsonType::Text;

    fn read(written: &Written) -> Option<Self> {
        let authority = written.text()?.strip_prefix("redis://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let uri: Uri = authority.parse().ok()?;
        let is_bare = uri.authority()?.as_str() == authority && is_host_and_port(authority);
        is_bare.then(|| Self {
            host: uri
                .host()
                .unwrap_or_default()
                .trim_matches(['[', ']'])
                .to_owned(),
            port: uri.port_u16().unwrap_or(STORE_PORT),
        })
    }

    fn show(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') {
            format!("redis://[{host}]:{port}")
        } else {
            format!("redis://{host}:{port}")
        }
    }
}

/// Where connections are accepted from this pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On a loopback address.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listen {
    /// Whether both cannot be listened on at once: they are one socket, or one port of addresses
    /// that overlap. The system picks a port of its own for each port 0.
    pub(super) fn is_in_the_way_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(path), Self::Unix(other)) => path.components().eq(other.components()),
            (Self::Tcp(address), Self::Tcp(other)) => {
                let overlaps = covers(address.ip(), other.ip()) || covers(other.ip(), address.ip());
                address.port() == other.port() && address.port() != 0 && overlaps
            }
            (Self::Unix(_), Self::Tcp(_)) | (Self::Tcp(_), Self::Unix(_)) => false,
        }
    }
}

/// Whether listening on one address takes the other too; `[::]` takes IPv4 in as well.
fn covers(one: IpAddr, other: IpAddr) -> bool {
    one.to_canonical() == other.to_canonical()
        || one.is_unspecified() && (one.is_ipv6() || other.is_ipv4())
}

/// The longest path of a Unix socket on Linux, in bytes.
const MAX_SOCKET_PATH: usize = 107;

impl Setting for Listen {
    const ACCEPTED: &'static str = "a loopback address such as 127.0.0.1:7400 (any other is refused until the sidecar speaks TLS), or \
         unix:/PATH of a file, at most 107 bytes";
    const JSON: JsonType = JsonType::Text;

    fn read(written: &Written) -> Option<Self> {
        let text = written.text()?;
        if let Some(path) = text.strip_prefix("unix:") {
            let is_named = !["", ".", ".."].contains(&path.rsplit('/').next().unwrap_or_default());
            let is_file = is_named && !path.contains('\0');
            let fits = Path::new(path).is_absolute() && path.len() <= MAX_SOCKET_PATH;
            return (is_file && fits).then(|| Self::Unix(path.into()));
        }
        let address: SocketAddr = text.parse().ok()?;
        address.ip().is_loopback().then_some(Self::Tcp(address))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for Vec<Listen> {
    const ACCEPTED: &'static str = "a list of at least one, each a loopback address such as 127.0.0.1:7400 (any other is refused until \
         the sidecar speaks TLS) or unix:/PATH of a file, at most 107 bytes";
    const JSON: JsonType = JsonType::Texts;

    fn read(written: &Written) -> Option<Self> {
        let entries = match written {
            Written::List(entries) => entries,
            Written::Untyped(text) => {
                let entry = |text: &str| Written::untyped(text.trim());
                &text.split(',').map(entry).collect()
            }
            Written::Null | Written::Plain(_) | Written::Text(_) | Written::Mapping => return None,
        };
        let read: Self = entries.iter().map(Listen::read).collect::<Option<_>>()?;
        (!read.is_empty()).then_some(read)
    }

    fn show(&self) -> String {
        self.iter().map(Listen::show).collect::<Vec<_>>().join(",")
    }
}

impl Setting for Option<Listen> {
    const ACCEPTED: &'static str = "unix:/PATH of a file, at most 107 bytes, a loopback address such as 127.0.0.1:7401, or \"\" for none";
    const JSON: JsonType = JsonType::Text;

    fn read(written: &Written) -> Option<Self> {
        if Self::is_absent(written) {
            return Some(None);
        }
        Listen::read(written).map(Some)
    }

    fn is_absent(written: &Written) -> bool {
        written.text() == Some("")
    }

    fn show(&self) -> String {
        self.as_ref()
            .map_or_else(|| "\"\"".to_owned(), Setting::show)
    }
}

impl Setting for SocketAddr {
    const ACCEPTED: &'static str =
        "the address of a host and a port, such as [::]:7402 (for IPv6 and IPv4) or 127.0.0.1:7402";
    const JSON: JsonType = JsonType::Text;

    fn read(written: &Written) -> Option<Self> {
        let address: Self = written.text()?.parse().ok()?;
        let is_of_a_host = match address {
            Self::V4(address) => !address.ip().is_multicast() && !address.ip().is_broadcast(),
            // An address of one link says nothing without the link.
            Self::V6(address) => {
                let is_of_a_link = address.ip().is_unicast_link_local() && address.scope_id() == 0;
                !address.ip().is_multicast() && !is_of_a_link
            }
        };
        is_of_a_host.then_some(address)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}
