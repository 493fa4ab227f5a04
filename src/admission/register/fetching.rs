//! Whether a project of which nothing is held is fetched before it is rendered, and when.

use std::time::Duration;

use super::strikes::Strikes;
use crate::{admission::tuning::Range, moment::Moment, reason::NotRefreshed};

/// Fetches of a project of which nothing is held.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Fetching {
    /// Whether a fetch comes before a render.
    pub(in crate::admission) is_due: bool,
    pub(super) until: Moment,
    reason: NotRefreshed,
    /// Fetches in a row that failed.
    pub(super) failed: u32,
    pub(in crate::admission) strikes: Strikes,
}

impl Fetching {
    pub(super) const DUE: Self = Self {
        is_due: true,
        until: Moment::START,
        reason: NotRefreshed::CoolingDown,
        failed: 0,
        strikes: Strikes::NONE,
    };

    /// Until when it is not fetched again, and why.
    pub(in crate::admission) fn gate(&self) -> (Moment, NotRefreshed) {
        (self.until, self.reason)
    }

    /// A fetch failed: it is tried again after a back-off.
    pub(in crate::admission) fn fail(
        &mut self,
        backoff: Range,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        self.until = now + backoff.full_jitter(self.failed, rng);
        self.reason = NotRefreshed::CoolingDown;
        self.failed += 1;
    }

    /// The renderer asked not to fetch the project for that time.
    pub(in crate::admission) fn push_back(&mut self, wait: Duration, now: Moment) {
        (self.until, self.reason) = (now + wait, NotRefreshed::PushedBack);
    }
}
