//! When a request's headers arrived, and by when its caller wants the answer.
//!
//! A caller gives its call up when its deadline passes: the answer has to be on its way before.

use std::{
    error::Error,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName};
use http_body::Frame;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::trace;
use crate::trace::TraceContext;

/// How long a caller waits for its answer.
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// When a request arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The instant of its headers.
    pub(super) at: Instant,
    /// The caller's own deadline.
    pub(super) deadline: Option<Instant>,
    /// The caller's trace, if its lookups are to be logged.
    pub(super) trace: Option<TraceContext>,
}

impl Arrival {
    /// Stamps a request that arrives now.
    pub(super) fn now(headers: &HeaderMap) -> Self {
        let at = Instant::now();
        let deadline = headers
            .get(&GRPC_TIMEOUT)
            .and_then(|value| timeout(value.as_bytes()))
            .and_then(|timeout| at.checked_add(timeout));
        Self {
            at,
            deadline,
            trace: trace::to_be_logged(headers),
        }
    }

    /// Reads the stamp of a request; one without counts as arriving now.
    pub(super) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_else(|| Self {
            at: Instant::now(),
            deadline: None,
            trace: None,
        })
    }
}

/// Why a request's body did not come.
pub(super) type ArrivalProblem = Box<dyn Error + Send + Sync>;

/// A part of a request's body, or why there is none.
pub(super) type Piece = Result<Frame<Bytes>, ArrivalProblem>;

/// How long a request of one message may take to come, whatever its caller's deadline: what does
/// not come to its end takes memory.
const COME_WITHIN: Duration = Duration::from_secs(10);

/// What a request is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comes {
    /// One message, after which nothing is waited for.
    AtOnce,
    /// Messages for as long as its caller likes.
    AsStream,
}

/// The body of a request, which fails when its caller's time is over before all of it came.
#[derive(Debug)]
pub(super) struct Arriving {
    body: Incoming,
    comes: Comes,
    at: Instant,
    deadline: Option<Instant>,
    /// Wakes when the time is over; none before there was anything to wait for.
    over: Option<Pin<Box<Sleep>>>,
}

impl Arriving {
    pub(super) const fn new(body: Incoming, arrival: Arrival, comes: Comes) -> Self {
        Self {
            body,
            comes,
            at: arrival.at,
            deadline: arrival.deadline,
            over: None,
        }
    }

    /// When its time is over.
    fn ends(&self) -> Option<Instant> {
        match self.comes {
            Comes::AsStream => self.deadline,
            Comes::AtOnce => {
                let ends = self.at + COME_WITHIN;
                Some(self.deadline.map_or(ends, |deadline| deadline.min(ends)))
            }
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = ArrivalProblem;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Poll::Ready(piece) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(piece.map(|piece| piece.map_err(Into::into)));
        }
        let Some(ends) = self.ends() else {
            return Poll::Pending;
        };
        let over = self.over.get_or_insert_with(|| Box::pin(sleep_until(ends)));
        ready!(over.as_mut().poll(context));
        let late = Status::deadline_exceeded("the time was over before the request had come");
        Poll::Ready(Some(Err(late.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// Reads a `grpc-timeout`: one to eight digits and a unit, as the gRPC protocol over HTTP/2 has it.
/// Malformed is none.
pub(super) fn timeout(value: &[u8]) -> Option<Duration> {
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
