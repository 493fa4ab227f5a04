//! A fixed row of counters, one for each value of a label.

use std::sync::atomic::AtomicU64;

use super::Ordering;

/// As many counters as a label has values.
#[derive(Debug)]
pub(super) struct Counters<const COUNT: usize>([AtomicU64; COUNT]);

impl<const COUNT: usize> Default for Counters<COUNT> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNT])
    }
}

impl<const COUNT: usize> Counters<COUNT> {
    pub(super) fn add(&self, at: usize) {
        self.0[at].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self, at: usize) -> u64 {
        self.0[at].load(Ordering::Relaxed)
    }
}
