//! The effort to make projects fresh: owns admission, tells it the facts, and carries its actions
//! out.
//!
//! A flight is its own task and outlives the lookups that wait for it: its result is stored even if
//! every lookup has left by then. It holds its permit until it lands or its deadline ends.
//! Admission decides, and the renderer is called through `render`; this room owns the tasks, the
//! timer and the waking of waiting lookups.

mod facts;
mod fleet;
mod flight;
mod inspect;
mod landing;
mod notices;
mod observe;
mod snapshot;
mod stopped;
mod timer;
mod traces;
mod troubles;
mod waiter;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
};
use tokio_util::task::TaskTracker;

pub use self::{
    fleet::{FleetSender, Pulled},
    inspect::{Inspected, Wanting},
    observe::{Called, Flown, Observe, RenderResult},
    snapshot::Snapshot,
    waiter::{Resolved, Waiter},
};
use self::{notices::Notices, stopped::Stopped, traces::Traces, troubles::Troubles};
use crate::{
    admission::{
        Action, Admission, Class, Drops, Explanation, HeldMark, Limits, Stops, Want, Wish,
        WishVerdict,
    },
    cache::{Cache, Held},
    fleet::FleetEvent,
    freshness::Freshness,
    moment::{Clock, Moment},
    reason::{NotRefreshed, Refusal},
    render::{Fetch, Render},
    revision::{Order, Project},
    trace::TraceContext,
};

/// What a refresh needs to know, fixed for a process.
#[derive(Clone, Copy, Debug)]
pub struct RefreshOptions {
    /// How long a render may run.
    pub deadline: Duration,
    /// How long a fetch may take.
    pub fetch_deadline: Duration,
    /// The largest payload that is held, in bytes.
    pub max_payload: usize,
    /// The seed of all jitter.
    pub seed: u64,
}

/// What a refresh works with.
#[derive(Clone)]
#[expect(missing_docs, reason = "their types say it")]
pub struct Parts {
    pub cache: Arc<Cache>,
    pub freshness: Arc<Freshness>,
    pub render: Arc<dyn Render>,
    pub stored: Arc<dyn Fetch>,
    pub observe: Arc<dyn Observe>,
    pub fleet: Option<FleetSender>,
}

/// What a lookup asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The least order that the caller accepts, if the held revision does not satisfy it.
    pub demand: Option<Order>,
    /// Until when the caller waits; `None` if it does not wait.
    pub until: Option<Moment>,
    /// The trace that the caller belongs to.
    pub trace: Option<TraceContext>,
}

/// What a lookup is told.
#[derive(Debug)]
pub enum Told {
    /// The held revision satisfies it now.
    LookAgain,
    /// A refresh may land in time: wait.
    Wait(Waiter),
    /// No refresh will land in time.
    Refused(Refusal),
}

/// Refreshes projects. Cheap to clone.
#[derive(Clone)]
pub struct Refresh {
    shared: Arc<RefreshShared>,
}

struct RefreshShared {
    clock: Clock,
    options: RefreshOptions,
    parts: Parts,
    /// Where flights run, whichever thread launches them.
    runtime: Handle,
    flights: TaskTracker,
    state: Mutex<RefreshState>,
    /// Notified when the next wake comes earlier.
    rearm: Arc<Notify>,
    /// A fact that may change refusals starts a new epoch, which ends the remembered ones.
    epoch: AtomicU16,
    target: watch::Sender<u64>,
    stops: watch::Sender<Stops>,
}

struct RefreshState {
    admission: Admission,
    waiters: HashMap<Project, watch::Sender<Option<Resolved>>>,
    wakes_at: Option<Moment>,
    troubles: Troubles,
    notices: Notices,
    stopped: Stopped,
    traces: Traces,
    /// When held projects were recently dropped because the renderer no longer knows them.
    drops: Drops,
}

impl Refresh {
    /// Makes a refresh whose flights and timer run on the current runtime.
    pub fn new(clock: Clock, options: RefreshOptions, limits: Limits, parts: Parts) -> Self {
        let target = parts.freshness.target();
        if parts.cache.set_max_age(parts.freshness.max_age()) {
            parts.cache.count_ages_again();
        }
        let admission = Admission::new(limits, target, options.seed, clock.now())
            .with_deadline(options.deadline);
        let shared = Arc::new(RefreshShared {
            clock,
            options,
            parts,
            runtime: Handle::current(),
            flights: TaskTracker::new(),
            state: Mutex::new(RefreshState {
                admission,
                waiters: HashMap::new(),
                wakes_at: None,
                troubles: Troubles::default(),
                notices: Notices::new(clock.now()),
                stopped: Stopped::default(),
                traces: Traces::default(),
                drops: Drops::default(),
            }),
            rearm: Arc::default(),
            epoch: AtomicU16::new(0),
            target: watch::Sender::new(target),
            stops: watch::Sender::default(),
        });
        tokio::spawn(timer::keep_time(
            Arc::downgrade(&shared),
            Arc::clone(&shared.rearm),
        ));
        Self { shared }
    }

