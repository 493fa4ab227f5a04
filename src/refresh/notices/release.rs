//! When the log says that a release is over, and when it says that it is not.

use std::time::Duration;

use crate::moment::Moment;

/// A release is over after nothing was wanted for this long, even if held projects without lookups
/// are outdated.
const SETTLED: Duration = Duration::from_secs(10);
/// How often the log says that a release is not over yet.
const PERIOD: Duration = Duration::from_secs(600);

/// What is known of a release at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ReleaseFacts {
    /// Projects that are held.
    pub(super) held: u64,
    /// Those of them that are of an older rollout than the target.
    pub(super) below: u64,
    /// Wanted projects of an older rollout than the target.
    pub(super) wanted: usize,
    /// Projects, of whatever rollout, whose last render did not make them fresh.
    pub(super) failing: usize,
    /// Renders per second that may be launched now.
    pub(super) rate: f64,
    /// Renders of outdated projects that may be in flight at once.
    pub(super) permits: u32,
    /// How long a render usually takes; zero if unknown.
    pub(super) median: Duration,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ReleaseNotice {
    /// All that is wanted is fresh.
    Over {
        rollout: u64,
        /// From the raised target to the last landing.
        after: Duration,
        renders: u64,
    },
    /// Some wanted projects are still outdated.
    GoesOn {
        rollout: u64,
        after: Duration,
        /// Projects that are wanted and outdated.
        left: usize,
        /// When all of them are expected to be fresh; `None` if that cannot be told.
        done_in: Option<Duration>,
    },
}

/// The release that is under way, if one is.
#[derive(Debug, Default)]
pub(super) struct ReleaseWatch(Option<ReleaseUnderWay>);

#[derive(Debug)]
struct ReleaseUnderWay {
    rollout: u64,
    since: Moment,
    /// Renders that brought a revision since then.
    renders: u64,
    /// Since when nothing has been wanted.
    idle: Option<Moment>,
    /// When the log next says that it is not over.
    due: Moment,
}

impl ReleaseWatch {
    /// Records that the target was raised: a release begins.
    pub(super) fn target_raised(&mut self, rollout: u64, now: Moment) {
        self.0 = Some(ReleaseUnderWay {
            rollout,
            since: now,
            renders: 0,
            idle: None,
            due: now + PERIOD,
        });
    }

    /// Records that the target was lowered: the release that is under way ends without a line.
    pub(super) fn target_lowered(&mut self) {
        self.0 = None;
    }

    /// Records that a render brought a revision.
    pub(super) fn rendered(&mut self) {
        if let Some(release) = &mut self.0 {
            release.renders += 1;
        }
    }

    /// Whether one is under way, so that the facts are of use.
    pub(super) fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// What is to be logged at `now`.
    pub(super) fn look(&mut self, facts: &ReleaseFacts, now: Moment) -> Option<ReleaseNotice> {
        let release = self.0.as_mut()?;
        let rollout = release.rollout;
        if facts.wanted == 0 {
            let idle = *release.idle.get_or_insert(now);
            if facts.below == 0 || now.since(idle) >= SETTLED {
                let (after, renders) = (idle.since(release.since), release.renders);
                self.0 = None;
                return Some(ReleaseNotice::Over {
                    rollout,
                    after,
                    renders,
                });
            }
            return None;
        }
        release.idle = None;
        if now < release.due {
            return None;
        }
        release.due = now + PERIOD;
        Some(ReleaseNotice::GoesOn {
            rollout,
            after: now.since(release.since),
            left: facts.wanted,
            done_in: facts.done_in(),
        })
    }

    /// When to look again though nothing happens.
    pub(super) fn next_look(&self) -> Option<Moment> {
        let release = self.0.as_ref()?;
        Some(release.idle.map_or(release.due, |idle| idle + SETTLED))
    }
}

