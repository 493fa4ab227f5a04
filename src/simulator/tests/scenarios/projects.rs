//! Projects that are not like the others: poison, large, pushed back, unknown.

use super::{COOLED_DOWN, SPREAD, Scenario};
use crate::simulator::{
    Poison,
    tests::{
        oracle::Oracle,
        setup::Setup,
        verdict::{Broken, FaultSpan, converges, recovers},
    },
};

pub(in crate::simulator::tests) const POISON: Scenario = Scenario {
    name: "1 % poison projects that never end",
    // They hold the renderer's cores, so that it pushes others back.
    plan: |plan| (plan.seconds, plan.repeats) = (COOLED_DOWN, 0.25),
    script: |world| {
        world.script(55, |world| world.fate.poison = Poison::Endless);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.poison = Poison::None);
    },
    judge: |observed, _| recovers(observed, FaultSpan { from: 55, to: 300 }),
};

pub(in crate::simulator::tests) const CRASH: Scenario = Scenario {
    name: "1 % poison projects that end in an error",
    judge: only_poison_suffers,
    script: |world| {
        world.script(55, |world| world.fate.poison = Poison::Crash);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.poison = Poison::None);
    },
    ..POISON
};

fn only_poison_suffers(observed: &Oracle, _: &Setup) -> Broken {
    let mut broken = recovers(observed, FaultSpan { from: 55, to: 300 });
    let (before, during) = (observed.useful.mean(25, 55), observed.useful.mean(65, 300));
    if during < 0.95 * before {
        broken.push(format!(
            "goodput was {during:.1}/s while the poison lasted, {before:.1}/s before"
        ));
    }
    broken
}

pub(in crate::simulator::tests) const KILL: Scenario = Scenario {
    name: "1 % poison projects that kill the renderer's process",
    judge: only_poison_suffers,
    script: |world| {
        world.script(55, |world| world.fate.poison = Poison::Kill);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.poison = Poison::None);
    },
    ..POISON
};

pub(in crate::simulator::tests) const ENDLESS: Scenario = Scenario {
    name: "ten projects never end, on a renderer with cores to spare",
    plan: |plan| {
        (plan.headroom, plan.load) = (80.0, 0.3 * 1.25 / 80.0);
        (plan.poisoned, plan.seconds, plan.repeats) = (10, COOLED_DOWN, 0.2);
    },
    script: |world| {
        world.script(59, |world| world.fate.poison = Poison::Endless);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.poison = Poison::None);
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 59, to: 300 });
        let (answered, asked) = (
            observed.missing_answered.sum(60, 180),
            observed.missing_asked.sum(60, 180),
        );
        if f64::from(answered) < 0.8 * f64::from(asked) {
            broken.push(format!(
                "{answered} of {asked} lookups of projects of which nothing was held were answered"
            ));
        }
        let (during, possible) = (observed.useful.mean(60, 150), plan.total_rate());
        if during < 0.4 * possible {
            broken.push(format!("goodput was {during:.1}/s of {possible:.1}/s"));
        }
        broken
    },
};

pub(in crate::simulator::tests) const LARGE: Scenario = Scenario {
    name: "a quarter of the projects takes 8 s to render, on a renderer with cores to spare",
    plan: |plan| {
        (plan.rate, plan.headroom, plan.load) = (10.0, 8.0, 0.3 * 1.25 / 80.0);
        plan.poisoned = plan.projects / 4;
    },
    script: |world| {
        world.script(59, |world| world.fate.poison = Poison::Large);
        world.script(60, |world| world.release(SPREAD));
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 62 });
        broken.extend(converges(observed, plan));
        let (answered, asked) = (
            observed.missing_answered.sum(60, 180),
            observed.missing_asked.sum(60, 180),
        );
        if f64::from(answered) < 0.95 * f64::from(asked) {
            broken.push(format!(
                "{answered} of {asked} lookups of projects of which nothing was held were answered"
            ));
        }
        broken
    },
};

pub(in crate::simulator::tests) const QUOTA: Scenario = Scenario {
    name: "one project is pushed back by a quota of its own",
    // Every sidecar asks for it again each time that it was told.
    plan: |plan| plan.repeats = 0.4,
    script: |world| {
        world.script(30, |world| world.fate.quota = Some(0));
        world.script(60, |world| world.release(SPREAD));
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, FaultSpan { from: 30, to: 62 });
        let others = observed.pushed_back_besides(0);
        if others > 0 {
            broken.push(format!("other projects were held {others} times"));
        }
        broken
    },
};

pub(in crate::simulator::tests) const TYPOS: Scenario = Scenario {
    name: "a loop over mistyped names during a release",
    plan: |plan| plan.unknown = 2_000,
    script: |world| {
        world.script(30, |world| {
            world.set_typos(world.plan.sidecars as f64 * 3.0);
        });
        world.script(60, |world| world.release(SPREAD));
        world.script(240, |world| world.set_typos(0.0));
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 30, to: 240 });
        let during = observed.useful.mean(65, 125);
        if during < 0.5 * plan.total_rate() {
            broken.push(format!("goodput during the flood was {during:.1}/s"));
        }
        broken
    },
};
