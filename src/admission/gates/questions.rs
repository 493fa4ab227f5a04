//! What each gate asks, and for how long it is expected to stay shut. The order stands in the
//! ladder.

use std::{num::NonZeroU32, time::Duration};

use super::{Candidate, Gate, QueueRoom};
use crate::{
    admission::{Admission, budget::Permits, register::Stage, words::Link},
    moment::Moment,
    reason::NotRefreshed,
};

/// What is told, when to ask again, and how long it is expected to take.
pub(super) type WhyShut = (NotRefreshed, Option<Moment>, Duration);

impl Admission {
    pub(super) fn ask_draining(&self) -> Option<WhyShut> {
        let wait = self.rules.tuning.guess.retry_after;
        self.way
            .is_draining
            .then_some((NotRefreshed::Draining, None, wait))
    }

    pub(super) fn ask_breaker(&self, candidate: &Candidate, now: Moment) -> Option<WhyShut> {
        // Failing renders say nothing about what is stored, unless the identity is refused.
        let is_concerned = match candidate.stage {
            Stage::Confirm => return self.ask_identity(now),
            Stage::Fetch | Stage::Reserve | Stage::Render => self.throttle.broken_until(now),
        };
        let until = is_concerned?;
        Some((
            NotRefreshed::BreakerOpen,
            until,
            self.until_probed(until, now),
        ))
    }

    fn ask_identity(&self, now: Moment) -> Option<WhyShut> {
        let wait = self.until_probed(self.throttle.broken_until(now).flatten(), now);
        self.throttle
            .is_identity_refused()
            .then_some((NotRefreshed::BreakerOpen, None, wait))
    }

    pub(super) fn ask_connection(&self, now: Moment) -> Option<WhyShut> {
        let unusable_until = Some(self.way.unusable_until).filter(|until| *until > now);
        let wait = match self.way.link {
            Link::Up => unusable_until?.since(now),
            Link::Dialling => self.rules.tuning.guess.reconnect,
            Link::Down { retry_at } => retry_at.since(now),
        };
        let opens_at = unusable_until.filter(|_| self.way.link == Link::Up);
        Some((NotRefreshed::Unreachable, opens_at, wait))
    }

    pub(super) fn ask_hold(&self, candidate: &Candidate, now: Moment) -> Option<WhyShut> {
        let until = if candidate.is_render() {
            self.throttle.held_until(now)?
        } else {
            Some(self.fetches.held_until(now)?)
        };
        Some((
            NotRefreshed::PushedBack,
            until,
            self.until_probed(until, now),
        ))
    }

    pub(super) fn ask_queue(&self, candidate: &Candidate, now: Moment) -> Option<WhyShut> {
        if candidate.room == QueueRoom::Some {
            return None;
        }
        let [permit, token] = [Gate::Concurrency, Gate::Tokens].map(|gate| {
            let shut = self.ask(gate, candidate, now);
            shut.map_or(Duration::ZERO, |shut| shut.wait)
        });
        Some((NotRefreshed::QueueFull, None, permit.max(token)))
    }

    pub(super) fn ask_concurrency(&self, candidate: &Candidate, now: Moment) -> Option<WhyShut> {
        let (opens_at, wait) = match candidate.stage {
            Stage::Fetch | Stage::Confirm => self.ask_fetch_permits(candidate, now)?,
            Stage::Reserve | Stage::Render => self.ask_permits(candidate, now)?,
        };
        Some((NotRefreshed::ConcurrencyLimited, opens_at, wait))
    }

    fn ask_fetch_permits(
        &self,
        candidate: &Candidate,
        now: Moment,
    ) -> Option<(Option<Moment>, Duration)> {
        let learned = &self.fetches.learned;
        let stopped_until = learned.stopped_until(now);
        let has_room = self.flights.fetches < self.fetches.at_once(now).get() && !self.is_full(0);
        if stopped_until.is_none() && has_room {
            return None;
        }
        let limit = learned.limit(self.fetches.limits().concurrency, now);
        let permits = self.within_room(limit).get();
        let stop = stopped_until.map_or(Duration::ZERO, |until| until.since(now));
        let fetch = self.flights.recent_fetches.expected();
        let wait = turns(fetch, candidate.ahead + 1, permits).max(stop);
        Some((stopped_until.or(learned.forgotten_at(now)), wait))
    }

    /// With n permits, one comes home in every n-th part of a render, and those ahead take theirs
    /// first. Where all are held for longer than a render takes, the next comes home later, and so
    /// do those after it.
    fn ask_permits(
        &self,
        candidate: &Candidate,
        now: Moment,
    ) -> Option<(Option<Moment>, Duration)> {
        let (lane, ahead) = (candidate.lane(), candidate.ahead);
        let learned = &self.budget.learned;
        let stopped_until = learned.stopped_until(now);
        let in_force = self.permits_in_force(now);
        let beside = self.beside(candidate);
        let has_room = self.flights.leave_room(in_force, lane, beside) && !self.is_full(beside);
        if stopped_until.is_none() && has_room {
            return None;
        }
        let stop = stopped_until.map_or(Duration::ZERO, |until| until.since(now));
        let limit = self.within_room(learned.limit(self.rules.limits.concurrency, now));
        let permits = Permits::of(limit, &self.rules.tuning.budget).of_lane(lane);
        let usual = turns(self.flights.recent_renders.expected(), ahead + 1, permits).max(stop);
        let overdue = self.flights.overdue(in_force, lane, now);
        let wait = overdue.map_or(usual, |(next, render)| {
            usual.max(next + turns(render, ahead, permits))
        });
        Some((stopped_until.or(learned.forgotten_at(now)), wait))
    }

