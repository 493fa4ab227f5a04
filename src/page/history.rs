//! What was seen in the last half an hour: a bounded number of points of the fleet, and of each
//! sidecar unless there are many.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::PERIOD;
use crate::{status::Fleet, verdict::Facts};

/// How many points are kept of each: half an hour of them.
const POINTS: usize = 900;
/// How many sidecars have points of their own: all take 6 MiB at most.
const SIDECARS: usize = 256;
/// How far apart two points are, in seconds, between which the sidecars were not looked at.
const GAP: f64 = 7.0 * PERIOD.as_secs_f64();

/// What was seen at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// When, in seconds since the page began.
    pub(super) at: f64,
    /// Held projects that were fresh.
    pub(super) fresh: u32,
    /// All held projects.
    pub(super) held: u32,
    /// Renders per second.
    pub(super) rendered: f32,
    /// The rate in force.
    pub(super) in_force: f32,
}

/// What was seen lately.
#[derive(Debug, Default)]
pub(super) struct PageHistory {
    fleet: VecDeque<Point>,
    sidecars: HashMap<String, VecDeque<Point>>,
}

impl Point {
    #[expect(clippy::cast_possible_truncation, reason = "they are drawn")]
    fn of(at: Duration, facts: &Facts) -> Self {
        Self {
            at: at.as_secs_f64(),
            fresh: facts.fresh,
            held: facts.fresh.saturating_add(facts.outdated),
            rendered: facts.renders_per_second as f32,
            in_force: facts.rate_in_force as f32,
        }
    }

    /// The part that is fresh, in percent; all of nothing is.
    pub(super) fn percent(&self) -> f64 {
        match self.held {
            0 => 100.0,
            held => 100.0 * f64::from(self.fresh) / f64::from(held),
        }
    }
}

impl PageHistory {
    /// Takes what was seen `at` a time since the page began.
    pub(super) fn saw(&mut self, at: Duration, fleet: &Fleet) {
        if fleet.is_silent() {
            return;
        }
        push(&mut self.fleet, Point::of(at, &fleet.facts()));
        let oldest = at.as_secs_f64() - POINTS as f64 * PERIOD.as_secs_f64();
        self.sidecars
            .retain(|_, points| points.back().is_some_and(|last| last.at >= oldest));
        for (address, status) in fleet.answered() {
            let is_known = self.sidecars.contains_key(address);
            if is_known || self.sidecars.len() < SIDECARS {
                let points = self.sidecars.entry(address.clone()).or_default();
                push(points, Point::of(at, &status.facts));
            }
        }
    }

    /// The points of all together.
    pub(super) fn of_fleet(&self) -> Vec<Point> {
        self.fleet.iter().copied().collect()
    }

    /// The points of one sidecar.
    pub(super) fn of_sidecar(&self, address: &str) -> Vec<Point> {
        let points = self.sidecars.get(address);
        points.into_iter().flatten().copied().collect()
    }
}

fn push(points: &mut VecDeque<Point>, point: Point) {
    if points.len() == POINTS {
        points.pop_front();
    }
    points.push_back(point);
}

/// The points in pieces in which the sidecars were looked at all the time.
pub(super) fn pieces(points: &[Point]) -> impl Iterator<Item = &[Point]> {
    points.chunk_by(|one, next| next.at - one.at <= GAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    fn fleet(of: usize) -> Fleet {
        Fleet::new((0..of).map(|number| (format!("10.0.0.{number}"), Ok(Status::default()))))
    }

    fn second(number: usize) -> Duration {
        Duration::from_secs(number as u64)
    }

    #[test]
    fn what_is_kept_does_not_grow_with_time_or_with_the_fleet() {
        let mut history = PageHistory::default();
        for number in 0..2 * POINTS {
            history.saw(second(2 * number), &fleet(300));
        }
        assert_eq!(history.of_fleet().len(), POINTS);
        assert_eq!(history.sidecars.len(), SIDECARS);
        assert_eq!(history.of_sidecar("10.0.0.7").len(), POINTS);
    }

    #[test]
    fn sidecars_that_left_make_room_for_others() {
        let mut history = PageHistory::default();
        history.saw(second(0), &fleet(SIDECARS));
        let others = (0..9).map(|number| (format!("10.0.1.{number}"), Ok(Status::default())));
        history.saw(second(3_600), &Fleet::new(others));
        assert_eq!(history.sidecars.len(), 9);
    }

    #[test]
    fn points_that_are_far_apart_are_not_joined() {
        let mut history = PageHistory::default();
        for number in [0, 2, 4, 60, 62] {
            history.saw(second(number), &fleet(1));
        }
        let points = history.of_fleet();
        let lengths: Vec<_> = pieces(&points).map(<[_]>::len).collect();
        assert_eq!(lengths, [3, 2]);
    }
}
