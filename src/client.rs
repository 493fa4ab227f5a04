//! A client of a sidecar, for people: one lookup, or a watch, and what became of it in plain types.
//!
//! Knows how a lookup travels, and tells the sidecar's own word (a [`SidecarStatus`]) from a
//! connection that failed it. Does not know how any of it is shown, nor retries a lookup: what the
//! sidecar said is what the caller gets.

use std::{
    error::Error as _,
    fmt,
    ops::RangeInclusive,
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use prost::Message as _;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

pub mod admin;
mod watch;

pub use self::watch::{News, NoSidecar, Watcher};
use crate::{
    proto::{
        code_name,
        v1::{
            self, GetConfigRequest, GetConfigResponse, MinRevision,
            config_service_client::ConfigServiceClient,
        },
    },
    revision::{Order, Project},
};

/// The largest answer that is accepted, in bytes: the largest payload that a sidecar can be told to
/// accept, which is 1 GiB, and what comes with it.
const MAX_ANSWER_BYTES: usize = (1 << 30) + (1 << 20);

/// Where a sidecar listens: `HOST:PORT` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarAddress(String);

/// What is no address of a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT or unix:/PATH")]
pub struct InvalidSidecarAddress;

/// A lookup, as [`GetConfigRequest`] has it.
#[derive(Clone, Debug)]
pub struct LookupCall {
    /// Whose configuration.
    pub project: Project,
    /// The digest of the payload that the caller has already.
    pub known_digest: Option<String>,
    /// How long the sidecar may wait for a refresh; the sidecar's setting when unset.
    pub patience: Option<Duration>,
    /// The least order that is accepted.
    pub min_revision: Option<Order>,
    /// For how long the answer may have been outdated.
    pub max_outdated: Option<Duration>,
}

/// What a lookup was answered with.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Whose configuration.
    pub project: String,
    /// Where the revision stands among those of its project.
    pub order: Order,
    /// When it was rendered, by the renderer's clock, as RFC 3339 writes it; none when it is not
    /// said, or not within the years that can be written so.
    pub rendered_at: Option<String>,
    /// Lower-case hexadecimal SHA-256 of the payload.
    pub digest: String,
    /// The media type of the payload.
    pub content_type: String,
    /// The configuration; none when it is the one whose digest the caller knows.
    pub payload: Option<Bytes>,
    /// How the answer came about: FRESH, RENDERED or OUTDATED.
    pub served: String,
    /// Set exactly when it is outdated.
    pub outdated: Option<OutdatedReply>,
}

/// Why a reply is outdated, by the names of the contract: a newer sidecar may have reasons that
/// this client does not know.
#[derive(Clone, Debug)]
pub struct OutdatedReply {
    /// The reason, without the prefix of its enum.
    pub reason: String,
    /// How long ago the sidecar learned that it is outdated.
    pub outdated_for: Duration,
    /// When a fresh answer may be expected.
    pub retry_after: Duration,
}

/// Why a lookup was not answered.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no sidecar at the address.
    #[error("no sidecar answers at {address}")]
    Unreachable {
        /// Where it was looked for.
        address: SidecarAddress,
        /// What went wrong.
        source: tonic::transport::Error,
    },
    /// The connection failed during the call.
    #[error("the connection to the sidecar at {address} broke")]
    Broken {
        /// Where the sidecar is.
        address: SidecarAddress,
        /// What went wrong.
        source: Box<Status>,
    },
    /// The sidecar took longer than the caller would wait.
    #[error("the sidecar at {address} did not answer within {timeout:?}")]
    Unanswered {
        /// Where the sidecar is.
        address: SidecarAddress,
        /// How long the caller waited.
        timeout: Duration,
    },
    /// The sidecar answered with a status.
    #[error(transparent)]
    SidecarStatus(SidecarStatus),
}

/// The status that a sidecar answered with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {message}", code_name(*.code))]
pub struct SidecarStatus {
    /// Its code.
    pub code: Code,
    /// The reason of its `ErrorInfo`; empty when it carries none.
    pub reason: String,
    /// For people.
    pub message: String,
    /// When to ask again; none when asking again is of no use.
    pub retry_after: Option<Duration>,
}

