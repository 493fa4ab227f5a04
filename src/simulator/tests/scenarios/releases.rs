//! Releases: at steady load, with new pods, in quick succession, while the renderer is busy.

use std::time::Duration;

use super::{SPREAD, Scenario};
use crate::{
    admission::Tuning,
    reason::NotRefreshed,
    simulator::{
        World,
        tests::{
            oracle::Oracle,
            setup::RECOVERY,
            verdict::{Broken, FaultSpan, converges, converges_at, recovers, renders_once},
        },
    },
};

pub(in crate::simulator::tests) const RELEASE: Scenario = Scenario {
    name: "a release at steady load",
    plan: |_| {},
    script: |world| {
        world.renderer.shed_nothing();
        world.script(60, |world| world.release(SPREAD));
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 62 });
        broken.extend(converges(observed, plan));
        broken
    },
};

pub(in crate::simulator::tests) const HONEST: Scenario = Scenario {
    name: "a release while nothing else happens",
    plan: |plan| (plan.load, plan.lookups) = (0.0, 0.2),
    script: |world| world.script(60, |world| world.release(SPREAD)),
    judge: |observed, plan| {
        let mut broken = converges(observed, plan);
        broken.extend(is_honest(observed, NotRefreshed::Throttled, 70, 120));
        broken
    },
};

pub(in crate::simulator::tests) const SCARCE: Scenario = Scenario {
    name: "a release with tokens enough and few permits",
    plan: |plan| {
        (plan.rate, plan.burst, plan.load, plan.lookups) = (50.0, 10, 0.0, 0.2);
        // None of these runs into its deadline.
        (plan.work, plan.deadline) = (3.0, Duration::from_secs(60));
        plan.seconds = 100 + plan.recovery().as_secs();
    },
    script: |world| world.script(60, |world| world.release(SPREAD)),
    judge: |observed, plan| {
        let mut broken = converges(observed, plan);
        let takes = (plan.recovery() - RECOVERY).as_secs();
        let (from, to) = (60 + takes / 7, 60 + 2 * takes / 3);
        let reason = NotRefreshed::ConcurrencyLimited;
        broken.extend(is_honest(observed, reason, from, to));
        broken
    },
};

/// The gate that refused opened within 20 % of `retry_after`, as the median says.
fn is_honest(observed: &Oracle, reason: NotRefreshed, from: u64, to: u64) -> Broken {
    let honesty = observed.honesty(reason, from, to);
    if honesty.is_some_and(|honesty| (0.8..=1.2).contains(&honesty)) {
        return Broken::new();
    }
    vec![format!(
        "retry_after of {reason:?}: it took {honesty:?} times as long"
    )]
}

pub(in crate::simulator::tests) const REPLACED: Scenario = Scenario {
    name: "a release that replaces all pods",
    plan: |_| {},
    script: replace_all,
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 90 });
        broken.extend(converges(observed, plan));
        broken
    },
};

pub(in crate::simulator::tests) const REPLACED_WITH_FETCH: Scenario = Scenario {
    name: "a release that replaces all pods, with Fetch",
    plan: |plan| plan.offers_fetch = true,
    script: replace_all,
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 90 });
        broken.extend(converges(observed, plan));
        let (asked, failed) = (
            observed.missing_asked.sum(60, 200),
            observed.missing_failed.sum(60, 200),
        );
        if f64::from(failed) > 0.01 * f64::from(asked) {
            broken.push(format!(
                "{failed} of {asked} lookups of projects of which nothing was held failed"
            ));
        }
        broken
    },
};

pub(in crate::simulator::tests) const CROWDED: Scenario = Scenario {
    name: "a release that replaces all pods, with short queues",
    plan: |plan| (plan.rate, plan.queue, plan.seconds) = (10.0, 8, 240),
    script: replace_all,
    judge: |observed, _| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 90 });
        if !observed.told.contains_key(&NotRefreshed::QueueFull) {
            broken.push("QUEUE_FULL was never told".to_owned());
        }
        broken
    },
};

