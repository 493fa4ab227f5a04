//! How many projects are held, by what makes them outdated, so that neither a scrape nor a landing
//! walks over them.
//!
//! The census puts projects into groups: by the rollout that is held, by whether a change is
//! lacking, and by whether the project was last validated before the last raise of the target.
//! There are about as many groups as rollouts. Only age makes projects outdated one by one. The
//! census keeps their ages in order, and each look counts the ages that have passed since the last
//! one.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::Held;
use crate::moment::Moment;

/// The most ages that are passed before others have the lock: some tens of microseconds.
const PASSED_AT_ONCE: usize = 512;

/// What the census counted something held as; the census alone reads and writes it.
#[derive(Debug, Default)]
pub struct HeldStanding {
    /// How often the target had been raised when the renderer last said that it is right.
    raises: AtomicU32,
    /// The age under which it stands, by [`Age`]; 0 while no age is counted, [`GONE`] once it is
    /// not held.
    too_old_at: AtomicU64,
}

/// Of something that is no longer held.
const GONE: u64 = u64::MAX;

/// Projects for which the same makes them outdated, but for their age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The rollout that is held.
    pub rollout: u64,
    /// Whether it lacks a change that is known.
    pub is_changed: bool,
    /// Whether it was last validated before the target was last raised.
    pub is_before_raise: bool,
    /// How many projects these are.
    pub held: usize,
    /// How many of them are older than the maximal age.
    pub too_old: usize,
}

/// What is held, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldCounts {
    /// All of it, in order of rollouts.
    pub groups: Vec<Group>,
    /// Since when some project has lacked a change.
    pub changed_since: Option<Moment>,
    /// Since when some project has been older than the maximal age.
    pub too_old_since: Option<Moment>,
}

/// Counts what is held. Each step costs the logarithm of what is held, at most.
#[derive(Debug, Default)]
pub(super) struct Census(Mutex<GroupCounts>);

/// What tells groups apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rollout: u64,
    raises: u32,
    is_changed: bool,
}

/// Nanoseconds since the start at which projects of a group become too old, at least 1.
type Age = (u64, Key);

#[derive(Debug, Default)]
struct GroupCounts {
    groups: BTreeMap<Key, Count>,
    /// How many projects have lacked a change since that moment.
    changed: BTreeMap<Moment, u32>,
    max_age: Option<Duration>,
    /// How many projects become too old then; empty without a maximal age.
    ages: BTreeMap<Age, u32>,
    /// The ages up to this one are counted in the groups.
    passed: Age,
    /// How often the target was raised, and when it last was.
    raises: u32,
    raised_at: Moment,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    held: usize,
    too_old: usize,
}

// === impl Census ===

impl Census {
    /// Records that something is held from now on.
    pub(super) fn came(&self, held: &Held) {
        let counts = &mut *self.lock();
        let is_before = held.validated_at < counts.raised_at;
        let raises = counts.raises.saturating_sub(u32::from(is_before));
        held.standing.raises.store(raises, Relaxed);
        let key = key(held);
        counts.groups.entry(key).or_default().held += 1;
        if let Some(changed) = held.changed {
            *counts.changed.entry(changed.since).or_default() += 1;
        }
        counts.age(held, key);
    }

    /// Records that something is no longer held.
    pub(super) fn left(&self, held: &Held) {
        let counts = &mut *self.lock();
        let key = key(held);
        counts.unage(held, key);
        held.standing.too_old_at.store(GONE, Relaxed);
        if let Some(changed) = held.changed {
            one_less(&mut counts.changed, &changed.since);
        }
        if let Some(count) = counts.groups.get_mut(&key) {
            count.held -= 1;
            if count.held == 0 {
                counts.groups.remove(&key);
            }
        }
    }

    /// Records that the target was raised.
    pub(super) fn raised(&self, now: Moment) {
        let mut counts = self.lock();
        counts.raises += 1;
        counts.raised_at = now;
    }

