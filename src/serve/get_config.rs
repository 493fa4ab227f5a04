//! What answers the requests of a connection: lookups by hand, everything else by generated code.
//!
//! `GetConfig` is on the way of every request of an application. A request that comes in one piece,
//! asking for a project that can be answered from memory, is answered without decoding or encoding
//! a message. Whatever is unusual about a request is left to the generated code, which is handed
//! all that was read of it; so both accept and refuse the same.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderName, HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use prost::Message as _;
use tonic::service::Routes;
use tower::Service as _;

use super::{
    answers::Answers,
    arrival::{Arrival, ArrivalProblem, Arriving, Comes, Piece},
    body::{BesideMessage, Body, Brings, Framing},
    calls::{Calls, OpenCall},
    config_service::{Configs, MAX_BATCH_REQUEST_BYTES, MAX_REQUEST_BYTES},
    framed::{Framed, PREFIX},
    reading::{ConnectionCalls, Lasting},
    request::MAX_DIGEST,
    status::{FailedLookup, Jitter},
    trace,
    whole::{self, WholeBody},
};
use crate::{answer::Answer, proto::v1};

/// The path of `GetConfig`.
const GET_CONFIG: &str = "/evenkeel.v1.ConfigService/GetConfig";

/// The path of the one method whose requests may be larger.
const BATCH: &str = "/evenkeel.v1.ConfigService/BatchGetConfigs";

/// What the paths of the methods begin with whose requests are streams.
const REFLECTION: &str = "/grpc.reflection.";

/// How many calls of reflection may be open at once: it is for people, and each takes 20 KiB.
const MAX_REFLECTIONS: NonZeroUsize = NonZeroUsize::new(100).expect("BUG: 100 is not 0");

/// How a request is compressed. A name that was read already is compared without reading it for
/// each request.
static GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A response as hyper takes it. A failure is a response, too: it has a status.
pub(super) type HyperResult = Result<Response<Body>, Infallible>;

/// Answers requests. Clones answer the same.
pub(super) trait Service: Clone + Send + 'static {
    /// Answers one, which came over that connection. Each call moves this future a few times, so it
    /// is small.
    fn answer(
        self,
        request: Request<Incoming>,
        caller: &ConnectionCalls,
    ) -> impl Future<Output = HyperResult> + Send + use<Self>;
}

/// What generated code serves.
#[derive(Clone, Debug)]
pub(super) struct Methods {
    routes: Routes,
    /// Those of [`BATCH`], whose requests may be larger; else it is among `routes`.
    batches: Option<Routes>,
    calls: Calls,
    reflections: Calls,
}

/// Everything that a lookup listener serves.
#[derive(Debug)]
pub struct Lookups<A> {
    shared: Arc<LookupsShared<A>>,
}

#[derive(Debug)]
struct LookupsShared<A> {
    configs: Configs<A>,
    methods: Methods,
}

impl Methods {
    /// Serves all methods alike.
    pub(super) fn new(routes: Routes, calls: Calls) -> Self {
        Self {
            routes,
            batches: None,
            calls,
            reflections: Calls::at_most(MAX_REFLECTIONS),
        }
    }

    /// Serves batches by other routes.
    pub(super) fn with_batches(self, batches: Routes) -> Self {
        let batches = Some(batches);
        Self { batches, ..self }
    }

    /// Serves a request that arrives now.
    async fn serve(
        &self,
        mut request: Request<Incoming>,
        arrival: Arrival,
        lasting: Lasting,
    ) -> Response<Body> {
        request.extensions_mut().insert(lasting);
        if !request.uri().path().starts_with(REFLECTION) {
            let request = request.map(|body| Arriving::new(body, arrival, Comes::AtOnce));
            return self.read(request, arrival).await;
        }
        let call = match self.reflections.enter() {
            Ok(call) => call,
            Err(failure) => return failed(*failure),
        };
        let request = request.map(|body| Arriving::new(body, arrival, Comes::AsStream));
        self.route(request.map(tonic::body::Body::new), arrival, call)
            .await
    }

