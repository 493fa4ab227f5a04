//! Fetches of what is stored, which stand outside the budget of renders: whether they are offered,
//! their own bucket and permits, and whether they are of any use.

mod store;

use std::{num::NonZeroU32, time::Duration};

pub(super) use self::store::Miss;
use self::store::StoreHealth;
use super::{
    budget::{Bucket, Learned},
    limits::FetchLimits,
    throttle::Pushbacks,
    tuning::{self, Tuning},
    words::PushbackScope,
};
use crate::{moment::Moment, revision::Project};

#[derive(Debug)]
pub(super) struct Fetches {
    tuning: tuning::FetchTuning,
    limits: FetchLimits,
    /// When they are asked for again, where the renderer does not offer them.
    asked_again_at: Option<Moment>,
    bucket: Bucket,
    /// Until when nothing is fetched, after a pushback that holds for every project.
    held_until: Moment,
    /// The pushbacks of fetches that hold for one project.
    pushbacks: Pushbacks,
    /// How many the renderer takes at once.
    pub(super) learned: Learned,
    /// Whether they fail as a whole.
    pub(super) store: StoreHealth,
}

impl Fetches {
    pub(super) fn new(limits: FetchLimits, tuning: &Tuning, now: Moment) -> Self {
        Self {
            tuning: tuning.fetch,
            limits,
            asked_again_at: None,
            bucket: Bucket::new(limits.rate, limits.concurrency, 1.0, now),
            held_until: now,
            pushbacks: Pushbacks::none(tuning),
            learned: Learned::new(tuning.learned),
            store: StoreHealth::new(tuning.fetch),
        }
    }

    pub(super) fn set_limits(&mut self, limits: FetchLimits, now: Moment) {
        self.limits = limits;
        self.bucket.set(limits.rate, limits.concurrency, now);
    }

    pub(super) fn limits(&self) -> &FetchLimits {
        &self.limits
    }

    /// Whether anything may be fetched at all.
    pub(super) fn may_be(&self) -> bool {
        self.limits.rate > 0.0 && self.asked_again_at.is_none()
    }

    /// Whether a missing project is fetched before it is rendered.
    pub(super) fn come_first(&self) -> bool {
        self.may_be() && !self.store.is_given_up()
    }

    /// The renderer does not offer them on this connection.
    pub(super) fn not_offered(&mut self, now: Moment) {
        self.asked_again_at = Some(now + self.tuning.asked_again);
    }

    /// They may be offered over another connection. Returns true if they were not over the last.
    pub(super) fn may_be_offered(&mut self) -> bool {
        self.asked_again_at.take().is_some()
    }

    /// Whether it is time to ask again for what was not offered.
    pub(super) fn are_asked_again(&self, now: Moment) -> bool {
        self.asked_again_at.is_some_and(|at| at <= now)
    }

    /// How many may be in flight at once.
    pub(super) fn at_once(&self, now: Moment) -> NonZeroU32 {
        self.learned.in_force(self.limits.concurrency, now)
    }

    /// Until when they are held; `None` if they are not.
    pub(super) fn held_until(&self, now: Moment) -> Option<Moment> {
        (self.held_until > now).then_some(self.held_until)
    }

    /// Whether there is a token.
    ///
    /// # Errors
    /// The moment at which there is one.
    pub(super) fn token(&self, now: Moment) -> Result<(), Option<Moment>> {
        self.bucket.has(1, now)
    }

    /// Takes a token. Returns false if there is none.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        self.bucket.take(now).is_ok()
    }

    /// Records that a fetch of a project was pushed back. Returns for how long that is obeyed.
    pub(super) fn push_back(
        &mut self,
        project: &Project,
        after: Duration,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> (Duration, bool) {
        self.pushbacks
            .note(project, after, PushbackScope::Project, now, rng)
    }

    /// Holds all fetches for that time.
    pub(super) fn hold(&mut self, obeyed: Duration, now: Moment) {
        self.held_until = self.held_until.max(now + obeyed);
    }
}
