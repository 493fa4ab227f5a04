//! The body of an answer: one frame that is ready, and the status, or whatever a generated service answers.

use std::{
    future::Future as _,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::{calls::Call, framed::Framed};

/// A body of gRPC.
#[derive(Debug)]
pub(super) enum Body {
    /// An answer, then its status.
    Answer(Framed),
    /// The status of an answer that was sent.
    Status,
    /// All was sent.
    Sent,
    /// What a generated service answers.
    Generated(Generated),
}

/// What a generated service answers, until its caller's deadline: a stream may have nothing to say by then, and a caller may have
/// gone without a word.
#[derive(Debug)]
pub(super) struct Generated {
    body: tonic::body::Body,
    deadline: Option<Instant>,
    /// Wakes at the deadline; none before there was anything to wait for.
    over: Option<Pin<Box<Sleep>>>,
    /// Counts the call for as long as it is answered.
    _call: Option<Call>,
}

/// Bytes of a body.
#[derive(Debug)]
pub(super) enum Data {
    /// An answer.
    Answer(Framed),
    /// Of a generated service.
    Generated(Bytes),
}

impl http_body::Body for Body {
    type Data = Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Status>>> {
        match &mut *self {
            Self::Generated(generated) => {
                let frame = ready!(generated.poll_frame(context));
                if frame.is_none() {
                    *self = Self::Sent;
                }
                Poll::Ready(frame)
            }
            Self::Sent => Poll::Ready(None),
            Self::Status => {
                *self = Self::Sent;
                Poll::Ready(Some(Ok(Frame::trailers(well()))))
            }
            Self::Answer(_) => {
                let Self::Answer(answer) = std::mem::replace(&mut *self, Self::Status) else {
                    return Poll::Ready(None);
                };
                Poll::Ready(Some(Ok(Frame::data(Data::Answer(answer)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Generated(generated) => generated.body.is_end_stream(),
            Self::Sent => true,
            Self::Answer(_) | Self::Status => false,
        }
    }
}

impl Body {
    /// What a generated service answers to a call.
    pub(super) const fn generated(
        body: tonic::body::Body,
        deadline: Option<Instant>,
        call: Option<Call>,
    ) -> Self {
        Self::Generated(Generated {
            body,
            deadline,
            over: None,
            _call: call,
        })
    }
}

impl Generated {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| Ok(frame?.map_data(Data::Generated))));
        }
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let over = self
            .over
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(over.as_mut().poll(context));
        // What the service waits for ends with the call.
        self.body = tonic::body::Body::empty();
        Poll::Ready(Some(Ok(Frame::trailers(late()))))
    }
}

/// The trailers of a call whose deadline passed.
fn late() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("4"));
    let message = HeaderValue::from_static("the deadline of the call passed");
    trailers.insert(Status::GRPC_MESSAGE, message);
    trailers
}

/// The trailers of a call that went well.
fn well() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

impl Buf for Data {
    fn remaining(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.remaining(),
            Self::Generated(bytes) => bytes.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Answer(answer) => answer.chunk(),
            Self::Generated(bytes) => bytes.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Answer(answer) => answer.advance(count),
            Self::Generated(bytes) => bytes.advance(count),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Answer(answer) => answer.chunks_vectored(slices),
            Self::Generated(bytes) => bytes.chunks_vectored(slices),
        }
    }
}
