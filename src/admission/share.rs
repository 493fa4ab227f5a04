//! This sidecar's share of the fleet's rate: it falls at once when the fleet grows, and rises
//! gently when it shrinks, for the count of a fleet is seldom right at once, and the budget of all
//! is the sum of what each believes.

use std::time::Duration;

use crate::moment::Moment;

/// The time in which a rising share doubles.
const DOUBLING: Duration = Duration::from_secs(60);

/// The rate of one sidecar, by what the whole fleet may render.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    fleet: Option<FleetRate>,
    /// Renders per second that it comes to.
    goal: f64,
    /// Renders per second from which it rises.
    from: f64,
    since: Moment,
}

/// A fleet's rate, and how many sidecars share it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FleetRate {
    /// Renders per second of all.
    pub rate: f64,
    /// How many they are.
    pub size: u32,
}

impl Share {
    /// Starts with a rate, which is the share of a fleet when there is one.
    pub fn new(rate: f64, fleet: Option<FleetRate>, now: Moment) -> Self {
        Self {
            fleet,
            goal: rate,
            from: rate,
            since: now,
        }
    }

    /// Takes another rate: at once, unless all that changed is the size of the fleet. A rise that
    /// is under way then goes on.
    pub fn set(&mut self, rate: f64, fleet: Option<FleetRate>, now: Moment) {
        if self.goal == rate && self.fleet == fleet {
            return;
        }
        let is_resized = match (self.fleet, fleet) {
            (Some(before), Some(after)) => after.rate == before.rate,
            (None, _) | (_, None) => false,
        };
        let from = if is_resized {
            self.rate(now).min(rate)
        } else {
            rate
        };
        *self = Self {
            fleet,
            goal: rate,
            from,
            since: now,
        };
    }

    /// Renders per second at `now`.
    pub fn rate(&self, now: Moment) -> f64 {
        let doublings = now.since(self.since).as_secs_f64() / DOUBLING.as_secs_f64();
        (self.from * doublings.exp2()).min(self.goal)
    }

    /// Whether it will be more later.
    pub fn is_rising(&self, now: Moment) -> bool {
        self.rate(now) < self.goal && self.from > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn of(rate: f64, size: u32) -> (f64, Option<FleetRate>) {
        (rate / f64::from(size), Some(FleetRate { rate, size }))
    }

    #[test]
    fn falls_at_once_when_the_fleet_grows_and_doubles_in_a_minute_when_it_shrinks() {
        let (rate, fleet) = of(600.0, 1_000);
        let mut share = Share::new(rate, fleet, at(0));
        let (rate, fleet) = of(600.0, 4_000);
        share.set(rate, fleet, at(10));
        assert_eq!(share.rate(at(10)), 0.15);
        let (rate, fleet) = of(600.0, 1_000);
        share.set(rate, fleet, at(20));
        assert_eq!(share.rate(at(20)), 0.15);
        share.set(rate, fleet, at(50));
        assert!((share.rate(at(80)) - 0.3).abs() < 1e-9 && share.is_rising(at(80)));
        assert!((share.rate(at(140)) - 0.6).abs() < 1e-9 && !share.is_rising(at(141)));
    }

    #[test]
    fn one_pod_more_does_not_end_a_gentle_rise() {
        let (rate, fleet) = of(600.0, 4_000);
        let mut share = Share::new(rate, fleet, at(0));
        for (second, size) in [(10, 1_000), (11, 1_001)] {
            let (rate, fleet) = of(600.0, size);
            share.set(rate, fleet, at(second));
        }
        assert!(share.rate(at(11)) < 0.16, "{}", share.rate(at(11)));
        let (rate, fleet) = of(600.0, 8_000);
        share.set(rate, fleet, at(12));
        assert_eq!(share.rate(at(12)), 0.075);
    }

    #[test]
    fn what_the_operator_says_holds_at_once() {
        let (rate, fleet) = of(600.0, 1_000);
        let mut share = Share::new(rate, fleet, at(0));
        let (rate, fleet) = of(1_200.0, 1_000);
        share.set(rate, fleet, at(1));
        assert_eq!(share.rate(at(1)), 1.2);
        share.set(5.0, None, at(2));
        assert_eq!(share.rate(at(2)), 5.0);
    }
}
