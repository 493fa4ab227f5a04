//! What a render that came back says of the renderer: how many calls it takes, whether it is well,
//! and whose the fault is.

use std::time::Duration;

use crate::{
    admission::{
        Admission,
        register::{Entry, Flight},
        throttle::WasAnswered,
        words::{CallFailure, Landing, Pushback},
    },
    moment::Moment,
    revision::Project,
};

impl Admission {
    /// Learns how many renders the renderer takes at once. True when this one was refused though no
    /// other was in flight.
    pub(super) fn learn(
        &mut self,
        entry: &mut Entry,
        landing: Landing,
        flight: &Flight,
        now: Moment,
    ) -> bool {
        let most = self.rules.limits.concurrency;
        match landing {
            Landing::Held(_) | Landing::Rejected | Landing::NotFound | Landing::Gone => {
                self.budget.learned.succeeded(most, now);
                self.flights.answered(flight);
                entry.is_answered();
                false
            }
            Landing::Failed(CallFailure::Refused) => {
                let others = self.flights.renders;
                self.budget
                    .learned
                    .refused(flight.launch, others, most, now, &mut self.rng)
            }
            Landing::Unreachable
            | Landing::Failed(
                CallFailure::Unavailable
                | CallFailure::Aborted
                | CallFailure::Unauthenticated
                | CallFailure::DeadlineExceeded
                | CallFailure::Exhausted(_)
                | CallFailure::Other,
            ) => false,
        }
    }

    /// What a landing says of the renderer: breaker, hold, pace and the budget of retries.
    pub(super) fn judge_renderer(
        &mut self,
        project: &Project,
        landing: Landing,
        flight: &Flight,
        now: Moment,
    ) {
        let (probes, rng) = (flight.probes, &mut self.rng);
        match landing {
            Landing::Failed(CallFailure::Unavailable | CallFailure::DeadlineExceeded) => {
                self.throttle.unanswered(project, probes, now, rng);
            }
            Landing::Unreachable => {
                self.throttle.probe_of_breaker_failed(probes, now, rng);
                self.throttle.probe_of_hold_failed(probes, now, rng);
                self.way.unusable_until = now + self.rules.tuning.guess.reconnect;
            }
            Landing::Failed(CallFailure::Unauthenticated) => {
                self.throttle.probe_of_hold_failed(probes, now, rng);
            }
            Landing::Failed(CallFailure::Exhausted(pushback)) => {
                if pushback.after.is_none() {
                    self.throttle.probe_of_hold_failed(probes, now, rng);
                }
                self.close_breaker(flight, now);
            }
            Landing::Failed(CallFailure::Refused) => {
                self.throttle.probe_of_hold_failed(probes, now, rng);
                self.close_breaker(flight, now);
            }
            Landing::Held(_)
            | Landing::Rejected
            | Landing::NotFound
            | Landing::Gone
            | Landing::Failed(CallFailure::Aborted | CallFailure::Other) => {
                self.close_breaker(flight, now);
                if self.throttle.end_hold(probes, now) {
                    self.budget.empty(now);
                }
            }
        }
        if let Landing::Held(_) = landing {
            self.flights.recent_renders.note(now.since(flight.since));
            if flight.attempt == 1 {
                self.budget.retries.deposit();
            }
        }
    }

    /// What a landing says of whose the fault is, the renderer's or the project's.
    pub(super) fn judge_fault(
        &mut self,
        project: &Project,
        entry: &Entry,
        landing: Landing,
        flight: &Flight,
        now: Moment,
    ) {
        let failed_before = entry.cool_down.failed_at();
        let answered = match landing {
            Landing::Held(_) => {
                for forgiven in self.throttle.fault.succeeded(flight.since) {
                    let around = self.around(now);
                    self.register
                        .update(&forgiven, around, |entry| entry.cool_down.forgive_fault());
                }
                return;
            }
            Landing::NotFound
            | Landing::Gone
            | Landing::Unreachable
            | Landing::Failed(
                CallFailure::Refused | CallFailure::Exhausted(Pushback { after: Some(_), .. }),
            ) => return,
            Landing::Failed(CallFailure::Unauthenticated) => {
                return if self.throttle.fault.is_of_project(failed_before) {
                    self.close_breaker(flight, now);
                } else {
                    self.throttle
                        .refuse_identity(flight.probes, now, &mut self.rng);
                };
            }
            Landing::Failed(CallFailure::Unavailable | CallFailure::DeadlineExceeded) => {
                WasAnswered::No
            }
            Landing::Rejected
            | Landing::Failed(
                CallFailure::Aborted
                | CallFailure::Other
                | CallFailure::Exhausted(Pushback { after: None, .. }),
            ) => WasAnswered::Yes,
        };
        let fault = &mut self.throttle.fault;
        fault.failed(project, answered, failed_before);
        if answered == WasAnswered::Yes && fault.is_of_many() {
            self.throttle.ease(now);
        }
    }

    /// The longest that a project may cool down after a failure: less where the fault may be the
    /// renderer's.
    pub(in crate::admission) fn longest_cool_down(&self, entry: &Entry) -> Duration {
        let (fault, tuning) = (&self.throttle.fault, &self.rules.tuning.cool_down);
        let is_of_project = fault.is_of_project(entry.cool_down.failed_at());
        if is_of_project && !fault.is_of_many() && !fault.is_of_half() {
            tuning.outdated.most
        } else {
            tuning.most_in_a_fault
        }
    }

    /// Closes the breaker when this was its probe: what had come to cool down because the renderer
    /// was away is forgiven.
    pub(in crate::admission) fn close_breaker(&mut self, flight: &Flight, now: Moment) {
        if self.throttle.answered(flight.probes, now) {
            self.budget.empty(now);
            self.register.forgive_absence();
        }
    }
}
