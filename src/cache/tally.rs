//! How many projects were evicted, and how many of them came back or were wanted.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::Held;
use crate::revision::Project;

/// How many evictions are remembered, to notice those that are wanted again: 160 KiB.
const MAX_GHOSTS: usize = 10_000;

/// Counts evictions.
#[derive(Debug, Default)]
pub(super) struct EvictionTally {
    evictions: AtomicU64,
    evicted_wanted: AtomicU64,
    returned: AtomicU64,
    changing: Mutex<Changing>,
}

#[derive(Debug, Default)]
struct Changing {
    /// Hashes of the projects that were evicted last, in order, and those of them that did not come
    /// back.
    ghosts: VecDeque<u64>,
    gone: HashSet<u64>,
}

impl EvictionTally {
    /// Records that something is no longer held because there was no room for it.
    pub(super) fn evicted(&self, held: &Held) {
        let mut changing = self.lock();
        self.evictions.fetch_add(1, Relaxed);
        let is_wanted = u64::from(held.memo.is_wanted());
        self.evicted_wanted.fetch_add(is_wanted, Relaxed);
        let ghost = held.revision.project.hash();
        if changing.gone.insert(ghost) {
            changing.ghosts.push_back(ghost);
        }
        if changing.ghosts.len() > MAX_GHOSTS
            && let Some(oldest) = changing.ghosts.pop_front()
        {
            changing.gone.remove(&oldest);
        }
    }

    /// Records that a project is stored of which nothing was held.
    pub(super) fn returns(&self, project: &Project) {
        if self.lock().gone.remove(&project.hash()) {
            self.returned.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    pub(super) fn evicted_wanted(&self) -> u64 {
        self.evicted_wanted.load(Relaxed)
    }

    pub(super) fn returned(&self) -> u64 {
        self.returned.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
