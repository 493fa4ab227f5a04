//! The index of wanted projects: which outdated project is refreshed next.
//!
//! The most wanted goes first: the one with the most seconds in which it was looked up since it
//! became outdated, each second's weight decaying. One turn in a fixed number goes to the longest
//! wanted, so that every project has its turn.

use std::{collections::BTreeSet, time::Duration};

use super::ranked::Ranked;
use crate::{moment::Moment, revision::Project};

/// How much a project is wanted, as the logarithm of the sum of e^(t/decay) over the seconds t with
/// a lookup. Weights of different projects compare the same at every later time, so that an index
/// of them needs no upkeep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::admission) struct Weight {
    log: f64,
    second: u64,
}

impl Weight {
    /// The weight of one lookup.
    pub(in crate::admission) fn first(now: Moment, decay: Duration) -> Self {
        Self {
            log: Self::log_of(now, decay),
            second: now.since_start().as_secs(),
        }
    }

    /// Counts a lookup; true when it is the first of its second.
    pub(in crate::admission) fn count(&mut self, now: Moment, decay: Duration) -> bool {
        let second = now.since_start().as_secs();
        if second == self.second {
            return false;
        }
        let new = Self::log_of(now, decay);
        let (high, low) = if new > self.log {
            (new, self.log)
        } else {
            (self.log, new)
        };
        *self = Self {
            log: high + (low - high).exp().ln_1p(),
            second,
        };
        true
    }

    fn log_of(now: Moment, decay: Duration) -> f64 {
        now.since_start().as_secs_f64() / decay.as_secs_f64()
    }

    /// A number that is the greater, the more wanted: the logarithm in billionths.
    pub(in crate::admission) fn rank(self) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 ≤ log < 2^34 in any run"
        )]
        let rank = (self.log * 1e9) as u64;
        rank
    }
}

/// Where a project stands in the index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::admission) struct WantedStanding {
    pub(in crate::admission) weight: Weight,
    /// Since when it is wanted.
    pub(in crate::admission) since: Moment,
}

/// Kinds of wanted projects, each of which may be let through or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum WantedKind {
    /// A revision is held.
    Held,
    /// Nothing is held, and no lookup waits.
    Unseen,
    /// The last render was pushed back.
    PushedBack,
    /// The last render failed.
    Failing,
}

impl WantedKind {
    /// Every kind, the better ones to probe a renderer with first.
    pub(in crate::admission) const ALL: [Self; 4] =
        [Self::Held, Self::Unseen, Self::PushedBack, Self::Failing];
}

/// Projects by how much, and by how long, they are wanted.
#[derive(Debug)]
pub(in crate::admission) struct Wanted {
    shelves: [Shelf; WantedKind::ALL.len()],
    turns: u32,
    /// One in this many turns goes to the longest wanted.
    longest_wanted: u32,
}

#[derive(Debug, Default)]
struct Shelf {
    by_weight: Ranked<(u64, Project)>,
    by_age: BTreeSet<(Moment, Project)>,
}

impl Wanted {
    pub(in crate::admission) fn new(longest_wanted: u32) -> Self {
        Self {
            shelves: Default::default(),
            turns: 0,
            longest_wanted,
        }
    }

    pub(in crate::admission) fn insert(
        &mut self,
        project: &Project,
        kind: WantedKind,
        standing: WantedStanding,
    ) {
        let shelf = &mut self.shelves[kind as usize];
        shelf
            .by_weight
            .insert((standing.weight.rank(), project.clone()));
        shelf.by_age.insert((standing.since, project.clone()));
    }

    pub(in crate::admission) fn remove(
        &mut self,
        project: &Project,
        kind: WantedKind,
        standing: WantedStanding,
    ) {
        let shelf = &mut self.shelves[kind as usize];
        shelf
            .by_weight
            .remove(&(standing.weight.rank(), project.clone()));
        shelf.by_age.remove(&(standing.since, project.clone()));
    }

