//! The one clock of the core: a [`Moment`] is the time since the process's [`Clock`] started.
//!
//! Decisions take a `Moment` and never read a clock, so that they can be tested, replayed and
//! simulated. The clock beneath is tokio's, monotonic and under a test's control; wall-clock time
//! is only ever shown.

mod spoken;
mod within;

use std::{ops, time::Duration};

use tokio::time::Instant;

pub use self::{
    spoken::spoken,
    within::{by, within},
};

/// A point in time, as the duration since the [`Clock`] started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The start of the clock.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment that lies `elapsed` after the start.
    pub const fn after_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The time since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time since `earlier`; zero when that lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

/// Reads tokio's monotonic clock as [`Moment`]s.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts a clock at this instant.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Reads the clock.
    pub fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// The moment of an instant; the start when it lies before.
    pub fn moment(&self, instant: Instant) -> Moment {
        Moment(instant.saturating_duration_since(self.start))
    }

    /// The instant of a moment; one that lies beyond the clock's range is taken to be thirty years
    /// ahead.
    pub fn instant(&self, moment: Moment) -> Instant {
        const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
        self.start + moment.0.min(FAR)
    }
}