    pub(super) fn ask_tokens(&self, candidate: &Candidate, now: Moment) -> Option<WhyShut> {
        if candidate.stage == Stage::Reserve
            && let Some(until) = self.reserve.lost_until(now)
        {
            let reason = NotRefreshed::FleetUnreachable;
            return Some((reason, Some(until), until.since(now)));
        }
        let (opens_at, wait) = match candidate.stage {
            Stage::Fetch | Stage::Confirm => {
                let next = self.fetches.token(now).err()?;
                let rate = self.fetches.limits().rate;
                (next, self.until_token(next, candidate.ahead, rate, now))
            }
            Stage::Reserve | Stage::Render => self.ask_render_tokens(candidate, now)?,
        };
        Some((NotRefreshed::Throttled, opens_at, wait))
    }

    fn ask_render_tokens(
        &self,
        candidate: &Candidate,
        now: Moment,
    ) -> Option<(Option<Moment>, Duration)> {
        // The rate as it was last set: between two steps of a ramp nothing changes.
        let (rate, ahead) = (self.budget.rate(), candidate.ahead);
        let flood = if candidate.is_unseen {
            self.budget.flood.holds_until(rate, now)
        } else {
            None
        };
        let flood = flood.max(self.reserved_until(candidate, now));
        let full_rate = self.rules.limits.rate;
        let token = self
            .budget
            .token(candidate.class, self.beside(candidate), full_rate, now);
        let (opens_at, tokens) = match token {
            Ok(()) => (Some(flood?), Duration::ZERO),
            Err(next) => {
                let owed = self.budget.owed() as usize;
                let wait = self.until_token(next, ahead + owed, rate, now);
                (
                    next.map(|next| flood.map_or(next, |flood| next.max(flood))),
                    wait,
                )
            }
        };
        let share = self.rules.tuning.budget.flood_share;
        let flooded = flood.map_or(Duration::ZERO, |until| {
            until.since(now) + self.per_token(ahead, rate * share)
        });
        Some((opens_at, tokens.max(flooded)))
    }

    /// How many others may start at any moment, as those that are asked for, beside one that is yet
    /// to be asked for.
    fn beside(&self, candidate: &Candidate) -> u32 {
        match candidate.stage {
            Stage::Reserve => self.register.counts.pending,
            Stage::Render | Stage::Fetch | Stage::Confirm => 0,
        }
    }

    /// Until when nothing is asked for that is like a candidate: an ask is out, or was denied.
    fn reserved_until(&self, candidate: &Candidate, now: Moment) -> Option<Moment> {
        let class = candidate.class;
        match candidate.stage {
            // Only one probe is asked for at a time.
            Stage::Reserve if self.register.counts.pending > 0 && self.wants_probe(now) => {
                Some(now + self.rules.tuning.budget.ask_deadline)
            }
            Stage::Reserve => self
                .reserve
                .denied_until(class, now)
                .max(self.reserve.answered_by(class)),
            Stage::Render | Stage::Fetch | Stage::Confirm => None,
        }
    }

    /// The permits that are set, less what the renderer was learned not to take at once.
    pub(in crate::admission) fn permits_in_force(&self, now: Moment) -> Permits {
        let most = self.rules.limits.concurrency;
        let at_once = self.budget.learned.in_force(most, now);
        Permits::of(self.within_room(at_once), &self.rules.tuning.budget)
    }

    /// A limit of calls at once, or as many as the connection takes.
    pub(in crate::admission) fn within_room(&self, limit: NonZeroU32) -> NonZeroU32 {
        self.way.room.map_or(limit, |room| limit.min(room))
    }

    /// Whether the connection takes no call beside those in flight and that many more.
    fn is_full(&self, beside: u32) -> bool {
        let calls = self.flights.renders + self.flights.fetches + beside;
        self.way.room.is_some_and(|room| calls >= room.get())
    }

    /// Until there is a token for a project with that many before it.
    fn until_token(&self, next: Option<Moment>, ahead: usize, rate: f64, now: Moment) -> Duration {
        match next {
            Some(next) => next.since(now) + self.per_token(ahead, rate),
            None => self.rules.tuning.guess.retry_after,
        }
    }

    /// Until a stop lets a render through, or its probe is back.
    fn until_probed(&self, until: Option<Moment>, now: Moment) -> Duration {
        until.map_or_else(
            || self.flights.recent_renders.expected(),
            |until| until.since(now),
        )
    }

    fn per_token(&self, tokens: usize, rate: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "no queue is that long")]
        let seconds = tokens as f64 / rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(self.rules.tuning.guess.retry_after)
    }
}

pub(super) fn ask_project(candidate: &Candidate, now: Moment) -> Option<WhyShut> {
    let (until, reason) = candidate.alone;
    (until > now).then(|| (reason, Some(until), until.since(now)))
}

/// How long that many calls take, one after another on each of the permits.
fn turns(call: Duration, calls: usize, permits: u32) -> Duration {
    let calls = u32::try_from(calls).unwrap_or(u32::MAX);
    call.saturating_mul(calls) / permits
}
