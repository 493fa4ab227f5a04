//! What is held: revisions up to a number of bytes. The least recently looked up are evicted first.
//!
//! A landing passes through [`Cache::store`], which keeps the order of revisions; readers see one
//! immutable [`Held`] at a time. Beside it, in capacities of their own: projects known to be
//! absent, and changes of inputs. The cache knows of freshness only what it is told, and nothing of
//! flights: eviction never touches one. moka is named here alone, and used as a bounded map only.

mod census;
mod changes;
mod keep;
mod lookup_memo;
mod subscribers;
mod tally;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use moka::{notification::RemovalCause, policy::EvictionPolicy, sync::Cache as Map};

use self::{census::Census, changes::Changes, tally::EvictionTally};
pub use self::{
    census::{Group, HeldCounts, HeldStanding},
    changes::Change,
    keep::{Keep, KeepEvent, Recall, Recalled},
    lookup_memo::LookupMemo,
    subscribers::{Subscribers, Subscription},
};
pub use crate::revision::AnswerOrigin;
use crate::{
    moment::Moment,
    revision::{Order, Project, Revision},
};

/// What an entry costs beyond its bytes, as measured: the map's nodes, the revision and its memo.
/// With a maximal age, its place in the order of ages takes some 50 bytes more.
const ENTRY_BYTES: usize = 720;
/// How many absent projects are remembered.
const MAX_ABSENT: u64 = 10_000;
/// How many changes of inputs are remembered.
const MAX_CHANGES: u64 = 10_000;
/// How long after the first the second answer has to come before which a revision gives way that is
/// ahead of the target.
const GIVES_WAY_AFTER: Duration = Duration::from_secs(30);
/// How long a project is taken to be absent after the first NOT_FOUND.
pub const LEAST_ABSENCE: Duration = Duration::from_secs(30);
/// How long a project is taken to be absent after the first, and after every further NOT_FOUND.
const ABSENT_FOR: (Duration, Duration) = (LEAST_ABSENCE, Duration::from_secs(60));

/// A revision that is held, and what is known of it; immutable but for its memo.
#[derive(Debug)]
pub struct Held {
    /// The revision.
    pub revision: Arc<Revision>,
    /// When the renderer last said that it is right.
    pub validated_at: Moment,
    /// When the renderer was asked for what it last said: what changed later, this may lack.
    pub asked_at: Moment,
    /// The input of the project changed, and this lacks it.
    pub changed: Option<Change>,
    /// When the renderer first said that there is no such project now.
    pub gone: Option<AnswerOrigin>,
    /// This is of a rollout above the target, and the renderer has answered with a lower order, at
    /// the target or above it.
    pub lower: Option<(Order, AnswerOrigin)>,
    /// A revision of this order was held, and gave way to this one or to one between them.
    pub fell_from: Option<Order>,
    /// What lookups leave for each other; it outlives the revision.
    pub memo: Arc<LookupMemo>,
    /// What the cache counts it as.
    pub standing: HeldStanding,
}

/// What became of a revision that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is newer than what was held.
    Newer,
    /// It is what is held already, whose age starts anew.
    Validated,
    /// It has the order of what is held but another digest: what is held stays, and its age starts
    /// anew.
    Conflict,
    /// It is lower than what was held, which was ahead of the target and has given way.
    Lower,
    /// It is older than what is held.
    Older,
    /// It is larger than the whole cache.
    TooLarge,
}

#[derive(Clone, Copy, Debug)]
struct Absent {
    until: Moment,
    target: u64,
}

/// A bounded map from projects to what is held of them.
#[derive(Debug)]
pub struct Cache {
    held: Map<Project, Arc<Held>>,
    absent: Map<Project, Absent>,
    changes: Map<Project, Changes>,
    /// Writers go one at a time, so that order is kept.
    writer: Mutex<()>,
    max_bytes: usize,
    tally: Arc<EvictionTally>,
    census: Arc<Census>,
    subscribers: Subscribers,
    keep: Option<Arc<dyn Keep>>,
}

