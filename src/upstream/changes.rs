//! Listens for changes: one stream over a connection, opened again when it ends.
//!
//! A connection that was replaced is listened to until the stream over the new one has settled, so
//! that a change that falls between two streams is not lost; one that is heard twice does no harm.
//! What several streams together amount to, and when changes may have been missed, is decided in
//! `continuity`.

mod continuity;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tonic::{Code, Response, Status, Streaming};
use tracing::{debug, info, warn};

use self::continuity::{Continuity, StreamId, StreamMessage, StreamNews, StreamVerdict};
use super::{
    connection::{ASK_AGAIN, Connection},
    dial::{Carried, Parting, Redial, Use},
    exchange::MessageCount,
};
use crate::{
    proto::v1,
    render::Message,
    revision::{Order, Project},
};

/// How much longer a connection is listened to, at most, when another is in use: longer than a new
/// stream takes to settle.
const OVERLAP: Duration = Duration::from_secs(10);
/// A timer that is later than this shows that the process was frozen. The stream is then read for
/// [`CATCHING_UP`] before the timer is obeyed.
const LATE: Duration = Duration::from_secs(1);
const CATCHING_UP: Duration = Duration::from_secs(1);

/// The input of a project changed: what is held below `order` is no longer fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedInput {
    /// Whose input.
    pub project: Project,
    /// The order of the first revision that has the change.
    pub order: Order,
}

/// What is heard of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An input changed.
    Change(ChangedInput),
    /// Changes may have been missed: what the renderer was asked before `since` may lack one.
    Resync {
        /// When the stream began that told, or lacked, where the renderer stands.
        since: Instant,
    },
}

/// Passes on what a renderer tells of changes. Clones listen together.
#[derive(Clone, Debug)]
pub(super) struct ChangesListener {
    component: String,
    heard: mpsc::Sender<Heard>,
    continuity: Arc<Mutex<Continuity>>,
    /// The newest connection whose stream has settled.
    settled: watch::Sender<u64>,
}

/// Tells whether changes are heard.
#[derive(Clone, Debug)]
pub struct ChangesUp(Arc<Mutex<Continuity>>);

/// One stream, for as long as it lasts.
struct OpenStream<'a> {
    listener: &'a ChangesListener,
    id: StreamId,
}

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    /// The renderer ended it.
    #[error("the renderer ended it")]
    Done,
    /// It broke, or was refused.
    #[error("{}: {}", .0.code(), Message::new(.0.message()))]
    Broken(Status),
    /// The renderer says that it does not offer changes.
    #[error("the renderer does not offer changes")]
    NotOffered,
    /// It gave no sign of life for too long.
    #[error("it was silent for too long")]
    Silent,
}

// === impl ChangesUp ===

impl ChangesUp {
    /// Whether a stream of changes is open.
    pub fn now(&self) -> bool {
        lock(&self.0).is_up()
    }
}

// === impl ChangesListener ===

impl ChangesListener {
    /// Listens for `component`, and passes on what is heard.
    pub(super) fn new(component: String, heard: mpsc::Sender<Heard>, seed: u64) -> Self {
        Self {
            component,
            heard,
            continuity: Arc::new(Mutex::new(Continuity::new(seed))),
            settled: watch::Sender::new(0),
        }
    }

    /// Tells whether changes are heard.
    pub(super) fn up(&self) -> ChangesUp {
        ChangesUp(Arc::clone(&self.continuity))
    }

    /// Whether what it hears is of interest to its receiver no longer.
    pub(super) fn is_done(&self) -> bool {
        self.heard.is_closed()
    }

    /// Records that there is no connection to open a stream over, and why.
    pub(super) fn record_no_connection(&self, error: &str) {
        let news = self.lock().failed(Duration::ZERO);
        self.report(news, Some(&error));
    }

    /// Listens over one connection until another has replaced it, or it has ended.
    pub(super) async fn listen(self, connection: Arc<Connection>, redial: Redial) {
        let mut settled = self.settled.subscribe();
        let replaced = async {
            connection.retired().await;
            let is_replaced = settled.wait_for(|newest| *newest > connection.generation());
            // When no other stream comes about, this one has done what it could.
            let _ = timeout(OVERLAP, is_replaced).await;
        };
        tokio::select! {
            () = replaced => {}
            () = self.streams(&connection, redial) => {}
            () = self.heard.closed() => {}
        }
    }

    /// Opens a stream again whenever one ends.
    async fn streams(&self, connection: &Connection, mut redial: Redial) {
        while connection.is_open() {
            let (ended, lasted) = self.stream(connection).await;
            debug!(
                generation = connection.generation(),
                ?ended,
                "changes ended"
            );
            match ended {
                StreamEnd::NotOffered => {
                    let news = self.lock().healed();
                    self.report(news, None);
                    sleep(ASK_AGAIN).await;
                }
                StreamEnd::Silent => {
                    warn!(
                        generation = connection.generation(),
                        "stream of changes is silent; connecting anew"
                    );
                    connection.suspect();
                    return;
                }
                StreamEnd::Done | StreamEnd::Broken(_) => {
                    let was = Use::of(Carried::Nothing, Parting::Broken, lasted);
                    sleep(redial.after_end(was)).await;
                    // By now it is known whether its connection ended with it.
                    if connection.is_open() {
                        let news = self.lock().failed(lasted);
                        self.report(news, Some(&ended));
                    }
                }
            }
        }
    }

