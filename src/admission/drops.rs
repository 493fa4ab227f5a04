//! Whether a held project that the renderer no longer knows may be dropped: one bad replica, which
//! knows no project, must not empty what a sidecar holds.

use std::{collections::VecDeque, time::Duration};

use crate::moment::Moment;

/// At most this share of the held projects, and always one, is dropped within [`WINDOW`].
const SHARE: f64 = 0.05;
const WINDOW: Duration = Duration::from_secs(300);
/// A held project is dropped only if a second NOT_FOUND comes this long after the first.
const AFTER: Duration = Duration::from_secs(30);
/// The same where fewer than [`FEW`] are held, which cannot tell a bad replica by the others.
const FEW_AFTER: Duration = Duration::from_secs(300);
const FEW: u64 = 20;

/// The drops of late.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    at: VecDeque<Moment>,
}

/// Whether a project may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropping {
    /// It may, and is counted as dropped.
    Allowed,
    /// Too many were dropped of late; it is held for now.
    Suspended {
        /// How many would have been dropped within five minutes, with this one.
        attempted: usize,
    },
}

impl Drops {
    /// How long after the first NOT_FOUND of a project a second one counts, where `held` projects
    /// are held.
    pub fn confirmed_after(held: u64) -> Duration {
        if held < FEW { FEW_AFTER } else { AFTER }
    }

    /// Decides about one whose NOT_FOUND is confirmed, where `held` projects are held.
    pub fn decide(&mut self, held: u64, now: Moment) -> Dropping {
        let is_over = |at: &mut Moment| now.since(*at) > WINDOW;
        while self.at.pop_front_if(is_over).is_some() {}
        let attempted = self.at.len() + 1;
        #[expect(clippy::cast_precision_loss, reason = "no cache holds that many")]
        if attempted as f64 > (held as f64 * SHARE).max(1.0) {
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
    fn where_few_are_held_a_second_not_found_counts_later() {
        assert_eq!(Drops::confirmed_after(19), Duration::from_secs(300));
        assert_eq!(Drops::confirmed_after(20), Duration::from_secs(30));
    }
}
