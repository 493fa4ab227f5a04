//! Tells why a project is not refreshed, and when it may be: a pure function of the state.

use std::time::Duration;

use super::{
    Admission, Advance, Class, Gate, Link, Refused,
    limits::{FLOOD_SHARE, LEAST_RETRY_AFTER, RECONNECT, UNKNOWN},
    project::{Entry, Place},
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Project,
};

/// Why a project is not refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its class, by what is held.
    pub class: Class,
    /// A flight is under way.
    pub is_in_flight: bool,
    /// The first gate that says no.
    pub gate: Option<Gate>,
    /// What a caller is told.
    pub refusal: Refusal,
}

impl Admission {
    /// Tells why a project is not refreshed at `now`; none when it is not wanted.
    pub fn explain(&self, project: &Project, now: Moment) -> Option<Explanation> {
        let entry = self
            .entries
            .get(project)
            .filter(|entry| entry.place.is_wanted())?;
        let refused = self.refuse(project, entry.flight.is_some(), now);
        Some(Explanation {
            class: refused.class,
            is_in_flight: entry.flight.is_some(),
            gate: refused.gate,
            refusal: refused.refusal,
        })
    }

    /// What a caller is told who does not wait. One that caused the flight is told that it is scheduled, any other that it
    /// still runs.
    pub(super) fn refuse(&self, project: &Project, was_in_flight: bool, now: Moment) -> Refused {
        let Some(entry) = self.entries.get(project) else {
            let is_full = || {
                let permit = self.permit_wait(0, Class::Missing, false, now);
                let permit = permit.unwrap_or(Duration::ZERO);
                let wait = self.token_wait(1, now).max(permit);
                (Gate::Queue, refusal(NotRefreshed::QueueFull, wait))
            };
            let (gate, refusal) = self.gate_closed_to_all(now).unwrap_or_else(is_full);
            return Refused {
                class: Class::Missing,
                gate: Some(gate),
                refusal,
            };
        };
        let class = entry.held_class();
        if let Some(flight) = entry.flight {
            let reason = if was_in_flight {
                NotRefreshed::TimedOut
            } else {
                NotRefreshed::Scheduled
            };
            return Refused {
                class,
                gate: None,
                refusal: refusal(reason, self.recent.remaining(now.since(flight.since))),
            };
        }
        let (gate, refusal) = match self.closed_gate(project, entry, now) {
            Some((gate, refusal)) => (Some(gate), refusal),
            None => (None, refusal(NotRefreshed::Scheduled, self.recent.median())),
        };
        Refused {
            class,
            gate,
            refusal,
        }
    }

    /// The first gate that says no to every project, whether it is to be fetched or rendered.
    fn gate_closed_to_all(&self, now: Moment) -> Option<(Gate, Refusal)> {
        if self.is_draining {
            return Some((Gate::Draining, refusal(NotRefreshed::Draining, UNKNOWN)));
        }
        if let Some(until) = self.breaker.valve.is_shut(now) {
            return Some((
                Gate::Breaker,
                refusal(NotRefreshed::BreakerOpen, self.probe_wait(until, now)),
            ));
        }
        let dialled_in = match self.link {
            Link::Up => (self.unusable_until > now).then(|| self.unusable_until.since(now)),
            Link::Dialling => Some(RECONNECT),
            Link::Down { retry_at } => Some(retry_at.since(now)),
        };
        dialled_in.map(|wait| (Gate::Connection, refusal(NotRefreshed::Unreachable, wait)))
    }

