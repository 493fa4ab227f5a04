//! The projects that are wanted, in flight, or left alone, and every index of them.
//!
//! A project stands in exactly one place. Whatever changes an entry goes through
//! [`Register::update`], or takes the entry out and puts it back, so that the indices stay in step.
//! What concerns every project (another target, a renderer that is back) is not told to each at
//! once: an entry hears of it when it is next touched, and a sweep touches some of them at each
//! step.

mod cool_down;
mod demands;
mod effort;
mod entry;
mod fetching;
mod place;
mod queues;
mod ranked;
mod strikes;
mod sweep;
mod waiters;
mod wanted;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

pub(super) use self::{
    cool_down::CoolDownFailure,
    effort::{Effort, Flight, Probes, Stage},
    entry::Entry,
    place::{Place, QueueCount},
    wanted::{WantedKind, Weight},
};
use self::{
    entry::{AnnouncedTarget, AnnouncementCount},
    queues::Queues,
    wanted::Wanted,
};
use super::{
    action::Lease,
    tuning::Tuning,
    words::{Class, Wish},
};
use crate::{moment::Moment, revision::Project};

/// What a project's place depends on beside its own entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around {
    pub(super) now: Moment,
    /// Whether missing projects are fetched before they are rendered.
    pub(super) fetches: bool,
    /// How long one project of those wanted takes, while the renderer is well; none at rate 0.
    pub(super) turn: Option<Duration>,
    /// The most missing projects that are wanted although no lookup waits.
    pub(super) queue: usize,
}

#[derive(Debug)]
pub(super) struct Register {
    tuning: Tuning,
    target: AnnouncedTarget,
    pub(super) entries: BTreeMap<Project, Entry>,
    pub(super) queues: Queues,
    pub(super) wanted: Wanted,
    timers: BTreeSet<(Moment, Project)>,
    pub(super) counts: ProjectCounts,
    arrivals: u64,
    news: AnnouncementCount,
    /// Where the sweep has come to; none when there is none.
    sweep: Option<Bound<Project>>,
    dropped: Dropped,
}

/// How many projects there are of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProjectCounts {
    /// Wanted, by [`Class::by_held`].
    pub(super) wanted: [usize; Class::ALL.len()],
    /// Those whose last render failed, was rejected or brought less than was asked for.
    pub(super) failing: usize,
    /// Wanted ones of which an older rollout is held than is asked for.
    pub(super) below_target: usize,
    /// Missing ones that are waited for and not in flight.
    pub(super) waited_for: usize,
    /// Missing ones without waiting lookups.
    pub(super) demoted: usize,
    /// Those that are asked for, or may start.
    pub(super) pending: u32,
}

/// What the rest of admission is to hear of.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// Projects that are no longer remembered.
    pub(super) projects: Vec<Project>,
    /// Grants of which no use was made.
    pub(super) leases: Vec<Lease>,
}

impl Register {
    pub(super) fn new(target: u64, tuning: Tuning) -> Self {
        Self {
            tuning,
            target: AnnouncedTarget::Lowered(target),
            entries: BTreeMap::new(),
            queues: Queues::default(),
            wanted: Wanted::new(tuning.turns.longest_wanted),
            timers: BTreeSet::new(),
            counts: ProjectCounts::default(),
            arrivals: 0,
            news: AnnouncementCount::default(),
            sweep: None,
            dropped: Dropped::default(),
        }
    }

    pub(super) fn target(&self) -> u64 {
        self.target.rollout()
    }

    pub(super) fn get(&self, project: &Project) -> Option<&Entry> {
        self.entries.get(project)
    }

