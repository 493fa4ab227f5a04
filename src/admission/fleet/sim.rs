//! The world of the fleet: events in virtual time, the way of calls between sidecars and the renderer, and what applications do.
//! The same seed brings the same run.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    num::NonZeroU32,
    time::Duration,
};

use super::{
    observed::Observed,
    pod::number,
    renderer::{CallId, Failure, Mood, Renderer, Taken},
    sidecar::{ProjectId, Sidecar},
};
use crate::{
    admission::{FetchLimits, Limits, Pushback, Tuning, budget::Permits},
    moment::Moment,
    revision::{Order, Project},
};

/// How the applications' configuration is kept up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By admission.
    Admission,
    /// As in the incident: what is outdated is forgotten, each lookup renders, times out, and retries at once.
    Incident,
}

/// What a world is made of. Times are in seconds.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) way: Way,
    pub(super) sidecars: usize,
    pub(super) projects: usize,
    /// Names that are looked up though there are no such projects.
    pub(super) unknown: usize,
    pub(super) rate: f64,
    pub(super) burst: u32,
    pub(super) concurrency: u32,
    /// The most missing projects that wait.
    pub(super) queue: u32,
    /// What the renderer can render per second, as a multiple of what all sidecars may ask for.
    pub(super) headroom: f64,
    /// Work of a render, in seconds of a core.
    pub(super) work: f64,
    /// How long a render may run.
    pub(super) deadline: Duration,
    /// How long a fetch may take.
    pub(super) fetch_deadline: Duration,
    /// Wishes for renders per second beside releases, as a share of what the renderer can do.
    pub(super) load: f64,
    /// The part of them that are for projects of which nothing is held.
    pub(super) missing: f64,
    /// Lookups per second and sidecar that want nothing new.
    pub(super) lookups: f64,
    pub(super) offers_fetch: bool,
    /// What a render costs that the renderer has done before, as a share of its work.
    pub(super) memo: f64,
    /// The renderer's pushback is for every project.
    pub(super) pushes_all_back: bool,
    /// How many launches may not be the first for the same wish, for each that is.
    pub(super) repeats: f64,
    /// How many projects may be made poison.
    pub(super) poisoned: usize,
    pub(super) seconds: u64,
    pub(super) seed: u64,
    pub(super) tuning: Tuning,
}

/// How long a lookup waits for a project of which something is held, and of which nothing is held.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);
pub(super) const COLD_PATIENCE: Duration = Duration::from_secs(2);
/// How long the incident's clients wait before they retry, and how often they do.
pub(super) const INCIDENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a sidecar may take to be back to normal.
pub(super) const RECOVERY: Duration = Duration::from_secs(90);
/// What a refusal costs a renderer, as a share of a render.
const REFUSAL: f64 = 0.05;
/// How often an application tries again after an error.
pub(super) const TRIES: u32 = 5;

impl Plan {
    /// Renders per second that the renderer can do.
    pub(super) fn capacity(&self) -> f64 {
        self.fleet_rate() * self.headroom
    }

    /// Renders per second that all sidecars may ask for.
    #[expect(clippy::cast_precision_loss, reason = "a few sidecars")]
    pub(super) fn fleet_rate(&self) -> f64 {
        self.sidecars as f64 * self.rate
    }

    /// Renders per second of one sidecar that its rate, its permits for refreshes and its share of the renderer bear.
    #[expect(clippy::cast_precision_loss, reason = "a few sidecars")]
    pub(super) fn bearable_rate(&self) -> f64 {
        let permits =
            f64::from(Permits::of(self.limits().concurrency, &self.tuning.budget).outdated);
        let share = self.capacity() / self.sidecars as f64;
        self.rate.min(permits / self.work).min(share)
    }

