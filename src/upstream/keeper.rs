//! Keeps a connection to the renderer: one task, so that there is one dial at a time (and one more
//! for changes, see `apart`).
//!
//! Down: dials when the back-off says so, also while nothing is wanted: the renderer's word of
//! changes comes over it. Up: redials when the connection ends, leaves, is suspect or has come of
//! age. A suspect or aged one stays in use until the new one stands.
//!
//! A connection that was of use and ends is not an outage. The next one is dialled without a
//! back-off, and before the last call over the old one is done: at once while a call waits for it,
//! else within a little jitter, because the renderer may have sent all sidecars of a fleet away in
//! the same instant. Calls that are made meanwhile wait for the new connection.

use std::{
    io,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    apart,
    changes::ChangesListener,
    connect::Connect,
    connection::{CallOptions, Connection, HandshakeError},
    dial::{Redial, Use},
    status::with_causes,
    wire::Condition,
};
use crate::moment;

/// How the connection to the renderer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// The first dial is under way.
    Dialling,
    /// Calls can be made. Also while a connection that was of use has ended, and the next is on its
    /// way.
    Up {
        /// Which connection it is; grows with each.
        generation: u64,
        /// How many calls it takes at once; none when the renderer sets no limit.
        room: Option<NonZeroU32>,
    },
    /// Calls fail at once.
    Down {
        /// When the next dial is made. Past while one is under way.
        retry_at: Instant,
    },
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("cannot connect")]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("no contact within {0:?}")]
    TimedOut(Duration),
}

/// Dials a renderer. Clones number their connections together.
#[derive(Clone)]
pub(super) struct Dialler<C> {
    pub(super) connector: C,
    /// How long a dial may take.
    pub(super) timeout: Duration,
    pub(super) options: CallOptions,
    /// Ends the tasks of connections.
    pub(super) end: CancellationToken,
    /// Dials made so far.
    pub(super) dials: Arc<AtomicU64>,
}

impl<C: Connect> Dialler<C> {
    /// Dials once.
    pub(super) async fn dial(&mut self) -> Result<Arc<Connection>, DialError> {
        let generation = self.dials.fetch_add(1, Ordering::Relaxed) + 1;
        let shake_hands = async {
            let io = self.connector.connect().await?;
            let connection =
                Connection::open(io, generation, self.options.clone(), self.end.clone()).await?;
            Ok(connection)
        };
        moment::within(self.timeout, shake_hands)
            .await
            .unwrap_or(Err(DialError::TimedOut(self.timeout)))
    }
}

/// The task that keeps the connection.
pub(super) struct Keeper<C> {
    pub(super) dialler: Dialler<C>,
    pub(super) redial: Redial,
    pub(super) listener: ChangesListener,
    pub(super) seed: u64,
    pub(super) state: watch::Sender<ConnectionState>,
    pub(super) connection: watch::Sender<Option<Arc<Connection>>>,
    /// How many calls wait for the next connection.
    pub(super) waiting: watch::Receiver<usize>,
    /// Whether the log says that the renderer is unreachable.
    pub(super) is_reported: bool,
}

impl<C: Connect> Keeper<C> {
    /// Runs for ever.
    pub(super) async fn run(mut self) {
        let mut due = Instant::now();
        loop {
            let connection = self.get_up(due).await;
            due = self.stay_up(connection).await;
        }
    }

    /// Dials from `due` on until there is a connection.
    async fn get_up(&mut self, mut due: Instant) -> Arc<Connection> {
        loop {
            sleep_until(due).await;
            match self.dialler.dial().await {
                Ok(connection) => return connection,
                Err(error) => due = self.fail(&error),
            }
        }
    }

