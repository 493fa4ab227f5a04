//! How long recent renders took, to guess how long the next will take.

use std::{collections::VecDeque, time::Duration};

use crate::admission::tuning::Guesses;

/// The durations of the last renders that brought a revision.
#[derive(Debug)]
pub(in crate::admission) struct Recent {
    tuning: Guesses,
    durations: VecDeque<Duration>,
    median: Duration,
}

impl Recent {
    pub(in crate::admission) fn new(tuning: Guesses) -> Self {
        Self {
            tuning,
            durations: VecDeque::new(),
            median: Duration::ZERO,
        }
    }

    pub(in crate::admission) fn note(&mut self, duration: Duration) {
        if self.durations.len() == self.tuning.renders {
            self.durations.pop_front();
        }
        self.durations.push_back(duration);
        let mut sorted: Vec<_> = self.durations.iter().copied().collect();
        sorted.sort_unstable();
        self.median = sorted[sorted.len() / 2];
    }

    /// The median; zero while it is unknown.
    pub(in crate::admission) fn median(&self) -> Duration {
        self.median
    }

    /// Whether no render has landed.
    pub(in crate::admission) fn is_empty(&self) -> bool {
        self.durations.is_empty()
    }

    /// How long a render is expected to take: the median, or a guess while it is unknown.
    pub(in crate::admission) fn expected(&self) -> Duration {
        if self.is_empty() {
            self.tuning.render
        } else {
            self.median
        }
    }

    /// How much longer a render may be expected to take that was launched `elapsed` ago. An overdue
    /// render is expected to take as long again as it has run, as in a heavy-tailed distribution.
    pub(in crate::admission) fn remaining(&self, elapsed: Duration) -> Duration {
        if elapsed < self.median {
            self.median - elapsed
        } else {
            elapsed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tuning::Tuning;

    const TUNING: Guesses = Tuning::DEFAULT.guess;

    #[test]
    fn remaining_is_the_rest_of_the_median_then_grows_with_the_delay() {
        let mut recent = Recent::new(TUNING);
        assert_eq!(recent.remaining(Duration::ZERO), Duration::ZERO);
        for millis in [100, 300, 200] {
            recent.note(Duration::from_millis(millis));
        }
        assert_eq!(
            recent.remaining(Duration::from_millis(150)),
            Duration::from_millis(50)
        );
        assert_eq!(
            recent.remaining(Duration::from_secs(2)),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn old_renders_are_forgotten() {
        let mut recent = Recent::new(TUNING);
        (0..TUNING.renders).for_each(|_| recent.note(Duration::from_secs(9)));
        (0..TUNING.renders).for_each(|_| recent.note(Duration::from_secs(1)));
        assert_eq!(recent.median(), Duration::from_secs(1));
    }
}