    /// How long a project may be outdated that was looked up, when nothing is wrong any more: until the sidecar is back to normal, and
    /// for as long as it takes to render all that may be wanted while other wishes go on.
    #[expect(clippy::cast_precision_loss, reason = "a few projects")]
    pub(super) fn recovery(&self) -> Duration {
        let unknown = self.unknown.min(self.queue as usize);
        let wanted = (self.projects + unknown) as f64;
        let others = self.capacity() * self.load / self.sidecars as f64;
        let seconds = wanted / (self.bearable_rate() - others).max(1e-3);
        RECOVERY + Duration::from_secs_f64(seconds)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            rate: self.rate,
            burst: count(self.burst),
            concurrency: count(self.concurrency),
            queue: count(self.queue),
            fetch: FetchLimits {
                rate: 50.0,
                concurrency: count(16),
            },
        }
    }
}

pub(super) fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("BUG: a plan counts from 1")
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) sidecar: usize,
    pub(super) incarnation: u32,
    pub(super) project: ProjectId,
    pub(super) is_fetch: bool,
    /// Over which connection, and to which replica.
    pub(super) connection: u64,
    pub(super) replica: f64,
    pub(super) rollout: u64,
    pub(super) is_answered: bool,
    /// Of the incident's way: how often it was tried before.
    pub(super) tries: u32,
}

/// What the renderer says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Rendered { rollout: u64 },
    Stored { order: Option<Order> },
    Unimplemented,
    NotFound,
    Unavailable,
    Broken,
    Failed(Failure),
    Exhausted(Pushback),
    Refused,
    DeadlineExceeded,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The next line of the script.
    Act,
    /// An application looks something up.
    Lookup(usize),
    /// Something is wanted somewhere.
    Demand,
    /// An application looks up a name that is none.
    Typo,
    Wake(usize, u32),
    Learn(usize, u64),
    Leave(usize, u32, u64),
    Return(usize, ProjectId, u32),
    Arrive(CallId),
    /// The store has an answer.
    Stored(CallId),
    Ended(u64),
    Deadline(CallId),
    Answered(CallId, Answer),
}

impl Event {
    /// The sidecar that it happens to.
    fn sidecar(self, calls: &[Call]) -> Option<usize> {
        match self {
            Self::Lookup(sidecar)
            | Self::Wake(sidecar, _)
            | Self::Learn(sidecar, _)
            | Self::Leave(sidecar, ..)
            | Self::Return(sidecar, ..) => Some(sidecar),
            Self::Answered(call, _) => Some(calls[call].sidecar),
            Self::Act
            | Self::Demand
            | Self::Typo
            | Self::Arrive(_)
            | Self::Stored(_)
            | Self::Ended(_)
            | Self::Deadline(_) => None,
        }
    }
}

struct Timed {
    at: Moment,
    sequence: u64,
    event: Event,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// A line of a scenario: what happens when.
pub(super) type Act = Box<dyn Fn(&mut World)>;

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Moment,
    pub(super) rng: fastrand::Rng,
    pub(super) sidecars: Vec<Sidecar>,
    pub(super) renderer: Renderer,
    pub(super) observed: Observed,
    pub(super) fate: Fate,
    pub(super) calls: Vec<Call>,
    pub(super) names: Vec<Project>,
    ids: HashMap<Project, ProjectId>,
    script: Vec<(Moment, Act)>,
    events: BinaryHeap<Reverse<Timed>>,
    sequence: u64,
    /// Counts what the renderer was told, so that an earlier guess of its next end is void.
    ends: u64,
    pub(super) waiters: u64,
}

/// What a scenario changes of the world while it runs.
#[derive(Clone, Debug)]
pub(super) struct Fate {
    pub(super) target: u64,
    pub(super) load: f64,
    pub(super) missing: f64,
    /// A factor of every render's work.
    pub(super) slowness: f64,
    /// The part of the renderer's replicas that has not the newest rollout.
    pub(super) behind: f64,
    pub(super) poison: Poison,
    /// A project that is pushed back.
    pub(super) quota: Option<ProjectId>,
    /// How long applications wait at most.
    pub(super) callers_leave_after: Duration,
    /// Lookups per second of names that are none.
    pub(super) typos: f64,
}