    /// Records that a lookup wants a project, and says whether it is worth waiting.
    pub fn want(&self, project: &Project, asked: Asked) -> Told {
        let shared = &self.shared;
        let mut state = shared.lock();
        let now = shared.clock.now();
        let held = shared.parts.cache.get(project.as_str());
        if let Some(held) = &held {
            let meets_demand = asked
                .demand
                .is_none_or(|demand| held.revision.order >= demand);
            if meets_demand && shared.parts.freshness.is_fresh(held, now) {
                return Told::LookAgain;
            }
        }
        state.note_cause(project, asked.trace);
        let wish = Wish {
            held: held.as_deref().map(mark),
            want: shared.want(held.as_deref(), now),
            demand: asked.demand,
            until: asked.until,
        };
        let told = match state.admission.want(project, wish, now) {
            WishVerdict::Wait => {
                let until = asked.until.expect("BUG: only those wait who would");
                Told::Wait(self.wait_for(&mut state, project, until))
            }
            WishVerdict::Refused(refused) => {
                if refused.refusal.reason == NotRefreshed::QueueFull {
                    let queue = state.admission.limits().queue.get();
                    let waiting = format_args!("{queue} missing projects");
                    state.notices.refused(waiting, now);
                }
                if let Some(gate) = refused.gate {
                    shared.parts.observe.refused(refused.class, gate);
                }
                // A refused demand does not hold back callers who want less.
                if let Some(held) = held.as_ref().filter(|_| asked.demand.is_none()) {
                    shared.remember(held, refused.refusal, now);
                }
                Told::Refused(refused.refusal)
            }
        };
        shared.perform(&mut state);
        told
    }

    /// Records that a lookup of a missing project may not wait, because `waiting` others already
    /// do.
    pub fn record_crowded(&self, waiting: usize) {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        state
            .notices
            .refused(format_args!("{waiting} lookups"), now);
        self.shared.perform(&mut state);
    }

    /// The remembered refusal of a held project, if it still holds at `now`. Takes no lock.
    pub fn known_refusal(&self, held: &Held, now: Moment) -> Option<Refusal> {
        held.memo.refusal(self.shared.epoch.load(Relaxed), now)
    }

    /// Who hears of what happens.
    pub fn observer(&self) -> &dyn Observe {
        &*self.shared.parts.observe
    }

    /// Why a project is not refreshed; `None` if it is not wanted.
    pub fn explain(&self, project: &Project) -> Option<Explanation> {
        let state = self.shared.lock();
        state.admission.explain(project, self.shared.clock.now())
    }

    /// How many missing projects may wait, at most.
    pub fn queue(&self) -> usize {
        self.shared.lock().admission.limits().queue.get() as usize
    }

    /// The clock of its moments.
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Follows the target.
    pub fn target(&self) -> watch::Receiver<u64> {
        self.shared.target.subscribe()
    }

    /// Follows what stops every render.
    pub fn stops(&self) -> watch::Receiver<Stops> {
        self.shared.stops.subscribe()
    }

    /// What can be counted now.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.shared.clock.now();
        let mut snapshot = {
            let state = self.shared.lock();
            Snapshot {
                stopped: state.stopped.until(now),
                wanted_for: state.stopped.wanted_until(now),
                answered_ago: now.since(state.notices.answered()),
                succeeded_ago: state.notices.succeeded().map(|at| now.since(at)),
                failed_ago: state.notices.failed().map(|at| now.since(at)),
                raised_at: state.notices.raised(),
                ..Snapshot::of_admission(&state.admission, now)
            }
        };
        snapshot.add_cache(&self.shared.parts.cache, &self.shared.parts.freshness, now);
        snapshot
    }

    /// How many projects are waited for.
    #[cfg(test)]
    pub(crate) fn waited_for(&self) -> usize {
        self.shared.lock().waiters.len()
    }

    fn wait_for(&self, state: &mut RefreshState, project: &Project, until: Moment) -> Waiter {
        let channel = state
            .waiters
            .entry(project.clone())
            .or_insert_with(|| watch::Sender::new(None));
        Waiter::new(
            project.clone(),
            until,
            channel.subscribe(),
            Arc::clone(&self.shared),
        )
    }
}

impl std::fmt::Debug for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refresh")
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}

impl RefreshShared {
    fn lock(&self) -> MutexGuard<'_, RefreshState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells admission a fact that may change refusals.
    fn tell(self: &Arc<Self>, fact: impl FnOnce(&mut Admission, Moment)) {
        self.tell_state(|state, now| fact(&mut state.admission, now));
    }

