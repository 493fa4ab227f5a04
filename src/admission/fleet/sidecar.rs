//! One sidecar of the fleet: a real machine, and around it as little of a cache and of callers as makes it work: what is held of
//! each project, who waits, and what was told to whom.

use std::{collections::HashSet, time::Duration};

use super::witness::Witness;
use crate::{
    admission::{Admission, HeldMark, Limits, Link, Tuning, Want},
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Order,
};

/// A project in the books of the simulation.
pub(super) type ProjectId = usize;

/// What a sidecar knows of one project.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) held: Option<HeldMark>,
    /// What is held of a lower number is outdated by a change.
    pub(super) changed: u64,
    /// When it was first looked up since it is not fresh.
    pub(super) wanted_since: Option<Moment>,
    /// When the machine was last asked for it.
    pub(super) asked_at: Moment,
    /// How often it was launched for the same wish.
    pub(super) attempts: u32,
    /// Outdated lookups are answered without asking until then, but for one a second, in the epoch in which that was told.
    pub(super) quiet: Option<(Moment, u64)>,
    pub(super) told_in: u64,
    pub(super) absent_until: Moment,
    /// Of the incident's way: something was held until it was forgotten.
    pub(super) was_forgotten: bool,
}

/// One who waits.
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

#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) admission: Admission,
    /// The connection, and which replica of the renderer it leads to, from 0 to 1.
    pub(super) connection: u64,
    pub(super) replica: f64,
    /// Counts restarts: what was meant for an earlier one is void.
    pub(super) incarnation: u32,
    pub(super) target: u64,
    pub(super) slots: Vec<Slot>,
    pub(super) waiting: Vec<Waiting>,
    /// Projects that are not in flight, of which callers were told that they are scheduled, and when.
    pub(super) scheduled: Vec<(ProjectId, Moment)>,
    /// What callers were told of projects that are not fresh since.
    pub(super) promises: Vec<(ProjectId, Moment, Refusal)>,
    pub(super) wakes_at: Option<Moment>,
    pub(super) suspended_until: Moment,
    pub(super) epoch: u64,
    pub(super) witness: Witness,
    /// Projects of which what is held is below the target.
    pub(super) behind: usize,
    pub(super) learned_at: Moment,
    /// Renders that were wished for since, each of which one render meets.
    pub(super) wishes: u32,
    /// How long renders took since, and the longest of them.
    pub(super) rendering: Duration,
    pub(super) longest: Duration,
    /// Nothing is behind.
    pub(super) converged: Option<Convergence>,
    pub(super) ledger: Ledger,
}

/// How a sidecar came to have nothing that is behind its target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convergence {
    /// Since it learned of the target.
    pub(super) took: Duration,
    /// By then, how many renders were wished for, how long they took together, and the longest of them.
    pub(super) wishes: u32,
    pub(super) rendering: Duration,
    pub(super) longest: Duration,
}

/// Watches promise P2: the most that was launched in any window, less what the rate allows in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ledger {
    excess: f64,
    rate: f64,
    at: Moment,
}

impl Ledger {
    pub(super) fn new(rate: f64, at: Moment) -> Self {
        Self {
            excess: 0.0,
            rate,
            at,
        }
    }

    pub(super) fn set_rate(&mut self, rate: f64, now: Moment) {
        self.excess = (self.excess - self.rate * now.since(self.at).as_secs_f64()).max(0.0);
        (self.rate, self.at) = (rate, now);
    }

    /// A new process starts with one token.
    pub(super) fn forgive_one(&mut self) {
        self.excess = (self.excess - 1.0).max(0.0);
    }

    /// Notes a launch, and tells the largest excess over all windows that end now.
    pub(super) fn launched(&mut self, now: Moment) -> f64 {
        self.set_rate(self.rate, now);
        self.excess += 1.0;
        self.excess
    }
}

