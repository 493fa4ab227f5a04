//! How long something was wanted, and how long each gate was the first to stop it.

use std::time::Duration;

use crate::{admission::Gate, moment::Moment};

/// Adds up the time between two changes.
#[derive(Debug, Default)]
pub(super) struct Stopped {
    by: Option<Gate>,
    /// How many projects are wanted, in flight or not.
    wanted: usize,
    since: Moment,
    times: [Duration; Gate::ALL.len()],
    wanted_for: Duration,
}

impl Stopped {
    /// Adds the time up to `now`; from then on this many projects are wanted, and this gate stops
    /// them.
    pub(super) fn count_from(&mut self, by: Option<Gate>, wanted: usize, now: Moment) {
        self.times = self.until(now);
        self.wanted_for = self.wanted_until(now);
        (self.by, self.wanted, self.since) = (by, wanted, now);
    }

    /// How long something was wanted, up to now.
    pub(super) fn wanted_until(&self, now: Moment) -> Duration {
        match self.wanted {
            0 => self.wanted_for,
            _ => self.wanted_for + now.since(self.since),
        }
    }

    /// How long each gate stopped it, up to now, in the order of the gates.
    pub(super) fn until(&self, now: Moment) -> [Duration; Gate::ALL.len()] {
        let mut times = self.times;
        if let Some(by) = self.by {
            times[by as usize] += now.since(self.since);
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_the_gates_add_up_to_the_time_in_which_something_was_stopped() {
        let at = |millis| Moment::after_start(Duration::from_millis(millis));
        let mut stopped = Stopped::default();
        let (mut sum, mut wanted_for) = (0, 0);
        for step in 0..1_000_u64 {
            let (from, to) = (at(step * 7), at(step * 7 + 7));
            let by = Gate::ALL.get(step as usize % 11).copied();
            let wanted = usize::from(by.is_some() || step.is_multiple_of(2));
            stopped.count_from(by, wanted, from);
            sum += by.map_or(0, |_| 7);
            wanted_for += 7 * wanted as u64;
            assert_eq!(stopped.wanted_until(to), Duration::from_millis(wanted_for));
            let times = stopped.until(to);
            assert_eq!(times.iter().sum::<Duration>(), Duration::from_millis(sum));
            assert!(times.iter().sum::<Duration>() <= to.since_start());
        }
        let tokens = stopped.until(at(7_000))[Gate::Tokens as usize];
        assert_eq!(tokens, Duration::from_millis(7 * 91), "every eleventh step");
        assert_eq!(stopped.until(at(7_000)), stopped.until(at(7_000)));
    }
}
