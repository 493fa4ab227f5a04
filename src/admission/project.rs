//! What admission remembers of one project: what is held and wanted, who waits, and its own gate.

use std::time::Duration;

use super::{
    Class, HeldMark, Outcome, Want, Wish,
    limits::{
        BEHIND_COOL_DOWN, GONE_COOL_DOWN, INTEREST, MISSING_COOL_DOWN, OUTDATED_COOL_DOWN,
        RAISE_INTERVAL,
    },
    wanted::{Kind, Standing, Weight},
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Order,
};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) held: Option<HeldMark>,
    pub(super) want: Want,
    /// The highest order that a caller demanded since the last render.
    pub(super) demand: Option<Order>,
    pub(super) waiters: u32,
    /// The latest moment until which someone waits.
    pub(super) deadline: Moment,
    pub(super) flight: Option<Flight>,
    /// How often it was tried for those who wait.
    pub(super) attempts: u32,
    /// Whether a fetch comes before a render while nothing is held.
    pub(super) needs_fetch: bool,
    pub(super) standing: Standing,
    /// The place in the queues of missing projects.
    pub(super) arrival: u64,
    pub(super) place: Place,
    pub(super) timer: Option<Moment>,
    pub(super) counted: Counted,
    interest_until: Moment,
    cool_down: CoolDown,
    /// When the last render was launched that a raised target had caused.
    pub(super) raised: Option<Moment>,
}

/// The one live effort to make a project fresh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) is_fetch: bool,
    pub(super) since: Moment,
    /// The least order that was asked for.
    pub(super) asked: Order,
    pub(super) class: Class,
    /// The project's last render failed.
    pub(super) is_cooling: bool,
    /// Nothing is held of the project.
    pub(super) is_unseen: bool,
    /// It tells whether the breaker closes.
    pub(super) probes_breaker: bool,
    /// It tells whether the renderer's pushback is over.
    pub(super) probes_hold: bool,
    /// Counted from 1 for those who wait.
    pub(super) attempt: u32,
}

impl Flight {
    pub(super) fn is_outdated(&self) -> bool {
        self.class == Class::Outdated
    }
}

/// Where a project stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    InFlight,
    ToFetch,
    Missing,
    Wanted(Kind, Standing),
    /// Wanted, behind its own gate.
    Cooling,
    /// Not wanted, but not to be forgotten yet.
    Resting,
}

impl Place {
    pub(super) fn is_wanted(self) -> bool {
        self != Self::Resting
    }
}

/// As what a project counts against the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Not,
    WaitedFor,
    Demoted,
}

/// Why, and until when, a project is left alone.
#[derive(Clone, Copy, Debug)]
struct CoolDown {
    until: Moment,
    reason: NotRefreshed,
    /// The last one that was drawn; zero after a success.
    last: Duration,
    /// Renders in a row that failed.
    failures: u32,
    /// The last failed because the renderer was away.
    was_away: bool,
    /// Renders in a row that brought less than was asked for.
    behind: u32,
}

impl CoolDown {
    const NONE: Self = Self {
        until: Moment::START,
        reason: NotRefreshed::CoolingDown,
        last: Duration::ZERO,
        failures: 0,
        was_away: false,
        behind: 0,
    };
}

impl Entry {
    pub(super) fn new(wish: Wish, arrival: u64, now: Moment) -> Self {
        Self {
            held: wish.held,
            want: wish.want,
            demand: None,
            waiters: 0,
            deadline: now,
            flight: None,
            attempts: 0,
            needs_fetch: true,
            standing: Standing {
                weight: Weight::first(now),
                since: now,
            },
            arrival,
            place: Place::Resting,
            timer: None,
            counted: Counted::Not,
            interest_until: now,
            cool_down: CoolDown::NONE,
            raised: None,
        }
    }

