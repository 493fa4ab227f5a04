//! A machine and the world around it, in which random steps are taken, with the invariants that
//! hold after each of them.

use std::collections::{HashMap, HashSet};

use super::{
    reserving::BadReserver,
    weather::{Reached, Stretch},
    *,
};
use crate::admission::reserve::Remote;

mod invariants;

#[derive(Clone, Debug)]
pub(super) enum WorldStep {
    Want {
        project: usize,
        patience: Option<Duration>,
        demand: bool,
    },
    Leave(usize),
    Land(usize, Brought),
    Wait(Duration),
    Limits {
        rate: f64,
        burst: u32,
        concurrency: u32,
        queue: u32,
        fetch_rate: f64,
    },
    Raise,
    Lower,
    /// Time passes, and nothing is done.
    Stall(Duration),
    Change(usize),
    Evict(usize),
    /// What is held becomes too old.
    Age(usize),
    Dial,
    Link(Option<Duration>),
    /// Changes may have been missed.
    Resync,
    /// A confirming fetch comes back.
    Confirm(usize, Brought),
    /// The connection takes this many calls at once.
    Room(Option<NonZeroU32>),
    Weather(Stretch),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Brought {
    WhatWasAsked,
    LessThanAsked,
    Nothing,
    Gone,
    Failure(CallFailure),
    Unreachable,
    Unimplemented,
}

pub(super) const PROJECTS: usize = 12;

/// The world around a machine: what is held, flies and waits, and what was launched when.
pub(super) struct CheckedWorld {
    pub(super) admission: Admission,
    pub(super) now: Moment,
    pub(super) target: u64,
    pub(super) changes: HashMap<Project, u64>,
    pub(super) held: HashMap<Project, HeldMark>,
    /// Since when what is held has to be validated.
    pub(super) aged: HashMap<Project, Moment>,
    pub(super) flights: Vec<(Project, bool, u64)>,
    /// Projects whose confirming fetch is in flight, and what is held that may lack a change.
    pub(super) confirms: Vec<Project>,
    pub(super) doubted: HashSet<Project>,
    pub(super) waiters: Vec<(Project, Moment)>,
    pub(super) launches: Vec<Moment>,
    /// The limits that were in force from each moment on.
    pub(super) history: Vec<(Moment, Limits)>,
    /// Until when the renderer asked to be left alone, altogether and of single projects.
    pub(super) hold: Moment,
    pub(super) holds: HashMap<Project, Moment>,
    /// First attempts that succeeded, and retries.
    pub(super) succeeded: u32,
    pub(super) retries: u32,
    /// What was refused, and is to be launched again as the same attempt.
    pub(super) refused: HashSet<Project>,
    /// Tokens given to missing projects since one went to an outdated one.
    pub(super) missing_turns: u32,
    pub(super) is_draining: bool,
    /// Which states were reached.
    pub(super) reached: Reached,
    /// Outdated projects that were launched in a row while one waited for longer.
    pub(super) passed_over: usize,
    /// Held projects that changed while they were wanted, and when each was last looked up.
    pub(super) changed: HashMap<Project, u64>,
    pub(super) looked_up: HashMap<Project, Moment>,
    /// Somebody else who is asked whether renders may start.
    pub(super) reserver: Option<BadReserver>,
    /// How many calls the connection takes at once.
    pub(super) room: Option<NonZeroU32>,
}

impl CheckedWorld {
    pub(super) fn new(seed: u64) -> Self {
        let now = Moment::START;
        let (rate, burst) = [(5.0, 3), (5.0, 1), (0.5, 1), (2.0, 2)][(seed % 4) as usize];
        let limits = limits(rate, burst, 3, 4);
        let mut admission = Admission::new(limits, 1, seed, now);
        admission.set_link(Link::Up, now);
        Self {
            admission,
            now,
            target: 1,
            changes: HashMap::new(),
            held: HashMap::new(),
            aged: HashMap::new(),
            flights: Vec::new(),
            confirms: Vec::new(),
            doubted: HashSet::new(),
            waiters: Vec::new(),
            launches: Vec::new(),
            history: vec![(now, limits)],
            hold: now,
            holds: HashMap::new(),
            succeeded: 0,
            retries: 0,
            refused: HashSet::new(),
            missing_turns: 0,
            is_draining: false,
            reached: Reached::default(),
            passed_over: 0,
            changed: HashMap::new(),
            looked_up: HashMap::new(),
            reserver: None,
            room: None,
        }
    }

