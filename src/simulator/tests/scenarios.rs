//! The scenarios: what happens to many sidecars, and what has to hold then. The usual plan stands
//! here; each scenario says what is different in it. `EVENKEEL_SIMULATE_SHOW=1` prints what was
//! measured, with `--nocapture`.

mod faults;
mod gone;
mod pods;
mod projects;
mod refusals;
mod releases;
mod reserved;
mod shares;

use std::time::Duration;

use self::{faults::*, gone::*, pods::*, projects::*, refusals::*, releases::*, shares::*};
use super::{
    controllers::Controller,
    oracle::Oracle,
    setup::Setup,
    verdict::{Broken, always},
};
use crate::{
    admission::Tuning,
    simulator::{Plan, Reserving, Upkeep, World},
};

/// Something that happens to many sidecars.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    plan: fn(&mut Setup),
    script: fn(&mut World<Oracle>),
    judge: fn(&Oracle, &Setup) -> Broken,
}

const SPREAD: Duration = Duration::from_secs(2);
/// The end of a run whose fault ends at second 300: by then the longest cool-down that it caused is
/// over, too.
const COOLED_DOWN: u64 = 660;

/// Of the usual run.
const SEED: u64 = 1;

fn setup() -> Setup {
    let (sidecars, projects) = super::size();
    let plan = Plan {
        way: Upkeep::Admission,
        sidecars,
        projects,
        unknown: 0,
        rate: 1.0,
        burst: 2,
        concurrency: 4,
        queue: 512,
        headroom: 1.25,
        work: 0.1,
        deadline: Duration::from_secs(10),
        fetch_deadline: Duration::from_secs(1),
        load: 0.3,
        missing: 0.2,
        lookups: 2.0,
        offers_fetch: false,
        reserving: Reserving::Local,
        memo: 1.0,
        seconds: 600,
        poisoned: (projects / 100).max(1),
        seed: SEED,
        tuning: Tuning::DEFAULT,
    };
    let repeats = 0.1;
    Setup { plan, repeats }
}

impl Scenario {
    fn observe(&self, way: Upkeep, tuning: Tuning, seed: u64) -> (Oracle, Setup) {
        let mut setup = setup();
        (self.plan)(&mut setup);
        (setup.way, setup.tuning, setup.seed) = (way, tuning, seed);
        let mut world = World::new(setup.plan.clone(), Oracle::new(&setup));
        (self.script)(&mut world);
        let (observed, oracle) = world.run();
        (oracle.with(observed), setup)
    }

    /// What is broken when many sidecars go through this.
    fn broken(&self, tuning: Tuning) -> Broken {
        self.judged(Upkeep::Admission, tuning).1
    }

    fn judged(&self, way: Upkeep, tuning: Tuning) -> (Oracle, Broken) {
        let (observed, plan) = self.observe(way, tuning, SEED);
        let mut broken = always(&observed, &plan);
        broken.extend((self.judge)(&observed, &plan));
        if std::env::var_os("EVENKEEL_SIMULATE_SHOW").is_some() {
            show(self.name, &observed, &plan);
        }
        (observed, broken)
    }

    /// Asserts that what always has to hold does in runs of five seeds, and what this scenario
    /// judges in most of them.
    fn holds_in_most_runs(&self) {
        let runs: Vec<_> = (SEED..SEED + 5)
            .map(|seed| self.observe(Upkeep::Admission, Tuning::DEFAULT, seed))
            .collect();
        let broken: Vec<_> = runs
            .iter()
            .flat_map(|(observed, plan)| always(observed, plan))
            .collect();
        assert!(broken.is_empty(), "{}: {broken:#?}", self.name);
        let judged = runs
            .iter()
            .map(|(observed, plan)| (self.judge)(observed, plan));
        let broken: Vec<_> = judged.filter(|broken| !broken.is_empty()).collect();
        assert!(broken.len() * 2 < runs.len(), "{}: {broken:#?}", self.name);
    }
}

