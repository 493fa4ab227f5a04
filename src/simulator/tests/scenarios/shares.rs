//! What the whole fleet shares: its rate, and the moment of a release.

use std::time::Duration;

use super::{SPREAD, Scenario};
use crate::{
    admission::Tuning,
    simulator::{
        Upkeep, World,
        tests::{
            oracle::Oracle,
            setup::Setup,
            verdict::{Broken, FaultSpan, recovers, renders_once},
        },
    },
};

/// A quarter of the sidecars is counted, so that each believes in four times its share.
const COUNTED: u32 = 4;
const SPLAY: Duration = Duration::from_secs(300);

pub(in crate::simulator::tests) const MISCOUNTED: Scenario = Scenario {
    name: "the fleet is counted a quarter of its size for a minute, during a release",
    // The renderer bears what they would ask for at once, so that the share alone holds them back.
    plan: |plan| (plan.headroom, plan.load, plan.concurrency) = (8.0, 0.0, 16),
    script: |world| {
        world.script(30, |world| world.set_fleet_size(size(world)));
        world.script(60, |world| world.release(SPREAD));
        world.script(65, |world| world.set_fleet_size(size(world) / COUNTED));
        world.script(125, |world| world.set_fleet_size(size(world)));
    },
    judge: offers_at_most_twice_the_rate,
};

fn size(world: &World<Oracle>) -> u32 {
    u32::try_from(world.plan.sidecars).expect("a few sidecars")
}

/// A share doubles within a minute at the earliest; all sidecars together may have saved up their
/// bursts.
fn offers_at_most_twice_the_rate(observed: &Oracle, plan: &Setup) -> Broken {
    let mut broken = renders_once(observed);
    for (from, to) in [(65, 70), (65, 126)] {
        let offered = observed.offered_mean(from, to);
        let doublings = (to - from) as f64 / 60.0;
        let most = doublings.exp2() * plan.total_rate();
        if offered > 1.1 * most {
            broken.push(format!(
                "{offered:.0} renders/s from second {from} to {to}, at most {most:.0}"
            ));
        }
    }
    broken
}

/// The scenario can tell: with shares in force at once it fails.
#[test]
fn without_a_gentle_rise_a_fleet_that_is_counted_too_small_overruns_its_rate() {
    let at_once = Scenario {
        script: |world| {
            world.script(60, |world| world.release(SPREAD));
            world.script(65, |world| {
                for sidecar in 0..world.plan.sidecars {
                    world.set_rate(sidecar, world.plan.rate * f64::from(COUNTED));
                }
            });
        },
        ..MISCOUNTED
    };
    let (_, broken) = at_once.judged(Upkeep::Admission, Tuning::DEFAULT);
    assert!(
        broken
            .iter()
            .any(|text| text.contains("renders/s from second 65")),
        "{broken:?}"
    );
}

pub(in crate::simulator::tests) const SPLAYED: Scenario = Scenario {
    name: "a release with a splay of 5 min",
    plan: |plan| (plan.load, plan.seconds) = (0.0, 60 + 300 + plan.recovery().as_secs()),
    script: |world| {
        world.script(60, |world| world.release_with_splay(SPREAD, SPLAY));
    },
    judge: |observed, plan| {
        let mut broken = recovers_and_reaches_the_renderer_gradually(observed, plan);
        if observed.converged.iter().any(Option::is_none) {
            broken.push("a sidecar did not converge".to_owned());
        }
        broken
    },
};

/// In the first tenth of the splay at most a fifth of the sidecars has begun.
fn recovers_and_reaches_the_renderer_gradually(observed: &Oracle, plan: &Setup) -> Broken {
    let mut broken = recovers(observed, FaultSpan { from: 60, to: 62 });
    broken.extend(renders_once(observed));
    let (first, most) = (observed.offered_mean(60, 90), 0.2 * plan.total_rate());
    if first > most {
        broken.push(format!(
            "{first:.0} renders/s in the first tenth of the splay, at most {most:.0}"
        ));
    }
    broken
}

/// The scenario can tell: without a splay all sidecars begin at once.
#[test]
fn without_a_splay_a_release_reaches_the_renderer_from_all_sidecars_at_once() {
    let at_once = Scenario {
        script: |world| world.script(60, |world| world.release_with_splay(SPREAD, Duration::ZERO)),
        ..SPLAYED
    };
    let (_, broken) = at_once.judged(Upkeep::Admission, Tuning::DEFAULT);
    assert!(
        broken
            .iter()
            .any(|text| text.contains("tenth of the splay")),
        "{broken:?}"
    );
}
