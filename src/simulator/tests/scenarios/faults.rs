//! Faults of the renderer: slow, dead, flapping, overloaded.

use std::time::Duration;

use super::{COOLED_DOWN, SPREAD, Scenario};
use crate::{
    admission::PushbackScope,
    reason::NotRefreshed,
    simulator::{
        AnsweredFailure, Mood, World,
        tests::{
            oracle::Oracle,
            verdict::{Broken, FaultSpan, recovers},
        },
    },
};

pub(in crate::simulator::tests) const HALVED: Scenario = Scenario {
    name: "capacity halved for 5 min",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.set_capacity(0.5));
        world.script(90, |world| world.release(SPREAD));
        world.script(360, |world| world.set_capacity(1.0));
    },
    judge: |observed, _| recovers(observed, FaultSpan { from: 60, to: 360 }),
};

pub(in crate::simulator::tests) const BLACK_HOLE: Scenario = Scenario {
    name: "a black hole for 2 min",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.renderer.mood = Mood::BlackHole);
        world.script(180, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, _| recovers(observed, FaultSpan { from: 60, to: 180 }),
};

pub(in crate::simulator::tests) const SLOW: Scenario = Scenario {
    name: "10 times slower without errors",
    // Most renders that are launched meanwhile time out.
    plan: |plan| (plan.seconds, plan.repeats) = (COOLED_DOWN, 0.25),
    script: |world| {
        world.renderer.shed_nothing();
        world.script(60, |world| world.fate.slowness = 10.0);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.slowness = 1.0);
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 300 });
        let during = observed.useful.mean(120, 300);
        let possible = plan.capacity() / 10.0;
        if during < 0.5 * possible {
            broken.push(format!("goodput was {during:.1}/s of {possible:.1}/s"));
        }
        broken
    },
};

pub(in crate::simulator::tests) const OVERRUN: Scenario = Scenario {
    name: "3 times slower without errors, with many permits, and nothing is shed",
    // A third of what is launched meanwhile times out.
    plan: |plan| (plan.seconds, plan.concurrency, plan.repeats) = (COOLED_DOWN, 16, 0.4),
    script: |world| {
        world.renderer.shed_nothing();
        world.script(60, |world| world.fate.slowness = 3.0);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.slowness = 1.0);
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 300 });
        let (useful, late) = (
            observed.useful.mean(80, 300),
            observed.timed_out.mean(80, 300),
        );
        if late > 0.8 * useful {
            broken.push(format!(
                "{late:.1}/s timed out for {useful:.1}/s that were rendered"
            ));
        }
        broken
    },
};

pub(in crate::simulator::tests) const OUTAGE: Scenario = Scenario {
    name: "the renderer is unavailable for 40 s",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.renderer.mood = Mood::Unavailable);
        world.script(100, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, _| recovers(observed, FaultSpan { from: 60, to: 100 }),
};

pub(in crate::simulator::tests) const INTERNAL: Scenario = Scenario {
    name: "every render is answered INTERNAL for 5 min",
    // Each project is asked for again once a minute at least, by each sidecar.
    plan: |plan| (plan.seconds, plan.repeats) = (410 + plan.recovery().as_secs(), 1.0),
    script: |world| fails_for_5_min(world, AnsweredFailure::Internal),
    judge: |observed, _| recovers(observed, FaultSpan { from: 60, to: 360 }),
};

pub(in crate::simulator::tests) const ABORTED: Scenario = Scenario {
    name: "every render is answered ABORTED for 5 min",
    script: |world| fails_for_5_min(world, AnsweredFailure::Aborted),
    ..INTERNAL
};

pub(in crate::simulator::tests) const UNFIT: Scenario = Scenario {
    name: "no answer is fit to be held for 5 min",
    script: |world| fails_for_5_min(world, AnsweredFailure::Rejected),
    ..INTERNAL
};

fn fails_for_5_min(world: &mut World<Oracle>, failure: AnsweredFailure) {
    world.script(60, move |world| {
        world.renderer.mood = Mood::Failing(failure);
    });
    world.script(60, |world| world.release(SPREAD));
    world.script(360, |world| world.renderer.mood = Mood::Working);
}

