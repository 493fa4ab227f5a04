//! Keeps a connection to the renderer: one task, so that there is one dial at a time.
//!
//! Down: dials when the back-off says so, also while nothing is wanted: the renderer's word of changes comes over it. Up:
//! redials when the connection ends, leaves, is suspect or has come of age. A suspect or aged one stays in use until the new
//! one stands.
//!
//! A connection that was of use and ends is not an outage. The next one is dialled without a back-off, and before the last
//! call over the old one is done: at once while a call waits for it, else within a little jitter, because the renderer may
//! have sent all sidecars of a fleet away in the same instant. Calls that are made meanwhile wait for the new connection.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    changes::Listener,
    connect::Connect,
    dial::{Backoff, Use},
    link::{HandshakeError, Link, Terms},
    status::with_causes,
    wire::Health,
};
use crate::moment;

/// How the connection to the renderer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The first dial is under way.
    Dialling,
    /// Calls can be made. Also while a connection that was of use has ended, and the next is on its way.
    Up {
        /// Which connection it is; grows with each.
        generation: u64,
    },
    /// Calls fail at once.
    Down {
        /// When the next dial is made. Past while one is under way.
        retry_at: Instant,
    },
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("cannot connect")]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error("no contact within {0:?}")]
    TimedOut(Duration),
}

/// The task that keeps the connection.
pub(super) struct Keeper<C> {
    pub(super) connector: C,
    pub(super) connect_timeout: Duration,
    pub(super) terms: Terms,
    pub(super) backoff: Backoff,
    pub(super) listener: Listener,
    pub(super) seed: u64,
    pub(super) connection: watch::Sender<Connection>,
    pub(super) link: watch::Sender<Option<Arc<Link>>>,
    /// How many calls wait for the next connection.
    pub(super) waiting: watch::Receiver<usize>,
    pub(super) end: CancellationToken,
    /// Dials made so far.
    pub(super) dials: u64,
    /// Whether the log says that the renderer is unreachable.
    pub(super) is_reported: bool,
}

impl<C: Connect> Keeper<C> {
    /// Runs for ever.
    pub(super) async fn run(mut self) {
        let mut due = Instant::now();
        loop {
            let link = self.get_up(due).await;
            due = self.stay_up(link).await;
        }
    }

    /// Dials from `due` on until there is a connection.
    async fn get_up(&mut self, mut due: Instant) -> Arc<Link> {
        loop {
            sleep_until(due).await;
            match self.dial().await {
                Ok(link) => return link,
                Err(error) => due = self.fail(&error),
            }
        }
    }

    /// Uses a connection, and those that replace it, until there is none. Says when the next dial is due.
    async fn stay_up(&mut self, mut link: Arc<Link>) -> Instant {
        let mut since = self.use_link(&link);
        let mut due = since + self.backoff.age();
        let mut accepted = Health::Well;
        let mut is_aged = false;
        loop {
            let worse = tokio::select! {
                worse = link.worse_than(accepted) => Some(worse),
                () = sleep_until(due) => None,
                () = link.aged(), if !is_aged => {
                    is_aged = true;
                    due = Instant::now();
                    continue;
                }
            };
            match worse {
                Some(Health::Silent | Health::Well) => {}
                Some(Health::Suspect) => {
                    debug!(generation = link.generation(), "connection is suspect");
                    accepted = Health::Suspect;
                    due = Instant::now() + self.backoff.after_end(link.was_of_use(since.elapsed()));
                }
                Some(Health::Leaving | Health::Ended) => {
                    let use_of_it = link.was_of_use(since.elapsed());
                    let delay = self.backoff.after_end(use_of_it);
                    if use_of_it == Use::None {
                        due = Instant::now() + delay;
                        self.go_down(due);
                        return due;
                    }
                    debug!(generation = link.generation(), "connection is replaced");
                    self.until_due_or_wanted().await;
                    match self.dial().await {
                        Ok(new) => {
                            link = new;
                            is_aged = false;
                            since = self.use_link(&link);
                            due = since + self.backoff.age();
                            accepted = Health::Well;
                        }
                        Err(error) => return self.fail(&error),
                    }
                }
                None => match self.dial().await {
                    Ok(new) => {
                        link = new;
                        is_aged = false;
                        since = self.use_link(&link);
                        due = since + self.backoff.age();
                        accepted = Health::Well;
                    }
                    Err(error) if accepted == Health::Suspect => return self.fail(&error),
                    Err(error) => {
                        debug!(error = with_causes(&error), "cannot replace the connection");
                        due = Instant::now() + self.backoff.after_failure();
                    }
                },
            }
        }
    }

    /// Waits for a moment, less when a call waits for a connection: the dials of a fleet follow its work then, which admission
    /// spreads.
    async fn until_due_or_wanted(&mut self) {
        let jitter = self.backoff.jitter();
        tokio::select! {
            () = sleep(jitter) => {}
            // An error tells that there are no more callers.
            _ = self.waiting.wait_for(|waiting| *waiting > 0) => {}
        }
    }

    /// Dials once.
    async fn dial(&mut self) -> Result<Arc<Link>, DialError> {
        self.dials += 1;
        let generation = self.dials;
        let shake_hands = async {
            let io = self.connector.connect().await?;
            let link = Link::open(io, generation, self.terms.clone(), self.end.clone()).await?;
            Ok(link)
        };
        moment::within(self.connect_timeout, shake_hands)
            .await
            .unwrap_or(Err(DialError::TimedOut(self.connect_timeout)))
    }

    /// Has new calls made over `link`. Says when that was.
    fn use_link(&mut self, link: &Arc<Link>) -> Instant {
        if let Some(old) = self.link.send_replace(Some(Arc::clone(link))) {
            old.retire();
        }
        let generation = link.generation();
        self.connection.send_replace(Connection::Up { generation });
        let backoff = Backoff::new(self.seed.wrapping_add(generation));
        let listen = self.listener.clone().listen(Arc::clone(link), backoff);
        tokio::spawn(self.end.clone().run_until_cancelled_owned(listen));
        if self.is_reported {
            self.is_reported = false;
            info!(generation, "renderer is reachable again");
        } else {
            debug!(generation, "connected");
        }
        Instant::now()
    }

    /// Notes that a dial failed. Says when the next one is due.
    fn fail(&mut self, error: &DialError) -> Instant {
        if !self.is_reported {
            self.is_reported = true;
            warn!(error = with_causes(error), "renderer is unreachable");
        }
        let due = Instant::now() + self.backoff.after_failure();
        self.go_down(due);
        due
    }

    fn go_down(&self, retry_at: Instant) {
        if let Some(old) = self.link.send_replace(None) {
            old.retire();
        }
        self.connection.send_replace(Connection::Down { retry_at });
    }
}
