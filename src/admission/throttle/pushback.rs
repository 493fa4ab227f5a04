//! The renderer's pushbacks: of one project, or, when different projects are pushed back at once,
//! of all.

use std::time::Duration;

use super::valve::Valve;
use crate::{
    admission::{
        tuning::{HoldTuning, Tuning},
        words::PushbackScope,
    },
    moment::Moment,
    revision::Project,
};

#[derive(Debug)]
pub(in crate::admission) struct Pushbacks {
    tuning: HoldTuning,
    pub(in crate::admission) valve: Valve,
    last: Option<(Project, Moment)>,
    /// Different projects pushed back, each within the window after the one before.
    in_a_row: u32,
}

impl Pushbacks {
    pub(in crate::admission) const fn none(tuning: &Tuning) -> Self {
        Self {
            tuning: tuning.hold,
            valve: Valve::open(tuning.breaker),
            last: None,
            in_a_row: 0,
        }
    }

    /// Records that a project was pushed back for that time. Returns for how long that is obeyed, a
    /// random part longer, so that sidecars that were told the same do not come back together; and
    /// true if everything is held.
    pub(in crate::admission) fn note(
        &mut self,
        project: &Project,
        after: Duration,
        scope: PushbackScope,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> (Duration, bool) {
        let HoldTuning {
            projects,
            window,
            most,
            ..
        } = self.tuning;
        let obeyed = after.mul_f64(1.0 + 0.5 * rng.f64()).min(most);
        let is_another =
            |(last, at): &(Project, Moment)| last != project && now.since(*at) <= window;
        let is_another = self.last.as_ref().is_some_and(is_another);
        self.in_a_row = if is_another {
            self.in_a_row.saturating_add(1)
        } else {
            1
        };
        let is_many = is_another && self.in_a_row >= projects;
        let holds_all = projects < u32::MAX && (scope == PushbackScope::Global || is_many);
        self.last = Some((project.clone(), now));
        if holds_all {
            self.go_on(obeyed, now);
        }
        (obeyed, holds_all)
    }

    /// Holds everything for that time: the probe of the hold was pushed back, or the pushback holds
    /// all.
    pub(in crate::admission) fn go_on(&mut self, obeyed: Duration, now: Moment) {
        self.valve
            .shut(now + obeyed, self.tuning.ramp.min(obeyed * 4));
    }
}