/// Looks a project up, and gives up after `timeout`, of which the sidecar is told.
///
/// # Errors
/// When the sidecar cannot be reached, does not answer in time, or answers with a status.
pub async fn lookup(
    address: &SidecarAddress,
    lookup: LookupCall,
    timeout: Duration,
) -> Result<Reply, LookupError> {
    tokio::time::timeout(timeout, call(address, lookup, timeout))
        .await
        .unwrap_or_else(|_| Err(unanswered(address, timeout)))
}

async fn call(
    address: &SidecarAddress,
    lookup: LookupCall,
    timeout: Duration,
) -> Result<Reply, LookupError> {
    let channel = address.connect(timeout).await?;
    let mut client = ConfigServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);

    let mut request = Request::new(GetConfigRequest::from(lookup));
    request.set_timeout(timeout);
    match client.get_config(request).await {
        Ok(response) => Ok(response.into_inner().into()),
        Err(status) if status.source().is_some() && status.code() == Code::Cancelled => {
            Err(unanswered(address, timeout))
        }
        Err(status) => Err(address.ended(status)),
    }
}

fn unanswered(address: &SidecarAddress, timeout: Duration) -> LookupError {
    LookupError::Unanswered {
        address: address.clone(),
        timeout,
    }
}

// === impl SidecarAddress ===

impl SidecarAddress {
    fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        if self.0.starts_with("unix:") {
            Endpoint::from_shared(self.0.clone())
        } else {
            Endpoint::from_shared(format!("http://{}", self.0))
        }
    }

    async fn connect(&self, timeout: Duration) -> Result<Channel, LookupError> {
        let unreachable = |source| LookupError::Unreachable {
            address: self.clone(),
            source,
        };
        let endpoint = self.endpoint().map_err(unreachable)?;
        let connected = endpoint.connect_timeout(timeout).connect().await;
        connected.map_err(unreachable)
    }

    /// What became of a call that ended with a status: the sidecar's own word, or the connection's
    /// end.
    fn ended(&self, status: Status) -> LookupError {
        if status.source().is_none() {
            return LookupError::SidecarStatus(status.into());
        }
        LookupError::Broken {
            address: self.clone(),
            source: Box::new(status),
        }
    }
}

impl FromStr for SidecarAddress {
    type Err = InvalidSidecarAddress;

    fn from_str(text: &str) -> Result<Self, InvalidSidecarAddress> {
        let is_address = match text.strip_prefix("unix:") {
            Some(path) => path.starts_with('/'),
            None => text.rsplit_once(':').is_some_and(|(host, port)| {
                let is_digit = |byte: u8| byte.is_ascii_digit();
                let is_port = port.bytes().all(is_digit) && port.parse::<u16>().is_ok();
                !host.is_empty() && !host.contains(['/', '@', '?', '#']) && is_port
            }),
        };
        let address = Self(text.to_owned());
        if is_address && address.endpoint().is_ok() {
            Ok(address)
        } else {
            Err(InvalidSidecarAddress)
        }
    }
}

impl fmt::Display for SidecarAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl LookupCall ===

impl From<LookupCall> for GetConfigRequest {
    fn from(lookup: LookupCall) -> Self {
        Self {
            project: lookup.project.to_string(),
            known_digest: lookup.known_digest.unwrap_or_default(),
            patience: lookup.patience.and_then(|it| it.try_into().ok()),
            min_revision: lookup.min_revision.map(|order| MinRevision {
                rollout: order.rollout,
                number: order.number,
            }),
            max_outdated: lookup.max_outdated.and_then(|it| it.try_into().ok()),
        }
    }
}

// === impl Reply ===

