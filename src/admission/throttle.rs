//! The breaker, the hold and the pace as one value: whether anything may be rendered, at which part
//! of the rate, and whether a probe is due. It also tells whose fault failures are.

mod breaker;
mod fault;
mod pace;
mod pushback;
mod valve;

use std::time::Duration;

use self::{
    breaker::{Breaker, BreakerCause},
    fault::RendererFault,
    pace::Pace,
};
pub(super) use self::{fault::WasAnswered, pushback::Pushbacks};
use super::{
    register::Probes,
    tuning::{Pacing, Tuning},
    words::{PushbackScope, Stops},
};
use crate::{moment::Moment, revision::Project};

#[derive(Debug)]
pub(super) struct Throttle {
    tuning: Pacing,
    pub(super) breaker: Breaker,
    pub(super) hold: Pushbacks,
    pub(super) pace: Pace,
    /// Whose fault the failures are.
    pub(super) fault: RendererFault,
}

/// Until when it is shut; `None` while that depends on a probe in flight.
pub(super) type Until = Option<Moment>;

impl Throttle {
    pub(super) fn new(tuning: &Tuning) -> Self {
        Self {
            tuning: tuning.pace,
            breaker: Breaker::closed(tuning.breaker),
            hold: Pushbacks::none(tuning),
            pace: Pace::full(tuning.pace),
            fault: RendererFault::new(tuning.fault),
        }
    }

    /// What stops every render until a probe succeeds.
    pub(super) fn stops(&self) -> Stops {
        Stops {
            is_broken: self.breaker.valve.is_stopped(),
            is_identity_refused: self.is_identity_refused(),
            is_held: self.hold.valve.is_stopped(),
        }
    }

    /// Whether the breaker is open because the renderer refused the identity of this sidecar.
    pub(super) fn is_identity_refused(&self) -> bool {
        self.breaker.cause() == Some(BreakerCause::IdentityRefused)
    }

    /// Whether the breaker is shut, and until when.
    pub(super) fn broken_until(&self, now: Moment) -> Option<Until> {
        self.breaker.valve.is_shut(now)
    }

    /// Whether the renderer's pushback holds everything, and until when.
    pub(super) fn held_until(&self, now: Moment) -> Option<Until> {
        self.hold.valve.is_shut(now)
    }

    /// Which probes are due.
    pub(super) fn probes(&self, now: Moment) -> Probes {
        Probes {
            breaker: self.breaker.valve.wants_probe(now),
            hold: self.hold.valve.wants_probe(now),
        }
    }

    /// The part of the rate that the ramps and the pace leave.
    pub(super) fn share(&self, now: Moment) -> f64 {
        let ramps = [self.breaker.valve, self.hold.valve].map(|valve| valve.share(now));
        ramps[0].min(ramps[1]) * self.pace.multiplier(now)
    }

    /// Notes the launch of a call that is such a probe.
    pub(super) fn launched(&mut self, probes: Probes, now: Moment) {
        if probes.breaker {
            self.breaker.valve.launched(now);
        }
        if probes.hold {
            self.hold.valve.launched(now);
        }
    }

    /// The renderer did not answer a render.
    pub(super) fn unanswered(
        &mut self,
        project: &Project,
        probes: Probes,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        self.ease(now);
        self.breaker.failed(project, probes, now, rng);
        self.probe_of_hold_failed(probes, now, rng);
    }

    /// A probe of the breaker came back without success.
    pub(super) fn probe_of_breaker_failed(
        &mut self,
        probes: Probes,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        if probes.breaker {
            self.breaker.valve.probe_failed(now, rng);
        }
    }

    /// A probe of the hold came back without success.
    pub(super) fn probe_of_hold_failed(
        &mut self,
        probes: Probes,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        if probes.hold {
            self.hold.valve.probe_failed(now, rng);
        }
    }

    /// The renderer answered. Returns true if that closes the breaker.
    pub(super) fn answered(&mut self, probes: Probes, now: Moment) -> bool {
        self.breaker.answered(probes, now)
    }

    /// The renderer took a render and answered it. Returns true if that ends the hold.
    pub(super) fn end_hold(&mut self, probes: Probes, now: Moment) -> bool {
        probes.hold && self.hold.valve.probe_succeeded(now)
    }

    /// The renderer refused the identity of this sidecar.
    pub(super) fn refuse_identity(&mut self, probes: Probes, now: Moment, rng: &mut fastrand::Rng) {
        self.breaker.identity_refused(probes, now, rng);
    }

    /// Eases the rate on a failure.
    pub(super) fn ease(&mut self, now: Moment) {
        self.pace.slow(self.tuning.on_failure, now);
    }

    /// The renderer pushed a project back. Returns for how long that is obeyed, and whether it
    /// holds everything.
    pub(super) fn push_back(
        &mut self,
        project: &Project,
        after: Duration,
        scope: PushbackScope,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> (Duration, bool) {
        let (obeyed, holds_all) = self.hold.note(project, after, scope, now, rng);
        if holds_all {
            self.pace.slow(self.tuning.on_pushback, now);
        }
        (obeyed, holds_all)
    }

    /// The hold goes on for that time: its probe was pushed back.
    pub(super) fn go_on_holding(&mut self, probes: Probes, obeyed: Duration, now: Moment) {
        if probes.hold {
            self.hold.go_on(obeyed, now);
        }
    }
}
