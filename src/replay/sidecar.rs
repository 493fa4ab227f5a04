//! The sidecar of a replay: a real admission, and as much of a cache and of callers as it needs.

use std::{collections::HashMap, time::Duration};

use super::calls::RecordedProject;
use crate::{
    admission::{Admission, HeldMark, Limits, Want},
    moment::Moment,
    record::RecordStart,
    revision::{Order, Project},
};

/// For how long a project is taken to be absent after the first NOT_FOUND, and after every further
/// one, as in the cache.
const ABSENT_FOR: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));

/// What it knows of one project.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReplayedSlot {
    pub(super) held: Option<HeldMark>,
    /// What is held of a lower number lacks a change.
    pub(super) changed: u64,
    /// Outdated lookups are answered without asking until then, but for one a second, in the epoch
    /// in which that was told.
    pub(super) quiet: Option<(Moment, u64)>,
    pub(super) told_in: u64,
    absent: Option<Absence>,
}

/// The renderer said that there is no such project.
#[derive(Clone, Copy, Debug)]
struct Absence {
    until: Moment,
    target: u64,
}

/// A lookup that waits, or several for which it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayedWaiter {
    pub(super) id: u64,
    pub(super) project: RecordedProject,
    pub(super) until: Moment,
    pub(super) weight: f64,
    /// When it came.
    pub(super) came: Moment,
}

/// The sidecar as it is at a moment.
#[derive(Debug)]
pub(super) struct ReplayedSidecar {
    pub(super) admission: Admission,
    pub(super) target: u64,
    /// Counts what makes remembered refusals void.
    pub(super) epoch: u64,
    pub(super) waiting: Vec<ReplayedWaiter>,
    pub(super) slots: Vec<ReplayedSlot>,
    max_age: Option<Duration>,
    names: Vec<Project>,
    numbers: HashMap<Project, RecordedProject>,
}

impl ReplayedSidecar {
    pub(super) fn new(start: &RecordStart, limits: Limits, projects: u32, seed: u64) -> Self {
        let name = |number| Project::new(&format!("p/{number}")).expect("BUG: a valid name");
        let names: Vec<_> = (0..projects).map(name).collect();
        Self {
            admission: Admission::new(limits, start.target, seed, Moment::START)
                .with_deadline(start.deadline),
            target: start.target,
            epoch: 0,
            waiting: Vec::new(),
            slots: vec![ReplayedSlot::default(); names.len()],
            max_age: start.max_age,
            numbers: names.iter().cloned().zip(0..).collect(),
            names,
        }
    }

    pub(super) fn name(&self, project: RecordedProject) -> Project {
        self.names[project as usize].clone()
    }

    pub(super) fn number(&self, name: &Project) -> RecordedProject {
        self.numbers[name]
    }

    pub(super) fn slot(&mut self, project: RecordedProject) -> &mut ReplayedSlot {
        &mut self.slots[project as usize]
    }

    pub(super) fn held(&self, project: RecordedProject) -> Option<HeldMark> {
        self.slots[project as usize].held
    }

    /// What makes a project fresh.
    pub(super) fn want(&self, project: RecordedProject, now: Moment) -> Want {
        let slot = &self.slots[project as usize];
        let too_old_at = |held: HeldMark| Some(held.validated_at + self.age(project)?);
        let is_too_old = slot.held.and_then(too_old_at).is_some_and(|at| at <= now);
        Want {
            rollout: self.target,
            number: slot.changed,
            validated_since: if is_too_old { now } else { Moment::START },
        }
    }

    pub(super) fn is_fresh(&self, project: RecordedProject, now: Moment) -> bool {
        self.want(project, now).is_met_by(self.held(project))
    }

    pub(super) fn is_absent(&self, project: RecordedProject, now: Moment) -> bool {
        let absent = self.slots[project as usize].absent;
        absent.is_some_and(|it| it.until > now && it.target >= self.target)
    }

    pub(super) fn record_absent(&mut self, project: RecordedProject, now: Moment) {
        let target = self.target;
        let slot = self.slot(project);
        let (first, further) = ABSENT_FOR;
        let lasts = slot.absent.map_or(first, |_| further);
        let until = now + lasts;
        slot.absent = Some(Absence { until, target });
    }

    /// Holds what came, if it is newer, and tells what is held then.
    pub(super) fn store(
        &mut self,
        project: RecordedProject,
        order: Order,
        now: Moment,
    ) -> HeldMark {
        let slot = self.slot(project);
        let order = slot.held.map_or(order, |held| held.order.max(order));
        let held = HeldMark {
            order,
            validated_at: now,
        };
        (slot.held, slot.quiet, slot.absent) = (Some(held), None, None);
        held
    }

    /// The age at which what is held of a project is outdated: spread by a tenth, as in the cache.
    fn age(&self, project: RecordedProject) -> Option<Duration> {
        let part = fastrand::Rng::with_seed(project.into()).f64();
        self.max_age.map(|age| age.mul_f64(0.9 + 0.2 * part))
    }
}