    /// The number of the last change.
    pub(super) fn number(&self, project: &Project) -> u64 {
        self.changes.get(project).copied().unwrap_or_default()
    }

    pub(super) fn wanted(&self, project: &Project) -> Want {
        Want {
            rollout: self.target,
            number: self.number(project),
            validated_since: self.aged.get(project).copied().unwrap_or_default(),
        }
    }

    pub(super) fn take(&mut self, step: &WorldStep) {
        match *step {
            WorldStep::Want {
                project,
                patience,
                demand,
            } => self.want(&name(project), patience, demand),
            WorldStep::Leave(waiter) if !self.waiters.is_empty() => {
                let (project, until) = self.waiters.remove(waiter % self.waiters.len());
                self.admission.left(&project, until, self.now);
            }
            WorldStep::Land(flight, brought) if !self.flights.is_empty() => {
                let flight = self.flights.remove(flight % self.flights.len());
                self.land(flight, brought);
            }
            WorldStep::Confirm(flight, brought) if !self.confirms.is_empty() => {
                let project = self.confirms.remove(flight % self.confirms.len());
                self.land_confirm(&project, brought);
            }
            WorldStep::Leave(_) | WorldStep::Land(..) | WorldStep::Confirm(..) => {}
            WorldStep::Resync => {
                self.doubted = self.held.keys().cloned().collect();
                self.admission.resync(self.now);
            }
            WorldStep::Wait(duration) => self.wait(self.now + duration),
            WorldStep::Limits {
                rate,
                burst,
                concurrency,
                queue,
                fetch_rate,
            } => {
                let mut limits = limits(rate, burst, concurrency, queue);
                limits.fetch.rate = fetch_rate;
                self.history.push((self.now, limits));
                self.admission.set_limits(limits, self.now);
            }
            WorldStep::Raise => {
                self.target += 1;
                self.admission.set_target(self.target, self.now);
            }
            WorldStep::Lower => self.lower(),
            WorldStep::Stall(duration) => {
                self.now = self.now + duration;
                self.wait(self.now);
            }
            WorldStep::Change(project) => self.change(&name(project)),
            WorldStep::Evict(project) => self.evict(&name(project)),
            WorldStep::Age(project) => drop(self.aged.insert(name(project), self.now)),
            WorldStep::Dial => self.admission.set_link(Link::Dialling, self.now),
            WorldStep::Link(None) => self.admission.set_link(Link::Up, self.now),
            WorldStep::Link(Some(down)) => {
                let retry_at = self.now + down;
                self.admission.set_link(Link::Down { retry_at }, self.now);
            }
            WorldStep::Room(room) => {
                self.room = room;
                self.admission.set_room(room, self.now);
            }
            WorldStep::Weather(stretch) => self.pass(stretch),
        }
        self.act();
        self.check();
    }

    pub(super) fn change(&mut self, project: &Project) {
        let number = self.number(project) + 1;
        self.changes.insert(project.clone(), number);
        if self.held.contains_key(project) && self.admission.is_wanted(project) {
            self.changed.insert(project.clone(), number);
        }
        self.admission.changed(project, number, self.now);
    }

    pub(super) fn evict(&mut self, project: &Project) {
        self.changed.remove(project);
        let was_held = self.held.remove(project).is_some();
        self.reached.evicted += u64::from(was_held && self.admission.is_wanted(project));
    }

