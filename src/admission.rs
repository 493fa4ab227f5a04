//! Decides which render is launched, and when: the budget, its gates, and the order of those who want one.
//!
//! A sans-IO state machine: facts and `now` go in, [`Action`]s come out, and [`Admission::explain`] tells at any moment why a
//! project is not refreshed. The same code runs in production, in property tests and in simulations. The driver that owns it
//! (`refresh`) carries the actions out. It knows of no socket, task or clock, and of no payload.
//!
//! Read `gates` first: it is the ladder that every launch and every explanation goes through. `register` holds the projects,
//! `budget` the tokens and permits, `throttle` what stops or slows all renders, `flights` what is in the air, and `fetches` what
//! concerns the store; `dispatch` launches, `landing` and `fetched` judge what came back.

mod action;
mod budget;
mod confirming;
mod dispatch;
mod drops;
mod explain;
mod fetched;
mod fetches;
mod flights;
mod gates;
mod landing;
mod limits;
mod register;
mod replica;
mod reserve;
mod share;
mod splay;
mod throttle;
mod tuning;
mod view;
mod words;

use std::{num::NonZeroU32, time::Duration};

pub use self::{
    action::{Action, FetchPermit, Lease, Permit},
    budget::{FirstRenders, MIN_RATE, Permits},
    drops::{Dropping, Drops},
    explain::Explanation,
    gates::{Gate, Shut},
    limits::{FetchLimits, Limits},
    reserve::{AskId, Local, Remote, Reserve, Reserved},
    share::{Fleet, Share},
    splay::Splay,
    tuning::{
        Breaking, CoolDowns, Faults, Fetching, Guesses, Holding, Interest, Learning, Pacing, Range,
        Retries, Shares, Tuning, Turns,
    },
    words::{
        CallFailure, Class, FetchLanding, HeldMark, Landing, Link, Outcome, Pushback, Refused,
        Stops, Verdict, Want, Wish,
    },
};
use self::{
    budget::Budget,
    confirming::Confirming,
    explain::Found,
    fetches::Fetches,
    flights::Flights,
    gates::Room,
    register::{Around, Entry, Register},
    replica::Replica,
    reserve::Asks,
    throttle::Throttle,
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Project,
};

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
    /// When a gate opens next by itself.
    next_look: Option<Moment>,
}

/// What is set, by an operator and by us.
#[derive(Clone, Copy, Debug)]
struct Rules {
    limits: Limits,
    tuning: Tuning,
}

/// The way to the renderer.
#[derive(Debug)]
struct Way {
    link: Link,
    /// Until when a connection that a call could not use is not used again, unless there is a new one.
    unusable_until: Moment,
    /// How many calls it takes at once; none when it sets no limit.
    room: Option<NonZeroU32>,
    /// Whether it leads to a replica that is behind.
    replica: Replica,
    is_draining: bool,
}

