//! How long renders took of late, for guesses of how long the next will take.

use std::{collections::VecDeque, time::Duration};

use super::limits::{RECENT_RENDERS, UNKNOWN_RENDER};

/// The durations of the last renders that brought a revision.
#[derive(Debug, Default)]
pub(super) struct Recent {
    durations: VecDeque<Duration>,
    median: Duration,
}

impl Recent {
    pub(super) fn note(&mut self, duration: Duration) {
        if self.durations.len() == RECENT_RENDERS {
            self.durations.pop_front();
        }
        self.durations.push_back(duration);
        let mut sorted: Vec<_> = self.durations.iter().copied().collect();
        sorted.sort_unstable();
        self.median = sorted[sorted.len() / 2];
    }

    /// The median; zero while none is known.
    pub(super) fn median(&self) -> Duration {
        self.median
    }

    /// Whether none has landed.
    pub(super) fn is_empty(&self) -> bool {
        self.durations.is_empty()
    }

    /// How long a render is expected to take: the median, or a guess while none is known.
    pub(super) fn expected(&self) -> Duration {
        if self.is_empty() {
            UNKNOWN_RENDER
        } else {
            self.median
        }
    }

    /// How much longer a render may be expected to take that was launched `elapsed` ago. What is overdue is expected to take
    /// as long again as it took: such is a heavy tail.
    pub(super) fn remaining(&self, elapsed: Duration) -> Duration {
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

    #[test]
    fn remaining_is_the_rest_of_the_median_then_grows_with_the_delay() {
        let mut recent = Recent::default();
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
        let mut recent = Recent::default();
        (0..RECENT_RENDERS).for_each(|_| recent.note(Duration::from_secs(9)));
        (0..RECENT_RENDERS).for_each(|_| recent.note(Duration::from_secs(1)));
        assert_eq!(recent.median(), Duration::from_secs(1));
    }
}
