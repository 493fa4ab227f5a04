//! The scenarios: what happens to a fleet, and what has to hold then.

use std::time::Duration;

use super::{
    observed::Observed,
    renderer::Mood,
    sim::{Plan, Poison, Way, World},
    verdict::{Broken, Fault, always, converges, recovers},
};
use crate::{
    admission::{Controllers, controllers::Controller},
    reason::NotRefreshed,
};

/// Something that happens to a fleet.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    plan: fn(&mut Plan),
    script: fn(&mut World),
    judge: fn(&Observed, &Plan) -> Broken,
}

const SPREAD: Duration = Duration::from_secs(2);

fn plan() -> Plan {
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
        offers_fetch: false,
        memo: 1.0,
        pushes_all_back: false,
        seconds: 600,
        poisoned: (projects / 100).max(1),
        seed: 1,
        controllers: Controllers::default(),
    }
}

impl Scenario {
    fn observe(&self, way: Way, controllers: Controllers) -> (Observed, Plan) {
        let mut plan = plan();
        (self.plan)(&mut plan);
        (plan.way, plan.controllers) = (way, controllers);
        let mut world = World::new(plan.clone());
        (self.script)(&mut world);
        (world.run(), plan)
    }

    /// What is broken when a fleet goes through this.
    pub(super) fn broken(&self, way: Way, controllers: Controllers) -> Broken {
        let (observed, plan) = self.observe(way, controllers);
        let mut broken = always(&observed, &plan);
        broken.extend((self.judge)(&observed, &plan));
        if std::env::var_os("EVENKEEL_FLEET_SHOW").is_some() {
            show(self.name, &observed, &plan);
        }
        broken
    }

    fn holds(&self) {
        let broken = self.broken(Way::Admission, Controllers::default());
        assert!(broken.is_empty(), "{}: {broken:#?}", self.name);
    }
}

#[expect(clippy::print_stdout, reason = "a person asked for it")]
fn show(name: &str, observed: &Observed, plan: &Plan) {
    println!("{name}: {}", observed.summary(plan));
    for from in (0..plan.seconds).step_by(30) {
        let to = from + 30;
        println!(
            "  {from:4} demanded {:6.1} useful {:6.1} offered {:6.1} peak {:4} pushed {:5.1} timed out {:5.1} missing {:5.1}/{:5.1}",
            observed.demanded.mean(from, to),
            observed.useful.mean(from, to),
            observed.offered_mean(from, to),
            observed.peak(from, to),
            observed.pushed_back.mean(from, to),
            observed.timed_out.mean(from, to),
            observed.missing_answered.mean(from, to),
            observed.missing_asked.mean(from, to)
        );
    }
}

const RELEASE: Scenario = Scenario {
    name: "a release at steady load",
    plan: |_| {},
    script: |world| world.script(60, |world| world.release(SPREAD)),
    judge: |observed, plan| converges(observed, plan),
};

const REPLACED: Scenario = Scenario {
    name: "a release that replaces all pods",
    plan: |_| {},
    script: replace_all,
    judge: |observed, _| recovers(observed, Fault { from: 60, to: 180 }),
};

const REPLACED_WITH_FETCH: Scenario = Scenario {
    name: "a release that replaces all pods, with Fetch",
    plan: |plan| plan.offers_fetch = true,
    script: replace_all,
    judge: |observed, _| {
        let mut broken = recovers(observed, Fault { from: 60, to: 120 });
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

fn replace_all(world: &mut World) {
    world.script(60, |world| world.fate.target += 1);
    let fleet = world.plan.sidecars;
    for sidecar in 0..fleet {
        let second = 60 + (30 * sidecar / fleet) as u64;
        world.script(second, move |world| world.replace(sidecar));
    }
}

const BUSY: Scenario = Scenario {
    name: "a release with the renderer at 90 %",
    plan: |plan| (plan.load, plan.headroom, plan.seconds) = (0.9, 0.7, 900),
    script: |world| world.script(60, |world| world.release(SPREAD)),
    judge: |observed, _| {
        let mut broken = recovers(observed, Fault { from: 60, to: 90 });
        broken.extend(recovers(observed, Fault { from: 60, to: 700 }));
        broken
    },
};

const HALVED: Scenario = Scenario {
    name: "capacity halved for 5 min",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.set_capacity(0.5));
        world.script(90, |world| world.release(SPREAD));
        world.script(360, |world| world.set_capacity(1.0));
    },
    judge: |observed, _| recovers(observed, Fault { from: 60, to: 360 }),
};

