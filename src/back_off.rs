//! How long to wait before another attempt at what keeps failing: a random part of a ceiling that
//! grows with each failure ("full jitter": M. Brooker, "Exponential Backoff and Jitter", AWS,
//! 2015), so that those who failed together do not come back together.
//!
//! Pure: durations out, no clock, no randomness of its own. Knows nothing of what is attempted. The
//! cool-downs of projects decide more than a wait, and belong to admission.

use std::time::Duration;

/// The waits between attempts.
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    ceilings: Ceilings,
    failures: i32,
}

/// How the ceiling of a wait grows.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// The ceiling after the first failure.
    pub first: Duration,
    /// By how much it grows with each further one.
    pub growth: f64,
    /// Where it stops growing.
    pub longest: Duration,
}

impl BackOff {
    /// Starts without a failure.
    pub const fn new(ceilings: Ceilings) -> Self {
        Self {
            ceilings,
            failures: 0,
        }
    }

    /// Counts a failure. Returns how long to wait: the part `random`, from 0 to 1, of the ceiling.
    pub fn after_failure(&mut self, random: f64) -> Duration {
        let Ceilings {
            first,
            growth,
            longest,
        } = self.ceilings;
        let ceiling = first.as_secs_f64() * growth.powi(self.failures);
        self.failures = self.failures.saturating_add(1);
        Duration::from_secs_f64(ceiling.min(longest.as_secs_f64()) * random)
    }

    /// Forgets all failures, since an attempt succeeded.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLING: Ceilings = Ceilings {
        first: Duration::from_millis(200),
        growth: 2.0,
        longest: Duration::from_secs(5),
    };

    #[test]
    fn ceilings_grow_up_to_the_longest_and_start_anew_after_a_success() {
        let mut back_off = BackOff::new(DOUBLING);
        let ceilings: Vec<_> = (0..7)
            .map(|_| back_off.after_failure(1.0).as_millis())
            .collect();
        assert_eq!(ceilings, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        back_off.failures = i32::MAX;
        assert_eq!(back_off.after_failure(1.0), DOUBLING.longest);
        back_off.succeeded();
        assert_eq!(back_off.after_failure(0.5), Duration::from_millis(100));
    }
}
