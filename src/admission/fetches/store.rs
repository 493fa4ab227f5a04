//! Whether fetches as a whole fail, so that missing projects are rendered instead.
//!
//! A fetch that fails says little: it is fetched again. Fetches as a whole fail when at least
//! [`FetchTuning::failures`] in a row failed or were pushed back, and for
//! [`FetchTuning::fail_after`] none was answered, with a revision or that there is none. A store
//! that plainly refuses is alive, and is given [`FetchTuning::refused_after`]. Once they are given
//! up, one fetch at a time finds out whether they are answered again.

use std::time::Duration;

use crate::{admission::tuning::FetchTuning, moment::Moment};

/// What is known about fetches as a whole.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct StoreHealth {
    tuning: FetchTuning,
    failing: FruitlessRun,
    refusing: FruitlessRun,
    /// Until when the renderer asked not to be asked.
    told_until: Moment,
    is_given_up: bool,
    /// Fetches in a row that failed since fetches were given up.
    probes: u32,
    probe_at: Moment,
}

/// Fetches in a row that came to nothing.
#[derive(Clone, Copy, Debug)]
struct FruitlessRun {
    length: u32,
    since: Moment,
    last: Moment,
}

impl FruitlessRun {
    const NONE: Self = Self {
        length: 0,
        since: Moment::START,
        last: Moment::START,
    };

    fn go_on(&mut self, forgotten: Duration, now: Moment) {
        if self.length == 0 || now.since(self.last) > forgotten {
            (self.length, self.since) = (0, now);
        }
        self.length += 1;
        self.last = now;
    }
}

/// How a fetch came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Miss {
    /// It failed.
    Failed,
    /// It was refused without a word on when to come back.
    Refused,
    /// The renderer asked not to be asked until then.
    PushedBack(Moment),
}

impl StoreHealth {
    pub(in crate::admission) const fn new(tuning: FetchTuning) -> Self {
        Self {
            tuning,
            failing: FruitlessRun::NONE,
            refusing: FruitlessRun::NONE,
            told_until: Moment::START,
            is_given_up: false,
            probes: 0,
            probe_at: Moment::START,
        }
    }

    /// Whether missing projects are rendered without a fetch before.
    pub(in crate::admission) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Records a fetch that was answered. Returns true if fetches had been given up.
    pub(in crate::admission) fn answered(&mut self) -> bool {
        std::mem::replace(self, Self::new(self.tuning)).is_given_up
    }

    /// Records a fetch that came to nothing.
    pub(in crate::admission) fn missed(
        &mut self,
        miss: Miss,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) {
        let forgotten = self.tuning.run_forgotten;
        match miss {
            Miss::Failed => self.failing.go_on(forgotten, now),
            Miss::Refused => self.refusing.go_on(forgotten, now),
            Miss::PushedBack(until) => {
                self.failing.go_on(forgotten, now);
                self.told_until = self.told_until.max(until);
            }
        }
        if self.is_given_up {
            self.probes += 1;
            self.put_off_probe(now, rng);
        }
    }

    /// When fetches are to be given up unless one is answered before.
    pub(in crate::admission) fn gives_up_at(&self) -> Option<Moment> {
        if self.is_given_up {
            return None;
        }
        let fail_at = self.failing.since + self.tuning.fail_after;
        let fails = self.failing.length >= self.tuning.failures;
        let refuses = self.refusing.length >= self.tuning.failures;
        let refuse_at = self.refusing.since + self.tuning.refused_after;
        [(fails, fail_at), (refuses, refuse_at)]
            .into_iter()
            .filter_map(|(is_so, at)| is_so.then_some(at))
            .min()
    }

    /// Gives fetches up.
    pub(in crate::admission) fn give_up(&mut self, now: Moment, rng: &mut fastrand::Rng) {
        self.is_given_up = true;
        self.put_off_probe(now, rng);
    }

    /// When one fetch may be tried after they were given up.
    pub(in crate::admission) fn probe_at(&self) -> Moment {
        self.probe_at
    }

    fn put_off_probe(&mut self, now: Moment, rng: &mut fastrand::Rng) {
        let drawn = self.tuning.backoff.full_jitter(self.probes, rng);
        self.probe_at = self.told_until.max(now + drawn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tuning::Tuning;

    const TUNING: FetchTuning = Tuning::DEFAULT.fetch;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    /// When fetches that come to nothing at these moments are given up.
    fn given_up_at(misses: &[(u64, Miss)]) -> Option<Moment> {
        let (mut store, mut rng) = (StoreHealth::new(TUNING), fastrand::Rng::with_seed(1));
        for (millis, miss) in misses {
            store.missed(*miss, at(*millis), &mut rng);
        }
        store.gives_up_at()
    }

    #[test]
    fn a_few_that_fail_or_many_within_a_moment_are_not_all() {
        let failed = |millis| (millis, Miss::Failed);
        assert_eq!(given_up_at(&[failed(0), failed(1_000)]), None);
        assert_eq!(given_up_at(&[0, 1, 2, 3].map(failed)), Some(at(3_000)));
        let long_ago = [failed(0), failed(1_000), failed(100_000)];
        assert_eq!(given_up_at(&long_ago), None);
    }

    #[test]
    fn an_answer_ends_the_run() {
        let (mut store, mut rng) = (StoreHealth::new(TUNING), fastrand::Rng::with_seed(1));
        for millis in [0, 1_000, 2_000] {
            store.missed(Miss::Failed, at(millis), &mut rng);
        }
        assert!(!store.answered(), "nothing was given up");
        store.missed(Miss::Failed, at(2_500), &mut rng);
        assert_eq!(store.gives_up_at(), None);
    }

    #[test]
    fn a_store_that_refuses_is_given_longer_than_one_that_fails() {
        let refused = [0, 100, 200].map(|millis| (millis, Miss::Refused));
        assert_eq!(given_up_at(&refused), Some(at(0) + TUNING.refused_after));
        let both = [
            (0, Miss::Refused),
            (100, Miss::Failed),
            (200, Miss::Failed),
            (300, Miss::Failed),
        ];
        assert_eq!(given_up_at(&both), Some(at(3_100)));
    }

    #[test]
    fn once_given_up_it_is_probed_ever_more_seldom_and_no_sooner_than_it_asked() {
        let (mut store, mut rng) = (StoreHealth::new(TUNING), fastrand::Rng::with_seed(1));
        store.missed(Miss::PushedBack(at(20_000)), at(0), &mut rng);
        store.give_up(at(3_000), &mut rng);
        assert_eq!(store.gives_up_at(), None);
        assert_eq!(store.probe_at(), at(20_000));
        let mut now = at(20_000);
        for _ in 0..20 {
            store.missed(Miss::Failed, now, &mut rng);
            assert!(store.probe_at() <= now + Duration::from_secs(10));
            now = store.probe_at();
        }
        assert!(now > at(40_000), "{now:?}");
        assert!(store.answered());
        assert!(!store.is_given_up());
    }
}