const BLACK_HOLE: Scenario = Scenario {
    name: "a black hole for 2 min",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.renderer.mood = Mood::BlackHole);
        world.script(180, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, _| recovers(observed, Fault { from: 60, to: 180 }),
};

const SLOW: Scenario = Scenario {
    name: "10 times slower without errors",
    plan: |_| {},
    script: |world| {
        world.renderer.sheds_nothing();
        world.script(60, |world| world.fate.slowness = 10.0);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.slowness = 1.0);
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, Fault { from: 60, to: 300 });
        let during = observed.useful.mean(120, 300);
        let possible = plan.capacity() / 10.0;
        if during < 0.5 * possible {
            broken.push(format!("goodput was {during:.1}/s of {possible:.1}/s"));
        }
        broken
    },
};

const POISON: Scenario = Scenario {
    name: "1 % poison projects that never end",
    plan: |_| {},
    script: |world| {
        world.script(55, |world| world.fate.poison = Poison::Endless);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.poison = Poison::None);
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, Fault { from: 55, to: 300 });
        let during = observed.useful.mean(65, 300);
        let before = observed.useful.mean(25, 55);
        if during < 0.95 * before {
            broken.push(format!(
                "goodput was {during:.1}/s while the poison lasted, {before:.1}/s before"
            ));
        }
        broken
    },
};

const CRASH: Scenario = Scenario {
    name: "1 % poison projects that end in an error",
    script: |world| {
        world.script(55, |world| world.fate.poison = Poison::Crash);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.poison = Poison::None);
    },
    ..POISON
};

const KILL: Scenario = Scenario {
    name: "1 % poison projects that kill the renderer's process",
    script: |world| {
        world.script(55, |world| world.fate.poison = Poison::Kill);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.poison = Poison::None);
    },
    ..POISON
};

const ROLLBACK: Scenario = Scenario {
    name: "two releases 10 s apart and a rollback",
    plan: |_| {},
    script: |world| {
        for second in [60, 70, 80] {
            world.script(second, |world| world.release(SPREAD));
        }
    },
    judge: |observed, plan| converges(observed, plan),
};

const MIXED: Scenario = Scenario {
    name: "mixed rollouts for 10 min",
    plan: |plan| plan.seconds = 840,
    script: |world| {
        world.script(60, |world| world.release(SPREAD));
        world.script(60, |world| world.fate.behind = 0.5);
        world.script(660, |world| world.fate.behind = 0.0);
    },
    judge: |observed, _| recovers(observed, Fault { from: 60, to: 660 }),
};

const RELOADED: Scenario = Scenario {
    name: "limits reloaded every second at rates below one",
    plan: |_| {},
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
    },
    judge: |observed, _| recovers(observed, Fault { from: 30, to: 400 }),
};

const SUSPENDED: Scenario = Scenario {
    name: "pods suspended for a minute",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| {
            let until = world.now + Duration::from_secs(60);
            for sidecar in world.sidecars.iter_mut().step_by(2) {
                sidecar.suspended_until = until;
            }
        });
        world.script(70, |world| world.release(SPREAD));
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, Fault { from: 60, to: 120 });
        broken.extend(converges(observed, plan));
        broken
    },
};

const CANCELLED: Scenario = Scenario {
    name: "all applications cancel at 50 ms",
    plan: |plan| plan.missing = 0.5,
    script: |world| {
        world.script(60, |world| {
            world.fate.callers_leave_after = Duration::from_millis(50)
        });
        world.script(60, |world| world.release(SPREAD));
        world.script(180, |world| world.fate.callers_leave_after = Duration::MAX);
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, Fault { from: 60, to: 180 });
        broken.extend(converges(observed, plan));
        broken
    },
};

const REPLICA_BEHIND: Scenario = Scenario {
    name: "one of four replicas is for ever behind",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.release(SPREAD));
        world.script(60, |world| world.fate.behind = 0.25);
    },
    judge: |observed, _| recovers(observed, Fault { from: 60, to: 240 }),
};

const QUOTA: Scenario = Scenario {
    name: "one project is pushed back by a quota of its own",
    plan: |_| {},
    script: |world| {
        world.script(30, |world| world.fate.quota = Some(0));
        world.script(60, |world| world.release(SPREAD));
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, Fault { from: 60, to: 180 });
        let others = observed.pushed_back_for_others;
        if others > 0 {
            broken.push(format!("other projects were held {others} times"));
        }
        broken
    },
};