pub(in crate::simulator::tests) const UNAUTHENTICATED: Scenario = Scenario {
    name: "the identity of all sidecars is refused for a minute",
    plan: |plan| plan.offers_fetch = true,
    script: |world| {
        world.script(60, |world| {
            world.renderer.mood = Mood::Failing(AnsweredFailure::Unauthenticated);
        });
        world.script(60, |world| world.release(SPREAD));
        world.script(120, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 120 });
        #[expect(clippy::cast_precision_loss, reason = "a few sidecars")]
        let attempts = observed.offered_mean(60, 120) * 60.0 / plan.sidecars as f64;
        if attempts > 20.0 {
            broken.push(format!("{attempts} attempts of each sidecar, at most 20"));
        }
        broken
    },
};

pub(in crate::simulator::tests) const ALONE: Scenario = Scenario {
    name: "one sidecar at 50 renders/s while the renderer is unavailable for 40 s",
    plan: |plan| {
        (plan.sidecars, plan.projects, plan.rate, plan.burst) = (1, 50, 50.0, 10);
        // How many attempts are right is judged below.
        (plan.load, plan.seconds, plan.repeats) = (0.0, 190, 1.0);
    },
    script: |world| {
        world.script(60, |world| world.renderer.mood = Mood::Unavailable);
        world.script(60, |world| world.release(SPREAD));
        world.script(100, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, _| {
        let mut broken = Broken::new();
        let attempts = observed.offered_mean(60, 100) * 40.0;
        if attempts > 60.0 {
            broken.push(format!("{attempts} attempts reached the renderer"));
        }
        broken
    },
};

pub(in crate::simulator::tests) const FLAPPING: Scenario = Scenario {
    name: "half of the renders are answered UNAVAILABLE for 7 min",
    // Half of the attempts fail, and each wish is for what somebody waits for.
    plan: |plan| {
        (plan.missing, plan.repeats) = (1.0, 1.0);
        plan.seconds = 490 + plan.recovery().as_secs();
    },
    script: |world| {
        world.script(60, |world| world.renderer.mood = Mood::Flaky(0.5));
        world.script(480, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, _| recovers(observed, FaultSpan { from: 60, to: 480 }),
};

pub(in crate::simulator::tests) const PUSHED: Scenario = Scenario {
    name: "all projects are pushed back by 3 s, for half a minute",
    plan: |plan| (plan.rate, plan.burst) = (5.0, 5),
    script: |world| {
        let after = Duration::from_secs(3);
        world.script(60, |world| world.release(Duration::ZERO));
        world.script(62, move |world| {
            world.renderer.mood = Mood::PushingBack {
                after,
                scope: PushbackScope::Global,
            }
        });
        world.script(92, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 92 });
        if !observed.told.contains_key(&NotRefreshed::PushedBack) {
            broken.push("PUSHED_BACK was never told".to_owned());
        }
        if observed.attempts_in_hold > 3 {
            broken.push(format!(
                "{} attempts of a sidecar in a hold, at most 3",
                observed.attempts_in_hold
            ));
        }
        broken
    },
};

pub(in crate::simulator::tests) const PUSHED_SINGLY: Scenario = Scenario {
    name: "all projects are pushed back by 3 s each, for half a minute",
    script: |world| {
        let after = Duration::from_secs(3);
        world.script(60, |world| world.release(Duration::ZERO));
        world.script(62, move |world| {
            world.renderer.mood = Mood::PushingBack {
                after,
                scope: PushbackScope::Project,
            }
        });
        world.script(92, |world| world.renderer.mood = Mood::Working);
    },
    ..PUSHED
};

pub(in crate::simulator::tests) const WEAKENED: Scenario = Scenario {
    name: "the renderer pushes back for 10 s and comes back with a quarter of its cores",
    plan: |_| {},
    script: |world| {
        let after = Duration::from_secs(10);
        world.script(60, |world| world.release(SPREAD));
        world.script(65, move |world| {
            world.renderer.mood = Mood::PushingBack {
                after,
                scope: PushbackScope::Global,
            }
        });
        world.script(75, |world| world.renderer.mood = Mood::Working);
        world.script(75, |world| world.set_capacity(0.25));
        world.script(110, |world| world.set_capacity(1.0));
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 110 });
        broken.extend(few_are_pushed_back(observed, 75, 95));
        broken
    },
};

pub(in crate::simulator::tests) const RETURNED: Scenario = Scenario {
    name: "the renderer is away for 40 s and comes back with a quarter of its cores",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.release(SPREAD));
        world.script(65, |world| world.renderer.mood = Mood::Unavailable);
        world.script(105, |world| world.renderer.mood = Mood::Working);
        world.script(105, |world| world.set_capacity(0.25));
        world.script(140, |world| world.set_capacity(1.0));
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, FaultSpan { from: 60, to: 140 });
        broken.extend(few_are_pushed_back(observed, 105, 125));
        broken
    },
};

