//! The pace: a multiplier on the rate that falls with every sign of an overloaded renderer and
//! recovers by itself.
//!
//! Multiplicative decrease, additive increase (D. Chiu and R. Jain, 1989), so that many sidecars
//! that share a renderer settle on like shares of what it bears.

use crate::{admission::tuning::Pacing, moment::Moment};

#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Pace {
    tuning: Pacing,
    /// The multiplier just after the last sign.
    level: f64,
    last: Option<Moment>,
}

impl Pace {
    pub(in crate::admission) const fn full(tuning: Pacing) -> Self {
        Self {
            tuning,
            level: 1.0,
            last: None,
        }
    }

    /// Takes a sign of overload: multiplies the pace by `factor`, at most once in an epoch.
    pub(in crate::admission) fn slow(&mut self, factor: f64, now: Moment) {
        if factor >= 1.0
            || self
                .last
                .is_some_and(|last| now.since(last) < self.tuning.epoch)
        {
            return;
        }
        self.level = (self.multiplier(now) * factor).max(self.tuning.least);
        self.last = Some(now);
    }

    /// The multiplier: rising evenly to 1 over the recovery after the last sign.
    pub(in crate::admission) fn multiplier(&self, now: Moment) -> f64 {
        let Some(last) = self.last else { return 1.0 };
        let recovered = now.since(last).as_secs_f64() / self.tuning.recovery.as_secs_f64();
        (self.level + (1.0 - self.level) * recovered).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::tuning::Tuning;

    const TUNING: Pacing = Tuning::DEFAULT.pace;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn falls_once_an_epoch_never_below_the_floor_and_is_full_a_minute_after_the_last_sign() {
        let mut pace = Pace::full(TUNING);
        pace.slow(0.7, at(0));
        pace.slow(0.7, at(1));
        assert!((pace.multiplier(at(0)) - 0.7).abs() < 1e-9);
        for second in 1..1_000 {
            pace.slow(0.7, at(5 * second));
            assert!(pace.multiplier(at(5 * second)) >= TUNING.least);
        }
        assert!(pace.multiplier(at(5_000)) < 0.3);
        assert!((pace.multiplier(at(4_995 + 60)) - 1.0).abs() < 1e-9);
    }
}