const FLAPPING: Scenario = Scenario {
    name: "half of the renders are answered UNAVAILABLE for 7 min",
    plan: |plan| plan.missing = 1.0,
    script: |world| {
        world.script(60, |world| world.renderer.mood = Mood::Flaky(0.5));
        world.script(480, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, _| recovers(observed, Fault { from: 60, to: 480 }),
};

const OUTAGE: Scenario = Scenario {
    name: "the renderer is unavailable for 40 s",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.renderer.mood = Mood::Unavailable);
        world.script(100, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, _| recovers(observed, Fault { from: 60, to: 100 }),
};

const TYPOS: Scenario = Scenario {
    name: "a loop over mistyped names during a release",
    plan: |plan| plan.unknown = 2_000,
    script: |world| {
        world.script(30, |world| {
            world.fate.typos = world.plan.sidecars as f64 * 3.0;
            world.mistype();
        });
        world.script(60, |world| world.release(SPREAD));
        world.script(240, |world| world.fate.typos = 0.0);
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, Fault { from: 30, to: 240 });
        let during = observed.useful.mean(65, 125);
        if during < 50.0 {
            broken.push(format!("goodput during the flood was {during:.1}/s"));
        }
        broken
    },
};

const STORM: Scenario = Scenario {
    name: "a storm of missing projects during a release",
    plan: |_| {},
    script: |world| {
        world.script(60, |world| world.release(SPREAD));
        world.script(60, |world| {
            (world.fate.load, world.fate.missing) = (1.5, 1.0)
        });
        world.script(180, |world| {
            (world.fate.load, world.fate.missing) = (0.3, 0.2)
        });
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, Fault { from: 60, to: 180 });
        let refreshed = observed.refreshes.mean(65, 125);
        let share = 0.08 * plan.fleet_rate();
        if refreshed < share {
            broken.push(format!(
                "{refreshed:.1} refreshes/s during the storm, at least {share:.1}"
            ));
        }
        broken
    },
};

const ALONE: Scenario = Scenario {
    name: "one sidecar at 50 renders/s while the renderer is unavailable for 40 s",
    plan: |plan| {
        (plan.sidecars, plan.projects, plan.rate, plan.burst) = (1, 50, 50.0, 10);
        (plan.load, plan.seconds) = (0.0, 190);
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
        if observed.unfresh > 0 {
            broken.push(format!(
                "{} projects are outdated 90 s after",
                observed.unfresh
            ));
        }
        broken
    },
};

const PUSHED: Scenario = Scenario {
    name: "all projects are pushed back by 3 s, for half a minute",
    plan: |plan| (plan.rate, plan.burst) = (5.0, 5),
    script: |world| {
        let after = Duration::from_secs(3);
        world.script(60, |world| world.release(Duration::ZERO));
        world.script(62, move |world| {
            world.renderer.mood = Mood::PushingBack {
                after,
                is_global: true,
            }
        });
        world.script(92, |world| world.renderer.mood = Mood::Working);
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, Fault { from: 60, to: 92 });
        let attempts = observed.offered_mean(65, 92) * 3.0;
        #[expect(clippy::cast_precision_loss, reason = "a few sidecars")]
        let allowed = 3.0 * plan.sidecars as f64;
        if attempts > allowed {
            broken.push(format!(
                "{attempts:.1} attempts per hold, at most {allowed}"
            ));
        }
        broken
    },
};

const TENTH: Scenario = Scenario {
    name: "a tenth of the projects never ends, on a renderer with cores to spare",
    plan: |plan| {
        (plan.headroom, plan.load) = (80.0, 0.3 * 1.25 / 80.0);
        plan.poisoned = plan.projects / 10;
    },
    script: |world| {
        world.script(59, |world| world.fate.poison = Poison::Endless);
        world.script(60, |world| world.release(SPREAD));
        world.script(300, |world| world.fate.poison = Poison::None);
    },
    judge: |observed, plan| {
        let mut broken = recovers(observed, Fault { from: 55, to: 300 });
        let (answered, asked) = (
            observed.missing_answered.sum(60, 180),
            observed.missing_asked.sum(60, 180),
        );
        if f64::from(answered) < 0.95 * f64::from(asked) {
            broken.push(format!(
                "{answered} of {asked} lookups of projects of which nothing was held were answered"
            ));
        }
        let (during, possible) = (observed.useful.mean(60, 150), plan.fleet_rate());
        if during < 0.85 * possible {
            broken.push(format!("goodput was {during:.1}/s of {possible:.1}/s"));
        }
        broken
    },
};

