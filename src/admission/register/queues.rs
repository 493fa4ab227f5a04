//! Projects in the order of their arrival, indexed for what is asked at each landing and at each
//! lookup: which is next, how many stand before one, and who is to be told next that it waits in
//! vain. None of it visits all that waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::{effort::Effort, entry::Entry, place::Place, ranked::Ranked};
use crate::{admission::words::Class, moment::Moment, revision::Project};

#[derive(Debug, Default)]
pub(in crate::admission) struct Queues {
    /// Missing projects that are to be fetched.
    pub(in crate::admission) to_fetch: Queue,
    /// Missing projects that are to be rendered.
    pub(in crate::admission) missing: Queue,
    /// Projects whose render may start, by class and moment.
    granted: [BTreeSet<(Moment, Project)>; Class::ALL.len()],
    /// Projects that are waited for and not in flight.
    waited_for: BTreeSet<Project>,
    /// The last of them that was reviewed in turn.
    reviewed: Option<Project>,
    /// How many are to be reviewed at once.
    to_review: usize,
}

/// Projects in the order of their arrival.
#[derive(Debug, Default)]
pub(in crate::admission) struct Queue {
    projects: BTreeMap<u64, Project>,
    arrivals: Ranked<u64>,
}

impl Queue {
    fn insert(&mut self, arrival: u64, project: &Project) {
        self.projects.insert(arrival, project.clone());
        self.arrivals.insert(arrival);
    }

    fn remove(&mut self, arrival: u64) {
        self.projects.remove(&arrival);
        self.arrivals.remove(&arrival);
    }

    pub(in crate::admission) fn first(&self) -> Option<&Project> {
        self.projects.first_key_value().map(|(_, project)| project)
    }

    pub(in crate::admission) fn last(&self) -> Option<&Project> {
        self.projects.last_key_value().map(|(_, project)| project)
    }

    /// In the order of their arrival.
    pub(in crate::admission) fn iter(&self) -> impl Iterator<Item = &Project> {
        self.projects.values()
    }

    /// How many arrived before one of them.
    pub(in crate::admission) fn before(&self, arrival: u64) -> usize {
        self.arrivals.below(&arrival)
    }

    pub(in crate::admission) fn len(&self) -> usize {
        self.projects.len()
    }

    pub(in crate::admission) fn is_empty(&self) -> bool {
        self.projects.is_empty()
    }
}

impl Queues {
    pub(super) fn insert(&mut self, project: &Project, entry: &Entry) {
        if let Some(queue) = self.queue_of(entry.seat.place) {
            queue.insert(entry.seat.arrival, project);
        }
        if let Place::Granted(class, starts_at) = entry.seat.place {
            self.granted[class as usize].insert((starts_at, project.clone()));
        }
        let is_flying = matches!(entry.effort, Effort::Flight(_));
        if !entry.waiters.is_empty() && !is_flying {
            self.waited_for.insert(project.clone());
        }
    }

    pub(super) fn remove(&mut self, project: &Project, entry: &Entry) {
        if let Some(queue) = self.queue_of(entry.seat.place) {
            queue.remove(entry.seat.arrival);
        }
        if let Place::Granted(class, starts_at) = entry.seat.place {
            self.granted[class as usize].remove(&(starts_at, project.clone()));
        }
        self.waited_for.remove(project);
    }

    /// The projects of a class whose render may start.
    pub(in crate::admission) fn granted(
        &self,
        class: Class,
        now: Moment,
    ) -> impl Iterator<Item = &Project> {
        let granted = self.granted[class as usize].iter();
        let started = granted.take_while(move |(starts_at, _)| *starts_at <= now);
        started.map(|(_, project)| project)
    }

    /// Every project whose render may start, now or later.
    pub(in crate::admission) fn all_granted(&self) -> Vec<(Moment, Project)> {
        self.granted.iter().flatten().cloned().collect()
    }

    /// Has all that are waited for reviewed soon.
    pub(in crate::admission) fn review_all(&mut self) {
        self.to_review = self.waited_for.len();
    }

    /// Whether more are to be reviewed at once.
    pub(in crate::admission) fn is_reviewing(&self) -> bool {
        self.to_review > 0
    }

    /// The next of those that are waited for, in turn, up to a number.
    pub(in crate::admission) fn next_to_review(&mut self, most: usize) -> Vec<Project> {
        let after = self
            .reviewed
            .as_ref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let later = self
            .waited_for
            .range::<Project, _>((after, Bound::Unbounded));
        let mut next: Vec<_> = later.take(most).cloned().collect();
        if next.len() < most {
            // From the first again, up to where this turn began.
            let upto = self.reviewed.take();
            let is_earlier =
                |project: &&Project| upto.as_ref().is_some_and(|upto| *project <= upto);
            let earlier = self.waited_for.iter().take_while(is_earlier);
            next.extend(earlier.take(most - next.len()).cloned());
        }
        self.reviewed = next.last().cloned();
        self.to_review = if next.len() < most {
            0
        } else {
            self.to_review.saturating_sub(next.len())
        };
        next
    }

    fn queue_of(&mut self, place: Place) -> Option<&mut Queue> {
        match place {
            Place::ToFetch => Some(&mut self.to_fetch),
            Place::Missing => Some(&mut self.missing),
            Place::InFlight
            | Place::Asked
            | Place::Granted(..)
            | Place::Wanted(..)
            | Place::Cooling
            | Place::Resting => None,
        }
    }
}
