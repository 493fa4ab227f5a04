//! What single gates let through, what landings lead to, and what is said of it.

use super::*;

const PATIENT: Duration = Duration::from_secs(100);

const HANG: Duration = Duration::from_secs(30);

fn at_100() -> Moment {
    Moment::after_start(Duration::from_secs(100))
}

fn outdated() -> Option<HeldMark> {
    Some(HeldMark {
        order: Order::rollout(1),
        validated_at: Moment::START,
    })
}

/// What is launched: fetches, and renders with what was asked for.
fn launches(admission: &mut Admission) -> (Vec<Project>, Vec<(Project, u64)>) {
    let (mut fetches, mut renders) = (Vec::new(), Vec::new());
    for action in admission.take_actions() {
        match action {
            Action::Fetch { project, .. } => fetches.push(project),
            Action::Render {
                project, rollout, ..
            } => renders.push((project, rollout)),
            Action::Confirm { .. }
            | Action::Reserve { .. }
            | Action::Return { .. }
            | Action::Redial { .. }
            | Action::Resolve { .. } => {}
        }
    }
    (fetches, renders)
}

fn wants(admission: &mut Admission, project: usize, patience: Duration, now: Moment) -> Refused {
    let wish = wish(None, 1, Some(patience), now);
    match admission.want(&name(project), wish, now) {
        WishVerdict::Wait => panic!("it is not worth waiting"),
        WishVerdict::Refused(refused) => refused,
    }
}

#[test]
fn fetches_that_are_pushed_back_for_all_hold_the_fetches() {
    let start = at_100();
    let mut admission = Admission::new(limits(100.0, 10, 4, 1_000), 1, 1, Moment::START);
    admission.set_link(Link::Up, start);
    for project in 0..200 {
        admission.want(&name(project), wish(None, 1, Some(PATIENT), start), start);
    }
    let pushed_back = FetchLanding::Failed(CallFailure::Exhausted(Pushback {
        after: Some(Duration::from_secs(3)),
        is_global: true,
    }));
    let mut now = start;
    let (mut fetched, mut rendered) = (0, 0);
    while now <= start + Duration::from_secs(10) {
        let (fetches, renders) = launches(&mut admission);
        fetched += fetches.len();
        rendered += renders.len();
        for project in fetches {
            admission.fetched(&project, pushed_back, now);
        }
        let refused = admission.explain(&name(199), now).unwrap();
        assert_eq!(refused.refusal.reason, NotRefreshed::PushedBack);
        now = admission.next_wake().unwrap();
        admission.tick(now);
    }
    // Two may fly at once, and a pushback is obeyed for at least 3 s.
    assert!(fetched <= 4 * 2, "{fetched} fetches in 10 s");
    assert!(rendered <= 1, "{rendered} renders but for the probe");
}