impl Admission {
    /// Makes a machine that wants nothing yet, and whose budget is its own.
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
            way: Way {
                link: Link::Dialling,
                unusable_until: Moment::START,
                room: None,
                replica: Replica::new(tuning.fault),
                is_draining: false,
            },
            register: Register::new(target, tuning),
            budget: Budget::new(&limits, &tuning, now, &mut rng),
            throttle: Throttle::new(&tuning),
            flights: Flights::new(tuning.guess),
            fetches: Fetches::new(limits.fetch, &tuning, now),
            confirming: Confirming::new(tuning),
            reserve: Asks::new(tuning.budget, Box::new(Local)),
            rng,
            actions: Vec::new(),
            next_look: None,
        }
    }

    /// Says how long a render may run, after which its permit comes home; by default there is no end.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.flights.set_deadline(deadline);
        self
    }

    /// Has somebody asked whether renders may start; by default [`Local`] is.
    #[must_use]
    pub fn with_reserve(mut self, reserve: Box<dyn Reserve>) -> Self {
        self.reserve = Asks::new(self.rules.tuning.budget, reserve);
        self
    }

    /// Takes what is to be done.
    pub fn take_actions(&mut self) -> Vec<Action> {
        self.hear_of_dropped();
        std::mem::take(&mut self.actions)
    }

    /// When to call [`Admission::tick`], unless something else happens before: at once while a sweep or a review is under way.
    pub fn next_wake(&self) -> Option<Moment> {
        [
            self.register.next_timer(),
            self.next_look,
            self.fetches.store.gives_up_at(),
            self.reserve.next_overdue(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due, and one step of what concerns every project.
    pub fn tick(&mut self, now: Moment) {
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
        for project in self.register.sweep() {
            self.touch(&project, now);
        }
        self.end_overdue_asks(now);
        self.dispatch(now);
        if self.register.queues.is_reviewing() {
            self.review_some(now);
        }
        if self.register.is_sweeping() || self.register.queues.is_reviewing() {
            self.next_look = Some(now);
        }
    }

    /// Records that a lookup wants a project, and says whether to wait.
    pub fn want(&mut self, project: &Project, wish: Wish, now: Moment) -> Verdict {
        self.tick(now);
        let mut entry = self.register.take_or_new(project, wish, now);
        entry.look_up(wish, &self.rules.tuning, now);
        let is_in_flight = entry.flight().is_some();
        // Only one that would not wait, and found no flight, is told that its refresh is scheduled.
        let found = if is_in_flight || wish.until.is_some() {
            Found::Flight
        } else {
            Found::Nothing
        };
        let is_queued = is_in_flight || !entry.waiters.is_empty() || wish.held.is_some();
        let room = if is_queued || self.register.counts.waited_for < self.queue() {
            Room::Some
        } else {
            Room::None
        };
        let refused_for = entry.refuses_demand(wish.demand, now);
        let until = wish
            .until
            .filter(|_| room == Room::Some && refused_for.is_none());
        if let Some(until) = until {
            entry.waiters.add(until);
        }
        let class = entry.class();
        self.register.put(project, entry, self.around(now));
        self.tick(now);
        if let Some(retry_after) = refused_for {
            return Verdict::Refused(Refused {
                class,
                gate: Some(Gate::Project),
                refusal: Refusal {
                    reason: NotRefreshed::RendererBehind,
                    retry_after,
                },
            });
        }
        if until.is_some_and(|until| self.is_worth_waiting(project, until, now)) {
            return Verdict::Wait;
        }
        if let Some(until) = until {
            self.left(project, until, now);
        }
        Verdict::Refused(self.refuse(project, found, room, now))
    }

    /// Records that a lookup that waited for a project until then is gone.
    pub fn left(&mut self, project: &Project, until: Moment, now: Moment) {
        // What is due goes to those who still wait.
        self.tick(now);
        let around = self.around(now);
        let left = self
            .register
            .update(project, around, |entry| entry.waiters.remove(until));
        if left.is_some() {
            // The renderer has stopped offering Fetch: what waited for a fetch may be rendered now.
            self.tick(now);
        }
    }

    /// Records that the target is another rollout. A higher one ends every cool-down, but no pushback; after a lower one, nothing is
    /// wanted any more for the higher one's sake.
    pub fn set_target(&mut self, rollout: u64, now: Moment) {
        if rollout != self.register.target() {
            self.register.set_target(rollout);
            self.tick(now);
        }
    }

    /// Records that the input of a project changed: what is held of a lower number no longer satisfies.
    pub fn changed(&mut self, project: &Project, number: u64, now: Moment) {
        let around = self.around(now);
        let changed = self.register.update(project, around, |entry| {
            entry.want.number = entry.want.number.max(number);
        });
        if changed.is_some() {
            self.tick(now);
        }
    }

    /// Records that changes are given up that no render has: that number does.
    pub fn gave_up(&mut self, project: &Project, number: u64, now: Moment) {
        let around = self.around(now);
        self.register
            .update(project, around, |entry| entry.give_up(number));
    }

    /// Records that changes may have been missed: what is held is to be confirmed, in the order in which it is [wanted most].
    ///
    /// [wanted most]: Admission::unconfirmed
    pub fn resync(&mut self, now: Moment) {
        self.confirming.resync(now, &mut self.rng);
        self.tick(now);
    }

    /// Records that a project was looked up of which the revision held is fresh, as far as is known, and to be confirmed.
    pub fn unconfirmed(&mut self, project: &Project, now: Moment) {
        self.confirming.want(project, now);
        self.tick(now);
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

    /// Notes what became of the connection.
    pub fn set_link(&mut self, link: Link, now: Moment) {
        self.way.link = link;
        self.way.unusable_until = now;
        if link == Link::Up && self.fetches.may_be_offered() {
            self.register.sweep_all();
        }
        self.register.queues.review_all();
        self.tick(now);
    }

    /// Says how many calls the connection takes at once, renders and fetches together; none when it sets no limit. What is beyond
    /// waits here, where it holds neither a permit nor a token, and not in the connection.
    pub fn set_room(&mut self, room: Option<NonZeroU32>, now: Moment) {
        self.way.room = room;
        self.register.queues.review_all();
        self.tick(now);
    }

    /// Launches nothing more.
    pub fn drain(&mut self, now: Moment) {
        self.way.is_draining = true;
        self.give_grants_back(now);
        self.register.queues.review_all();
        self.tick(now);
    }

    /// What places depend on beside the projects.
    fn around(&self, now: Moment) -> Around {
        let Rules { limits, tuning } = &self.rules;
        let permits = Permits::of(limits.concurrency, &tuning.budget);
        let render = self.flights.recent_renders.expected().as_secs_f64();
        let rate = limits
            .rate
            .min(f64::from(permits.outdated) / render.max(1e-9));
        Around {
            now,
            fetches: self.fetches.come_first(),
            turn: Duration::try_from_secs_f64(1.0 / rate).ok(),
            queue: self.queue(),
        }
    }

    fn queue(&self) -> usize {
        self.rules.limits.queue.get() as usize
    }

    /// Puts a project where it now belongs, after what concerned every project.
    fn touch(&mut self, project: &Project, now: Moment) {
        let Some(mut entry) = self.register.take(project) else {
            return;
        };
        if entry.is_satisfied() && entry.flight().is_none() {
            self.resolve(project, &mut entry, Outcome::Landed);
        }
        self.register.put(project, entry, self.around(now));
    }

    fn resolve(&mut self, project: &Project, entry: &mut Entry, outcome: Outcome) {
        if entry.waiters.clear() {
            let project = project.clone();
            self.actions.push(Action::Resolve { project, outcome });
        }
    }

    fn hear_of_dropped(&mut self) {
        let dropped = self.register.take_dropped();
        for project in &dropped.projects {
            self.throttle.fault.forget(project);
        }
        let returned = dropped.leases.into_iter();
        self.actions
            .extend(returned.map(|lease| Action::Return { lease }));
    }

    /// Sends some away, in turn, of those who wait for what will not come in time.
    fn review_some(&mut self, now: Moment) {
        let most = self.rules.tuning.turns.reviewed;
        let projects = self.register.queues.next_to_review(most);
        self.review(projects, now);
    }

    fn review(&mut self, projects: impl IntoIterator<Item = Project>, now: Moment) {
        let mut are_sent_away = false;
        for project in projects {
            let entry = self.register.get(&project);
            let Some(until) = entry.and_then(|entry| entry.waiters.latest()) else {
                continue;
            };
            if self.is_worth_waiting(&project, until, now) {
                continue;
            }
            let refused = self.refuse(&project, Found::Flight, Room::Some, now);
            if let Some(mut entry) = self.register.take(&project) {
                self.resolve(&project, &mut entry, Outcome::Refused(refused.refusal));
                self.register.put(&project, entry, self.around(now));
                are_sent_away = true;
            }
        }
        if are_sent_away {
            // They stand elsewhere now, or what was granted to them may go to others.
            self.dispatch(now);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