    pub(super) fn lower(&mut self) {
        self.changed.clear();
        self.target = (self.target - 1).max(1);
        self.admission.set_target(self.target, self.now);
    }

    pub(super) fn want(&mut self, project: &Project, patience: Option<Duration>, demand: bool) {
        let held = self.held.get(project).copied();
        let want = self.wanted(project);
        let demand = demand.then(|| Order::new(want.rollout, want.number + 1));
        let is_met = |held: HeldMark| demand.is_none_or(|demand| held.order >= demand);
        if want.is_met_by(held) && held.is_some_and(is_met) {
            if self.doubted.contains(project) {
                self.admission.unconfirmed(project, self.now);
            }
            return;
        }
        self.looked_up.insert(project.clone(), self.now);
        let until = patience.map(|patience| self.now + patience);
        let wish = Wish {
            held,
            want,
            demand,
            until,
        };
        match self.admission.want(project, wish, self.now) {
            WishVerdict::Wait => self
                .waiters
                .push((project.clone(), until.expect("only those wait who would"))),
            WishVerdict::Refused(refused) => {
                if self.is_draining {
                    assert!(
                        matches!(refused.gate, None | Some(Gate::Draining)),
                        "{refused:?}"
                    );
                }
                let Some(explained) = self.admission.explain(project, self.now) else {
                    // A demand that was not met cools down by itself, and all else is fresh.
                    if demand.is_some() && refused.refusal.reason == NotRefreshed::RendererBehind {
                        return;
                    }
                    let demoted = self.admission.register.counts.demoted;
                    assert!(
                        held.is_none() && demoted >= self.admission.limits().queue.get() as usize
                    );
                    assert!(rank(refused.gate) <= rank(Some(Gate::Queue)), "{refused:?}");
                    return;
                };
                if !matches!(refused.gate, None | Some(Gate::Queue)) {
                    assert_eq!(explained.refusal.reason, refused.refusal.reason);
                    assert_eq!(explained.gate, refused.gate);
                }
            }
        }
    }

    pub(super) fn land(
        &mut self,
        (project, is_fetch, rollout): (Project, bool, u64),
        brought: Brought,
    ) {
        let number = self.number(&project) + 1;
        let held = match brought {
            Brought::WhatWasAsked => Some(Order::new(rollout, number)),
            Brought::LessThanAsked if rollout > 1 => Some(Order::new(rollout - 1, 1)),
            Brought::LessThanAsked
            | Brought::Nothing
            | Brought::Gone
            | Brought::Failure(_)
            | Brought::Unreachable
            | Brought::Unimplemented => None,
        };
        let held = held.map(|order| {
            let order = self
                .held
                .get(&project)
                .map_or(order, |held| held.order.max(order));
            let validated_at = self.now;
            HeldMark {
                order,
                validated_at,
            }
        });
        if let Some(held) = held {
            self.held.insert(project.clone(), held);
            self.holds.remove(&project);
            let flight = self.admission.register.entries[&project].flight();
            self.succeeded += u32::from(flight.is_some_and(|flight| flight.attempt == 1));
        }
        if is_fetch {
            let landing = match (held, brought) {
                (Some(held), _) => FetchLanding::Held(held),
                (None, Brought::Unimplemented) => FetchLanding::Unimplemented,
                (None, Brought::Unreachable) => FetchLanding::Unreachable,
                (None, Brought::Failure(failure)) => {
                    self.note_global_pushback(failure);
                    FetchLanding::Failed(failure)
                }
                (None, _) => FetchLanding::Nothing,
            };
            return self.admission.fetched(&project, landing, self.now);
        }
        let landing = match (held, brought) {
            (Some(held), _) => Landing::Held(held),
            (None, Brought::Nothing | Brought::Gone) if self.held.contains_key(&project) => {
                Landing::Gone
            }
            (None, Brought::Nothing | Brought::Gone) => Landing::NotFound,
            (None, Brought::Unreachable) => Landing::Unreachable,
            (None, Brought::Failure(failure)) => {
                self.note_pushback(&project, failure);
                if failure == CallFailure::Refused {
                    self.refused.insert(project.clone());
                }
                Landing::Failed(failure)
            }
            (None, _) => Landing::Rejected,
        };
        self.admission.landed(&project, landing, self.now);
    }

