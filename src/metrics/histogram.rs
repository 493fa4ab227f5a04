//! A histogram of durations without a lock: three atomic additions at most an observation.

use std::{iter, sync::atomic::AtomicU64, time::Duration};

use super::Ordering;

/// Counts durations by their upper bound.
#[derive(Debug)]
pub(super) struct Histogram<const BOUNDS: usize> {
    bounds: &'static [Duration; BOUNDS],
    counts: [AtomicU64; BOUNDS],
    /// What lies above all bounds.
    above: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What histograms of the same bounds held when they were read.
#[derive(Default)]
pub(super) struct Observations {
    pub(super) sum: f64,
    pub(super) count: u64,
    /// The upper bound in seconds and what was observed up to it, above the bound before; the last
    /// bound is infinite.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    /// Starts empty; `bounds` rise.
    pub(super) const fn new(bounds: &'static [Duration; BOUNDS]) -> Self {
        Self {
            bounds,
            counts: [const { AtomicU64::new(0) }; BOUNDS],
            above: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        }
    }

    pub(super) fn observe(&self, duration: Duration) {
        let at = self.bounds.partition_point(|bound| *bound < duration);
        let count = self.counts.get(at).unwrap_or(&self.above);
        count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// All durations together.
    pub(super) fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    /// Adds what it holds. The count is that of the buckets, so that the two agree while others
    /// observe.
    pub(super) fn add_to(&self, observed: &mut Observations) {
        let bounds = self.bounds.iter().map(Duration::as_secs_f64);
        let counts = self.counts.iter().chain(iter::once(&self.above));
        observed.buckets.resize(BOUNDS + 1, (f64::INFINITY, 0));
        for ((bucket, bound), count) in observed
            .buckets
            .iter_mut()
            .zip(bounds.chain([f64::INFINITY]))
            .zip(counts)
        {
            let count = count.load(Ordering::Relaxed);
            *bucket = (bound, bucket.1 + count);
            observed.count += count;
        }
        let sum = self.sum();
        observed.sum += sum.as_secs_f64();
    }
}
