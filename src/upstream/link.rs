//! One HTTP/2 connection to a renderer, from its first contact to its end, and the calls over it.
//!
//! Dropping the last clone of a [`Link`]'s `Arc` closes the connection; a call in flight holds one, so a connection that was
//! replaced lasts until its calls are done. Which connection is used, and when one is dialled, is not known here.

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
    dial::Use,
    exchange::{Exchange, Said},
    status::{self, Circumstances},
    wire::{Health, Pulse, Stranger, Wire},
};
use crate::{proto::v1::render_service_client::RenderServiceClient, render::RenderError};

/// The generated client, over one connection.
pub(super) type Client = RenderServiceClient<Exchange>;

/// A method that the renderer does not implement is asked for again after so long: another replica, or the same one after an
/// upgrade behind a proxy, may have it.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What an answer may have beside its payload, in bytes: a payload a little too large is still received, and refused as such.
const ANSWER_SLACK: usize = 64 * 1024;

/// The most bytes of headers or trailers that an answer may have, as HPACK counts them (RFC 7541 §4.1): 64 KiB, and some for
/// what HTTP and gRPC add. A stack trace in a status message is longer than the 16 KiB that hyper takes by itself.
const HEADERS: u32 = (64 + 4) * 1024;

/// Below this many streams, changes are listened to over a connection of their own: a stream that never ends would take more
/// than a tenth of them from calls.
const FEW: u32 = 10;

/// A timer that fires this much early still stands for its deadline.
const DEADLINE_SLACK: Duration = Duration::from_millis(10);

/// What the calls over a connection have in common.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// The URL that paths of methods are appended to.
    pub(super) origin: Uri,
    /// The most bytes that a payload may have.
    pub(super) max_payload: usize,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    generation: u64,
    terms: Terms,
    send: SendRequest<tonic::body::Body>,
    pulse: Arc<Pulse>,
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

impl Link {
    /// Shakes hands over `io` until the renderer's SETTINGS arrived. The connection's tasks end with `end`.
    ///
    /// # Errors
    /// When the stream ends first. How long it takes is the caller's to bound.
    pub(super) async fn open(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        generation: u64,
        terms: Terms,
        end: CancellationToken,
    ) -> Result<Arc<Self>, HandshakeError> {
        let (wire, pulse) = Wire::new(io);
        let (send, connection) = http2::Builder::new(Tasks(end.clone()))
            .max_header_list_size(HEADERS)
            .handshake(TokioIo::new(wire))
            .await?;
        let mut connection = Box::pin(connection);
        let mut health = pulse.health();
        tokio::select! {
            ended = &mut connection => return Err(match pulse.stranger() {
                Some(stranger) => HandshakeError::Stranger { at: place(&terms.origin), stranger },
                None => ended.map_or_else(Into::into, |()| HandshakeError::Closed),
            }),
            _ = health.wait_for(|health| *health > Health::Silent) => {}
        }
        let heard = Arc::clone(&pulse);
        tokio::spawn(end.run_until_cancelled_owned(async move {
            let ended = connection.await;
            debug!(generation, ?ended, "connection ended");
            heard.note(Health::Ended);
        }));
        Ok(Arc::new(Self {
            generation,
            terms,
            send,
            pulse,
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
        *self.pulse.health().borrow() < Health::Leaving
    }

    /// Waits until the health is worse than `health`, and says what it is.
    pub(super) async fn worse_than(&self, health: Health) -> Health {
        let mut follow = self.pulse.health();
        let worse = follow.wait_for(|known| *known > health).await;
        *worse.expect("BUG: the sender is held by self")
    }

    /// Marks this connection as suspect, so that another is dialled.
    pub(super) fn suspect(&self) {
        self.pulse.note(Health::Suspect);
    }

    /// Whether this connection was of use, as of now, when it has lasted so long. One that the renderer ends in good order
    /// while calls are under way has carried them.
    pub(super) fn was_of_use(&self, lasted: Duration) -> Use {
        let was_ended_in_order = self.pulse.has_left();
        let carries = was_ended_in_order && self.calls.load(Ordering::Relaxed) > 0;
        let has_answered = carries || self.has_answered.load(Ordering::Relaxed);
        Use::of(has_answered, was_ended_in_order, lasted)
    }

    /// Has this connection replaced as if it had come of age.
    pub(super) fn age(&self) {
        self.aged.cancel();
    }

    /// Waits until it is to be replaced.
    pub(super) async fn aged(&self) {
        self.aged.cancelled().await;
    }

    /// How many calls may be under way at once, beside the stream of changes; none when the renderer sets no limit.
    pub(super) fn room(&self) -> Option<NonZeroU32> {
        let streams = self.pulse.streams()?;
        let calls = if self.has_few_streams() {
            streams
        } else {
            streams - 1
        };
        Some(NonZeroU32::new(calls).unwrap_or(NonZeroU32::MIN))
    }

    /// Whether the renderer takes so few streams at once that calls should have all of them.
    pub(super) fn has_few_streams(&self) -> bool {
        self.pulse.streams().is_some_and(|streams| streams < FEW)
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
    pub(super) fn note_lack_of_fetch(&self) {
        *self.since_it_lacks_fetch() = Some(Instant::now());
    }

    fn since_it_lacks_fetch(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lacks_fetch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A client for one call.
    pub(super) fn client(&self) -> (Client, Said) {
        let limit = self.terms.max_payload.saturating_add(ANSWER_SLACK);
        let said = Said::default();
        let exchange = Exchange {
            send: self.send.clone(),
            limit,
            said: said.clone(),
        };
        let client = Client::with_origin(exchange, self.terms.origin.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(limit);
        (client, said)
    }

    /// Makes a call that its caller drops after `deadline`.
    pub(super) async fn call<T, F>(
        self: Arc<Self>,
        deadline: Duration,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T, Failed>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (client, said) = self.client();
        let vigil = Vigil::new(Arc::clone(&self), deadline);
        let answered = ask(client).await;
        if answered.is_ok() || said.is_error() {
            self.has_answered.store(true, Ordering::Relaxed);
        }
        answered.map(Response::into_inner).map_err(|status| {
            let circumstances = Circumstances {
                is_said: said.is_error(),
                is_past_deadline: vigil.is_over(),
                max_payload: self.terms.max_payload,
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

/// Watches a connection during a call: when the call ends past its deadline and not a byte arrived meanwhile, of this or any
/// other call, the connection is suspect.
struct Vigil {
    link: Arc<Link>,
    received: u64,
    began: Instant,
    deadline: Duration,
}

impl Vigil {
    fn new(link: Arc<Link>, deadline: Duration) -> Self {
        link.calls.fetch_add(1, Ordering::Relaxed);
        Self {
            received: link.pulse.received(),
            began: Instant::now(),
            link,
            deadline,
        }
    }

    fn is_over(&self) -> bool {
        self.began.elapsed() + DEADLINE_SLACK >= self.deadline
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.link.calls.fetch_sub(1, Ordering::Relaxed);
        if self.is_over() && self.link.pulse.received() == self.received {
            self.link.pulse.note(Health::Suspect);
        }
    }
}

/// Runs hyper's tasks until the token is cancelled.
#[derive(Clone)]
struct Tasks(CancellationToken);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(task));
    }
}