    /// Changes an entry, and puts the project where it then belongs.
    pub(super) fn update<R>(
        &mut self,
        project: &Project,
        around: Around,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Option<R> {
        let mut entry = self.take(project)?;
        let result = change(&mut entry);
        self.put(project, entry, around);
        Some(result)
    }

    /// Puts a project where it now belongs.
    pub(super) fn settle(&mut self, project: &Project, around: Around) {
        self.update(project, around, |_| ());
    }

    /// Takes an entry out of every index, to be [put](Register::put) back; a new one for a project
    /// that is not known.
    pub(super) fn take_or_new(&mut self, project: &Project, wish: Wish, now: Moment) -> Entry {
        let arrival = self.arrival();
        self.take(project)
            .unwrap_or_else(|| Entry::new(wish, arrival, self.news, &self.tuning, now))
    }

    /// A new arrival, for a project that goes behind all others.
    pub(super) fn arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// Takes an entry out of every index, to be [put](Register::put) back.
    pub(super) fn take(&mut self, project: &Project) -> Option<Entry> {
        let mut entry = self.entries.remove(project)?;
        if let Place::Wanted(kind, standing) = entry.seat.place {
            self.wanted.remove(project, kind, standing);
        }
        self.queues.remove(project, &entry);
        if let Some(at) = entry.seat.timer {
            self.timers.remove(&(at, project.clone()));
        }
        self.count(&entry, usize::wrapping_sub);
        entry.hear(self.news, self.target);
        Some(entry)
    }

    /// Puts an entry where it belongs, unless it can be forgotten.
    pub(super) fn put(&mut self, project: &Project, mut entry: Entry, around: Around) {
        let now = around.now;
        entry.extend_interest(self.convergence(around), &self.tuning, now);
        let placed = entry.place_at(around.fetches, &self.tuning, now);
        if let Effort::Granted(_, lease) = entry.effort
            && !matches!(placed, Some((Place::Granted(..), _)))
        {
            // Granted → None: nothing is wanted now.
            entry.effort = Effort::None;
            self.dropped.leases.extend(lease);
        }
        let Some((place, timer)) = placed else {
            self.dropped.projects.push(project.clone());
            return;
        };
        (entry.seat.place, entry.seat.timer) = (place, timer);
        entry.seat.counted = entry.counts_as();
        if entry.seat.counted == QueueCount::Demoted && self.counts.demoted >= around.queue {
            if let Effort::Granted(_, lease) = entry.effort {
                self.dropped.leases.extend(lease);
            }
            self.dropped.projects.push(project.clone());
            return;
        }
        if let Place::Wanted(kind, standing) = place {
            self.wanted.insert(project, kind, standing);
        }
        self.queues.insert(project, &entry);
        if let Some(at) = timer {
            self.timers.insert((at, project.clone()));
        }
        self.count(&entry, usize::wrapping_add);
        self.entries.insert(project.clone(), entry);
    }

    fn count(&mut self, entry: &Entry, add: impl Fn(usize, usize) -> usize) {
        let is_wanted = entry.seat.place.is_wanted();
        let counted = entry.seat.counted;
        let counts = &mut self.counts;
        for (count, counts_here) in [
            (&mut counts.wanted[entry.held_class() as usize], is_wanted),
            (&mut counts.failing, entry.cool_down.is_failing()),
            (&mut counts.below_target, is_wanted && entry.is_raised()),
            (&mut counts.waited_for, counted == QueueCount::WaitedFor),
            (&mut counts.demoted, counted == QueueCount::Demoted),
        ] {
            *count = add(*count, usize::from(counts_here));
        }
        let is_pending = matches!(entry.seat.place, Place::Asked | Place::Granted(..));
        let pending = add(counts.pending as usize, usize::from(is_pending));
        counts.pending = u32::try_from(pending).unwrap_or(u32::MAX);
    }

    /// How long it takes at most until all that is wanted has been rendered while the renderer is
    /// well; nothing at rate 0.
    fn convergence(&self, around: Around) -> Duration {
        let Some(turn) = around.turn else {
            return Duration::ZERO;
        };
        let wanted = self.counts.wanted.iter().sum::<usize>() + 1;
        #[expect(clippy::cast_precision_loss, reason = "projects are fewer")]
        let seconds = self.tuning.interest.convergence * turn.as_secs_f64() * wanted as f64;
        Duration::try_from_secs_f64(seconds).unwrap_or(self.tuning.interest.most)
    }

    /// The project whose timer is due.
    pub(super) fn due(&self, now: Moment) -> Option<Project> {
        let (at, project) = self.timers.first()?;
        (*at <= now).then(|| project.clone())
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Moment> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// Takes what the rest of admission is to hear of.
    pub(super) fn take_dropped(&mut self) -> Dropped {
        std::mem::take(&mut self.dropped)
    }

    /// Whether anything waits for a render.
    pub(super) fn any_to_render(&self) -> bool {
        !self.queues.missing.is_empty() || !self.wanted.is_empty() || self.counts.pending > 0
    }

    /// How many are served before a project, in the order of classes.
    pub(super) fn ahead_of(&self, project: &Project, place: Place, arrival: u64) -> usize {
        let missing = &self.queues.missing;
        match place {
            Place::Missing => missing.before(arrival),
            Place::Wanted(_, standing) => missing.len() + self.wanted.ahead_of(project, standing),
            Place::ToFetch => self.queues.to_fetch.before(arrival),
            Place::InFlight | Place::Asked | Place::Granted(..) => 0,
            Place::Cooling | Place::Resting => missing.len() + self.wanted.len(),
        }
    }
}