/// Of the renders that were offered just after a stop, at most a tenth were pushed back.
fn few_are_pushed_back(observed: &Oracle, from: u64, to: u64) -> Broken {
    let (pushed, offered) = (
        observed.pushed_back.mean(from, to),
        observed.offered_mean(from, to),
    );
    if pushed <= 0.1 * offered {
        return Broken::new();
    }
    vec![format!(
        "{pushed:.1}/s of {offered:.1}/s were pushed back just after the stop"
    )]
}

pub(in crate::simulator::tests) const TENFOLD: Scenario = Scenario {
    name: "limits ten times higher than the renderer bears",
    // No fault ends here: what is wanted is more than can be rendered, and is pushed back again and
    // again.
    plan: |plan| (plan.headroom, plan.load, plan.repeats) = (0.1, 0.6, 5.0),
    script: |world| world.script(60, |world| world.release(SPREAD)),
    judge: |observed, plan| {
        let mut broken = Broken::new();
        let (useful, pushed) = (
            observed.useful.mean(120, 600),
            observed.pushed_back.mean(120, 600),
        );
        if pushed > 5.0 * useful {
            broken.push(format!(
                "{pushed:.1}/s were pushed back for {useful:.1}/s that were rendered"
            ));
        }
        if useful < 0.7 * plan.capacity() {
            broken.push(format!(
                "goodput was {useful:.1}/s of {:.1}/s",
                plan.capacity()
            ));
        }
        broken
    },
};

pub(in crate::simulator::tests) const HYSTERESIS: Scenario = Scenario {
    name: "load 0.3, then 1.5, then 0.3 of what the renderer can do",
    plan: |plan| {
        plan.headroom = 0.6;
        // At the top a third of what the renderer is offered is pushed back, and its probes obey
        // that alone.
        plan.repeats = 0.13;
        // All may be wanted at the top, and what is not wanted anew then renders them in less than
        // a step.
        let drained = plan.projects as f64 / (0.7 * plan.bearable_rate());
        plan.seconds = 3 * (1.5 * (60.0 + drained)) as u64;
    },
    script: |world| {
        let step = world.plan.seconds / 3;
        world.script(step, |world| world.fate.load = 1.5);
        world.script(2 * step, |world| world.fate.load = 0.3);
    },
    judge: |observed, plan| {
        let mut broken = Broken::new();
        let step = plan.seconds / 3;
        let at_the_end_of = |nth: u64| observed.useful.mean(nth * step - step / 3, nth * step);
        let (up, top, down) = (at_the_end_of(1), at_the_end_of(2), at_the_end_of(3));
        if (up - down).abs() > 0.05 * up {
            broken.push(format!(
                "goodput was {up:.1}/s on the way up and {down:.1}/s on the way down"
            ));
        }
        if top < 0.8 * plan.capacity() {
            broken.push(format!(
                "goodput at the top was {top:.1}/s of {:.1}/s",
                plan.capacity()
            ));
        }
        broken
    },
};
