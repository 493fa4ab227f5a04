//! What callers are told: when to come back, and as what they are counted.

use super::*;

#[test]
fn in_a_flood_it_is_told_truly_when_to_come_back() {
    let start = at_100();
    let mut admission = machine_that_misses(0..30, limits(10.0, 30, 50, 1_000), start);
    let mut now = start;
    for _ in 0..30 {
        for (project, _) in launched(&mut admission) {
            admission.landed(&project, Landing::NotFound, now);
        }
        now = admission.next_wake().unwrap_or(now);
        admission.tick(now);
    }
    for project in 100..150 {
        let patient = Some(Duration::from_secs(1_000));
        admission.want(&name(project), wish(None, 1, patient, now), now);
    }
    let told = wants(&mut admission, 999, Duration::from_secs(10), now).refusal;
    assert_eq!(told.reason, NotRefreshed::Throttled);

    let asked = now;
    let patient = Some(Duration::from_secs(1_000));
    admission.want(&name(999), wish(None, 1, patient, now), now);
    loop {
        let launched = launched(&mut admission);
        if launched.iter().any(|(project, _)| *project == name(999)) {
            break;
        }
        for (project, _) in launched {
            admission.landed(&project, Landing::NotFound, now);
        }
        now = admission.next_wake().unwrap();
        admission.tick(now);
    }
    let took = now.since(asked).as_secs_f64() / told.retry_after.as_secs_f64();
    assert!((0.8..=1.2).contains(&took), "{took} times {told:?}");
}

#[test]
fn where_permits_are_short_no_caller_is_told_to_come_back_at_once() {
    let now = at_100();
    let mut admission = machine_that_misses(0..40, limits(1_000.0, 100, 2, 4), now);
    let told = wants(&mut admission, 50, Duration::ZERO, now).refusal;
    assert!(told.retry_after >= Duration::from_millis(500), "{told:?}");

    let landed = now + Duration::from_secs(5);
    let held = HeldMark {
        order: Order::rollout(1),
        validated_at: landed,
    };
    for (project, _) in launched(&mut admission) {
        admission.landed(&project, Landing::Held(held), landed);
    }
    for project in 100..140 {
        admission.want(&name(project), wish(None, 1, None, landed), landed);
        admission.want(&name(project), wish(None, 1, Some(PATIENT), landed), landed);
    }
    let told = wants(&mut admission, 150, PATIENT, landed).refusal;
    assert_eq!(told.reason, NotRefreshed::QueueFull);
    assert!(told.retry_after >= Duration::from_secs(2), "{told:?}");
}

/// 24 s into a hang, `retry_after` was 34 ms, and cold lookups waited 2 s in vain.
#[test]
fn in_a_hang_retry_after_knows_how_long_permits_are_held_and_no_lookup_waits_in_vain() {
    for has_rendered in [true, false] {
        let start = at_100();
        let limits = limits(100.0, 100, 4, 100);
        let mut admission = machine_that_misses(0..1, limits, start).with_deadline(HANG);
        if has_rendered {
            launched(&mut admission);
            let now = start + Duration::from_millis(136);
            let held = HeldMark {
                order: Order::rollout(1),
                validated_at: now,
            };
            admission.landed(&name(0), Landing::Held(held), now);
        }
        // Missing projects hold all permits, or outdated ones theirs.
        for (from, held) in [(0, None), (50, outdated())] {
            for project in from + 1..from + 5 {
                admission.want(&name(project), wish(held, 2, Some(PATIENT), start), start);
            }
        }
        let hangs = launched(&mut admission).len();
        assert_eq!(hangs, 4);
        for elapsed in [5, 24] {
            let now = start + Duration::from_secs(elapsed);
            let cold = Duration::from_secs(2);
            for (project, held) in [(98, None), (99, outdated())] {
                let asked = wish(held, 2, Some(cold), now);
                let told = match admission.want(&name(project), asked, now) {
                    WishVerdict::Wait => panic!("waits in vain {elapsed} s into a hang"),
                    WishVerdict::Refused(refused) => refused.refusal,
                };
                assert_eq!(told.reason, NotRefreshed::ConcurrencyLimited);
                let expected = Duration::from_secs(elapsed.min(30 - elapsed));
                let least = expected.saturating_sub(Duration::from_millis(200));
                assert!(told.retry_after >= least, "{elapsed}: {told:?}");
                // Nine stand before the last: two turns more.
                assert!(told.retry_after <= 4 * HANG, "{elapsed}: {told:?}");
            }
        }
    }
}

/// What the Python suite met once: told 4.9 s, served after 10 s, since the token that came first
/// paid for the one in advance.
#[test]
fn a_token_in_advance_is_paid_before_another_is_promised() {
    let mut now = Moment::START;
    let mut admission = machine_that_misses(0..1, limits(0.1, 1, 4, 100), now);
    while launched(&mut admission).is_empty() {
        now = admission.next_wake().expect("the first token comes");
        admission.tick(now);
    }
    let WishVerdict::Refused(refused) = admission.want(&name(1), wish(None, 1, None, now), now)
    else {
        panic!("no lookup waits");
    };
    assert_eq!(refused.refusal.reason, NotRefreshed::Throttled);
    let told = now + refused.refusal.retry_after;
    admission.want(
        &name(1),
        wish(None, 1, Some(Duration::from_secs(100)), now),
        now,
    );
    while launched(&mut admission).is_empty() {
        now = admission.next_wake().expect("the next token comes");
        admission.tick(now);
    }
    let off = told.since(now).max(now.since(told));
    assert!(
        off < Duration::from_millis(1),
        "told {told:?}, came {now:?}"
    );
}

/// Who leaves at the moment at which a token is due is told that its project is scheduled only when
/// that token is for it.
#[test]
fn a_project_is_scheduled_only_when_it_is_launched_next() {
    let start = Moment::START;
    let mut admission = Admission::new(limits(1.0, 1, 4, 100), 1, 1, start);
    admission.set_link(Link::Up, start);
    let patience = Duration::from_secs(10);
    let waiting = wish(None, 1, Some(patience), start);
    let [one, other] = [0, 1].map(name);
    assert_eq!(admission.want(&one, waiting, start), WishVerdict::Wait);
    admission.fetched(&one, FetchLanding::Unimplemented, start);
    assert_eq!(admission.want(&other, waiting, start), WishVerdict::Wait);

    let due = admission.next_wake().unwrap();
    admission.left(&one, start + patience, due);
    let told = admission.explain(&one, due).unwrap().refusal.reason;
    admission.tick(due);
    let is_launched = admission.explain(&one, due).unwrap().is_in_flight;
    assert!(told != NotRefreshed::Scheduled || is_launched);
}

/// Mistyped names whose callers did not wait were counted as outdated.
#[test]
fn the_class_of_a_refusal_follows_what_is_held_whether_its_callers_wait_or_not() {
    let now = at_100();
    let mut admission = machine_that_misses(0..0, limits(0.0, 1, 1, 2), now);
    let refused = |verdict| match verdict {
        WishVerdict::Refused(refused) => refused.class,
        WishVerdict::Wait => panic!("nothing is admitted"),
    };
    for patience in [None, Some(Duration::from_millis(1))] {
        let missing = admission.want(&name(1), wish(None, 1, patience, now), now);
        assert_eq!(refused(missing), Class::Missing);
        let outdated = admission.want(&name(2), wish(outdated(), 2, patience, now), now);
        assert_eq!(refused(outdated), Class::Outdated);
    }
    let wanted = Class::ALL.map(|class| admission.wanted(class));
    assert_eq!(wanted, [1, 1]);
}