    /// Serves a request of one message. While it comes it takes little: generated code, which takes
    /// a lot, is handed all of it.
    async fn read<B>(&self, request: Request<B>, arrival: Arrival) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error = ArrivalProblem> + Send + Unpin + 'static,
    {
        let call = match self.calls.enter() {
            Ok(call) => call,
            Err(failure) => return failed(*failure),
        };
        let most = match request.uri().path() {
            BATCH => MAX_BATCH_REQUEST_BYTES,
            _ => MAX_REQUEST_BYTES,
        };
        let (parts, body) = request.into_parts();
        let body = WholeBody::read(self.calls.coming(body), most).await;
        let request = Request::from_parts(parts, tonic::body::Body::new(body));
        Box::pin(self.route(request, arrival, call)).await
    }

    /// Serves a request of one message without waiting for its end.
    async fn at_once<B>(&self, request: Request<B>, arrival: Arrival) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error = ArrivalProblem> + Send + Unpin + 'static,
    {
        let call = match self.calls.enter() {
            Ok(call) => call,
            Err(failure) => return failed(*failure),
        };
        let coming = |body| tonic::body::Body::new(self.calls.coming(body));
        self.route(request.map(coming), arrival, call).await
    }

    async fn route(
        &self,
        mut request: Request<tonic::body::Body>,
        arrival: Arrival,
        call: OpenCall,
    ) -> Response<Body> {
        request.extensions_mut().insert(arrival);
        let lasting = request.extensions().get::<Lasting>().cloned();
        let mut routes = match &self.batches {
            Some(batches) if request.uri().path() == BATCH => batches.clone(),
            Some(_) | None => self.routes.clone(),
        };
        let Ok(mut response) = routes.call(request).await;
        let beside = response.extensions_mut().remove::<BesideMessage>();
        let framing = beside.and_then(|beside| beside.take());
        response.map(|body| {
            let brings = match framing {
                Some(Framing::Answer(answer)) => return Body::Answer(answer),
                Some(Framing::Messages(messages)) => Brings::Messages(messages),
                None => Brings::Generated(body),
            };
            Body::lasting(brings, arrival.deadline, call, lasting.as_ref())
        })
    }
}