    /// Uses a connection, and those that replace it, until there is none. Says when the next dial
    /// is due.
    async fn stay_up(&mut self, mut connection: Arc<Connection>) -> Instant {
        let mut since = self.use_connection(&connection);
        let mut due = since + self.redial.age();
        let mut accepted = Condition::Well;
        let mut is_aged = false;
        loop {
            let worse = tokio::select! {
                worse = connection.worse_than(accepted) => Some(worse),
                () = sleep_until(due) => None,
                () = connection.aged(), if !is_aged => {
                    is_aged = true;
                    due = Instant::now();
                    continue;
                }
            };
            match worse {
                Some(Condition::Silent | Condition::Well) => {}
                Some(Condition::Suspect) => {
                    debug!(
                        generation = connection.generation(),
                        "connection is suspect"
                    );
                    accepted = Condition::Suspect;
                    due = Instant::now()
                        + self
                            .redial
                            .after_end(connection.was_of_use(since.elapsed()));
                }
                Some(Condition::Leaving | Condition::Ended) => {
                    let use_of_it = connection.was_of_use(since.elapsed());
                    let delay = self.redial.after_end(use_of_it);
                    if use_of_it == Use::None {
                        due = Instant::now() + delay;
                        self.go_down(due);
                        return due;
                    }
                    debug!(
                        generation = connection.generation(),
                        "connection is replaced"
                    );
                    self.until_due_or_wanted().await;
                    match self.dialler.dial().await {
                        Ok(new) => {
                            connection = new;
                            is_aged = false;
                            since = self.use_connection(&connection);
                            due = since + self.redial.age();
                            accepted = Condition::Well;
                        }
                        Err(error) => return self.fail(&error),
                    }
                }
                None => match self.dialler.dial().await {
                    Ok(new) => {
                        connection = new;
                        is_aged = false;
                        since = self.use_connection(&connection);
                        due = since + self.redial.age();
                        accepted = Condition::Well;
                    }
                    Err(error) if accepted == Condition::Suspect => return self.fail(&error),
                    Err(error) => {
                        debug!(error = with_causes(&error), "cannot replace the connection");
                        due = Instant::now() + self.redial.after_failure();
                    }
                },
            }
        }
    }

    /// Waits for a random moment, or until a call waits for a connection. Then the dials of a fleet
    /// are spread as its calls are, by admission.
    async fn until_due_or_wanted(&mut self) {
        let jitter = self.redial.jitter();
        tokio::select! {
            () = sleep(jitter) => {}
            // An error tells that the last caller is gone.
            _ = self.waiting.wait_for(|waiting| *waiting > 0) => {}
        }
    }

    /// Has new calls made over `connection`. Says when that was.
    fn use_connection(&mut self, connection: &Arc<Connection>) -> Instant {
        if let Some(old) = self.connection.send_replace(Some(Arc::clone(connection))) {
            old.retire();
        }
        let generation = connection.generation();
        let room = connection.room();
        self.state
            .send_replace(ConnectionState::Up { generation, room });
        self.listen(connection);
        if self.is_reported {
            self.is_reported = false;
            info!(generation, "renderer is reachable again");
        } else {
            debug!(generation, "connected");
        }
        Instant::now()
    }

    /// Listens to changes over `connection`, or beside it.
    fn listen(&self, connection: &Arc<Connection>) {
        let (listener, connection, seed) =
            (self.listener.clone(), Arc::clone(connection), self.seed);
        let end = self.dialler.end.clone();
        if connection.has_few_streams() {
            let listen = apart::listen(self.dialler.clone(), listener, connection, seed);
            tokio::spawn(end.run_until_cancelled_owned(listen));
        } else {
            let redial = Redial::new(seed.wrapping_add(connection.generation()));
            let listen = listener.listen(connection, redial);
            tokio::spawn(end.run_until_cancelled_owned(listen));
        }
    }

    /// Records that a dial failed. Returns when the next one is due.
    fn fail(&mut self, error: &DialError) -> Instant {
        if !self.is_reported {
            self.is_reported = true;
            warn!(error = with_causes(error), "renderer is unreachable");
        }
        let due = Instant::now() + self.redial.after_failure();
        self.go_down(due);
        due
    }

    fn go_down(&self, retry_at: Instant) {
        if let Some(old) = self.connection.send_replace(None) {
            old.retire();
        }
        self.state.send_replace(ConnectionState::Down { retry_at });
    }
}
