//! Something that happens again and again. The log says when it begins, and when it has not
//! happened for a while.

use std::time::Duration;

use crate::moment::Moment;

/// A spell of events. It begins with `least` events within `within`, and ends after `quiet` without
/// an event.
#[derive(Debug)]
pub(super) struct Spell {
    least: u64,
    within: Duration,
    quiet: Duration,
    /// Since the window or the spell began.
    since: Moment,
    count: u64,
    last: Moment,
    is_on: bool,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpellNotice {
    /// It began, after this many events.
    Begins(u64),
    /// It ended, after this many events.
    Ends {
        /// How many there were.
        count: u64,
        /// From the first to the last.
        lasted: Duration,
    },
}

impl Spell {
    pub(super) const fn new(least: u64, within: Duration, quiet: Duration) -> Self {
        Self {
            least,
            within,
            quiet,
            since: Moment::START,
            count: 0,
            last: Moment::START,
            is_on: false,
        }
    }

    /// Records how often it happened.
    pub(super) fn record(&mut self, times: u64, now: Moment) -> Option<SpellNotice> {
        if times == 0 {
            return None;
        }
        if !self.is_on && (self.count == 0 || now.since(self.since) > self.within) {
            (self.since, self.count) = (now, 0);
        }
        self.count += times;
        self.last = now;
        let begins = !self.is_on && self.count >= self.least;
        self.is_on |= begins;
        begins.then_some(SpellNotice::Begins(self.count))
    }

    /// Ends it when it is over.
    pub(super) fn look(&mut self, now: Moment) -> Option<SpellNotice> {
        self.next_look().filter(|&at| at <= now)?;
        let ended = std::mem::replace(self, Self::new(self.least, self.within, self.quiet));
        Some(SpellNotice::Ends {
            count: ended.count,
            lasted: ended.last.since(ended.since),
        })
    }

    /// When to look again though nothing happens.
    pub(super) fn next_look(&self) -> Option<Moment> {
        self.is_on.then(|| self.last + self.quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn spell(least: u64) -> Spell {
        Spell::new(least, Duration::from_secs(60), Duration::from_secs(10))
    }

    #[test]
    fn it_begins_with_the_least_count_within_the_window_and_ends_when_it_is_quiet() {
        let mut spell = spell(3);
        assert_eq!(spell.record(1, at(5)), None);
        assert_eq!(spell.next_look(), None);
        assert_eq!(spell.record(1, at(6)), None);
        assert_eq!(spell.record(1, at(7)), Some(SpellNotice::Begins(3)));
        assert_eq!(spell.record(5, at(15)), None, "it is said once");
        assert_eq!(spell.look(at(24)), None);
        assert_eq!(spell.next_look(), Some(at(25)));
        let ends = SpellNotice::Ends {
            count: 8,
            lasted: Duration::from_secs(10),
        };
        assert_eq!(spell.look(at(25)), Some(ends));
        assert_eq!(spell.look(at(99)), None);
    }

    #[test]
    fn what_happens_seldom_is_no_spell() {
        let mut spell = spell(3);
        for n in 0..100 {
            assert_eq!(spell.record(1, at(n * 31)), None, "{n}");
            assert_eq!(spell.record(0, at(n * 31)), None);
        }
    }

    #[test]
    fn a_spell_of_one_begins_with_the_first_and_may_begin_again() {
        let mut spell = spell(1);
        assert_eq!(spell.record(1, at(1)), Some(SpellNotice::Begins(1)));
        assert!(spell.look(at(11)).is_some());
        assert_eq!(spell.record(1, at(12)), Some(SpellNotice::Begins(1)));
    }
}
