//! The addresses that a field may hold: of the renderer, and those to listen on.
//!
//! What would need TLS to be safe is refused until there is TLS.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use http::Uri;

use super::setting::{Json, Setting, Written};

impl Setting for Uri {
    const ACCEPTED: &'static str =
        "http://HOST:PORT without a path (https is refused until the sidecar speaks TLS)";
    const JSON: Json = Json::Text;

    fn read(written: &Written) -> Option<Self> {
        let uri: Self = written.text()?.parse().ok()?;
        let authority = uri.authority()?;
        let is_bare = uri.path() == "/" && uri.query().is_none();
        let is_address = !authority.host().is_empty() && !authority.as_str().contains('@');
        (uri.scheme_str() == Some("http") && is_bare && is_address).then_some(uri)
    }

    fn show(&self) -> String {
        self.to_string().trim_end_matches('/').to_owned()
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

/// The longest path of a Unix socket on Linux, in bytes.
const MAX_SOCKET_PATH: usize = 107;

impl Setting for Listen {
    const ACCEPTED: &'static str = "a loopback address such as 127.0.0.1:7400 (any other is refused until the sidecar speaks TLS), or \
         unix:/PATH of at most 107 bytes";
    const JSON: Json = Json::Text;

    fn read(written: &Written) -> Option<Self> {
        let text = written.text()?;
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = Path::new(path).is_absolute() && path.len() <= MAX_SOCKET_PATH;
            return fits.then(|| Self::Unix(path.into()));
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
         the sidecar speaks TLS) or unix:/PATH of at most 107 bytes";
    const JSON: Json = Json::Texts;

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
    const ACCEPTED: &'static str = "unix:/PATH of at most 107 bytes, a loopback address such as 127.0.0.1:7401, or \"\" for none";
    const JSON: Json = Json::Text;

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
    const ACCEPTED: &'static str = "an address and port, such as 0.0.0.0:7402";
    const JSON: Json = Json::Text;

    fn read(written: &Written) -> Option<Self> {
        written.text()?.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}
