//! What admission remembers of a project: what is held and wanted, which lookups wait, and its
//! place.

use std::time::Duration;

use super::{
    cool_down::CoolDown,
    demands::ProjectDemands,
    effort::{Effort, Flight},
    fetching::Fetching,
    place::{Place, QueueCount, RegisterSeat},
    strikes::Strikes,
    waiters::Waiters,
    wanted::{WantedStanding, Weight},
};
use crate::{
    admission::{
        tuning::Tuning,
        words::{Class, HeldMark, Outcome, Want, Wish},
    },
    moment::Moment,
    reason::NotRefreshed,
    revision::Order,
};

#[derive(Debug)]
pub(in crate::admission) struct Entry {
    pub(in crate::admission) held: Option<HeldMark>,
    pub(in crate::admission) want: Want,
    pub(in crate::admission) demands: ProjectDemands,
    pub(in crate::admission) waiters: Waiters,
    pub(in crate::admission) effort: Effort,
    /// How often it was tried for those who wait.
    pub(in crate::admission) attempts: u32,
    pub(in crate::admission) fetching: Fetching,
    pub(in crate::admission) strikes: Strikes,
    pub(in crate::admission) cool_down: CoolDown,
    pub(in crate::admission) seat: RegisterSeat,
    pub(super) interest: Interest,
    /// Which announcements to all projects it has heard of.
    pub(super) news: AnnouncementCount,
}

/// How long a lookup counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interest {
    looked_up: Moment,
    pub(super) until: Moment,
}

/// The target in force, and whether the announcement of it raised it.
#[derive(Clone, Copy, Debug)]
pub(super) enum AnnouncedTarget {
    Raised(u64),
    /// Or the first.
    Lowered(u64),
}

impl AnnouncedTarget {
    pub(super) fn rollout(self) -> u64 {
        match self {
            Self::Raised(rollout) | Self::Lowered(rollout) => rollout,
        }
    }
}

/// Counts the announcements that concern every project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AnnouncementCount {
    /// Changes of the target.
    pub(super) targets: u32,
    /// Returns of the renderer.
    pub(super) returns: u32,
}

impl Entry {
    pub(super) fn new(
        wish: Wish,
        arrival: u64,
        news: AnnouncementCount,
        tuning: &Tuning,
        now: Moment,
    ) -> Self {
        Self {
            held: wish.held,
            want: wish.want,
            demands: ProjectDemands::NONE,
            waiters: Waiters::default(),
            effort: Effort::None,
            attempts: 0,
            fetching: Fetching::DUE,
            strikes: Strikes::NONE,
            cool_down: CoolDown::NONE,
            seat: RegisterSeat {
                arrival,
                standing: WantedStanding {
                    weight: Weight::first(now, tuning.turns.weight_decay),
                    since: now,
                },
                place: Place::Resting,
                timer: None,
                counted: QueueCount::Not,
            },
            interest: Interest {
                looked_up: now,
                until: now,
            },
            news,
        }
    }

    /// Records a lookup.
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
            self.seat.standing = WantedStanding {
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

    /// Extends the interest of the last lookup, where it would end, to the convergence that it
    /// waits for.
    pub(super) fn extend_interest(&mut self, convergence: Duration, tuning: &Tuning, now: Moment) {
        let interest = &mut self.interest;
        let is_known = interest.until > interest.looked_up;
        if is_known && interest.until <= now {
            let lasts = (tuning.interest.lasts + convergence).min(tuning.interest.most);
            interest.until = interest.until.max(interest.looked_up + lasts);
        }
    }

    /// Hears the announcements that concern every project.
    pub(super) fn hear(&mut self, news: AnnouncementCount, target: AnnouncedTarget) {
        if self.news.targets != news.targets {
            match target {
                AnnouncedTarget::Raised(rollout) => {
                    self.want.rollout = self.want.rollout.max(rollout);
                    self.demands.forget_unmet();
                    self.cool_down.forgive_failures();
                }
                AnnouncedTarget::Lowered(rollout) => {
                    self.want.rollout = self.want.rollout.min(rollout);
                }
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
        Class::by_held(self.held.as_ref())
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

    pub(super) fn raise_ends(&self, tuning: &Tuning) -> Option<Moment> {
        let raised_at = self.cool_down.raised_at()?;
        Some(raised_at + tuning.cool_down.raised)
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

    /// A revision is held that another sidecar had rendered.
    pub(in crate::admission) fn take_over(&mut self, held: HeldMark, now: Moment) {
        self.store(held);
        self.cool_down.come_from_another(now);
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

    /// For how much longer a demand is refused that a render has just not met, where that is all
    /// that is wanted of the project.
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
