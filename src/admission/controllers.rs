//! Which parts of admission act. In the product all of them do; the simulation of a fleet switches each off in turn, to show what
//! goes wrong without it.

use super::Admission;
#[cfg(test)]
use super::{Advance, bucket::Bucket};

/// A part of admission that reacts to what it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Breaker,
    GlobalHold,
    PaceOnPushback,
    PaceOnFailure,
    RetryBudget,
    CoolDown,
    #[cfg(test)]
    FirstToken,
    MissingPermits,
    OutdatedTurn,
    FailingShare,
    FloodShare,
    RaiseInterval,
    BreakerRamp,
    HoldRamp,
    LearnedConcurrency,
    RefusedStop,
    FetchesGivenUp,
}

#[cfg(test)]
impl Controller {
    pub(super) const ALL: [Self; 17] = [
        Self::Breaker,
        Self::GlobalHold,
        Self::PaceOnPushback,
        Self::PaceOnFailure,
        Self::RetryBudget,
        Self::CoolDown,
        Self::FirstToken,
        Self::MissingPermits,
        Self::OutdatedTurn,
        Self::FailingShare,
        Self::FloodShare,
        Self::RaiseInterval,
        Self::BreakerRamp,
        Self::HoldRamp,
        Self::LearnedConcurrency,
        Self::RefusedStop,
        Self::FetchesGivenUp,
    ];
}

/// The controllers that are switched off.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Controllers {
    off: Option<Controller>,
}

#[cfg(test)]
impl Controllers {
    pub(super) fn without(off: Controller) -> Self {
        Self { off: Some(off) }
    }
}

impl Admission {
    /// Switches controllers off, before anything else happens.
    #[cfg(test)]
    pub(super) fn switch_off(&mut self, controllers: Controllers) {
        self.controllers = controllers;
        if !self.has(Controller::FirstToken) {
            self.bucket = Bucket::new(self.limits.rate, self.limits.burst, 1.0, self.start);
            self.advance = Advance::Settled;
        }
    }

    /// Whether a controller acts.
    #[cfg(test)]
    pub(super) fn has(&self, controller: Controller) -> bool {
        self.controllers.off != Some(controller)
    }

    /// Whether a controller acts.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the simulation asks the machine")]
    pub(super) const fn has(&self, _: Controller) -> bool {
        true
    }
}
