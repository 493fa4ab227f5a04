//! What calls may take together that are not answered at once: how many are open, and the bytes of
//! requests that have not come to their end. A single connection is bounded by what HTTP/2 tells
//! its client; this is for many connections.

use std::{
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::{
    arrival::{ArrivalProblem, Piece},
    status::{FailedLookup, Jitter},
};

/// The most bytes of requests that have not come to their end: some 30 of the largest, or thousands
/// of the usual ones.
const MAX_COMING: usize = 8 * 1024 * 1024;

/// Bounds open calls. Clones count together.
#[derive(Clone, Debug)]
pub struct Calls {
    shared: Arc<CallsShared>,
}

#[derive(Debug)]
struct CallsShared {
    most: usize,
    open: AtomicUsize,
    coming: AtomicUsize,
}

/// An open call; it counts until dropped.
#[derive(Debug)]
pub(super) struct OpenCall {
    calls: Calls,
}

/// The body of a request whose bytes count until all of it came.
#[derive(Debug)]
pub(super) struct Coming<B> {
    body: B,
    calls: Calls,
    bytes: usize,
}

impl Calls {
    /// Starts with no open call, and allows at most `most` at once.
    pub fn at_most(most: NonZeroUsize) -> Self {
        Self {
            shared: Arc::new(CallsShared {
                most: most.get(),
                open: AtomicUsize::new(0),
                coming: AtomicUsize::new(0),
            }),
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn enter(&self) -> Result<OpenCall, Box<FailedLookup>> {
        let call = OpenCall {
            calls: self.clone(),
        };
        let open = self.shared.open.fetch_add(1, Relaxed);
        if open < self.shared.most {
            Ok(call)
        } else {
            Err(Box::new(FailedLookup::too_many_calls()))
        }
    }

    /// Counts the bytes of a body while it comes.
    pub(super) fn coming<B>(&self, body: B) -> Coming<B> {
        Coming {
            body,
            calls: self.clone(),
            bytes: 0,
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.calls.shared.open.fetch_sub(1, Relaxed);
    }
}

impl<B> Coming<B> {
    fn takes(&mut self, bytes: usize) -> Result<(), Status> {
        self.bytes += bytes;
        let before = self.calls.shared.coming.fetch_add(bytes, Relaxed);
        if before + bytes <= MAX_COMING {
            Ok(())
        } else {
            Err(FailedLookup::too_many_calls().status(Jitter::draw()))
        }
    }

    fn gives_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.calls.shared.coming.fetch_sub(bytes, Relaxed);
    }
}

impl<B> Body for Coming<B>
where
    B: Body<Data = Bytes, Error = ArrivalProblem> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let piece = ready!(Pin::new(&mut self.body).poll_frame(context));
        let bytes = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len);
        let came = piece.as_ref().and_then(|piece| piece.as_ref().ok());
        if let Some(bytes) = came.map(bytes)
            && let Err(failure) = self.takes(bytes)
        {
            return Poll::Ready(Some(Err(failure.into())));
        }
        if self.body.is_end_stream() || piece.is_none() {
            self.gives_back();
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Coming<B> {
    fn drop(&mut self) {
        self.gives_back();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tonic::Code;

    use super::*;

    fn calls(most: usize) -> Calls {
        Calls::at_most(NonZeroUsize::new(most).unwrap())
    }

    /// A body that never ends, in pieces of this many bytes.
    struct Endless(usize);

    impl Body for Endless {
        type Data = Bytes;
        type Error = ArrivalProblem;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Piece>> {
            Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.0].into()))))
        }
    }

    async fn next<B>(body: &mut Coming<B>) -> Piece
    where
        Coming<B>: Body<Data = Bytes, Error = ArrivalProblem> + Unpin,
    {
        poll_fn(|context| Pin::new(&mut *body).poll_frame(context))
            .await
            .unwrap()
    }

    #[test]
    fn one_call_too_many_is_refused_until_another_ends() {
        let calls = calls(2);
        let open = [calls.enter().unwrap(), calls.enter().unwrap()];
        for _ in 0..3 {
            let refused = calls.enter().unwrap_err().status(Jitter::draw());
            assert_eq!(refused.code(), Code::ResourceExhausted);
        }
        drop(open);
        calls.enter().unwrap();
    }

    #[tokio::test]
    async fn requests_that_do_not_end_are_bounded_together() {
        let calls = calls(100);
        let mut bodies: Vec<_> = (0..20).map(|_| calls.coming(Endless(300_000))).collect();
        let mut refused = 0;
        for body in &mut bodies {
            for _ in 0..2 {
                refused += usize::from(next(body).await.is_err());
            }
        }
        let fit = MAX_COMING / 300_000;
        assert_eq!(refused, 40 - fit);
        drop(bodies);
        let mut body = calls.coming(Endless(MAX_COMING));
        assert!(
            next(&mut body).await.is_ok(),
            "those that went take nothing"
        );
    }
}
