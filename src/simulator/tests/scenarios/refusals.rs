//! Renderers that take few calls at once, and stores that refuse, are slow or do not
//! answer.

use std::time::Duration;

use super::{SPREAD, Scenario};
use crate::simulator::{
    World,
    tests::{oracle::Oracle, setup::Setup, verdict::Broken},
};

pub(in crate::simulator::tests) const FEW_AT_ONCE: Scenario = Scenario {
    name: "a renderer that plainly refuses what it has no core for",
    // Of what is offered to as many cores a part finds all of them taken.
    plan: |plan| (plan.load, plan.seconds, plan.repeats) = (0.0, 300, 0.5),
    script: |world| {
        takes_as_many_as_cores(world);
        world.script(60, |world| world.release(SPREAD));
    },
    judge: |observed, plan| {
        let mut broken = all_converge_within(observed, plan, 1.5);
        broken.extend(refused_at_most(observed, 0.5, 60, plan.seconds));
        broken
    },
};

pub(in crate::simulator::tests) const TWO_AT_ONCE: Scenario = Scenario {
    name: "one sidecar with 16 permits on a renderer that takes two calls",
    plan: |plan| {
        (plan.sidecars, plan.rate, plan.burst, plan.concurrency) = (1, 1_000.0, 1_000, 16);
        // Half of the attempts find out whether the renderer takes more.
        (plan.headroom, plan.load, plan.seconds, plan.repeats) = (0.02, 0.0, 180, 1.0);
    },
    script: |world| {
        world.renderer.take_at_once(2);
        world.script(60, |world| world.release(SPREAD));
    },
    judge: |observed, plan| {
        let mut broken = all_converge_within(observed, plan, 1.5);
        broken.extend(refused_at_most(observed, 1.0, 60, 70));
        broken
    },
};

pub(in crate::simulator::tests) const TENFOLD_REFUSED: Scenario = Scenario {
    name: "limits ten times higher than a renderer bears that plainly refuses",
    // No fault ends here: what is wanted is more than can be rendered, and is refused again and
    // again.
    plan: |plan| (plan.headroom, plan.load, plan.repeats) = (0.1, 0.6, 5.0),
    script: |world| {
        takes_as_many_as_cores(world);
        world.script(60, |world| world.release(SPREAD));
    },
    judge: |observed, plan| {
        let mut broken = refused_at_most(observed, 6.0, 120, 600);
        let useful = observed.useful.mean(120, 600);
        if useful < 0.7 * plan.capacity() {
            broken.push(format!(
                "goodput was {useful:.1}/s of {:.1}/s",
                plan.capacity()
            ));
        }
        broken
    },
};

pub(in crate::simulator::tests) const STORE_REFUSES: Scenario = Scenario {
    name: "all pods start at once on a store that takes few fetches at once",
    plan: |plan| {
        (plan.offers_fetch, plan.load, plan.seconds) = (true, 0.0, 300);
    },
    script: |world| {
        // Everything is fetched in 40 s at the soonest.
        let all = world.plan.sidecars * world.plan.projects;
        world.renderer.store.slots = (all / 2_000).max(1);
        world.renderer.store.takes = Duration::from_millis(20);
        restart_all(world);
    },
    judge: |observed, plan| {
        // A sidecar that finds the store taken for 30 s renders what it can.
        let mut broken = renders_at_most(observed, plan.sidecars * plan.projects / 50);
        broken.extend(all_held_within(observed, plan, 1.5 * 40.0));
        broken
    },
};

pub(in crate::simulator::tests) const STORE_SLOW: Scenario = Scenario {
    name: "all pods start at once on a store that takes 1.5 s, of a deadline of 3 s",
    plan: |plan| {
        (plan.offers_fetch, plan.load, plan.seconds) = (true, 0.0, 180);
        plan.fetch_deadline = Duration::from_secs(3);
    },
    script: |world| {
        world.renderer.store.takes = Duration::from_millis(1_500);
        restart_all(world);
    },
    judge: |observed, plan| {
        let mut broken = renders_at_most(observed, 0);
        // By 16 at once, 1.5 s each.
        let rounds = plan.projects.div_ceil(16) as f64;
        broken.extend(all_held_within(observed, plan, 1.5 * 1.5 * (rounds + 1.0)));
        broken
    },
};

