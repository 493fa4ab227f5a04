//! When the log says that the renderer accepts renders without answering: long before their
//! deadline.

use std::time::Duration;

use crate::moment::Moment;

/// A render takes long when it takes this many times the median, and at least [`LONG`].
const TIMES_THE_MEDIAN: u32 = 10;
const LONG: Duration = Duration::from_secs(5);

/// What is known of the renders in flight at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HangFacts {
    /// Since when the oldest render has been in flight.
    pub(super) oldest: Option<Moment>,
    /// When the renderer last answered a render, with whatever status.
    pub(super) answered: Moment,
    /// How long a render usually takes; zero if unknown.
    pub(super) median: Duration,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HangNotice {
    /// The oldest render takes long, and no other was answered in that time.
    Hangs {
        /// For how long it has been in flight.
        age: Duration,
    },
    /// A render was answered again.
    Heals,
}

/// Whether the log says that the renderer hangs, and since when.
#[derive(Debug, Default)]
pub(super) struct Hang(Option<Moment>);

impl Hang {
    /// What is to be logged at `now`.
    pub(super) fn look(&mut self, facts: HangFacts, now: Moment) -> Option<HangNotice> {
        if let Some(noticed) = self.0 {
            let is_answered = facts.answered > noticed;
            return is_answered.then(|| {
                self.0 = None;
                HangNotice::Heals
            });
        }
        let oldest = facts.oldest?;
        facts.hangs_at().filter(|&at| at <= now)?;
        self.0 = Some(now);
        Some(HangNotice::Hangs {
            age: now.since(oldest),
        })
    }

    /// When to look again though nothing happens.
    pub(super) fn next_look(&self, facts: HangFacts) -> Option<Moment> {
        match self.0 {
            Some(_) => None,
            None => facts.hangs_at(),
        }
    }
}

impl HangFacts {
    /// When the oldest render has taken long, and no other was answered for as long.
    fn hangs_at(self) -> Option<Moment> {
        let long = LONG.max(self.median.saturating_mul(TIMES_THE_MEDIAN));
        self.oldest.map(|oldest| oldest.max(self.answered) + long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    fn facts(oldest: u64, answered: u64, median: u64) -> HangFacts {
        HangFacts {
            oldest: Some(at(oldest)),
            answered: at(answered),
            median: Duration::from_millis(median),
        }
    }

    fn hangs(millis: u64) -> Option<HangNotice> {
        Some(HangNotice::Hangs {
            age: Duration::from_millis(millis),
        })
    }

    #[test]
    fn a_renderer_that_accepts_and_never_answers_is_said_once_within_five_seconds_or_ten_medians() {
        for (median, long) in [(0, 5_000), (100, 5_000), (2_000, 20_000)] {
            let mut hang = Hang::default();
            let facts = facts(10_000, 9_000, median);
            assert_eq!(hang.next_look(facts), Some(at(10_000 + long)));
            assert_eq!(hang.look(facts, at(9_999 + long)), None);
            assert_eq!(hang.look(facts, at(10_000 + long)), hangs(long));
            assert_eq!(hang.next_look(facts), None);
            assert_eq!(hang.look(facts, at(60_000)), None);
        }
    }

    #[test]
    fn one_project_that_never_ends_while_others_are_answered_is_no_hang() {
        let mut hang = Hang::default();
        for now in 10..60 {
            let facts = facts(10_000, now * 1_000 - 500, 100);
            assert_eq!(hang.look(facts, at(now * 1_000)), None);
        }
    }

    #[test]
    fn it_heals_once_when_a_render_is_answered_and_not_when_one_is_given_up() {
        let mut hang = Hang::default();
        assert_eq!(hang.look(facts(10_000, 9_000, 0), at(15_000)), hangs(5_000));
        let none = HangFacts {
            oldest: None,
            ..facts(0, 9_000, 0)
        };
        assert_eq!(hang.look(none, at(40_000)), None);
        assert_eq!(hang.look(facts(42_000, 9_000, 0), at(60_000)), None);
        assert_eq!(
            hang.look(facts(42_000, 61_000, 0), at(61_000)),
            Some(HangNotice::Heals)
        );
        assert_eq!(hang.look(facts(61_000, 61_000, 0), at(62_000)), None);
    }
}
