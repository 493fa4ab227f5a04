//! One HTTP/2 connection to a renderer, from its first contact to its end, and the calls over it.
//!
//! Dropping the last clone of a [`Connection`]'s `Arc` closes the connection; a call in flight
//! holds one, so a connection that was replaced lasts until its calls are done. Which connection is
//! used, and when one is dialled, is not known here.

use std::{
    future::Future,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Uri;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, codec::CompressionEncoding};
use tracing::debug;

use super::{
    dial::{Carried, Parting, Use},
    exchange::{Exchange, FromRenderer, MessageCount},
    status::{self, Circumstances},
    wire::{Condition, Stranger, Vitals, Wire},
};
use crate::{proto::v1::render_service_client::RenderServiceClient, render::RenderError};

/// The generated client, over one connection.
pub(super) type RenderClient = RenderServiceClient<Exchange>;

/// How long until a method that the renderer does not implement is tried again: another replica, or
/// the same one after an upgrade behind a proxy, may have it.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What an answer may have beside its payload, in bytes: a payload a little too large is still
/// received, and refused as such.
const ANSWER_SLACK: usize = 64 * 1024;

/// The most bytes of headers or trailers that an answer may have, as HPACK counts them (RFC 7541
/// §4.1): 64 KiB, and some for what HTTP and gRPC add. A stack trace in a status message is longer
/// than the 16 KiB that hyper takes by itself.
const HEADERS: u32 = (64 + 4) * 1024;

/// Below this many streams, changes are listened to over a connection of their own: a stream that
/// never ends would take more than a tenth of them from calls.
const FEW: u32 = 10;

/// A timer that fires this much early still stands for its deadline.
const DEADLINE_SLACK: Duration = Duration::from_millis(10);

/// What the calls over a connection have in common.
#[derive(Clone, Debug)]
pub(super) struct CallOptions {
    /// The URL that paths of methods are appended to.
    pub(super) origin: Uri,
    /// The most bytes that a payload may have.
    pub(super) max_payload: usize,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    generation: u64,
    options: CallOptions,
    send: SendRequest<tonic::body::Body>,
    vitals: Arc<Vitals>,
    retired: CancellationToken,
    aged: CancellationToken,
    lacks_fetch: Mutex<Option<Instant>>,
    has_answered: AtomicBool,
    /// How many calls are under way.
    calls: AtomicUsize,
}

/// Why a call over a connection brought nothing.
#[derive(Debug)]
pub(super) struct Failed {
    /// What it means.
    pub(super) error: RenderError,
    /// The renderer has not begun to work on the call, so that it may be made again at once.
    pub(super) is_unprocessed: bool,
}

/// Why a byte stream did not become a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// It is not HTTP/2, or broke.
    #[error("the HTTP/2 handshake failed")]
    Failed(#[from] hyper::Error),
    /// The peer closed it before its SETTINGS arrived.
    #[error("the peer closed the connection during the HTTP/2 handshake")]
    Closed,
    /// It speaks something else.
    #[error("the renderer at {at} {stranger}")]
    Stranger {
        /// Where it is.
        at: String,
        /// What it speaks.
        stranger: Stranger,
    },
}

impl Connection {
    /// Shakes hands over `io` until the renderer's SETTINGS arrived. The connection's tasks end
    /// with `end`.
    ///
    /// # Errors
    /// When the stream ends first. How long it takes is the caller's to bound.
    pub(super) async fn open(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        generation: u64,
        options: CallOptions,
        end: CancellationToken,
    ) -> Result<Arc<Self>, HandshakeError> {
        let (wire, vitals) = Wire::new(io);
        let (send, connection) = http2::Builder::new(CancellableTasks(end.clone()))
            .max_header_list_size(HEADERS)
            .handshake(TokioIo::new(wire))
            .await?;
        let mut connection = Box::pin(connection);
        let mut condition = vitals.condition();
        tokio::select! {
            ended = &mut connection => return Err(match vitals.stranger() {
                Some(stranger) => HandshakeError::Stranger { at: place(&options.origin), stranger },
                None => ended.map_or_else(Into::into, |()| HandshakeError::Closed),
            }),
            _ = condition.wait_for(|condition| *condition > Condition::Silent) => {}
        }
        let heard = Arc::clone(&vitals);
        tokio::spawn(end.run_until_cancelled_owned(async move {
            let ended = connection.await;
            debug!(generation, ?ended, "connection ended");
            heard.worsen_to(Condition::Ended);
        }));
        Ok(Arc::new(Self {
            generation,
            options,
            send,
            vitals,
            retired: CancellationToken::new(),
            aged: CancellationToken::new(),
            lacks_fetch: Mutex::new(None),
            has_answered: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
        }))
    }

    /// The number of this connection, which grows with each dial.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether calls can be sent.
    pub(super) fn is_open(&self) -> bool {
        *self.vitals.condition().borrow() < Condition::Leaving
    }

    /// Waits until the condition is worse than `condition`, and says what it is.
    pub(super) async fn worse_than(&self, condition: Condition) -> Condition {
        let mut follow = self.vitals.condition();
        let worse = follow.wait_for(|known| *known > condition).await;
        *worse.expect("BUG: the sender is held by self")
    }

