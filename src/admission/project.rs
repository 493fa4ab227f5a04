//! What admission remembers of one project: what is held and wanted, who waits, and its own gate.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Class, HeldMark, Outcome, Want, Wish,
    learned::Launch,
    limits::{
        BEHIND_COOL_DOWN, FETCH_BACKOFF, GONE_COOL_DOWN, INTEREST, LONGEST_INTEREST,
        MISSING_COOL_DOWN, OUTDATED_COOL_DOWN, RAISE_INTERVAL, REFUSED_OFTEN,
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
    pub(super) waiters: Waiters,
    pub(super) flight: Option<Flight>,
    /// How often it was tried for those who wait.
    pub(super) attempts: u32,
    /// Whether a fetch comes before a render while nothing is held.
    pub(super) needs_fetch: bool,
    /// Until when it is not fetched again, and why.
    fetch_gate: (Moment, NotRefreshed),
    /// Fetches in a row that failed.
    failed_fetches: u32,
    strikes: Strikes,
    pub(super) standing: Standing,
    /// The place in the queues of missing projects.
    pub(super) arrival: u64,
    pub(super) place: Place,
    pub(super) timer: Option<Moment>,
    pub(super) counted: Counted,
    /// The last lookup.
    looked_up: Moment,
    interest_until: Moment,
    cool_down: CoolDown,
    /// When the last render was launched that a raised target had caused.
    pub(super) raised: Option<Moment>,
    unmet: Unmet,
}

/// Those who wait for a project: how many until when.
#[derive(Debug, Default)]
pub(super) struct Waiters(BTreeMap<Moment, u32>);

impl Waiters {
    pub(super) fn add(&mut self, until: Moment) {
        *self.0.entry(until).or_default() += 1;
    }

    pub(super) fn remove(&mut self, until: Moment) {
        if let Some(count) = self.0.get_mut(&until) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&until);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latest moment until which someone waits.
    pub(super) fn latest(&self) -> Option<Moment> {
        self.0.last_key_value().map(|(&until, _)| until)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u32 {
        self.0.values().sum()
    }
}

/// The one live effort to make a project fresh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) is_fetch: bool,
    /// Counts the launches of all projects.
    pub(super) number: u64,
    /// Beside which calls it was launched.
    pub(super) launch: Launch,
    pub(super) since: Moment,
    /// What was to come of it.
    pub(super) want: Want,
    /// What a caller demanded of it.
    pub(super) demand: Option<Order>,
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
    /// When the last failed, since the last success.
    failed_at: Option<Moment>,
    /// Renders in a row that brought less than was asked for.
    behind: u32,
    /// Renders in a row that did not find the held project.
    gone: u32,
}

/// How often calls for a project were turned away in a row although those for others, launched between, were taken.
#[derive(Clone, Copy, Debug)]
struct Strikes {
    count: u32,
    /// The launches of all projects up to the last one.
    launches: u64,
}

impl Strikes {
    const NONE: Self = Self {
        count: 0,
        launches: 0,
    };
}

impl CoolDown {
    const NONE: Self = Self {
        until: Moment::START,
        reason: NotRefreshed::CoolingDown,
        last: Duration::ZERO,
        failures: 0,
        was_away: false,
        failed_at: None,
        behind: 0,
        gone: 0,
    };
}

/// A demand that a render did not meet: it cools down, and not the project, which others want for the sake of less.
#[derive(Clone, Copy, Debug)]
struct Unmet {
    /// The least demand that was not met.
    least: Order,
    until: Moment,
    /// Renders in a row that did not meet one.
    times: u32,
}

impl Unmet {
    const NONE: Self = Self {
        least: Order::new(0, 0),
        until: Moment::START,
        times: 0,
    };

    /// Notes that a render did not meet a demand.
    fn note(&mut self, demand: Order, now: Moment, rng: &mut fastrand::Rng) -> Outcome {
        let least = if self.times == 0 {
            demand
        } else {
            self.least.min(demand)
        };
        let retry_after = behind_for(self.times, rng);
        *self = Self {
            least,
            until: now + retry_after,
            times: self.times + 1,
        };
        Outcome::Refused(Refusal {
            reason: NotRefreshed::RendererBehind,
            retry_after,
        })
    }

