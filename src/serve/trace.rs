//! Which trace a request belongs to. A lookup is logged if its caller sampled the trace and the log level
//! asks for it; otherwise this costs nothing.

use std::fmt;

use http::HeaderMap;
use tracing::Level;

/// Where traced lookups are logged, at `debug`.
pub(super) const LOOKUPS: &str = "evenkeel::lookups";

/// The number of a trace that is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceId(u128);

impl TraceId {
    /// The trace of a request with these headers, if it is sampled and its lookup would be logged.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if !tracing::enabled!(target: LOOKUPS, Level::DEBUG) {
            return None;
        }
        sampled(headers.get("traceparent")?.to_str().ok()?)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:032x}", self.0)
    }
}

/// Reads a `traceparent` (W3C Trace Context, level 1): version, trace, parent and flags, of which the lowest says sampled. Later
/// versions may go on after another dash.
pub(super) fn sampled(parent: &str) -> Option<TraceId> {
    let mut parts = parent.split('-');
    let mut hex = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let is_hex = part.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex
            .then(|| u128::from_str_radix(part, 16).ok())
            .flatten()
    };
    let (version, trace, parent, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let is_valid = version != 0xff && trace != 0 && parent != 0;
    (is_valid && flags & 1 == 1).then_some(TraceId(trace))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_sampled_trace_is_read() {
        for parent in [
            format!("00-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-b7ad6b7169203331-03"),
            format!("01-{TRACE}-b7ad6b7169203331-01-more"),
        ] {
            assert_eq!(sampled(&parent).unwrap().to_string(), TRACE, "{parent}");
        }
    }

    #[test]
    fn what_is_not_sampled_or_malformed_is_none() {
        let zeros = "0".repeat(32);
        for parent in [
            format!("00-{TRACE}-b7ad6b7169203331-00"),
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{zeros}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..]),
            String::new(),
        ] {
            assert_eq!(sampled(&parent), None, "{parent}");
        }
    }
}