impl Sidecar {
    pub(super) fn new(
        tuning: Tuning,
        limits: Limits,
        target: u64,
        projects: usize,
        deadline: Duration,
        seed: u64,
        now: Moment,
    ) -> Self {
        let mut admission =
            Admission::with_tuning(tuning, limits, target, seed, now).with_deadline(deadline);
        admission.set_link(Link::Up, now);
        Self {
            admission,
            connection: 1,
            replica: 0.0,
            incarnation: 0,
            target,
            slots: vec![Slot::default(); projects],
            waiting: Vec::new(),
            scheduled: Vec::new(),
            promises: Vec::new(),
            wakes_at: None,
            suspended_until: Moment::START,
            epoch: 0,
            witness: Witness::new(&limits, projects, now),
            behind: projects,
            learned_at: now,
            wishes: 0,
            rendering: Duration::ZERO,
            longest: Duration::ZERO,
            converged: None,
            ledger: Ledger::new(limits.rate, now),
        }
    }

    /// What makes a project fresh.
    pub(super) fn want(&self, project: ProjectId) -> Want {
        Want {
            rollout: self.target,
            number: self.slots[project].changed,
            validated_since: Moment::START,
        }
    }

    pub(super) fn is_fresh(&self, project: ProjectId) -> bool {
        self.want(project).is_met_by(self.slots[project].held)
    }

    /// Drops what is held of a project, as a full cache does. What is known of its changes stays: where it is wanted, the machine
    /// remembers them.
    pub(super) fn evict(&mut self, project: ProjectId) {
        self.promises.retain(|(promised, ..)| *promised != project);
        let was_fresh = self.is_fresh(project);
        let slot = &mut self.slots[project];
        let target = Order::rollout(self.target);
        self.behind += usize::from(slot.held.is_some_and(|held| held.order >= target));
        self.wishes += u32::from(was_fresh);
        *slot = Slot {
            changed: slot.changed,
            wanted_since: slot.wanted_since,
            asked_at: slot.asked_at,
            attempts: slot.attempts,
            was_forgotten: slot.was_forgotten,
            ..Slot::default()
        };
    }

    /// Begins to watch how it converges.
    pub(super) fn learned(&mut self, wishes: usize, now: Moment) {
        self.learned_at = now;
        self.wishes = u32::try_from(wishes).unwrap_or(u32::MAX);
        (self.rendering, self.longest) = (Duration::ZERO, Duration::ZERO);
        self.converged = None;
    }

    /// Notes how long a render took.
    pub(super) fn rendered(&mut self, took: Duration) {
        self.rendering += took;
        self.longest = self.longest.max(took);
    }

    /// Notes that one project fewer is behind the target.
    pub(super) fn catches_up(&mut self, now: Moment) {
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

    /// Notes a change of a project: what is held of a lower number is outdated.
    pub(super) fn change(&mut self, project: ProjectId, number: u64) {
        let was_fresh = self.is_fresh(project);
        self.slots[project].changed = number;
        self.slots[project].quiet = None;
        self.wishes += u32::from(was_fresh);
    }

    /// Takes the promises to callers of a project that were made for such reasons, with when they were made.
    pub(super) fn kept_promises(
        &mut self,
        project: ProjectId,
        is_of: impl Fn(NotRefreshed) -> bool,
    ) -> Vec<(Moment, Refusal)> {
        self.promises
            .extract_if(.., |(promised, _, refusal)| {
                *promised == project && is_of(refusal.reason)
            })
            .map(|(_, at, refusal)| (at, refusal))
            .collect()
    }

    /// Whether a reason is true, as far as the world can tell without asking the machine.
    pub(super) fn is_true(&self, project: ProjectId, reason: NotRefreshed, now: Moment) -> bool {
        let held = self.slots[project].held;
        let limits = self.admission.limits();
        self.witness
            .bears_out(reason, project, held, self.target, limits, now)
    }

    /// Whether so many projects are waited for of which nothing is held, or were until all who waited left, as may be.
    pub(super) fn is_queue_full(&self) -> bool {
        let queue = self.admission.limits().queue.get() as usize;
        let is_queued = |project: &ProjectId| {
            self.slots[*project].held.is_none() && !self.witness.is_flying(*project)
        };
        let waiting = self.waiting.iter().map(|waiting| waiting.project);
        let waited_for: HashSet<_> = waiting.filter(is_queued).collect();
        let is_demoted = |project: &ProjectId| {
            is_queued(project)
                && self.slots[*project].wanted_since.is_some()
                && !waited_for.contains(project)
        };
        waited_for.len() >= queue || (0..self.slots.len()).filter(is_demoted).count() >= queue
    }
}