    /// Notes that a render brought that order.
    fn met(&mut self, order: Order) {
        if order >= self.least {
            *self = Self::NONE;
        }
    }

    fn refuses(&self, demand: Order, now: Moment) -> bool {
        self.until > now && demand >= self.least
    }

    /// When it does not matter any longer that it grew.
    fn forgotten_at(&self) -> Moment {
        if self.times == 0 {
            Moment::START
        } else {
            self.until + BEHIND_COOL_DOWN.1
        }
    }
}

/// How long to wait after so many renders in a row that brought less than was asked for, and one more: doubling, less a jitter so
/// that the cap holds.
fn behind_for(times: u32, rng: &mut fastrand::Rng) -> Duration {
    let (first, cap) = BEHIND_COOL_DOWN;
    let grown = first * 2_u32.pow(times.min(8));
    grown.min(cap).mul_f64(0.7 + 0.2 * rng.f64())
}

impl Entry {
    pub(super) fn new(wish: Wish, arrival: u64, now: Moment) -> Self {
        Self {
            held: wish.held,
            want: wish.want,
            demand: None,
            waiters: Waiters::default(),
            flight: None,
            attempts: 0,
            needs_fetch: true,
            fetch_gate: (Moment::START, NotRefreshed::CoolingDown),
            failed_fetches: 0,
            strikes: Strikes::NONE,
            standing: Standing {
                weight: Weight::first(now),
                since: now,
            },
            arrival,
            place: Place::Resting,
            timer: None,
            counted: Counted::Not,
            looked_up: now,
            interest_until: now,
            cool_down: CoolDown::NONE,
            raised: None,
            unmet: Unmet::NONE,
        }
    }

    /// Notes a lookup.
    pub(super) fn note(&mut self, wish: Wish, now: Moment) {
        if self.held.is_some() && wish.held.is_none() {
            self.needs_fetch = true;
            self.shorten_cool_down(now);
        }
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
        let demand = wish
            .demand
            .filter(|&demand| !self.unmet.refuses(demand, now));
        self.demand = self.demand.max(demand);
        self.looked_up = now;
        self.interest_until = now + INTEREST;
    }

    /// Has the interest of the last lookup, where it would end, last for as long as the convergence that it waits for takes.
    pub(super) fn extend_interest(&mut self, convergence: Duration, now: Moment) {
        let is_known = self.interest_until > self.looked_up;
        if is_known && self.interest_until <= now {
            let lasts = (INTEREST + convergence).min(LONGEST_INTEREST);
            self.interest_until = self.interest_until.max(self.looked_up + lasts);
        }
    }

    pub(super) fn class(&self) -> Class {
        if self.held.is_none() && !self.waiters.is_empty() {
            Class::Missing
        } else {
            Class::Outdated
        }
    }

    /// The class that it is counted in, whether callers wait or not.
    pub(super) fn held_class(&self) -> Class {
        Class::by_held(self.held.is_some())
    }

    /// Whether its last render failed, was rejected or brought less than was asked for.
    pub(super) fn is_failing(&self) -> bool {
        self.cool_down.failures > 0 || self.cool_down.behind > 0
    }

    pub(super) fn is_satisfied(&self) -> bool {
        self.want.is_met_by(self.held)
            && self
                .demand
                .is_none_or(|demand| self.held.is_some_and(|held| held.order >= demand))
    }

    pub(super) fn is_of_interest(&self, now: Moment) -> bool {
        !self.waiters.is_empty() || self.interest_until > now
    }

    pub(super) fn is_cooling(&self) -> bool {
        self.cool_down.failures > 0
    }

    /// Whether its last render says more of the project than of the renderer: it makes a bad probe.
    pub(super) fn is_suspect(&self) -> bool {
        self.is_cooling()
            || self.cool_down.reason == NotRefreshed::PushedBack
            || self.strikes.count > 0
    }

    /// Notes that a call was turned away, after so many launches of all projects, of which `answered` is the last that was taken.
    /// True when that happened so often while others were taken that it is the project's fault.
    pub(super) fn strike(&mut self, launches: u64, answered: u64) -> bool {
        if self.strikes.count == 0 || answered > self.strikes.launches {
            self.strikes.count += 1;
        }
        self.strikes.launches = launches;
        let is_out = self.strikes.count >= REFUSED_OFTEN;
        if is_out {
            self.strikes = Strikes::NONE;
        }
        is_out
    }

