//! The scenarios.

use std::time::Duration;

use super::{observed::Observed, sim::*};

pub(super) fn plan() -> Plan {
    let (sidecars, projects) = super::size();
    Plan {
        way: Way::Admission,
        sidecars,
        projects,
        unknown: 0,
        rate: 1.0,
        burst: 2,
        concurrency: 4,
        headroom: 1.25,
        work: 0.1,
        load: 0.3,
        missing: 0.2,
        lookups: 2.0,
        offers_fetch: true,
        memo: 1.0,
        is_cold: false,
        seconds: 600,
        seed: 1,
        controllers: crate::admission::Controllers::default(),
    }
}

fn run(name: &str, plan: Plan, script: impl FnOnce(&mut World)) -> Observed {
    let shown = plan.clone();
    let mut world = World::new(plan);
    script(&mut world);
    let observed = world.run();
    println!("{name}: {}", observed.summary(&shown));
    for from in (0..shown.seconds).step_by(30) {
        println!(
            "  {from:4} demanded {:6.1} useful {:6.1} offered {:6.1} peak {} pushed {:5.1} timed out {:5.1} missing {:5.1}/{:5.1}",
            observed.demanded.mean(from, from + 30),
            observed.useful.mean(from, from + 30),
            observed.offered_sum(from, from + 30) as f64 / 30.0,
            observed.peak(from, from + 30),
            observed.pushed_back.mean(from, from + 30),
            observed.timed_out.mean(from, from + 30),
            observed.missing_answered.mean(from, from + 30),
            observed.missing_asked.mean(from, from + 30)
        );
    }
    observed
}

#[test]
fn release_at_steady_load() {
    run("release", plan(), |world| {
        world.script(60, |world| world.release(Duration::from_secs(2)));
    });
}

#[test]
fn incident() {
    let mut plan = plan();
    plan.way = Way::Incident;
    run("incident", plan, |world| {
        world.script(60, |world| world.release(Duration::from_secs(2)));
    });
}
