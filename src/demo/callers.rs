//! What the callers saw of each project: whether it became fresh, and when, and how long they
//! waited when it was held. The count of who answers them is not taken on trust.
//!
//! Pure functions of their lookups.

use std::time::Duration;

use super::{
    Release, StormTerms,
    load::{LookupSample, SampleResult},
    observed::StormObserved,
};

/// What the callers got of the projects after the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AfterRelease {
    /// When they got something else than the newest rollout for the last time.
    pub(super) last_outdated: Duration,
    /// Of how many projects they did not get it at the end.
    pub(super) not_fresh: usize,
}

impl AfterRelease {
    /// Looks at lookups that began when the release was known. A project that was never looked up
    /// counts as never fresh.
    pub(super) fn of(seen: &StormObserved, projects: usize) -> Self {
        let mut is_fresh = vec![false; projects];
        let mut last_outdated = seen.learned;
        for sample in seen.samples.iter().filter(|it| it.asked() >= seen.learned) {
            is_fresh[sample.project] = sample.is_fresh();
            if !sample.is_fresh() {
                last_outdated = last_outdated.max(sample.at);
            }
        }
        Self {
            last_outdated,
            not_fresh: is_fresh.iter().filter(|it| !**it).count(),
        }
    }
}

/// The longest that a lookup took of a project that was held. All are, but by a pod that took the
/// place of another: it holds what it answered with before.
pub(super) fn longest_of_held(seen: &StormObserved, terms: &StormTerms) -> Duration {
    let is_old = |sample: &LookupSample| match terms.release {
        Release::Raise => true,
        Release::Replace => sample.asked() < seen.learned,
    };
    let mut held_since = vec![None; terms.projects.get()];
    let by_new = seen.samples.iter().filter(|it| !is_old(it));
    for sample in by_new.filter(|it| it.result != SampleResult::Failed) {
        held_since[sample.project].get_or_insert(sample.at);
    }
    let is_held = |it: &&LookupSample| {
        is_old(it) || held_since[it.project].is_some_and(|at| at <= it.asked())
    };
    let held = seen.samples.iter().filter(is_held);
    held.map(|it| it.took).max().unwrap_or_default()
}

impl LookupSample {
    /// When it began, since the storm did.
    fn asked(&self) -> Duration {
        self.at.saturating_sub(self.took)
    }

    fn is_fresh(&self) -> bool {
        match self.result {
            SampleResult::Fresh | SampleResult::Rendered => true,
            SampleResult::Outdated(_) | SampleResult::Failed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(samples: &[(u64, usize, SampleResult)]) -> StormObserved {
        let millis = Duration::from_millis;
        StormObserved {
            release: millis(900),
            learned: millis(1000),
            samples: samples
                .iter()
                .map(|&(at, project, result)| LookupSample {
                    at: millis(at),
                    took: millis(10),
                    project,
                    result,
                })
                .collect(),
            ..StormObserved::default()
        }
    }

    #[test]
    fn a_project_is_fresh_when_the_last_that_callers_got_of_it_was() {
        let seen = seen(&[
            (1005, 1, SampleResult::Outdated("THROTTLED")),
            (1010, 0, SampleResult::Outdated("THROTTLED")),
            (1020, 1, SampleResult::Rendered),
            (1300, 0, SampleResult::Rendered),
            (1400, 0, SampleResult::Failed),
            (1500, 0, SampleResult::Fresh),
        ]);
        let last_outdated = Duration::from_millis(1400);
        let of = |not_fresh| AfterRelease {
            last_outdated,
            not_fresh,
        };
        assert_eq!(AfterRelease::of(&seen, 2), of(0));
        assert_eq!(
            AfterRelease::of(&seen, 3),
            of(1),
            "the third was never looked up"
        );
    }

    #[test]
    fn a_lookup_waits_long_only_where_nothing_is_held() {
        let mut seen = seen(&[
            (500, 0, SampleResult::Fresh),
            (1100, 0, SampleResult::Rendered),
            (1200, 0, SampleResult::Fresh),
        ]);
        seen.samples[1].took = Duration::from_millis(90);
        let terms = |release| StormTerms {
            release,
            ..StormTerms::default()
        };
        let longest = |release| longest_of_held(&seen, &terms(release)).as_millis();
        assert_eq!(longest(Release::Raise), 90);
        assert_eq!(longest(Release::Replace), 10);
    }

    #[test]
    fn what_was_asked_before_the_release_was_known_says_nothing() {
        let seen = seen(&[(1005, 0, SampleResult::Fresh)]);
        let nothing = AfterRelease {
            last_outdated: seen.learned,
            not_fresh: 1,
        };
        assert_eq!(AfterRelease::of(&seen, 1), nothing);
    }
}