/// What the first hundredth of the projects does to a renderer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poison {
    None,
    /// Never ends.
    Endless,
    /// Takes 8 s of a core.
    Large,
    /// Ends in an error.
    Crash,
    /// Takes the renderer's process down, so that the call ends in UNAVAILABLE.
    Kill,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let names: Vec<_> = (0..plan.projects + plan.unknown)
            .map(|number| Project::new(&format!("p/{number}")).expect("BUG: a valid name"))
            .collect();
        let ids = names.iter().cloned().zip(0..).collect();
        let start = Moment::START;
        let mut world = Self {
            now: start,
            sidecars: Vec::new(),
            renderer: Renderer::new(plan.capacity() * plan.work, plan.projects),
            observed: Observed::new(&plan),
            fate: Fate {
                target: 1,
                load: plan.load,
                missing: plan.missing,
                slowness: 1.0,
                behind: 0.0,
                poison: Poison::None,
                quota: None,
                callers_leave_after: Duration::MAX,
                typos: 0.0,
            },
            calls: Vec::new(),
            names,
            ids,
            script: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            ends: 0,
            waiters: 0,
            rng: rng.fork(),
            plan,
        };
        world.renderer.stored.fill(Some(Order::rollout(1)));
        world.renderer.refusal = REFUSAL * world.plan.work;
        for sidecar in 0..world.plan.sidecars {
            let made = world.new_sidecar();
            world.sidecars.push(made);
            world.warm(sidecar);
            let first = world.gap(world.plan.lookups);
            world.at(first, Event::Lookup(sidecar));
            world.settle(sidecar);
        }
        world.at(Duration::ZERO, Event::Demand);
        world
    }

    pub(super) fn id(&self, project: &Project) -> ProjectId {
        self.ids[project]
    }

    pub(super) fn new_sidecar(&mut self) -> Sidecar {
        let seed = self.rng.u64(..);
        let projects = self.names.len();
        let mut sidecar = Sidecar::new(
            self.plan.tuning,
            self.plan.limits(),
            self.fate.target,
            projects,
            self.plan.deadline,
            seed,
            self.now,
        );
        sidecar.behind = self.plan.projects;
        sidecar.replica = self.rng.f64();
        sidecar
    }

    /// Adds a line to the script.
    pub(super) fn script(&mut self, second: u64, act: impl Fn(&mut World) + 'static) {
        self.script.push((
            Moment::after_start(Duration::from_secs(second)),
            Box::new(act),
        ));
    }

    /// Leaves the renderer that part of its cores.
    pub(super) fn set_capacity(&mut self, part: f64) {
        let cores = self.plan.capacity() * self.plan.work * part;
        self.renderer.set_cores(cores, self.now);
    }

    /// Lets the world run until its end.
    pub(super) fn run(mut self) -> Observed {
        let end = Moment::after_start(Duration::from_secs(self.plan.seconds));
        self.script.sort_by_key(|(at, _)| Reverse(*at));
        if let Some((at, _)) = self.script.last() {
            self.at(at.since_start(), Event::Act);
        }
        while let Some(Reverse(timed)) = self.events.pop() {
            if timed.at > end {
                break;
            }
            self.now = timed.at;
            self.happen(timed.event);
        }
        self.now = end;
        self.conclude();
        self.observed
    }

    pub(super) fn at(&mut self, after: Duration, event: Event) {
        self.at_moment(self.now + after, event);
    }

    pub(super) fn at_moment(&mut self, at: Moment, event: Event) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.events.push(Reverse(Timed {
            at,
            sequence,
            event,
        }));
    }

    /// The time to the next of events that come at random, so many a second.
    pub(super) fn gap(&mut self, per_second: f64) -> Duration {
        let seconds = -(1.0 - self.rng.f64()).ln() / per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1 << 30))
    }

    /// The way over the network.
    pub(super) fn travel(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(500..2_000))
    }

    fn happen(&mut self, event: Event) {
        if let Some(sidecar) = event.sidecar(&self.calls) {
            let resumes = self.sidecars[sidecar].suspended_until;
            if resumes > self.now {
                return self.at_moment(resumes, event);
            }
        }
        self.observed.events += 1;
        match event {
            Event::Act => self.act(),
            Event::Lookup(sidecar) => self.application_looks_up(sidecar),
            Event::Demand => self.demand(),
            Event::Typo => self.mistype(),
            Event::Wake(sidecar, incarnation) => self.wake(sidecar, incarnation),
            Event::Learn(sidecar, rollout) => self.learn(sidecar, rollout),
            Event::Leave(sidecar, incarnation, waiter) => self.leave(sidecar, incarnation, waiter),
            Event::Return(sidecar, project, tries) => self.look_up(sidecar, project, tries),
            Event::Arrive(call) => self.arrive(call),
            Event::Stored(call) => self.stored(call),
            Event::Ended(ends) if ends == self.ends => self.renders_end(),
            Event::Ended(_) => {}
            Event::Deadline(call) => self.deadline_ends(call),
            Event::Answered(call, answer) => self.answered(call, answer),
        }
    }

    fn act(&mut self) {
        while let Some((_, act)) = self.script.pop_if(|(at, _)| *at <= self.now) {
            act(self);
        }
        if let Some((at, _)) = self.script.last() {
            self.at_moment(*at, Event::Act);
        }
        self.renderer_changed();
    }

    /// Sends a call on its way.
    pub(super) fn send(&mut self, call: Call, deadline: Duration) {
        self.calls.push(call);
        let id = self.calls.len() - 1;
        let travel = self.travel();
        self.at(travel, Event::Arrive(id));
        self.at(deadline, Event::Deadline(id));
    }

    fn reply(&mut self, call: CallId, answer: Answer) {
        let travel = self.travel();
        self.at(travel, Event::Answered(call, answer));
    }

    fn arrive(&mut self, id: CallId) {
        let call = self.calls[id];
        if call.is_fetch {
            return self.fetch(id);
        }
        self.observed.offered(self.now);
        match self.renderer.mood {
            Mood::Working => self.accept(id, call),
            Mood::Flaky(part) if self.rng.f64() >= part => self.accept(id, call),
            Mood::BlackHole => {}
            Mood::Failing(failure) => self.reply(id, Answer::Failed(failure)),
            Mood::Unavailable | Mood::Flaky(_) => self.reply(id, Answer::Unavailable),
            Mood::PushingBack { after, is_global } => {
                let after = Some(after);
                self.reply(id, Answer::Exhausted(Pushback { after, is_global }));
            }
        }
    }

    fn fetch(&mut self, id: CallId) {
        self.observed.fetched(self.now);
        let refused = Failure::Unauthenticated;
        if self.renderer.mood == Mood::Failing(refused) {
            return self.reply(id, Answer::Failed(refused));
        }
        let store = &mut self.renderer.store;
        let works = matches!(self.renderer.mood, Mood::Working | Mood::Failing(_));
        if !works || store.is_away {
            return;
        }
        if !self.plan.offers_fetch {
            return self.reply(id, Answer::Unimplemented);
        }
        if let Some(after) = store.pushes_back {
            let pushback = Pushback {
                after: Some(after),
                is_global: false,
            };
            return self.reply(id, Answer::Exhausted(pushback));
        }
        if store.busy >= store.slots {
            self.observed.fetch_refused(self.now);
            return self.reply(id, Answer::Refused);
        }
        store.busy += 1;
        let takes = store.takes;
        if takes.is_zero() {
            self.stored(id);
        } else {
            self.at(takes, Event::Stored(id));
        }
    }

    /// The store answers a fetch.
    fn stored(&mut self, id: CallId) {
        self.renderer.store.busy -= 1;
        let project = self.calls[id].project;
        let order = self.renderer.stored.get(project).copied().flatten();
        self.reply(id, Answer::Stored { order });
    }

    fn accept(&mut self, id: CallId, call: Call) {
        if self.fate.quota == Some(call.project) {
            let after = Some(Duration::from_secs(5));
            let is_global = false;
            return self.reply(id, Answer::Exhausted(Pushback { after, is_global }));
        }
        let work = self.work_of(call);
        match self.renderer.take(id, work, self.now) {
            Taken::Accepted => {}
            Taken::Full { .. } if self.renderer.refuses_plainly => {
                self.observed.refused(self.now);
                self.reply(id, Answer::Refused);
            }
            Taken::Full { after } => {
                self.observed.pushed_back(self.now);
                let after = Some(after);
                let is_global = self.plan.pushes_all_back;
                self.reply(id, Answer::Exhausted(Pushback { after, is_global }));
            }
        }
        self.renderer_changed();
    }

    fn work_of(&mut self, call: Call) -> f64 {
        if self.is_poison(call.project) {
            match self.fate.poison {
                Poison::Endless => return 1e6,
                Poison::Large => return 8.0,
                Poison::None | Poison::Crash | Poison::Kill => {}
            }
        }
        if call.project >= self.plan.projects {
            return self.plan.work / 10.0;
        }
        let stored = self.renderer.stored[call.project];
        let is_known = stored.is_some_and(|order| order.rollout >= call.rollout);
        let memo = if is_known { self.plan.memo } else { 1.0 };
        let spread = 0.25 - 0.75 * (1.0 - self.rng.f64()).ln();
        self.plan.work * spread * memo * self.fate.slowness
    }

    pub(super) fn is_poison(&self, project: ProjectId) -> bool {
        self.fate.poison != Poison::None && project < self.plan.poisoned
    }

    pub(super) fn renderer_changed(&mut self) {
        self.ends += 1;
        if let Some(at) = self.renderer.next_end() {
            self.at_moment(at, Event::Ended(self.ends));
        }
    }

    fn renders_end(&mut self) {
        for id in self.renderer.ended(self.now) {
            let call = self.calls[id];
            let answer = if call.project >= self.plan.projects {
                Answer::NotFound
            } else if self.is_poison(call.project) && self.fate.poison == Poison::Crash {
                Answer::Broken
            } else if self.is_poison(call.project) && self.fate.poison == Poison::Kill {
                Answer::Unavailable
            } else {
                let is_behind = call.replica < self.fate.behind;
                // It is of the generation that has rendered the project before, though a sidecar that lags behind asks for less.
                let stored = &mut self.renderer.stored[call.project];
                let newest = stored.map_or(0, |order| order.rollout).max(call.rollout);
                let rollout = newest - u64::from(is_behind && newest > 1);
                *stored = (*stored).max(Some(Order::new(rollout, number(self.now))));
                Answer::Rendered { rollout }
            };
            match self.renderer.mood {
                Mood::BlackHole => {}
                Mood::Unavailable => self.reply(id, Answer::Unavailable),
                Mood::Failing(failure) => self.reply(id, Answer::Failed(failure)),
                Mood::Working | Mood::Flaky(_) | Mood::PushingBack { .. } => self.reply(id, answer),
            }
        }
        self.renderer_changed();
    }

    fn deadline_ends(&mut self, id: CallId) {
        if self.calls[id].is_answered {
            return;
        }
        if self.plan.way == Way::Admission {
            self.renderer.give_up(id, self.now);
            self.renderer_changed();
        }
        self.happen(Event::Answered(id, Answer::DeadlineExceeded));
    }
}
