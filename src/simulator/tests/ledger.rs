//! Watches promise P2: the most that a sidecar launched in any window, less what its rate allows in
//! it.

use crate::moment::Moment;

#[derive(Clone, Copy, Debug)]
pub(super) struct Ledger {
    excess: f64,
    rate: f64,
    at: Moment,
}

impl Ledger {
    pub(super) fn new(rate: f64, at: Moment) -> Self {
        Self {
            excess: 0.0,
            rate,
            at,
        }
    }

    pub(super) fn set_rate(&mut self, rate: f64, now: Moment) {
        self.excess = (self.excess - self.rate * now.since(self.at).as_secs_f64()).max(0.0);
        (self.rate, self.at) = (rate, now);
    }

    /// A new process starts with one token.
    pub(super) fn of_a_new_process(mut self) -> Self {
        self.excess = (self.excess - 1.0).max(0.0);
        self
    }

    /// Takes a launch in, and tells the largest excess over all windows that end now.
    pub(super) fn launched(&mut self, now: Moment) -> f64 {
        self.set_rate(self.rate, now);
        self.excess += 1.0;
        self.excess
    }
}