impl<A: Answers> Lookups<A> {
    /// Answers `GetConfig` by `configs`, and what is unusual or another method by `methods`.
    pub(super) fn new(configs: Configs<A>, methods: Methods) -> Self {
        Self {
            shared: Arc::new(LookupsShared { configs, methods }),
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

impl Service for Methods {
    fn answer(
        self,
        request: Request<Incoming>,
        caller: &ConnectionCalls,
    ) -> impl Future<Output = HyperResult> + Send + use<> {
        let arrival = Arrival::now(request.headers());
        let lasting = caller.begin();
        Box::pin(async move { Ok(self.serve(request, arrival, lasting).await) })
    }
}

impl<A: Answers> Service for Lookups<A> {
    fn answer(
        self,
        request: Request<Incoming>,
        caller: &ConnectionCalls,
    ) -> impl Future<Output = HyperResult> + Send + use<A> {
        let arrival = Arrival::now(request.headers());
        let Self { shared } = self;
        if is_get_config(&request) {
            return Either::Left(shared.get_config(request, arrival));
        }
        let lasting = caller.begin();
        Either::Right(Box::pin(async move {
            Ok(shared.methods.serve(request, arrival, lasting).await)
        }))
    }
}

impl<A: Answers> LookupsShared<A> {
    /// Answers a lookup. A block captures each of these once; an `async fn` would hold its
    /// arguments beside the variables that they are moved to.
    fn get_config(
        self: Arc<Self>,
        request: Request<Incoming>,
        arrival: Arrival,
    ) -> impl Future<Output = HyperResult> + Send + use<A> {
        let (parts, body) = request.into_parts();
        let mut body = Arriving::new(body, arrival, Comes::AtOnce);
        async move {
            let mut waits = RequestWait::of(&self.methods.calls);
            let first = match waits.for_next(&mut body).await {
                Ok(first) => first,
                Err(failure) => return Ok(failed(*failure)),
            };
            // What cannot be read is refused without waiting for more, as the generated code does.
            let Some((message, plain)) = first.as_ref().and_then(readable) else {
                let is_begun = first.as_ref().is_some_and(is_begun);
                let request = Request::from_parts(parts, Replayed::new([first, None], body));
                return Ok(if is_begun {
                    Box::pin(self.methods.read(request, arrival)).await
                } else {
                    Box::pin(self.methods.at_once(request, arrival)).await
                });
            };
            let second = match waits.for_next(&mut body).await {
                Ok(second) => second,
                Err(failure) => return Ok(failed(*failure)),
            };
            if second.is_none()
                && let Some((project, known)) = plain
                && let Some(answer) = self.configs.at_once(project, arrival)
            {
                return Ok(well(&answer, known));
            }
            let (None, Ok(asked)) = (&second, v1::GetConfigRequest::decode(message)) else {
                let request = Request::from_parts(parts, Replayed::new([first, second], body));
                return Ok(Box::pin(self.methods.read(request, arrival)).await);
            };
            // A lookup that waits is large, and rare.
            let trace = trace::of(&parts.headers);
            Ok(
                match Box::pin(self.configs.get(asked, arrival, trace)).await {
                    Ok((answer, known)) => well(&answer, &known),
                    Err(failure) => failed(failure),
                },
            )
        }
    }
}

/// Whether a request is a `GetConfig` without anything unusual about its headers.
fn is_get_config<B>(request: &Request<B>) -> bool {
    request.uri().path() == GET_CONFIG
        && request.method() == Method::POST
        && request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value == GRPC || value == "application/grpc+proto")
        && !request.headers().contains_key(&GRPC_ENCODING)
}

fn well(answer: &Answer, known: &str) -> Response<Body> {
    let mut response = Response::new(Body::Answer(Framed::new(answer, known)));
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

fn failed(failure: FailedLookup) -> Response<Body> {
    failure.status(Jitter::draw()).into_http().map(Body::status)
}

/// The wait for a request that is not there at once: an open call.
struct RequestWait<'a> {
    calls: &'a Calls,
    call: Option<OpenCall>,
}

impl<'a> RequestWait<'a> {
    const fn of(calls: &'a Calls) -> Self {
        Self { calls, call: None }
    }

    /// The next piece of a body. Clients may end a stream by an empty frame of its own.
    ///
    /// # Errors
    /// When too many calls are open to wait for it.
    async fn for_next(&mut self, body: &mut Arriving) -> Result<Option<Piece>, Box<FailedLookup>> {
        while !body.is_end_stream() {
            let piece = poll_fn(|context| {
                let piece = Pin::new(&mut *body).poll_frame(context);
                if piece.is_pending()
                    && self.call.is_none()
                    && let Err(failure) = self.enter()
                {
                    return Poll::Ready(Err(failure));
                }
                piece.map(Ok)
            });
            let Some(piece) = piece.await? else {
                return Ok(None);
            };
            let is_empty = |frame: &Frame<Bytes>| frame.data_ref().is_some_and(Bytes::is_empty);
            if !piece.as_ref().is_ok_and(is_empty) {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    fn enter(&mut self) -> Result<(), Box<FailedLookup>> {
        self.call = Some(self.calls.enter()?);
        Ok(())
    }
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

/// Whether a piece may be the beginning of a message.
fn is_begun(piece: &Piece) -> bool {
    let data = piece.as_ref().ok().and_then(Frame::data_ref);
    data.is_some_and(|data| whole::is_begun(data, MAX_REQUEST_BYTES))
}

/// The message of a piece that is a whole frame, if it can be read; and what it asks, if it is
/// plain.
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
pub(super) type Plain<'a> = (&'a str, &'a str);

/// The project and the known digest of a request that says nothing else but a patience, which what
/// is answered at once does not need; each at most once.
pub(super) fn plain(mut message: &[u8]) -> Option<Plain<'_>> {
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
            KNOWN_DIGEST if value.len() <= MAX_DIGEST => &mut known,
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

/// Whether these are the fields of a duration that is accepted: seconds, then nanoseconds, either
/// of which may be left out.
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
