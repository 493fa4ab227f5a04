//! What is held and may lack a change that was missed: the queue of those to be confirmed by a
//! fetch, the most wanted first.
//!
//! It stands below everything else: a project is in it only once it was looked up, it is launched
//! only when no missing project waits for a fetch, and at a tenth of their rate. Nothing of renders
//! stops it; failing fetches do, for a while. What is held is served as before until then.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    budget::LaunchedCall,
    limits::FetchLimits,
    register::Weight,
    tuning::{FetchTuning, Tuning},
};
use crate::{moment::Moment, revision::Project};

/// So that a tiny rate does not overflow.
const LONGEST_INTERVAL: Duration = Duration::from_secs(86_400);

/// The projects to be confirmed, and when the next one may be.
#[derive(Debug)]
pub(in crate::admission) struct Confirming {
    tuning: Tuning,
    entries: BTreeMap<Project, Unconfirmed>,
    /// Those that are not in flight, in order; the last goes first.
    queue: BTreeSet<ConfirmPlace>,
    in_flight: u32,
    /// When changes may last have been missed.
    since: Moment,
    /// Nothing is launched before each of these.
    starts_at: Moment,
    next_at: Moment,
    halted_until: Moment,
    /// Fetches in a row that failed.
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Unconfirmed {
    weight: Weight,
    /// How often it was tried in vain; such projects go last.
    attempts: u32,
    interest_until: Moment,
    /// When it was launched, and beside which calls.
    flight: Option<(Moment, LaunchedCall)>,
}

type ConfirmPlace = (Reverse<u32>, u64, Project);

/// What became of a confirming fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum ConfirmFate {
    /// The renderer has said all that it can.
    Known,
    /// It failed; nothing is confirmed for a while, and the project goes behind all others.
    Failed,
    /// It says nothing about the project; no other fetch may be sent for this time.
    Held(Duration),
}

impl Confirming {
    pub(in crate::admission) fn new(tuning: Tuning) -> Self {
        Self {
            tuning,
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            in_flight: 0,
            since: Moment::START,
            starts_at: Moment::START,
            next_at: Moment::START,
            halted_until: Moment::START,
            failures: 0,
        }
    }

    /// Records that changes may have been missed. The first fetch comes after U(0,
    /// [`FetchTuning::confirm_start`]), since a whole fleet notes it at once.
    pub(in crate::admission) fn resync(&mut self, now: Moment, rng: &mut fastrand::Rng) {
        self.since = now;
        if self.entries.is_empty() {
            self.starts_at = now + self.tuning.fetch.confirm_start.mul_f64(rng.f64());
        }
    }

    /// Records a lookup of a project that is to be confirmed.
    pub(in crate::admission) fn want(&mut self, project: &Project, now: Moment) {
        let interest_until = now + self.tuning.interest.lasts;
        let decay = self.tuning.turns.weight_decay;
        let entry = match self.take(project) {
            Some(mut entry) => {
                entry.weight.count(now, decay);
                entry.interest_until = interest_until;
                entry
            }
            None => Unconfirmed {
                weight: Weight::first(now, decay),
                attempts: 0,
                interest_until,
                flight: None,
            },
        };
        self.put(project, entry);
    }

    /// The project whose turn it is; else when to look again, if ever. Those without a lookup for
    /// long are dropped.
    pub(in crate::admission) fn next(
        &mut self,
        limits: &FetchLimits,
        now: Moment,
    ) -> Result<Project, Option<Moment>> {
        loop {
            let Some((.., project)) = self.queue.last().cloned() else {
                return Err(None);
            };
            if self.entries[&project].interest_until <= now {
                self.take(&project);
                continue;
            }
            // Half of the permits, so that one is free when a missing project comes, even at a
            // store that hangs.
            if limits.rate <= 0.0 || self.in_flight >= (limits.concurrency.get() / 2).max(1) {
                return Err(None);
            }
            let opens = self.starts_at.max(self.next_at).max(self.halted_until);
            return if opens <= now {
                Ok(project)
            } else {
                Err(Some(opens))
            };
        }
    }

    /// Records that a project is launched. The next one comes no sooner than the rate allows;
    /// nothing is saved up.
    pub(in crate::admission) fn launched(
        &mut self,
        project: &Project,
        launch: LaunchedCall,
        limits: &FetchLimits,
        now: Moment,
    ) {
        if let Some(mut entry) = self.take(project) {
            entry.flight = Some((now, launch));
            self.put(project, entry);
            self.next_at = now + interval(limits, &self.tuning.fetch);
        }
    }

    /// Puts other limits in force.
    pub(in crate::admission) fn set_limits(&mut self, limits: &FetchLimits, now: Moment) {
        if limits.rate > 0.0 {
            self.next_at = self.next_at.min(now + interval(limits, &self.tuning.fetch));
        }
    }

    /// Records what became of a launched project. Returns beside which calls it was launched;
    /// `None` if it was not.
    pub(in crate::admission) fn landed(
        &mut self,
        project: &Project,
        fate: ConfirmFate,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Option<LaunchedCall> {
        let mut entry = self.take(project)?;
        let Some((launched, launch)) = entry.flight.take() else {
            self.put(project, entry);
            return None;
        };
        match fate {
            ConfirmFate::Known => {
                self.failures = 0;
                // Another change may have been missed in the meantime.
                if launched < self.since {
                    self.put(project, entry);
                }
                return Some(launch);
            }
            ConfirmFate::Held(after) => self.halted_until = self.halted_until.max(now + after),
            ConfirmFate::Failed => {
                let longest = self.tuning.fetch.confirm_backoff.doubled(self.failures);
                self.halted_until = self
                    .halted_until
                    .max(now + longest.mul_f64(0.5 + 0.5 * rng.f64()));
                self.failures += 1;
                entry.attempts += 1;
            }
        }
        self.put(project, entry);
        Some(launch)
    }

    /// Records that a project was asked for at `asked` and answered otherwise, so that it need not
    /// be confirmed.
    pub(in crate::admission) fn learned(&mut self, project: &Project, asked: Moment) {
        if asked >= self.since
            && self
                .entries
                .get(project)
                .is_some_and(|entry| entry.flight.is_none())
        {
            self.take(project);
        }
    }

    /// How many projects are left, those in flight included.
    pub(in crate::admission) fn left(&self) -> usize {
        self.entries.len()
    }

    fn take(&mut self, project: &Project) -> Option<Unconfirmed> {
        let entry = self.entries.remove(project)?;
        match entry.flight {
            Some(_) => self.in_flight -= 1,
            None => drop(self.queue.remove(&entry.place(project))),
        }
        Some(entry)
    }

    fn put(&mut self, project: &Project, entry: Unconfirmed) {
        match entry.flight {
            Some(_) => self.in_flight += 1,
            None => drop(self.queue.insert(entry.place(project))),
        }
        self.entries.insert(project.clone(), entry);
    }
}

/// The time between two fetches.
fn interval(limits: &FetchLimits, tuning: &FetchTuning) -> Duration {
    let seconds = 1.0 / (limits.rate * tuning.confirming);
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(LONGEST_INTERVAL)
        .min(LONGEST_INTERVAL)
}

impl Unconfirmed {
    fn place(&self, project: &Project) -> ConfirmPlace {
        (Reverse(self.attempts), self.weight.rank(), project.clone())
    }
}
