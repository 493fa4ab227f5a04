use std::num::NonZeroUsize;

use super::*;

fn millis(moments: &[u64]) -> Vec<Duration> {
    moments.iter().copied().map(Duration::from_millis).collect()
}

#[test]
fn percentiles_are_durations_that_were_measured() {
    assert_eq!(Latencies::of(Vec::new()), Latencies::default());
    let one = Latencies::of(millis(&[7]));
    assert_eq!([one.p50, one.p99, one.max], [Duration::from_millis(7); 3]);
    let hundred: Vec<_> = (1..=100).rev().collect();
    let many = Latencies::of(millis(&hundred));
    let expected = [50, 99, 100].map(Duration::from_millis);
    assert_eq!([many.p50, many.p99, many.max], expected);
}

#[test]
fn the_worst_second_is_found_wherever_it_begins() {
    assert_eq!(
        most_within(
            &millis(&[0, 900, 950, 1800, 1899, 1900, 1949, 5000]),
            WINDOW
        ),
        5
    );
    assert_eq!(most_within(&[], WINDOW), 0);
}

#[test]
fn what_the_budget_allows_is_not_beyond_it_and_one_more_is() {
    let terms = StormTerms {
        rate: 10.0,
        ..StormTerms::default()
    };
    let seen = StormObserved {
        pods: 1,
        ..StormObserved::default()
    };
    let steady: Vec<_> = (0..50).map(|count| count * 100).collect();
    assert_eq!(beyond_budget(&millis(&steady), &terms, &seen), None);
    let mut crowded = steady;
    crowded.splice(25..25, [2450, 2450]);
    assert!(beyond_budget(&millis(&crowded), &terms, &seen).is_some());
    let late = StormObserved {
        late: Duration::from_millis(200),
        ..seen.clone()
    };
    assert_eq!(
        beyond_budget(&millis(&crowded), &terms, &late),
        None,
        "they may have been launched in time"
    );
    let fast: Vec<_> = (0..50).map(|count| count * 90).collect();
    assert!(beyond_budget(&millis(&fast), &terms, &seen).is_some());
}

#[test]
fn lookups_are_counted_by_result_from_the_release_on() {
    let sample = |at, result| LookupSample {
        at: Duration::from_millis(at),
        took: Duration::from_millis(3),
        project: 0,
        result,
    };
    let seen = StormObserved {
        length: Duration::from_secs(4),
        release: Duration::from_secs(1),
        learned: Duration::from_secs(1),
        samples: vec![
            sample(500, SampleResult::Failed),
            sample(1500, SampleResult::Outdated("THROTTLED")),
            sample(1600, SampleResult::Outdated("THROTTLED")),
            sample(1700, SampleResult::Rendered),
            sample(2000, SampleResult::Failed),
            sample(3000, SampleResult::Fresh),
        ],
        fresh: [(500, 1), (1000, 1), (1100, 0), (2900, 0), (3100, 1)]
            .map(|(at, fresh)| (Duration::from_millis(at), fresh))
            .to_vec(),
        fault: Some((Duration::from_millis(1200), Duration::from_secs(3))),
        ..StormObserved::default()
    };
    let terms = StormTerms {
        projects: NonZeroUsize::MIN,
        ..StormTerms::default()
    };
    let measured = Measured::of(&seen, &terms);
    assert_eq!(
        (measured.answered(), measured.failed, measured.failed_before),
        (4, 1, 1)
    );
    assert_eq!(measured.lasted, Duration::from_secs(3));
    assert_eq!(measured.outdated, BTreeMap::from([("THROTTLED", 2)]));
    assert_eq!(measured.fresh_after, Some(Duration::from_millis(2100)));
    assert_eq!(measured.recovered_after, Some(Duration::from_millis(100)));
    let series = &measured.series;
    assert_eq!(series.outdated.len(), 41);
    assert_eq!(series.outdated[20], 2, "in the second before 2 s");
    assert_eq!(
        series.failed[5], 0,
        "what ends at a point counts at the next"
    );
    assert_eq!(series.failed[6], 2, "one in 0.6 s");
    assert_eq!(series.projects_fresh[20], 0);
    assert_eq!(series.projects_fresh[40], 1);
}

#[test]
fn what_counts_itself_fresh_while_callers_get_the_old_is_not() {
    let told = |at, result| LookupSample {
        at: Duration::from_millis(at),
        took: Duration::from_millis(3),
        project: 0,
        result,
    };
    let terms = StormTerms {
        projects: NonZeroUsize::MIN,
        ..StormTerms::default()
    };
    let mut seen = StormObserved {
        length: Duration::from_secs(3),
        samples: vec![told(1500, SampleResult::Outdated(UNSAID))],
        fresh: vec![(Duration::from_millis(100), 1)],
        ..StormObserved::default()
    };
    let measured = Measured::of(&seen, &terms);
    assert_eq!((measured.fresh_after, measured.not_fresh), (None, 1));
    assert_eq!(measured.unsaid(), 1);
    seen.samples.push(told(2000, SampleResult::Fresh));
    let measured = Measured::of(&seen, &terms);
    let late = Some(Duration::from_millis(1500));
    assert_eq!((measured.fresh_after, measured.not_fresh), (late, 0));
}
