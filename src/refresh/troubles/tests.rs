use tokio::time::Instant;

use super::*;
use crate::logged::CapturedLog;

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn project(n: usize) -> Project {
    Project::new(&format!("typo/{n}")).unwrap()
}

/// 55,000 mistyped names within a quarter of an hour made each further lookup cost 3.8 ms: all that
/// stood was walked.
#[test]
fn fifty_five_thousand_distinct_mistyped_names_cost_the_same_each_and_a_bounded_memory() {
    let mut troubles = Troubles::default();
    let started = Instant::now();
    for n in 0..55_000 {
        let now = Moment::after_start(Duration::from_millis(10 * n as u64));
        troubles.raise(Trouble::Failed, &project(n), &"no such project", now);
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let affected = &troubles.kinds[Trouble::Failed as usize];
    assert_eq!(
        (affected.last.len(), affected.by_age.len()),
        (MAX_STANDING, MAX_STANDING)
    );
}

#[test]
fn one_project_that_complains_for_ever_is_remembered_once() {
    let mut troubles = Troubles::default();
    for second in 0..20_000 {
        troubles.raise(Trouble::Behind, &project(0), &"behind", at(second));
    }
    assert_eq!(troubles.kinds[Trouble::Behind as usize].by_age.len(), 1);
}

#[test]
fn the_first_five_failing_projects_of_a_minute_are_named_and_the_others_counted() {
    let log = CapturedLog::start();
    let mut troubles = Troubles::default();
    for n in 0..8 {
        troubles.raise(Trouble::Failed, &project(n), &"broken", at(1));
        troubles.raise(Trouble::Failed, &project(n), &"broken", at(2));
    }
    assert_eq!(troubles.next_wake(), Some(at(61)));
    troubles.tick(at(61));
    troubles.raise(Trouble::Failed, &project(9), &"broken", at(62));
    log.assert_says(&[
        "renders are failing; serving held revisions, will retry project=typo/0 cause=broken",
        "renders of another project are failing project=typo/1 cause=broken",
        "renders of another project are failing project=typo/2",
        "renders of another project are failing project=typo/3",
        "renders of another project are failing project=typo/4",
        "renders of further projects are failing more=3",
        "renders of another project are failing project=typo/9",
    ]);
}

#[test]
fn while_the_breaker_is_open_no_project_is_to_blame() {
    let log = CapturedLog::start();
    let mut troubles = Troubles::default();
    troubles.raise(Trouble::Failed, &project(0), &"broken", at(1));
    troubles.record_stops(Stops {
        is_broken: true,
        ..Stops::default()
    });
    troubles.raise(Trouble::Failed, &project(1), &"broken", at(2));
    log.assert_says(&["renders are failing", "breaker is open"]);
}

#[test]
fn a_trouble_without_later_lookups_is_forgotten_and_the_log_says_so() {
    let log = CapturedLog::start();
    let mut troubles = Troubles::default();
    troubles.raise(Trouble::Rejected, &project(0), &"blank", at(1));
    troubles.raise(Trouble::Rejected, &project(1), &"blank", at(5));
    troubles.tick(at(901));
    assert_eq!(troubles.next_wake(), Some(at(905)));
    troubles.tick(at(905));
    assert_eq!(troubles.next_wake(), None);
    log.assert_says(&[
        "renders are rejected",
        "renders of another project are rejected",
        "no render has been rejected for 15m",
    ]);
}
