//! The client of the renderer: implements [`Render`] and [`Fetch`] over one HTTP/2 connection that
//! it keeps in the background, and one more for changes where the renderer takes few streams over
//! one.
//!
//! A call is sent on the connection there is or fails at once; only while a connection that was of
//! use is being replaced does it wait for the new one. hyper's client is driven directly, rather
//! than tonic's channel, which dials anew for each call that waits on it, without a back-off, and
//! does not say how its connection stands. Whether and when to call is decided elsewhere.

mod apart;
mod changes;
mod connect;
mod connection;
mod dial;
mod exchange;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod keeper;
mod messages;
mod status;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Uri;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Request;

use self::{
    changes::ChangesListener,
    connect::Tcp,
    connection::{CallOptions, Connection, Failed},
    dial::Redial,
    keeper::{Dialler, Keeper},
};
pub use self::{
    changes::{ChangedInput, ChangesUp, Heard},
    connect::Connect,
    keeper::ConnectionState,
};
use crate::{
    admission::{FetchPermit, Permit},
    proto::v1,
    render::{
        Answered, Ask, Call, Confirmation, Fetch, Offer, Rejected, Render, RenderError, Rendered,
    },
    revision::{Digest, Order, Project},
    trace::{TraceContext, TraceSpan},
};

/// How many changes may wait to be taken; then the stream waits.
const CHANGES_WAITING: usize = 1_024;

/// Which trace a call belongs to (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";

/// How to reach a renderer.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// Where it is: `http`, a host, perhaps a port and a path.
    pub url: Uri,
    /// Which component of the software asks.
    pub component: String,
    /// How long a dial may take, from the resolution of the name to the renderer's HTTP/2 SETTINGS.
    pub connect_timeout: Duration,
    /// The most bytes that a payload may have.
    pub max_payload: usize,
    /// What the jitter is drawn from: another one for each sidecar.
    pub seed: u64,
}

/// A renderer, over a connection that is kept in the background until the last clone is dropped.
#[derive(Clone)]
pub struct Upstream {
    component: Arc<str>,
    state: watch::Receiver<ConnectionState>,
    /// The connection in use; a closed one while the next is on its way, none while calls are to
    /// fail.
    connection: watch::Receiver<Option<Arc<Connection>>>,
    waiting: Arc<watch::Sender<usize>>,
    changes: Arc<Mutex<Option<mpsc::Receiver<Heard>>>>,
    changes_up: ChangesUp,
    _end: Arc<DropGuard>,
}

impl Upstream {
    /// Dials the renderer, then again in the background whenever there is no connection.
    /// Spawns tasks: needs to be called within a runtime.
    pub fn start(options: UpstreamOptions) -> Self {
        let connector = Tcp::new(&options.url, options.seed);
        Self::start_over(connector, options)
    }

    /// As [`start`](Self::start), over byte streams of another make.
    pub fn start_over(connector: impl Connect, options: UpstreamOptions) -> Self {
        let (state, follow_state) = watch::channel(ConnectionState::Dialling);
        let (connection, follow_connection) = watch::channel(None);
        let (waiting, follow_waiting) = watch::channel(0);
        let (heard, changes) = mpsc::channel(CHANGES_WAITING);
        let end = CancellationToken::new();
        let component = Arc::from(options.component.as_str());
        let listener = ChangesListener::new(options.component, heard, options.seed);
        let changes_up = listener.up();
        let keeper = Keeper {
            dialler: Dialler {
                connector,
                timeout: options.connect_timeout,
                options: CallOptions {
                    origin: options.url,
                    max_payload: options.max_payload,
                },
                end: end.clone(),
                dials: Arc::default(),
            },
            redial: Redial::new(options.seed),
            listener,
            seed: options.seed,
            state,
            connection,
            waiting: follow_waiting,
            is_reported: false,
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(keeper.run()));
        Self {
            component,
            state: follow_state,
            connection: follow_connection,
            waiting: Arc::new(waiting),
            changes: Arc::new(Mutex::new(Some(changes))),
            changes_up,
            _end: Arc::new(end.drop_guard()),
        }
    }

    /// Follows how the connection stands. The first [`ConnectionState::Up`] is the first contact.
    pub fn connection_state(&self) -> watch::Receiver<ConnectionState> {
        self.state.clone()
    }

