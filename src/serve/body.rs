//! The body of an answer: one frame that is ready, and the status; or the messages of a watch or a
//! batch; or whatever a generated service answers.

use std::{
    future::Future as _,
    io::IoSlice,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::{
    calls::OpenCall,
    framed::Framed,
    messages::{Chunk, Messages},
    reading::Lasting,
};

/// A body of gRPC.
#[derive(Debug)]
pub(super) enum Body {
    /// An answer, then its status.
    Answer(Framed),
    /// The status of an answer that was sent.
    Status,
    /// All was sent.
    Sent,
    /// What may last.
    OpenAnswer(OpenAnswer),
}

/// An answer that may last, until its caller's deadline: a stream may have nothing to say by then,
/// and a caller may have gone without a word.
#[derive(Debug)]
pub(super) struct OpenAnswer {
    brings: Brings,
    deadline: Option<Instant>,
    /// Wakes at the deadline; none before there was anything to wait for.
    over: Option<Pin<Box<Sleep>>>,
    /// Counts the call for as long as it is answered.
    _call: Option<OpenCall>,
}

/// What an answer that may last brings.
#[derive(Debug)]
pub(super) enum Brings {
    /// What a generated service answers.
    Generated(tonic::body::Body),
    /// Messages that were framed by hand.
    Messages(Messages),
    /// Nothing more.
    Nothing,
}

/// A body that goes through generated code beside an empty message, in the extensions of a
/// response.
#[derive(Clone, Debug)]
pub(super) struct BesideMessage(Arc<Mutex<Option<Framing>>>);

/// What was framed by hand.
#[derive(Debug)]
pub(super) enum Framing {
    /// A lookup's answer.
    Answer(Framed),
    /// The messages of a watch or a batch.
    Messages(Messages),
}

/// Bytes of a body.
#[derive(Debug)]
pub(super) enum Data {
    /// An answer.
    Answer(Framed),
    /// Of a watch or a batch.
    Chunk(Box<Chunk>),
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
            Self::OpenAnswer(open) => {
                let frame = ready!(open.poll_frame(context));
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
            Self::OpenAnswer(open) => match &open.brings {
                Brings::Generated(body) => body.is_end_stream(),
                Brings::Messages(_) => false,
                Brings::Nothing => true,
            },
            Self::Sent => true,
            Self::Answer(_) | Self::Status => false,
        }
    }
}

impl Body {
    /// The status that generated code writes.
    pub(super) const fn status(body: tonic::body::Body) -> Self {
        Self::OpenAnswer(OpenAnswer {
            brings: Brings::Generated(body),
            deadline: None,
            over: None,
            _call: None,
        })
    }

    /// What may last is answered to a call, until the deadline, even if the caller reads nothing.
    pub(super) fn lasting(
        brings: Brings,
        deadline: Option<Instant>,
        call: OpenCall,
        lasting: Option<&Lasting>,
    ) -> Self {
        if let (Some(deadline), Some(lasting)) = (deadline, lasting) {
            lasting.ends_at(deadline);
        }
        Self::OpenAnswer(OpenAnswer {
            brings,
            deadline,
            over: None,
            _call: Some(call),
        })
    }
}

impl BesideMessage {
    /// Sends it along.
    pub(super) fn new(framing: Framing) -> Self {
        Self(Arc::new(Mutex::new(Some(framing))))
    }

    /// Takes it out; there is one taker.
    pub(super) fn take(&self) -> Option<Framing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl OpenAnswer {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Status>>> {
        if let Poll::Ready(frame) = self.brings.poll_frame(context) {
            return Poll::Ready(frame);
        }
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let over = self
            .over
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(over.as_mut().poll(context));
        if let Brings::Messages(messages) = &self.brings
            && messages.are_unread()
        {
            // Its status would wait behind what is not read; the call's task ends now, which resets
            // the stream.
            return Poll::Pending;
        }
        // What the service waits for ends with the call.
        self.brings = Brings::Nothing;
        Poll::Ready(Some(Ok(Frame::trailers(late()))))
    }
}

impl Brings {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Status>>> {
        match self {
            Self::Generated(body) => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                Poll::Ready(frame.map(|frame| Ok(frame?.map_data(Data::Generated))))
            }
            Self::Messages(messages) => {
                let chunk = ready!(messages.poll_next(context));
                let trailers = match chunk {
                    Some(Ok(chunk)) => {
                        return Poll::Ready(Some(Ok(Frame::data(Data::Chunk(Box::new(chunk))))));
                    }
                    Some(Err(status)) => trailers_of(&status)?,
                    None => well(),
                };
                *self = Self::Nothing;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Self::Nothing => Poll::Ready(None),
        }
    }
}

/// The trailers of a call that ends with that status.
fn trailers_of(status: &Status) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(trailers)
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
            Self::Chunk(chunk) => chunk.remaining(),
            Self::Generated(bytes) => bytes.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Answer(answer) => answer.chunk(),
            Self::Chunk(chunk) => chunk.chunk(),
            Self::Generated(bytes) => bytes.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Answer(answer) => answer.advance(count),
            Self::Chunk(chunk) => chunk.advance(count),
            Self::Generated(bytes) => bytes.advance(count),
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Answer(answer) => answer.chunks_vectored(slices),
            Self::Chunk(chunk) => chunk.chunks_vectored(slices),
            Self::Generated(bytes) => bytes.chunks_vectored(slices),
        }
    }
}
