//! What retries may cost: a budget that successes fund, with a floor so small that many sidecars
//! together do not feel it.
//!
//! After Finagle's and gRPC's retry throttling (gRFC A6), whose floor of ten a second per client
//! would here be multiplied by the number of pods.

use crate::{admission::tuning::Retries, moment::Moment};

#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct RetryBudget {
    tuning: Retries,
    balance: f64,
    /// When the floor was last used.
    floor_used: Option<Moment>,
}

impl RetryBudget {
    pub(in crate::admission) const fn empty(tuning: Retries) -> Self {
        Self {
            tuning,
            balance: 0.0,
            floor_used: None,
        }
    }

    /// A first attempt succeeded.
    pub(in crate::admission) fn deposit(&mut self) {
        self.balance = (self.balance + self.tuning.per_success).min(self.tuning.saved);
    }

    /// Takes one retry, if there is one.
    pub(in crate::admission) fn withdraw(&mut self, now: Moment) -> bool {
        if self.balance >= 1.0 {
            self.balance -= 1.0;
            return true;
        }
        let is_rested = self
            .floor_used
            .is_none_or(|used| now.since(used) >= self.tuning.floor);
        if is_rested {
            self.floor_used = Some(now);
        }
        is_rested
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::tuning::Tuning;

    #[test]
    fn retries_are_a_tenth_of_the_successes_and_one_in_five_minutes() {
        let mut budget = RetryBudget::empty(Tuning::DEFAULT.retry);
        let mut retries = 0;
        for second in 0..3_000 {
            let now = Moment::after_start(Duration::from_secs(second));
            budget.deposit();
            retries += u32::from(budget.withdraw(now));
        }
        assert!((300..=310).contains(&retries), "{retries}");
    }
}