    /// Notes that a call was taken, and answered.
    pub(super) fn is_taken(&mut self) {
        self.strikes = Strikes::NONE;
        self.failed_fetches = 0;
    }

    /// Notes that a fetch failed: it is tried again after a back-off.
    pub(super) fn fetch_failed(&mut self, now: Moment, rng: &mut fastrand::Rng) {
        let wait = FETCH_BACKOFF.draw(self.failed_fetches, rng);
        self.failed_fetches += 1;
        self.fetch_gate = (now + wait, NotRefreshed::CoolingDown);
    }

    /// Notes that the renderer asked not to fetch the project for so long.
    pub(super) fn push_fetch_back(&mut self, duration: Duration, now: Moment) {
        self.fetch_gate = (now + duration, NotRefreshed::PushedBack);
    }

    /// Until when this project is not fetched, and why.
    pub(super) fn fetch_gate(&self) -> (Moment, NotRefreshed) {
        self.fetch_gate
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
            let until = gated_until.max(raise_ends).max(self.unmet.forgotten_at());
            return (until > now).then_some((Place::Resting, Some(until)));
        }
        if gated_until > now {
            return Some((Place::Cooling, Some(gated_until)));
        }
        let forgotten = self.waiters.is_empty().then_some(self.interest_until);
        let place = if self.held.is_some() {
            self.place_among_wanted()
        } else if self.needs_fetch && offers_fetch {
            let (fetched_at, _) = self.fetch_gate;
            if fetched_at > now {
                return Some((Place::Cooling, Some(fetched_at)));
            }
            Place::ToFetch
        } else if self.waiters.is_empty() {
            self.place_among_wanted()
        } else {
            Place::Missing
        };
        Some((place, forgotten))
    }

    fn place_among_wanted(&self) -> Place {
        let kind = if self.is_cooling() {
            Kind::Failing
        } else if self.held.is_none() {
            Kind::Unseen
        } else if self.cool_down.reason == NotRefreshed::PushedBack {
            Kind::PushedBack
        } else {
            Kind::Held
        };
        Place::Wanted(kind, self.standing)
    }

    pub(super) fn counts_as(&self) -> Counted {
        match self.place {
            Place::InFlight => Counted::Not,
            _ if self.held.is_some() => Counted::Not,
            _ if !self.waiters.is_empty() => Counted::WaitedFor,
            Place::ToFetch | Place::Missing | Place::Wanted(..) => Counted::Demoted,
            // The rate of fetches bounds them too little.
            Place::Cooling if self.timer == Some(self.fetch_gate.0) => Counted::Demoted,
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
    pub(super) fn is_raised(&self) -> bool {
        self.held
            .is_some_and(|held| held.order.rollout < self.want.rollout)
    }

    /// Notes that a revision is held that did not come of a render.
    pub(super) fn stored(&mut self, held: HeldMark) {
        self.fetch_gate.0 = Moment::START;
        if self.held.is_none_or(|before| before.order < held.order) {
            self.forgive();
        }
        self.held = Some(held);
    }

    /// Has a project that is missing now cool down no longer than a missing one, unless the renderer asked to leave it alone.
    fn shorten_cool_down(&mut self, now: Moment) {
        if self.cool_down.reason != NotRefreshed::PushedBack {
            let (_, longest) = MISSING_COOL_DOWN;
            self.cool_down.until = self.cool_down.until.min(now + longest);
        }
    }

    /// Ends the cool-down, and what it had grown to.
    pub(super) fn forgive(&mut self) {
        self.cool_down = CoolDown::NONE;
    }

    /// As [`Entry::forgive`], unless the renderer asked to leave the project alone.
    pub(super) fn forgive_failures(&mut self) {
        self.unmet = Unmet::NONE;
        if self.cool_down.reason != NotRefreshed::PushedBack {
            self.forgive();
        }
    }

    /// As [`Entry::forgive_failures`], where the fault was the renderer's. When it failed is remembered: if it fails again,
    /// the fault is its own.
    pub(super) fn forgive_fault(&mut self) {
        if self.cool_down.reason != NotRefreshed::PushedBack {
            let failed_at = self.cool_down.failed_at;
            self.forgive();
            self.cool_down.failed_at = failed_at;
        }
    }

    /// When a render of it last failed, since the last success.
    pub(super) fn failed_before(&self) -> Option<Moment> {
        self.cool_down.failed_at
    }

    /// Notes a failure that is not this project's fault, so that it does not cool down.
    pub(super) fn note_failure(&mut self, now: Moment) {
        self.cool_down.failed_at = Some(now);
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
            .is_some_and(|before| before.order.rollout < flight.want.rollout);
        self.held = Some(held);
        let is_validated = held.validated_at >= flight.since;
        if !flight.want.is_met_by(self.held) || !is_validated {
            self.raised = None;
            return self.is_behind(now, rng);
        }
        self.forgive();
        if was_raised {
            self.raised = Some(flight.since);
        }
        match flight.demand.filter(|&demand| held.order < demand) {
            Some(demand) => self.unmet.note(demand, now, rng),
            None => {
                self.unmet.met(held.order);
                Outcome::Landed
            }
        }
    }

    /// Cools down after a failed render, by decorrelated jitter: U(base, 3 × the last), capped (M. Brooker, "Exponential
    /// Backoff and Jitter", AWS architecture blog, 2015). What is held bounds the cap: `most` is for outdated projects.
    pub(super) fn cool_down(
        &mut self,
        reason: NotRefreshed,
        most: Duration,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        self.cool_down.was_away = false;
        self.cool_down_up_to(most, reason, now, rng)
    }

    /// As [`Entry::cool_down`] after a render that the renderer did not answer.
    pub(super) fn cool_down_unanswered(
        &mut self,
        most: Duration,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        self.cool_down.was_away = true;
        self.cool_down_up_to(most, NotRefreshed::CoolingDown, now, rng)
    }

    fn cool_down_up_to(
        &mut self,
        most: Duration,
        reason: NotRefreshed,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        let (base, cap) = match self.held {
            Some(_) => (OUTDATED_COOL_DOWN.0, most),
            None => MISSING_COOL_DOWN,
        };
        let last = self.cool_down.last.max(base);
        let drawn = base + (last * 3 - base).mul_f64(rng.f64());
        self.cool_down.last = drawn.min(cap);
        self.cool_down.failures += 1;
        self.cool_down.failed_at = Some(now);
        self.leave_alone(self.cool_down.last, reason, now)
    }

    /// Cools down after a render that brought less than was asked for.
    fn is_behind(&mut self, now: Moment, rng: &mut fastrand::Rng) -> Outcome {
        let drawn = behind_for(self.cool_down.behind, rng);
        self.cool_down.behind += 1;
        self.leave_alone(drawn, NotRefreshed::RendererBehind, now)
    }

    /// Notes that the renderer knows the held project no more.
    pub(super) fn is_gone(&mut self, now: Moment) -> Outcome {
        let (first, cap) = GONE_COOL_DOWN;
        let grown = (first * 2_u32.pow(self.cool_down.gone.min(8))).min(cap);
        self.cool_down.gone += 1;
        self.leave_alone(grown, NotRefreshed::ProjectGone, now)
    }

    /// Notes that there is no such project: nothing is held, and nobody is interested.
    pub(super) fn is_not_found(&mut self, now: Moment, rng: &mut fastrand::Rng) -> Outcome {
        self.held = None;
        (self.looked_up, self.interest_until) = (now, now);
        let CoolDown {
            failures,
            failed_at,
            ..
        } = self.cool_down;
        let (_, most) = OUTDATED_COOL_DOWN;
        self.cool_down(NotRefreshed::CoolingDown, most, now, rng);
        (self.cool_down.failures, self.cool_down.failed_at) = (failures, failed_at);
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

    /// For how much longer a demand is refused that a render has just not met, where that is all that is wanted of the project.
    pub(super) fn refuses_demand(&self, demand: Option<Order>, now: Moment) -> Option<Duration> {
        let is_all = self.is_satisfied() && self.flight.is_none();
        demand
            .filter(|&demand| is_all && self.unmet.refuses(demand, now))
            .map(|_| self.unmet.until.since(now))
    }

    pub(super) fn cooling_for(&self, now: Moment) -> Duration {
        self.cool_down.until.since(now)
    }
}