    /// Takes what is heard of changes. To be taken once; dropping it stops listening.
    ///
    /// # Panics
    /// When it was taken before.
    pub fn changes(&self) -> mpsc::Receiver<Heard> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.take().expect("BUG: the changes were taken before")
    }

    /// Tells whether changes are heard.
    pub fn changes_up(&self) -> ChangesUp {
        self.changes_up.clone()
    }

    /// Has `call` made over the connection that is in use, and once again when the renderer did not
    /// process it: it refused the stream, or ended the connection before.
    fn over_connection<T, F>(
        &self,
        deadline: Duration,
        call: impl Fn(Arc<Connection>, Duration) -> F + Send + 'static,
    ) -> Call<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failed>> + Send + 'static,
    {
        let began = Instant::now();
        let (mut connections, waiting) = (self.connection.clone(), Arc::clone(&self.waiting));
        Box::pin(async move {
            let mut answered = Answered::failed(RenderError::Unreachable);
            for _ in 0..2 {
                let Some(in_use) = open_connection(&mut connections, &waiting).await else {
                    return Answered::failed(RenderError::Unreachable);
                };
                let connection = Some(in_use.generation());
                let result = call(in_use, deadline.saturating_sub(began.elapsed())).await;
                let is_unprocessed = matches!(&result, Err(failed) if failed.is_unprocessed);
                answered = Answered {
                    connection,
                    result: result.map_err(|failed| failed.error),
                };
                if !is_unprocessed {
                    break;
                }
            }
            answered
        })
    }

    /// Fetches, unless the renderer does not offer that, and has `read` make sense of the answer.
    fn fetch_over_connection<T: Send + 'static>(
        &self,
        message: v1::FetchRequest,
        span: TraceSpan,
        deadline: Duration,
        read: fn(v1::FetchResponse) -> Result<T, Rejected>,
    ) -> Call<T> {
        self.over_connection(deadline, move |connection, deadline| {
            let request = request(message.clone(), span, deadline);
            async move {
                if connection.lacks_fetch() {
                    return Err(RenderError::Unimplemented.into());
                }
                let answered = Arc::clone(&connection)
                    .call(
                        deadline,
                        |mut client| async move { client.fetch(request).await },
                    )
                    .await;
                let is_lacking =
                    |failed: &Failed| matches!(failed.error, RenderError::Unimplemented);
                if answered.as_ref().is_err_and(is_lacking) {
                    connection.record_lack_of_fetch();
                }
                Ok(read(answered?)?)
            }
        })
    }
}

/// The connection in use, as soon as it can be used; none when there is none.
async fn open_connection(
    connections: &mut watch::Receiver<Option<Arc<Connection>>>,
    waiting: &watch::Sender<usize>,
) -> Option<Arc<Connection>> {
    let is_known = |connection: &Option<Arc<Connection>>| {
        connection
            .as_ref()
            .is_none_or(|connection| connection.is_open())
    };
    let known = connections.borrow_and_update().clone();
    if is_known(&known) {
        return known;
    }
    let _waits = WaitingCall::new(waiting);
    // An error tells that the connection is kept no longer.
    connections.wait_for(is_known).await.ok()?.clone()
}

/// Counts a call among those that wait for a connection, until it is dropped.
struct WaitingCall<'a>(&'a watch::Sender<usize>);

impl<'a> WaitingCall<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

impl Render for Upstream {
    fn render(&self, _: Permit, ask: Ask, deadline: Duration) -> Call<Rendered> {
        let message = messages::render_request(&ask, &self.component);
        let span = ask.span;
        self.over_connection(deadline, move |connection, deadline| {
            let request = request(message.clone(), span, deadline);
            async move {
                let answered = connection.call(deadline, |mut client| async move {
                    client.render(request).await
                });
                Ok(messages::rendered(answered.await?)?)
            }
        })
    }

    fn redial(&self, connection: u64) {
        let in_use = self.connection.borrow().clone();
        if let Some(in_use) = in_use.filter(|it| it.generation() == connection) {
            in_use.age();
        }
    }
}

impl Fetch for Upstream {
    fn fetch(
        &self,
        _: FetchPermit,
        project: Project,
        span: TraceSpan,
        deadline: Duration,
    ) -> Call<Offer> {
        let request = messages::fetch_request(&project, &self.component, None);
        self.fetch_over_connection(request, span, deadline, messages::fetched)
    }

    fn confirm(
        &self,
        _: FetchPermit,
        project: Project,
        held: (Order, Digest),
        deadline: Duration,
    ) -> Call<Confirmation> {
        let request = messages::fetch_request(&project, &self.component, Some(held));
        // Not one lookup causes it: what is held may lack a change that was missed.
        let span = TraceContext::fresh().span();
        self.fetch_over_connection(request, span, deadline, messages::confirmation)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("connection", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}

/// The request of a call that belongs to that span and ends with its deadline.
fn request<T>(message: T, span: TraceSpan, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    if let Ok(span) = span.traceparent().parse() {
        request.metadata_mut().insert(TRACEPARENT, span);
    }
    request
}
