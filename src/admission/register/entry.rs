//! What admission remembers of one project: what is held and wanted, who waits, and where it stands.

use std::time::Duration;

use super::{
    cool_down::{CoolDown, behind_for},
    waiters::Waiters,
    wanted::{Kind, Standing, Weight},
};
use crate::{
    admission::{
        action::Lease,
        budget::Launch,
        flights::Tally,
        tuning::{Learning, Range, Tuning},
        words::{Class, HeldMark, Outcome, Want, Wish},
    },
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Order,
};

#[derive(Debug)]
pub(in crate::admission) struct Entry {
    pub(in crate::admission) held: Option<HeldMark>,
    pub(in crate::admission) want: Want,
    pub(in crate::admission) demands: Demands,
    pub(in crate::admission) waiters: Waiters,
    pub(in crate::admission) effort: Effort,
    /// How often it was tried for those who wait.
    pub(in crate::admission) attempts: u32,
    pub(in crate::admission) fetching: Fetching,
    pub(in crate::admission) strikes: Strikes,
    pub(in crate::admission) cool_down: CoolDown,
    pub(in crate::admission) seat: Seat,
    interest: Interest,
    /// Which of what concerns every project it knows of.
    pub(super) news: News,
}

/// How far the effort to make a project fresh has come.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) enum Effort {
    /// It waits for its turn, or is not wanted.
    None,
    /// It was asked whether its render may start.
    Asked(u64),
    /// Its render may start at that moment.
    Granted(Moment, Option<Lease>),
    /// A call is in flight.
    Flight(Flight),
}

/// What calls are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Stage {
    /// What is stored of a missing project is fetched.
    Fetch,
    /// What is held is confirmed by a fetch.
    Confirm,
    /// It is asked whether a render may start.
    Reserve,
    /// It is rendered.
    Render,
}

/// A call that is in flight.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Flight {
    pub(in crate::admission) stage: Stage,
    /// Beside which calls it was launched.
    pub(in crate::admission) launch: Launch,
    pub(in crate::admission) since: Moment,
    /// What was to come of it.
    pub(in crate::admission) want: Want,
    /// What a caller demanded of it.
    pub(in crate::admission) demand: Option<Order>,
    pub(in crate::admission) class: Class,
    /// The project's last render failed.
    pub(in crate::admission) is_cooling: bool,
    /// Nothing is held of the project.
    pub(in crate::admission) is_unseen: bool,
    pub(in crate::admission) probes: Probes,
    /// Counted from 1 for those who wait.
    pub(in crate::admission) attempt: u32,
    pub(in crate::admission) lease: Option<Lease>,
}

/// What a call tells when it comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::admission) struct Probes {
    /// Whether the breaker closes.
    pub(in crate::admission) breaker: bool,
    /// Whether the renderer's pushback is over.
    pub(in crate::admission) hold: bool,
}

/// Where a project stands in the register.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Seat {
    /// The place in the queues of missing projects.
    pub(in crate::admission) arrival: u64,
    pub(in crate::admission) standing: Standing,
    pub(in crate::admission) place: Place,
    pub(super) timer: Option<Moment>,
    pub(in crate::admission) counted: Counted,
}

/// Where a project stands: in exactly one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::admission) enum Place {
    InFlight,
    /// It was asked whether its render may start.
    Asked,
    /// Its render may start at that moment.
    Granted(Class, Moment),
    ToFetch,
    Missing,
    Wanted(Kind, Standing),
    /// Wanted, behind its own gate.
    Cooling,
    /// Not wanted, but not to be forgotten yet.
    Resting,
}

impl Place {
    pub(in crate::admission) fn is_wanted(self) -> bool {
        self != Self::Resting
    }
}

/// As what a project counts against the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Counted {
    Not,
    WaitedFor,
    Demoted,
}

#[derive(Clone, Copy, Debug)]
struct Interest {
    looked_up: Moment,
    until: Moment,
}

/// Counts what concerned every project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Changes of the target.
    pub(super) targets: u32,
    /// Returns of the renderer.
    pub(super) returns: u32,
}

/// Fetches of a project of which nothing is held.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Fetching {
    /// Whether a fetch comes before a render.
    pub(in crate::admission) is_due: bool,
    until: Moment,
    reason: NotRefreshed,
    /// Fetches in a row that failed.
    failed: u32,
    pub(in crate::admission) strikes: Strikes,
}

impl Fetching {
    const DUE: Self = Self {
        is_due: true,
        until: Moment::START,
        reason: NotRefreshed::CoolingDown,
        failed: 0,
        strikes: Strikes::NONE,
    };

    /// Until when it is not fetched again, and why.
    pub(in crate::admission) fn gate(&self) -> (Moment, NotRefreshed) {
        (self.until, self.reason)
    }

