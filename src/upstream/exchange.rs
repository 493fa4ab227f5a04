//! Carries tonic's calls over a hyper connection, and hears for itself what tonic's statuses do not
//! tell apart: whether the renderer said it, or tonic concluded it.
//!
//! It also closes four holes: hyper ends a body whose stream was reset with CANCEL like one that is
//! complete; tonic reads a web server's page as if it were a message, ignores all but the first
//! message of an answer, and panics on status details that are not base64.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, USER_AGENT},
};
use hyper::{
    body::{Body, Frame, Incoming},
    client::conn::http2::SendRequest,
};
use tonic::{Status, metadata::MetadataMap};

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("evenkeel/", env!("CARGO_PKG_VERSION")));

/// The service that a generated client calls; made anew for each call.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) send: SendRequest<tonic::body::Body>,
    /// The most bytes that the first message of an answer may have.
    pub(super) limit: usize,
    pub(super) messages: MessageCount,
    pub(super) from_renderer: FromRenderer,
}

/// How many messages an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageCount {
    /// That of a method that answers once.
    One,
    /// Those of a stream.
    Any,
}

/// Whether the renderer itself answered with an error status, rather than tonic having concluded
/// one.
#[derive(Clone, Debug, Default)]
pub(super) struct FromRenderer(Arc<AtomicBool>);

impl FromRenderer {
    /// Whether it did.
    pub(super) fn is_error(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why an exchange brought neither an answer nor a status.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenExchange {
    /// The connection broke, or the stream was reset.
    #[error("the connection broke")]
    Connection(#[source] hyper::Error),
    /// The answer ended without a status.
    #[error("the answer was cut short")]
    CutShort,
    /// Something on the way answered, or the renderer is none.
    #[error(
        "the renderer answers HTTP status {} ({content_type}), not gRPC",
        status.as_u16()
    )]
    Page {
        /// The status of HTTP.
        status: StatusCode,
        /// What kind of page it is, in printable characters.
        content_type: String,
    },
    /// The answer is too large to be received.
    #[error("the answer has {0} bytes")]
    Oversized(usize),
    /// A method that answers once answered again. tonic would drop what follows the first message.
    #[error("the answer has several messages")]
    SeveralMessages,
}

impl tower::Service<Request<tonic::body::Body>> for Exchange {
    type Response = Response<AnswerBody>;
    type Error = BrokenExchange;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BrokenExchange>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BrokenExchange>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<tonic::body::Body>) -> Self::Future {
        request.headers_mut().insert(USER_AGENT, AGENT);
        let sent = self.send.send_request(request);
        let (limit, messages) = (self.limit, self.messages);
        let from_renderer = self.from_renderer.clone();
        Box::pin(async move {
            let (mut head, body) = sent.await.map_err(BrokenExchange::Connection)?.into_parts();
            let mut answer = AnswerBody {
                body,
                prefix: Vec::with_capacity(PREFIX_BYTES),
                received: 0,
                limit,
                messages,
                has_status: false,
                from_renderer,
            };
            answer.read_headers(&mut head.headers);
            if !answer.has_status
                && let Some(page) = page(head.status, &head.headers)
            {
                return Err(page);
            }
            Ok(Response::from_parts(head, answer))
        })
    }
}

/// Tells an answer that is not one of gRPC by its head (gRPC over HTTP2, Responses).
fn page(status: StatusCode, headers: &HeaderMap) -> Option<BrokenExchange> {
    const LONGEST: usize = 60;
    let content_type = headers.get(CONTENT_TYPE);
    let is_grpc =
        content_type.is_none_or(|value| value.as_bytes().starts_with(b"application/grpc"));
    (status != StatusCode::OK || !is_grpc).then(|| BrokenExchange::Page {
        status,
        content_type: match content_type {
            None => "no content type".to_owned(),
            Some(value) => {
                let value = value.as_bytes();
                value[..value.len().min(LONGEST)].escape_ascii().to_string()
            }
        },
    })
}

/// What stands before a message: a flag and the length (gRPC over HTTP2, Length-Prefixed-Message).
const PREFIX_BYTES: usize = 5;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Incoming,
    prefix: Vec<u8>,
    /// The bytes of messages that have arrived.
    received: usize,
    limit: usize,
    messages: MessageCount,
    has_status: bool,
    from_renderer: FromRenderer,
}

impl AnswerBody {
    fn read_headers(&mut self, headers: &mut HeaderMap) {
        if let Some(status) = headers.get(Status::GRPC_STATUS) {
            self.has_status = true;
            self.from_renderer.0.store(status != "0", Ordering::Relaxed);
        }
        if headers.contains_key(Status::GRPC_STATUS_DETAILS) {
            let metadata = MetadataMap::from_headers(headers.clone());
            let details = metadata.get_bin(Status::GRPC_STATUS_DETAILS.as_str());
            if details.is_none_or(|details| details.to_bytes().is_err()) {
                headers.remove(Status::GRPC_STATUS_DETAILS);
            }
        }
    }

    /// Reads along in the bytes of messages, for what is wrong with them.
    fn read_data(&mut self, data: &[u8]) -> Result<(), BrokenExchange> {
        let missing = PREFIX_BYTES - self.prefix.len();
        self.prefix.extend(data.iter().take(missing));
        self.received += data.len();
        let Ok([flag, length @ ..]) = <[u8; PREFIX_BYTES]>::try_from(self.prefix.as_slice()) else {
            return Ok(());
        };
        let length = u32::from_be_bytes(length) as usize;
        // Any other flag is garbage, which tonic refuses.
        if flag <= 1 && length > self.limit {
            return Err(BrokenExchange::Oversized(length));
        }
        let is_more = self.received > length.saturating_add(PREFIX_BYTES);
        match self.messages {
            MessageCount::One if flag <= 1 && is_more => Err(BrokenExchange::SeveralMessages),
            MessageCount::One | MessageCount::Any => Ok(()),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenExchange;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenExchange>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    self.read_headers(trailers);
                }
                let read = match frame.data_ref() {
                    Some(data) => self.read_data(data),
                    None => Ok(()),
                };
                Some(read.map(|()| frame))
            }
            Some(Err(error)) => Some(Err(BrokenExchange::Connection(error))),
            None if self.has_status => None,
            None => Some(Err(BrokenExchange::CutShort)),
        })
    }
}
