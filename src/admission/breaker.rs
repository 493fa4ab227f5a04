//! The breaker: after so many failures in a row nothing is launched for a while, then one probe, then a ramp.
//!
//! Failures are UNAVAILABLE, deadlines that passed and connections lost in flight. RESOURCE_EXHAUSTED is a working renderer
//! that says no, and any other answer is one of a working renderer: neither counts.

use super::{
    limits::{BREAKER_FAILURES, BREAKER_OPEN, BREAKER_RAMP},
    valve::Valve,
};
use crate::moment::Moment;

#[derive(Clone, Copy, Debug)]
pub(super) struct Breaker {
    pub(super) valve: Valve,
    /// Failures in a row.
    failures: u32,
    /// Times in a row that it opened without a success between.
    opened: u32,
}

impl Breaker {
    pub(super) const CLOSED: Self = Self {
        valve: Valve::OPEN,
        failures: 0,
        opened: 0,
    };

    /// Notes a failure; `was_probe` when it is that of the probe.
    pub(super) fn failed(&mut self, was_probe: bool, now: Moment, rng: &mut fastrand::Rng) {
        self.failures += 1;
        let trips = self.failures >= BREAKER_FAILURES && self.valve.is_shut(now).is_none();
        if was_probe || trips {
            let (least, most) = BREAKER_OPEN;
            let grown = (least * 2_u32.pow(self.opened.min(8))).min(most);
            let drawn = grown.mul_f64(0.5 + 0.5 * rng.f64()).max(least);
            self.opened += 1;
            self.valve.shut(now + drawn, BREAKER_RAMP.min(drawn * 4));
        }
    }

    /// Notes an answer of a working renderer; true when that closes the breaker.
    pub(super) fn answered(&mut self, was_probe: bool, now: Moment) -> bool {
        self.failures = 0;
        let closes = was_probe && self.valve.probe_succeeded(now);
        if closes {
            self.opened = 0;
        }
        closes
    }
}
