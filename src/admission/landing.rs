//! What a render or a fetch that came back means for its project, and for all.

use std::time::Duration;

use super::{
    Admission, CallFailure, FetchLanding, Landing, Outcome, Pushback,
    controllers::Controller,
    fault::Answered,
    limits::{
        AWAY_COOL_DOWN, FETCH_AGAIN, MISSING_ATTEMPTS, OUTDATED_COOL_DOWN, PACE_ON_FAILURE,
        PACE_ON_PUSHBACK, RECONNECT, RETRY_BACKOFF,
    },
    project::{Entry, Flight},
    valve::Valve,
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Project,
};

/// A fetch was refused because of the identity that it carried.
const IDENTITY_REFUSED: FetchLanding = FetchLanding::Failed(CallFailure::Unauthenticated);

impl Admission {
    /// Notes what a render brought.
    pub fn landed(&mut self, project: &Project, landing: Landing, now: Moment) {
        let Some(mut entry) = self.take_entry(project) else {
            return;
        };
        let Some(flight) = entry.flight.take() else {
            self.put_entry(project, entry, now);
            return;
        };
        self.ages.landed(&flight);
        self.launched.remove(&(flight.since, project.clone()));
        self.in_flight.renders -= 1;
        self.in_flight.outdated -= u32::from(flight.is_outdated());
        self.in_flight.cooling -= u32::from(flight.is_cooling);
        entry.needs_fetch = true;
        if flight.is_unseen {
            self.flood.note(landing == Landing::NotFound);
        }
        self.judge_renderer(project, landing, &flight, now);
        self.judge_fault(project, &entry, landing, &flight, now);
        // It had its turn: among those that wait for longest it is the last.
        entry.standing.since = now;
        if let Some(outcome) = self.judge_project(project, &mut entry, landing, &flight, now) {
            (entry.attempts, entry.demand) = (0, None);
            self.resolve(project, &mut entry, outcome);
        }
        self.put_entry(project, entry, now);
        self.tick(now);
        self.review_all(now);
    }

    /// Notes what a fetch brought.
    pub fn fetched(&mut self, project: &Project, landing: FetchLanding, now: Moment) {
        if landing == FetchLanding::Unimplemented {
            self.offers_fetch = false;
            self.fetch_again_at = now + FETCH_AGAIN;
            for project in std::mem::take(&mut self.to_fetch).into_values() {
                self.settle(&project, now);
            }
        }
        let Some(mut entry) = self.take_entry(project) else {
            return;
        };
        if let Some(flight) = entry.flight.take() {
            self.in_flight.fetches -= 1;
            entry.needs_fetch = landing == IDENTITY_REFUSED;
            self.judge_fetched(landing, &flight, now);
            match landing {
                FetchLanding::Held(held) => {
                    entry.stored(held);
                    self.resolve(project, &mut entry, Outcome::Landed);
                }
                FetchLanding::Failed(CallFailure::Exhausted(Pushback {
                    after: Some(after),
                    is_global,
                })) => {
                    // A render would cost an exhausted renderer more than the fetch.
                    let (obeyed, holds_all) = self.obey(project, after, is_global, now);
                    if holds_all {
                        self.fetches_held_until = self.fetches_held_until.max(now + obeyed);
                    }
                    entry.push_back(obeyed, now);
                    entry.needs_fetch = true;
                }
                FetchLanding::Failed(CallFailure::Exhausted(Pushback { after: None, .. })) => {
                    let cap = self.longest_cool_down(&entry);
                    entry.cool_down(NotRefreshed::CoolingDown, cap, now, &mut self.rng);
                    entry.needs_fetch = true;
                }
                FetchLanding::Nothing
                | FetchLanding::Unimplemented
                | FetchLanding::Unreachable
                | FetchLanding::Failed(
                    CallFailure::Unavailable
                    | CallFailure::Aborted
                    | CallFailure::Unauthenticated
                    | CallFailure::DeadlineExceeded
                    | CallFailure::Refused
                    | CallFailure::Other,
                ) => {}
            }
        }
        self.put_entry(project, entry, now);
        self.tick(now);
        if landing == IDENTITY_REFUSED {
            self.review_all(now);
        } else {
            self.review([project.clone()], now);
        }
    }

    /// What a fetch says of the identity that it carried.
    fn judge_fetched(&mut self, landing: FetchLanding, flight: &Flight, now: Moment) {
        match landing {
            IDENTITY_REFUSED => self.refuse_identity(flight, now),
            _ if !flight.probes_breaker => {}
            FetchLanding::Unreachable
            | FetchLanding::Failed(CallFailure::Unavailable | CallFailure::DeadlineExceeded) => {
                self.breaker.valve.probe_failed(now, &mut self.rng);
            }
            FetchLanding::Held(_)
            | FetchLanding::Nothing
            | FetchLanding::Unimplemented
            | FetchLanding::Failed(_) => self.close_breaker(flight, now),
        }
    }

