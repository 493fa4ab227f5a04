//! What is remembered of single projects, for who asks from outside: operators above all.

use std::{num::NonZeroU32, ops::Bound};

use super::{
    Admission,
    gates::{Gate, Shut},
    register::{Entry, Place, Stage},
    words::Class,
};
use crate::{moment::Moment, revision::Project};

/// What is remembered of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its class, by what is held.
    pub class: Class,
    /// Since when it is wanted; none when it is not.
    pub wanted_since: Option<Moment>,
    /// How many renders in a row failed, were rejected or brought less than was asked for.
    pub failures: u32,
}

/// Where a project stands among those that wait for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place, from 1.
    pub place: usize,
    /// How many wait.
    pub of: usize,
}

/// What every gate answers to a project, and the numbers that it goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ladder {
    /// In the order of asking, and how each is shut, if it is.
    pub gates: [(Gate, Option<Shut>); Gate::ALL.len()],
    /// Whether the project is to be fetched, rather than rendered.
    pub is_fetch: bool,
    /// Renders, or fetches, in flight.
    pub in_flight: u32,
    /// How many of them may be, for a project like this one.
    pub permits: u32,
    /// Missing projects that are waited for.
    pub waiting: usize,
    /// How many of them may be.
    pub queue: NonZeroU32,
    /// Tokens for renders, with the fraction of the next.
    pub tokens: f64,
    /// How many come in a second.
    pub rate: f64,
}

impl Admission {
    /// What is remembered of a project, if anything.
    pub fn remembered(&self, project: &Project) -> Option<Remembered> {
        self.register.get(project).map(Entry::remembered)
    }

    /// Whether a call for a project is in flight.
    pub fn is_in_flight(&self, project: &Project) -> bool {
        let entry = self.register.get(project);
        entry.is_some_and(|entry| entry.flight().is_some())
    }

    /// What is remembered of the first `most` projects after that one, by name. A caller that
    /// walks over all of them does so in steps.
    pub fn remembered_after(
        &self,
        after: Option<&Project>,
        most: usize,
    ) -> impl Iterator<Item = (&Project, Remembered)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self
            .register
            .entries
            .range::<Project, _>((after, Bound::Unbounded));
        rest.take(most)
            .map(|(project, entry)| (project, entry.remembered()))
    }

    /// Where a project stands among those that wait in turn; none when it does not.
    pub fn turn(&self, project: &Project) -> Option<Turn> {
        let seat = self.register.get(project)?.seat;
        let queues = &self.register.queues;
        let of = match seat.place {
            Place::ToFetch => queues.to_fetch.len(),
            Place::Missing | Place::Wanted(..) => queues.missing.len() + self.register.wanted.len(),
            Place::InFlight
            | Place::Asked
            | Place::Granted(..)
            | Place::Cooling
            | Place::Resting => return None,
        };
        let ahead = self.register.ahead_of(project, seat.place, seat.arrival);
        Some(Turn {
            place: ahead + 1,
            of,
        })
    }

    /// Every gate for a project, with numbers; none when the project is not wanted, or is in
    /// flight.
    pub fn ladder(&self, project: &Project, now: Moment) -> Option<Ladder> {
        let gates = self.gates(project, now)?;
        let entry = self.register.get(project)?;
        let candidate = self.candidate(project, entry, now);
        let is_fetch = match candidate.stage {
            Stage::Fetch | Stage::Confirm => true,
            Stage::Reserve | Stage::Render => false,
        };
        let (in_flight, permits) = if is_fetch {
            (self.flights.fetches, self.fetches_at_once(now).get())
        } else {
            let in_force = self.permits_in_force(now);
            let permits = in_force.of_lane(candidate.lane());
            (self.flights.renders, permits)
        };
        Some(Ladder {
            gates,
            is_fetch,
            in_flight,
            permits,
            waiting: self.register.counts.waited_for,
            queue: self.rules.limits.queue,
            tokens: self.level(now),
            rate: self.rate_in_force(now),
        })
    }
}

impl Entry {
    fn remembered(&self) -> Remembered {
        let is_wanted = self.seat.place.is_wanted();
        Remembered {
            class: self.held_class(),
            wanted_since: is_wanted.then_some(self.seat.standing.since),
            failures: self.cool_down.failed_in_a_row(),
        }
    }
}
