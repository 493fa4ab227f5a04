//! Whose turn it is, and what the first token costs.

use super::*;

fn held(rollout: u64, now: Moment) -> HeldMark {
    HeldMark {
        order: Order::rollout(rollout),
        validated_at: now,
    }
}

#[test]
fn every_eighth_turn_goes_to_the_longest_wanted_while_others_are_wanted_more() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..0, limits(1.0, 1, 4, 512), now);
    let wants = |admission: &mut Admission, project: usize, now: Moment| {
        let mut asked = wish(Some(held(1, Moment::START)), 1, None, now);
        asked.want.validated_since = now;
        admission.want(&name(project), asked, now);
    };
    // Another has the token that is there.
    wants(&mut admission, 20, now);
    assert_eq!(launched(&mut admission).len(), 1);
    // No lookup asks for the first again; the others are looked up each second, and outdated again
    // as soon as they are rendered.
    for project in 0..20 {
        wants(&mut admission, project, now);
    }
    for turn in 1.. {
        now = now + Duration::from_secs(1);
        for project in 1..20 {
            wants(&mut admission, project, now);
        }
        let launched = launched(&mut admission);
        if launched.iter().any(|(project, _)| *project == name(0)) {
            break;
        }
        for (project, _) in launched {
            admission.landed(&project, Landing::Held(held(1, now)), now);
        }
        assert!(turn < 20, "it is never its turn");
    }
}

#[test]
fn the_token_that_is_given_in_advance_is_paid_back() {
    for seed in 0..50 {
        let mut now = Moment::START;
        let mut limits = limits(0.2, 1, 4, 512);
        limits.fetch.rate = 0.0;
        let mut admission = Admission::new(limits, 1, seed, now);
        admission.set_link(Link::Up, now);
        let mut first = None;
        let mut rendered = 0;
        for project in 0..30 {
            let patient = Some(Duration::from_secs(1_000));
            admission.want(&name(project), wish(None, 1, patient, now), now);
        }
        while now < Moment::after_start(Duration::from_secs(100)) {
            for (project, _) in launched(&mut admission) {
                first.get_or_insert(now);
                rendered += 1;
                admission.landed(&project, Landing::Held(held(1, now)), now);
            }
            now = admission.next_wake().expect("more is missing");
            admission.tick(now);
        }
        assert!(first.unwrap() <= Moment::after_start(Duration::from_secs(1)));
        // The first token comes within the first second, and all together are at most one each five
        // seconds.
        assert!(
            (19..=20).contains(&rendered),
            "{rendered} in 100 s, seed {seed}"
        );
    }
}

#[test]
fn a_probe_that_finds_no_connection_is_followed_by_another() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..0, limits(100.0, 10, 8, 512), now);
    for project in 0..5 {
        admission.want(&name(project), wish(Some(held(1, now)), 2, None, now), now);
    }
    let mut rendered = 0;
    let mut found_none = 0;
    let end = now + Duration::from_secs(120);
    while rendered < 5 {
        for (project, _) in launched(&mut admission) {
            let landing = if !admission.stops().is_broken && rendered == 0 {
                Landing::Failed(CallFailure::Unavailable)
            } else if found_none < 3 {
                found_none += 1;
                Landing::Unreachable
            } else {
                rendered += 1;
                Landing::Held(held(2, now))
            };
            admission.landed(&project, landing, now);
        }
        if rendered < 5 {
            now = admission.next_wake().expect("the valve never opens again");
            admission.tick(now);
            assert!(now < end, "the valve never opens again");
        }
    }
    assert_eq!(found_none, 3);
}

#[test]
fn what_changes_while_it_is_rendered_is_rendered_again_without_a_lookup() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..0, limits(100.0, 10, 4, 512), now);
    admission.want(&name(0), wish(Some(held(1, now)), 2, None, now), now);
    assert_eq!(launched(&mut admission).len(), 1);
    admission.changed(&name(0), 7, now);
    // What was launched before has the old input.
    admission.landed(&name(0), Landing::Held(held(2, now)), now);
    while launched(&mut admission).is_empty() {
        now = admission.next_wake().expect("the change is forgotten");
        admission.tick(now);
    }
}

#[test]
fn a_landed_render_holds_no_permit() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..8, limits(1_000.0, 100, 4, 512), now);
    let patient = Some(Duration::from_secs(1_000));
    for _ in 0..100 {
        now = now + Duration::from_millis(100);
        for (project, _) in launched(&mut admission) {
            let number: usize = project.as_str()[5..].parse().unwrap();
            admission.landed(&project, Landing::Held(held(1, now)), now);
            admission.want(&name(number + 8), wish(None, 1, patient, now), now);
        }
    }
    assert_eq!(admission.in_flight(), 4);
    assert_eq!(admission.flights.launched.len(), 4);
    let is_just_launched = |(since, _): &(Moment, Project)| *since == now;
    assert!(admission.flights.launched.iter().all(is_just_launched));
    let permits = admission.permits_in_force(now);
    let overdue = admission.flights.overdue(
        permits,
        Candidate::next(Stage::Render, Class::Missing).lane(),
        now,
    );
    assert_eq!(overdue, None, "those that landed were overdue");
}