impl ReleaseFacts {
    /// When every wanted project will be fresh at the present rate and permits; `None` if nothing
    /// is launched, or only failing projects are left.
    fn done_in(&self) -> Option<Duration> {
        if self.wanted <= self.failing {
            return None;
        }
        let by_permits = if self.median.is_zero() {
            f64::INFINITY
        } else {
            f64::from(self.permits) / self.median.as_secs_f64()
        };
        #[expect(clippy::cast_precision_loss, reason = "no cache holds that many")]
        let left = self.wanted as f64;
        Duration::try_from_secs_f64(left / self.rate.min(by_permits)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE_LEFT: ReleaseFacts = ReleaseFacts {
        held: 60,
        below: 0,
        wanted: 0,
        failing: 0,
        rate: 10.0,
        permits: 3,
        median: Duration::from_millis(100),
    };

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn raised() -> ReleaseWatch {
        let mut release = ReleaseWatch::default();
        release.target_raised(2, at(100));
        release
    }

    fn left(wanted: usize) -> ReleaseFacts {
        ReleaseFacts {
            below: wanted as u64,
            wanted,
            ..NONE_LEFT
        }
    }

    #[test]
    fn a_release_is_over_when_nothing_held_is_below_the_target() {
        let mut release = raised();
        assert_eq!(release.look(&left(60), at(100)), None);
        (0..60).for_each(|_| release.rendered());
        assert_eq!(release.look(&left(1), at(140)), None);
        let over = ReleaseNotice::Over {
            rollout: 2,
            after: secs(41),
            renders: 60,
        };
        assert_eq!(release.look(&NONE_LEFT, at(141)), Some(over));
        assert_eq!(release.look(&NONE_LEFT, at(142)), None, "it is said once");
        assert_eq!(release.next_look(), None);
    }

    #[test]
    fn a_project_without_lookups_does_not_keep_a_release_from_being_over() {
        let mut release = raised();
        let unwanted = ReleaseFacts {
            below: 40,
            ..NONE_LEFT
        };
        assert_eq!(release.look(&unwanted, at(100)), None);
        assert_eq!(release.look(&left(60), at(101)), None);
        assert_eq!(release.look(&unwanted, at(130)), None);
        assert_eq!(release.next_look(), Some(at(140)));
        assert_eq!(release.look(&left(1), at(135)), None, "somebody does");
        assert_eq!(release.look(&unwanted, at(136)), None);
        assert_eq!(release.look(&unwanted, at(145)), None);
        let over = ReleaseNotice::Over {
            rollout: 2,
            after: secs(36),
            renders: 0,
        };
        assert_eq!(release.look(&unwanted, at(146)), Some(over));
    }

    #[test]
    fn one_that_takes_long_says_every_ten_minutes_how_many_are_left_and_until_when() {
        let mut release = raised();
        assert_eq!(release.look(&left(4_000), at(699)), None);
        assert_eq!(release.next_look(), Some(at(700)));
        let goes_on = |after, left, done_in| {
            Some(ReleaseNotice::GoesOn {
                rollout: 2,
                after: secs(after),
                left,
                done_in,
            })
        };
        let notice = release.look(&left(4_000), at(700));
        assert_eq!(notice, goes_on(600, 4_000, Some(secs(400))));
        assert_eq!(release.look(&left(3_000), at(1_299)), None);
        let slow = ReleaseFacts {
            median: secs(3),
            ..left(3_000)
        };
        let notice = release.look(&slow, at(1_300));
        assert_eq!(notice, goes_on(1_200, 3_000, Some(secs(3_000))));
    }

    #[test]
    fn no_end_is_expected_of_what_is_stopped_or_fails() {
        let paused = ReleaseFacts {
            rate: 0.0,
            ..left(5)
        };
        assert_eq!(raised().look(&paused, at(700)).unwrap().done_in(), None);
        let poison = ReleaseFacts {
            failing: 2,
            ..left(2)
        };
        assert_eq!(raised().look(&poison, at(700)).unwrap().done_in(), None);
    }

    #[test]
    fn a_newer_target_begins_anew_and_a_lower_one_ends_it_without_a_word() {
        let mut release = raised();
        release.rendered();
        release.target_raised(3, at(150));
        let over = ReleaseNotice::Over {
            rollout: 3,
            after: secs(10),
            renders: 0,
        };
        assert_eq!(release.look(&left(1), at(151)), None);
        assert_eq!(release.look(&NONE_LEFT, at(160)), Some(over));
        let mut release = raised();
        release.target_lowered();
        assert_eq!(release.look(&NONE_LEFT, at(160)), None);
    }

    impl ReleaseNotice {
        fn done_in(self) -> Option<Duration> {
            match self {
                Self::GoesOn { done_in, .. } => done_in,
                Self::Over { .. } => panic!("{self:?}"),
            }
        }
    }
}