    /// A fetch failed: it is tried again after a back-off.
    pub(in crate::admission) fn fail(
        &mut self,
        backoff: Range,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        self.until = now + backoff.full_jitter(self.failed, rng);
        self.reason = NotRefreshed::CoolingDown;
        self.failed += 1;
    }

    /// The renderer asked not to fetch the project for so long.
    pub(in crate::admission) fn push_back(&mut self, wait: Duration, now: Moment) {
        (self.until, self.reason) = (now + wait, NotRefreshed::PushedBack);
    }

    /// Somebody else renders the project: what it brings is fetched then.
    pub(in crate::admission) fn wait_until(&mut self, moment: Moment) {
        (self.is_due, self.until) = (true, moment);
        self.reason = NotRefreshed::Throttled;
    }
}

/// How often calls for a project were turned away in a row although those for others were taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Strikes {
    count: u32,
    /// What had become of all calls at the last strike.
    tally: Tally,
    /// The project's own refusals since.
    refused: u64,
}

impl Strikes {
    const NONE: Self = Self {
        count: 0,
        tally: Tally {
            answered: 0,
            refused: 0,
        },
        refused: 0,
    };

    /// Notes that a call was plainly refused, which `tally` counts. True when that happened so often, while others were answered,
    /// that it is the project's fault.
    ///
    /// While it is learned how many calls the renderer takes, any project is refused now and then. A refusal is a strike only
    /// where, since the last strike, some calls of others were answered, and three for each that was refused.
    pub(in crate::admission) fn refuse(&mut self, tally: Tally, tuning: &Learning) -> bool {
        self.refused += 1;
        self.strike(tally, tuning, tuning.strikes)
    }

    /// As [`Strikes::refuse`] of a call that failed by itself.
    pub(in crate::admission) fn fail(&mut self, tally: Tally, tuning: &Learning) -> bool {
        self.strike(tally, tuning, tuning.failures)
    }

    fn strike(&mut self, tally: Tally, tuning: &Learning, often: u32) -> bool {
        let answered = tally.answered - self.tally.answered;
        let refused = (tally.refused - self.tally.refused).saturating_sub(self.refused);
        let is_alone = answered >= tuning.answered && answered >= 3 * refused;
        if self.count == 0 || is_alone {
            *self = Self {
                count: self.count + 1,
                tally,
                refused: 0,
            };
        }
        let is_out = self.count >= often;
        if is_out {
            *self = Self::NONE;
        }
        is_out
    }

    fn any(self) -> bool {
        self.count > 0
    }
}

/// What callers demand beyond freshness. A demand that a render did not meet cools down, and not the project, which others want for
/// the sake of less.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Demands {
    /// The highest order that a caller demanded since the last render.
    pub(in crate::admission) highest: Option<Order>,
    /// The least demand that was not met.
    unmet: Order,
    /// Until when it, and what is above it, is refused.
    until: Moment,
    /// Renders in a row that did not meet one.
    times: u32,
}

impl Demands {
    const NONE: Self = Self {
        highest: None,
        unmet: Order::new(0, 0),
        until: Moment::START,
        times: 0,
    };

    fn add(&mut self, demand: Option<Order>, now: Moment) {
        let demand = demand.filter(|&demand| !self.refuses(demand, now));
        self.highest = self.highest.max(demand);
    }

    /// A render did not meet a demand.
    fn fail(
        &mut self,
        demand: Order,
        range: Range,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        self.unmet = if self.times == 0 {
            demand
        } else {
            self.unmet.min(demand)
        };
        let retry_after = behind_for(self.times, range, rng);
        self.until = now + retry_after;
        self.times += 1;
        Outcome::Refused(Refusal {
            reason: NotRefreshed::RendererBehind,
            retry_after,
        })
    }

    /// A render brought that order.
    fn meet(&mut self, order: Order) {
        if order >= self.unmet {
            self.forget_unmet();
        }
    }

    pub(super) fn forget_unmet(&mut self) {
        let highest = self.highest;
        *self = Self {
            highest,
            ..Self::NONE
        };
    }

    fn refuses(&self, demand: Order, now: Moment) -> bool {
        self.until > now && demand >= self.unmet
    }

    /// When it does not matter any longer that it grew.
    fn forgotten_at(&self, range: Range) -> Moment {
        if self.times == 0 {
            Moment::START
        } else {
            self.until + range.most
        }
    }
}

impl Entry {
    pub(super) fn new(wish: Wish, arrival: u64, news: News, tuning: &Tuning, now: Moment) -> Self {
        Self {
            held: wish.held,
            want: wish.want,
            demands: Demands::NONE,
            waiters: Waiters::default(),
            effort: Effort::None,
            attempts: 0,
            fetching: Fetching::DUE,
            strikes: Strikes::NONE,
            cool_down: CoolDown::NONE,
            seat: Seat {
                arrival,
                standing: Standing {
                    weight: Weight::first(now, tuning.turns.weight_decay),
                    since: now,
                },
                place: Place::Resting,
                timer: None,
                counted: Counted::Not,
            },
            interest: Interest {
                looked_up: now,
                until: now,
            },
            news,
        }
    }

