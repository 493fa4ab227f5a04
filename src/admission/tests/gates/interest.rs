//! How long a lookup counts.

use super::*;

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
