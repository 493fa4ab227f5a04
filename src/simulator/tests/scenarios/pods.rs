//! What goes on in pods: limits reloaded, suspension, callers that leave, storms of missing
//! projects.

use std::time::Duration;

use super::{SPREAD, Scenario};
use crate::simulator::tests::verdict::{
    FaultSpan, converges, converges_at, recovers, renders_once,
};

pub(in crate::simulator::tests) const RELOADED: Scenario = Scenario {
    name: "limits reloaded every second at rates below one",
    plan: |plan| plan.seconds = 410 + plan.recovery().as_secs(),
    script: |world| {
        world.script(60, |world| world.release(SPREAD));
        for second in 30..400 {
            world.script(second, move |world| {
                for sidecar in 0..world.plan.sidecars {
                    let step = (second + sidecar as u64) % 4;
                    world.set_rate(sidecar, [0.5, 0.8, 0.9, 0.6][step as usize]);
                }
            });
        }
        world.script(400, |world| {
            for sidecar in 0..world.plan.sidecars {
                world.set_rate(sidecar, world.plan.rate);
            }
        });
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 30, to: 400 });
        broken.extend(converges_at(observed, plan, 0.7, Duration::ZERO));
        broken.extend(renders_once(observed));
        broken
    },
};

pub(in crate::simulator::tests) const SUSPENDED: Scenario = Scenario {
    name: "pods suspended for a minute",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| {
            for sidecar in (0..world.plan.sidecars).step_by(2) {
                world.suspend(sidecar, Duration::from_secs(60));
            }
        });
        world.script(70, |world| world.release(SPREAD));
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 120 });
        broken.extend(converges(observed, plan));
        broken
    },
};

pub(in crate::simulator::tests) const CANCELLED: Scenario = Scenario {
    name: "all applications cancel at 50 ms",
    plan: |plan| plan.missing = 0.5,
    script: |world| {
        world.script(60, |world| {
            world.fate.callers_leave_after = Duration::from_millis(50);
        });
        world.script(60, |world| world.release(SPREAD));
        world.script(180, |world| world.fate.callers_leave_after = Duration::MAX);
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 180 });
        broken.extend(converges(observed, plan));
        broken
    },
};

pub(in crate::simulator::tests) const STORM: Scenario = Scenario {
    name: "a storm of missing projects during a release",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.release(SPREAD));
        world.script(60, |world| {
            (world.fate.load, world.fate.missing) = (1.5, 1.0);
        });
        world.script(180, |world| {
            (world.fate.load, world.fate.missing) = (0.3, 0.2);
        });
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 180 });
        broken.extend(converges(observed, plan));
        let refreshed = observed.outdated.mean(65, 125);
        let share = 0.08 * plan.total_rate();
        if refreshed < share {
            broken.push(format!(
                "{refreshed:.1} outdated projects/s during the storm, at least {share:.1}"
            ));
        }
        broken
    },
};