    /// What a landing says of the renderer: breaker, hold, pace and the budget of retries.
    fn judge_renderer(
        &mut self,
        project: &Project,
        landing: Landing,
        flight: &Flight,
        now: Moment,
    ) {
        match landing {
            Landing::Failed(CallFailure::Unavailable | CallFailure::DeadlineExceeded) => {
                if self.has(Controller::PaceOnFailure) {
                    self.pace.slow(PACE_ON_FAILURE, now);
                }
                if self.has(Controller::Breaker) {
                    let was_probe = flight.probes_breaker;
                    self.breaker.failed(project, was_probe, now, &mut self.rng);
                }
                if flight.probes_hold {
                    self.pushbacks.valve.probe_failed(now, &mut self.rng);
                }
            }
            Landing::Unreachable => {
                if flight.probes_breaker {
                    self.breaker.valve.probe_failed(now, &mut self.rng);
                }
                if flight.probes_hold {
                    self.pushbacks.valve.probe_failed(now, &mut self.rng);
                }
                self.unusable_until = now + RECONNECT;
            }
            Landing::Failed(CallFailure::Unauthenticated) => {
                if flight.probes_hold {
                    self.pushbacks.valve.probe_failed(now, &mut self.rng);
                }
            }
            Landing::Failed(CallFailure::Exhausted(pushback)) => {
                self.close_breaker(flight, now);
                if flight.probes_hold && pushback.after.is_none() {
                    self.pushbacks.valve.probe_failed(now, &mut self.rng);
                }
            }
            Landing::Failed(CallFailure::Refused) => {
                self.close_breaker(flight, now);
                if flight.probes_hold {
                    self.pushbacks.valve.probe_failed(now, &mut self.rng);
                }
            }
            Landing::Held(_)
            | Landing::Rejected
            | Landing::NotFound
            | Landing::Gone
            | Landing::Failed(CallFailure::Aborted | CallFailure::Other) => {
                self.close_breaker(flight, now);
                if flight.probes_hold && self.pushbacks.valve.probe_succeeded(now) {
                    self.bucket.empty(now);
                }
            }
        }
        if let Landing::Held(_) = landing {
            self.recent.note(now.since(flight.since));
            if flight.attempt == 1 {
                self.retries.deposit();
            }
        }
    }

