//! Which gate an operator is told stops what is wanted.

use super::*;

/// When all has been wanted for a while.
const START: Moment = Moment::after_start(Duration::from_secs(5));

fn wanting(limits: Limits, projects: usize) -> Admission {
    let mut admission = Admission::new(limits, 2, 1, Moment::START);
    let now = Moment::START;
    admission.set_link(Link::Up, now);
    let held = HeldMark {
        order: Order::rollout(1),
        validated_at: now,
    };
    for project in 0..projects {
        admission.want(&name(project), wish(Some(held), 2, None, now), now);
    }
    // The first token comes within a second of the rate.
    admission.tick(START);
    admission
}

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

#[test]
fn nothing_binds_while_nothing_waits() {
    let now = START;
    assert_eq!(wanting(limits(1.0, 1, 4, 10), 0).binding(now), None);
    let in_flight = wanting(limits(1.0, 1, 4, 10), 1);
    assert_eq!(
        in_flight.binding(now),
        None,
        "all that is wanted is in flight"
    );
}

#[test]
fn the_tokens_bind_until_the_next_one_and_the_permits_while_all_are_held() {
    let slow = wanting(limits(1.0, 1, 4, 10), 5);
    assert_eq!(slow.binding(START), Some(Gate::Tokens));
    let narrow = wanting(limits(1_000.0, 1_000, 1, 10), 5);
    assert_eq!(narrow.binding(START), Some(Gate::Concurrency));
    let stopped = wanting(limits(0.0, 1, 4, 10), 5);
    assert_eq!(stopped.binding(at(60_000)), Some(Gate::Tokens));
}

#[test]
fn what_stops_every_project_binds_before_what_stops_one() {
    let mut admission = wanting(limits(1.0, 1, 4, 10), 5);
    admission.set_link(
        Link::Down {
            retry_at: at(9_000),
        },
        at(5_001),
    );
    assert_eq!(admission.binding(at(5_001)), Some(Gate::Connection));
    admission.drain(at(5_002));
    assert_eq!(admission.binding(at(5_002)), Some(Gate::Draining));
}

#[test]
fn the_projects_bind_when_all_that_is_wanted_cools_down() {
    let mut admission = wanting(limits(1_000.0, 1_000, 4, 10), 2);
    assert_eq!(admission.binding(at(5_100)), None, "both are in flight");
    let behind = Landing::Held(HeldMark {
        order: Order::rollout(1),
        validated_at: at(5_200),
    });
    for project in 0..2 {
        admission.landed(&name(project), behind, at(5_200));
    }
    assert_eq!(admission.binding(at(5_200)), Some(Gate::Project));
}
