//! The way of calls over the network, and what the renderer and its store answer.

use std::time::Duration;

use super::{
    fate::Poison,
    plan::Upkeep,
    renderer::{AnsweredFailure, CallId, Mood, Taken},
    sidecar::ProjectId,
    watch::Observer,
    world::{Event, World},
};
use crate::{
    admission::{Pushback, PushbackScope},
    moment::Moment,
    revision::Order,
};

/// A call to the renderer.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimulatedCall {
    pub(super) sidecar: usize,
    pub(super) incarnation: u32,
    pub(super) project: ProjectId,
    pub(super) is_fetch: bool,
    /// Over which connection, and to which replica.
    pub(super) connection: u64,
    pub(super) replica: f64,
    pub(super) rollout: u64,
    pub(super) sent_at: Moment,
    pub(super) is_answered: bool,
    /// Without a sidecar: how often it was tried before.
    pub(super) tries: u32,
}

/// What the renderer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RendererAnswer {
    /// A revision.
    Rendered {
        /// With which generation of the software it was rendered.
        rollout: u64,
    },
    /// What is stored.
    Stored {
        /// Its order; none when nothing is stored.
        order: Option<Order>,
    },
    /// Fetch is not offered.
    Unimplemented,
    /// There is no such project.
    NotFound,
    /// UNAVAILABLE.
    Unavailable,
    /// The render of this project ends in an error.
    Broken,
    /// Every render ends so.
    Failed(AnsweredFailure),
    /// The renderer pushes the call back.
    Exhausted(Pushback),
    /// The renderer refuses the call without a word on when to come back.
    Refused,
    /// No answer in time.
    DeadlineExceeded,
}

impl<W: Observer> World<W> {
    /// Sends a call on its way.
    pub(super) fn send(&mut self, call: SimulatedCall, deadline: Duration) {
        self.calls.push(call);
        let id = self.calls.len() - 1;
        let travel = self.travel();
        self.at(travel, Event::Arrive(id));
        self.at(deadline, Event::Deadline(id));
    }

    fn reply(&mut self, call: CallId, answer: RendererAnswer) {
        let travel = self.travel();
        self.at(travel, Event::Answered(call, answer));
    }

    pub(super) fn arrive(&mut self, id: CallId) {
        let call = self.calls[id];
        if call.is_fetch {
            return self.fetch(id);
        }
        self.observed.offered(self.now);
        match self.renderer.mood {
            Mood::Working => self.accept(id, call),
            Mood::Flaky(part) if self.rng.f64() >= part => self.accept(id, call),
            Mood::BlackHole => {}
            Mood::Failing(failure) => self.reply(id, RendererAnswer::Failed(failure)),
            Mood::Unavailable | Mood::Flaky(_) => self.reply(id, RendererAnswer::Unavailable),
            Mood::PushingBack { after, scope } => {
                let after = Some(after);
                self.reply(id, RendererAnswer::Exhausted(Pushback { after, scope }));
            }
        }
    }

