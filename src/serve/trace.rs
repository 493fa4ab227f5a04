//! Which trace a request belongs to. A lookup is logged if its caller sampled the trace and the log
//! level asks for it; otherwise this costs nothing.

use http::HeaderMap;
use tracing::Level;

use crate::trace::TraceContext;

/// Where traced lookups are logged, at `debug`.
pub(super) const LOOKUPS: &str = "evenkeel::lookups";

/// The header of a request's trace.
const TRACEPARENT: &str = "traceparent";

/// The trace of a request with these headers, if it is sampled and its lookup would be logged.
pub(super) fn to_be_logged(headers: &HeaderMap) -> Option<TraceContext> {
    if !tracing::enabled!(target: LOOKUPS, Level::DEBUG) {
        return None;
    }
    of(headers).filter(|trace| trace.is_sampled())
}

/// The trace of a request with these headers. A lookup that is answered from memory does not ask
/// for it.
pub(super) fn of(headers: &HeaderMap) -> Option<TraceContext> {
    TraceContext::parse(headers.get(TRACEPARENT)?.to_str().ok()?)
}
