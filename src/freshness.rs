//! Tells fresh from outdated: a comparison made at each lookup, never a sweep.
//!
//! Fresh is what is of the target rollout or a later one, lacks no known change, and younger than
//! the maximal age. Raising the target is one atomic store.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use crate::{
    cache::{Held, HeldCounts},
    moment::Moment,
};

/// How many raises of the target are told apart when it is asked since when something is outdated.
const MAX_RAISES: usize = 64;

/// By how many rollouts a demand may be above the target, or above what has landed: a pod may
/// demand its own release before its sidecar is told of it, and several releases may be under way.
const REACH: u64 = 16;

/// Stands in the place of the moment of a resync when there was none, and lookups are counted.
const COUNTED: u64 = 1;

/// What became of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetChange {
    /// It is what it was.
    None,
    /// It is higher than the one given.
    Raised(u64),
    /// It is lower than the one given; nothing becomes outdated by that.
    Lowered(u64),
}

/// How many projects are fresh and outdated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreshnessCounts {
    /// Fresh ones.
    pub fresh: usize,
    /// Outdated ones.
    pub outdated: usize,
    /// Since when the project that has been outdated longest is outdated; none when all are fresh.
    pub outdated_since: Option<Moment>,
}

/// The targets that there were, as far as it matters since when something has been outdated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Raises {
    /// The rollouts that were the target, ascending, and when each was learned.
    pub steps: Vec<(u64, Moment)>,
    /// When the target was last raised; none when it was not, or was lowered since.
    pub raised_at: Option<Moment>,
}

/// What is fresh now.
#[derive(Debug)]
pub struct Freshness {
    target: AtomicU64,
    /// The highest rollout of which a revision came, whatever the project.
    landed: AtomicU64,
    /// When the target was last raised, in nanoseconds; 0 when it was not, or was lowered since.
    raised_at: AtomicU64,
    /// Nanoseconds; 0 is none.
    max_age: AtomicU64,
    /// What the renderer was asked before this may lack a change: nanoseconds since the start. 0,
    /// or [`COUNTED`] where lookups are counted, while that is not so of anything.
    resync: AtomicU64,
    /// The rollouts that were the target, ascending, and when each was learned.
    raises: ArcSwap<Vec<(u64, Moment)>>,
    writer: Mutex<()>,
}

impl Freshness {
    /// Starts with a target that was learned at `now`.
    pub fn new(target: u64, max_age: Option<Duration>, now: Moment) -> Self {
        Self {
            target: AtomicU64::new(target),
            landed: AtomicU64::new(0),
            raised_at: AtomicU64::new(0),
            max_age: AtomicU64::new(nanos(max_age)),
            resync: AtomicU64::new(0),
            raises: ArcSwap::from_pointee(vec![(target, now)]),
            writer: Mutex::default(),
        }
    }

    /// Starts where another left off, with a target that is told at `now`.
    pub fn resumed(raises: Raises, target: u64, max_age: Option<Duration>, now: Moment) -> Self {
        let Some(&(last, _)) = raises.steps.last() else {
            return Self::new(target, max_age, now);
        };
        let this = Self::new(last, max_age, now);
        let raised_at = raises.raised_at.map(Moment::since_start);
        this.raised_at.store(nanos(raised_at), Ordering::Relaxed);
        this.raises.store(Arc::new(raises.steps));
        this.set_target(target, now);
        this
    }

    /// The targets that there were.
    pub fn raises(&self) -> Raises {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Raises {
            steps: Vec::clone(&self.raises.load()),
            raised_at: self.raised_at(),
        }
    }

    /// The rollout that is fresh, or the least of those that are.
    pub fn target(&self) -> u64 {
        self.target.load(Ordering::Acquire)
    }

    /// Records that a revision of this rollout came.
    pub fn record_landed(&self, rollout: u64) {
        self.landed.fetch_max(rollout, Ordering::Relaxed);
    }

    /// The highest rollout that may be on its way: what is demanded beyond it is a mistake.
    pub fn reach(&self) -> u64 {
        let landed = self.landed.load(Ordering::Relaxed);
        self.target().max(landed).saturating_add(REACH)
    }

    /// Sets the target.
    pub fn set_target(&self, target: u64, now: Moment) -> TargetChange {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.target();
        let mut raises = Vec::clone(&self.raises.load());
        // What is below the lowered target has been outdated since the first raise above that.
        let raised_at = raises.iter().find(|&&(rollout, _)| rollout > target);
        let raised_at = raised_at.map_or(now, |&(_, at)| at);
        raises.retain(|&(rollout, _)| rollout <= target);
        if raises.last().is_none_or(|&(rollout, _)| rollout < target) {
            raises.push((target, raised_at));
        }
        if raises.len() > MAX_RAISES {
            raises.remove(1);
        }
        self.raises.store(Arc::new(raises));
        let raised_at = (target > before).then_some(now.since_start());
        if target != before {
            self.raised_at.store(nanos(raised_at), Ordering::Relaxed);
        }
        self.target.store(target, Ordering::Release);
        match target.cmp(&before) {
            std::cmp::Ordering::Less => TargetChange::Lowered(before),
            std::cmp::Ordering::Equal => TargetChange::None,
            std::cmp::Ordering::Greater => TargetChange::Raised(before),
        }
    }

