//! What a fetch that came back means for its project, and for fetches as a whole.

use std::time::Duration;

use super::{
    Admission,
    budget::LaunchedCall,
    confirming::ConfirmFate,
    fetches::Miss,
    register::{CoolDownFailure, Entry, Flight},
    words::{CallFailure, FetchLanding, Outcome, Pushback, PushbackScope},
};
use crate::{moment::Moment, revision::Project};

/// A fetch was refused because of the identity that it carried.
const IDENTITY_REFUSED: FetchLanding = FetchLanding::Failed(CallFailure::Unauthenticated);

impl Admission {
    /// Records what a fetch brought.
    pub fn fetched(&mut self, project: &Project, landing: FetchLanding, now: Moment) {
        if landing == FetchLanding::Unimplemented {
            self.not_offered(now);
        }
        let Some(mut entry) = self.register.take(project) else {
            return;
        };
        if let Some(flight) = entry.end_flight() {
            self.flights.landed(project, &flight);
            self.judge_identity(landing, &flight, now);
            match landing {
                FetchLanding::Held(held) => {
                    self.fetch_answered(&mut entry, &flight, now);
                    entry.store(held);
                    self.resolve(project, &mut entry, Outcome::Landed);
                }
                FetchLanding::Nothing => {
                    self.fetch_answered(&mut entry, &flight, now);
                    entry.fetching.is_due = false;
                }
                FetchLanding::Unimplemented => entry.fetching.is_due = false,
                FetchLanding::Unreachable => {
                    self.way.unusable_until = now + self.rules.tuning.guess.reconnect;
                }
                FetchLanding::Failed(failure) => {
                    self.fetch_failed(project, &mut entry, &flight, failure, now);
                }
            }
        }
        self.register.put(project, entry, self.around(now));
        if landing == IDENTITY_REFUSED {
            self.register.queues.review_all();
        }
        self.proceed(now);
        self.review([project.clone()], now);
    }

    /// Notes what a confirming fetch brought. What it says of the project is the driver's to note,
    /// before.
    pub fn confirmed(&mut self, project: &Project, landing: FetchLanding, now: Moment) {
        if landing == FetchLanding::Unimplemented {
            self.not_offered(now);
        }
        let fate = self.fate_of(landing, now);
        if landing == IDENTITY_REFUSED {
            let probes = Default::default();
            self.throttle.refuse_identity(probes, now, &mut self.rng);
        }
        if fate == ConfirmFate::Known {
            self.fetches_work(now);
        }
        if let Some(launch) = self.confirming.landed(project, fate, now, &mut self.rng) {
            self.flights.fetches -= 1;
            if landing == FetchLanding::Failed(CallFailure::Refused) {
                self.fetch_refused(launch, now);
            }
        }
        // It may have become outdated and wanted in the meantime.
        if let FetchLanding::Held(held) = landing
            && let Some(mut entry) = self.register.take(project)
        {
            if entry.flight().is_none() {
                entry.store(held);
                if entry.is_satisfied() {
                    self.resolve(project, &mut entry, Outcome::Landed);
                }
            }
            self.register.put(project, entry, self.around(now));
        }
        self.proceed(now);
    }

    fn fate_of(&mut self, landing: FetchLanding, now: Moment) -> ConfirmFate {
        match landing {
            FetchLanding::Held(_) | FetchLanding::Nothing => ConfirmFate::Known,
            FetchLanding::Unimplemented => ConfirmFate::Held(Duration::ZERO),
            FetchLanding::Unreachable => ConfirmFate::Held(self.rules.tuning.guess.reconnect),
            // It holds no render: these are asked for by somebody, and may be of another kind to
            // the renderer.
            FetchLanding::Failed(CallFailure::Exhausted(Pushback {
                after: Some(after),
                scope,
            })) => {
                let obeyed = after
                    .mul_f64(1.0 + 0.5 * self.rng.f64())
                    .min(self.rules.tuning.hold.most);
                if scope == PushbackScope::Global {
                    self.fetches.hold(obeyed, now);
                }
                ConfirmFate::Held(obeyed)
            }
            FetchLanding::Failed(
                CallFailure::Exhausted(Pushback { after: None, .. })
                | CallFailure::Unavailable
                | CallFailure::Aborted
                | CallFailure::Unauthenticated
                | CallFailure::DeadlineExceeded
                | CallFailure::Refused
                | CallFailure::Other,
            ) => ConfirmFate::Failed,
        }
    }

    fn not_offered(&mut self, now: Moment) {
        self.fetches.not_offered(now);
        self.register.sweep_all();
    }