    /// The first gate that says no to a project that is not in flight.
    fn closed_gate(
        &self,
        project: &Project,
        entry: &Entry,
        now: Moment,
    ) -> Option<(Gate, Refusal)> {
        if let Some(closed) = self.gate_closed_to_all(now) {
            return Some(closed);
        }
        if entry.place != Place::ToFetch
            && let Some(until) = self.pushbacks.valve.is_shut(now)
        {
            return Some((
                Gate::Hold,
                refusal(NotRefreshed::PushedBack, self.probe_wait(until, now)),
            ));
        }
        let (until, reason) = entry.gate();
        if until > now {
            return Some((Gate::Project, refusal(reason, until.since(now))));
        }
        let (until, reason) = entry.fetch_gate();
        if entry.place == Place::Cooling && until > now {
            return Some((Gate::Project, refusal(reason, until.since(now))));
        }
        if entry.place == Place::ToFetch {
            return self.closed_fetch_gate(entry, now);
        }
        let ahead = self.ahead_of(project, entry);
        if let Some(wait) = self.permit_wait(ahead, entry.class(), entry.is_cooling(), now) {
            return Some((
                Gate::Concurrency,
                refusal(NotRefreshed::ConcurrencyLimited, wait),
            ));
        }
        let flood = if entry.held.is_none() {
            self.flood_wait(ahead, now)
        } else {
            Duration::ZERO
        };
        let wait = self.token_wait(ahead, now).max(flood);
        (!wait.is_zero()).then(|| (Gate::Tokens, refusal(NotRefreshed::Throttled, wait)))
    }

    fn closed_fetch_gate(&self, entry: &Entry, now: Moment) -> Option<(Gate, Refusal)> {
        if self.fetches_held_until > now {
            let wait = self.fetches_held_until.since(now);
            return Some((Gate::Hold, refusal(NotRefreshed::PushedBack, wait)));
        }
        let ahead = self.queued.fetched_before(entry.arrival);
        let stopped_until = self.fetches_at_once.stopped_until(now);
        if stopped_until.is_some() || self.in_flight.fetches >= self.fetches_at_once(now).get() {
            let permits = self
                .fetches_at_once
                .limit(self.limits.fetch.concurrency, now);
            let stop = stopped_until.map_or(Duration::ZERO, |until| until.since(now));
            let fetch = self.recent_fetches.expected();
            let wait = turns(fetch, ahead + 1, permits.get()).max(stop);
            return Some((
                Gate::Concurrency,
                refusal(NotRefreshed::ConcurrencyLimited, wait),
            ));
        }
        let next = self.next_fetch_token.filter(|&next| next > now)?;
        let wait = next.since(now) + per_token(ahead, self.limits.fetch.rate);
        Some((Gate::Tokens, refusal(NotRefreshed::Throttled, wait)))
    }

    /// How many are served before a project, in the order of classes.
    fn ahead_of(&self, project: &Project, entry: &Entry) -> usize {
        match entry.place {
            Place::Missing => self.queued.missing_before(entry.arrival),
            Place::Wanted(_, standing) => {
                self.missing.len() + self.wanted.ahead_of(project, standing)
            }
            Place::InFlight | Place::ToFetch | Place::Cooling | Place::Resting => {
                self.missing.len() + self.wanted.len()
            }
        }
    }

    /// Until there is a token for a project with so many ahead of it; zero when there is one now.
    fn token_wait(&self, ahead: usize, now: Moment) -> Duration {
        if self.limits.rate <= 0.0 {
            return UNKNOWN;
        }
        match self.next_token.filter(|&next| next > now) {
            Some(next) => {
                let owed = usize::from(self.advance == Advance::Owed);
                next.since(now) + per_token(ahead + owed, self.rate(now))
            }
            None => Duration::ZERO,
        }
    }

    /// Until it is the turn of a project of which nothing is held, with so many ahead of it in a flood; zero without one.
    fn flood_wait(&self, ahead: usize, now: Moment) -> Duration {
        self.flooded_until(now).map_or(Duration::ZERO, |until| {
            until.since(now) + per_token(ahead, self.rate(now) * FLOOD_SHARE)
        })
    }

    /// Until a valve lets something through, or its probe is back.
    fn probe_wait(&self, until: Option<Moment>, now: Moment) -> Duration {
        until.map_or_else(|| self.recent.expected(), |until| until.since(now))
    }