#[test]
fn a_fetch_that_is_not_to_be_retried_leads_to_no_render() {
    let now = at_100();
    let mut admission = Admission::new(limits(100.0, 10, 4, 100), 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    admission.want(&name(0), wish(None, 1, Some(PATIENT), now), now);
    launches(&mut admission);
    let never = Pushback {
        after: None,
        is_global: true,
    };
    admission.fetched(
        &name(0),
        FetchLanding::Failed(CallFailure::Exhausted(never)),
        now,
    );
    assert_eq!(launches(&mut admission), (vec![], vec![]));
    let explained = admission.explain(&name(0), now).unwrap();
    assert_eq!(explained.refusal.reason, NotRefreshed::CoolingDown);
}

#[test]
fn an_evicted_project_cools_down_no_longer_than_a_missing_one() {
    for seed in 0..20 {
        let mut now = at_100();
        let mut limits = limits(100.0, 10, 4, 100);
        limits.fetch.rate = 0.0;
        let mut admission = Admission::new(limits, 2, seed, Moment::START);
        admission.set_link(Link::Up, now);
        for _ in 0..8 {
            admission.want(&name(0), wish(outdated(), 2, None, now), now);
            while launched(&mut admission).is_empty() {
                now = admission.next_wake().unwrap();
                admission.tick(now);
                admission.want(&name(0), wish(outdated(), 2, None, now), now);
            }
            admission.landed(&name(0), Landing::Failed(CallFailure::Other), now);
        }
        let refused = wants(&mut admission, 0, Duration::ZERO, now);
        let longest = TUNING.cool_down.missing.most;
        assert!(refused.refusal.retry_after <= longest, "{refused:?}");
    }
}

#[test]
fn a_retry_asks_for_the_target_though_more_is_demanded() {
    let mut now = at_100();
    let mut admission = machine_that_misses(0..0, limits(100.0, 10, 4, 100), now);
    let demand = Some(Order::rollout(9));
    let demanding = Wish {
        demand,
        ..wish(None, 1, Some(PATIENT), now)
    };
    admission.want(&name(0), demanding, now);
    for _ in 0..2 {
        assert_eq!(launches(&mut admission).1, [(name(0), 1)]);
        admission.landed(&name(0), Landing::Failed(CallFailure::Unavailable), now);
        now = admission.next_wake().unwrap();
        admission.tick(now);
    }
}

#[test]
fn nothing_is_retried_for_callers_that_left() {
    let now = at_100();
    let mut admission = machine_that_misses(0..0, limits(100.0, 10, 4, 100), now);
    let [long, short] = [PATIENT, Duration::from_millis(100)].map(|patience| {
        admission.want(&name(0), wish(None, 1, Some(patience), now), now);
        now + patience
    });
    admission.left(&name(0), long, now);
    assert_eq!(launched(&mut admission).len(), 1);
    admission.landed(&name(0), Landing::Failed(CallFailure::Unavailable), short);
    let told = admission.take_actions();
    assert!(
        matches!(*told, [Action::Resolve { outcome: Outcome::Refused(refusal), .. }]
            if refusal.reason == NotRefreshed::RenderFailed),
        "{told:?}"
    );
}

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

#[test]
fn a_project_not_looked_up_for_long_is_forgotten_though_another_is_wanted_more() {
    let mut now = at_100();
    let mut admission = machine_that_misses(0..0, limits(0.0, 1, 1, 2), now);
    admission.set_target(2, now);
    for project in 1..100 {
        admission.want(&name(project), wish(outdated(), 2, None, now), now);
    }
    for _ in 0..=TUNING.interest.lasts.as_secs() {
        now = now + Duration::from_secs(1);
        admission.want(&name(0), wish(outdated(), 2, None, now), now);
        while admission.next_wake().is_some_and(|at| at <= now) {
            admission.tick(now);
        }
    }
    assert_eq!(admission.wanted(Class::Outdated), 1);
    assert_eq!(admission.register.entries.len(), 1);
}

/// P4: of 1,000 projects that were looked up once each, 300 became fresh, because interest ended
/// after 10 min.
#[test]
fn interest_lasts_as_long_as_the_convergence_that_it_waits_for() {
    for (projects, rate, fault) in [
        (1_000, 0.5, 0),
        (300, 0.5, 0),
        (5_000, 0.5, 0),
        (1_000, 0.5, 300),
    ] {
        let start = at_100();
        let mut now = start;
        let mut admission = machine_that_misses(0..0, limits(rate, 1, 4, 512), now);
        for project in 0..projects {
            now = start + Duration::from_millis(project as u64);
            admission.want(&name(project), wish(outdated(), 2, None, now), now);
        }
        let mut rendered = 0;
        while rendered < projects && admission.next_wake().is_some() {
            for (project, _) in launched(&mut admission) {
                let held = HeldMark {
                    order: Order::rollout(2),
                    validated_at: now,
                };
                rendered += 1;
                admission.landed(&project, Landing::Held(held), now);
            }
            now = admission.next_wake().unwrap_or(now);
            if rendered == 100 {
                // The renderer is away for a while.
                now = now + Duration::from_secs(fault);
            }
            admission.tick(now);
        }
        let took = now.since(start + Duration::from_secs(fault)).as_secs_f64();
        assert_eq!(rendered, projects, "after {took} s");
        assert!(took <= 1.1 * projects as f64 / rate + 1.0, "{took} s");
    }
}

#[test]
fn interest_ends_where_nothing_is_rendered_at_all() {
    let mut now = at_100();
    let mut admission = machine_that_misses(0..0, limits(0.001, 1, 4, 512), now);
    admission.set_link(Link::Dialling, now);
    for project in 0..100 {
        admission.want(&name(project), wish(outdated(), 2, None, now), now);
    }
    let start = now;
    while let Some(next) = admission.next_wake() {
        now = next;
        admission.tick(now);
        assert!(now.since(start) <= TUNING.interest.most);
    }
    let wanted = Class::ALL.map(|class| admission.wanted(class));
    assert_eq!(wanted, [0, 0]);
}

#[test]
fn every_tenth_token_goes_to_an_outdated_project_while_missing_ones_wait() {
    let mut now = Moment::START;
    let mut admission = Admission::new(limits(1.0, 1, 4, 100), 2, 1, now);
    admission.set_link(Link::Up, now);
    admission.fetched(&name(0), FetchLanding::Unimplemented, now);
    let want = Want {
        rollout: 2,
        number: 0,
        validated_since: now,
    };
    for project in 0..60 {
        let is_missing = project < 30;
        let held = (!is_missing).then_some(HeldMark {
            order: Order::rollout(1),
            validated_at: now,
        });
        let until = is_missing.then_some(now + Duration::from_secs(1_000));
        let wish = Wish {
            held,
            want,
            demand: None,
            until,
        };
        admission.want(&name(project), wish, now);
    }
    let mut classes = Vec::new();
    while classes.len() < 30 {
        now = admission.next_wake().expect("there is more");
        admission.tick(now);
        for (project, class) in launched(&mut admission) {
            classes.push(class);
            let held = HeldMark {
                order: Order::rollout(2),
                validated_at: now,
            };
            admission.landed(&project, Landing::Held(held), now);
        }
    }
    let outdated = classes
        .iter()
        .filter(|class| **class == Class::Outdated)
        .count();
    assert_eq!(outdated, 3, "{classes:?}");
}

#[test]
fn where_nothing_is_fetched_a_missing_project_is_rendered_at_once() {
    let now = Moment::after_start(Duration::from_secs(100));
    let fetching = limits(100.0, 10, 4, 100);
    let mut rendering = fetching;
    rendering.fetch.rate = 0.0;
    for before in [rendering, fetching] {
        let mut admission = Admission::new(before, 1, 1, Moment::START);
        admission.set_link(Link::Up, now);
        for project in 0..3 {
            let patience = Some(Duration::from_secs(10));
            admission.want(&name(project), wish(None, 1, patience, now), now);
        }
        admission.set_limits(rendering, now);
        let fetched = admission.flights.fetches as usize;
        assert_eq!(launched(&mut admission).len() + fetched, 3);
    }
}

#[test]
fn a_call_that_found_no_connection_stops_renders_for_a_moment_only() {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..1, limits(100.0, 10, 4, 100), now);
    launched(&mut admission);
    admission.landed(&name(0), Landing::Unreachable, now);
    let WishVerdict::Refused(refused) = admission.want(&name(1), wish(None, 1, None, now), now)
    else {
        panic!("no lookup waits");
    };
    assert_eq!(refused.refusal.reason, NotRefreshed::Unreachable);
    // The driver says nothing: the connection had been replaced by another before.
    let now = now + refused.refusal.retry_after;
    assert!(admission.next_wake().is_some_and(|at| at <= now));
    admission.tick(now);
    assert_eq!(launched(&mut admission).len(), 2);
}

