//! When to dial: the back-off between dials and the age at which a connection is replaced.
//!
//! Pure: durations out, no clock, no socket. Full jitter as in the AWS Architecture Blog's
//! "Exponential Backoff And Jitter", so that the sidecars of a fleet do not dial a returning
//! renderer together.

use std::time::Duration;

use crate::back_off::{BackOff, Ceilings};

/// How the longest delay before the next dial grows.
const CEILINGS: Ceilings = Ceilings {
    first: Duration::from_millis(200),
    growth: 1.6,
    longest: Duration::from_secs(30),
};
/// What lasted this long was of use, whatever it carried.
const STEADY: Duration = Duration::from_secs(10);
/// What lasted this long and was ended in good order (GOAWAY) was of use too: a renderer may set a
/// maximal age of seconds.
const CIVIL: Duration = Duration::from_secs(1);
/// The longest delay of the dial after a connection that was of use.
pub(super) const JITTER: Duration = Duration::from_secs(1);
/// After how long a connection is replaced, so that no replica of the renderer is pinned.
const AGE: Duration = Duration::from_secs(600);
/// By which part of it an age is shorter or longer, so that a fleet does not redial at once.
const AGE_SPREAD: f64 = 0.2;

/// Whether something that ended had been of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It was: its end is no failure.
    Some,
    /// What is accepted and then broken again and again is not dialled in a loop.
    None,
}

/// What a connection or a stream carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// At least one answer.
    Answers,
    /// No answer.
    Nothing,
}

/// How a connection or a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// The renderer ended it in good order.
    InOrder,
    /// It broke.
    Broken,
}

impl Use {
    /// Whether something that `lasted` this long was of use: it carried an answer, or lasted long
    /// enough.
    pub(super) fn of(carried: Carried, parting: Parting, lasted: Duration) -> Self {
        let least = match parting {
            Parting::InOrder => CIVIL,
            Parting::Broken => STEADY,
        };
        if carried == Carried::Answers || lasted >= least {
            Self::Some
        } else {
            Self::None
        }
    }
}

/// When to dial again, or to open a stream again.
#[derive(Debug)]
pub(super) struct Redial {
    back_off: BackOff,
    random: fastrand::Rng,
}

impl Redial {
    /// Starts without a failure.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            back_off: BackOff::new(CEILINGS),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The delay after an attempt that failed.
    pub(super) fn after_failure(&mut self) -> Duration {
        self.back_off.after_failure(self.random.f64())
    }

    /// The delay after something ended: none when it was of use, else as after a failure.
    pub(super) fn after_end(&mut self, was: Use) -> Duration {
        match was {
            Use::None => self.after_failure(),
            Use::Some => {
                self.back_off.succeeded();
                Duration::ZERO
            }
        }
    }

    /// The delay of a dial for which no call waits, after a connection that was of use.
    pub(super) fn jitter(&mut self) -> Duration {
        JITTER.mul_f64(self.random.f64())
    }

    /// The age at which the next connection is replaced.
    pub(super) fn age(&mut self) -> Duration {
        let spread = AGE_SPREAD * (2.0 * self.random.f64() - 1.0);
        AGE.mul_f64(1.0 + spread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_below_a_ceiling_that_grows_to_the_longest() {
        for seed in 0..200 {
            let mut redial = Redial::new(seed);
            let mut ceiling = 0.2;
            for _ in 0..200 {
                assert!(redial.after_failure().as_secs_f64() <= ceiling);
                ceiling = (ceiling * 1.6).min(30.0);
            }
        }
    }

    #[test]
    fn delays_use_the_whole_range_below_the_ceiling() {
        let mut redial = Redial::new(1);
        let total: Duration = (0..2_000).map(|_| redial.after_failure()).sum();
        let mean = total.as_secs_f64() / 2_000.0;
        assert!((14.0..16.0).contains(&mean), "{mean}");
    }

    #[test]
    fn an_end_without_use_is_a_failure_and_one_after_use_clears_them() {
        let mut redial = Redial::new(1);
        let longest = (0..50).map(|_| redial.after_end(Use::None)).max();
        assert!(longest > Some(CEILINGS.first), "{longest:?}");
        assert_eq!(redial.after_end(Use::Some), Duration::ZERO);
        assert!(redial.after_failure() <= CEILINGS.first);
    }

    #[test]
    fn a_connection_was_of_use_when_it_answered_or_lasted() {
        let millis = Duration::from_millis;
        assert_eq!(
            Use::of(Carried::Answers, Parting::Broken, millis(1)),
            Use::Some
        );
        assert_eq!(
            Use::of(Carried::Nothing, Parting::InOrder, millis(999)),
            Use::None
        );
        assert_eq!(
            Use::of(Carried::Nothing, Parting::InOrder, CIVIL),
            Use::Some
        );
        assert_eq!(
            Use::of(Carried::Nothing, Parting::Broken, millis(9_999)),
            Use::None
        );
        assert_eq!(
            Use::of(Carried::Nothing, Parting::Broken, STEADY),
            Use::Some
        );
    }

    #[test]
    fn ages_spread_over_a_fifth_either_way() {
        let mut redial = Redial::new(1);
        let ages: Vec<_> = (0..1_000).map(|_| redial.age().as_secs()).collect();
        assert!(ages.iter().all(|age| (480..=720).contains(age)));
        assert!(ages.iter().any(|&age| age < 490) && ages.iter().any(|&age| age > 710));
    }
}
