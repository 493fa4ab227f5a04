//! The store's clock, which alone counts: no sidecar's clock is compared with it.

use std::{fmt, time::Duration};

/// A time by the store's clock, which may be stepped in either direction: microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreTime(u64);

impl StoreTime {
    /// The time that many microseconds after 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The time that many milliseconds after 1970.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// The time since `earlier`; zero when that lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Names one life of the shared state: it changes when the state was lost, and when a copy that
/// lacks writes goes on.
///
/// What a sidecar learnt in another life (ticks, its place in the journal) says nothing in this
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Born(pub u64);

impl fmt::Display for Born {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Whole milliseconds of a duration, as scripts take them.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