#[test]
fn a_fetch_that_is_pushed_back_is_not_followed_by_a_render_but_by_a_fetch_when_the_hold_ends() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = Admission::new(limits(100.0, 10, 4, 100), 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    admission.want(
        &name(0),
        wish(None, 1, Some(Duration::from_secs(20)), now),
        now,
    );
    assert!(matches!(
        admission.take_actions()[..],
        [Action::Fetch { .. }]
    ));
    let pushback = Pushback {
        after: Some(Duration::from_secs(5)),
        is_global: false,
    };
    admission.fetched(
        &name(0),
        FetchLanding::Failed(CallFailure::Exhausted(pushback)),
        now,
    );
    let explained = admission.explain(&name(0), now).unwrap();
    assert_eq!(explained.refusal.reason, NotRefreshed::PushedBack);
    assert!(admission.take_actions().is_empty());
    now = now + explained.refusal.retry_after;
    admission.tick(now);
    assert!(matches!(
        admission.take_actions()[..],
        [Action::Fetch { .. }]
    ));
}

#[test]
fn wakes_at_the_end_of_a_hold_against_a_flood_of_unknown_projects() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..30, limits(10.0, 30, 1, 100), now);
    let mut landed = 0;
    while landed < 30 {
        let flying = launched(&mut admission);
        landed += flying.len();
        for (project, _) in &flying {
            admission.landed(project, Landing::NotFound, now);
        }
        if flying.is_empty() {
            let next = admission.next_wake().expect("a flood's hold ends");
            assert!(
                next <= now + Duration::from_millis(500),
                "a fifth of 10 a second"
            );
            now = next;
            admission.tick(now);
        }
    }
}

