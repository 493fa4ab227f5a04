//! Projects that the renderer no longer knows: because it lost them, or because they were deleted.

use super::{SPREAD, Scenario};
use crate::{
    admission::Tuning,
    reason::NotRefreshed,
    simulator::{
        Plan, Upkeep, World,
        tests::{
            oracle::Oracle,
            setup::Setup,
            verdict::{Broken, FaultSpan, recovers},
        },
    },
};

/// From then on the renderer knows nothing, and until then.
const FAULT: FaultSpan = FaultSpan { from: 60, to: 270 };
/// How many projects are deleted.
const FEW: usize = 3;

pub(in crate::simulator::tests) const UNKNOWING: Scenario = Scenario {
    name: "after a bad deploy the renderer answers NOT_FOUND to everything",
    // Nothing is evicted, so that what is not held was dropped; and each project is asked for again
    // after 30 s, 1 min and each 2 min by each sidecar.
    plan: |plan| {
        (plan.missing, plan.repeats) = (0.0, 1.5);
        plan.seconds = FAULT.to + 20 + plan.recovery().as_secs();
    },
    script: |world| knows_nothing(world, 1.0),
    judge: |observed, plan| {
        let mut broken = recovers(observed, FAULT);
        broken.extend(goes_on_serving(observed, plan));
        broken
    },
};

pub(in crate::simulator::tests) const REPLICA_UNKNOWING: Scenario = Scenario {
    name: "one replica of four answers NOT_FOUND to everything",
    script: |world| knows_nothing(world, 0.25),
    ..UNKNOWING
};

/// That part of the replicas knows no project. The connections are replaced when they change, and
/// in between.
fn knows_nothing(world: &mut World<Oracle>, part: f64) {
    world.script(FAULT.from, move |world| {
        world.fate.unknowing = part;
        world.redial_all();
        world.release(SPREAD);
    });
    for second in [130, 200] {
        world.script(second, World::redial_all);
    }
    world.script(FAULT.to, |world| {
        world.fate.unknowing = 0.0;
        world.redial_all();
    });
}

/// While the renderer knows nothing, which is for less than the window of drops, a sidecar drops a
/// twentieth of what it holds at most.
fn goes_on_serving(observed: &Oracle, plan: &Setup) -> Broken {
    let mut broken = is_told_gone(observed);
    let dropped = observed.dropped.sum(0, plan.seconds) as usize;
    let most = plan.sidecars * (plan.projects / 20).max(1);
    if dropped > most {
        broken.push(format!(
            "{dropped} held projects were dropped, at most {most}"
        ));
    }
    broken
}

/// The scenario can tell: without the rule a bad deploy empties what the sidecars hold.
#[test]
fn without_the_rule_of_drops_a_bad_deploy_empties_what_is_held() {
    let mut tuning = Tuning::DEFAULT;
    tuning.fault.drop_share = f64::INFINITY;
    let (_, broken) = UNKNOWING.judged(Upkeep::Admission, tuning);
    for text in [
        "held projects were dropped wrongly",
        "held projects were dropped, at most",
    ] {
        let is_broken = broken.iter().any(|broken| broken.contains(text));
        assert!(is_broken, "{text}: {broken:?}");
    }
}

fn is_told_gone(observed: &Oracle) -> Broken {
    if observed.told.contains_key(&NotRefreshed::ProjectGone) {
        return Broken::new();
    }
    vec!["PROJECT_GONE was never told".to_owned()]
}

pub(in crate::simulator::tests) const DELETED: Scenario = Scenario {
    name: "three projects are deleted",
    plan: |plan| {
        plan.load = 0.0;
        plan.seconds = all_asked(plan) + 150;
    },
    script: |world| {
        world.script(30, |world| world.fate.deleted = FEW);
        world.script(60, |world| world.release(SPREAD));
        // The word of one connection is not enough.
        world.script(all_asked(&world.plan), World::redial_all);
    },
    judge: |observed, plan| {
        let mut broken = is_told_gone(observed);
        let dropped = observed.dropped.sum(0, plan.seconds) as usize;
        if dropped != FEW * plan.sidecars {
            broken.push(format!(
                "{dropped} held projects were dropped, not {FEW} by each sidecar"
            ));
        }
        broken
    },
};

/// When all projects have been asked for since the release, each sidecar at its rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "minutes"
)]
fn all_asked(plan: &Plan) -> u64 {
    70 + (plan.projects as f64 / plan.rate) as u64
}
