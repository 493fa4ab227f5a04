//! What single gates let through, what landings lead to, and what is said of it.

mod fetches;
mod interest;
mod told;

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
