use std::time::Duration;

use super::*;
use crate::admission::tuning::Tuning;

const TUNING: Learning = Tuning::DEFAULT.learned;

const MOST: NonZeroU32 = NonZeroU32::new(16).unwrap();

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

/// A renderer that takes a number of calls at once and refuses others, and sidecars' calls beside
/// them.
struct CrowdedRenderer {
    learned: Learned,
    rng: fastrand::Rng,
    flying: Vec<LaunchedCall>,
    now: Moment,
}

impl CrowdedRenderer {
    fn new() -> Self {
        Self {
            learned: Learned::new(TUNING),
            rng: fastrand::Rng::with_seed(1),
            flying: Vec::new(),
            now: at(0),
        }
    }

    fn others(&self) -> u32 {
        u32::try_from(self.flying.len()).unwrap()
    }

    fn limit(&self) -> u32 {
        self.learned.in_force(MOST, self.now).get()
    }

    fn launches(&mut self, calls: u32) {
        for _ in 0..calls {
            let launch = self.learned.launch(self.others());
            self.flying.push(launch);
        }
    }

    fn refuses(&mut self, calls: u32) {
        for _ in 0..calls {
            let launch = self.flying.pop().unwrap();
            let others = self.others();
            self.learned
                .refused(launch, others, MOST, self.now, &mut self.rng);
        }
    }

    fn answers(&mut self, calls: u32) {
        for _ in 0..calls {
            self.flying.pop().unwrap();
            self.learned.succeeded(MOST, self.now);
        }
    }
}

#[test]
fn a_batch_of_refusals_is_one_decrease() {
    let mut crowd = CrowdedRenderer::new();
    assert_eq!(crowd.limit(), 16);
    crowd.launches(16);
    crowd.refuses(14);
    assert_eq!(crowd.limit(), 11);
    crowd.launches(9);
    crowd.refuses(9);
    assert_eq!(crowd.limit(), 7);
}

#[test]
fn it_rises_by_one_after_as_many_successes_and_never_above_what_is_set() {
    let mut crowd = CrowdedRenderer::new();
    crowd.launches(16);
    crowd.refuses(1);
    assert_eq!(crowd.limit(), 11);
    crowd.launches(1_000);
    crowd.answers(10);
    assert_eq!(crowd.limit(), 11);
    crowd.answers(1);
    assert_eq!(crowd.limit(), 12);
    crowd.answers(500);
    assert_eq!(crowd.limit(), 16);
}

#[test]
fn it_settles_at_what_a_renderer_takes() {
    let mut crowd = CrowdedRenderer::new();
    let takes = 5;
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..1_000 {
        crowd.launches(crowd.limit().saturating_sub(crowd.others()));
        let beyond = crowd.others().saturating_sub(takes);
        crowd.refuses(beyond);
        refused += beyond;
        taken += crowd.others();
        let all = crowd.others();
        crowd.answers(all);
    }
    assert!(taken >= 1_000 * takes * 7 / 10, "{taken} of 5,000");
    assert!(refused <= taken / 5, "{refused} refused, {taken} taken");
}

#[test]
fn a_minute_after_the_last_refusal_it_is_forgotten() {
    let mut crowd = CrowdedRenderer::new();
    crowd.launches(16);
    crowd.refuses(14);
    crowd.now = at(59_999);
    assert_eq!(crowd.limit(), 11);
    crowd.now = at(60_000);
    assert_eq!(crowd.limit(), 16);
    crowd.refuses(1);
    assert_eq!(crowd.limit(), 16, "a call of before the last decrease");
}

#[test]
fn refused_alone_it_stops_for_ever_longer_and_then_tries_one_at_a_time_until_a_success() {
    let mut longest = [Duration::ZERO; 10];
    for seed in 0..200 {
        let mut crowd = CrowdedRenderer::new();
        crowd.rng = fastrand::Rng::with_seed(seed);
        for longest in &mut longest {
            crowd.launches(1);
            crowd.refuses(1);
            let until = crowd.learned.stopped_until(crowd.now).unwrap();
            *longest = (*longest).max(until.since(crowd.now));
            crowd.now = until;
            assert_eq!(crowd.limit(), 1);
            assert_eq!(crowd.learned.stopped_until(crowd.now), None);
        }
        crowd.launches(1);
        crowd.answers(1);
        assert_eq!(crowd.limit(), 16);
    }
    for (nth, longest) in longest.into_iter().enumerate() {
        let most = Duration::from_millis(200 << nth).min(Duration::from_secs(10));
        assert!(
            longest <= most && longest > most.mul_f64(0.9),
            "{longest:?}"
        );
    }
}

#[test]
fn what_was_set_lower_meanwhile_is_kept_to() {
    let mut crowd = CrowdedRenderer::new();
    crowd.launches(16);
    crowd.refuses(1);
    let fewer = NonZeroU32::new(3).unwrap();
    assert_eq!(crowd.learned.limit(fewer, crowd.now), fewer);
}
