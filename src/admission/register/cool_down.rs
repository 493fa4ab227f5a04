//! Why, and until when, a project is left alone: its own gate.
//!
//! The state is what its last render came to. Beside it stand the counts that make the next wait
//! longer, each of which ends at a success.

use std::time::Duration;

use crate::{
    admission::{
        tuning::{CoolDowns, Range},
        words::Outcome,
    },
    moment::Moment,
    reason::{NotRefreshed, Refusal},
};

/// Why a project cools down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CoolDownState {
    /// Nothing: it is not left alone.
    Idle,
    /// A render failed, and is tried again for those who wait.
    Retrying,
    /// A render failed.
    Failed,
    /// The renderer did not answer.
    Unanswered,
    /// What the renderer answered was not fit to be held.
    Rejected,
    /// The renderer brought less than was asked for.
    Behind,
    /// The renderer does not know the held project.
    Gone,
    /// The renderer asked to leave it alone.
    PushedBack,
    /// Another sidecar renders it.
    Elsewhere,
}

impl CoolDownState {
    fn reason(self) -> NotRefreshed {
        match self {
            Self::Idle | Self::Retrying | Self::Failed | Self::Unanswered => {
                NotRefreshed::CoolingDown
            }
            Self::Rejected => NotRefreshed::Rejected,
            Self::Behind => NotRefreshed::RendererBehind,
            Self::Gone => NotRefreshed::ProjectGone,
            Self::PushedBack => NotRefreshed::PushedBack,
            Self::Elsewhere => NotRefreshed::RenderingElsewhere,
        }
    }
}

/// The gate of one project.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct CoolDown {
    state: CoolDownState,
    until: Moment,
    /// The last wait that was drawn after a failure.
    drawn: Duration,
    /// Renders in a row that failed.
    failures: u32,
    /// When the last failed, since the last success.
    failed_at: Option<Moment>,
    /// Renders in a row that brought less than was asked for.
    behind: u32,
    /// Renders in a row that did not find the held project.
    gone: u32,
    /// When the last render was launched that a raised target had caused.
    raised_at: Option<Moment>,
}

/// How a render failed, as far as its project cools down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum CoolDownFailure {
    /// The renderer answered with an error.
    Answered,
    /// The renderer did not answer.
    Unanswered,
    /// What it answered was not fit to be held.
    Rejected,
}

impl CoolDown {
    pub(in crate::admission) const NONE: Self = Self {
        state: CoolDownState::Idle,
        until: Moment::START,
        drawn: Duration::ZERO,
        failures: 0,
        failed_at: None,
        behind: 0,
        gone: 0,
        raised_at: None,
    };

    /// Until when the project is left alone, and why.
    pub(in crate::admission) fn gate(&self) -> (Moment, NotRefreshed) {
        (self.until, self.state.reason())
    }

    /// For how much longer it is left alone.
    pub(in crate::admission) fn rest(&self, now: Moment) -> Duration {
        self.until.since(now)
    }

    /// When the last render for a raised target was launched.
    pub(in crate::admission) fn raised_at(&self) -> Option<Moment> {
        self.raised_at
    }

    /// Whether the last render failed.
    pub(in crate::admission) fn is_cooling(&self) -> bool {
        self.failures > 0
    }

    /// Whether the last render failed, was rejected or brought less than was asked for.
    pub(in crate::admission) fn is_failing(&self) -> bool {
        self.failed_in_a_row() > 0
    }

    /// How many renders in a row failed, were rejected or brought less than was asked for.
    pub(in crate::admission) fn failed_in_a_row(&self) -> u32 {
        self.failures.saturating_add(self.behind)
    }

    pub(in crate::admission) fn is_pushed_back(&self) -> bool {
        self.state == CoolDownState::PushedBack
    }

    /// When a render of it last failed, since the last success.
    pub(in crate::admission) fn failed_at(&self) -> Option<Moment> {
        self.failed_at
    }

    /// Records a failure that is not the project's fault: it does not cool down.
    pub(in crate::admission) fn note_failure(&mut self, now: Moment) {
        self.failed_at = Some(now);
    }

    /// Cools down after a failed render, by decorrelated jitter: U(first, 3 × the last), capped (M.
    /// Brooker, "Exponential Backoff and Jitter", AWS architecture blog, 2015).
    pub(in crate::admission) fn fail(
        &mut self,
        failure: CoolDownFailure,
        range: Range,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        let last = self.drawn.max(range.first);
        let drawn = range.first + (last * 3).saturating_sub(range.first).mul_f64(rng.f64());
        self.drawn = drawn.min(range.most);
        self.failures += 1;
        self.failed_at = Some(now);
        // Any → Failed | Unanswered | Rejected
        let state = match failure {
            CoolDownFailure::Answered => CoolDownState::Failed,
            CoolDownFailure::Unanswered => CoolDownState::Unanswered,
            CoolDownFailure::Rejected => CoolDownState::Rejected,
        };
        self.enter(state, self.drawn, now)
    }