fn show(name: &str, observed: &Oracle, plan: &Setup) {
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

/// Which scenario shows that a controller is needed.
const NEEDS: [(Controller, Scenario); 18] = [
    (Controller::Breaker, ALONE),
    (Controller::GlobalHold, PUSHED),
    (Controller::PaceOnPushback, TENFOLD),
    (Controller::PaceOnFailure, OVERRUN),
    (Controller::RetryBudget, FLAPPING),
    (Controller::CoolDown, CRASH),
    (Controller::FirstToken, RESTARTED),
    (Controller::MissingPermits, LARGE),
    (Controller::OutdatedTurn, STORM),
    (Controller::FailingShare, ENDLESS),
    (Controller::FloodShare, TYPOS),
    (Controller::RaiseInterval, RAPID),
    (Controller::HoldRamp, WEAKENED),
    (Controller::BreakerRamp, RETURNED),
    (Controller::LearnedConcurrency, TWO_AT_ONCE),
    (Controller::RefusedStop, TENFOLD_REFUSED),
    (Controller::FetchesGivenUp, STORE_AWAY),
    (Controller::Redial, REPLICA_BEHIND),
];

#[test]
fn without_any_of_the_controllers_some_scenario_fails() {
    for (controller, scenario) in NEEDS {
        let broken = scenario.broken(controller.without());
        assert!(
            !broken.is_empty(),
            "{controller:?} is not needed: {}",
            scenario.name
        );
    }
}

/// The simulator can tell: the incident's way fails lookups of what was held, and breaks what
/// admission keeps.
#[test]
fn the_way_of_the_incident_fails_lookups_and_does_not_recover() {
    for scenario in [RELEASE, SLOW, POISON] {
        let (observed, broken) = scenario.judged(Upkeep::Incident, Tuning::DEFAULT);
        let name = scenario.name;
        assert!(observed.failed_though_held > 0, "{name}: no lookup failed");
        for promise in ["offered", "retries", "P5: goodput"] {
            let is_broken = broken.iter().any(|text| text.starts_with(promise));
            assert!(is_broken, "{name}: {promise} held: {broken:?}");
        }
    }
    let (_, broken) = HYSTERESIS.judged(Upkeep::Incident, Tuning::DEFAULT);
    let is_stuck = broken.iter().any(|text| text.starts_with("goodput was"));
    assert!(is_stuck, "goodput came back: {broken:?}");
}

/// Prints which scenarios fail without which controller: `cargo test --lib simulator -- --ignored
/// --nocapture`.
#[test]
#[ignore = "it is a table for people, and takes minutes"]
fn which_scenario_needs_which_controller() {
    for controller in Controller::ALL {
        for (_, scenario) in ALL {
            let broken = scenario.broken(controller.without());
            if !broken.is_empty() {
                println!("{controller:?}: {}: {}", scenario.name, broken.join("; "));
            }
        }
    }
}

/// One run says little here: its callers ask within the same minute, and are told the same guess.
#[test]
fn a_release_with_few_permits_tells_truly_when_to_come_back() {
    SCARCE.holds_in_most_runs();
}

/// One run says little here: the slowest of a hundred sidecars is the one that was refused by
/// chance most often.
#[test]
fn a_renderer_that_takes_few_calls_at_once() {
    FEW_AT_ONCE.holds_in_most_runs();
}

/// Makes a test of each scenario, and a list of all.
macro_rules! scenarios {
    ($($test:ident: $scenario:ident,)*) => {
        const ALL: &[(&str, Scenario)] = &[
            ("a_release_with_few_permits_tells_truly_when_to_come_back", SCARCE),
            ("a_renderer_that_takes_few_calls_at_once", FEW_AT_ONCE),
            $((stringify!($test), $scenario)),*
        ];

        $(
            #[test]
            fn $test() {
                let broken = $scenario.broken(Tuning::DEFAULT);
                assert!(broken.is_empty(), "{}: {broken:#?}", $scenario.name);
            }
        )*
    };
}

scenarios! {
    a_release_at_steady_load: RELEASE,
    a_release_tells_truly_when_to_come_back: HONEST,
    a_release_that_replaces_all_pods: REPLACED,
    a_release_that_replaces_all_pods_with_fetch: REPLACED_WITH_FETCH,
    a_release_that_replaces_all_pods_with_short_queues: CROWDED,
    all_pods_start_at_once: RESTARTED,
    a_release_with_a_busy_renderer: BUSY,
    two_releases_and_a_rollback: ROLLBACK,
    six_releases_in_quick_succession: RAPID,
    mixed_rollouts_for_ten_minutes: MIXED,
    a_replica_that_is_for_ever_behind: REPLICA_BEHIND,
    capacity_halved_for_five_minutes: HALVED,
    a_black_hole_for_two_minutes: BLACK_HOLE,
    ten_times_slower_without_errors: SLOW,
    three_times_slower_with_many_permits: OVERRUN,
    an_outage_of_40_s: OUTAGE,
    every_render_is_answered_internal: INTERNAL,
    every_render_is_answered_aborted: ABORTED,
    every_render_is_rejected: UNFIT,
    every_identity_is_refused: UNAUTHENTICATED,
    an_outage_seen_by_one_sidecar: ALONE,
    a_renderer_that_fails_every_other_time: FLAPPING,
    a_global_pushback: PUSHED,
    pushbacks_of_many_projects: PUSHED_SINGLY,
    a_renderer_that_comes_back_weakened: WEAKENED,
    a_renderer_that_was_away_and_comes_back_weakened: RETURNED,
    limits_ten_times_too_high: TENFOLD,
    goodput_is_the_same_on_the_way_up_and_down: HYSTERESIS,
    poison_projects_that_never_end: POISON,
    poison_projects_that_end_in_an_error: CRASH,
    poison_projects_that_kill_the_renderer: KILL,
    ten_projects_that_never_end: ENDLESS,
    a_quarter_of_the_projects_is_large: LARGE,
    a_project_with_a_quota_of_its_own: QUOTA,
    a_loop_over_mistyped_names: TYPOS,
    limits_reloaded_every_second: RELOADED,
    pods_suspended_for_a_minute: SUSPENDED,
    all_applications_cancel_at_50_ms: CANCELLED,
    a_storm_of_missing_projects: STORM,
    a_renderer_that_takes_two_calls_of_one_sidecar: TWO_AT_ONCE,
    limits_ten_times_too_high_for_a_renderer_that_refuses: TENFOLD_REFUSED,
    a_store_that_refuses: STORE_REFUSES,
    a_slow_store: STORE_SLOW,
    a_store_that_never_answers: STORE_AWAY,
    a_store_that_pushes_back: STORE_PUSHES_BACK,
    a_fleet_that_is_counted_too_small_for_a_minute: MISCOUNTED,
    a_release_with_splay: SPLAYED,
    a_renderer_that_knows_no_project: UNKNOWING,
    a_replica_that_knows_no_project: REPLICA_UNKNOWING,
    projects_that_are_deleted: DELETED,
}