    /// Passes on one stream until it ends; tells how long it lasted.
    async fn stream(&self, connection: &Connection) -> (StreamEnd, Duration) {
        let (id, after) = self.lock().begin(connection.generation(), Instant::now());
        let open = OpenStream { listener: self, id };
        let (mut client, from_renderer) = connection.client(MessageCount::Any);
        let request = v1::ChangesRequest {
            component: self.component.clone(),
            after,
        };
        let ended = tokio::select! {
            biased;
            ended = self.read(id, client.changes(request)) => match ended {
                Ok(()) => StreamEnd::Done,
                Err(status) if status.code() == Code::Unimplemented && from_renderer.is_error() => StreamEnd::NotOffered,
                Err(status) => StreamEnd::Broken(status),
            },
            () = self.until_silent(id) => StreamEnd::Silent,
        };
        (ended, open.close())
    }

    /// Takes the messages of a stream, until it ends.
    async fn read(
        &self,
        id: StreamId,
        call: impl Future<Output = Result<Response<Streaming<v1::Change>>, Status>>,
    ) -> Result<(), Status> {
        let mut stream = call.await?.into_inner();
        self.lock().accepted(id);
        while let Some(change) = stream.message().await? {
            self.take(id, change).await;
        }
        Ok(())
    }

    /// Takes a message of a stream.
    async fn take(&self, id: StreamId, change: v1::Change) {
        let order = Order::new(change.rollout, change.number);
        let has_project = !change.project.is_empty();
        if has_project {
            match Project::new(&change.project) {
                Ok(project) => {
                    self.tell(Heard::Change(ChangedInput { project, order }))
                        .await;
                }
                Err(error) => debug!(%error, "change of a project that cannot be"),
            }
        }
        let word = StreamMessage {
            has_project,
            position: change.position,
            resync: change.resync,
        };
        // After the change was passed on: from then on a position may say that it was heard.
        let verdict = self.lock().heard(id, word, Instant::now());
        self.obey(verdict).await;
    }

    /// Does what is due for a stream when it is due. Ends when the stream has been silent for too
    /// long.
    async fn until_silent(&self, id: StreamId) {
        loop {
            // A word of the stream only puts off what is due.
            let Some(due) = self.lock().due(id) else {
                return std::future::pending().await;
            };
            sleep_until(due).await;
            if due.elapsed() > LATE {
                sleep(CATCHING_UP).await;
            }
            let verdict = self.lock().tick(id, Instant::now());
            if self.obey(verdict).await {
                return;
            }
        }
    }

    /// Does what a verdict says; true when the stream is over.
    async fn obey(&self, verdict: StreamVerdict) -> bool {
        let newest = self.lock().settled();
        self.settled.send_if_modified(|known| {
            let is_news = *known < newest;
            *known = newest.max(*known);
            is_news
        });
        if let Some(report) = verdict.report {
            self.report(Some(report), None);
        }
        if let Some(since) = verdict.resync {
            self.tell(Heard::Resync { since }).await;
        }
        verdict.is_silent
    }

    /// Logs news, and why there is no stream.
    fn report(&self, news: Option<StreamNews>, ended: Option<&dyn fmt::Display>) {
        match news {
            Some(StreamNews::Failing) => {
                let error = ended.map(ToString::to_string);
                let error = error.as_deref().unwrap_or_default();
                warn!(
                    error,
                    "stream of changes keeps ending; changed inputs may go unnoticed"
                );
            }
            Some(StreamNews::Healed) => info!("stream of changes no longer keeps ending"),
            None => {}
        }
    }

    async fn tell(&self, heard: Heard) {
        // Fails only when the receiver is gone, which ends the caller too.
        let _ = self.heard.send(heard).await;
    }

    fn lock(&self) -> MutexGuard<'_, Continuity> {
        lock(&self.continuity)
    }
}

// === impl OpenStream ===

impl OpenStream<'_> {
    /// Closes it; tells how long it lasted.
    fn close(self) -> Duration {
        self.end()
    }

    fn end(&self) -> Duration {
        self.listener.lock().ended(self.id, Instant::now())
    }
}

impl Drop for OpenStream<'_> {
    /// Also when its future is dropped, because it is listened to no longer. To end twice does no
    /// harm.
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(continuity: &Mutex<Continuity>) -> MutexGuard<'_, Continuity> {
    continuity.lock().unwrap_or_else(PoisonError::into_inner)
}