impl From<GetConfigResponse> for Reply {
    fn from(response: GetConfigResponse) -> Self {
        let revision = response.revision.unwrap_or_default();
        let outdated =
            (response.served == i32::from(v1::Served::Outdated)).then(|| OutdatedReply {
                reason: admin::reason(response.not_refreshed),
                outdated_for: duration(response.outdated_for),
                retry_after: duration(response.retry_after),
            });
        Self {
            project: revision.project,
            order: Order::new(revision.rollout, revision.number),
            rendered_at: revision.rendered_at.and_then(rfc_3339),
            digest: revision.digest,
            content_type: revision.content_type,
            payload: (!response.not_modified).then_some(response.payload),
            served: v1::Served::try_from(response.served).map_or_else(
                |unknown| format!("SERVED_{}", unknown.0),
                |served| without_prefix(served.as_str_name(), "SERVED_"),
            ),
            outdated,
        }
    }
}

fn without_prefix(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// `2026-11-26T22:08:00.000Z`; none outside of the years 1 to 9999, which are all that a timestamp
/// of protobuf may hold.
fn rfc_3339(at: prost_types::Timestamp) -> Option<String> {
    const YEARS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let at = at.try_normalize().ok()?;
    if !YEARS.contains(&at.seconds) {
        return None;
    }
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(at.seconds), u32::try_from(at.nanos)) else {
        // Before 1970, where humantime panics.
        return Some(at.to_string());
    };
    let since = Duration::new(seconds, nanos);
    Some(humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string())
}

fn duration(duration: Option<prost_types::Duration>) -> Duration {
    duration.and_then(length).unwrap_or_default()
}

/// The delay of the `RetryInfo` in a status's details.
fn retry_delay(details: &[u8]) -> Option<prost_types::Duration> {
    let status = tonic_types::Status::decode(details).ok()?;
    let mut details = status.details.into_iter();
    let info = details.find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let info = tonic_types::pb::RetryInfo::decode(info.value.as_slice());
    info.ok()?.retry_delay
}

/// None when it is below zero, or none. The conversion of prost-types overflows on some.
fn length(duration: prost_types::Duration) -> Option<Duration> {
    let (seconds, nanos) = (duration.seconds, duration.nanos);
    let nanos = u32::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000);
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos?))
}

// === impl SidecarStatus ===

impl From<Status> for SidecarStatus {
    fn from(status: Status) -> Self {
        Self {
            code: status.code(),
            reason: status
                .get_details_error_info()
                .map_or_else(String::new, |info| info.reason),
            message: status.message().to_owned(),
            // Below zero it says never. tonic-types makes zero of that, or panics.
            retry_after: retry_delay(status.details()).and_then(length),
        }
    }
}

impl From<v1::Failure> for SidecarStatus {
    fn from(failure: v1::Failure) -> Self {
        Self {
            code: Code::from_i32(failure.code),
            reason: failure.reason,
            message: failure.message,
            retry_after: failure.retry_after.and_then(length),
        }
    }
}

impl SidecarStatus {
    /// The name of its code, as the gRPC specification spells it.
    pub fn code_name(&self) -> &'static str {
        code_name(self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_or_a_socket_path() {
        for address in [
            "127.0.0.1:7400",
            "[::1]:7400",
            "localhost:1",
            "unix:/run/evenkeel/lookup.sock",
        ] {
            assert!(address.parse::<SidecarAddress>().is_ok(), "{address}");
        }
        for not_one in [
            "",
            "127.0.0.1",
            ":7400",
            "localhost:http",
            "http://localhost:7400",
            "unix:lookup.sock",
            "host with spaces:1",
            "me:secret@localhost:7400",
            "localhost:+80",
            "localhost:70700",
            "localhost#:80",
        ] {
            assert!(not_one.parse::<SidecarAddress>().is_err(), "{not_one}");
        }
    }

    #[test]
    fn a_reason_that_this_client_does_not_know_is_shown_by_its_number() {
        let reply = Reply::from(GetConfigResponse {
            served: v1::Served::Outdated.into(),
            not_refreshed: 99,
            ..GetConfigResponse::default()
        });
        assert_eq!(reply.outdated.expect("is outdated").reason, "REASON_99");
    }
}
