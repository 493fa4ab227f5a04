//! What a render that came back means for its project, and for all.

mod renderer;

use std::time::Duration;

use super::{
    Action, Admission,
    register::{CoolDownFailure, Entry, Flight},
    words::{CallFailure, Landing, Outcome, Pushback},
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Project,
};

impl Admission {
    /// Notes over which connection a render came back; to be told before [`Admission::landed`].
    pub fn came_over(&mut self, project: &Project, connection: u64, landing: Landing, now: Moment) {
        let flight = self.register.get(project).and_then(Entry::flight);
        let (Some(flight), Landing::Held(held)) = (flight, landing) else {
            return;
        };
        let (replica, rng) = (&mut self.way.replica, &mut self.rng);
        if flight.want.is_met_by(Some(held)) {
            replica.came(connection);
        } else if replica.came_behind(project, connection, now, rng) {
            self.actions.push(Action::Redial { connection });
        }
    }

    /// Notes what a render brought.
    pub fn landed(&mut self, project: &Project, landing: Landing, now: Moment) {
        let before = (self.stops(), self.way.unusable_until);
        let Some(mut entry) = self.register.take(project) else {
            return;
        };
        let Some(flight) = entry.end_flight() else {
            self.register.put(project, entry, self.around(now));
            return;
        };
        self.flights.landed(project, &flight);
        if let Some(lease) = flight.lease {
            self.actions.push(Action::Return { lease });
        }
        if let Landing::Held(_) = landing {
            self.confirming.learned(project, flight.since);
        }
        let is_refused = landing == Landing::Failed(CallFailure::Refused);
        entry.fetching.is_due = !is_refused;
        if flight.is_unseen && !is_refused {
            self.budget.flood.record(landing);
        }
        let yields = self.learn(&mut entry, landing, &flight, now) || !is_refused;
        self.judge_renderer(project, landing, &flight, now);
        self.judge_fault(project, &entry, landing, &flight, now);
        if yields {
            // It had its turn: among those that wait for longest it is the last.
            entry.seat.standing.since = now;
        }
        // What goes back to its place for those who wait may be fresh by now, after a lowered
        // target.
        let outcome = self.judge_project(project, &mut entry, landing, &flight, now);
        let outcome = outcome.or_else(|| entry.is_satisfied().then_some(Outcome::Landed));
        if let Some(outcome) = outcome {
            (entry.attempts, entry.demands.highest) = (0, None);
            self.resolve(project, &mut entry, outcome);
        }
        self.register.put(project, entry, self.around(now));
        if (self.stops(), self.way.unusable_until) != before {
            self.register.queues.review_all();
        }
        self.proceed(now);
        self.review_some(now);
    }

    /// What a landing says of its project, and what those who wait are told; nothing when it is
    /// tried again for them.
    fn judge_project(
        &mut self,
        project: &Project,
        entry: &mut Entry,
        landing: Landing,
        flight: &Flight,
        now: Moment,
    ) -> Option<Outcome> {
        let tuning = self.rules.tuning;
        let failure = match landing {
            Landing::Held(held) => {
                return Some(entry.land(held, flight, &tuning, now, &mut self.rng));
            }
            Landing::Rejected => {
                return Some(self.cool_down(entry, CoolDownFailure::Rejected, now));
            }
            Landing::Gone => return Some(entry.cool_down.note_gone(&tuning.cool_down, now)),
            Landing::NotFound => return Some(entry.note_absent(&tuning, now, &mut self.rng)),
            Landing::Unreachable => {
                return Some(refused(NotRefreshed::Unreachable, tuning.guess.reconnect));
            }
            Landing::Failed(failure) => failure,
        };
        let failed_at = entry.cool_down.failed_at();
        if failure == CallFailure::Unauthenticated && !self.throttle.fault.is_of_project(failed_at)
        {
            // The fault is not the project's: it goes back to its place, and the breaker tells
            // those who wait.
            entry.cool_down.note_failure(now);
            entry.attempts = 0;
            return None;
        }
        if let CallFailure::Exhausted(Pushback {
            after: Some(after),
            scope,
        }) = failure
        {
            let rng = &mut self.rng;
            let (obeyed, _) = self.throttle.push_back(project, after, scope, now, rng);
            self.throttle.go_on_holding(flight.probes, obeyed, now);
            let retries = self.retry(entry, flight, obeyed, now);
            let told = entry.cool_down.push_back(obeyed, now);
            return (!retries).then_some(told);
        }
        if failure == CallFailure::Refused {
            self.flights.refused(flight);
            let tally = self.flights.tally(flight);
            if !entry.strikes.refuse(tally, &tuning.learned) {
                // It goes back to its place, unless it is turned away again and again while others
                // are not.
                return None;
            }
        }
        if matches!(failure, CallFailure::Unavailable | CallFailure::Aborted) {
            let backoff = tuning.retry.backoff;
            let wait = backoff.full_jitter(flight.attempt - 1, &mut self.rng);
            if self.retry(entry, flight, wait, now) {
                entry.cool_down.retry(wait, now);
                return None;
            }
        }
        let failure = match failure {
            CallFailure::Unavailable | CallFailure::DeadlineExceeded => CoolDownFailure::Unanswered,
            CallFailure::Aborted
            | CallFailure::Unauthenticated
            | CallFailure::Exhausted(_)
            | CallFailure::Refused
            | CallFailure::Other => CoolDownFailure::Answered,
        };
        self.cool_down(entry, failure, now);
        Some(refused(
            NotRefreshed::RenderFailed,
            entry.cool_down.rest(now),
        ))
    }

    /// Has a project cool down after a failure.
    pub(super) fn cool_down(
        &mut self,
        entry: &mut Entry,
        failure: CoolDownFailure,
        now: Moment,
    ) -> Outcome {
        let tuning = &self.rules.tuning.cool_down;
        let mut range = tuning.missing;
        if entry.held.is_some() {
            range = tuning.outdated;
            range.most = range.most.min(self.longest_cool_down(entry));
        }
        entry.cool_down.fail(failure, range, now, &mut self.rng)
    }

    /// Whether a missing project is tried again after that wait: while somebody waits long enough,
    /// and the budget of retries allows it. A retry is a new trip through all gates.
    fn retry(&mut self, entry: &mut Entry, flight: &Flight, wait: Duration, now: Moment) -> bool {
        let lands = now + wait + self.flights.recent_renders.median();
        let is_waited_for =
            entry.held.is_none() && entry.waiters.latest().is_some_and(|until| lands < until);
        let retries = is_waited_for
            && flight.attempt < self.rules.tuning.retry.attempts
            && self.budget.retries.withdraw(now);
        if retries {
            entry.attempts = flight.attempt;
            entry.fetching.is_due = false;
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
