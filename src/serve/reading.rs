//! Whether the other side of a connection takes what is written to it, and the end of a call whose caller does not.
//!
//! hyper asks a call's body for nothing while the caller's window is shut, so that a body alone cannot end such a call. Each call
//! that may last is therefore a task that can be ended from outside; HTTP/2 then resets the stream and lets go of its bytes.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::connections::TurnOut;

/// Whether the other side of a connection reads. Clones are of the same connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// When it last took a byte; none while everything written was taken at once.
    behind: Arc<Mutex<Option<Instant>>>,
}

/// The calls of one connection: each is a task, and one that may last can be ended.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    reading: Reading,
    turn_out: TurnOut,
    tasks: Tasks,
}

/// Runs the calls of one connection, as hyper's executor.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    /// The end of the call that is about to run.
    next: Arc<Mutex<Option<Ending>>>,
}

/// The end of one call, which is set from outside of its task.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    at: Arc<watch::Sender<Option<Instant>>>,
}

/// A call that may last: over which connection, and how it is ended.
#[derive(Clone, Debug)]
pub(super) struct Lasting {
    reading: Reading,
    turn_out: TurnOut,
    ending: Ending,
}

impl Reading {
    /// The socket takes no more for now; `took` tells whether it has just taken some.
    pub(super) fn falls_behind(&self, took: Took) {
        let mut behind = self.lock();
        if behind.is_none() || took == Took::Some {
            *behind = Some(Instant::now());
        }
    }

    /// The socket has taken everything.
    pub(super) fn catches_up(&self) {
        *self.lock() = None;
    }

    /// When it last took a byte, while more is written than it has taken.
    pub(super) fn behind_since(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a socket took anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    Some,
    Nothing,
}

impl Caller {
    pub(super) fn new(reading: Reading, turn_out: TurnOut) -> Self {
        Self {
            reading,
            turn_out,
            tasks: Tasks::default(),
        }
    }

    /// What runs the calls.
    pub(super) fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Begins a call that may last. To be called while hyper asks for the call's future, which it runs right afterwards.
    pub(super) fn begin(&self) -> Lasting {
        let ending = Ending {
            at: Arc::new(watch::Sender::new(None)),
        };
        *self.tasks.lock() = Some(ending.clone());
        Lasting {
            reading: self.reading.clone(),
            turn_out: self.turn_out.clone(),
            ending,
        }
    }
}

impl Lasting {
    /// Ends the call at that instant, whether or not its caller reads.
    pub(super) fn ends_at(&self, deadline: Instant) {
        self.ending.at.send_replace(Some(deadline));
    }

    /// When the other side of its connection last took a byte, while more is written than it has taken.
    pub(super) fn behind_since(&self) -> Option<Instant> {
        self.reading.behind_since()
    }

    /// Ends the call; and its connection, where that takes no byte of any call.
    pub(super) fn end(&self) {
        self.ends_at(Instant::now());
        if self.behind_since().is_some() {
            self.turn_out.now();
        }
    }
}

impl Ending {
    async fn over(self) {
        let mut at = self.at.subscribe();
        loop {
            let ends = *at.borrow_and_update();
            tokio::select! {
                changed = at.changed() => changed.expect("BUG: the sender is held here"),
                () = sleep_until(ends.unwrap_or_else(Instant::now)), if ends.is_some() => return,
            }
        }
    }
}

impl Tasks {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Ending>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, call: F) {
        let ending = self.lock().take();
        match ending {
            None => drop(tokio::spawn(call)),
            Some(ending) => drop(tokio::spawn(async move {
                let over = pin!(ending.over());
                tokio::select! {
                    // Its own end goes first: it has a status.
                    biased;
                    _ = call => {}
                    () = over => {}
                }
            })),
        }
    }
}