    /// A renderer says of what is held whether it is right.
    pub(super) fn land_confirm(&mut self, project: &Project, brought: Brought) {
        let now = self.now;
        let landing = match (brought, self.held.get_mut(project)) {
            (Brought::WhatWasAsked | Brought::LessThanAsked, Some(held)) => {
                held.validated_at = now;
                FetchLanding::Held(*held)
            }
            (
                Brought::WhatWasAsked | Brought::LessThanAsked | Brought::Nothing | Brought::Gone,
                _,
            ) => FetchLanding::Nothing,
            (Brought::Failure(failure), _) => FetchLanding::Failed(failure),
            (Brought::Unreachable, _) => FetchLanding::Unreachable,
            (Brought::Unimplemented, _) => FetchLanding::Unimplemented,
        };
        if let FetchLanding::Held(_) | FetchLanding::Nothing = landing {
            self.doubted.remove(project);
            self.reached.confirmed += 1;
        }
        self.admission.confirmed(project, landing, now);
    }

    pub(super) fn note_pushback(&mut self, project: &Project, failure: CallFailure) {
        if let CallFailure::Exhausted(Pushback {
            after: Some(after), ..
        }) = failure
        {
            self.holds.insert(project.clone(), self.now + after);
        }
        self.note_global_pushback(failure);
    }

    /// Of fetches, only a pushback that says that it stands for everything holds renders.
    pub(super) fn note_global_pushback(&mut self, failure: CallFailure) {
        if let CallFailure::Exhausted(Pushback {
            after: Some(after),
            scope: PushbackScope::Global,
        }) = failure
        {
            self.hold = self.hold.max(self.now + after);
        }
    }

    /// Lets time pass, doing what is due when it is.
    pub(super) fn wait(&mut self, until: Moment) {
        loop {
            let leaves = self.waiters.iter().map(|&(_, at)| at).min();
            let answered = self.reserver.as_ref().and_then(BadReserver::next);
            let next = [leaves, answered, self.admission.next_wake()]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|&next| next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            while let Some(place) = self.waiters.iter().position(|&(_, at)| at <= self.now) {
                let (project, until) = self.waiters.swap_remove(place);
                self.admission.left(&project, until, self.now);
                self.act();
            }
            self.admission.tick(self.now);
            self.act();
            self.check();
        }
    }

    pub(super) fn act(&mut self) {
        loop {
            self.act_once();
            let register = &self.admission.register;
            let reserver = self.reserver.as_mut();
            if let Some((ask, answers)) = reserver.and_then(|asked| asked.arrived(self.now)) {
                self.admission.reserved(ask, answers, self.now);
            } else if register.is_sweeping() || register.queues.is_reviewing() {
                self.admission.tick(self.now);
            } else {
                return;
            }
        }
    }

    /// Has somebody else asked whether renders may start.
    pub(super) fn asking(mut self, seed: u64) -> Self {
        let limits = *self.admission.limits();
        self.admission = Admission::new(limits, 1, seed, self.now).with_reserve(Box::new(Remote));
        self.admission.set_link(Link::Up, self.now);
        self.reserver = Some(BadReserver::new(seed));
        self
    }

