//! Random sequences of everything that can happen, after each step of which the invariants of
//! admission hold.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    time::Duration,
};

use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestRunner},
};

use super::{
    gates::Candidate,
    register::{Entry, Kind, Place, Stage},
    *,
};
use crate::{reason::NotRefreshed, revision::Order};

const TUNING: Tuning = Tuning::DEFAULT;

mod architecture;
mod binding;
mod confirming;
mod faults;
mod gates;
mod refusals;
mod reserving;
mod sizes;
mod turns;
mod weather;

use self::{
    reserving::Reserver,
    weather::{Reached, Stretch},
};

#[derive(Clone, Debug)]
enum Step {
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
enum Brought {
    WhatWasAsked,
    LessThanAsked,
    Nothing,
    Gone,
    Failure(CallFailure),
    Unreachable,
    Unimplemented,
}

const PROJECTS: usize = 12;

fn failures() -> impl Strategy<Value = CallFailure> {
    let after = prop::option::of((1_u64..20_000).prop_map(Duration::from_millis));
    let pushback = (after, prop::bool::weighted(0.2))
        .prop_map(|(after, is_global)| Pushback { after, is_global });
    prop_oneof![
        3 => Just(CallFailure::Unavailable),
        1 => Just(CallFailure::Aborted),
        2 => Just(CallFailure::DeadlineExceeded),
        3 => pushback.prop_map(CallFailure::Exhausted),
        1 => Just(CallFailure::Refused),
        1 => Just(CallFailure::Unauthenticated),
        1 => Just(CallFailure::Other),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let project = 0..PROJECTS;
    let brought = prop_oneof![
        6 => Just(Brought::WhatWasAsked),
        2 => Just(Brought::LessThanAsked),
        1 => Just(Brought::Nothing),
        1 => Just(Brought::Gone),
        6 => failures().prop_map(Brought::Failure),
        1 => Just(Brought::Unreachable),
        1 => Just(Brought::Unimplemented),
    ];
    let weather = weather::stretches();
    let patience = prop::option::of((1_u64..4_000).prop_map(Duration::from_millis));
    let step = prop_oneof![
        12 => (project.clone(), patience, prop::bool::weighted(0.1))
            .prop_map(|(project, patience, demand)| Step::Want { project, patience, demand }),
        2 => any::<usize>().prop_map(Step::Leave),
        8 => (any::<usize>(), brought.clone()).prop_map(|(flight, brought)| Step::Land(flight, brought)),
        2 => (any::<usize>(), brought).prop_map(|(flight, brought)| Step::Confirm(flight, brought)),
        8 => (1_u64..3_000).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        1 => (
            prop::sample::select(vec![0.0, 0.3, 2.0, 20.0]),
            1_u32..6,
            1_u32..6,
            1_u32..8,
            prop::sample::select(vec![0.0, 10.0]),
        )
            .prop_map(|(rate, burst, concurrency, queue, fetch_rate)| Step::Limits {
                rate,
                burst,
                concurrency,
                queue,
                fetch_rate,
            }),
        1 => Just(Step::Raise),
        1 => Just(Step::Lower),
        1 => (1_u64..120_000).prop_map(|millis| Step::Stall(Duration::from_millis(millis))),
        1 => project.clone().prop_map(Step::Change),
        1 => project.clone().prop_map(Step::Evict),
        1 => project.prop_map(Step::Age),
        1 => Just(Step::Resync),
        1 => Just(Step::Dial),
        1 => prop::option::of((1_u64..5_000).prop_map(Duration::from_millis)).prop_map(Step::Link),
        1 => prop::option::of((1_u32..4).prop_map(count)).prop_map(Step::Room),
        2 => weather.prop_map(Step::Weather),
    ];
    prop::collection::vec(step, 1..150)
}

/// The rights to render and to fetch a project once, as a machine gives them.
pub(crate) fn permit() -> Permit {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut machine = machine_that_misses(0..1, limits(100.0, 10, 4, 10), now);
    match machine.take_actions().pop() {
        Some(Action::Render { permit, .. }) => permit,
        other => panic!("no render, but {other:?}"),
    }
}

pub(crate) fn fetch_permit() -> FetchPermit {
    let mut machine = Admission::new(limits(100.0, 10, 4, 10), 1, 1, Moment::START);
    machine.set_link(Link::Up, Moment::START);
    let wish = wish(None, 1, Some(Duration::from_secs(100)), Moment::START);
    machine.want(&name(0), wish, Moment::START);
    match machine.take_actions().pop() {
        Some(Action::Fetch { permit, .. }) => permit,
        other => panic!("no fetch, but {other:?}"),
    }
}

/// How late a gate is asked.
fn rank(gate: Option<Gate>) -> Option<usize> {
    let gate = gate?;
    Gate::ALL.iter().position(|other| *other == gate)
}

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn limits(rate: f64, burst: u32, concurrency: u32, queue: u32) -> Limits {
    Limits {
        rate,
        burst: count(burst),
        concurrency: count(concurrency),
        queue: count(queue),
        fetch: FetchLimits {
            rate: 10.0,
            concurrency: count(2),
        },
    }
}

fn name(project: usize) -> Project {
    Project::new(&format!("demo/{project}")).unwrap()
}

/// The world around a machine: what is held, flies and waits, and what was launched when.
struct World {
    admission: Admission,
    now: Moment,
    target: u64,
    changes: HashMap<Project, u64>,
    held: HashMap<Project, HeldMark>,
    /// Since when what is held has to be validated.
    aged: HashMap<Project, Moment>,
    flights: Vec<(Project, bool, u64)>,
    /// Projects whose confirming fetch is in flight, and what is held that may lack a change.
    confirms: Vec<Project>,
    doubted: HashSet<Project>,
    waiters: Vec<(Project, Moment)>,
    launches: Vec<Moment>,
    /// The limits that were in force from each moment on.
    history: Vec<(Moment, Limits)>,
    /// Until when the renderer asked to be left alone, altogether and of single projects.
    hold: Moment,
    holds: HashMap<Project, Moment>,
    /// First attempts that succeeded, and retries.
    succeeded: u32,
    retries: u32,
    /// What was refused, and is to be launched again as the same attempt.
    refused: HashSet<Project>,
    /// Tokens given to missing projects since one went to an outdated one.
    missing_turns: u32,
    is_draining: bool,
    /// Which states were reached.
    reached: Reached,
    /// Outdated projects that were launched in a row while one waited for longer.
    passed_over: usize,
    /// Held projects that changed while they were wanted, and when each was last looked up.
    changed: HashMap<Project, u64>,
    looked_up: HashMap<Project, Moment>,
    /// Somebody else who is asked whether renders may start.
    reserver: Option<Reserver>,
    /// How many calls the connection takes at once.
    room: Option<NonZeroU32>,
}

impl World {
    fn new(seed: u64) -> Self {
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
    fn number(&self, project: &Project) -> u64 {
        self.changes.get(project).copied().unwrap_or_default()
    }

    fn wanted(&self, project: &Project) -> Want {
        Want {
            rollout: self.target,
            number: self.number(project),
            validated_since: self.aged.get(project).copied().unwrap_or_default(),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Want {
                project,
                patience,
                demand,
            } => self.want(&name(project), patience, demand),
            Step::Leave(waiter) if !self.waiters.is_empty() => {
                let (project, until) = self.waiters.remove(waiter % self.waiters.len());
                self.admission.left(&project, until, self.now);
            }
            Step::Land(flight, brought) if !self.flights.is_empty() => {
                let flight = self.flights.remove(flight % self.flights.len());
                self.land(flight, brought);
            }
            Step::Confirm(flight, brought) if !self.confirms.is_empty() => {
                let project = self.confirms.remove(flight % self.confirms.len());
                self.land_confirm(&project, brought);
            }
            Step::Leave(_) | Step::Land(..) | Step::Confirm(..) => {}
            Step::Resync => {
                self.doubted = self.held.keys().cloned().collect();
                self.admission.resync(self.now);
            }
            Step::Wait(duration) => self.wait(self.now + duration),
            Step::Limits {
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
            Step::Raise => {
                self.target += 1;
                self.admission.set_target(self.target, self.now);
            }
            Step::Lower => self.lower(),
            Step::Stall(duration) => {
                self.now = self.now + duration;
                self.wait(self.now);
            }
            Step::Change(project) => self.change(&name(project)),
            Step::Evict(project) => self.evict(&name(project)),
            Step::Age(project) => drop(self.aged.insert(name(project), self.now)),
            Step::Dial => self.admission.set_link(Link::Dialling, self.now),
            Step::Link(None) => self.admission.set_link(Link::Up, self.now),
            Step::Link(Some(down)) => {
                let retry_at = self.now + down;
                self.admission.set_link(Link::Down { retry_at }, self.now);
            }
            Step::Room(room) => {
                self.room = room;
                self.admission.set_room(room, self.now);
            }
            Step::Weather(stretch) => self.pass(stretch),
        }
        self.act();
        self.check();
    }

    fn change(&mut self, project: &Project) {
        let number = self.number(project) + 1;
        self.changes.insert(project.clone(), number);
        if self.held.contains_key(project) && self.admission.is_wanted(project) {
            self.changed.insert(project.clone(), number);
        }
        self.admission.changed(project, number, self.now);
    }

    fn evict(&mut self, project: &Project) {
        self.changed.remove(project);
        let was_held = self.held.remove(project).is_some();
        self.reached.evicted += u64::from(was_held && self.admission.is_wanted(project));
    }

    fn lower(&mut self) {
        self.changed.clear();
        self.target = (self.target - 1).max(1);
        self.admission.set_target(self.target, self.now);
    }

    fn want(&mut self, project: &Project, patience: Option<Duration>, demand: bool) {
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
            Verdict::Wait => self
                .waiters
                .push((project.clone(), until.expect("only those wait who would"))),
            Verdict::Refused(refused) => {
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

    fn land(&mut self, (project, is_fetch, rollout): (Project, bool, u64), brought: Brought) {
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
    fn land_confirm(&mut self, project: &Project, brought: Brought) {
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

    fn note_pushback(&mut self, project: &Project, failure: CallFailure) {
        if let CallFailure::Exhausted(Pushback {
            after: Some(after), ..
        }) = failure
        {
            self.holds.insert(project.clone(), self.now + after);
        }
        self.note_global_pushback(failure);
    }

    /// Of fetches, only a pushback that says that it stands for everything holds renders.
    fn note_global_pushback(&mut self, failure: CallFailure) {
        if let CallFailure::Exhausted(Pushback {
            after: Some(after),
            is_global: true,
        }) = failure
        {
            self.hold = self.hold.max(self.now + after);
        }
    }

    /// Lets time pass, doing what is due when it is.
    fn wait(&mut self, until: Moment) {
        loop {
            let leaves = self.waiters.iter().map(|&(_, at)| at).min();
            let answered = self.reserver.as_ref().and_then(Reserver::next);
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
            }
            self.admission.tick(self.now);
            self.act();
            self.check();
        }
    }

    fn act(&mut self) {
        loop {
            self.act_once();
            let reserver = self.reserver.as_mut();
            let Some((ask, answers)) = reserver.and_then(|asked| asked.arrived(self.now)) else {
                return;
            };
            self.admission.reserved(ask, answers, self.now);
        }
    }

    /// Has somebody else asked whether renders may start.
    fn asking(mut self, seed: u64) -> Self {
        let limits = *self.admission.limits();
        self.admission = Admission::new(limits, 1, seed, self.now).with_reserve(Box::new(Remote));
        self.admission.set_link(Link::Up, self.now);
        self.reserver = Some(Reserver::new(seed));
        self
    }

    fn act_once(&mut self) {
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
                    let reserver = self.reserver.as_mut().expect("it asks nobody");
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

    /// Those who waited are told what `explain` says, but for a failure and an unmet demand, which
    /// are news, and but for permits, tokens and the back-off of a fetch, of which the project has
    /// others once no lookup waits for it.
    fn check_outcome(&self, project: &Project, outcome: Outcome) {
        let Outcome::Refused(refusal) = outcome else {
            return;
        };
        let explained = self.admission.explain(project, self.now);
        let Some(explained) = explained.filter(|explained| !explained.is_in_flight) else {
            return;
        };
        // It may have been asked for since, or have its turn now that another was sent away.
        let is_asked = self.reserver.is_some()
            && (explained.refusal.reason == NotRefreshed::Throttled
                || refusal.reason == NotRefreshed::Scheduled);
        let is_of_class = matches!(
            refusal.reason,
            NotRefreshed::Throttled
                | NotRefreshed::ConcurrencyLimited
                | NotRefreshed::CoolingDown
                | NotRefreshed::Scheduled
        ) && (is_asked || rank(explained.gate) >= rank(Some(Gate::Queue)));
        assert!(
            explained.refusal.reason == refusal.reason
                || refusal.reason == NotRefreshed::RenderFailed
                || refusal.reason == NotRefreshed::RendererBehind
                || rank(explained.gate) < rank(Some(Gate::Project))
                || refusal.retry_after <= TUNING.guess.least_retry_after
                || is_of_class,
            "told {refusal:?}, and it is {explained:?}"
        );
    }

    fn launch(&mut self, project: &Project, is_fetch: bool, rollout: u64) {
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

    fn launch_confirm(&mut self, project: Project) {
        assert!(
            !self.confirms.contains(&project),
            "one confirming fetch per project"
        );
        self.confirms.push(project);
        self.check_launch();
    }

    fn check_launch(&self) {
        assert!(!self.is_draining, "nothing is launched while draining");
        assert_eq!(
            self.admission.way.link,
            Link::Up,
            "nothing is launched without a connection"
        );
        let calls = self.flights.len() + self.confirms.len();
        let is_within = |room: NonZeroU32| calls <= room.get() as usize;
        assert!(
            self.room.is_none_or(is_within),
            "more than the connection takes"
        );
    }

    /// Retries are a tenth of the first attempts that succeeded, and one in 5 min.
    fn check_retries(&mut self, project: &Project) {
        let flight = self.admission.register.entries[project].flight();
        let goes_on = self.refused.remove(project);
        let is_retry = flight.is_some_and(|flight| flight.attempt > 1) && !goes_on;
        self.retries += u32::from(is_retry);
        self.reached.retried += u64::from(is_retry);
        let floor = self.now.since_start().as_secs() / 300 + 1;
        let allowed = 0.1 * f64::from(self.succeeded) + floor as f64;
        assert!(
            f64::from(self.retries) <= allowed + 1e-6,
            "{} retries",
            self.retries
        );
    }

    /// No lower class goes first beyond its share: of ten tokens, nine go to missing projects that
    /// could go, and are no bad probes.
    fn check_turn(&mut self, project: &Project, class: Class) {
        if class == Class::Missing {
            self.missing_turns += 1;
            return;
        }
        let entries = &self.admission.register.entries;
        let is_probe = entries[project]
            .flight()
            .is_some_and(|flight| flight.probes.breaker || flight.probes.hold);
        let could_go = self.missing_with_permits().any(|missing| {
            let entry = &entries[missing];
            !(is_probe && entry.is_suspect())
        });
        assert!(
            !could_go || self.missing_turns >= 9,
            "an outdated project overtakes"
        );
        self.missing_turns = 0;
    }

    /// Missing projects for which there is a permit, and no flood of names.
    fn missing_with_permits(&self) -> impl Iterator<Item = &Project> {
        let (machine, now) = (&self.admission, self.now);
        let rate = machine.budget.rate();
        let is_flooded = machine.budget.flood.holds_until(rate, now).is_some();
        let has_permit = move |is_cooling| {
            let candidate = Candidate {
                is_cooling,
                ..Candidate::next(Stage::Reserve, Class::Missing)
            };
            let shut = machine.ask(Gate::Concurrency, &candidate, now);
            shut.is_none() && !is_flooded
        };
        let missing = machine.register.queues.missing.iter();
        missing.filter(move |project| {
            has_permit(machine.register.entries[*project].cool_down.is_cooling())
        })
    }

    fn is_unsatisfied(&self, project: &Project) -> bool {
        let entry = &self.admission.register.entries[project];
        let is_unmet = |held: HeldMark| {
            entry
                .demands
                .highest
                .is_some_and(|demand| held.order < demand)
        };
        !self.wanted(project).is_met_by(entry.held) || entry.held.is_some_and(is_unmet)
    }

    /// P2: over every window that ends now, launches ≤ the largest burst in force in it + the
    /// integral of the rate.
    fn check_budget(&self) {
        for (first, &from) in self.launches.iter().enumerate() {
            let launched = (self.launches.len() - first) as f64;
            let mut allowed = 0.0;
            let mut largest = 0;
            for (index, &(since, limits)) in self.history.iter().enumerate() {
                let ends = self.history.get(index + 1).map_or(self.now, |&(at, _)| at);
                if ends < from {
                    continue;
                }
                allowed += limits.rate * ends.since(since.max(from)).as_secs_f64();
                largest = largest.max(limits.burst.get());
            }
            allowed += f64::from(largest);
            assert!(
                launched <= allowed + 1e-6,
                "{launched} launched since {from:?}, {allowed} allowed"
            );
        }
        let in_flight = self
            .flights
            .iter()
            .filter(|(_, is_fetch, _)| !is_fetch)
            .count();
        let limit = self.admission.limits().concurrency.get() as usize;
        assert!(in_flight <= limit, "{in_flight} in flight, at most {limit}");
    }

    fn check(&self) {
        let machine = &self.admission;
        assert!(
            machine.next_wake().is_none_or(|at| at > self.now),
            "a wake is due at {:?}: timer {:?}, look {:?}, asks {:?}",
            self.now,
            machine.register.next_timer(),
            machine.next_look,
            machine.reserve.next_overdue(),
        );
        self.check_counts();
        self.check_valves();
        self.check_priority();
        self.check_reasons();
    }

    fn check_counts(&self) {
        let machine = &self.admission;
        let renders = self
            .flights
            .iter()
            .filter(|(_, is_fetch, _)| !is_fetch)
            .count();
        assert_eq!(machine.in_flight(), renders);
        let launched = |(_, project): &(Moment, Project)| {
            machine.register.entries[project]
                .flight()
                .map(|flight| flight.since)
        };
        assert_eq!(machine.flights.launched.len(), renders);
        for flying in &machine.flights.launched {
            assert_eq!(launched(flying), Some(flying.0));
        }
        assert_eq!(
            machine.flights.fetches as usize,
            self.flights.len() - renders + self.confirms.len()
        );
        let mut counts = register::Counts {
            pending: machine.register.counts.pending,
            ..Default::default()
        };
        for (project, entry) in &machine.register.entries {
            let waiting = self
                .waiters
                .iter()
                .filter(|(waited, _)| waited == project)
                .count();
            assert_eq!(
                entry.waiters.0.values().sum::<u32>() as usize,
                waiting,
                "{project}"
            );
            let class = Class::by_held(entry.held.is_some());
            counts.wanted[class as usize] += usize::from(entry.seat.place.is_wanted());
            let is_below = entry.seat.place.is_wanted() && entry.is_raised();
            counts.below_target += usize::from(is_below);
            counts.failing += usize::from(entry.cool_down.is_failing());
            counts.waited_for += usize::from(entry.seat.counted == register::Counted::WaitedFor);
            counts.demoted += usize::from(entry.seat.counted == register::Counted::Demoted);
        }
        assert_eq!(machine.register.counts, counts);
        assert!(
            self.waiters
                .iter()
                .all(|(project, _)| machine.register.entries.contains_key(project))
        );
        let largest = self
            .history
            .iter()
            .map(|(_, limits)| limits.queue.get() as usize)
            .max();
        assert!(counts.demoted <= largest.unwrap_or_default());
        let flew = 5 + 2;
        assert!(
            counts.waited_for <= largest.unwrap_or_default() + flew,
            "only what was in flight comes back to a full queue"
        );
    }

    /// No lower class goes first: while a missing project waits that could go, no token lies
    /// unused.
    fn check_priority(&self) {
        let machine = &self.admission;
        let next = Candidate::next(Stage::Reserve, Class::Missing);
        let failed = Candidate {
            is_cooling: true,
            ..next
        };
        let may_fail = machine.shut(&failed, self.now).is_none();
        let mut waiting = machine.register.queues.missing.iter();
        let could_go = machine.shut(&next, self.now).is_none()
            && waiting.any(|project| {
                may_fail || !machine.register.entries[project].cool_down.is_cooling()
            });
        assert!(
            !could_go,
            "a token and a permit lie unused while a missing project waits"
        );
    }

    /// Whatever is wanted flies or is held back by a gate, and something is going to open that
    /// gate.
    fn check_reasons(&self) {
        let machine = &self.admission;
        for (project, entry) in &machine.register.entries {
            let Some(explained) = machine.explain(project, self.now) else {
                continue;
            };
            assert_eq!(explained.is_in_flight, entry.flight().is_some());
            assert_eq!(
                explained.gate.is_none(),
                entry.flight().is_some(),
                "{project}: {explained:?} {entry:?} {machine:?}"
            );
            let is_for_ever = machine.way.is_draining
                || machine.way.link != Link::Up
                || machine.limits().rate <= 0.0;
            let is_flying = !self.flights.is_empty() || !self.confirms.is_empty();
            let goes_on = machine.next_wake().is_some() || is_flying;
            assert!(
                goes_on || is_for_ever,
                "{project} is wanted, and nothing happens: {explained:?}"
            );
        }
    }

    /// Whatever lands while draining, every permit comes home and nothing is launched.
    fn drains(&mut self) {
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
    fn converges(&mut self) {
        self.take(&Step::Limits {
            rate: 20.0,
            burst: 3,
            concurrency: 4,
            queue: 8,
            fetch_rate: 10.0,
        });
        self.take(&Step::Link(None));
        self.take(&Step::Room(count(1).into()));
        let began = self.now;
        for _ in 0..5_000 {
            while let Some(flight) = self.flights.pop() {
                self.land(flight, Brought::WhatWasAsked);
                self.act();
            }
            while let Some(project) = self.confirms.pop() {
                self.land_confirm(&project, Brought::Nothing);
                self.act();
            }
            match self.admission.next_wake() {
                Some(next) => self.wait(next),
                None if self.flights.is_empty() && self.confirms.is_empty() => break,
                None => {}
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
}

/// How many sequences: `PROPTEST_CASES`, else a thousand.
fn cases() -> u32 {
    let set = std::env::var("PROPTEST_CASES").ok();
    set.map_or(1_000, |cases| {
        cases.parse().expect("PROPTEST_CASES is no number")
    })
}

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        ..ProptestConfig::with_cases(cases())
    })
}

#[test]
fn every_sequence_of_events_keeps_the_invariants_and_ends_fresh_or_drained() {
    let sequences = (steps(), any::<u64>(), prop::bool::weighted(0.2));
    let all = std::cell::RefCell::new(Reached::default());
    let run = runner().run(&sequences, |(steps, seed, drains)| {
        let mut world = World::new(seed);
        for step in steps {
            world.take(&step);
        }
        if drains {
            world.drains();
        } else {
            world.converges();
        }
        all.borrow_mut().add(&world.reached);
        Ok(())
    });
    run.unwrap();
    all.borrow().check(cases());
}

fn launched(admission: &mut Admission) -> Vec<(Project, Class)> {
    let actions = admission.take_actions().into_iter();
    actions
        .filter_map(|action| match action {
            Action::Render { project, class, .. } => Some((project, class)),
            Action::Fetch { .. }
            | Action::Confirm { .. }
            | Action::Reserve { .. }
            | Action::Return { .. }
            | Action::Redial { .. }
            | Action::Resolve { .. } => None,
        })
        .collect()
}

/// A machine without Fetch that wants missing projects, each waited for.
fn machine_that_misses(projects: std::ops::Range<usize>, limits: Limits, now: Moment) -> Admission {
    let mut admission = Admission::new(limits, 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    admission.fetched(&name(0), FetchLanding::Unimplemented, now);
    for project in projects {
        let patience = Some(Duration::from_secs(100));
        admission.want(&name(project), wish(None, 1, patience, now), now);
    }
    admission
}

fn wish(held: Option<HeldMark>, rollout: u64, patience: Option<Duration>, now: Moment) -> Wish {
    Wish {
        held,
        want: Want {
            rollout,
            number: 0,
            validated_since: Moment::START,
        },
        demand: None,
        until: patience.map(|patience| now + patience),
    }
}

fn pushed_back(after: Duration) -> Landing {
    Landing::Failed(CallFailure::Exhausted(Pushback {
        after: Some(after),
        is_global: false,
    }))
}
