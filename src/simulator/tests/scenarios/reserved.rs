//! Scenarios in which renders are reserved outside of the sidecars: by somebody who answers after 5
//! ms, who denies a part, and who dies in the middle.
//!
//! Each runs as the local scenario of the same name, with the same seed. What always has to hold
//! holds, and so does what the scenario judges. Compared with the local run are: how many projects
//! became fresh (at least 95 %), how many lookups of missing projects were answered (at least 95 %;
//! 80 % where a fifth of the asks is denied, which costs half of a caller's patience each time),
//! the most renders in a second (at most 1.1 times, and 2 more), and after a release how long the
//! slowest sidecar took to catch up (at most 1.1 times, and 2 s more).

use super::*;

/// What is wrong with who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answerer {
    Slow,
    DeniesAPart,
    DiesInTheMiddle,
}

impl Answerer {
    fn script(self, world: &mut World<Oracle>) {
        match self {
            Self::Slow => {}
            Self::DeniesAPart => world.reserver.denies = 0.2,
            Self::DiesInTheMiddle => {
                world.script(80, |world| world.reserver.is_dead = true);
            }
        }
    }
}

impl Scenario {
    fn observe_reserved(&self, answerer: Answerer) -> (Oracle, Setup) {
        let mut setup = setup();
        (self.plan)(&mut setup);
        setup.reserving = Reserving::Remote;
        let mut world = World::new(setup.plan.clone(), Oracle::new(&setup));
        answerer.script(&mut world);
        (self.script)(&mut world);
        let (observed, oracle) = world.run();
        (oracle.with(observed), setup)
    }
}

/// What is compared with the local run: by how much a figure is worse, in words.
fn worse(answerer: Answerer, scenario: &Scenario, reserved: &Oracle, local: &Oracle) -> Broken {
    let end = reserved.seconds();
    let slowest = |oracle: &Oracle| {
        let took = oracle.converged.iter().flatten();
        took.map(|converged| converged.took.as_secs_f64())
            .fold(0.0, f64::max)
    };
    let answered = match answerer {
        Answerer::Slow | Answerer::DiesInTheMiddle => 0.95,
        Answerer::DeniesAPart => 0.8,
    };
    let least = [
        (
            "became fresh",
            reserved.useful.sum(0, end),
            local.useful.sum(0, end),
            0.95,
        ),
        (
            "missing answered",
            reserved.missing_answered.sum(0, end),
            local.missing_answered.sum(0, end),
            answered,
        ),
    ];
    let mut most = vec![(
        "most in a second",
        f64::from(reserved.peak(0, end)),
        f64::from(local.peak(0, end)),
    )];
    if scenario.name != OUTAGE.name {
        most.push(("slowest, in s", slowest(reserved), slowest(local)));
    }
    let least = least
        .into_iter()
        .filter(|&(_, is, was, part)| f64::from(is) < part * f64::from(was))
        .map(|(what, is, was, _)| format!("{what}: {is}, locally {was}"));
    let most = most
        .into_iter()
        .filter(|&(_, is, was)| is > 1.1 * was + 2.0)
        .map(|(what, is, was)| format!("{what}: {is:.1}, locally {was:.1}"));
    least.chain(most).collect()
}

fn is_as_good_as_local(answerer: Answerer) {
    for scenario in [RELEASE, STORM, OUTAGE] {
        let (local, _) = scenario.observe(Upkeep::Admission, Tuning::DEFAULT, SEED);
        let (reserved, setup) = scenario.observe_reserved(answerer);
        if std::env::var_os("EVENKEEL_SIMULATE_SHOW").is_some() {
            show(scenario.name, &reserved, &setup);
        }
        let mut broken = always(&reserved, &setup);
        broken.extend((scenario.judge)(&reserved, &setup));
        broken.extend(worse(answerer, &scenario, &reserved, &local));
        assert!(
            broken.is_empty(),
            "{answerer:?}, {}: {broken:#?}",
            scenario.name
        );
        let (before, after) = (
            reserved.asks_answered.sum(60, 80),
            reserved.asks_answered.sum(81, setup.seconds),
        );
        assert!(before > 0, "nothing was asked");
        let is_dead = answerer == Answerer::DiesInTheMiddle;
        assert_eq!(after == 0, is_dead, "{after} answers after second 80");
    }
}

#[test]
fn what_is_reserved_elsewhere_within_5_ms_goes_as_it_does_locally() {
    is_as_good_as_local(Answerer::Slow);
}

#[test]
fn what_is_denied_in_part_goes_as_it_does_locally() {
    is_as_good_as_local(Answerer::DeniesAPart);
}

#[test]
fn when_asks_are_no_longer_answered_the_limits_of_the_sidecar_decide() {
    is_as_good_as_local(Answerer::DiesInTheMiddle);
}
