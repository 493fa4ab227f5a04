//! A valve shuts the flow of renders for a while, then lets one probe through, then opens over a
//! ramp, so that the renders held back do not arrive all at once. The breaker is one, and what the
//! renderer's pushback shuts is another.

use std::time::Duration;

use crate::{admission::tuning::Breaking, moment::Moment};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::admission) struct Valve {
    tuning: Breaking,
    flow: Flow,
    /// How long the ramp after the current stop takes.
    ramp: Duration,
    /// Probes of the current stop that came back without success.
    failed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flow {
    Open,
    /// Nothing passes until then, and one probe after.
    Shut(Moment),
    /// One probe is in flight.
    Probing,
    Opening(Moment),
}

impl Valve {
    pub(in crate::admission) const fn open(tuning: Breaking) -> Self {
        Self {
            tuning,
            flow: Flow::Open,
            ramp: Duration::ZERO,
            failed: 0,
        }
    }

    /// Shuts until then; `ramp` is the length of the ramp after a successful probe. Of two stops,
    /// and of their ramps, the longer prevails.
    pub(in crate::admission) fn shut(&mut self, until: Moment, ramp: Duration) {
        let (until, ramp) = match self.flow {
            Flow::Shut(before) => (before.max(until), self.ramp.max(ramp)),
            Flow::Probing => (until, self.ramp.max(ramp)),
            Flow::Open | Flow::Opening(_) => (until, ramp),
        };
        // Any → Shut
        (self.flow, self.ramp, self.failed) = (Flow::Shut(until), ramp, 0);
    }

    /// Whether nothing passes at `now`, and until when; unknown while a probe is in flight.
    pub(in crate::admission) fn is_shut(&self, now: Moment) -> Option<Option<Moment>> {
        match self.flow {
            Flow::Shut(until) if until > now => Some(Some(until)),
            Flow::Probing => Some(None),
            Flow::Open | Flow::Shut(_) | Flow::Opening(_) => None,
        }
    }

    /// Whether it was shut and no probe has succeeded since.
    pub(in crate::admission) fn is_stopped(&self) -> bool {
        match self.flow {
            Flow::Shut(_) | Flow::Probing => true,
            Flow::Open | Flow::Opening(_) => false,
        }
    }

    /// Whether the next that passes is the probe.
    pub(in crate::admission) fn wants_probe(&self, now: Moment) -> bool {
        matches!(self.flow, Flow::Shut(until) if until <= now)
    }

    /// Records a launch, which is the probe if one is due.
    pub(in crate::admission) fn launched(&mut self, now: Moment) {
        if self.wants_probe(now) {
            // Shut → Probing
            self.flow = Flow::Probing;
        }
    }

    /// Records that the probe succeeded. Returns true if one was in flight.
    pub(in crate::admission) fn probe_succeeded(&mut self, now: Moment) -> bool {
        let was_probing = self.flow == Flow::Probing;
        if was_probing {
            // Probing → Opening
            self.flow = Flow::Opening(now);
            self.failed = 0;
        }
        was_probing
    }

    /// Records that the probe came back without success: another may go after a while, which
    /// doubles from probe to probe.
    pub(in crate::admission) fn probe_failed(&mut self, now: Moment, rng: &mut fastrand::Rng) {
        if self.flow == Flow::Probing {
            let grown = self.tuning.probes.doubled(self.failed);
            // Probing → Shut
            self.flow = Flow::Shut(now + grown.mul_f64(0.5 + 0.5 * rng.f64()));
            self.failed += 1;
        }
    }

    /// The share of the rate that passes: 1 when open, and rising from a tenth over the ramp.
    pub(in crate::admission) fn share(&self, now: Moment) -> f64 {
        let Flow::Opening(since) = self.flow else {
            return 1.0;
        };
        let elapsed = now.since(since);
        if elapsed >= self.ramp {
            return 1.0;
        }
        let first = self.tuning.ramp_start;
        first + (1.0 - first) * elapsed.as_secs_f64() / self.ramp.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tuning::Tuning;

    const TUNING: Breaking = Tuning::DEFAULT.breaker;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn shuts_probes_and_opens_over_the_ramp() {
        let mut valve = Valve::open(TUNING);
        valve.shut(at(10), Duration::from_secs(20));
        assert_eq!(valve.is_shut(at(9)), Some(Some(at(10))));
        assert!(!valve.wants_probe(at(9)));
        assert!(valve.wants_probe(at(10)));
        valve.launched(at(10));
        assert_eq!(valve.is_shut(at(11)), Some(None));
        assert!(valve.is_stopped());
        assert!(valve.probe_succeeded(at(12)));
        assert_eq!(valve.is_shut(at(12)), None);
        assert!(!valve.is_stopped());
        assert!((valve.share(at(12)) - 0.1).abs() < 1e-9);
        assert!((valve.share(at(22)) - 0.55).abs() < 1e-9);
        assert!((valve.share(at(32)) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_longer_stop_prevails_and_a_stop_during_the_probe_starts_anew() {
        let mut valve = Valve::open(TUNING);
        let ramp = Duration::from_secs(20);
        valve.shut(at(10), ramp);
        valve.shut(at(5), Duration::from_secs(1));
        assert_eq!(valve.is_shut(at(6)), Some(Some(at(10))));
        assert_eq!(valve.ramp, ramp);
        valve.launched(at(10));
        valve.shut(at(20), Duration::from_secs(1));
        assert_eq!(valve.is_shut(at(12)), Some(Some(at(20))));
        assert_eq!(valve.ramp, ramp);
    }

    #[test]
    fn probes_that_fail_come_at_growing_intervals() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut valve = Valve::open(TUNING);
        valve.shut(at(10), Duration::ZERO);
        let mut now = at(10);
        for longest in [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0] {
            valve.launched(now);
            valve.probe_failed(now, &mut rng);
            let until = valve.is_shut(now).flatten().expect("it is shut");
            let wait = until.since(now).as_secs_f64();
            assert!((longest / 2.0..=longest).contains(&wait), "{wait}");
            now = until;
        }
    }
}
