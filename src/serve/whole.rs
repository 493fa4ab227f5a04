//! A request of one message, read to its end before it is handed on: one that never ends waits
//! here, where it takes little.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};

use super::{
    arrival::{ArrivalProblem, Piece},
    framed::PREFIX,
};

/// A body that was read to its end, or as far as it takes to refuse it.
#[derive(Debug)]
pub(super) struct WholeBody<B> {
    read: Option<Bytes>,
    /// The trailers, or why it did not come to its end.
    end: Option<Result<HeaderMap, ArrivalProblem>>,
    /// What was not read; none after the end.
    rest: Option<B>,
}

impl<B: Body<Data = Bytes, Error = ArrivalProblem> + Unpin> WholeBody<B> {
    /// Reads a body whose message has at most `most` bytes. Stops at a body that is larger or is no
    /// message: its next reader refuses it.
    pub(super) async fn read(mut body: B, most: usize) -> Self {
        let mut read = BytesMut::new();
        let (end, rest) = loop {
            if body.is_end_stream() {
                break (None, None);
            }
            match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                None => break (None, None),
                Some(Err(problem)) => break (Some(Err(problem)), None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => read.extend_from_slice(&data),
                    Err(frame) => break (frame.into_trailers().ok().map(Ok), None),
                },
            }
            if is_refused(&read, most) {
                break (None, Some(body));
            }
        };
        let read = (!read.is_empty()).then(|| read.freeze());
        Self { read, end, rest }
    }
}

/// Whether it is known already that this is too large, or no message.
fn is_refused(read: &[u8], most: usize) -> bool {
    match read.first_chunk::<PREFIX>() {
        Some([0 | 1, length @ ..]) => {
            u32::from_be_bytes(*length) as usize > most || read.len() > PREFIX + most
        }
        Some(_) => true,
        None => false,
    }
}

/// Whether this is an incomplete message that may still end within `most` bytes.
pub(super) fn is_begun(read: &[u8], most: usize) -> bool {
    match read.first_chunk::<PREFIX>() {
        Some([flag, length @ ..]) => {
            let length = u32::from_be_bytes(*length) as usize;
            *flag == 0 && length <= most && read.len() < PREFIX + length
        }
        None => true,
    }
}

impl<B: Body<Data = Bytes, Error = ArrivalProblem> + Unpin> Body for WholeBody<B> {
    type Data = Bytes;
    type Error = ArrivalProblem;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        if let Some(read) = self.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        if let Some(end) = self.end.take() {
            return Poll::Ready(Some(end.map(Frame::trailers)));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.end.is_none() && self.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A body of these pieces, after which nothing comes.
    struct Pieces(VecDeque<&'static [u8]>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = ArrivalProblem;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Piece>> {
            match self.0.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece))))),
                None => Poll::Pending,
            }
        }
    }

    async fn is_read(pieces: &[&'static [u8]]) -> bool {
        let reading = WholeBody::read(Pieces(pieces.iter().copied().collect()), 100);
        tokio::select! {
            biased;
            _ = reading => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn what_may_still_become_a_message_is_waited_for() {
        for pieces in [
            [b"".as_slice(), b"\0"],
            [b"\0\0\0\0", b"\x64"],
            [b"\0\0\0\0\x02", b"x"],
            [b"\x01\0\0\0\x02", b"xx"],
        ] {
            assert!(!is_read(&pieces).await, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn what_is_too_large_or_no_message_is_handed_on_at_once() {
        for pieces in [
            [b"\x02\0\0".as_slice(), b"\0\0"],
            [b"\0\0\0\0", b"\x65"],
            [b"\0\0\0\0\x01", &[0; 101]],
        ] {
            assert!(is_read(&pieces).await, "{pieces:?}");
        }
    }
}