    /// Counts ages by another maximal age from now on; false when it is the same. What is held
    /// already has to be [counted again](Census::count_again).
    pub(super) fn set_max_age(&self, max_age: Option<Duration>) -> bool {
        std::mem::replace(&mut self.lock().max_age, max_age) != max_age
    }

    /// Counts the age of something held by the maximal age in force.
    pub(super) fn count_again(&self, held: &Held) {
        let counts = &mut *self.lock();
        if held.standing.too_old_at.load(Relaxed) != GONE {
            let key = key(held);
            counts.unage(held, key);
            counts.age(held, key);
        }
    }

    /// How many projects are held of a rollout below that one.
    pub(super) fn below(&self, rollout: u64) -> u64 {
        let end = Key {
            rollout,
            ..Key::default()
        };
        let counts = self.lock();
        let below = counts.groups.range(..end).map(|(_, count)| count.held);
        below.sum::<usize>() as u64
    }

    /// What is held now.
    pub(super) fn look(&self, now: Moment) -> HeldCounts {
        while self.pass(now) == PASSED_AT_ONCE {}
        let counts = self.lock();
        let groups = counts.groups.iter().map(|(key, count)| Group {
            rollout: key.rollout,
            is_changed: key.is_changed,
            is_before_raise: key.raises < counts.raises,
            held: count.held,
            too_old: count.too_old,
        });
        let oldest = counts.ages.first_key_value();
        let oldest = oldest.map(|(&(at, _), _)| Moment::after_start(Duration::from_nanos(at)));
        HeldCounts {
            groups: groups.collect(),
            changed_since: counts.changed.first_key_value().map(|(&since, _)| since),
            too_old_since: oldest.filter(|&at| at <= now),
        }
    }

    /// Counts some of the ages that have passed by now; tells how many.
    fn pass(&self, now: Moment) -> usize {
        let counts = &mut *self.lock();
        let last = (nanos(now), Key::MAX);
        if last <= counts.passed {
            return 0;
        }
        let from = (Bound::Excluded(counts.passed), Bound::Included(last));
        let mut passed = 0;
        for (&age, &projects) in counts.ages.range(from).take(PASSED_AT_ONCE) {
            if let Some(count) = counts.groups.get_mut(&age.1) {
                count.too_old += projects as usize;
            }
            counts.passed = age;
            passed += 1;
        }
        if passed < PASSED_AT_ONCE {
            counts.passed = last;
        }
        passed
    }

    fn lock(&self) -> MutexGuard<'_, GroupCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl GroupCounts ===

impl GroupCounts {
    /// Puts the age of something held in order.
    fn age(&mut self, held: &Held, key: Key) {
        let too_old_at = self.max_age.map(|age| nanos(held.too_old_at(age)));
        let stands = too_old_at.unwrap_or(0);
        held.standing.too_old_at.store(stands, Relaxed);
        if let Some(at) = too_old_at {
            let age = (at, key);
            *self.ages.entry(age).or_default() += 1;
            self.count_passed(age, |too_old| too_old + 1);
        }
    }

    /// Takes the age of something held out again.
    fn unage(&mut self, held: &Held, key: Key) {
        let at = held.standing.too_old_at.load(Relaxed);
        if at != 0 {
            let age = (at, key);
            one_less(&mut self.ages, &age);
            self.count_passed(age, |too_old| too_old - 1);
        }
    }

    fn count_passed(&mut self, age: Age, change: impl FnOnce(usize) -> usize) {
        if age <= self.passed
            && let Some(count) = self.groups.get_mut(&age.1)
        {
            count.too_old = change(count.too_old);
        }
    }
}

impl Key {
    const MAX: Self = Self {
        rollout: u64::MAX,
        raises: u32::MAX,
        is_changed: true,
    };
}

fn key(held: &Held) -> Key {
    Key {
        rollout: held.revision.order.rollout,
        raises: held.standing.raises.load(Relaxed),
        is_changed: held.changed.is_some(),
    }
}

fn nanos(moment: Moment) -> u64 {
    let nanos = u64::try_from(moment.since_start().as_nanos());
    nanos.unwrap_or(GONE).clamp(1, GONE - 1)
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
