//! How often each project was looked up since it was last asked: one addition for a lookup, in one
//! of a few maps, so that threads seldom wait for each other.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::answer::{Answer, Failure, Served};

/// In how many maps projects are counted.
const SHARDS: usize = 16;
/// How many projects are counted in each map until they are taken out; lookups of others are not.
const MOST: usize = 1_000;

/// Counts lookups.
#[derive(Debug, Default)]
pub(super) struct LookupTally {
    shards: [Mutex<HashMap<u64, u32>>; SHARDS],
    outdated: AtomicU64,
    failed: AtomicU64,
    uncounted: AtomicU64,
}

/// The lookups of a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// How often each project was looked up, by its hash, in order.
    pub(super) lookups: Vec<(u64, u32)>,
    /// How many lookups were answered outdated.
    pub(super) outdated: u64,
    /// How many failed.
    pub(super) failed: u64,
    /// How many were not counted, because there were too many projects.
    pub(super) uncounted: u64,
}

impl LookupTally {
    /// Counts a lookup of the project with this hash.
    pub(super) fn count(&self, project: u64) {
        let shard = &self.shards[usize::try_from(project % SHARDS as u64).unwrap_or_default()];
        let mut counts = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST && !counts.contains_key(&project) {
            self.uncounted.fetch_add(1, Relaxed);
            return;
        }
        let count = counts.entry(project).or_default();
        *count = count.saturating_add(1);
    }

    /// Counts how a lookup was answered.
    pub(super) fn answered(&self, answer: &Result<Answer, Failure>) {
        match answer {
            Ok(answer) => match answer.served {
                Served::Outdated(_) => _ = self.outdated.fetch_add(1, Relaxed),
                Served::Fresh | Served::Rendered => {}
            },
            Err(_) => _ = self.failed.fetch_add(1, Relaxed),
        }
    }

    /// Takes out what was counted.
    pub(super) fn take(&self) -> Counted {
        let mut lookups = Vec::new();
        for shard in &self.shards {
            let counts = mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            lookups.extend(counts);
        }
        lookups.sort_unstable();
        Counted {
            lookups,
            outdated: self.outdated.swap(0, Relaxed),
            failed: self.failed.swap(0, Relaxed),
            uncounted: self.uncounted.swap(0, Relaxed),
        }
    }
}

impl Counted {
    /// How many lookups these are.
    pub(super) fn total(&self) -> u64 {
        let counted = self.lookups.iter().map(|&(_, count)| u64::from(count));
        counted.sum::<u64>() + self.uncounted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FAILED: Result<Answer, Failure> = Err(Failure::ProjectNotFound {
        retry_after: Duration::ZERO,
    });

    #[test]
    fn lookups_are_counted_by_project_until_they_are_taken_out() {
        let tally = LookupTally::default();
        for project in [7, 3, 7] {
            tally.count(project);
            tally.answered(&FAILED);
        }
        let counted = tally.take();
        assert_eq!(counted.lookups, [(3, 1), (7, 2)]);
        assert_eq!((counted.failed, counted.outdated), (3, 0));
        assert_eq!(tally.take(), Counted::default());
    }

    #[test]
    fn a_flood_of_names_is_bounded_and_said() {
        let tally = LookupTally::default();
        for project in 0..2 * (SHARDS * MOST) as u64 {
            tally.count(project);
        }
        let counted = tally.take();
        assert_eq!(counted.lookups.len(), SHARDS * MOST);
        assert_eq!(counted.uncounted, (SHARDS * MOST) as u64);
    }
}
