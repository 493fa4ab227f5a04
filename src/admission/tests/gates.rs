//! What single gates let through, and what is said of them.

use super::*;

const PATIENT: Duration = Duration::from_secs(100);

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
            Action::Resolve { .. } => {}
        }
    }
    (fetches, renders)
}

fn wants(admission: &mut Admission, project: usize, patience: Duration, now: Moment) -> Refused {
    let wish = wish(None, 1, Some(patience), now);
    match admission.want(&name(project), wish, now) {
        Verdict::Wait => panic!("it is not worth waiting"),
        Verdict::Refused(refused) => refused,
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
    let pushed_back = FetchLanding::PushedBack(Pushback {
        after: Some(Duration::from_secs(3)),
        is_global: true,
    });
    let mut now = start;
    let mut fetched = 0;
    while now <= start + Duration::from_secs(10) {
        let (fetches, renders) = launches(&mut admission);
        assert!(renders.is_empty());
        fetched += fetches.len();
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
    admission.fetched(&name(0), FetchLanding::PushedBack(never), now);
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
        let (_, longest) = limits::MISSING_COOL_DOWN;
        assert!(refused.refusal.retry_after <= longest, "{refused:?}");
    }
}

#[test]
fn a_retry_asks_for_what_is_demanded() {
    let mut now = at_100();
    let mut admission = machine_that_misses(0..0, limits(100.0, 10, 4, 100), now);
    let demand = Some(Order::rollout(9));
    let demanding = Wish {
        demand,
        ..wish(None, 1, Some(PATIENT), now)
    };
    admission.want(&name(0), demanding, now);
    for _ in 0..2 {
        assert_eq!(launches(&mut admission).1, [(name(0), 9)]);
        admission.landed(&name(0), Landing::Failed(CallFailure::Unavailable), now);
        now = admission.next_wake().unwrap();
        admission.tick(now);
    }
}

#[test]
fn nothing_is_retried_for_whoever_left() {
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
fn where_permits_are_short_nobody_is_told_to_come_back_at_once() {
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

#[test]
fn what_nobody_has_looked_up_for_long_is_forgotten_though_another_is_wanted_more() {
    let mut now = at_100();
    let mut admission = machine_that_misses(0..0, limits(0.0, 1, 1, 2), now);
    admission.set_target(2, now);
    for project in 1..100 {
        admission.want(&name(project), wish(outdated(), 2, None, now), now);
    }
    for _ in 0..=limits::INTEREST.as_secs() {
        now = now + Duration::from_secs(1);
        admission.want(&name(0), wish(outdated(), 2, None, now), now);
        admission.tick(now);
    }
    assert_eq!(admission.wanted(), 1);
    assert_eq!(admission.entries.len(), 1);
}
