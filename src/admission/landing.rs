//! What a render that came back means for its project, and for all.

use std::time::Duration;

use super::{
    Admission, CallFailure, Landing, Outcome, Pushback,
    controllers::Controller,
    fault::Answered,
    limits::{
        AWAY_COOL_DOWN, MISSING_ATTEMPTS, OUTDATED_COOL_DOWN, PACE_ON_FAILURE, PACE_ON_PUSHBACK,
        RECONNECT, RETRY_BACKOFF,
    },
    project::{Entry, Flight},
    valve::Valve,
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Project,
};

impl Admission {
    /// Notes what a render brought.
    pub fn landed(&mut self, project: &Project, landing: Landing, now: Moment) {
        let before = (self.stops(), self.unusable_until);
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
        if let Landing::Held(_) = landing {
            self.confirming.learned(project, flight.since);
        }
        let is_refused = landing == Landing::Failed(CallFailure::Refused);
        entry.needs_fetch = !is_refused;
        if flight.is_unseen && !is_refused {
            self.flood.note(landing == Landing::NotFound);
        }
        let yields = self.learn(&mut entry, landing, &flight, now) || !is_refused;
        self.judge_renderer(project, landing, &flight, now);
        self.judge_fault(project, &entry, landing, &flight, now);
        if yields {
            // It had its turn: among those that wait for longest it is the last.
            entry.standing.since = now;
        }
        // What goes back to its place for those who wait may be fresh by now, after a lowered target.
        let outcome = self.judge_project(project, &mut entry, landing, &flight, now);
        let outcome = outcome.or_else(|| entry.is_satisfied().then_some(Outcome::Landed));
        if let Some(outcome) = outcome {
            (entry.attempts, entry.demand) = (0, None);
            self.resolve(project, &mut entry, outcome);
        }
        self.put_entry(project, entry, now);
        self.tick(now);
        self.review_after_landing(before, now);
    }

    /// Learns how many renders the renderer takes at once. True when this one was refused though no other was in flight.
    fn learn(&mut self, entry: &mut Entry, landing: Landing, flight: &Flight, now: Moment) -> bool {
        let most = self.limits.concurrency;
        match landing {
            Landing::Held(_) | Landing::Rejected | Landing::NotFound | Landing::Gone => {
                self.renders_at_once.succeeded(most, now);
                let answered = &mut self.launches.answered_render;
                *answered = (*answered).max(flight.number);
                entry.is_taken();
                false
            }
            Landing::Failed(CallFailure::Refused) => {
                let others = self.in_flight.renders;
                self.renders_at_once
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
    pub(super) fn longest_cool_down(&self, entry: &Entry) -> Duration {
        let is_of_project = self.fault.is_of_project(entry.failed_before());
        if is_of_project && !self.fault.is_of_many() && !self.fault.is_of_half() {
            OUTDATED_COOL_DOWN.1
        } else {
            AWAY_COOL_DOWN
        }
    }

    pub(super) fn refuse_identity(&mut self, flight: &Flight, now: Moment) {
        if self.has(Controller::Breaker) {
            let was_probe = flight.probes_breaker;
            self.breaker.identity_refused(was_probe, now, &mut self.rng);
        }
    }

    /// Closes the breaker when this was its probe: what had come to cool down because the renderer was away is forgiven.
    pub(super) fn close_breaker(&mut self, flight: &Flight, now: Moment) {
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
            // The fault is not the project's: it goes back to its place, and the breaker tells those who wait.
            entry.note_failure(now);
            entry.attempts = 0;
            return None;
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
        let launches = self.launches;
        if failure == CallFailure::Refused && !entry.strike(launches.all, launches.answered_render)
        {
            // It goes back to its place, unless it is turned away again and again while others are not.
            return None;
        }
        if matches!(failure, CallFailure::Unavailable | CallFailure::Aborted) {
            let wait = RETRY_BACKOFF.draw(flight.attempt - 1, &mut self.rng);
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
    pub(super) fn obey(
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

fn refused(reason: NotRefreshed, retry_after: Duration) -> Outcome {
    Outcome::Refused(Refusal {
        reason,
        retry_after,
    })
}