pub(in crate::simulator::tests) const STORE_AWAY: Scenario = Scenario {
    name: "all pods start at once while the store does not answer for a minute",
    plan: |plan| (plan.offers_fetch, plan.load, plan.seconds) = (true, 0.0, 300),
    script: |world| {
        world.script(59, |world| world.renderer.store.is_away = true);
        restart_all(world);
        world.script(120, |world| world.renderer.store.is_away = false);
    },
    judge: |observed, plan| {
        let mut broken = Broken::new();
        let (before, rendered) = (observed.useful.sum(60, 63), observed.useful.mean(70, 120));
        if before > 0 {
            broken.push(format!(
                "{before} renders before fetches had failed for 3 s"
            ));
        }
        if rendered < 0.8 * plan.total_rate() {
            broken.push(format!(
                "{rendered:.1}/s of {:.1}/s were rendered while fetches failed",
                plan.total_rate()
            ));
        }
        // A probe every 5 s in the mean, of each sidecar.
        let fetched = observed.fetched.mean(80, 120);
        if fetched > 0.4 * plan.sidecars as f64 {
            broken.push(format!("{fetched:.1} fetches/s while fetches failed"));
        }
        // What is left is fetched, at the latest 15 s after the store is back.
        broken.extend(all_held_within(observed, plan, 75.0));
        broken
    },
};

pub(in crate::simulator::tests) const STORE_PUSHES_BACK: Scenario = Scenario {
    name: "all pods start at once while the store pushes every fetch back by 1 s",
    plan: |plan| (plan.offers_fetch, plan.load, plan.seconds) = (true, 0.0, 300),
    script: |world| {
        world.renderer.store.pushes_back = Some(Duration::from_secs(1));
        restart_all(world);
    },
    judge: |observed, plan| {
        // Each renders what it is missing.
        all_held_within(
            observed,
            plan,
            10.0 + 1.1 * plan.projects as f64 / plan.rate,
        )
    },
};

fn takes_as_many_as_cores(world: &mut World<Oracle>) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few cores"
    )]
    let cores = (world.plan.capacity() * world.plan.work).ceil() as usize;
    world.renderer.take_at_once(cores);
}

/// Replaces every pod by one that holds nothing; what is stored is fresh.
fn restart_all(world: &mut World<Oracle>) {
    world.script(60, |world| {
        (0..world.plan.sidecars).for_each(|sidecar| world.replace(sidecar));
    });
}

fn renders_at_most(observed: &Oracle, most: usize) -> Broken {
    let launches = observed.launches as usize;
    if launches <= most {
        return Broken::new();
    }
    vec![format!(
        "{launches} renders of what is stored, at most {most}"
    )]
}

/// Every sidecar holds all of its projects within a time of its start.
fn all_held_within(observed: &Oracle, plan: &Setup, seconds: f64) -> Broken {
    let slowest = slowest(observed);
    if slowest.is_some_and(|slowest| slowest <= seconds) {
        return Broken::new();
    }
    vec![format!(
        "all {} projects were held after {slowest:.0?} s, not {seconds:.0}",
        plan.projects
    )]
}

/// All projects are fresh within a multiple of what the renderer and the rates allow.
fn all_converge_within(observed: &Oracle, plan: &Setup, times: f64) -> Broken {
    let ideal =
        plan.projects as f64 * plan.sidecars as f64 / plan.capacity().min(plan.total_rate());
    let (slowest, allowed) = (slowest(observed), times * ideal + 2.0);
    if slowest.is_some_and(|slowest| slowest <= allowed) {
        return Broken::new();
    }
    vec![format!(
        "P4: the slowest sidecar took {slowest:.1?} s, not {allowed:.1}"
    )]
}

/// How long the slowest sidecar took to have nothing that is behind; none when one never did.
fn slowest(observed: &Oracle) -> Option<f64> {
    let took = observed.converged.iter().copied();
    let took = took.map(|one| one.map(|one| one.took.as_secs_f64()));
    took.reduce(|one, other| Some(one?.max(other?)))?
}

/// Of the renders that landed, at most a multiple was refused.
fn refused_at_most(observed: &Oracle, share: f64, from: u64, to: u64) -> Broken {
    let (refused, useful) = (
        observed.refused.mean(from, to),
        observed.useful.mean(from, to),
    );
    if refused <= share * useful {
        return Broken::new();
    }
    vec![format!(
        "{refused:.1}/s were refused for {useful:.1}/s that were rendered, at most {share} for each may"
    )]
}
