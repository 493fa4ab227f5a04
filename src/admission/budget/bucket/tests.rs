use proptest::{prelude::*, test_runner::FileFailurePersistence};

use super::*;

fn at(seconds: f64) -> Moment {
    Moment::after_start(Duration::from_secs_f64(seconds))
}

fn burst(tokens: u32) -> NonZeroU32 {
    NonZeroU32::new(tokens).unwrap()
}

fn take_all(bucket: &mut Bucket, now: Moment) -> u32 {
    std::iter::from_fn(|| bucket.take(now).ok()).count() as u32
}

#[test]
fn starts_with_one_token_whatever_the_burst() {
    for tokens in [1, 2, 10] {
        assert_eq!(
            take_all(&mut Bucket::new(5.0, burst(tokens), 1.0, at(0.0)), at(0.0)),
            1
        );
    }
}

#[test]
fn refills_up_to_the_burst_and_no_further() {
    let mut bucket = Bucket::new(5.0, burst(3), 1.0, at(0.0));
    assert_eq!(take_all(&mut bucket, at(3_600.0)), 3);
}

#[test]
fn a_refusal_names_the_moment_of_the_next_token_to_the_nanosecond() {
    let mut bucket = Bucket::new(0.05, burst(1), 1.0, at(0.0));
    bucket.take(at(0.0)).unwrap();
    let next = bucket.take(at(1.0)).unwrap_err().unwrap();
    assert_eq!(next, at(20.0));
    let before = Moment::after_start(next.since_start() - Duration::from_nanos(1));
    assert!(bucket.take(before).is_err());
    assert!(bucket.take(next).is_ok());
}

#[test]
fn rate_zero_takes_nothing_and_keeps_the_level() {
    let mut bucket = Bucket::new(1.0, burst(5), 1.0, at(0.0));
    bucket.set(0.0, burst(5), at(1.0));
    assert_eq!(bucket.take(at(1_000.0)), Err(None));
    bucket.set(1.0, burst(5), at(1_000.0));
    assert_eq!(take_all(&mut bucket, at(1_000.0)), 2);
}

#[test]
fn raising_the_burst_adds_room_and_no_tokens() {
    let mut bucket = Bucket::new(10.0, burst(2), 1.0, at(0.0));
    bucket.set(10.0, burst(100), at(60.0));
    assert_eq!(take_all(&mut bucket, at(60.0)), 2);
}

/// A rate of 10⁻⁶/s that the pace had slowed was taken for none: nothing was rendered, and
/// `retry_after` was 10 ms.
#[test]
fn the_least_rate_of_the_settings_still_refills_at_the_slowest_pace_and_the_start_of_a_ramp() {
    use crate::admission::Tuning;
    const TUNING: Tuning = Tuning::DEFAULT;
    let least = 1e-6 * TUNING.pace.least * TUNING.breaker.ramp_start;
    assert!(least >= MIN_RATE);
    let mut bucket = Bucket::new(least, burst(2), 0.0, at(0.0));
    let next = bucket.take(at(1.0)).unwrap_err().unwrap();
    assert!((next.since_start().as_secs_f64() * least - 1.0).abs() < 1e-6);
    bucket.set(1e-6, burst(2), at(1.0));
    bucket.set(least, burst(2), at(2.0));
    assert!(bucket.take(next).is_ok());
    assert_eq!(take_all(&mut bucket, at(3.0 / least)), 2);
}

/// A bucket in real numbers, to compare with.
struct Exact {
    rate: f64,
    burst: f64,
    level: f64,
    at: f64,
}

impl Exact {
    fn refill(&mut self, now: f64) {
        self.level = (self.level + (now - self.at) * self.rate).min(self.burst);
        self.at = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    /// governor#39: replacing a limiter at a reload grants a full burst, or starves a slow bucket.
    #[test]
    fn any_schedule_of_reloads_grants_what_an_exact_bucket_would(
        reloads in prop::collection::vec((0.0_f64..20.0, prop::sample::select(vec![0.0, 0.05, 0.3, 1.0, 7.0, 50.0]), 1_u32..20), 1..200),
        greedy in any::<bool>(),
    ) {
        grants_as_an_exact_bucket(&reloads, greedy);
    }
}

/// The oracle took whole tokens by itself: at 0.3/s, 13.5099 s after a grant, it floored what the
/// bucket rightly granted.
#[test]
fn a_token_at_the_edge_of_a_period_is_granted_by_both_or_by_none() {
    let edges = [13.5099, 10.0 / 3.0, 1.0 / 0.3, 3.333_333_333];
    for edge in edges {
        for burst in 1..6 {
            grants_as_an_exact_bucket(&[(edge, 0.3, burst); 200], true);
            let alternating: Vec<_> = [(edge, 0.3, burst), (edge, 0.05, burst)].repeat(50);
            grants_as_an_exact_bucket(&alternating, true);
        }
    }
}

/// Checks that a bucket grants what is there: no token that is not, and, where all are taken, each
/// that is.
fn grants_as_an_exact_bucket(reloads: &[(f64, f64, u32)], greedy: bool) {
    const ROUNDING: f64 = 1e-3;
    let mut bucket = Bucket::new(1.0, burst(5), 1.0, at(0.0));
    let mut exact = Exact {
        rate: 1.0,
        burst: 5.0,
        level: 1.0,
        at: 0.0,
    };
    let take_all = |bucket: &mut Bucket, exact: &mut Exact, now: f64| {
        exact.level -= f64::from(take_all(bucket, at(now)));
        assert!(
            exact.level >= -ROUNDING,
            "{} were granted too many",
            -exact.level
        );
        let is_empty = exact.rate == 0.0 || exact.level <= 1.0 + ROUNDING;
        assert!(is_empty, "{} are left", exact.level);
    };
    let mut now = 0.0;
    for &(step, rate, tokens) in reloads {
        now += step;
        exact.refill(now);
        if greedy {
            take_all(&mut bucket, &mut exact, now);
        }
        let level = bucket.level(at(now));
        assert!(
            (level - exact.level).abs() < ROUNDING,
            "{level} is shown of {}",
            exact.level
        );
        bucket.set(rate, burst(tokens), at(now));
        exact.rate = rate;
        exact.burst = f64::from(tokens);
        exact.level = exact.level.min(exact.burst);
    }
    take_all(&mut bucket, &mut exact, now);
}