    fn tell_state(self: &Arc<Self>, fact: impl FnOnce(&mut RefreshState, Moment)) {
        let mut state = self.lock();
        let now = self.clock.now();
        fact(&mut state, now);
        self.epoch.fetch_add(1, Relaxed);
        self.perform(&mut state);
    }

    /// Carries out what admission decided.
    fn perform(self: &Arc<Self>, state: &mut RefreshState) {
        for action in state.admission.take_actions() {
            match action {
                Action::Redial { connection } => self.parts.render.redial(connection),
                Action::Reserve {
                    ask,
                    class,
                    candidates,
                } => self.ask_fleet(&state.admission, ask, class, candidates),
                Action::Return { lease } => self.tell_fleet(|| FleetEvent::Return { lease }),
                Action::Resolve { project, outcome } => {
                    if let Some(waiters) = state.waiters.remove(&project) {
                        let held = self.parts.cache.get(project.as_str());
                        waiters.send_replace(Some(Resolved { outcome, held }));
                    }
                }
                Action::Render {
                    project,
                    rollout,
                    is_demand,
                    class: _,
                    attempt,
                    permit,
                } => {
                    self.forget(&project);
                    let asked = flight::RenderAsked {
                        rollout,
                        is_demand,
                        attempt,
                        trace: state.traces.of_render(&project),
                    };
                    let flight = flight::render(Arc::clone(self), project, asked, permit);
                    self.flights.spawn_on(flight, &self.runtime);
                }
                Action::Confirm { project, permit } => {
                    let flight = flight::confirm(Arc::clone(self), project, permit);
                    self.flights.spawn_on(flight, &self.runtime);
                }
                Action::Fetch { project, permit } => {
                    let trace = state.traces.of_fetch(&project);
                    let flight = flight::fetch(Arc::clone(self), project, trace, permit);
                    self.flights.spawn_on(flight, &self.runtime);
                }
            }
        }
        let stops = state.admission.stops();
        state.troubles.record_stops(stops);
        state.troubles.record_fetches(&state.admission);
        self.stops.send_if_modified(|before| {
            let is_modified = *before != stops;
            *before = stops;
            is_modified
        });
        let now = self.clock.now();
        let wanted = Class::ALL.map(|class| state.admission.wanted(class));
        let binding = state.admission.binding(now);
        state.stopped.count_from(binding, wanted.iter().sum(), now);
        state.notices.look(&state.admission, &self.parts.cache, now);
        let wakes = [
            state.admission.next_wake(),
            state.troubles.next_wake(),
            state.notices.next_look(),
        ];
        let wakes_at = wakes.into_iter().flatten().min();
        if wakes_at != state.wakes_at {
            state.wakes_at = wakes_at;
            self.rearm.notify_one();
        }
    }

    /// What makes a project fresh.
    fn want(&self, held: Option<&Held>, now: Moment) -> Want {
        let changed = held.and_then(|held| held.changed);
        let too_old = held
            .and_then(|held| self.parts.freshness.too_old_at(held))
            .is_some_and(|at| at <= now);
        let doubted = held.and_then(|held| self.parts.freshness.doubted_since(held));
        Want {
            rollout: self.parts.freshness.target(),
            number: changed.map_or(0, |changed| changed.number),
            validated_since: if too_old {
                now
            } else {
                doubted.unwrap_or_default()
            },
        }
    }

    fn remember(&self, held: &Held, refusal: Refusal, now: Moment) {
        held.memo.set_wanted(true);
        let holds_for_all = !matches!(
            refusal.reason,
            NotRefreshed::Scheduled | NotRefreshed::TimedOut
        );
        if holds_for_all {
            held.memo.remember(refusal, self.epoch.load(Relaxed), now);
        }
    }

    fn forget(&self, project: &Project) {
        if let Some(held) = self.parts.cache.get(project.as_str()) {
            held.memo.forget();
        }
    }
}

impl Drop for RefreshShared {
    fn drop(&mut self) {
        self.rearm.notify_one();
    }
}

impl RefreshState {
    /// Records which trace the next flight of a project belongs to: that of the first lookup that
    /// wants it from now on.
    fn note_cause(&mut self, project: &Project, trace: Option<TraceContext>) {
        if trace.is_none() && self.traces.is_empty() {
            return;
        }
        if !self.admission.is_wanted(project) {
            self.traces.forget(project);
        }
        if let Some(trace) = trace
            && !self.admission.is_in_flight(project)
        {
            self.traces.note(project, trace);
        }
    }
}

fn mark(held: &Held) -> HeldMark {
    HeldMark {
        order: held.revision.order,
        validated_at: held.validated_at,
    }
}

#[cfg(test)]
mod tests;
