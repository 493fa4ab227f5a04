//! Whether the other side of a connection takes what is written to it, and the end of a call whose
//! caller does not.
//!
//! hyper asks a call's body for nothing while the caller's window is shut, so that a body alone
//! cannot end such a call. Each call that may last is therefore a task that can be ended from
//! outside; HTTP/2 then resets the stream and lets go of its bytes.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::connections::TurnOut;

/// Whether the other side of a connection reads. Clones are of the same connection.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerReading {
    /// When it last took a byte; none while everything written was taken at once.
    behind: Arc<Mutex<Option<Instant>>>,
}

/// The calls of one connection: each is a task, and one that may last can be ended.
#[derive(Clone, Debug)]
pub(super) struct ConnectionCalls {
    reading: PeerReading,
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
    reading: PeerReading,
    turn_out: TurnOut,
    ending: Ending,
}

impl PeerReading {
    /// The socket takes no bytes for now; `took` tells whether it has just taken some.
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

impl ConnectionCalls {
    pub(super) fn new(reading: PeerReading, turn_out: TurnOut) -> Self {
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

    /// Begins a call that may last. To be called while hyper asks for the call's future, which it
    /// runs right afterwards.
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

    /// When the other side of its connection last took a byte, while more is written than it has
    /// taken.
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
    /// A call is polled once here, as part of its connection, and becomes a task only if it has to
    /// wait: what is answered from memory leaves with the connection's next write, without waiting
    /// in the thread's queue behind the calls of others.
    fn execute(&self, call: F) {
        let ending = self.lock().take();
        match ending {
            None => {
                if let Some(waiting) = poll_once(Box::pin(call)) {
                    drop(tokio::spawn(waiting));
                }
            }
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

/// Polls a call, and returns it if it has to wait: it is then to be polled again in any case, so
/// that nothing it was to be woken by is missed. A panic ends the call alone, as it would in a task
/// of its own.
fn poll_once<F: Future>(mut call: Pin<Box<F>>) -> Option<Pin<Box<F>>> {
    let mut context = Context::from_waker(Waker::noop());
    match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context))) {
        Ok(Poll::Pending) => Some(call),
        Ok(Poll::Ready(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use hyper::rt::Executor as _;
    use tokio::{
        sync::oneshot,
        task::yield_now,
        time::{Duration, advance},
    };

    use super::*;

    fn caller() -> ConnectionCalls {
        let connections =
            super::super::connections::Connections::at_most(std::num::NonZeroUsize::MIN);
        let seat = connections.enter(&tokio_util::sync::CancellationToken::new());
        ConnectionCalls::new(PeerReading::default(), seat.turn_out())
    }

    #[tokio::test]
    async fn a_call_that_need_not_wait_is_over_before_anything_else_runs() {
        let (done, is_done) = oneshot::channel();
        caller().tasks().execute(async { done.send(()).unwrap() });
        assert_eq!(is_done.now_or_never(), Some(Ok(())));
    }

    #[tokio::test]
    async fn a_call_that_waits_goes_on_as_a_task() {
        let (answer, answered) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        caller().tasks().execute(async {
            yield_now().await;
            done.send(answered.await.unwrap()).unwrap();
        });
        answer.send("late").unwrap();
        assert_eq!(is_done.await, Ok("late"));
    }

    #[tokio::test]
    async fn a_call_that_panics_takes_nothing_else_with_it() {
        let tasks = caller().tasks();
        tasks.execute(async { panic!("on purpose") });
        let (done, is_done) = oneshot::channel();
        tasks.execute(async { done.send(()).unwrap() });
        assert_eq!(is_done.now_or_never(), Some(Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_may_last_is_ended_from_outside() {
        let caller = caller();
        let lasting = caller.begin();
        let (held, is_dropped) = oneshot::channel::<()>();
        caller.tasks().execute(async {
            let _held = held;
            std::future::pending::<()>().await;
        });
        lasting.ends_at(Instant::now() + Duration::from_secs(30));
        advance(Duration::from_secs(29)).await;
        let mut is_dropped = is_dropped;
        yield_now().await;
        assert!((&mut is_dropped).now_or_never().is_none());
        advance(Duration::from_secs(2)).await;
        assert!(is_dropped.await.is_err());
    }
}
