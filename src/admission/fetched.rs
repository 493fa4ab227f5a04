//! What a fetch that came back means for its project, and for fetches as a whole.

use std::time::Duration;

use super::{
    Admission, CallFailure, FetchLanding, Launches, Outcome, Pushback,
    confirming::Fate,
    limits::{FETCH_AGAIN, PUSHBACK_CAP, RECONNECT},
    project::{Entry, Flight},
    store::Miss,
};
use crate::{moment::Moment, reason::NotRefreshed, revision::Project};

/// A fetch was refused because of the identity that it carried.
const IDENTITY_REFUSED: FetchLanding = FetchLanding::Failed(CallFailure::Unauthenticated);

impl Admission {
    /// Notes what a fetch brought.
    pub fn fetched(&mut self, project: &Project, landing: FetchLanding, now: Moment) {
        if landing == FetchLanding::Unimplemented {
            self.fetch_is_not_offered(now);
        }
        let Some(mut entry) = self.take_entry(project) else {
            return;
        };
        if let Some(flight) = entry.flight.take() {
            self.in_flight.fetches -= 1;
            self.judge_fetched(landing, &flight, now);
            match landing {
                FetchLanding::Held(held) => {
                    self.fetch_answered(&mut entry, &flight, now);
                    entry.stored(held);
                    self.resolve(project, &mut entry, Outcome::Landed);
                }
                FetchLanding::Nothing => {
                    self.fetch_answered(&mut entry, &flight, now);
                    entry.needs_fetch = false;
                }
                FetchLanding::Unimplemented => entry.needs_fetch = false,
                FetchLanding::Unreachable => self.unusable_until = now + RECONNECT,
                FetchLanding::Failed(failure) => {
                    self.fetch_failed(project, &mut entry, &flight, failure, now);
                }
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

    /// Notes what a confirming fetch brought. What it says of the project is the driver's to note, before.
    pub fn confirmed(&mut self, project: &Project, landing: FetchLanding, now: Moment) {
        if landing == FetchLanding::Unimplemented {
            self.fetch_is_not_offered(now);
        }
        let fate = match landing {
            FetchLanding::Held(_) | FetchLanding::Nothing => Fate::Known,
            FetchLanding::Unimplemented => Fate::Held(Duration::ZERO),
            FetchLanding::Unreachable => Fate::Held(RECONNECT),
            // It holds no render: these are asked for by somebody, and may be of another kind to the renderer.
            FetchLanding::Failed(CallFailure::Exhausted(Pushback {
                after: Some(after),
                is_global,
            })) => {
                let obeyed = after.mul_f64(1.0 + 0.5 * self.rng.f64()).min(PUSHBACK_CAP);
                if is_global {
                    self.fetches_held_until = self.fetches_held_until.max(now + obeyed);
                }
                Fate::Held(obeyed)
            }
            FetchLanding::Failed(
                CallFailure::Exhausted(Pushback { after: None, .. })
                | CallFailure::Unavailable
                | CallFailure::Aborted
                | CallFailure::Unauthenticated
                | CallFailure::DeadlineExceeded
                | CallFailure::Refused
                | CallFailure::Other,
            ) => Fate::Failed,
        };
        if landing == IDENTITY_REFUSED {
            self.breaker.identity_refused(false, now, &mut self.rng);
        }
        if fate == Fate::Known {
            let most = self.limits.fetch.concurrency;
            self.fetches_at_once.succeeded(most, now);
            if self.store.answered() {
                self.settle_all(now);
            }
        }
        if self.confirming.landed(project, fate, now, &mut self.rng) {
            self.in_flight.fetches -= 1;
        }
        // It may have come to be outdated and wanted meanwhile.
        if let FetchLanding::Held(held) = landing
            && let Some(mut entry) = self.take_entry(project)
        {
            if entry.flight.is_none() {
                entry.stored(held);
                if entry.is_satisfied() {
                    self.resolve(project, &mut entry, Outcome::Landed);
                }
            }
            self.put_entry(project, entry, now);
        }
        self.tick(now);
    }

    fn fetch_is_not_offered(&mut self, now: Moment) {
        self.offers_fetch = false;
        self.fetch_again_at = now + FETCH_AGAIN;
        for project in std::mem::take(&mut self.to_fetch).into_values() {
            self.settle(&project, now);
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

    /// Notes that a fetch was answered, by a revision or that nothing is stored: fetches work.
    fn fetch_answered(&mut self, entry: &mut Entry, flight: &Flight, now: Moment) {
        let most = self.limits.fetch.concurrency;
        self.fetches_at_once.succeeded(most, now);
        let answered = &mut self.launches.answered_fetch;
        *answered = (*answered).max(flight.number);
        self.recent_fetches.note(now.since(flight.since));
        entry.is_taken();
        if self.store.answered() {
            self.settle_all(now);
        }
    }

    /// A fetch that failed never becomes a render by itself: a render would cost the renderer more. It is fetched again.
    fn fetch_failed(
        &mut self,
        project: &Project,
        entry: &mut Entry,
        flight: &Flight,
        failure: CallFailure,
        now: Moment,
    ) {
        let Launches {
            all,
            answered_fetch,
            ..
        } = self.launches;
        let miss = match failure {
            CallFailure::Exhausted(Pushback {
                after: Some(after),
                is_global,
            }) => {
                let obeyed = self.obey_fetch(project, after, is_global, now);
                entry.push_fetch_back(obeyed, now);
                Miss::PushedBack(now + obeyed)
            }
            CallFailure::Exhausted(Pushback { after: None, .. }) => {
                let cap = self.longest_cool_down(entry);
                entry.cool_down(NotRefreshed::CoolingDown, cap, now, &mut self.rng);
                Miss::Failed
            }
            CallFailure::Refused => {
                let most = self.limits.fetch.concurrency;
                let others = self.in_flight.fetches;
                let is_alone =
                    self.fetches_at_once
                        .refused(flight.launch, others, most, now, &mut self.rng);
                if is_alone {
                    // Another finds out whether it is the project or the renderer.
                    self.arrivals += 1;
                    entry.arrival = self.arrivals;
                }
                if entry.strike(all, answered_fetch) {
                    let cap = self.longest_cool_down(entry);
                    entry.cool_down(NotRefreshed::CoolingDown, cap, now, &mut self.rng);
                }
                Miss::Refused
            }
            CallFailure::Other => {
                entry.fetch_failed(now, &mut self.rng);
                // What is stored of this project cannot be had, but what is stored of others.
                entry.needs_fetch = !entry.strike(all, answered_fetch);
                Miss::Failed
            }
            // The breaker knows of it.
            CallFailure::Unauthenticated => return,
            CallFailure::Unavailable | CallFailure::Aborted | CallFailure::DeadlineExceeded => {
                entry.fetch_failed(now, &mut self.rng);
                Miss::Failed
            }
        };
        self.store.missed(miss, now, &mut self.rng);
    }

    /// Notes a pushback of a fetch, and tells for how long it is obeyed. It holds fetches alone, unless the renderer says that it
    /// stands for everything.
    fn obey_fetch(
        &mut self,
        project: &Project,
        after: Duration,
        is_global: bool,
        now: Moment,
    ) -> Duration {
        let (obeyed, holds_all) = if is_global {
            self.obey(project, after, is_global, now)
        } else {
            self.fetch_pushbacks
                .note(project, after, is_global, now, &mut self.rng)
        };
        if holds_all {
            self.fetches_held_until = self.fetches_held_until.max(now + obeyed);
        }
        obeyed
    }
}
