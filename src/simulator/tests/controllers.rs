//! Which parts of admission react to what they see. The simulation switches each off in turn by a
//! neutral constant, to show what goes wrong without it.

use std::time::Duration;

use crate::admission::{Range, Tuning};

/// A part that reacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Controller {
    Breaker,
    GlobalHold,
    PaceOnPushback,
    PaceOnFailure,
    RetryBudget,
    CoolDown,
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
    Redial,
}

impl Controller {
    pub(super) const ALL: [Self; 18] = [
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
        Self::Redial,
    ];

    /// The constants without it.
    pub(super) fn without(self) -> Tuning {
        let mut tuning = Tuning::DEFAULT;
        match self {
            Self::Breaker => tuning.breaker.failures = usize::MAX,
            Self::GlobalHold => tuning.hold.projects = u32::MAX,
            Self::PaceOnPushback => tuning.pace.on_pushback = 1.0,
            Self::PaceOnFailure => tuning.pace.on_failure = 1.0,
            Self::RetryBudget => tuning.retry.floor = Duration::ZERO,
            Self::CoolDown => {
                tuning.cool_down.outdated = Range::NONE;
                tuning.cool_down.missing = Range::NONE;
                tuning.budget.failing = 1.0;
            }
            Self::FirstToken => tuning.budget.first_token = 0.0,
            Self::MissingPermits => tuning.budget.kept_for_missing = 0.0,
            Self::OutdatedTurn => tuning.turns.outdated = u32::MAX,
            Self::FailingShare => tuning.budget.failing = 1.0,
            Self::FloodShare => tuning.budget.flood_window = usize::MAX,
            Self::RaiseInterval => tuning.cool_down.raised = Duration::ZERO,
            Self::BreakerRamp => tuning.breaker.ramp = Duration::ZERO,
            Self::HoldRamp => tuning.hold.ramp = Duration::ZERO,
            Self::LearnedConcurrency => tuning.learned.decrease = 1.0,
            Self::RefusedStop => tuning.learned.stop = Range::NONE,
            Self::FetchesGivenUp => tuning.fetch.failures = u32::MAX,
            Self::Redial => tuning.fault.behind_answers = u32::MAX,
        }
        tuning
    }
}