    /// What a landing says of whose the fault is, the renderer's or the project's.
    fn judge_fault(
        &mut self,
        project: &Project,
        entry: &Entry,
        landing: Landing,
        flight: &Flight,
        now: Moment,
    ) {
        let answered = match landing {
            Landing::Held(_) => {
                for forgiven in self.fault.succeeded(flight.since) {
                    if let Some(mut entry) = self.take_entry(&forgiven) {
                        entry.forgive_fault();
                        self.put_entry(&forgiven, entry, now);
                    }
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
                return if self.fault.is_of_project(entry.failed_before()) {
                    self.close_breaker(flight, now);
                } else {
                    self.refuse_identity(flight, now);
                };
            }
            Landing::Failed(CallFailure::Unavailable | CallFailure::DeadlineExceeded) => {
                Answered::No
            }
            Landing::Rejected
            | Landing::Failed(
                CallFailure::Aborted
                | CallFailure::Other
                | CallFailure::Exhausted(Pushback { after: None, .. }),
            ) => Answered::Yes,
        };
        let failed_before = entry.failed_before();
        self.fault.failed(project, answered, failed_before);
        let eases = answered == Answered::Yes && self.fault.is_of_many();
        if eases && self.has(Controller::PaceOnFailure) {
            self.pace.slow(PACE_ON_FAILURE, now);
        }
    }

    /// The longest that a project may cool down after a failure: less where the fault may be the renderer's.
    fn longest_cool_down(&self, entry: &Entry) -> Duration {
        let is_of_project = self.fault.is_of_project(entry.failed_before());
        if is_of_project && !self.fault.is_of_many() && !self.fault.is_of_half() {
            OUTDATED_COOL_DOWN.1
        } else {
            AWAY_COOL_DOWN
        }
    }

    fn refuse_identity(&mut self, flight: &Flight, now: Moment) {
        if self.has(Controller::Breaker) {
            let was_probe = flight.probes_breaker;
            self.breaker.identity_refused(was_probe, now, &mut self.rng);
        }
    }

    /// Closes the breaker when this was its probe: what had come to cool down because the renderer was away is forgiven.
    fn close_breaker(&mut self, flight: &Flight, now: Moment) {
        if !self.breaker.answered(flight.probes_breaker, now) {
            return;
        }
        self.bucket.empty(now);
        for project in self.entries.keys().cloned().collect::<Vec<_>>() {
            if let Some(mut entry) = self.take_entry(&project) {
                entry.forgive_absence();
                self.put_entry(&project, entry, now);
            }
        }
    }

    /// What a landing says of its project, and what those who wait are told; nothing when it is tried again for them.
    fn judge_project(
        &mut self,
        project: &Project,
        entry: &mut Entry,
        landing: Landing,
        flight: &Flight,
        now: Moment,
    ) -> Option<Outcome> {
        let failure = match landing {
            Landing::Held(held) => {
                let outcome = entry.landed_with(held, flight, now, &mut self.rng);
                if !self.has(Controller::RaiseInterval) {
                    entry.raised = None;
                }
                if !self.has(Controller::CoolDown) {
                    entry.forgive();
                }
                return Some(outcome);
            }
            Landing::Rejected => {
                let cap = self.longest_cool_down(entry);
                return Some(entry.cool_down(NotRefreshed::Rejected, cap, now, &mut self.rng));
            }
            Landing::Gone => return Some(entry.is_gone(now)),
            Landing::NotFound => return Some(entry.is_not_found(now, &mut self.rng)),
            Landing::Unreachable => return Some(refused(NotRefreshed::Unreachable, RECONNECT)),
            Landing::Failed(failure) => failure,
        };
        if failure == CallFailure::Unauthenticated
            && !self.fault.is_of_project(entry.failed_before())
        {
            // The fault is not the project's: it goes back to its place, and the breaker tells those who wait. Where a lowered
            // target was met meanwhile, there is nothing to go back to.
            entry.note_failure(now);
            entry.attempts = 0;
            return entry.is_satisfied().then_some(Outcome::Landed);
        }
        if let CallFailure::Exhausted(Pushback {
            after: Some(after),
            is_global,
        }) = failure
        {
            let (obeyed, _) = self.obey(project, after, is_global, now);
            if flight.probes_hold {
                self.pushbacks.go_on(obeyed, now);
            }
            if !self.retry(entry, flight, obeyed, NotRefreshed::PushedBack, now) {
                return Some(entry.push_back(obeyed, now));
            }
            return None;
        }
        if matches!(failure, CallFailure::Unavailable | CallFailure::Aborted) {
            let wait = backoff(flight.attempt, &mut self.rng);
            if self.retry(entry, flight, wait, NotRefreshed::CoolingDown, now) {
                return None;
            }
        }
        let was_away = matches!(
            failure,
            CallFailure::Unavailable | CallFailure::DeadlineExceeded
        );
        let cap = self.longest_cool_down(entry);
        if was_away {
            entry.cool_down_unanswered(cap, now, &mut self.rng);
        } else {
            entry.cool_down(NotRefreshed::CoolingDown, cap, now, &mut self.rng);
        }
        if !self.has(Controller::CoolDown) {
            entry.forgive();
        }
        Some(refused(NotRefreshed::RenderFailed, entry.cooling_for(now)))
    }

    /// Notes a pushback, and tells for how long it is obeyed, and whether it holds everything.
    fn obey(
        &mut self,
        project: &Project,
        after: Duration,
        is_global: bool,
        now: Moment,
    ) -> (Duration, bool) {
        let (obeyed, holds_all) =
            self.pushbacks
                .note(project, after, is_global, now, &mut self.rng);
        if !self.has(Controller::GlobalHold) {
            self.pushbacks.valve = Valve::OPEN;
        }
        if holds_all && self.has(Controller::PaceOnPushback) {
            self.pace.slow(PACE_ON_PUSHBACK, now);
        }
        (obeyed, holds_all)
    }

    /// Has a missing project tried again while somebody waits long enough, and the budget of retries allows it. A retry is a new
    /// trip through all gates.
    fn retry(
        &mut self,
        entry: &mut Entry,
        flight: &Flight,
        wait: Duration,
        reason: NotRefreshed,
        now: Moment,
    ) -> bool {
        let lands = now + wait + self.recent.median();
        let is_waited_for =
            entry.held.is_none() && entry.waiters.latest().is_some_and(|until| lands < until);
        let retries = is_waited_for
            && flight.attempt < MISSING_ATTEMPTS
            && (self.retries.withdraw(now) || !self.has(Controller::RetryBudget));
        if retries {
            entry.attempts = flight.attempt;
            entry.needs_fetch = false;
            entry.leave_alone(wait, reason, now);
        }
        retries
    }
}

/// Full jitter: U(0, min(cap, base × 2^n)) (M. Brooker, "Exponential Backoff and Jitter", AWS architecture blog, 2015).
fn backoff(attempt: u32, rng: &mut fastrand::Rng) -> Duration {
    let (base, cap) = RETRY_BACKOFF;
    (base * 2_u32.pow(attempt.saturating_sub(1).min(16)))
        .min(cap)
        .mul_f64(rng.f64())
}

fn refused(reason: NotRefreshed, retry_after: Duration) -> Outcome {
    Outcome::Refused(Refusal {
        reason,
        retry_after,
    })
}