    /// Marks this connection as suspect, so that another is dialled.
    pub(super) fn suspect(&self) {
        self.vitals.worsen_to(Condition::Suspect);
    }

    /// Whether this connection, which has `lasted` until now, was of use. One that the renderer
    /// ends in good order while calls are under way has carried them.
    pub(super) fn was_of_use(&self, lasted: Duration) -> Use {
        let parting = if self.vitals.has_left() {
            Parting::InOrder
        } else {
            Parting::Broken
        };
        let carries = parting == Parting::InOrder && self.calls.load(Ordering::Relaxed) > 0;
        let carried = if carries || self.has_answered.load(Ordering::Relaxed) {
            Carried::Answers
        } else {
            Carried::Nothing
        };
        Use::of(carried, parting, lasted)
    }

    /// Has this connection replaced as if it had come of age.
    pub(super) fn age(&self) {
        self.aged.cancel();
    }

    /// Waits until it is to be replaced.
    pub(super) async fn aged(&self) {
        self.aged.cancelled().await;
    }

    /// How many calls may be under way at once, beside the stream of changes; none when the
    /// renderer sets no limit.
    pub(super) fn room(&self) -> Option<NonZeroU32> {
        let streams = self.vitals.streams()?;
        let calls = if self.has_few_streams() {
            streams
        } else {
            streams - 1
        };
        Some(NonZeroU32::new(calls).unwrap_or(NonZeroU32::MIN))
    }

    /// Whether the renderer takes so few streams at once that calls should have all of them.
    pub(super) fn has_few_streams(&self) -> bool {
        self.vitals.streams().is_some_and(|streams| streams < FEW)
    }

    /// Marks this connection as no longer the one in use.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// Waits until it is no longer the one in use.
    pub(super) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Whether the renderer has no `Fetch`.
    pub(super) fn lacks_fetch(&self) -> bool {
        let since = *self.since_it_lacks_fetch();
        since.is_some_and(|since| since.elapsed() < ASK_AGAIN)
    }

    /// Records that it has none, for a while.
    pub(super) fn record_lack_of_fetch(&self) {
        *self.since_it_lacks_fetch() = Some(Instant::now());
    }

    fn since_it_lacks_fetch(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lacks_fetch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A client for one call; an answer with more messages than these fails it.
    pub(super) fn client(&self, messages: MessageCount) -> (RenderClient, FromRenderer) {
        let limit = self.options.max_payload.saturating_add(ANSWER_SLACK);
        let from_renderer = FromRenderer::default();
        let exchange = Exchange {
            send: self.send.clone(),
            limit,
            messages,
            from_renderer: from_renderer.clone(),
        };
        let client = RenderClient::with_origin(exchange, self.options.origin.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limit);
        (client, from_renderer)
    }

    /// Makes a call that its caller drops after `deadline`.
    pub(super) async fn call<T, F>(
        self: Arc<Self>,
        deadline: Duration,
        ask: impl FnOnce(RenderClient) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (client, from_renderer) = self.client(MessageCount::One);
        let watch = CallWatch::new(Arc::clone(&self), deadline);
        let answered = ask(client).await;
        if answered.is_ok() || from_renderer.is_error() {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        answered.map(Response::into_inner).map_err(|status| {
            let circumstances = Circumstances {
                is_from_renderer: from_renderer.is_error(),
                is_past_deadline: watch.is_over(),
                max_payload: self.options.max_payload,
            };
            Failed {
                error: status::read(&status, circumstances),
                is_unprocessed: status::is_unprocessed(&status),
            }
        })
    }
}

impl<E: Into<RenderError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            is_unprocessed: false,
        }
    }
}

/// Where a renderer is, without what else its URL may say.
fn place(origin: &Uri) -> String {
    let host = origin.host().unwrap_or_default();
    let port = origin.port_u16().map(|port| format!(":{port}"));
    format!("http://{host}{}", port.unwrap_or_default())
}

/// Watches a connection during a call: when the call ends past its deadline and not a byte arrived
/// meanwhile, of this or any other call, the connection is suspect.
struct CallWatch {
    connection: Arc<Connection>,
    received: u64,
    began: Instant,
    deadline: Duration,
}

impl CallWatch {
    fn new(connection: Arc<Connection>, deadline: Duration) -> Self {
        connection.calls.fetch_add(1, Ordering::Relaxed);
        Self {
            received: connection.vitals.received(),
            began: Instant::now(),
            connection,
            deadline,
        }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() + DEADLINE_SLACK >= self.deadline
    }
}

impl Drop for CallWatch {
    fn drop(&mut self) {
        self.connection.calls.fetch_sub(1, Ordering::Relaxed);
        if self.is_over() && self.connection.vitals.received() == self.received {
            self.connection.vitals.worsen_to(Condition::Suspect);
        }
    }
}

/// Runs hyper's tasks until the token is cancelled.
#[derive(Clone)]
struct CancellableTasks(CancellationToken);

impl<F> hyper::rt::Executor<F> for CancellableTasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(task));
    }
}