fn replace_all(world: &mut World<Oracle>) {
    world.script(60, |world| world.fate.target += 1);
    let sidecars = world.plan.sidecars;
    for sidecar in 0..sidecars {
        let second = 60 + (30 * sidecar / sidecars) as u64;
        world.script(second, move |world| world.replace(sidecar));
    }
}

pub(in crate::simulator::tests) const RESTARTED: Scenario = Scenario {
    name: "all pods start at once, with Fetch, at a low rate",
    plan: |plan| {
        (plan.rate, plan.offers_fetch) = (0.2, true);
        plan.seconds = 70 + plan.recovery().as_secs();
    },
    script: |world| {
        world.script(60, |world| {
            world.fate.target += 1;
            (0..world.plan.sidecars).for_each(|sidecar| world.replace(sidecar));
        });
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 60 });
        broken.extend(converges(observed, plan));
        let (peak, allowed) = (f64::from(observed.peak(60, 120)), 2.0 * plan.total_rate());
        if peak > allowed {
            broken.push(format!(
                "{peak} renders were offered in a second, at most {allowed}"
            ));
        }
        broken
    },
};

pub(in crate::simulator::tests) const BUSY: Scenario = Scenario {
    name: "a release with the renderer at 90 %",
    plan: |plan| (plan.load, plan.headroom, plan.seconds) = (0.9, 0.7, 900),
    script: |world| world.script(60, |world| world.release(SPREAD)),
    judge: |observed, _| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 62 });
        broken.extend(recovers(observed, FaultSpan { from: 60, to: 700 }));
        broken
    },
};

pub(in crate::simulator::tests) const ROLLBACK: Scenario = Scenario {
    name: "two releases 10 s apart and a rollback",
    plan: |_| {},
    script: |world| {
        for second in [60, 70, 80] {
            world.script(second, |world| world.release(SPREAD));
        }
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 82 });
        broken.extend(converges(observed, plan));
        broken
    },
};

pub(in crate::simulator::tests) const RAPID: Scenario = Scenario {
    name: "six releases 2 s apart",
    plan: |plan| {
        (plan.rate, plan.burst, plan.concurrency, plan.load) = (50.0, 10, 50, 0.0);
        plan.seconds = 180;
    },
    script: |world| {
        for second in [60, 62, 64, 66, 68, 70] {
            world.script(second, |world| world.release(Duration::ZERO));
        }
    },
    judge: |observed, plan| {
        let mut broken = converges_at(observed, plan, plan.rate, Tuning::DEFAULT.cool_down.raised);
        broken.extend(renders_once(observed));
        let pairs = plan.sidecars * plan.projects;
        if observed.launches as usize > 5 * pairs / 2 {
            broken.push(format!("{} renders of {pairs} projects", observed.launches));
        }
        broken
    },
};

pub(in crate::simulator::tests) const MIXED: Scenario = Scenario {
    name: "mixed rollouts for 10 min",
    // Half of the connections lead to a replica that brings less than was asked for.
    plan: |plan| {
        plan.repeats = 1.0;
        plan.seconds = 670 + plan.recovery().as_secs();
    },
    script: |world| {
        world.script(60, |world| world.release(SPREAD));
        world.script(60, |world| world.fate.behind = 0.5);
        world.script(660, |world| world.fate.behind = 0.0);
    },
    judge: |observed, _| recovers(observed, FaultSpan { from: 60, to: 660 }),
};

pub(in crate::simulator::tests) const REPLICA_BEHIND: Scenario = Scenario {
    name: "one of four replicas is for ever behind",
    // A quarter of the connections leads to a replica that brings less than was asked for.
    plan: |plan| plan.repeats = 0.34,
    script: |world| {
        world.script(60, |world| world.release(SPREAD));
        world.script(60, |world| world.fate.behind = 0.25);
    },
    judge: |observed, _| recovers(observed, FaultSpan { from: 60, to: 62 }),
};