    pub(super) fn act_once(&mut self) {
        self.note_states();
        for action in self.admission.take_actions() {
            match action {
                Action::Resolve { project, outcome } => {
                    self.waiters.retain(|(waited, _)| *waited != project);
                    self.check_outcome(&project, outcome);
                }
                Action::Fetch { project, .. } => self.launch(&project, true, self.target),
                Action::Confirm { project, .. } => self.launch_confirm(project),
                Action::Redial { .. } => {}
                Action::Reserve {
                    ask, candidates, ..
                } => {
                    let reserver = self.reserver.as_mut().expect("a reserver is set");
                    reserver.ask(ask, &candidates, self.now);
                }
                Action::Return { lease } => {
                    let reserver = self.reserver.as_mut().expect("a lease is of a reserver");
                    reserver.returned(lease);
                }
                Action::Render {
                    project,
                    rollout,
                    class,
                    ..
                } => {
                    self.launches.push(self.now);
                    self.check_first_token();
                    self.check_probe(&project);
                    if self.reserver.is_none() {
                        self.check_longest_wanted(&project, class);
                        self.check_turn(&project, class);
                    }
                    self.launch(&project, false, rollout);
                    self.check_budget();
                    self.check_retries(&project);
                    let hold = self.holds.get(&project).copied().unwrap_or_default();
                    assert!(hold.max(self.hold) <= self.now, "a pushback is obeyed");
                }
            }
        }
    }

    pub(super) fn launch(&mut self, project: &Project, is_fetch: bool, rollout: u64) {
        assert!(
            !self.flights.iter().any(|(flying, ..)| flying == project),
            "one live flight per project"
        );
        assert!(
            self.is_unsatisfied(project),
            "no token for what was satisfied"
        );
        self.flights.push((project.clone(), is_fetch, rollout));
        self.check_launch();
    }

    pub(super) fn launch_confirm(&mut self, project: Project) {
        assert!(
            !self.confirms.contains(&project),
            "one confirming fetch per project"
        );
        self.confirms.push(project);
        self.check_launch();
    }

    /// Whatever lands while draining, every permit comes home and nothing is launched.
    pub(super) fn drains(&mut self) {
        self.is_draining = true;
        self.admission.drain(self.now);
        self.act();
        for project in 0..PROJECTS {
            self.want(&name(project), Some(Duration::from_secs(4)), false);
            self.act();
        }
        while let Some(flight) = self.flights.pop() {
            self.land(flight, Brought::Failure(CallFailure::Unavailable));
            self.act();
        }
        while let Some(project) = self.confirms.pop() {
            self.land_confirm(&project, Brought::Nothing);
            self.act();
        }
        self.wait(self.now + Duration::from_secs(60));
        assert_eq!(self.admission.in_flight(), 0);
        assert_eq!(self.admission.flights.fetches, 0);
        assert!(self.waiters.is_empty());
    }

    /// Everything that is wanted becomes fresh, and every permit comes home.
    pub(super) fn converges(&mut self) {
        self.take(&WorldStep::Limits {
            rate: 20.0,
            burst: 3,
            concurrency: 4,
            queue: 8,
            fetch_rate: 10.0,
        });
        self.take(&WorldStep::Link(None));
        self.take(&WorldStep::Room(count(1).into()));
        let began = self.now;
        for _ in 0..5_000 {
            self.lands_all();
            match self.admission.next_wake() {
                Some(next) => self.wait(next),
                None => break,
            }
        }
        assert_eq!(self.admission.in_flight(), 0);
        assert_eq!(self.admission.flights.fetches, 0);
        assert!(
            self.admission
                .register
                .entries
                .values()
                .all(|entry| !entry.seat.place.is_wanted())
        );
        assert!(self.waiters.is_empty());
        self.check_changes(began);
        assert_eq!(
            self.admission.register.entries.len(),
            0,
            "nothing is remembered for ever"
        );
    }

    /// Answers every call in flight, and those that start meanwhile.
    fn lands_all(&mut self) {
        loop {
            if let Some(flight) = self.flights.pop() {
                self.land(flight, Brought::WhatWasAsked);
            } else if let Some(project) = self.confirms.pop() {
                self.land_confirm(&project, Brought::Nothing);
            } else {
                return;
            }
            self.act();
        }
    }
}
