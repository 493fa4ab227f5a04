//! The breaker: after several projects failed in a row, nothing is launched for a while, then one
//! probe, then a ramp.
//!
//! It opens at once when the renderer refuses the identity of this sidecar, which is not a fault of
//! any project.
//!
//! One project that fails again and again says nothing about the renderer, so each project counts
//! once. Failures are UNAVAILABLE, deadlines that passed and connections lost in flight.
//! RESOURCE_EXHAUSTED is a working renderer that says no, and any other answer is one of a working
//! renderer: neither counts.

use super::valve::Valve;
use crate::{
    admission::{register::Probes, tuning::Breaking},
    moment::Moment,
    revision::Project,
};

/// At most this many projects are remembered.
const LONGEST: usize = 1_000;

/// Why the breaker is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum BreakerCause {
    /// Several projects failed in a row.
    Failures,
    /// The renderer answered UNAUTHENTICATED.
    IdentityRefused,
}

#[derive(Debug)]
pub(in crate::admission) struct Breaker {
    tuning: Breaking,
    pub(in crate::admission) valve: Valve,
    /// The projects that failed since the renderer last answered, as far as they count.
    failed: Vec<Project>,
    /// Times in a row that it opened without a success between.
    opened: u32,
    /// Why it opened last.
    opened_by: BreakerCause,
}

impl Breaker {
    pub(in crate::admission) const fn closed(tuning: Breaking) -> Self {
        Self {
            tuning,
            valve: Valve::open(tuning),
            failed: Vec::new(),
            opened: 0,
            opened_by: BreakerCause::Failures,
        }
    }

    /// Why it is open; none when it is closed.
    pub(in crate::admission) fn cause(&self) -> Option<BreakerCause> {
        self.valve.is_stopped().then_some(self.opened_by)
    }

    /// Records that the render of a project failed, which was of these probes.
    pub(in crate::admission) fn failed(
        &mut self,
        project: &Project,
        probes: Probes,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        let most = self.tuning.failures;
        if self.failed.len() < most.min(LONGEST) && !self.failed.contains(project) {
            self.failed.push(project.clone());
        }
        let trips = self.failed.len() == most && self.valve.is_shut(now).is_none();
        if probes.breaker || trips {
            self.open(BreakerCause::Failures, now, rng);
        }
    }

    /// Records that the renderer refused the identity of this sidecar in a call that was of these
    /// probes. A refusal of a call that was launched before the breaker opened tells nothing new.
    pub(in crate::admission) fn identity_refused(
        &mut self,
        probes: Probes,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        if probes.breaker || !self.valve.is_stopped() {
            self.open(BreakerCause::IdentityRefused, now, rng);
        }
    }

    fn open(&mut self, cause: BreakerCause, now: Moment, rng: &mut fastrand::Rng) {
        // Jittered at both ends of the range: those who tripped together, or stay open together, do
        // not probe together.
        let grown = self.tuning.open.doubled(self.opened);
        let drawn = grown.mul_f64(1.0 + 0.5 * rng.f64());
        self.opened = self.opened.saturating_add(1);
        self.opened_by = cause;
        self.valve
            .shut(now + drawn, self.tuning.ramp.min(drawn * 4));
    }

    /// Records an answer of a working renderer. Returns true if that closes the breaker.
    pub(in crate::admission) fn answered(&mut self, probes: Probes, now: Moment) -> bool {
        self.failed.clear();
        let closes = probes.breaker && self.valve.probe_succeeded(now);
        if closes {
            self.opened = 0;
        }
        closes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::tuning::Tuning;

    const TUNING: Breaking = Tuning::DEFAULT.breaker;
    const BREAKER_FAILURES: usize = TUNING.failures;

    fn project(number: usize) -> Project {
        Project::new(&format!("demo/{number}")).unwrap()
    }

    #[test]
    fn repeated_failures_of_a_few_projects_do_not_open_it_but_enough_projects_in_a_row_do() {
        let (mut breaker, mut rng) = (Breaker::closed(TUNING), fastrand::Rng::with_seed(1));
        let now = Moment::START;
        for number in (0..BREAKER_FAILURES - 1).cycle().take(100) {
            breaker.failed(&project(number), Probes::default(), now, &mut rng);
            assert!(!breaker.valve.is_stopped());
        }
        assert!(!breaker.answered(Probes::default(), now));
        breaker.failed(&project(BREAKER_FAILURES), Probes::default(), now, &mut rng);
        assert!(!breaker.valve.is_stopped(), "an answer came between");
        for number in 0..BREAKER_FAILURES - 1 {
            breaker.failed(&project(number), Probes::default(), now, &mut rng);
        }
        assert!(breaker.valve.is_stopped());
    }

    #[test]
    fn no_two_open_for_the_same_time_be_it_the_first_or_the_longest() {
        let opens = |seed, times| {
            let (mut breaker, mut rng) = (Breaker::closed(TUNING), fastrand::Rng::with_seed(seed));
            let mut now = Moment::START;
            let mut opened = Duration::ZERO;
            let projects = (0..BREAKER_FAILURES).map(project).collect::<Vec<_>>();
            for _ in 0..times {
                for project in &projects {
                    let probes = Probes {
                        breaker: breaker.valve.wants_probe(now),
                        hold: false,
                    };
                    breaker.failed(project, probes, now, &mut rng);
                }
                let until = breaker.valve.is_shut(now).flatten().expect("it is open");
                opened = until.since(now);
                now = until;
            }
            opened
        };
        for (times, least, most) in [(1, 2, 3), (2, 4, 6), (9, 20, 30)] {
            let drawn: std::collections::BTreeSet<_> =
                (0..20).map(|seed| opens(seed, times)).collect();
            assert_eq!(drawn.len(), 20, "{drawn:?}");
            assert!(
                drawn.first() >= Some(&Duration::from_secs(least)),
                "{drawn:?}"
            );
            assert!(
                drawn.last() <= Some(&Duration::from_secs(most)),
                "{drawn:?}"
            );
        }
    }
}
