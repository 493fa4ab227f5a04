//! What ends by itself, as the server has it: looked at after its end, it is gone, even if the
//! clock goes back later.

use std::collections::BTreeMap;

use super::StoreTime;
use crate::revision::Project;

/// Something with a time to live.
#[derive(Clone, Debug)]
pub(super) struct Expiring<T> {
    value: T,
    /// The last millisecond in which it is there.
    ends_at: u64,
}

impl<T> Expiring<T> {
    pub(super) fn new(value: T, ttl: u64, now: StoreTime) -> Self {
        Self {
            value,
            ends_at: now.as_millis().saturating_add(ttl),
        }
    }

    pub(super) const fn value(&self) -> &T {
        &self.value
    }

    pub(super) const fn is_over(&self, now: StoreTime) -> bool {
        now.as_millis() > self.ends_at
    }

    /// Whether a server that restores a copy takes it: one millisecond less.
    pub(super) const fn is_restored(&self, now: StoreTime) -> bool {
        now.as_millis() < self.ends_at
    }

    /// The milliseconds that are left.
    pub(super) const fn rest(&self, now: StoreTime) -> u64 {
        self.ends_at.saturating_sub(now.as_millis())
    }

    pub(super) fn renew(&mut self, ttl: u64, now: StoreTime) {
        self.ends_at = now.as_millis().saturating_add(ttl);
    }
}

/// Looks at an entry, which is removed when it is over.
pub(super) fn entry<'a, T>(
    entries: &'a mut BTreeMap<Project, Expiring<T>>,
    project: &Project,
    now: StoreTime,
) -> Option<&'a mut Expiring<T>> {
    if entries.get(project)?.is_over(now) {
        entries.remove(project);
    }
    entries.get_mut(project)
}

/// The value of an entry.
pub(super) fn get<'a, T>(
    entries: &'a mut BTreeMap<Project, Expiring<T>>,
    project: &Project,
    now: StoreTime,
) -> Option<&'a T> {
    entry(entries, project, now).map(|entry| entry.value())
}
