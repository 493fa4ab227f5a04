//! How many calls the renderer takes at once, learned from those that it refuses without a word on
//! when to come back.
//!
//! Additive increase, multiplicative decrease (D. Chiu and R. Jain, "Analysis of the increase and
//! decrease algorithms for congestion avoidance", 1989), so that sidecars that share a renderer
//! settle on like shares of what it takes. A limit of one call is still too much when thousands of
//! sidecars share a renderer: a call that is refused although no other was in flight stops the
//! calls for a random time, which grows until one succeeds. Of tokens and of projects this knows
//! nothing.

use std::num::NonZeroU32;

use crate::{admission::tuning::Learning, moment::Moment};

/// What is known about how many calls are taken at once.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Learned {
    tuning: Learning,
    /// The most calls at once, at least 1; none while the limit that is set is not known to be too
    /// high.
    limit: Option<f64>,
    /// Successes since the limit last changed.
    successes: u32,
    /// Counts decreases.
    round: u64,
    refused_at: Option<Moment>,
    /// Calls in a row that were refused alone.
    refused_alone: u32,
    stopped_until: Moment,
}

/// How a call was launched, as far as its refusal depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) struct LaunchedCall {
    /// The decreases before it.
    round: u64,
    /// No other call was in flight.
    is_alone: bool,
}

impl Learned {
    pub(in crate::admission) const fn new(tuning: Learning) -> Self {
        Self {
            tuning,
            limit: None,
            successes: 0,
            round: 0,
            refused_at: None,
            refused_alone: 0,
            stopped_until: Moment::START,
        }
    }

    /// Records a launch beside that many other calls.
    pub(in crate::admission) fn launch(&self, others: u32) -> LaunchedCall {
        LaunchedCall {
            round: self.round,
            is_alone: others == 0,
        }
    }

    /// How many calls may be in flight at once, of the most that are set: one while a refused
    /// call's successor is awaited.
    pub(in crate::admission) fn in_force(&self, most: NonZeroU32, now: Moment) -> NonZeroU32 {
        if self.is_probing(now) {
            NonZeroU32::MIN
        } else {
            self.limit(most, now)
        }
    }

    /// How many calls at once the renderer is thought to take, at most as many as are set.
    pub(in crate::admission) fn limit(&self, most: NonZeroU32, now: Moment) -> NonZeroU32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to the most that can be set"
        )]
        let limit = self.level(now).map(|level| level as u32);
        limit
            .and_then(NonZeroU32::new)
            .map_or(most, |limit| limit.min(most))
    }

    /// Whether a call was refused recently.
    pub(in crate::admission) fn is_refused(&self, now: Moment) -> bool {
        self.refused_at
            .is_some_and(|at| now.since(at) < self.tuning.lasts)
    }

    /// Whether the last call was refused alone, so that the next ones go one at a time until one
    /// succeeds.
    pub(in crate::admission) fn is_probing(&self, now: Moment) -> bool {
        self.refused_alone > 0 && self.is_refused(now)
    }

    /// When fewer calls than are set are no longer all that may be in flight, unless another is
    /// refused.
    pub(in crate::admission) fn forgotten_at(&self, now: Moment) -> Option<Moment> {
        let is_below = self.limit.is_some() || self.refused_alone > 0;
        let forgotten_at = self.refused_at? + self.tuning.lasts;
        (is_below && forgotten_at > now).then_some(forgotten_at)
    }

    /// Until when nothing is launched; `None` if something may be.
    pub(in crate::admission) fn stopped_until(&self, now: Moment) -> Option<Moment> {
        (self.is_probing(now) && self.stopped_until > now).then_some(self.stopped_until)
    }

    /// Records that the renderer took a call, and answered it.
    pub(in crate::admission) fn succeeded(&mut self, most: NonZeroU32, now: Moment) {
        self.refused_alone = 0;
        let Some(level) = self.level(now) else {
            self.limit = None;
            return;
        };
        self.successes += 1;
        if f64::from(self.successes) >= level.floor() {
            self.successes = 0;
            let raised = level + 1.0;
            self.limit = (raised < f64::from(most.get())).then_some(raised);
        }
    }

    /// Notes a refusal; `others` are in flight still. The limit falls at most once for all calls
    /// that were in flight together. True when the call was refused alone.
    pub(in crate::admission) fn refused(
        &mut self,
        launch: LaunchedCall,
        others: u32,
        most: NonZeroU32,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> bool {
        let level = self.level(now).unwrap_or(f64::from(most.get()));
        if !self.is_refused(now) {
            (self.limit, self.refused_alone) = (None, 0);
        }
        self.refused_at = Some(now);
        self.successes = 0;
        let is_alone = launch.is_alone && others == 0;
        if is_alone {
            self.stopped_until = now + self.tuning.stop.full_jitter(self.refused_alone, rng);
            self.refused_alone += 1;
        } else if launch.round == self.round {
            let level = level.min(f64::from(most.get()));
            self.limit = Some((level * self.tuning.decrease).max(1.0));
            self.round += 1;
        }
        is_alone
    }

    /// The limit, if it is learned and not yet forgotten.
    fn level(&self, now: Moment) -> Option<f64> {
        self.limit.filter(|_| self.is_refused(now))
    }
}

#[cfg(test)]
mod tests;
