//! What a renderer bears: the work that it has done over time, and what runs on it beside the
//! renders that it is told of, where each of these stands for several.

use std::{collections::VecDeque, time::Duration};

use crate::moment::Moment;

/// Work is added up in steps of this length.
pub const WORK_STEP: Duration = Duration::from_secs(10);

/// Over how many renders the mean of those that run is taken: with fewer, a few sidecars that stand
/// for many would seem to come and go together.
const WINDOW: usize = 64;
/// With this many cores for those that stand for others, these are as evenly busy as all.
const MANY: f64 = 8.0;

/// What runs, over time.
#[derive(Debug)]
pub(super) struct Crowd {
    /// How many renders each stands for; at least 1.
    pub(super) each: f64,
    /// How many ran, summed over time, in seconds.
    ran: f64,
    /// The same when each of the last renders was taken.
    taken: VecDeque<(Moment, f64)>,
    /// How many ran on average since the first of these was taken.
    mean: f64,
    worked: Vec<f64>,
}

impl Crowd {
    pub(super) fn new() -> Self {
        Self {
            each: 1.0,
            ran: 0.0,
            taken: VecDeque::new(),
            mean: 0.0,
            worked: Vec::new(),
        }
    }

    /// How many renders run on this many cores, if that many of those that stand for others do.
    ///
    /// Where the cores are many or all busy, the others run as these do at this moment. Else so few
    /// may run that they would seem to come and go together: the others then run as these do on
    /// average.
    pub(super) fn all(&self, running: f64, cores: f64) -> f64 {
        let is_full = self.each * self.mean >= cores;
        if is_full || cores >= MANY * self.each {
            self.each * running
        } else {
            running + (self.each - 1.0) * self.mean
        }
    }

    /// Records that this many ran from one moment to another, each on this part of a core.
    pub(super) fn passes(&mut self, running: f64, speed: f64, from: Moment, to: Moment) {
        if running == 0.0 || to <= from {
            return self.average(to);
        }
        self.ran += running * to.since(from).as_secs_f64();
        self.average(to);
        let per_second = running * speed * self.each;
        let (mut from, to) = (from.since_start(), to.since_start());
        while from < to {
            #[expect(clippy::cast_possible_truncation, reason = "a run is short")]
            let step = (from.as_secs() / WORK_STEP.as_secs()) as usize;
            let ends = WORK_STEP * u32::try_from(step + 1).unwrap_or(u32::MAX);
            if self.worked.len() <= step {
                self.worked.resize(step + 1, 0.0);
            }
            let until = ends.min(to);
            self.worked[step] += per_second * (until - from).as_secs_f64();
            from = until;
        }
    }

    /// Records that another render was taken.
    pub(super) fn took(&mut self, now: Moment) {
        if self.each > 1.0 {
            if self.taken.len() == WINDOW {
                self.taken.pop_front();
            }
            self.taken.push_back((now, self.ran));
        }
    }

    fn average(&mut self, now: Moment) {
        if let Some(&(since, ran)) = self.taken.front() {
            let passed = now.since(since).as_secs_f64();
            self.mean = if passed > 0.0 {
                (self.ran - ran) / passed
            } else {
                0.0
            };
        }
    }

    /// Seconds of a core that all of them took, in each step.
    pub(super) fn take_worked(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.worked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn work_is_told_by_the_step_in_which_it_was_done() {
        let mut crowd = Crowd::new();
        crowd.each = 3.0;
        crowd.passes(2.0, 0.5, at(5), at(25));
        assert_eq!(crowd.take_worked(), [15.0, 30.0, 15.0]);
    }

    /// A single render of a small sample would seem to be all at once.
    #[test]
    fn the_others_run_as_those_that_are_told_of_do_on_average() {
        let mut crowd = Crowd::new();
        crowd.each = 100.0;
        for second in 0..40 {
            crowd.took(at(10 * second));
            crowd.passes(1.0, 1.0, at(10 * second), at(10 * second + 1));
            crowd.passes(0.0, 1.0, at(10 * second + 1), at(10 * second + 10));
        }
        let all = crowd.all(1.0, 100.0);
        assert!((10.0..12.0).contains(&all), "{all}");
        let (full, many) = (crowd.all(2.0, 5.0), crowd.all(2.0, 800.0));
        assert_eq!((full, many), (200.0, 200.0));
        crowd.each = 1.0;
        assert_eq!(crowd.all(7.0, 2.0), 7.0);
    }
}
