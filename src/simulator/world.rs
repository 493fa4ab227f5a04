//! The world: events in virtual time, and the script of what happens when.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use super::{
    calls::{RendererAnswer, SimulatedCall},
    fate::Fate,
    observed::Observed,
    plan::Plan,
    renderer::{CallId, SimulatedRenderer},
    reserver::Reserver,
    sidecar::{ProjectId, SimulatedSidecar},
    watch::{Observer, Unwatched},
};
use crate::{
    admission::AskId,
    moment::Moment,
    revision::{Order, Project},
};

/// What a refusal costs a renderer, as a share of a render.
const REFUSAL: f64 = 0.05;

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
    /// The settings name a rollout, which is picked up after a splay of this length.
    Splay(usize, u64, Duration),
    /// A share of the fleet's rate rises.
    Rise(usize),
    Leave(usize, u32, u64),
    /// An ask for that many renders is answered.
    Reserved(usize, u32, AskId, usize),
    Return(usize, ProjectId, u32),
    Arrive(CallId),
    /// The store has an answer.
    Stored(CallId),
    Ended(u64),
    Deadline(CallId),
    Answered(CallId, RendererAnswer),
}

impl Event {
    /// The sidecar that it happens to.
    fn sidecar(self, calls: &[SimulatedCall]) -> Option<usize> {
        match self {
            Self::Lookup(sidecar)
            | Self::Wake(sidecar, _)
            | Self::Learn(sidecar, _)
            | Self::Splay(sidecar, ..)
            | Self::Rise(sidecar)
            | Self::Leave(sidecar, ..)
            | Self::Reserved(sidecar, ..)
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

/// A line of the script: what happens then.
type Act<W> = Box<dyn Fn(&mut World<W>)>;

/// Many sidecars, a renderer, and the applications that look projects up.
pub struct World<W = Unwatched> {
    /// What the world is made of.
    pub plan: Plan,
    /// What may change while it runs.
    pub fate: Fate,
    /// The renderer.
    pub renderer: SimulatedRenderer,
    /// Who is asked whether renders may start, where they are [reserved](Plan::reserving)
    /// elsewhere.
    pub reserver: Reserver,
    pub(super) watch: W,
    pub(super) now: Moment,
    pub(super) rng: fastrand::Rng,
    pub(super) sidecars: Vec<SimulatedSidecar>,
    pub(super) observed: Observed,
    pub(super) calls: Vec<SimulatedCall>,
    pub(super) names: Names,
    script: Vec<(Moment, Act<W>)>,
    events: BinaryHeap<Reverse<Timed>>,
    sequence: u64,
    /// Counts what the renderer was told, so that an earlier guess of its next end is void.
    pub(super) ends: u64,
    pub(super) waiters: u64,
}

/// The names of projects, by number, and the other way round.
pub(super) struct Names {
    names: Vec<Project>,
    ids: HashMap<Project, ProjectId>,
}

impl Names {
    fn new(count: usize) -> Self {
        let name = |number| Project::new(&format!("p/{number}")).expect("BUG: a valid name");
        let names: Vec<_> = (0..count).map(name).collect();
        let ids = names.iter().cloned().zip(0..).collect();
        Self { names, ids }
    }

    pub(super) fn of(&self, project: ProjectId) -> &Project {
        &self.names[project]
    }

    pub(super) fn id(&self, project: &Project) -> ProjectId {
        self.ids[project]
    }
}

impl<W: Observer> World<W> {
    /// Makes a world in which every sidecar holds all projects, and all is fresh.
    ///
    /// # Panics
    ///
    /// When the plan has no sidecars, or its burst, concurrency or queue is 0.
    pub fn new(plan: Plan, watch: W) -> Self {
        assert!(plan.sidecars > 0, "a plan has at least one sidecar");
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let mut world = Self {
            now: Moment::START,
            sidecars: Vec::new(),
            renderer: SimulatedRenderer::new(plan.capacity() * plan.work, plan.projects),
            reserver: Reserver::new(),
            observed: Observed::new(&plan),
            fate: Fate::new(&plan),
            watch,
            calls: Vec::new(),
            names: Names::new(plan.projects + plan.unknown),
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
        for id in 0..world.plan.sidecars {
            let sidecar = world.new_sidecar(id);
            world.sidecars.push(sidecar);
            world.watch.started(&world.sidecars[id], world.now);
            world.warm(id);
            let first = world.gap(world.plan.lookups);
            world.at(first, Event::Lookup(id));
            world.settle(id);
        }
        world.at(Duration::ZERO, Event::Demand);
        world
    }

    /// How much time has passed since the start.
    pub fn elapsed(&self) -> Duration {
        self.now.since_start()
    }

    /// Has something happen at the start of a second, before all else that happens then.
    pub fn script(&mut self, second: u64, act: impl Fn(&mut World<W>) + 'static) {
        let at = Moment::after_start(Duration::from_secs(second));
        self.script.push((at, Box::new(act)));
    }

    /// Lets the world run until its end, and tells what was seen, and who watched.
    pub fn run(mut self) -> (Observed, W) {
        let mut end = Moment::after_start(Duration::from_secs(self.plan.seconds));
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
            if self.watch.has_seen_enough(self.now) {
                end = self.now;
                break;
            }
        }
        self.now = end;
        self.observed.worked = self.renderer.worked(end);
        self.observed.end(&self.sidecars, end);
        self.watch.ended(&self.sidecars, &self.fate, end);
        (self.observed, self.watch)
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

    /// The time to the next of events that come at random at a rate.
    pub(super) fn gap(&mut self, per_second: f64) -> Duration {
        let seconds = -(1.0 - self.rng.f64()).ln() / per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1 << 30))
    }

    /// The way over the network.
    pub(super) fn travel(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(500..2_000))
    }

    pub(super) fn happen(&mut self, event: Event) {
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
            Event::Splay(sidecar, rollout, splay) => self.pick_up(sidecar, rollout, splay),
            Event::Rise(sidecar) => self.rise(sidecar),
            Event::Leave(sidecar, incarnation, waiter) => self.leave(sidecar, incarnation, waiter),
            Event::Return(sidecar, project, tries) => self.look_up(sidecar, project, tries),
            Event::Reserved(sidecar, incarnation, ask, candidates) => {
                self.reserved(sidecar, incarnation, ask, candidates);
            }
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
}
