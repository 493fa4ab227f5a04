//! The one clock of the core: a [`Moment`] is the time since its [`Clock`] started, which may count
//! from before the process, so that what happened before can be said.
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

    /// The moment that lies `elapsed` earlier. What lies before the start is taken to be just after
    /// it: the start itself stands for never.
    pub fn before(self, elapsed: Duration) -> Self {
        const EARLIEST: Duration = Duration::from_nanos(1);
        Self(self.0.saturating_sub(elapsed).max(EARLIEST))
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
    /// What it read then.
    past: Moment,
}

impl Clock {
    /// Starts a clock at this instant.
    pub fn start() -> Self {
        Self::with_past(Duration::ZERO)
    }

    /// Starts a clock at this instant that reads `past`, so that as much before it can be said.
    pub fn with_past(past: Duration) -> Self {
        Self {
            start: Instant::now(),
            past: Moment(past),
        }
    }

    /// What it read when it was started.
    pub const fn started(&self) -> Moment {
        self.past
    }

    /// Reads the clock.
    pub fn now(&self) -> Moment {
        self.moment(Instant::now())
    }

    /// The moment of an instant; that of its start when it lies before.
    pub fn moment(&self, instant: Instant) -> Moment {
        self.past + instant.saturating_duration_since(self.start)
    }

    /// The instant of a moment; one that lies beyond the clock's range is taken to be thirty years
    /// ahead, and one before its start to be that.
    pub fn instant(&self, moment: Moment) -> Instant {
        const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
        self.start + moment.since(self.past).min(FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_with_a_past_says_what_was_before_it() {
        let past = Duration::from_secs(100);
        let clock = Clock::with_past(past);
        let (started, second) = (clock.started(), Duration::from_secs(1));
        assert!(clock.now() >= started && started.since_start() == past);
        assert_eq!(started.since(started.before(second)), second);
        let later = started + second;
        assert_eq!(clock.moment(clock.instant(later)), later);
        assert_eq!(clock.moment(clock.instant(started.before(second))), started);
    }

    #[test]
    fn what_lies_before_the_start_is_not_never() {
        let moment = Moment::after_start(Duration::from_secs(1));
        assert!(moment.before(Duration::MAX) > Moment::START);
    }
}