const RAPID: Scenario = Scenario {
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
        let mut broken = converges(observed, plan);
        let pairs = plan.sidecars * plan.projects;
        if observed.launches as usize > 5 * pairs / 2 {
            broken.push(format!("{} renders of {pairs} projects", observed.launches));
        }
        broken
    },
};

const RESTARTED: Scenario = Scenario {
    name: "all pods start at once, with Fetch, at a low rate",
    plan: |plan| (plan.rate, plan.offers_fetch) = (0.2, true),
    script: |world| {
        world.script(60, |world| {
            world.fate.target += 1;
            (0..world.plan.sidecars).for_each(|sidecar| world.replace(sidecar));
        });
    },
    judge: |observed, plan| {
        let (peak, allowed) = (f64::from(observed.peak(60, 65)), 2.0 * plan.fleet_rate());
        if peak <= allowed {
            return Broken::new();
        }
        vec![format!(
            "{peak} renders were offered in a second, at most {allowed}"
        )]
    },
};

const WEAKENED: Scenario = Scenario {
    name: "the renderer pushes back for 10 s and comes back with a quarter of its cores",
    plan: |_| {},
    script: |world| {
        let after = Duration::from_secs(10);
        world.script(60, |world| world.release(SPREAD));
        world.script(65, move |world| {
            world.renderer.mood = Mood::PushingBack {
                after,
                is_global: true,
            }
        });
        world.script(75, |world| world.renderer.mood = Mood::Working);
        world.script(75, |world| world.set_capacity(0.25));
        world.script(110, |world| world.set_capacity(1.0));
    },
    judge: |observed, _| {
        let mut broken = recovers(observed, Fault { from: 60, to: 110 });
        let (pushed, offered) = (
            observed.pushed_back.mean(75, 95),
            observed.offered_mean(75, 95),
        );
        if pushed > 0.1 * offered {
            broken.push(format!(
                "{pushed:.1}/s of {offered:.1}/s were pushed back just after the hold"
            ));
        }
        broken
    },
};

const TENFOLD: Scenario = Scenario {
    name: "limits ten times higher than the renderer bears",
    plan: |plan| (plan.headroom, plan.load) = (0.1, 0.6),
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

const HYSTERESIS: Scenario = Scenario {
    name: "load 0.3, then 1.5, then 0.3 of what the renderer can do",
    plan: |plan| (plan.headroom, plan.projects, plan.seconds) = (0.6, 40, 900),
    script: |world| {
        world.script(300, |world| world.fate.load = 1.5);
        world.script(600, |world| world.fate.load = 0.3);
    },
    judge: |observed, plan| {
        let mut broken = Broken::new();
        let (up, top, down) = (
            observed.useful.mean(200, 300),
            observed.useful.mean(500, 600),
            observed.useful.mean(800, 900),
        );
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

const HONEST: Scenario = Scenario {
    name: "a release while nothing else happens",
    plan: |plan| plan.load = 0.0,
    script: |world| world.script(60, |world| world.release(SPREAD)),
    judge: |observed, plan| {
        let mut broken = converges(observed, plan);
        let honesty = observed.honesty(NotRefreshed::Throttled, 70, 120);
        if honesty.is_none_or(|honesty| !(0.8..=1.2).contains(&honesty)) {
            broken.push(format!("retry_after: it took {honesty:?} times as long"));
        }
        broken
    },
};

pub(super) const ALL: [Scenario; 30] = [
    RELEASE,
    REPLACED,
    REPLACED_WITH_FETCH,
    BUSY,
    HALVED,
    BLACK_HOLE,
    SLOW,
    POISON,
    CRASH,
    KILL,
    ROLLBACK,
    MIXED,
    RELOADED,
    SUSPENDED,
    CANCELLED,
    REPLICA_BEHIND,
    QUOTA,
    FLAPPING,
    OUTAGE,
    TYPOS,
    STORM,
    ALONE,
    PUSHED,
    TENTH,
    RAPID,
    RESTARTED,
    WEAKENED,
    TENFOLD,
    HYSTERESIS,
    HONEST,
];

#[test]
fn matrix() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let controllers = [None].into_iter().chain(Controller::ALL.map(Some));
    for off in controllers {
        for scenario in ALL
            .into_iter()
            .filter(|scenario| scenario.name.contains(&only))
        {
            let controllers = off.map_or_else(Controllers::default, Controllers::without);
            let broken = scenario.broken(Way::Admission, controllers);
            if !broken.is_empty() || off.is_none() {
                println!("{off:?} {}: {broken:?}", scenario.name);
            }
        }
    }
}
