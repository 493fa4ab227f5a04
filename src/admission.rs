//! Decides which render is launched, and when: the budget, its gates, and the order of the projects
//! that want one.
//!
//! A sans-IO state machine: facts and `now` go in, [`Action`]s come out, and [`Admission::explain`]
//! tells at any moment why a project is not refreshed. The same code runs in production, in
//! property tests and in simulations. The driver that owns it (`refresh`) carries the actions out.
//! It knows of no socket, task or clock, and of no payload.
//!
//! Read `gates` first: it is the ladder that every launch and every explanation goes through.
//! `register` holds the projects, `budget` the tokens and permits, `throttle` what stops or slows
//! all renders, `flights` what is in the air, and `fetches` what concerns the store; `dispatch`
//! launches, `landing` and `fetched` judge what came back.
//!
//! Facts that concern every project stand here. A lookup's wish ([`Admission::want`]) is in
//! `waiting`, the connection ([`Admission::set_link`]) in `way`, what calls brought
//! ([`Admission::landed`], [`Admission::fetched`]) in `landing` and `fetched`, and what metrics
//! show in `view`.

mod action;
mod binding;
mod budget;
mod confirming;
mod dispatch;
mod drops;
mod explain;
mod fact;
mod fetched;
mod fetches;
mod flights;
mod gates;
mod inspect;
mod landing;
mod limits;
mod register;
mod replica;
mod reserve;
mod settle;
mod share;
mod splay;
mod throttle;
mod tuning;
mod view;
mod waiting;
mod way;
mod words;

use std::time::Duration;

pub use self::{
    action::{Action, FetchPermit, Lease, Permit},
    budget::{FirstRenders, MIN_RATE, Permits},
    drops::{Dropping, Drops},
    explain::Explanation,
    fact::AdmissionFact,
    gates::{Gate, Shut},
    inspect::{Ladder, Remembered, Turn},
    limits::{FetchLimits, Limits},
    reserve::{AskId, FleetMode, Local, Remote, Reserve, Reserved},
    share::{FleetRate, Share},
    splay::Splay,
    tuning::{
        Breaking, CoolDowns, FaultTuning, FetchTuning, Guesses, HoldTuning, InterestTuning,
        Learning, Pacing, Range, Retries, ShareTuning, Tuning, Turns,
    },
    words::{
        CallFailure, Class, FetchLanding, HeldMark, Landing, Link, Outcome, Pushback,
        PushbackScope, Refused, Stops, Want, Wish, WishVerdict,
    },
};
use self::{
    budget::Budget, confirming::Confirming, fetches::Fetches, flights::Flights, register::Register,
    reserve::Asks, throttle::Throttle, way::Way,
};
use crate::{moment::Moment, revision::Project};

/// The state machine.
#[derive(Debug)]
pub struct Admission {
    rules: Rules,
    way: Way,
    register: Register,
    budget: Budget,
    throttle: Throttle,
    flights: Flights,
    fetches: Fetches,
    confirming: Confirming,
    reserve: Asks,
    rng: fastrand::Rng,
    actions: Vec<Action>,
    looked: Looked,
}

/// When the ladder was last asked, and when a gate opens next by itself.
#[derive(Clone, Copy, Debug)]
struct Looked {
    at: Moment,
    next: Option<Moment>,
}

/// The settings of an operator, and our constants.
#[derive(Clone, Copy, Debug)]
struct Rules {
    limits: Limits,
    tuning: Tuning,
}

impl Admission {
    /// Makes a machine that wants nothing yet, with a budget of its own.
    pub fn new(limits: Limits, target: u64, seed: u64, now: Moment) -> Self {
        Self::with_tuning(Tuning::DEFAULT, limits, target, seed, now)
    }

