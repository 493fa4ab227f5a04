//! Whether a held project that the renderer no longer knows may be dropped: one bad replica, which
//! knows no project, must not empty what a sidecar holds.

use std::{collections::VecDeque, time::Duration};

use super::tuning::{FaultTuning, Tuning};
use crate::moment::Moment;

/// The drops of late.
#[derive(Clone, Debug)]
pub struct Drops {
    tuning: FaultTuning,
    at: VecDeque<Moment>,
}

/// Whether a project may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropping {
    /// It may, and counts as dropped.
    Allowed,
    /// Too many were dropped of late; it stays held for now.
    Suspended {
        /// How many would have been dropped within five minutes, with this one.
        attempted: usize,
    },
}

impl Default for Drops {
    fn default() -> Self {
        Self::new(Tuning::DEFAULT.fault)
    }
}

impl Drops {
    /// Starts without a drop.
    ///
    /// # Panics
    ///
    /// When the share is negative.
    pub fn new(tuning: FaultTuning) -> Self {
        assert!(tuning.drop_share >= 0.0, "a share of drops is not negative");
        Self {
            tuning,
            at: VecDeque::new(),
        }
    }

    /// Counts drops of a process before this one, in order.
    pub fn resume(&mut self, at: impl IntoIterator<Item = Moment>) {
        self.at.extend(at);
    }

    /// How long after the first NOT_FOUND of a project a second one counts, where `held` projects
    /// are held.
    pub fn confirmed_after(&self, held: u64) -> Duration {
        if held < self.tuning.few {
            self.tuning.few_dropped_after
        } else {
            self.tuning.dropped_after
        }
    }

    /// Decides about a project whose NOT_FOUND is confirmed, while `held` projects are held.
    pub fn decide(&mut self, held: u64, now: Moment) -> Dropping {
        let window = self.tuning.drop_window;
        let is_over = |at: &mut Moment| now.since(*at) > window;
        while self.at.pop_front_if(is_over).is_some() {}
        let attempted = self.at.len() + 1;
        #[expect(clippy::cast_precision_loss, reason = "no cache holds that many")]
        if attempted as f64 > (held as f64 * self.tuning.drop_share).max(1.0) {
            return Dropping::Suspended { attempted };
        }
        self.at.push_back(now);
        Dropping::Allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn allowed(drops: &mut Drops, held: u64, now: Moment) -> usize {
        let decided = (0..held).map(|_| drops.decide(held, now));
        decided.filter(|drop| *drop == Dropping::Allowed).count()
    }

    #[test]
    fn at_most_a_twentieth_is_dropped_within_five_minutes_and_always_one() {
        let mut drops = Drops::default();
        assert_eq!(allowed(&mut drops, 100, at(0)), 5);
        assert_eq!(allowed(&mut drops, 100, at(300)), 0);
        assert_eq!(allowed(&mut drops, 100, at(301)), 5);
        assert_eq!(allowed(&mut Drops::default(), 3, at(0)), 1);
    }

    #[test]
    fn drops_of_a_process_before_this_one_count() {
        let mut drops = Drops::default();
        drops.resume([at(10), at(20), at(30), at(40), at(50)]);
        assert_eq!(allowed(&mut drops, 100, at(300)), 0);
        assert_eq!(allowed(&mut drops, 100, at(331)), 3);
    }

    #[test]
    fn where_few_are_held_a_second_not_found_counts_later() {
        let drops = Drops::default();
        assert_eq!(drops.confirmed_after(19), Duration::from_secs(300));
        assert_eq!(drops.confirmed_after(20), Duration::from_secs(30));
    }
}