    /// Notes a lookup.
    pub(super) fn note(&mut self, wish: Wish, now: Moment) {
        self.needs_fetch |= self.held.is_some() && wish.held.is_none();
        self.held = wish.held;
        if self.place.is_wanted() {
            self.want.raise_to(wish.want);
            self.standing.weight.count(now);
        } else {
            self.want = wish.want;
            self.standing = Standing {
                weight: Weight::first(now),
                since: now,
            };
        }
        self.demand = self.demand.max(wish.demand);
        self.interest_until = now + INTEREST;
    }

    pub(super) fn start_waiting(&mut self, until: Moment) {
        self.deadline = match self.waiters {
            0 => until,
            _ => self.deadline.max(until),
        };
        self.waiters += 1;
    }

    pub(super) fn class(&self) -> Class {
        if self.held.is_none() && self.waiters > 0 {
            Class::Missing
        } else {
            Class::Outdated
        }
    }

    pub(super) fn is_satisfied(&self) -> bool {
        self.want.is_met_by(self.held)
            && self
                .demand
                .is_none_or(|demand| self.held.is_some_and(|held| held.order >= demand))
    }

    pub(super) fn is_of_interest(&self, now: Moment) -> bool {
        self.waiters > 0 || self.interest_until > now
    }

    pub(super) fn is_cooling(&self) -> bool {
        self.cool_down.failures > 0
    }

    /// The least order to ask a renderer for.
    pub(super) fn asked(&self) -> Order {
        self.want.floor.max(self.demand.unwrap_or_default())
    }

    /// Where this belongs and when to look again; nowhere when it can be forgotten.
    pub(super) fn place_at(
        &self,
        offers_fetch: bool,
        now: Moment,
    ) -> Option<(Place, Option<Moment>)> {
        if self.flight.is_some() {
            return Some((Place::InFlight, None));
        }
        let (gated_until, _) = self.gate();
        if self.is_satisfied() || !self.is_of_interest(now) {
            let raise_ends = self
                .raised
                .map_or(Moment::START, |raised| raised + RAISE_INTERVAL);
            let until = gated_until.max(raise_ends);
            return (until > now).then_some((Place::Resting, Some(until)));
        }
        if gated_until > now {
            return Some((Place::Cooling, Some(gated_until)));
        }
        if self.held.is_some() {
            return Some((self.place_among_wanted(), None));
        }
        let forgotten = (self.waiters == 0).then_some(self.interest_until);
        if self.needs_fetch && offers_fetch {
            Some((Place::ToFetch, forgotten))
        } else if self.waiters > 0 {
            Some((Place::Missing, None))
        } else {
            Some((self.place_among_wanted(), forgotten))
        }
    }

    fn place_among_wanted(&self) -> Place {
        let kind = if self.is_cooling() {
            Kind::Failing
        } else if self.held.is_some() {
            Kind::Held
        } else {
            Kind::Unseen
        };
        Place::Wanted(kind, self.standing)
    }

    pub(super) fn counts_as(&self) -> Counted {
        match self.place {
            Place::InFlight => Counted::Not,
            _ if self.held.is_some() => Counted::Not,
            _ if self.waiters > 0 => Counted::WaitedFor,
            Place::ToFetch | Place::Missing | Place::Wanted(..) => Counted::Demoted,
            // Each of these was launched, so that the rate bounds them. Forgetting them would forget that they are left alone.
            Place::Cooling | Place::Resting => Counted::Not,
        }
    }

    /// Until when this project is left alone, and why.
    pub(super) fn gate(&self) -> (Moment, NotRefreshed) {
        let raise_ends = self
            .raised
            .filter(|_| self.is_raised())
            .map_or(Moment::START, |raised| raised + RAISE_INTERVAL);
        if raise_ends > self.cool_down.until {
            (raise_ends, NotRefreshed::CoolingDown)
        } else {
            (self.cool_down.until, self.cool_down.reason)
        }
    }

    /// Whether the held revision is of an older rollout than is wanted.
    fn is_raised(&self) -> bool {
        self.held
            .is_some_and(|held| held.order.rollout < self.want.floor.rollout)
    }

