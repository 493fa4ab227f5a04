//! How the sidecar stops: in which order its parts are told, and how long each is waited for.
//!
//! An orchestrator takes a pod out of its load balancing while the application still looks things
//! up; so lookups are answered from memory until no client is connected; only then are connections
//! closed. This room knows the order, not the parts: they are a [`Drain`], so that a test can be
//! one.

use std::{future::Future, io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, timeout_at},
};

/// The parts of a sidecar that take their leave, in the order in which they do.
pub trait Drain {
    /// Says that the sidecar is not ready, for good.
    fn unready(&self);

    /// Stops admitting renders: refuses them as DRAINING.
    fn close_admission(&self);

    /// Waits until no lookup connection has been open for a while.
    fn idle(&self) -> impl Future<Output = ()>;

    /// Tells every lookup connection to go away, ends the watches, and waits, within a bound of its
    /// own, until they are gone.
    fn close_lookups(&self) -> impl Future<Output = ()>;

    /// Waits until no render is in flight.
    fn landed(&self) -> impl Future<Output = ()>;
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainEnd {
    /// All of it was done, or its time was over.
    Drained,
    /// It was told to leave at once.
    AtOnce,
}

/// Drains a sidecar within `grace`, and a little more if lookup connections do not close by
/// themselves. When `again`, the second signal, comes first, it stops where it is.
pub async fn drain(
    sidecar: &impl Drain,
    grace: Duration,
    again: impl Future<Output = ()>,
) -> DrainEnd {
    tokio::select! {
        biased;
        () = again => {
            tracing::warn!("second signal to stop; exiting at once");
            DrainEnd::AtOnce
        }
        () = in_order(sidecar, grace) => DrainEnd::Drained,
    }
}

async fn in_order(sidecar: &impl Drain, grace: Duration) {
    let deadline = Instant::now() + grace;
    tracing::info!(?grace, "draining");
    sidecar.unready();
    sidecar.close_admission();
    let idle = timeout_at(deadline, sidecar.idle()).await.is_ok();
    tracing::info!(idle, "closing the lookup connections");
    sidecar.close_lookups().await;
    let landed = timeout_at(deadline, sidecar.landed()).await.is_ok();
    tracing::info!(landed, "drained");
}

/// The signals that ask the process to stop: SIGTERM and SIGINT.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the system's default, which is to end the process.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::Mutex,
    };

    use tokio::time::sleep;

    use super::*;

    /// A sidecar that notes what it is told, and when, in milliseconds since the drain began.
    struct Notes {
        began: Instant,
        idle_after: Duration,
        landed_after: Duration,
        notes: Mutex<Vec<(&'static str, u128)>>,
    }

    impl Notes {
        fn new(idle_after: Duration, landed_after: Duration) -> Self {
            Self {
                began: Instant::now(),
                idle_after,
                landed_after,
                notes: Mutex::default(),
            }
        }

        fn note(&self, what: &'static str) {
            let at = self.began.elapsed().as_millis();
            self.notes.lock().unwrap().push((what, at));
        }

        fn taken(&self) -> Vec<(&'static str, u128)> {
            self.notes.lock().unwrap().clone()
        }
    }

    impl Drain for Notes {
        fn unready(&self) {
            self.note("unready");
        }

        fn close_admission(&self) {
            self.note("admission closed");
        }

        async fn idle(&self) {
            sleep(self.idle_after).await;
            self.note("idle");
        }

        async fn close_lookups(&self) {
            self.note("lookups closed");
            sleep(Duration::from_millis(100)).await;
        }

        async fn landed(&self) {
            sleep(self.landed_after).await;
            self.note("landed");
        }
    }

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn keeps_the_order_and_leaves_as_soon_as_it_can() {
        let sidecar = Notes::new(Duration::from_secs(1), Duration::from_secs(3));
        assert_eq!(drain(&sidecar, GRACE, pending()).await, DrainEnd::Drained);
        assert_eq!(
            sidecar.taken(),
            [
                ("unready", 0),
                ("admission closed", 0),
                ("idle", 1000),
                ("lookups closed", 1000),
                ("landed", 4100),
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn flights_get_what_is_left_of_the_grace() {
        let sidecar = Notes::new(Duration::from_secs(1), Duration::MAX);
        assert_eq!(drain(&sidecar, GRACE, pending()).await, DrainEnd::Drained);
        assert_eq!(sidecar.began.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_stays_open_is_closed_when_the_grace_ends() {
        let sidecar = Notes::new(Duration::MAX, Duration::ZERO);
        assert_eq!(drain(&sidecar, GRACE, pending()).await, DrainEnd::Drained);
        assert_eq!(
            sidecar.taken()[2..],
            [("lookups closed", 10_000), ("landed", 10_100)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_leaves_at_once() {
        let sidecar = Notes::new(Duration::MAX, Duration::MAX);
        let again = sleep(Duration::from_secs(2));
        assert_eq!(drain(&sidecar, GRACE, again).await, DrainEnd::AtOnce);
        assert_eq!(sidecar.began.elapsed(), Duration::from_secs(2));
        assert_eq!(drain(&sidecar, GRACE, ready(())).await, DrainEnd::AtOnce);
    }
}
