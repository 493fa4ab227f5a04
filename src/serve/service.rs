//! What answers the requests of a connection: lookups by hand, everything else by generated code.
//!
//! `GetConfig` is on the way of every request of an application. A request that comes in one piece, asking for a project that
//! can be answered from memory, is answered without decoding or encoding a message. Whatever is unusual about a request is left to
//! the generated code, which is handed all that was read of it; so both accept and refuse the same.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE, request::Parts};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use prost::Message as _;
use tonic::service::Routes;
use tower::Service as _;

use super::{
    answers::Answers,
    arrival::{Arrival, Arriving, Piece},
    body::Body,
    config::{Configs, MAX_REQUEST_BYTES},
    framed::{Framed, PREFIX},
    status::{Jitter, Refused},
};
use crate::{answer::Answer, proto::v1};

/// The path of `GetConfig`.
const GET_CONFIG: &str = "/evenkeel.v1.ConfigService/GetConfig";

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Answers requests. Clones answer the same.
pub(super) trait Service: Clone + Send + 'static {
    /// Answers one.
    fn answer(self, request: Request<Incoming>) -> impl Future<Output = Response<Body>> + Send;
}

/// Everything that a lookup listener serves.
#[derive(Debug)]
pub struct Lookups<A> {
    shared: Arc<Shared<A>>,
}

#[derive(Debug)]
struct Shared<A> {
    configs: Configs<A>,
    routes: Routes,
}

impl<A: Answers> Lookups<A> {
    /// Answers `GetConfig` by `configs`, and what is unusual or another method by `routes`.
    pub(super) fn new(configs: Configs<A>, routes: Routes) -> Self {
        Self {
            shared: Arc::new(Shared { configs, routes }),
        }
    }
}

impl<A> Clone for Lookups<A> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Service for Routes {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        generated(self, request.map(tonic::body::Body::new)).await
    }
}

impl<A: Answers> Service for Lookups<A> {
    async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let arrival = Arrival::now(request.headers());
        let mut request = request.map(|body| Arriving::new(body, arrival));
        if is_get_config(&request) {
            return self.shared.get_config(request, arrival).await;
        }
        request.extensions_mut().insert(arrival);
        let request = request.map(tonic::body::Body::new);
        Box::pin(generated(self.shared.routes.clone(), request)).await
    }
}

impl<A: Answers> Shared<A> {
    async fn get_config(&self, request: Request<Arriving>, arrival: Arrival) -> Response<Body> {
        let (parts, mut body) = request.into_parts();
        let first = next(&mut body).await;
        // What cannot be read is refused without waiting for more, as the generated code does.
        let Some((message, plain)) = first.as_ref().and_then(readable) else {
            let body = Replayed::new([first, None], body);
            return self.unusual(parts, body, arrival).await;
        };
        let second = next(&mut body).await;
        if second.is_none()
            && let Some((project, known)) = plain
            && let Some(answer) = self.configs.at_once(project, arrival)
        {
            return well(&answer, known);
        }
        let (None, Ok(asked)) = (&second, v1::GetConfigRequest::decode(message)) else {
            let body = Replayed::new([first, second], body);
            return self.unusual(parts, body, arrival).await;
        };
        // A lookup that waits is large, and rare.
        match Box::pin(self.configs.get(asked, arrival)).await {
            Ok((answer, known)) => well(&answer, &known),
            Err(refused) => failed(refused),
        }
    }

    /// Hands a request to the generated code.
    async fn unusual(&self, mut parts: Parts, body: Replayed, arrival: Arrival) -> Response<Body> {
        parts.extensions.insert(arrival);
        let request = Request::from_parts(parts, tonic::body::Body::new(body));
        Box::pin(generated(self.routes.clone(), request)).await
    }
}

async fn generated(mut routes: Routes, request: Request<tonic::body::Body>) -> Response<Body> {
    let Ok(response) = routes.call(request).await;
    response.map(Body::Generated)
}

/// Whether a request is a `GetConfig` without anything unusual about its headers.
fn is_get_config<B>(request: &Request<B>) -> bool {
    request.uri().path() == GET_CONFIG
        && request.method() == Method::POST
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value == GRPC || value == "application/grpc+proto")
        && !request.headers().contains_key("grpc-encoding")
}