    /// Cools down after a render that found no such project, of which nothing is held. That is no
    /// failure.
    pub(in crate::admission) fn note_absent(
        &mut self,
        range: Range,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        let (failures, failed_at) = (self.failures, self.failed_at);
        self.fail(CoolDownFailure::Answered, range, now, rng);
        (self.failures, self.failed_at) = (failures, failed_at);
    }

    /// Cools down after a render that brought less than was asked for.
    pub(in crate::admission) fn fall_behind(
        &mut self,
        tuning: &CoolDowns,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        let wait = behind_for(self.behind, tuning.behind, rng);
        self.behind += 1;
        // What it brought was of no use, so that the next one need not wait for the interval.
        self.raised_at = None;
        // Any → Behind
        self.enter(CoolDownState::Behind, wait, now)
    }

    /// Cools down after the renderer did not know the held project.
    pub(in crate::admission) fn note_gone(&mut self, tuning: &CoolDowns, now: Moment) -> Outcome {
        let wait = tuning.gone.doubled(self.gone);
        self.gone += 1;
        // Any → Gone
        self.enter(CoolDownState::Gone, wait, now)
    }

    /// The renderer asked to leave the project alone.
    pub(in crate::admission) fn push_back(&mut self, wait: Duration, now: Moment) -> Outcome {
        // Any → PushedBack
        self.enter(CoolDownState::PushedBack, wait, now)
    }

    /// The render is tried again after that wait.
    pub(in crate::admission) fn retry(&mut self, wait: Duration, now: Moment) {
        // Any → Retrying
        self.enter(CoolDownState::Retrying, wait, now);
    }

    /// Another sidecar renders the project: it is looked at again at that moment.
    pub(in crate::admission) fn leave_to_another(&mut self, look_again: Moment) {
        // Any → Elsewhere
        (self.state, self.until) = (CoolDownState::Elsewhere, look_again);
    }

    /// What another sidecar brought is here.
    pub(in crate::admission) fn come_from_another(&mut self, now: Moment) {
        if self.state == CoolDownState::Elsewhere {
            // Elsewhere → Idle
            (self.state, self.until) = (CoolDownState::Idle, now);
        }
    }

    /// A project that is missing now cools down no longer than a missing one, unless the renderer
    /// asked to leave it alone.
    pub(in crate::admission) fn shorten(&mut self, most: Duration, now: Moment) {
        if !self.is_pushed_back() {
            self.until = self.until.min(now + most);
        }
    }

    /// A render brought what was asked for; it was launched at that moment for a raised target.
    pub(in crate::admission) fn succeed(&mut self, raised_at: Option<Moment>) {
        let raised_at = raised_at.or(self.raised_at);
        // Any → Idle
        *self = Self {
            raised_at,
            ..Self::NONE
        };
    }

    /// Ends the cool-down, and what it had grown to.
    pub(in crate::admission) fn forgive(&mut self) {
        // Any → Idle
        self.succeed(None);
    }

    /// As [`CoolDown::forgive`], unless the renderer asked to leave the project alone.
    pub(in crate::admission) fn forgive_failures(&mut self) {
        if !self.is_pushed_back() {
            self.forgive();
        }
    }

    /// As [`CoolDown::forgive_failures`], where the fault was the renderer's. When it failed is
    /// remembered: if it fails again, the fault is its own.
    pub(in crate::admission) fn forgive_fault(&mut self) {
        if !self.is_pushed_back() {
            let failed_at = self.failed_at;
            self.forgive();
            self.failed_at = failed_at;
        }
    }

    /// As [`CoolDown::forgive`], where the renderer had been away.
    pub(in crate::admission) fn forgive_absence(&mut self) {
        if self.state == CoolDownState::Unanswered {
            self.forgive();
        }
    }

    fn enter(&mut self, state: CoolDownState, wait: Duration, now: Moment) -> Outcome {
        (self.state, self.until) = (state, now + wait);
        Outcome::Refused(Refusal {
            reason: state.reason(),
            retry_after: wait,
        })
    }
}

/// How long to wait after another render brought less than was asked for, and `times` before it
/// in a row: doubling, less a jitter so that the cap holds.
pub(in crate::admission) fn behind_for(
    times: u32,
    range: Range,
    rng: &mut fastrand::Rng,
) -> Duration {
    range.doubled(times).mul_f64(0.7 + 0.2 * rng.f64())
}