    /// What a fetch says about the identity that it carried.
    fn judge_identity(&mut self, landing: FetchLanding, flight: &Flight, now: Moment) {
        let (probes, rng) = (flight.probes, &mut self.rng);
        match landing {
            IDENTITY_REFUSED => self.throttle.refuse_identity(probes, now, rng),
            _ if !probes.breaker => {}
            FetchLanding::Unreachable
            | FetchLanding::Failed(CallFailure::Unavailable | CallFailure::DeadlineExceeded) => {
                self.throttle.probe_of_breaker_failed(probes, now, rng);
            }
            FetchLanding::Held(_)
            | FetchLanding::Nothing
            | FetchLanding::Unimplemented
            | FetchLanding::Failed(_) => self.close_breaker(flight, now),
        }
    }

    /// A fetch was answered, by a revision or that nothing is stored.
    fn fetch_answered(&mut self, entry: &mut Entry, flight: &Flight, now: Moment) {
        self.flights.answered(flight);
        self.flights.recent_fetches.note(now.since(flight.since));
        entry.is_answered();
        self.fetches_work(now);
    }

    fn fetches_work(&mut self, now: Moment) {
        let most = self.fetches.limits().concurrency;
        self.fetches.learned.succeeded(most, now);
        if self.fetches.store.answered() {
            self.register.sweep_all();
        }
    }

    /// A fetch that failed never becomes a render by itself: a render would cost the renderer more.
    /// It is fetched again.
    fn fetch_failed(
        &mut self,
        project: &Project,
        entry: &mut Entry,
        flight: &Flight,
        failure: CallFailure,
        now: Moment,
    ) {
        let tuning = self.rules.tuning;
        let miss = match failure {
            CallFailure::Exhausted(Pushback {
                after: Some(after),
                scope,
            }) => {
                let obeyed = self.obey_fetch(project, after, scope, now);
                entry.fetching.push_back(obeyed, now);
                Miss::PushedBack(now + obeyed)
            }
            CallFailure::Exhausted(Pushback { after: None, .. }) => {
                self.cool_down(entry, CoolDownFailure::Answered, now);
                Miss::Failed
            }
            CallFailure::Refused => {
                if self.fetch_refused(flight.launch, now) {
                    // A fetch of another project finds out whether the project or the renderer is
                    // at fault.
                    entry.seat.arrival = self.register.arrival();
                }
                self.flights.refused(flight);
                let tally = self.flights.tally(flight);
                if entry.fetching.strikes.refuse(tally, &tuning.learned) {
                    self.cool_down(entry, CoolDownFailure::Answered, now);
                }
                Miss::Refused
            }
            CallFailure::Other => {
                let backoff = tuning.fetch.backoff;
                entry.fetching.fail(backoff, now, &mut self.rng);
                // What is stored of this project cannot be fetched; that of other projects can.
                let tally = self.flights.tally(flight);
                entry.fetching.is_due = !entry.fetching.strikes.fail(tally, &tuning.learned);
                Miss::Failed
            }
            // The breaker knows of it.
            CallFailure::Unauthenticated => return,
            CallFailure::Unavailable | CallFailure::Aborted | CallFailure::DeadlineExceeded => {
                let backoff = tuning.fetch.backoff;
                entry.fetching.fail(backoff, now, &mut self.rng);
                Miss::Failed
            }
        };
        self.fetches.store.missed(miss, now, &mut self.rng);
    }

    /// Learns from a fetch that was plainly refused. Returns true if no other was in flight.
    fn fetch_refused(&mut self, launch: LaunchedCall, now: Moment) -> bool {
        let most = self.fetches.limits().concurrency;
        let (others, rng) = (self.flights.fetches, &mut self.rng);
        let learned = &mut self.fetches.learned;
        learned.refused(launch, others, most, now, rng)
    }

    /// Notes a pushback of a fetch, and tells for how long it is obeyed. It holds fetches alone,
    /// unless the renderer says that it stands for everything.
    fn obey_fetch(
        &mut self,
        project: &Project,
        after: Duration,
        scope: PushbackScope,
        now: Moment,
    ) -> Duration {
        let rng = &mut self.rng;
        let (obeyed, holds_all) = if scope == PushbackScope::Global {
            self.throttle.push_back(project, after, scope, now, rng)
        } else {
            self.fetches.push_back(project, after, now, rng)
        };
        if holds_all {
            self.fetches.hold(obeyed, now);
        }
        obeyed
    }
}