impl Cache {
    /// Makes an empty cache of at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        let tally = Arc::new(EvictionTally::default());
        let census = Arc::new(Census::default());
        let (tallied, counted) = (Arc::clone(&tally), Arc::clone(&census));
        Self {
            held: Map::builder()
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(max_bytes as u64)
                .weigher(|_, held: &Arc<Held>| {
                    u32::try_from(cost(&held.revision)).unwrap_or(u32::MAX)
                })
                .eviction_listener(move |_, held, cause| {
                    counted.left(&held);
                    if cause == RemovalCause::Size {
                        tallied.evicted(&held);
                    }
                })
                .build(),
            absent: latest(MAX_ABSENT),
            changes: latest(MAX_CHANGES),
            writer: Mutex::default(),
            max_bytes,
            tally,
            census,
            subscribers: Subscribers::default(),
            keep: None,
        }
    }

    /// What is held of a project.
    pub fn get(&self, project: &str) -> Option<Arc<Held>> {
        self.held.get(project)
    }

    /// As [`Cache::store_from`], of a revision of which it is not known over which connection it
    /// came.
    pub fn store(&self, revision: Revision, now: Moment) -> (Stored, Option<Arc<Held>>) {
        let connection = None;
        let origin = AnswerOrigin {
            at: now,
            connection,
        };
        self.store_from(revision, origin, u64::MAX)
    }

    /// Stores a revision if it is newer than what is held, and tells what is held then. What is
    /// ahead of the target gives way to a lower one, of the target or above it, of which two
    /// answers say so: that is the one fall of the order.
    pub fn store_from(
        &self,
        revision: Revision,
        origin: AnswerOrigin,
        target: u64,
    ) -> (Stored, Option<Arc<Held>>) {
        let _writer = self.lock();
        let project = revision.project.clone();
        let held = self.held.get(&project);
        if cost(&revision) > self.max_bytes {
            return (Stored::TooLarge, held);
        }
        let is_new = held.is_none();
        let stored = match &held {
            None => Stored::Newer,
            Some(held) if revision.order > held.revision.order => Stored::Newer,
            Some(held) if revision.order < held.revision.order => {
                if !gives_way(held, revision.order, origin, target) {
                    return (
                        Stored::Older,
                        Some(self.record_lower(held, &revision, origin, target)),
                    );
                }
                Stored::Lower
            }
            Some(held) if revision.digest == held.revision.digest => Stored::Validated,
            Some(_) => Stored::Conflict,
        };
        let revision = match &held {
            Some(held) if matches!(stored, Stored::Validated | Stored::Conflict) => {
                Arc::clone(&held.revision)
            }
            _ => Arc::new(revision),
        };
        let changed = self
            .changes
            .get(&project)
            .and_then(|changes| changes.lacked_by(revision.order.number));
        let fell_from = held.as_ref().and_then(|held| match stored {
            Stored::Lower => Some(held.revision.order.max(held.fell_from.unwrap_or_default())),
            Stored::Newer
            | Stored::Validated
            | Stored::Conflict
            | Stored::Older
            | Stored::TooLarge => held.fell_from.filter(|&from| revision.order < from),
        });
        let new = Arc::new(Held {
            revision,
            validated_at: origin.at,
            asked_at: held.as_ref().map_or(Moment::START, |held| held.asked_at),
            changed,
            gone: None,
            lower: None,
            fell_from,
            memo: held.map_or_else(Arc::default, |held| Arc::clone(&held.memo)),
            standing: HeldStanding::default(),
        });
        if is_new {
            self.tally.returns(&project);
        }
        self.insert(&project, &new);
        self.absent.invalidate(&project);
        if matches!(stored, Stored::Newer | Stored::Lower) {
            self.subscribers.notify(&project);
        }
        (stored, Some(new))
    }

    /// Records that the input of a project changed, and that `number` is the first that has the
    /// change; true when what is held does not have it.
    pub fn record_change(&self, project: &Project, number: u64, now: Moment) -> bool {
        let _writer = self.lock();
        let mut changes = self.changes.get(project).unwrap_or_default();
        if !changes.record(number, now) {
            return false;
        }
        self.remember_changes(project, &changes);
        let lacks = |held: &Arc<Held>| held.revision.order.number < number;
        let Some(held) = self.held.get(project).filter(lacks) else {
            return false;
        };
        let since = held.changed.map_or(now, |changed| changed.since);
        let changed = changes.lacked_by(held.revision.order.number);
        let changed = changed.map(|changed| Change {
            since: changed.since.min(since),
            ..changed
        });
        self.replace(project, &held, |held| held.changed = changed);
        self.subscribers.notify(project);
        true
    }

    /// Records that a render brought a revision of that number. A change that too many renders in a
    /// row lacked is given up: it is returned, and what is held no longer counts as lacking it.
    pub fn record_rendered(&self, project: &Project, number: u64) -> Option<u64> {
        let _writer = self.lock();
        let mut changes = self.changes.get(project)?;
        let given_up = changes.rendered(number);
        self.remember_changes(project, &changes);
        if given_up.is_some()
            && let Some(held) = self.held.get(project)
        {
            let changed = changes.lacked_by(held.revision.order.number);
            self.replace(project, &held, |held| held.changed = changed);
            self.subscribers.notify(project);
        }
        given_up
    }

    /// Records that the renderer, asked at `asked`, said all that it can of what is held.
    pub fn record_confirmed(&self, project: &Project, asked: Moment) {
        let _writer = self.lock();
        if let Some(held) = self.held.get(project)
            && held.asked_at < asked
        {
            self.replace(project, &held, |held| held.asked_at = asked);
        }
    }

    /// Records that the renderer said that there is no such project; tells when it said so first,
    /// if anything is held.
    pub fn record_gone(&self, project: &Project, origin: AnswerOrigin) -> Option<AnswerOrigin> {
        let _writer = self.lock();
        let held = self.held.get(project)?;
        if held.gone.is_none() {
            self.replace(project, &held, |held| held.gone = Some(origin));
        }
        Some(held.gone.unwrap_or(origin))
    }

    /// Drops a project.
    pub fn remove(&self, project: &Project) {
        let _writer = self.lock();
        self.held.invalidate(project);
        self.held.run_pending_tasks();
        self.subscribers.notify(project);
        self.note(project, KeepEvent::Dropped);
    }

    /// Throws away what is held of a project, as the bound on bytes does.
    #[cfg(test)]
    pub(crate) fn evict(&self, project: &Project) {
        self.held.invalidate(project);
        self.held.run_pending_tasks();
    }

    /// Records that there is no such project, as of that target; tells for how long that is taken
    /// to hold.
    pub fn record_absent(&self, project: &Project, target: u64, now: Moment) -> Duration {
        let (first, further) = ABSENT_FOR;
        let duration = if self.absent.contains_key(project) {
            further
        } else {
            first
        };
        let until = now + duration;
        self.absent
            .insert(project.clone(), Absent { until, target });
        self.absent.run_pending_tasks();
        self.subscribers.notify(project);
        self.note(project, KeepEvent::Absent);
        duration
    }

    /// For how much longer a project is taken to be absent; a target raised since then ends that.
    pub fn absent_for(&self, project: &str, target: u64, now: Moment) -> Option<Duration> {
        let absent = self.absent.get(project)?;
        absent
            .is_in_force(target, now)
            .then(|| absent.until.since(now))
    }

    /// The projects that are taken to be absent, in no order, and for how much longer.
    pub fn absent(
        &self,
        target: u64,
        now: Moment,
    ) -> impl Iterator<Item = (Project, Duration)> + '_ {
        let absent = self.absent.iter();
        let in_force = absent.filter(move |(_, absent)| absent.is_in_force(target, now));
        in_force.map(move |(project, absent)| (Project::clone(&project), absent.until.since(now)))
    }

    /// Wakes a subscription whenever something newer of the project is stored, or it changes or
    /// goes.
    pub fn subscribe(&self, project: &Project) -> Subscription {
        self.subscribers.subscribe(project)
    }

    /// Everything held, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Held>> + '_ {
        self.held.iter().map(|(_, held)| held)
    }

    /// How many projects are held.
    pub fn len(&self) -> u64 {
        self.held.entry_count()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> u64 {
        self.held.weighted_size()
    }

    /// How many bytes may be held.
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// How many projects are held of a rollout below that one.
    pub fn below(&self, rollout: u64) -> u64 {
        self.census.below(rollout)
    }

    /// What is held, counted by what makes it outdated, at a cost that does not grow with it.
    pub fn counted(&self, now: Moment) -> HeldCounts {
        self.census.look(now)
    }

    /// Records that the target was raised at `now`; to be told before anything is stored that was
    /// validated later.
    pub fn record_raise(&self, now: Moment) {
        self.census.raised(now);
    }

    /// Counts what is too old by another maximal age; false when it is the same. What is held
    /// already has to be counted [again](Cache::count_ages_again).
    pub fn set_max_age(&self, max_age: Option<Duration>) -> bool {
        self.census.set_max_age(max_age)
    }

    /// Walks over everything held and counts its age by the maximal age in force. Others may use
    /// the cache meanwhile.
    pub fn count_ages_again(&self) {
        self.iter().for_each(|held| self.census.count_again(&held));
    }

    /// How many projects were evicted, and wanted again soon after, since the start: within as many
    /// evictions as are remembered.
    pub fn returned(&self) -> u64 {
        self.tally.returned()
    }

    /// How many projects were evicted, since the start.
    pub fn evictions(&self) -> u64 {
        self.tally.evictions()
    }

    /// How many projects were evicted while they were wanted, since the start.
    pub fn evicted_wanted(&self) -> u64 {
        self.tally.evicted_wanted()
    }

    /// Records that a lower revision came while what is held is ahead of the target. One that is
    /// yet lower starts anew.
    fn record_lower(
        &self,
        held: &Arc<Held>,
        revision: &Revision,
        origin: AnswerOrigin,
        target: u64,
    ) -> Arc<Held> {
        let is_ahead = held.revision.order.rollout > target && revision.order.rollout >= target;
        let is_known = held.lower.is_some_and(|(order, _)| order <= revision.order);
        if is_ahead && !is_known {
            let lower = Some((revision.order, origin));
            self.replace(&revision.project, held, |held| held.lower = lower);
        }
        self.held
            .get(&revision.project)
            .unwrap_or_else(|| Arc::clone(held))
    }

    fn replace(&self, project: &Project, held: &Held, change: impl FnOnce(&mut Held)) {
        let mut new = Held {
            revision: Arc::clone(&held.revision),
            memo: Arc::clone(&held.memo),
            standing: HeldStanding::default(),
            ..*held
        };
        change(&mut new);
        self.insert(project, &Arc::new(new));
    }

    fn remember_changes(&self, project: &Project, changes: &Changes) {
        self.changes.insert(project.clone(), changes.clone());
        self.changes.run_pending_tasks();
    }

    /// Inserts, and evicts at once what no longer fits: moka would put that off.
    fn insert(&self, project: &Project, held: &Arc<Held>) {
        self.census.came(held);
        self.held.insert(project.clone(), Arc::clone(held));
        self.held.run_pending_tasks();
        self.note(project, KeepEvent::Changed);
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A map of at most `most` entries. It forgets the one that was read or written longest ago; by
/// default moka would rather forget the newest.
fn latest<V: Clone + Send + Sync + 'static>(most: u64) -> Map<Project, V> {
    Map::builder()
        .eviction_policy(EvictionPolicy::lru())
        .max_capacity(most)
        .build()
}

/// Whether what is held is ahead of the target, and this is the second answer that agrees on a
/// lower order.
fn gives_way(held: &Held, order: Order, origin: AnswerOrigin, target: u64) -> bool {
    let is_ahead = held.revision.order.rollout > target && order.rollout >= target;
    is_ahead
        && held.lower.is_some_and(|(lower, first)| {
            lower <= order && first.is_confirmed_by(origin, GIVES_WAY_AFTER)
        })
}

impl Absent {
    fn is_in_force(self, target: u64, now: Moment) -> bool {
        self.until > now && self.target >= target
    }
}

impl Held {
    /// When it is too old, where `max_age` is the maximal age: at that age ± 10 % by hash of the
    /// project, so that what was rendered together does not become outdated together.
    pub fn too_old_at(&self, max_age: Duration) -> Moment {
        self.validated_at + max_age.mul_f64(spread(&self.revision.project))
    }
}

/// A factor of 0.9 to 1.1, fixed for a project.
fn spread(project: &Project) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a fraction")]
    let fraction = project.hash() as f64 / u64::MAX as f64;
    0.9 + 0.2 * fraction
}

fn cost(revision: &Revision) -> usize {
    allocated(revision.payload.len())
        + allocated(revision.encoded_with_payload_head().len())
        + allocated(revision.content_type.len())
        + allocated(revision.project.as_str().len())
        + ENTRY_BYTES
}

/// What an allocation of this many bytes takes: as most allocators do, ours has four sizes between
/// a power of two and the next (mimalloc, `_mi_bin`).
fn allocated(bytes: usize) -> usize {
    let step = 1 << bytes.max(64).ilog2().saturating_sub(2);
    bytes.next_multiple_of(step)
}

#[cfg(test)]
mod tests;
