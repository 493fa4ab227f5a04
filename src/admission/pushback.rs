//! The renderer's word that it wants to be left alone: for a project, or, when it says so to different projects at once, for all.

use std::time::Duration;

use super::{
    limits::{HOLD_RAMP, PUSHBACK_CAP, PUSHBACK_WINDOW},
    valve::Valve,
};
use crate::{moment::Moment, revision::Project};

#[derive(Debug)]
pub(super) struct Pushbacks {
    pub(super) valve: Valve,
    last: Option<(Project, Moment)>,
}

impl Pushbacks {
    pub(super) const NONE: Self = Self {
        valve: Valve::OPEN,
        last: None,
    };

    /// Notes that a project was pushed back for so long, and tells for how long that is obeyed: longer by a random part, so
    /// that those who were told the same do not come back together. True when everything is held.
    pub(super) fn note(
        &mut self,
        project: &Project,
        after: Duration,
        is_global: bool,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> (Duration, bool) {
        let obeyed = after.mul_f64(1.0 + 0.5 * rng.f64()).min(PUSHBACK_CAP);
        let is_another =
            |(last, at): &(Project, Moment)| last != project && now.since(*at) <= PUSHBACK_WINDOW;
        let holds_all = is_global || self.last.as_ref().is_some_and(is_another);
        self.last = Some((project.clone(), now));
        if holds_all {
            self.go_on(obeyed, now);
        }
        (obeyed, holds_all)
    }

    /// Holds everything for so long: it was pushed back that told whether the hold is over, or what holds all.
    pub(super) fn go_on(&mut self, obeyed: Duration, now: Moment) {
        self.valve.shut(now + obeyed, HOLD_RAMP.min(obeyed * 4));
    }
}