#[test]
fn goes_on_when_a_new_connection_may_offer_fetch_again() {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..1, limits(0.0, 1, 1, 100), now);
    admission.set_link(Link::Down { retry_at: now }, now);
    admission.set_link(Link::Up, now);
    let actions = admission.take_actions();
    assert!(
        matches!(actions.as_slice(), [.., Action::Fetch { .. }]),
        "{actions:?}"
    );
}

#[test]
fn a_pushback_outlives_a_raised_target_and_a_full_queue() {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..1, limits(100.0, 10, 1, 2), now);
    launched(&mut admission);
    for project in 1..10 {
        admission.want(&name(project), wish(None, 1, None, now), now);
    }
    admission.left(&name(0), now + Duration::from_secs(100), now);
    admission.landed(&name(0), pushed_back(Duration::from_secs(5)), now);
    admission.set_target(2, now);
    let WishVerdict::Refused(refused) = admission.want(&name(0), wish(None, 2, None, now), now)
    else {
        panic!("no lookup waits");
    };
    assert_eq!(refused.refusal.reason, NotRefreshed::PushedBack);
}

#[test]
fn a_lowered_target_is_no_longer_asked_for() {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..0, limits(0.0, 1, 1, 2), now);
    let held = HeldMark {
        order: Order::rollout(1),
        validated_at: now,
    };
    admission.set_target(2, now);
    admission.want(&name(0), wish(Some(held), 2, None, now), now);
    assert!(admission.is_wanted(&name(0)));
    admission.set_target(1, now);
    assert!(!admission.is_wanted(&name(0)));
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

/// A renderer that was restarted with its numbers from one: what is held does for the order that
/// was asked for, and is as old as before.
#[test]
fn an_answer_that_validates_nothing_is_behind_and_not_asked_for_in_a_loop() {
    let start = Moment::after_start(Duration::from_secs(100));
    let mut now = start;
    let mut admission = machine_that_misses(0..0, limits(100.0, 10, 4, 100), now);
    let held = HeldMark {
        order: Order::new(1, 50),
        validated_at: Moment::START,
    };
    let mut renders = 0;
    while now.since(start) < Duration::from_secs(60) {
        let mut too_old = wish(Some(held), 1, None, now);
        too_old.want.validated_since = now;
        admission.want(&name(0), too_old, now);
        for (project, _) in launched(&mut admission) {
            renders += 1;
            admission.landed(&project, Landing::Held(held), now);
        }
        now = now + Duration::from_millis(100);
    }
    let explained = admission.explain(&name(0), now);
    let reason = explained.map(|explained| explained.refusal.reason);
    assert_eq!(reason, Some(NotRefreshed::RendererBehind));
    assert!((4..=8).contains(&renders), "{renders} renders in a minute");
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