    fn fetch(&mut self, id: CallId) {
        self.observed.fetched(self.now);
        let refused = AnsweredFailure::Unauthenticated;
        if self.renderer.mood == Mood::Failing(refused) {
            return self.reply(id, RendererAnswer::Failed(refused));
        }
        let store = &mut self.renderer.store;
        let works = matches!(self.renderer.mood, Mood::Working | Mood::Failing(_));
        if !works || store.is_away {
            return;
        }
        if !self.plan.offers_fetch {
            return self.reply(id, RendererAnswer::Unimplemented);
        }
        if let Some(after) = store.pushes_back {
            let pushback = Pushback {
                after: Some(after),
                scope: PushbackScope::Project,
            };
            return self.reply(id, RendererAnswer::Exhausted(pushback));
        }
        if store.busy >= store.slots {
            self.observed.fetch_refused(self.now);
            return self.reply(id, RendererAnswer::Refused);
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
    pub(super) fn stored(&mut self, id: CallId) {
        self.renderer.store.busy -= 1;
        let project = self.calls[id].project;
        let order = self.renderer.stored.get(project).copied().flatten();
        self.reply(id, RendererAnswer::Stored { order });
    }

    fn accept(&mut self, id: CallId, call: SimulatedCall) {
        if self.fate.quota == Some(call.project) {
            let after = Some(Duration::from_secs(5));
            let scope = PushbackScope::Project;
            return self.reply(id, RendererAnswer::Exhausted(Pushback { after, scope }));
        }
        let work = self.work_of(call);
        match self.renderer.take(id, work, self.now) {
            Taken::Accepted => {}
            Taken::Full { .. } if self.renderer.refuses_plainly => {
                self.observed.refused(self.now);
                self.reply(id, RendererAnswer::Refused);
            }
            Taken::Full { after } => {
                self.observed.pushed_back(self.now);
                let after = Some(after);
                let scope = PushbackScope::Project;
                self.reply(id, RendererAnswer::Exhausted(Pushback { after, scope }));
            }
        }
        self.renderer_changed();
    }

    fn work_of(&mut self, call: SimulatedCall) -> f64 {
        if self.is_poison(call.project) {
            match self.fate.poison {
                Poison::Endless => return 1e6,
                Poison::Large => return 8.0,
                Poison::None | Poison::Crash | Poison::Kill => {}
            }
        }
        if self.is_unknown(call) {
            return self.plan.work / 10.0;
        }
        let stored = self.renderer.stored[call.project];
        let is_known = stored.is_some_and(|order| order.rollout >= call.rollout);
        let memo = if is_known { self.plan.memo } else { 1.0 };
        let spread = 0.25 - 0.75 * (1.0 - self.rng.f64()).ln();
        self.plan.work * spread * memo * self.fate.slowness
    }

    /// Whether the replica that a call reaches knows no such project.
    fn is_unknown(&self, call: SimulatedCall) -> bool {
        call.project >= self.plan.projects
            || call.project < self.fate.deleted
            || call.replica < self.fate.unknowing
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

    pub(super) fn renders_end(&mut self) {
        for id in self.renderer.ended(self.now) {
            let call = self.calls[id];
            let answer = if self.is_unknown(call) {
                RendererAnswer::NotFound
            } else if self.is_poison(call.project) && self.fate.poison == Poison::Crash {
                RendererAnswer::Broken
            } else if self.is_poison(call.project) && self.fate.poison == Poison::Kill {
                RendererAnswer::Unavailable
            } else {
                let is_behind = call.replica < self.fate.behind;
                // It is of the generation that has rendered the project before, though a sidecar
                // that lags behind asks for less.
                let stored = &mut self.renderer.stored[call.project];
                let newest = stored.map_or(0, |order| order.rollout).max(call.rollout);
                let rollout = newest - u64::from(is_behind && newest > 1);
                *stored = (*stored).max(Some(Order::new(rollout, number(self.now))));
                RendererAnswer::Rendered { rollout }
            };
            match self.renderer.mood {
                Mood::BlackHole => {}
                Mood::Unavailable => self.reply(id, RendererAnswer::Unavailable),
                Mood::Failing(failure) => self.reply(id, RendererAnswer::Failed(failure)),
                Mood::Working | Mood::Flaky(_) | Mood::PushingBack { .. } => self.reply(id, answer),
            }
        }
        self.renderer_changed();
    }

    pub(super) fn deadline_ends(&mut self, id: CallId) {
        if self.calls[id].is_answered {
            return;
        }
        if self.plan.way == Upkeep::Admission {
            self.renderer.give_up(id, self.now);
            self.renderer_changed();
        }
        self.happen(Event::Answered(id, RendererAnswer::DeadlineExceeded));
    }
}

/// The version of every project's input: it changes all the time.
pub(super) fn number(now: Moment) -> u64 {
    u64::try_from(now.since_start().as_micros()).expect("BUG: a run is short")
}