    /// Notes that a revision is held that did not come of a render.
    pub(super) fn stored(&mut self, held: HeldMark) {
        if self.held.is_none_or(|before| before.order < held.order) {
            self.forgive();
        }
        self.held = Some(held);
    }

    /// Ends the cool-down, and what it had grown to.
    pub(super) fn forgive(&mut self) {
        self.cool_down = CoolDown::NONE;
    }

    /// As [`Entry::forgive`], unless the renderer asked to leave the project alone.
    pub(super) fn forgive_failures(&mut self) {
        if self.cool_down.reason != NotRefreshed::PushedBack {
            self.forgive();
        }
    }

    /// As [`Entry::forgive`], where the renderer had been away.
    pub(super) fn forgive_absence(&mut self) {
        if self.cool_down.was_away {
            self.forgive();
        }
    }

    /// Notes the revision that a render brought.
    pub(super) fn landed_with(
        &mut self,
        held: HeldMark,
        flight: &Flight,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        let was_raised = self
            .held
            .is_some_and(|before| before.order.rollout < flight.asked.rollout);
        self.held = Some(held);
        let is_validated = held.validated_at >= flight.since;
        if held.order < flight.asked || !is_validated {
            self.raised = None;
            return self.is_behind(now, rng);
        }
        self.forgive();
        if was_raised {
            self.raised = Some(flight.since);
        }
        Outcome::Landed
    }

    /// Cools down after a failed render, by decorrelated jitter: U(base, 3 × the last), capped (M. Brooker, "Exponential
    /// Backoff and Jitter", AWS architecture blog, 2015).
    pub(super) fn cool_down(
        &mut self,
        reason: NotRefreshed,
        was_away: bool,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        let (base, cap) = match self.held {
            Some(_) => OUTDATED_COOL_DOWN,
            None => MISSING_COOL_DOWN,
        };
        let last = self.cool_down.last.max(base);
        let drawn = base + (last * 3 - base).mul_f64(rng.f64());
        self.cool_down.last = drawn.min(cap);
        self.cool_down.failures += 1;
        self.cool_down.was_away = was_away;
        self.leave_alone(self.cool_down.last, reason, now)
    }

    /// Cools down after a render that brought less than was asked for: doubling, less a jitter so that the cap holds.
    fn is_behind(&mut self, now: Moment, rng: &mut fastrand::Rng) -> Outcome {
        let (first, cap) = BEHIND_COOL_DOWN;
        let grown = first * 2_u32.pow(self.cool_down.behind.min(8));
        self.cool_down.behind += 1;
        let drawn = grown.min(cap).mul_f64(0.7 + 0.2 * rng.f64());
        self.leave_alone(drawn, NotRefreshed::RendererBehind, now)
    }

    /// Notes that the renderer knows the held project no more.
    pub(super) fn is_gone(&mut self, now: Moment) -> Outcome {
        self.leave_alone(GONE_COOL_DOWN, NotRefreshed::ProjectGone, now)
    }

    /// Notes that there is no such project: nothing is held, and nobody is interested.
    pub(super) fn is_not_found(&mut self, now: Moment, rng: &mut fastrand::Rng) -> Outcome {
        self.held = None;
        self.interest_until = now;
        let failures = self.cool_down.failures;
        self.cool_down(NotRefreshed::CoolingDown, false, now, rng);
        self.cool_down.failures = failures;
        Outcome::NotFound
    }

    /// Notes that the renderer asked to leave the project alone.
    pub(super) fn push_back(&mut self, duration: Duration, now: Moment) -> Outcome {
        self.cool_down.was_away = false;
        self.leave_alone(duration, NotRefreshed::PushedBack, now)
    }

    pub(super) fn leave_alone(
        &mut self,
        duration: Duration,
        reason: NotRefreshed,
        now: Moment,
    ) -> Outcome {
        self.cool_down.until = now + duration;
        self.cool_down.reason = reason;
        Outcome::Refused(Refusal {
            reason,
            retry_after: duration,
        })
    }

    pub(super) fn cooling_for(&self, now: Moment) -> Duration {
        self.cool_down.until.since(now)
    }
}