    /// Notes a lookup.
    pub(in crate::admission) fn look_up(&mut self, wish: Wish, tuning: &Tuning, now: Moment) {
        if self.held.is_some() && wish.held.is_none() {
            self.fetching.is_due = true;
            self.cool_down.shorten(tuning.cool_down.missing.most, now);
        }
        self.held = wish.held;
        let decay = tuning.turns.weight_decay;
        if self.seat.place.is_wanted() {
            self.want.raise_to(wish.want);
            self.seat.standing.weight.count(now, decay);
        } else {
            self.want = wish.want;
            self.seat.standing = Standing {
                weight: Weight::first(now, decay),
                since: now,
            };
        }
        self.demands.add(wish.demand, now);
        self.interest = Interest {
            looked_up: now,
            until: now + tuning.interest.lasts,
        };
    }

    /// Has the interest of the last lookup, where it would end, last for as long as the convergence that it waits for takes.
    pub(super) fn extend_interest(&mut self, convergence: Duration, tuning: &Tuning, now: Moment) {
        let interest = &mut self.interest;
        let is_known = interest.until > interest.looked_up;
        if is_known && interest.until <= now {
            let lasts = (tuning.interest.lasts + convergence).min(tuning.interest.most);
            interest.until = interest.until.max(interest.looked_up + lasts);
        }
    }

    /// Knows of what concerns every project; `target` is the one in force.
    pub(super) fn hear(&mut self, news: News, target: u64, was_raised: bool) {
        if self.news.targets != news.targets {
            if was_raised {
                self.want.rollout = self.want.rollout.max(target);
                self.demands.forget_unmet();
                self.cool_down.forgive_failures();
            } else {
                self.want.rollout = self.want.rollout.min(target);
            }
        }
        if self.news.returns != news.returns {
            self.cool_down.forgive_absence();
        }
        self.news = news;
    }

    /// The call that is in flight.
    pub(in crate::admission) fn flight(&self) -> Option<&Flight> {
        match &self.effort {
            Effort::Flight(flight) => Some(flight),
            Effort::None | Effort::Asked(_) | Effort::Granted(..) => None,
        }
    }

    /// Ends the call that is in flight.
    pub(in crate::admission) fn end_flight(&mut self) -> Option<Flight> {
        let flight = self.flight().copied()?;
        // Flight → None
        self.effort = Effort::None;
        Some(flight)
    }

    pub(in crate::admission) fn class(&self) -> Class {
        if self.held.is_none() && !self.waiters.is_empty() {
            Class::Missing
        } else {
            Class::Outdated
        }
    }

    /// The class that it is counted in, whether callers wait or not.
    pub(in crate::admission) fn held_class(&self) -> Class {
        Class::by_held(self.held.is_some())
    }

    pub(in crate::admission) fn is_satisfied(&self) -> bool {
        self.want.is_met_by(self.held)
            && self
                .demands
                .highest
                .is_none_or(|demand| self.held.is_some_and(|held| held.order >= demand))
    }

    pub(in crate::admission) fn is_of_interest(&self, now: Moment) -> bool {
        !self.waiters.is_empty() || self.interest.until > now
    }

    /// Whether its last render says more of the project than of the renderer: it makes a bad probe.
    pub(in crate::admission) fn is_suspect(&self) -> bool {
        self.cool_down.is_cooling()
            || self.cool_down.is_pushed_back()
            || self.strikes.any()
            || self.fetching.strikes.any()
    }

    /// Whether the held revision is of an older rollout than is wanted.
    pub(in crate::admission) fn is_raised(&self) -> bool {
        self.held
            .is_some_and(|held| held.order.rollout < self.want.rollout)
    }

    /// Until when this project is left alone, and why.
    pub(in crate::admission) fn gate(&self, tuning: &Tuning) -> (Moment, NotRefreshed) {
        let raise_ends = self
            .raise_ends(tuning)
            .filter(|_| self.is_raised())
            .unwrap_or_default();
        let (until, reason) = self.cool_down.gate();
        if raise_ends > until {
            (raise_ends, NotRefreshed::CoolingDown)
        } else {
            (until, reason)
        }
    }

    fn raise_ends(&self, tuning: &Tuning) -> Option<Moment> {
        let raised_at = self.cool_down.raised_at()?;
        Some(raised_at + tuning.cool_down.raised)
    }

