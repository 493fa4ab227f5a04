//! Which trace something belongs to, as W3C Trace Context has it: read from a lookup, passed on to
//! the renderer.

use std::{fmt, num::NonZeroU64};

/// A trace, the span of it that calls, and whether it is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    /// The caller's span; none where the trace begins here.
    parent: Option<NonZeroU64>,
    flags: u8,
}

/// A call of this sidecar as a part of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceSpan {
    context: TraceContext,
    id: NonZeroU64,
}

/// The lowest flag says that the caller sampled the trace (Trace Context, level 1).
const SAMPLED: u8 = 1;
/// The next says that the trace's number was drawn at random (level 2). Further flags have no
/// meaning yet, and are not passed on.
const RANDOM: u8 = 2;

impl TraceContext {
    /// Reads a `traceparent`: version, trace, parent and flags, in lower-case hexadecimal. Later
    /// versions than 0 may go on after another dash. None when it is malformed.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|part| part.len() == digits)?;
            let is_hex = part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_hex
                .then(|| u128::from_str_radix(part, 16).ok())
                .flatten()
        };
        let (version, trace, parent, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_whole = version > 0 || parts.next().is_none();
        let is_valid = version != 0xff && trace != 0 && parent != 0 && is_whole;
        let flags = u8::try_from(flags).ok()? & (SAMPLED | RANDOM);
        is_valid.then_some(Self {
            trace,
            parent: NonZeroU64::new(u64::try_from(parent).ok()?),
            flags,
        })
    }

    /// A new trace. It is not sampled, for no caller has decided that it is.
    pub fn fresh() -> Self {
        Self {
            trace: fastrand::u128(1..),
            parent: None,
            flags: 0,
        }
    }

    /// Whether the caller sampled it.
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Another span of this trace, drawn anew. Its parent is the caller's.
    pub fn span(self) -> TraceSpan {
        TraceSpan {
            context: self,
            id: NonZeroU64::MIN.saturating_add(fastrand::u64(..u64::MAX)),
        }
    }

    /// The number of the trace.
    pub const fn trace(self) -> u128 {
        self.trace
    }

    /// The caller's span; none where the trace begins here.
    pub const fn parent(self) -> Option<NonZeroU64> {
        self.parent
    }

    /// Its flags, as a `traceparent` has them.
    pub const fn flags(self) -> u8 {
        self.flags
    }
}

impl TraceSpan {
    /// The trace that it belongs to, and its parent.
    pub const fn context(self) -> TraceContext {
        self.context
    }

    /// Its number.
    pub const fn id(self) -> NonZeroU64 {
        self.id
    }

    /// The `traceparent` by which a server knows this span as its parent.
    pub fn traceparent(self) -> String {
        let Self { context, id } = self;
        let TraceContext { trace, flags, .. } = context;
        format!("00-{trace:032x}-{id:016x}-{flags:02x}")
    }
}

/// The number of the trace.
impl fmt::Display for TraceContext {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:032x}", self.trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_trace_is_read_and_passed_on_with_its_flags_and_a_span_of_its_own() {
        for (traceparent, flags) in [
            (format!("00-{TRACE}-b7ad6b7169203331-01"), "01"),
            (format!("00-{TRACE}-b7ad6b7169203331-00"), "00"),
            (format!("00-{TRACE}-b7ad6b7169203331-ff"), "03"),
            (format!("01-{TRACE}-b7ad6b7169203331-02-more"), "02"),
        ] {
            let read = TraceContext::parse(&traceparent).expect(&traceparent);
            assert_eq!(read.to_string(), TRACE);
            assert_eq!(read.is_sampled(), matches!(flags, "01" | "03"));
            assert_eq!(
                read.parent().map(NonZeroU64::get),
                Some(0xb7ad_6b71_6920_3331)
            );
            let [one, other] = [read.span(), read.span()];
            for span in [one, other] {
                let passed_on = span.traceparent();
                assert_eq!(span.context(), read);
                assert!(passed_on.ends_with(flags), "{passed_on}");
                assert_eq!(passed_on.len(), 55);
                let received = TraceContext::parse(&passed_on).expect(&passed_on);
                assert_eq!(received.trace(), read.trace());
                assert_eq!(received.parent(), Some(span.id()));
                assert_ne!(received.parent(), read.parent());
            }
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_is_malformed_is_none() {
        let zeros = "0".repeat(32);
        for traceparent in [
            format!("ff-{TRACE}-b7ad6b7169203331-01"),
            format!("00-{zeros}-b7ad6b7169203331-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{TRACE}-b7ad6b7169203331"),
            format!("00-{TRACE}-b7ad6b7169203331-1"),
            format!("00-{TRACE}-b7ad6b7169203331-01-more"),
            format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..]),
            format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            String::new(),
        ] {
            assert_eq!(TraceContext::parse(&traceparent), None, "{traceparent}");
        }
    }

    #[test]
    fn fresh_traces_are_valid_not_sampled_and_differ() {
        let [one, other] = [TraceContext::fresh(), TraceContext::fresh()];
        assert_ne!(one, other);
        let received = TraceContext::parse(&one.span().traceparent());
        assert_eq!(received.map(TraceContext::trace), Some(one.trace()));
        assert!(!one.is_sampled());
        assert_eq!(one.parent(), None);
    }
}
