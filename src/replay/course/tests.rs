use super::*;
use crate::{
    admission::Landing,
    record::RecordedInterest,
    replay::tests::{at, record_of, rendered},
    revision::Order,
};

fn landing(rollout: u64) -> Landing {
    Landing::Held(crate::admission::HeldMark {
        order: Order::rollout(rollout),
        validated_at: Moment::START,
    })
}

fn interest(from: f64, to: f64, lookups: &[(u32, u32)], outdated: u64) -> RecordedInterest {
    RecordedInterest {
        during: at(from)..at(to),
        lookups: lookups.to_vec(),
        outdated,
        failed: 0,
    }
}

/// Two projects are raised at 10 s, and fresh 2 s and 5 s later; a third is looked up when the
/// release is long over.
fn release() -> Record {
    let mut record = record_of(&[
        rendered(0, 1.0, 0.5, landing(1)),
        rendered(1, 1.2, 0.5, landing(1)),
        (at(10.0), AdmissionFact::Target(2)),
        rendered(0, 11.0, 1.0, landing(2)),
        rendered(1, 11.5, 3.5, landing(2)),
        rendered(7, 90.0, 1.0, landing(2)),
    ]);
    record.interest = vec![
        interest(0.0, 10.0, &[(0, 10), (1, 10)], 0),
        interest(10.0, 20.0, &[(0, 10), (1, 20)], 12),
        interest(20.0, 80.0, &[(0, 10)], 0),
        interest(80.0, 100.0, &[(7, 30)], 0),
    ];
    record
}

fn course(record: &Record) -> Course {
    Course::recorded(record, &RecordedCalls::of(record))
}

#[test]
fn figures_of_a_record_are_those_of_its_lines() {
    let course = course(&release());
    assert_eq!((course.renders, course.most_renders), (5.0, 2.0));
    assert_eq!((course.most_at_once, course.useless), (2.0, 0.0));
    assert_eq!(course.outdated, 12.0 / 90.0);
    assert_eq!(course.raised_at, Some(Duration::from_secs(10)));
    assert_eq!(course.lasts, Duration::from_secs(100));
    assert_eq!(course.step, Duration::from_secs(1));
    assert_eq!(course.outdated_by_step[15], 12.0 / 30.0);
    assert_eq!(course.renders_by_step[11], 2.0);
}

#[test]
fn a_release_is_over_when_the_last_is_fresh_that_was_looked_up_soon() {
    let record = release();
    assert_eq!(course(&record).fresh_after, Some(Duration::from_secs(5)));

    let mut never = record.clone();
    never.interest[1].lookups.push((5, 1));
    assert_eq!(course(&never).fresh_after, None);

    let mut lowered = record.clone();
    lowered.facts.push((at(50.0), AdmissionFact::Target(1)));
    lowered.facts.sort_by_key(|&(at, _)| at);
    assert_eq!(course(&lowered).raised_at, None);

    let mut none = record;
    none.facts
        .retain(|(_, fact)| !matches!(fact, AdmissionFact::Target(_)));
    assert_eq!(
        (course(&none).raised_at, course(&none).fresh_after),
        (None, None)
    );
}

#[test]
fn the_median_of_courses_is_taken_figure_by_figure() {
    let one = course(&release());
    let course = |renders, fresh_after: Option<u64>| Course {
        renders,
        fresh_after: fresh_after.map(Duration::from_secs),
        ..one.clone()
    };
    let courses = [
        course(5.0, Some(4)),
        course(9.0, Some(8)),
        course(7.0, None),
    ];
    let median = Course::median(&courses);
    assert_eq!(median.renders, 7.0);
    assert_eq!(median.fresh_after, Some(Duration::from_secs(8)));
    let median = Course::median(&[course(1.0, None), course(1.0, None), course(1.0, Some(1))]);
    assert_eq!(median.fresh_after, None);
}

#[test]
fn renders_within_a_second_are_counted_by_when_they_began() {
    let moments: Vec<_> = [0.0, 0.5, 0.9, 1.0, 1.4, 5.0].map(at).to_vec();
    assert_eq!(most_within(&moments, Duration::from_secs(1)), 4);
    assert_eq!(most_within(&[], Duration::from_secs(1)), 0);
}
