use std::collections::BTreeMap;

use super::*;
use crate::drill::caller::TimedAnswer;

fn answered(came: LookupAnswer, millis: u64) -> TimedAnswer {
    TimedAnswer {
        came,
        took: Duration::from_millis(millis),
    }
}

fn outdated(reason: &str) -> LookupAnswer {
    LookupAnswer::Outdated(reason.to_owned())
}

/// What was found in a step with 200 outdated answers, and `other`.
fn tally(reason: &str, other: &[TimedAnswer]) -> CanaryTally {
    let mut tally = CanaryTally::default();
    for _ in 0..200 {
        tally.count(&answered(outdated(reason), 1));
    }
    other.iter().for_each(|other| tally.count(other));
    tally
}

const CUT: Expected<'static> = Expected {
    lookups: 200,
    allowed: Some(&["UNREACHABLE"]),
    seen: &[],
    is_fresh_wrong: true,
    most_renders: Some(0),
    unmet: None,
};

#[test]
fn two_hundred_outdated_answers_in_time_break_no_promise() {
    let slow = answered(outdated("UNREACHABLE"), 300);
    assert_eq!(CUT.broken(&tally("UNREACHABLE", &[slow]), 0), [""; 0]);
}

#[test]
fn each_broken_promise_is_said() {
    for (other, renders, broken) in [
        (
            LookupAnswer::Fresh,
            0,
            "1 of 201 answers claimed to be fresh",
        ),
        (
            outdated("TIMED_OUT"),
            0,
            "1 of 201 answers said TIMED_OUT, not UNREACHABLE",
        ),
        (
            LookupAnswer::Failed("UNAVAILABLE (UNREACHABLE): nothing is held".to_owned()),
            0,
            "1 of 201 lookups failed, the first with UNAVAILABLE (UNREACHABLE): nothing is held",
        ),
        (
            LookupAnswer::NoSuchProject,
            0,
            "1 of 201 lookups failed, the first with the renderer knows the canary no longer",
        ),
        (outdated("UNREACHABLE"), 1, "renders tried: 1, of 0 at most"),
    ] {
        let tally = tally("UNREACHABLE", &[answered(other, 1)]);
        assert_eq!(CUT.broken(&tally, renders), [broken]);
    }
    let late = tally("UNREACHABLE", &[answered(outdated("UNREACHABLE"), 301)]);
    assert_eq!(
        CUT.broken(&late, 0),
        ["a lookup took 301.0ms, with a patience of 50ms and 250ms for a busy node"]
    );
    assert_eq!(
        CUT.broken(&CanaryTally::default(), 0),
        ["only 0 of 200 lookups could be made"]
    );
    let held = Expected {
        seen: &["TIMED_OUT", "BREAKER_OPEN"],
        ..Expected::default()
    };
    assert_eq!(
        held.broken(&tally("TIMED_OUT", &[]), 9),
        ["no answer said BREAKER_OPEN"]
    );
}

#[test]
fn what_failed_or_was_late_is_kept_when_answers_do_not_count_yet() {
    let late = answered(LookupAnswer::Failed("late".to_owned()), 900);
    let kept = tally("TIMED_OUT", &[late]).without_answers();
    assert_eq!((kept.lookups, &kept.outdated), (1, &BTreeMap::new()));
    assert_eq!(Expected::default().broken(&kept, 0).len(), 2);
}
