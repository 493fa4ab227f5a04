//! The body of an answer: one frame that is ready, and the status, or whatever a generated service answers.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use tonic::Status;

use super::framed::Framed;

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
    Generated(tonic::body::Body),
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
            Self::Generated(body) => Pin::new(body)
                .poll_frame(context)
                .map_ok(|frame| frame.map_data(Data::Generated)),
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
            Self::Generated(body) => body.is_end_stream(),
            Self::Sent => true,
            Self::Answer(_) | Self::Status => false,
        }
    }
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
