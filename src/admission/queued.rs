//! What waits, indexed for what is asked at each landing and at each lookup: how many stand before a project, and who is to be
//! told next that it waits in vain. None of it visits all that waits.

use std::{collections::BTreeSet, ops::Bound};

use super::{
    limits::REVIEWED,
    project::{Entry, Place},
    ranked::Ranked,
};
use crate::revision::Project;

#[derive(Debug, Default)]
pub(super) struct Queued {
    /// Arrivals of missing projects that are to be fetched, and to be rendered.
    to_fetch: Ranked<u64>,
    missing: Ranked<u64>,
    /// Projects that are waited for and not in flight.
    waited_for: BTreeSet<Project>,
    /// The last of them that was reviewed in turn.
    reviewed: Option<Project>,
}

impl Queued {
    pub(super) fn insert(&mut self, project: &Project, entry: &Entry) {
        if let Some(queue) = self.queue_of(entry.place) {
            queue.insert(entry.arrival);
        }
        if !entry.waiters.is_empty() && entry.flight.is_none() {
            self.waited_for.insert(project.clone());
        }
    }

    /// Removes a project, of which the entry may have changed but for its place.
    pub(super) fn remove(&mut self, project: &Project, entry: &Entry) {
        if let Some(queue) = self.queue_of(entry.place) {
            queue.remove(&entry.arrival);
        }
        self.waited_for.remove(project);
    }

    /// How many projects to be fetched arrived before one of them.
    pub(super) fn fetched_before(&self, arrival: u64) -> usize {
        self.to_fetch.below(&arrival)
    }

    /// How many missing projects to be rendered arrived before one of them.
    pub(super) fn missing_before(&self, arrival: u64) -> usize {
        self.missing.below(&arrival)
    }

    /// All that are waited for.
    pub(super) fn waited_for(&self) -> Vec<Project> {
        self.waited_for.iter().cloned().collect()
    }

    /// Some that are waited for, in turn.
    pub(super) fn next_to_review(&mut self) -> Vec<Project> {
        let after = self
            .reviewed
            .as_ref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let later = self
            .waited_for
            .range::<Project, _>((after, Bound::Unbounded));
        let mut next: Vec<_> = later.take(REVIEWED).cloned().collect();
        if next.len() < REVIEWED {
            // From the first again, up to where this turn began.
            let upto = self.reviewed.take();
            let is_earlier =
                |project: &&Project| upto.as_ref().is_some_and(|upto| *project <= upto);
            let earlier = self.waited_for.iter().take_while(is_earlier);
            next.extend(earlier.take(REVIEWED - next.len()).cloned());
        }
        self.reviewed = next.last().cloned();
        next
    }

    fn queue_of(&mut self, place: Place) -> Option<&mut Ranked<u64>> {
        match place {
            Place::ToFetch => Some(&mut self.to_fetch),
            Place::Missing => Some(&mut self.missing),
            Place::InFlight | Place::Wanted(..) | Place::Cooling | Place::Resting => None,
        }
    }
}
