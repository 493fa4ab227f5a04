use std::time::Duration;

use super::*;
use crate::{
    admission::{AdmissionFact, CallFailure, FetchLimits, HeldMark, Landing, Limits, Link},
    moment::Moment,
    record::{RecordEnd, RecordStart, RecordedInterest},
    revision::Order,
};

pub(super) fn at(seconds: f64) -> Moment {
    Moment::after_start(Duration::from_secs_f64(seconds))
}

fn count(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

/// A record with these facts, and no lookups.
pub(super) fn record_of(facts: &[(Moment, AdmissionFact<u32>)]) -> Record {
    let mut facts = facts.to_vec();
    facts.sort_by_key(|&(at, _)| at);
    Record {
        start: RecordStart {
            target: 1,
            limits: Limits {
                rate: 5.0,
                burst: count(3),
                concurrency: count(8),
                queue: count(512),
                fetch: FetchLimits {
                    rate: 50.0,
                    concurrency: count(16),
                },
            },
            deadline: Duration::from_secs(30),
            patience: Duration::from_millis(50),
            cold_patience: Duration::from_secs(2),
            max_age: None,
        },
        projects: 40,
        facts,
        interest: Vec::new(),
        lost: 0,
        end: RecordEnd::Whole,
    }
}

/// A render that began at that second.
pub(super) fn rendered(
    project: u32,
    second: f64,
    took: f64,
    landing: Landing,
) -> (Moment, AdmissionFact<u32>) {
    let took = Duration::from_secs_f64(took);
    let fact = AdmissionFact::Rendered {
        project,
        asked: 2,
        landing,
        took,
    };
    (at(second) + took, fact)
}

fn held(rollout: u64) -> Landing {
    Landing::Held(HeldMark {
        order: Order::rollout(rollout),
        validated_at: Moment::START,
    })
}

/// A record of two minutes in which 40 projects are looked up twice a second each, are rendered
/// within the first 20 s, and are raised at 30 s: 5 renders/s, of 0.2 s each.
fn release() -> Record {
    let up = (at(0.1), AdmissionFact::Link(Link::Up));
    let mut facts = vec![up, (at(30.0), AdmissionFact::Target(2))];
    for project in 0..40 {
        let place = f64::from(project);
        let (_, first) = rendered(project, 0.0, 0.2, held(1));
        let AdmissionFact::Rendered { landing, took, .. } = first else {
            unreachable!()
        };
        let first = AdmissionFact::Rendered {
            project,
            asked: 1,
            landing,
            took,
        };
        facts.push((at(1.2 + place / 5.0), first));
        facts.push(rendered(project, 30.5 + place / 5.0, 0.2, held(2)));
    }
    let mut record = record_of(&facts);
    record.interest = (0..120)
        .map(|second| RecordedInterest {
            during: at(second.into())..at((second + 1).into()),
            lookups: (0..40).map(|project| (project, 2)).collect(),
            outdated: 0,
            failed: 0,
        })
        .collect();
    record
}

fn with(record: &Record, limits: OtherLimits) -> Course {
    Replay::of(record).with(limits)
}

fn seconds(course: &Course) -> f64 {
    course.fresh_after.expect("all is fresh").as_secs_f64()
}

#[test]
fn a_replay_with_the_recorded_limits_is_like_the_record() {
    let record = release();
    let (recorded, replayed) = (
        Replay::of(&record).recorded(),
        with(&record, OtherLimits::default()),
    );
    assert_eq!(recorded.renders, 80.0);
    assert_eq!(replayed.renders, 80.0);
    assert_eq!(recorded.raised_at, Some(Duration::from_secs(30)));
    assert!((seconds(&recorded) - 8.5).abs() < 0.1);
    // Three of them are saved up.
    assert!((seconds(&replayed) - 7.7).abs() < 0.5, "{replayed:?}");
    assert!(replayed.most_renders <= 9.0, "{replayed:?}");
}

#[test]
fn other_limits_have_the_effect_that_they_have() {
    let record = release();
    let rate = |rate| {
        with(
            &record,
            OtherLimits {
                rate: Some(rate),
                ..OtherLimits::default()
            },
        )
    };
    let (slow, quick) = (rate(1.0), rate(20.0));
    assert!((seconds(&slow) - 40.0).abs() < 2.0, "{slow:?}");
    assert!((seconds(&quick) - 2.0).abs() < 0.8, "{quick:?}");
    assert!(slow.outdated > 4.0 * quick.outdated);

    let concurrency = Some(count(1));
    let narrow = with(
        &record,
        OtherLimits {
            rate: Some(100.0),
            concurrency,
            burst: Some(count(50)),
        },
    );
    assert!((seconds(&narrow) - 8.0).abs() < 0.5, "{narrow:?}");
    assert_eq!(narrow.most_at_once, 1.0);
}

/// Targets that were lowered were not obeyed: what only the higher one wanted was rendered.
#[test]
fn a_lowered_target_is_obeyed() {
    let mut record = release();
    record.facts.push((at(32.0), AdmissionFact::Target(1)));
    record.facts.sort_by_key(|&(at, _)| at);
    let replayed = with(&record, OtherLimits::default());
    assert!((50.0..62.0).contains(&replayed.renders), "{replayed:?}");
    assert_eq!(replayed.raised_at, None);
    assert_eq!(Replay::of(&record).recorded().raised_at, None);
    let late: f64 = replayed.outdated_by_step[34..].iter().sum();
    assert_eq!(late, 0.0);
}

#[test]
fn an_outage_of_the_record_is_one_of_the_replay() {
    let mut record = release();
    let landing = Landing::Failed(CallFailure::Unavailable);
    record.facts.retain(|&(when, fact)| {
        let is_render = matches!(fact, AdmissionFact::Rendered { asked: 2, .. });
        !is_render || !(at(32.0)..at(36.0)).contains(&when)
    });
    for place in 0..8 {
        let second = 32.0 + f64::from(place) / 2.0;
        record
            .facts
            .push(rendered(30 + place, second, 0.01, landing));
    }
    record.facts.sort_by_key(|&(at, _)| at);
    let replayed = with(&record, OtherLimits::default());
    assert!(replayed.useless > 0.05, "{replayed:?}");
    assert!((11.0..45.0).contains(&seconds(&replayed)), "{replayed:?}");
}

#[test]
fn the_same_record_and_limits_have_the_same_outcome() {
    let record = release();
    let limits = OtherLimits {
        rate: Some(3.0),
        ..OtherLimits::default()
    };
    assert_eq!(with(&record, limits), with(&record, limits));
}