    /// Where this belongs and when to look again; nowhere when it can be forgotten.
    pub(in crate::admission) fn place_at(
        &self,
        fetches: bool,
        tuning: &Tuning,
        now: Moment,
    ) -> Option<(Place, Option<Moment>)> {
        let is_idle = self.is_satisfied() || !self.is_of_interest(now);
        match self.effort {
            Effort::Flight(_) => return Some((Place::InFlight, None)),
            Effort::Asked(_) => return Some((Place::Asked, None)),
            Effort::Granted(starts_at, _) if !is_idle => {
                let timer = (starts_at > now).then_some(starts_at);
                return Some((Place::Granted(self.class(), starts_at), timer));
            }
            Effort::Granted(..) | Effort::None => {}
        }
        let (gated_until, _) = self.gate(tuning);
        if is_idle {
            let raise_ends = self.raise_ends(tuning).unwrap_or_default();
            let until = gated_until
                .max(raise_ends)
                .max(self.demands.forgotten_at(tuning.cool_down.behind));
            return (until > now).then_some((Place::Resting, Some(until)));
        }
        if gated_until > now {
            return Some((Place::Cooling, Some(gated_until)));
        }
        let forgotten = self.waiters.is_empty().then_some(self.interest.until);
        let place = if self.held.is_some() {
            self.place_among_wanted()
        } else if self.fetching.is_due && fetches {
            let (fetched_at, _) = self.fetching.gate();
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
        let kind = if self.cool_down.is_cooling() {
            Kind::Failing
        } else if self.held.is_none() {
            Kind::Unseen
        } else if self.cool_down.is_pushed_back() {
            Kind::PushedBack
        } else {
            Kind::Held
        };
        Place::Wanted(kind, self.seat.standing)
    }

    pub(super) fn counts_as(&self) -> Counted {
        match self.seat.place {
            Place::InFlight => Counted::Not,
            _ if self.held.is_some() => Counted::Not,
            _ if !self.waiters.is_empty() => Counted::WaitedFor,
            Place::Asked
            | Place::Granted(..)
            | Place::ToFetch
            | Place::Missing
            | Place::Wanted(..) => Counted::Demoted,
            // The rate of fetches bounds them too little.
            Place::Cooling if self.seat.timer == Some(self.fetching.until) => Counted::Demoted,
            // Each of these was launched, so that the rate bounds them. Forgetting them would forget that they are left alone.
            Place::Cooling | Place::Resting => Counted::Not,
        }
    }

    /// Changes are given up that no render has: that number does.
    pub(in crate::admission) fn give_up(&mut self, number: u64) {
        self.want.number = number;
        if let Effort::Flight(flight) = &mut self.effort {
            flight.want.number = flight.want.number.min(number);
        }
    }

    /// A call was taken, and answered.
    pub(in crate::admission) fn is_answered(&mut self) {
        (self.strikes, self.fetching.strikes) = (Strikes::NONE, Strikes::NONE);
        self.fetching.failed = 0;
    }

    /// A revision is held that did not come of a render.
    pub(in crate::admission) fn store(&mut self, held: HeldMark) {
        self.fetching.until = Moment::START;
        if self.held.is_none_or(|before| before.order < held.order) {
            self.cool_down.forgive();
        }
        self.held = Some(held);
    }

    /// A render brought a revision. Tells what those who wait are told.
    pub(in crate::admission) fn land(
        &mut self,
        held: HeldMark,
        flight: &Flight,
        tuning: &Tuning,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        let was_raised = self
            .held
            .is_some_and(|before| before.order.rollout < flight.want.rollout);
        self.held = Some(held);
        let is_validated = held.validated_at >= flight.since;
        if !flight.want.is_met_by(self.held) || !is_validated {
            return self.cool_down.fall_behind(&tuning.cool_down, now, rng);
        }
        self.cool_down.succeed(was_raised.then_some(flight.since));
        match flight.demand.filter(|&demand| held.order < demand) {
            Some(demand) => self.demands.fail(demand, tuning.cool_down.behind, now, rng),
            None => {
                self.demands.meet(held.order);
                Outcome::Landed
            }
        }
    }

    /// There is no such project: nothing is held, and no lookup is interested.
    pub(in crate::admission) fn note_absent(
        &mut self,
        tuning: &Tuning,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        self.held = None;
        self.interest = Interest {
            looked_up: now,
            until: now,
        };
        self.cool_down
            .note_absent(tuning.cool_down.missing, now, rng);
        Outcome::NotFound
    }

    /// For how much longer a demand is refused that a render has just not met, where that is all that is wanted of the project.
    pub(in crate::admission) fn refuses_demand(
        &self,
        demand: Option<Order>,
        now: Moment,
    ) -> Option<Duration> {
        let is_all = self.is_satisfied() && self.flight().is_none();
        demand
            .filter(|&demand| is_all && self.demands.refuses(demand, now))
            .map(|_| self.demands.until.since(now))
    }
}
