//! A histogram of durations without a lock: three atomic additions at most an observation.

use std::{sync::atomic::AtomicU64, time::Duration};

use super::Ordering;

/// Counts durations by their upper bound.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [Duration],
    /// One more than there are bounds: the last counts what lies above them all.
    counts: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

/// What a histogram held when it was read.
pub(super) struct Observed {
    pub(super) sum: f64,
    pub(super) count: u64,
    /// The upper bound in seconds and what was observed up to it, above the bound before; the last bound is infinite.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Starts empty; `bounds` rise.
    pub(super) fn new(bounds: &'static [Duration]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            nanoseconds: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, duration: Duration) {
        let at = self.bounds.partition_point(|bound| *bound < duration);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Reads it. The count is that of the buckets, so that the two agree while others observe.
    pub(super) fn observed(&self) -> Observed {
        let bounds = self.bounds.iter().map(Duration::as_secs_f64);
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        Observed {
            sum: sum.as_secs_f64(),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}