    /// As [`Admission::new`], with other constants.
    pub fn with_tuning(
        tuning: Tuning,
        limits: Limits,
        target: u64,
        seed: u64,
        now: Moment,
    ) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        Self {
            rules: Rules { limits, tuning },
            way: Way::new(tuning.fault),
            register: Register::new(target, tuning),
            budget: Budget::new(&limits, &tuning, now, &mut rng),
            throttle: Throttle::new(&tuning),
            flights: Flights::new(tuning.guess),
            fetches: Fetches::new(limits.fetch, &tuning, now),
            confirming: Confirming::new(tuning),
            reserve: Asks::new(tuning.budget, Box::new(Local)),
            rng,
            actions: Vec::new(),
            looked: Looked {
                at: now,
                next: None,
            },
        }
    }

    /// Sets how long a render may run before its permit comes home; without limit by default.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.flights.set_deadline(deadline);
        self
    }

    /// Sets who is asked whether renders may start; [`Local`] by default.
    #[must_use]
    pub fn with_reserve(mut self, reserve: Box<dyn Reserve>) -> Self {
        self.reserve = Asks::new(self.rules.tuning.budget, reserve);
        self
    }

    /// Takes the actions that are to be carried out.
    pub fn take_actions(&mut self) -> Vec<Action> {
        self.hear_of_dropped();
        std::mem::take(&mut self.actions)
    }

    /// When to call [`Admission::tick`], unless something else happens before: at once while a
    /// sweep or a review is under way.
    pub fn next_wake(&self) -> Option<Moment> {
        if self.register.is_sweeping() || self.register.queues.is_reviewing() {
            return Some(self.looked.at);
        }
        [
            self.register.next_timer(),
            self.looked.next,
            self.fetches.store.gives_up_at(),
            self.reserve.next_overdue(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due, and takes one step of the sweep over all projects.
    pub fn tick(&mut self, now: Moment) {
        for project in self.register.sweep() {
            self.touch(&project, now);
        }
        self.proceed(now);
        if self.register.queues.is_reviewing() {
            self.review_some(now);
        }
    }

    /// Does what is due. The steps of what concerns every project are left to [`Admission::tick`]:
    /// a lookup that took one would take as long as a hundred.
    pub(in crate::admission) fn proceed(&mut self, now: Moment) {
        if self.fetches.are_asked_again(now) && self.fetches.may_be_offered() {
            self.register.sweep_all();
        }
        for _ in 0..self.rules.tuning.turns.swept {
            let Some(project) = self.register.due(now) else {
                break;
            };
            self.register.settle(&project, self.around(now));
        }
        let gives_up_at = self.fetches.store.gives_up_at();
        if gives_up_at.is_some_and(|at| at <= now) {
            self.fetches.store.give_up(now, &mut self.rng);
            self.register.sweep_all();
        }
        self.end_overdue_asks(now);
        self.dispatch(now);
    }

    /// Records another target. A higher one ends every cool-down, but no pushback. A lower one
    /// drops what is wanted only because of the higher one.
    pub fn set_target(&mut self, rollout: u64, now: Moment) {
        if rollout != self.register.target() {
            self.register.set_target(rollout);
            self.tick(now);
        }
    }

    /// Records that the input of a project changed: a held revision with a lower number is
    /// outdated.
    pub fn changed(&mut self, project: &Project, number: u64, now: Moment) {
        let around = self.around(now);
        let changed = self.register.update(project, around, |entry| {
            entry.want.number = entry.want.number.max(number);
        });
        if changed.is_some() {
            self.proceed(now);
        }
    }

    /// Records that a change which no render has is given up: `number` satisfies.
    pub fn gave_up(&mut self, project: &Project, number: u64, now: Moment) {
        let around = self.around(now);
        self.register
            .update(project, around, |entry| entry.give_up(number));
    }

    /// Records that changes may have been missed: held projects are to be confirmed, in the order
    /// in which it is [wanted most].
    ///
    /// [wanted most]: Admission::unconfirmed
    pub fn resync(&mut self, now: Moment) {
        self.confirming.resync(now, &mut self.rng);
        self.tick(now);
    }

    /// Records a lookup of a project whose held revision is fresh, as far as is known, and to be
    /// confirmed.
    pub fn unconfirmed(&mut self, project: &Project, now: Moment) {
        self.confirming.want(project, now);
        self.proceed(now);
    }

    /// Puts other limits in force. What is in flight stays; the level of the bucket stays.
    pub fn set_limits(&mut self, limits: Limits, now: Moment) {
        let came_first = self.fetches.come_first();
        self.fetches.set_limits(limits.fetch, now);
        self.rules.limits = limits;
        self.confirming.set_limits(&limits.fetch, now);
        if self.fetches.come_first() != came_first {
            self.register.sweep_all();
        }
        self.register.queues.review_all();
        self.tick(now);
    }
}

#[cfg(test)]
pub(crate) mod tests;