    /// Until there is a permit, and none when there is one now: of so many, one comes home in every such part of a render, and
    /// those ahead take theirs first. Where all are held for longer than a render takes, the next comes home later, and so do
    /// those after it.
    fn permit_wait(
        &self,
        ahead: usize,
        class: Class,
        is_cooling: bool,
        now: Moment,
    ) -> Option<Duration> {
        let stopped_until = self.renders_stopped_until(now);
        if stopped_until.is_none() && self.has_permit(class, is_cooling, now) {
            return None;
        }
        let stop = stopped_until.map_or(Duration::ZERO, |until| until.since(now));
        let mut limits = self.limits;
        limits.concurrency = self.renders_at_once.limit(limits.concurrency, now);
        let permits = limits.permits(class, is_cooling);
        let usual = turns(self.recent.expected(), ahead + 1, permits).max(stop);
        Some(
            self.overdue(class, is_cooling, now)
                .map_or(usual, |(next, render)| {
                    usual.max(next + turns(render, ahead, permits))
                }),
        )
    }

    /// Where all the permits of a class are held for longer than a render takes: until the first may be expected home, and
    /// how long a render then takes. What is overdue takes as long again as it took, and at most until its deadline.
    fn overdue(&self, class: Class, is_cooling: bool, now: Moment) -> Option<(Duration, Duration)> {
        let (flying, limits) = (&self.in_flight, &self.limits_in_force(now));
        let is_outdated = class == Class::Outdated;
        let short = [
            (flying.renders >= limits.concurrency.get(), self.ages.all()),
            (
                is_outdated && flying.outdated >= limits.outdated_permits(),
                self.ages.outdated(),
            ),
            (
                is_cooling && flying.cooling >= limits.cooling_permits(),
                self.ages.cooling(),
            ),
        ];
        let short = short.into_iter().filter(|(is_short, _)| *is_short);
        short
            .filter_map(|(_, launches)| launches.overdue(self.deadline, now))
            .filter(|(youngest, _)| *youngest > self.recent.expected())
            .map(|(youngest, ends)| (youngest.min(ends), youngest.min(self.deadline)))
            .max()
    }

    /// Whether one who waits until then may expect to see the project land.
    pub(super) fn is_worth_waiting(&self, project: &Project, until: Moment, now: Moment) -> bool {
        let Some(entry) = self.entries.get(project) else {
            return false;
        };
        if until <= now {
            return false;
        }
        if let Some(flight) = entry.flight {
            return flight.is_fetch
                || now + self.recent.remaining(now.since(flight.since)) <= until;
        }
        let may_queue = entry.held.is_none() || entry.demand.is_some();
        may_queue && !self.is_draining && {
            let is_fetched = self.fetches() && entry.held.is_none() && entry.needs_fetch;
            let recent = if is_fetched {
                &self.recent_fetches
            } else {
                &self.recent
            };
            let wait = match self.closed_gate(project, entry, now) {
                // Nobody knows yet for how long permits are held, unless they are held for long.
                Some((Gate::Concurrency, _)) if recent.is_empty() && is_fetched => Duration::ZERO,
                Some((Gate::Concurrency, _)) if recent.is_empty() => self
                    .overdue(entry.class(), entry.is_cooling(), now)
                    .map_or(Duration::ZERO, |(next, _)| next),
                Some((_, refusal)) => refusal.retry_after,
                None => Duration::ZERO,
            };
            now + wait + recent.median() <= until
        }
    }
}

/// How long so many calls take, one after another on each of the permits.
fn turns(call: Duration, calls: usize, permits: u32) -> Duration {
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    call.saturating_mul(calls) / permits
}

fn per_token(tokens: usize, rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "no queue is that long")]
    let seconds = tokens as f64 / rate;
    Duration::try_from_secs_f64(seconds).unwrap_or(UNKNOWN)
}

fn refusal(reason: NotRefreshed, retry_after: Duration) -> Refusal {
    Refusal {
        reason,
        retry_after: retry_after.max(LEAST_RETRY_AFTER),
    }
}
