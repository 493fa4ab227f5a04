//! When a request's headers arrived, and by when its caller wants the answer.
//!
//! A caller gives its call up when its deadline passes: the answer has to be on its way before.

use std::time::Duration;

use http::{Extensions, HeaderMap};
use tokio::time::Instant;

/// When a request arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The instant of its headers.
    pub(super) at: Instant,
    /// The caller's own deadline.
    pub(super) deadline: Option<Instant>,
}

impl Arrival {
    /// Stamps a request that arrives now.
    pub(super) fn now(headers: &HeaderMap) -> Self {
        let at = Instant::now();
        let deadline = headers
            .get("grpc-timeout")
            .and_then(|value| timeout(value.as_bytes()))
            .and_then(|timeout| at.checked_add(timeout));
        Self { at, deadline }
    }

    /// Reads the stamp of a request; one without counts as arriving now.
    pub(super) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_else(|| Self {
            at: Instant::now(),
            deadline: None,
        })
    }
}

/// Reads a `grpc-timeout`: one to eight digits and a unit, as the gRPC protocol over HTTP/2 has it. Malformed is none.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits
        .iter()
        .fold(0, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(amount * 60 * 60)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        for (value, duration) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("60u", Duration::from_micros(60)),
            ("7n", Duration::from_nanos(7)),
            ("0S", Duration::ZERO),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(timeout(value.as_bytes()), Some(duration), "{value}");
        }
    }

    #[test]
    fn malformed_is_none() {
        for value in [
            "",
            "S",
            "5",
            "5s",
            "123456789S",
            "-1S",
            "+1S",
            "1 S",
            "1.5S",
            "١S",
        ] {
            assert_eq!(timeout(value.as_bytes()), None, "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_the_deadline_from_the_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", "60m".parse().unwrap());
        let arrival = Arrival::now(&headers);
        tokio::time::advance(Duration::from_millis(20)).await;
        let left = arrival.deadline.unwrap() - Instant::now();
        assert_eq!(left, Duration::from_millis(40));
        assert!(Arrival::now(&HeaderMap::new()).deadline.is_none());
    }
}
