//! Which trace something belongs to, as W3C Trace Context has it: read from a lookup, passed on to the renderer.

use std::fmt;

/// A trace, and whether it is sampled. Its parent is not kept: what is passed on has a span of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    flags: u8,
}

/// The lowest flag says that the caller sampled the trace (Trace Context, level 1).
const SAMPLED: u8 = 1;
/// The next says that the trace's number was drawn at random (level 2). Further flags have no meaning yet, and are not passed on.
const RANDOM: u8 = 2;

impl TraceContext {
    /// Reads a `traceparent`: version, trace, parent and flags, in lower-case hexadecimal. Later versions than 0 may go on after
    /// another dash. None when it is malformed.
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
        is_valid.then_some(Self { trace, flags })
    }

    /// A new trace. It is not sampled, for no caller has decided that it is.
    pub fn fresh() -> Self {
        Self {
            trace: fastrand::u128(1..),
            flags: 0,
        }
    }

    /// Whether the caller sampled it.
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The `traceparent` of another span of this trace, drawn anew.
    pub fn span(self) -> String {
        let Self { trace, flags } = self;
        let span = fastrand::u64(1..);
        format!("00-{trace:032x}-{span:016x}-{flags:02x}")
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
            let [one, other] = [read.span(), read.span()];
            for passed_on in [&one, &other] {
                assert_eq!(TraceContext::parse(passed_on), Some(read));
                assert!(passed_on.ends_with(flags), "{passed_on}");
                assert_eq!(passed_on.len(), 55);
            }
            assert_ne!(one, other);
            assert!(!one.contains("b7ad6b7169203331"));
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
        assert_eq!(TraceContext::parse(&one.span()), Some(one));
        assert!(!one.is_sampled());
    }
}
