//! Asking sidecars for their status over HTTP/1: many at once, and not for long.

use std::{io, net::SocketAddr, time::Duration};

use axum::body::{Body, to_bytes};
use futures_util::{StreamExt as _, stream};
use http::{
    Request, StatusCode,
    header::{ACCEPT, CONNECTION, HOST},
};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{Fleet, NoStatus, Status};
use crate::printable::printable;

/// How many are asked at once.
const AT_ONCE: usize = 64;
/// How long each may take.
const WITHIN: Duration = Duration::from_secs(1);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 64 * 1024;
/// The port of telemetry, where an address names none.
const PORT: u16 = 7402;
/// The longest name of a host (RFC 1035, section 2.3.4).
const LONGEST_HOST: usize = 255;

/// A name that leads to no address.
#[derive(Debug, thiserror::Error)]
#[error("{name} has no address: {why}")]
pub struct NoAddress {
    name: String,
    why: String,
}

/// Why a sidecar is silent.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("no answer within {WITHIN:?}")]
    TooLate,
    #[error("cannot connect: {0}")]
    Unreachable(#[source] io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
    #[error("answered {0}: not a sidecar, or an older one without /status")]
    Refused(StatusCode),
    #[error("the answer is larger than 64 KiB, or broke off")]
    TooLarge,
    #[error(transparent)]
    Other(#[from] NoStatus),
}

/// Every address of a name: `HOST:PORT` or `HOST`, which may have many.
///
/// # Errors
/// When it has none.
pub async fn members(name: &str) -> Result<Vec<SocketAddr>, NoAddress> {
    let found = lookup_host(with_port(name)).await;
    let failed = |why: String| NoAddress {
        name: printable(name, LONGEST_HOST),
        why: printable(why, LONGEST_HOST),
    };
    let found = found.map_err(|error| failed(error.to_string()))?;
    let mut members: Vec<_> = found.collect();
    members.sort();
    members.dedup();
    if members.is_empty() {
        return Err(failed("the name is known, and empty".to_owned()));
    }
    Ok(members)
}

/// An address with its port, which is that of telemetry unless it names one.
fn with_port(address: &str) -> String {
    let is_v6 = address.matches(':').count() > 1;
    let has_port = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| port.parse::<u16>().is_ok() && (!is_v6 || host.ends_with(']')));
    if has_port {
        address.to_owned()
    } else if is_v6 {
        format!("[{}]:{PORT}", address.trim_matches(['[', ']']))
    } else {
        format!("{address}:{PORT}")
    }
}

/// Asks every address of some names, which are resolved each time, so that pods that come and go
/// are seen.
pub async fn ask_names(names: &[String]) -> Fleet {
    let (mut all, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        match members(name).await {
            Ok(found) => all.extend(found),
            Err(error) => unknown.push(error),
        }
    }
    all.sort();
    all.dedup();
    ask(all, unknown).await
}

/// Asks all of them, 64 at once, each for a second at most. Names without an address are silent.
pub async fn ask(members: Vec<SocketAddr>, unknown: Vec<NoAddress>) -> Fleet {
    let asked = stream::iter(members).map(|member| async move {
        let status = match timeout(WITHIN, ask_one(member)).await {
            Ok(answered) => answered,
            Err(_) => Err(Silence::TooLate),
        };
        (member, status.map_err(|silence| printable(silence, 200)))
    });
    let mut asked: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    asked.sort_by_key(|(member, _)| *member);
    let unknown = unknown.into_iter().map(|name| (name.name, Err(name.why)));
    let asked = asked
        .into_iter()
        .map(|(member, said)| (member.to_string(), said));
    Fleet::new(asked.chain(unknown))
}

async fn ask_one(member: SocketAddr) -> Result<Status, Silence> {
    let socket = TcpStream::connect(member).await;
    let socket = socket.map_err(Silence::Unreachable)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(LARGEST)
        .handshake(TokioIo::new(socket))
        .await
        .map_err(Silence::Broken)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get("/status")
        .header(HOST, member.to_string())
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .body(Body::empty())
        .expect("BUG: the request is right");
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(Silence::Broken)?;
    if answer.status() != StatusCode::OK {
        return Err(Silence::Refused(answer.status()));
    }
    let body = to_bytes(Body::new(answer.into_body()), LARGEST).await;
    let body = body.map_err(|_| Silence::TooLarge)?;
    Ok(Status::read(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_its_port_out() {
        for (address, with) in [
            ("evenkeel.shop.svc", "evenkeel.shop.svc:7402"),
            ("evenkeel.shop.svc:7403", "evenkeel.shop.svc:7403"),
            ("10.1.2.3", "10.1.2.3:7402"),
            ("10.1.2.3:1", "10.1.2.3:1"),
            ("[fd00::1]", "[fd00::1]:7402"),
            ("[fd00::1]:1", "[fd00::1]:1"),
            ("fd00::1", "[fd00::1]:7402"),
        ] {
            assert_eq!(with_port(address), with);
        }
    }
}