    /// Sets the age at which a revision is outdated, whatever its rollout.
    pub fn set_max_age(&self, max_age: Option<Duration>) {
        self.max_age.store(nanos(max_age), Ordering::Relaxed);
    }

    /// The age at which a revision is outdated; none when age alone never makes one so.
    pub fn max_age(&self) -> Option<Duration> {
        let nanos = self.max_age.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Whether what is held is fresh.
    pub fn is_fresh(&self, held: &Held, now: Moment) -> bool {
        let (rollout, target) = (held.revision.order.rollout, self.target());
        (rollout == target || rollout > target && self.doubted_since(held).is_none())
            && held.changed.is_none()
            && self.too_old_at(held).is_none_or(|at| now < at)
    }

    /// Since when it has been doubtful that the renderer meant the rollout of what is held; none
    /// when it is not. What is further above the target than a release can be is confirmed anew
    /// whenever the target is raised: else a rollout that a renderer once mistook would be fresh
    /// for ever.
    pub fn doubted_since(&self, held: &Held) -> Option<Moment> {
        self.raised_at()
            .filter(|&at| self.is_far(held.revision.order.rollout) && held.validated_at < at)
    }

    /// Records that changes may have been missed: answers to requests before `since` may lack one.
    pub fn resync(&self, since: Moment) {
        let since = nanos(Some(since.since_start()));
        self.resync.fetch_max(since, Ordering::Relaxed);
    }

    /// Records that lookups are counted.
    pub fn count_lookups(&self) {
        self.resync.fetch_max(COUNTED, Ordering::Relaxed);
    }

    /// Whether a lookup of something fresh can concern nobody but its caller: lookups are not
    /// counted, and nothing is to be confirmed. One load, on the way of every fresh lookup.
    pub fn is_plain(&self) -> bool {
        self.resync.load(Ordering::Relaxed) == 0
    }

    /// Whether what is held cannot lack a change that was missed. It is fresh all the same; it is
    /// to be confirmed.
    pub fn is_confirmed(&self, held: &Held) -> bool {
        let resync = self.resync.load(Ordering::Relaxed);
        resync <= COUNTED || nanos(Some(held.asked_at.since_start())) >= resync
    }

    /// Since when what is held has been outdated; none when it is fresh.
    pub fn outdated_since(&self, held: &Held, now: Moment) -> Option<Moment> {
        let raised = raised_above(&self.raises.load(), held.revision.order.rollout);
        let changed = held.changed.map(|changed| changed.since);
        let too_old = self.too_old_at(held).filter(|&at| at <= now);
        let doubted = self.doubted_since(held);
        [raised, changed, too_old, doubted]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the age alone makes what is held outdated.
    pub fn too_old_at(&self, held: &Held) -> Option<Moment> {
        self.max_age().map(|max_age| held.too_old_at(max_age))
    }

    /// How many projects of what is held are fresh and outdated, and since when some have been.
    pub fn count(&self, counted: &HeldCounts) -> FreshnessCounts {
        let target = self.target();
        let raised_at = self.raised_at();
        let raises = self.raises.load();
        let mut counts = FreshnessCounts::default();
        let mut since = [counted.changed_since, counted.too_old_since]
            .into_iter()
            .flatten()
            .min();
        for group in &counted.groups {
            let is_doubted = self.is_far(group.rollout) && group.is_before_raise;
            let raised = raised_above(&raises, group.rollout);
            let doubted = raised_at.filter(|_| is_doubted);
            since = [since, raised, doubted].into_iter().flatten().min();
            let are_all_outdated = group.rollout < target || doubted.is_some() || group.is_changed;
            let outdated = if are_all_outdated {
                group.held
            } else {
                group.too_old
            };
            counts.outdated += outdated;
            counts.fresh += group.held - outdated;
        }
        counts.outdated_since = since;
        counts
    }

    /// Whether a rollout is further above the target than a release can be.
    fn is_far(&self, rollout: u64) -> bool {
        rollout > self.target().saturating_add(REACH)
    }

    /// When the target was last raised; none when it was not, or was lowered since.
    pub fn raised_at(&self) -> Option<Moment> {
        let nanos = self.raised_at.load(Ordering::Relaxed);
        (nanos > 0).then(|| Moment::after_start(Duration::from_nanos(nanos)))
    }
}

/// When the target was first raised above a rollout.
fn raised_above(raises: &[(u64, Moment)], rollout: u64) -> Option<Moment> {
    let raised = raises.iter().find(|(raised, _)| *raised > rollout);
    raised.map(|&(_, at)| at)
}

fn nanos(max_age: Option<Duration>) -> u64 {
    max_age.map_or(0, |age| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::HeldStanding,
        revision::{Order, Project, Revision},
    };

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn held(rollout: u64, validated_at: Moment) -> Held {
        Held {
            revision: Arc::new(Revision::new(
                Project::new("demo/shop").unwrap(),
                Order::new(rollout, 1),
                None,
                "application/json".into(),
                b"{}",
            )),
            validated_at,
            asked_at: validated_at,
            changed: None,
            gone: None,
            lower: None,
            fell_from: None,
            memo: Arc::default(),
            standing: HeldStanding::default(),
        }
    }

    #[test]
    fn a_raised_target_outdates_from_the_first_raise_above_what_is_held() {
        let freshness = Freshness::new(1, None, at(0));
        let first = held(1, at(1));
        assert!(freshness.is_fresh(&first, at(5)));
        assert_eq!(freshness.set_target(2, at(10)), TargetChange::Raised(1));
        assert_eq!(freshness.set_target(3, at(20)), TargetChange::Raised(2));
        assert_eq!(freshness.outdated_since(&first, at(25)), Some(at(10)));
        assert_eq!(
            freshness.outdated_since(&held(2, at(12)), at(25)),
            Some(at(20))
        );
        assert_eq!(freshness.outdated_since(&held(3, at(22)), at(25)), None);
    }

    #[test]
    fn a_lowered_target_outdates_nothing_and_raising_it_again_counts_from_then() {
        let freshness = Freshness::new(3, None, at(0));
        assert_eq!(freshness.set_target(2, at(10)), TargetChange::Lowered(3));
        assert!(freshness.is_fresh(&held(2, at(1)), at(11)));
        assert!(freshness.is_fresh(&held(3, at(1)), at(11)));
        freshness.set_target(3, at(20));
        assert_eq!(
            freshness.outdated_since(&held(2, at(1)), at(21)),
            Some(at(20))
        );
    }

    #[test]
    fn a_lowered_target_leaves_how_long_something_has_been_outdated_as_it_is() {
        let freshness = Freshness::new(1, None, at(0));
        freshness.set_target(5, at(100));
        freshness.set_target(4, at(3_700));
        for rollout in 1..4 {
            assert_eq!(
                freshness.outdated_since(&held(rollout, at(1)), at(3_710)),
                Some(at(100))
            );
        }
        assert!(freshness.is_fresh(&held(4, at(1)), at(3_710)));
    }

    #[test]
    fn one_that_resumes_goes_on_counting_whatever_the_target_is_now() {
        let before = Freshness::new(1, None, at(0));
        before.set_target(3, at(10));
        before.set_target(5, at(100));
        for (target, since) in [(5, 10), (7, 10), (4, 10), (2, 10)] {
            let expected = Freshness::new(1, None, at(0));
            expected.set_target(3, at(10));
            expected.set_target(5, at(100));
            expected.set_target(target, at(200));
            let resumed = Freshness::resumed(before.raises(), target, None, at(200));
            assert_eq!(resumed.raises(), expected.raises(), "{target}");
            assert_eq!(
                resumed.outdated_since(&held(1, at(1)), at(300)),
                Some(at(since))
            );
        }
        let first = Freshness::resumed(Raises::default(), 3, None, at(200));
        assert_eq!(first.raises(), Freshness::new(3, None, at(200)).raises());
    }

    #[test]
    fn age_outdates_within_a_tenth_of_the_maximum() {
        let freshness = Freshness::new(1, Some(Duration::from_secs(100)), at(0));
        let held = held(1, at(50));
        assert!(freshness.is_fresh(&held, at(139)));
        let since = freshness.outdated_since(&held, at(161)).unwrap();
        assert!(since >= at(140) && since <= at(160));
        assert!(!freshness.is_fresh(&held, at(161)));
    }

    #[test]
    fn what_was_asked_for_before_changes_were_missed_is_to_be_confirmed_and_still_fresh() {
        let freshness = Freshness::new(1, None, at(0));
        let (before, after) = (held(1, at(4)), held(1, at(5)));
        assert!(freshness.is_confirmed(&before));
        freshness.resync(at(5));
        freshness.resync(at(3));
        assert!(!freshness.is_confirmed(&before));
        assert!(freshness.is_fresh(&before, at(9)));
        assert!(freshness.is_confirmed(&after));
    }
}
