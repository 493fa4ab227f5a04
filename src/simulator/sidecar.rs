//! One sidecar: a real admission, and around it as little of a cache and of callers as it needs:
//! what is held of each project, and who waits.

use std::time::Duration;

use super::{plan::Plan, reserver::Reserving};
use crate::{
    admission::{Admission, Drops, HeldMark, Link, Remote, Share, Splay, Want},
    moment::Moment,
    revision::{AnswerOrigin, Order},
};

/// The number of a project: those of the plan from 0, then the names that are none.
pub type ProjectId = usize;

/// What a sidecar knows of one project.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) held: Option<HeldMark>,
    /// What is held of a lower number is outdated by a change.
    pub(super) changed: u64,
    /// Outdated lookups are answered without asking until then, but for one a second, in the epoch
    /// in which that was told.
    pub(super) quiet: Option<(Moment, u64)>,
    pub(super) told_in: u64,
    pub(super) absent_until: Moment,
    /// When the renderer first said that it does not know the held project.
    pub(super) gone: Option<AnswerOrigin>,
    /// Without a sidecar: something was held until it was forgotten.
    pub(super) was_forgotten: bool,
}

impl Slot {
    pub(super) fn become_fresh(&mut self) {
        *self = Self {
            held: self.held,
            changed: self.changed,
            ..Self::default()
        };
    }
}

/// A lookup that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) project: ProjectId,
    pub(super) until: Moment,
    pub(super) caller: Caller,
}

/// An application that looked a project up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Nothing was held.
    pub(super) is_missing: bool,
    /// How often it has tried before.
    pub(super) tries: u32,
}

/// A sidecar as it is at a moment.
#[derive(Debug)]
pub struct SimulatedSidecar {
    id: usize,
    pub(super) admission: Admission,
    /// The connection, and which replica of the renderer it leads to, from 0 to 1.
    pub(super) connection: u64,
    pub(super) replica: f64,
    /// Counts restarts: what was meant for an earlier one is void.
    pub(super) incarnation: u32,
    pub(super) target: u64,
    /// Its part of the fleet's rate.
    pub(super) share: Share,
    /// When it picks a release up.
    pub(super) splay: Splay,
    /// Held projects that were dropped of late.
    pub(super) drops: Drops,
    pub(super) slots: Vec<Slot>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) wakes_at: Option<Moment>,
    pub(super) suspended_until: Moment,
    /// Counts what makes remembered refusals void: targets and limits.
    pub(super) epoch: u64,
    pub(super) progress: Progress,
}

/// How a sidecar catches up with its target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Projects of which what is held is below the target.
    pub(super) behind: usize,
    learned_at: Moment,
    /// Renders that were wished for since, each of which one render meets.
    pub(super) wishes: u32,
    rendering: Duration,
    longest: Duration,
    /// Nothing is behind.
    pub(super) converged: Option<Convergence>,
}

/// How a sidecar came to hold nothing below its target.
#[derive(Clone, Copy, Debug)]
pub struct Convergence {
    /// How long it took since the sidecar learned of the target.
    pub took: Duration,
    /// How many renders were wished for by then.
    pub wishes: u32,
    /// How long they took together.
    pub rendering: Duration,
    /// How long the longest of them took.
    pub longest: Duration,
}

impl SimulatedSidecar {
    pub(super) fn new(
        id: usize,
        plan: &Plan,
        target: u64,
        replica: f64,
        seed: u64,
        now: Moment,
    ) -> Self {
        let mut admission = Admission::with_tuning(plan.tuning, plan.limits(), target, seed, now)
            .with_deadline(plan.deadline);
        if plan.reserving == Reserving::Remote {
            admission = admission.with_reserve(Box::new(Remote));
        }
        admission.set_link(Link::Up, now);
        Self {
            id,
            admission,
            connection: 1,
            replica,
            incarnation: 0,
            target,
            share: Share::new(plan.rate, None, now),
            splay: Splay::new(fastrand::Rng::with_seed(seed).f64()),
            drops: Drops::new(plan.tuning.fault),
            slots: vec![Slot::default(); plan.projects + plan.unknown],
            waiting: Vec::new(),
            wakes_at: None,
            suspended_until: Moment::START,
            epoch: 0,
            progress: Progress {
                behind: plan.projects,
                learned_at: now,
                wishes: 0,
                rendering: Duration::ZERO,
                longest: Duration::ZERO,
                converged: None,
            },
        }
    }

    /// Its number, from 0.
    pub fn id(&self) -> usize {
        self.id
    }

    /// What decides about its renders.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The rollout that it asks for.
    pub fn target(&self) -> u64 {
        self.target
    }

    /// What it holds of a project.
    pub fn held(&self, project: ProjectId) -> Option<HeldMark> {
        self.slots[project].held
    }

    /// What makes a project fresh.
    pub fn want(&self, project: ProjectId) -> Want {
        Want {
            rollout: self.target,
            number: self.slots[project].changed,
            validated_since: Moment::START,
        }
    }

    /// Whether what it holds of a project is fresh.
    pub fn is_fresh(&self, project: ProjectId) -> bool {
        self.want(project).is_met_by(self.slots[project].held)
    }

    /// The project of each lookup that waits.
    pub fn waited_for(&self) -> impl Iterator<Item = ProjectId> {
        self.waiting.iter().map(|waiting| waiting.project)
    }

    /// How many projects it holds.
    pub fn count_held(&self) -> usize {
        self.slots.iter().filter(|slot| slot.held.is_some()).count()
    }

    /// Drops what is held of a project, as a full cache does. What is known of its changes stays:
    /// where it is wanted, admission remembers them.
    pub(super) fn evict(&mut self, project: ProjectId) {
        let was_fresh = self.is_fresh(project);
        let slot = &mut self.slots[project];
        let target = Order::rollout(self.target);
        self.progress.behind += usize::from(slot.held.is_some_and(|held| held.order >= target));
        self.progress.wishes += u32::from(was_fresh);
        *slot = Slot {
            changed: slot.changed,
            was_forgotten: slot.was_forgotten,
            ..Slot::default()
        };
    }

    /// Records a change of a project: what is held of a lower number is outdated.
    pub(super) fn change(&mut self, project: ProjectId, number: u64) {
        let was_fresh = self.is_fresh(project);
        self.slots[project].changed = number;
        self.slots[project].quiet = None;
        self.progress.wishes += u32::from(was_fresh);
    }
}

impl Progress {
    /// Begins anew, with as many renders wished for.
    pub(super) fn begin(&mut self, wishes: usize, now: Moment) {
        self.learned_at = now;
        self.wishes = u32::try_from(wishes).unwrap_or(u32::MAX);
        (self.rendering, self.longest) = (Duration::ZERO, Duration::ZERO);
        self.converged = None;
    }

    /// Records how long a render took.
    pub(super) fn rendered(&mut self, took: Duration) {
        self.rendering += took;
        self.longest = self.longest.max(took);
    }

    /// Records that one project fewer is behind the target.
    pub(super) fn catch_up(&mut self, now: Moment) {
        self.behind -= 1;
        if self.behind == 0 {
            self.converged.get_or_insert(Convergence {
                took: now.since(self.learned_at),
                wishes: self.wishes,
                rendering: self.rendering,
                longest: self.longest,
            });
        }
    }
}