    /// The project whose turn it is, among the kinds that may go.
    pub(in crate::admission) fn peek(
        &self,
        may_go: &dyn Fn(WantedKind) -> bool,
    ) -> Option<&Project> {
        let shelves = WantedKind::ALL.into_iter().filter(|&kind| may_go(kind));
        let shelves = shelves.map(|kind| &self.shelves[kind as usize]);
        if self.turns % self.longest_wanted == self.longest_wanted - 1 {
            let oldest = shelves.filter_map(|shelf| shelf.by_age.first()).min();
            oldest.map(|(_, project)| project)
        } else {
            let heaviest = shelves.filter_map(|shelf| shelf.by_weight.last()).max();
            heaviest.map(|(_, project)| project)
        }
    }

    /// The project to probe the renderer with: of the best kind that may go the longest wanted.
    pub(in crate::admission) fn probe(
        &self,
        may_go: &dyn Fn(WantedKind) -> bool,
    ) -> Option<&Project> {
        let kinds = WantedKind::ALL.into_iter().filter(|&kind| may_go(kind));
        let oldest = |kind| self.shelves[kind as usize].by_age.first();
        kinds.filter_map(oldest).map(|(_, project)| project).next()
    }

    /// Whether there is any of a kind.
    pub(in crate::admission) fn has(&self, kind: WantedKind) -> bool {
        self.shelves[kind as usize].by_weight.len() > 0
    }

    /// Ends a turn: the project of [`Wanted::peek`] was launched.
    pub(in crate::admission) fn turn(&mut self) {
        self.turns = self.turns.wrapping_add(1);
    }

    /// How many stand before a project, itself left out.
    pub(in crate::admission) fn ahead_of(
        &self,
        project: &Project,
        standing: WantedStanding,
    ) -> usize {
        let place = (standing.weight.rank(), project.clone());
        let ahead = |shelf: &Shelf| shelf.by_weight.above(&place);
        self.shelves.iter().map(ahead).sum()
    }

    pub(in crate::admission) fn len(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.by_weight.len()).sum()
    }

    pub(in crate::admission) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: u32 = 8;
    const DECAY: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn project(name: &str) -> Project {
        Project::new(name).unwrap()
    }

    fn looked_up(seconds: impl IntoIterator<Item = u64>) -> WantedStanding {
        let mut seconds = seconds.into_iter();
        let since = at(seconds.next().unwrap());
        let mut weight = Weight::first(since, DECAY);
        seconds.for_each(|second| {
            weight.count(at(second), DECAY);
        });
        WantedStanding { weight, since }
    }

    #[test]
    fn more_seconds_with_a_lookup_go_first_and_more_lookups_in_a_second_count_once() {
        let mut wanted = Wanted::new(EVERY);
        wanted.insert(&project("often"), WantedKind::Held, looked_up(10..15));
        wanted.insert(
            &project("hot-loop"),
            WantedKind::Held,
            looked_up([10, 10, 10, 10, 10, 10, 14]),
        );
        wanted.insert(&project("once"), WantedKind::Held, looked_up([14]));
        assert_eq!(wanted.peek(&|_| true), Some(&project("often")));
        assert_eq!(wanted.ahead_of(&project("once"), looked_up([14])), 2);
    }

    #[test]
    fn weight_decays_so_that_what_was_wanted_long_ago_yields() {
        let mut wanted = Wanted::new(EVERY);
        wanted.insert(&project("then"), WantedKind::Held, looked_up(0..10));
        wanted.insert(&project("now"), WantedKind::Held, looked_up(598..600));
        assert_eq!(wanted.peek(&|_| true), Some(&project("now")));
    }

    #[test]
    fn none_starves_while_others_are_wanted_more() {
        let mut wanted = Wanted::new(EVERY);
        let cold = looked_up([0]);
        wanted.insert(&project("cold"), WantedKind::Held, cold);
        let turns = (1..).find(|turn| {
            let hot = project(&format!("hot-{turn}"));
            wanted.insert(&hot, WantedKind::Held, looked_up(*turn..turn + 100));
            let next = wanted.peek(&|_| true).unwrap().clone();
            wanted.turn();
            if next == hot {
                wanted.remove(&hot, WantedKind::Held, looked_up(*turn..turn + 100));
            }
            next == project("cold")
        });
        assert!(turns.unwrap() <= u64::from(EVERY));
    }
}