fn well(answer: &Answer, known: &str) -> Response<Body> {
    let mut response = Response::new(Body::Answer(Framed::new(answer, known)));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn failed(refused: Refused) -> Response<Body> {
    refused
        .status(Jitter::draw())
        .into_http()
        .map(Body::Generated)
}

/// The next piece of a body. Clients may end a stream by an empty frame of its own.
async fn next(body: &mut Arriving) -> Option<Piece> {
    while !body.is_end_stream() {
        let piece = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        let is_empty = |frame: &Frame<Bytes>| frame.data_ref().is_some_and(Bytes::is_empty);
        if !piece.as_ref().is_ok_and(is_empty) {
            return Some(piece);
        }
    }
    None
}

/// A body of which up to two pieces were read.
struct Replayed {
    read: [Option<Piece>; 2],
    rest: Arriving,
}

impl Replayed {
    const fn new(read: [Option<Piece>; 2], rest: Arriving) -> Self {
        Self { read, rest }
    }
}

impl http_body::Body for Replayed {
    type Data = Bytes;
    type Error = <Arriving as http_body::Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let this = &mut *self;
        match this.read.iter_mut().find_map(Option::take) {
            Some(piece) => Poll::Ready(Some(piece)),
            None => Pin::new(&mut this.rest).poll_frame(context),
        }
    }
}

/// The message of a piece that is a whole frame, if it can be read; and what it asks, if it is plain.
fn readable(piece: &Piece) -> Option<(&[u8], Option<Plain<'_>>)> {
    let message = unframed(piece.as_ref().ok()?.data_ref()?)?;
    let plain = plain(message);
    (plain.is_some() || v1::GetConfigRequest::decode(message).is_ok()).then_some((message, plain))
}

/// The message of a body that is one uncompressed gRPC frame of an acceptable length.
fn unframed(body: &Bytes) -> Option<&[u8]> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let [0, length @ ..] = prefix else {
        return None;
    };
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    (length == message.len() && length <= MAX_REQUEST_BYTES).then_some(message)
}

/// A project and the digest of what its caller has.
type Plain<'a> = (&'a str, &'a str);

/// The project and the known digest of a request that says nothing else but a patience, which what is answered at once does not
/// need; each at most once.
fn plain(mut message: &[u8]) -> Option<Plain<'_>> {
    const PROJECT: u8 = 1 << 3 | 2;
    const KNOWN_DIGEST: u8 = 2 << 3 | 2;
    const PATIENCE: u8 = 3 << 3 | 2;
    let (mut project, mut known, mut patience) = (None, None, None);
    while let [tag, length, rest @ ..] = message {
        // Longer ones, whose length takes two bytes, are not worth it.
        if *length >= 0x80 {
            return None;
        }
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        let field = match *tag {
            PROJECT => &mut project,
            KNOWN_DIGEST => &mut known,
            PATIENCE if is_duration(value) => &mut patience,
            _ => return None,
        };
        if field.replace(value).is_some() {
            return None;
        }
        message = rest;
    }
    let project = std::str::from_utf8(project?).ok()?;
    let known = std::str::from_utf8(known.unwrap_or_default()).ok()?;
    message.is_empty().then_some((project, known))
}

/// Whether these are the fields of a duration that is accepted: seconds, then nanoseconds, either of which may be left out.
fn is_duration(mut message: &[u8]) -> bool {
    const SECONDS: u8 = 1 << 3;
    const NANOSECONDS: u8 = 2 << 3;
    for (tag, most) in [(SECONDS, 1 << 35), (NANOSECONDS, 999_999_999)] {
        let Some((_, rest)) = message.split_first().filter(|(first, _)| **first == tag) else {
            continue;
        };
        let Some((value, rest)) = varint(rest) else {
            return false;
        };
        if value > most {
            return false;
        }
        message = rest;
    }
    message.is_empty()
}

/// A number of at most five bytes, and what follows it.
fn varint(message: &[u8]) -> Option<(u64, &[u8])> {
    let end = message.iter().take(5).position(|byte| *byte < 0x80)? + 1;
    let (bytes, rest) = message.split_at(end);
    let value = bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}

#[cfg(test)]
mod tests;
