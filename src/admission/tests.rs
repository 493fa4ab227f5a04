//! Random sequences of everything that can happen, after each step of which the invariants of
//! admission hold.

use std::{collections::HashSet, num::NonZeroU32, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestRunner},
};

use super::{
    gates::Candidate,
    register::{Entry, Place, Stage, WantedKind},
    *,
};
use crate::{reason::NotRefreshed, revision::Order};

const TUNING: Tuning = Tuning::DEFAULT;

mod architecture;
mod binding;
mod confirming;
mod faults;
mod gates;
mod refusals;
mod reserving;
mod sizes;
mod turns;
mod weather;
mod world;

use self::{
    weather::Reached,
    world::{Brought, CheckedWorld, PROJECTS, WorldStep},
};

fn failures() -> impl Strategy<Value = CallFailure> {
    let after = prop::option::of((1_u64..20_000).prop_map(Duration::from_millis));
    let scope = prop_oneof![
        1 => Just(PushbackScope::Global),
        4 => Just(PushbackScope::Project),
    ];
    let pushback = (after, scope).prop_map(|(after, scope)| Pushback { after, scope });
    prop_oneof![
        3 => Just(CallFailure::Unavailable),
        1 => Just(CallFailure::Aborted),
        2 => Just(CallFailure::DeadlineExceeded),
        3 => pushback.prop_map(CallFailure::Exhausted),
        1 => Just(CallFailure::Refused),
        1 => Just(CallFailure::Unauthenticated),
        1 => Just(CallFailure::Other),
    ]
}

fn steps() -> impl Strategy<Value = Vec<WorldStep>> {
    let project = 0..PROJECTS;
    let brought = prop_oneof![
        6 => Just(Brought::WhatWasAsked),
        2 => Just(Brought::LessThanAsked),
        1 => Just(Brought::Nothing),
        1 => Just(Brought::Gone),
        6 => failures().prop_map(Brought::Failure),
        1 => Just(Brought::Unreachable),
        1 => Just(Brought::Unimplemented),
    ];
    let weather = weather::stretches();
    let patience = prop::option::of((1_u64..4_000).prop_map(Duration::from_millis));
    let step = prop_oneof![
        12 => (project.clone(), patience, prop::bool::weighted(0.1))
            .prop_map(|(project, patience, demand)| WorldStep::Want { project, patience, demand }),
        2 => any::<usize>().prop_map(WorldStep::Leave),
        8 => (any::<usize>(), brought.clone()).prop_map(|(flight, brought)| WorldStep::Land(flight, brought)),
        2 => (any::<usize>(), brought).prop_map(|(flight, brought)| WorldStep::Confirm(flight, brought)),
        8 => (1_u64..3_000).prop_map(|millis| WorldStep::Wait(Duration::from_millis(millis))),
        1 => (
            prop::sample::select(vec![0.0, 0.3, 2.0, 20.0]),
            1_u32..6,
            1_u32..6,
            1_u32..8,
            prop::sample::select(vec![0.0, 10.0]),
        )
            .prop_map(|(rate, burst, concurrency, queue, fetch_rate)| WorldStep::Limits {
                rate,
                burst,
                concurrency,
                queue,
                fetch_rate,
            }),
        1 => Just(WorldStep::Raise),
        1 => Just(WorldStep::Lower),
        1 => (1_u64..120_000).prop_map(|millis| WorldStep::Stall(Duration::from_millis(millis))),
        1 => project.clone().prop_map(WorldStep::Change),
        1 => project.clone().prop_map(WorldStep::Evict),
        1 => project.prop_map(WorldStep::Age),
        1 => Just(WorldStep::Resync),
        1 => Just(WorldStep::Dial),
        1 => prop::option::of((1_u64..5_000).prop_map(Duration::from_millis)).prop_map(WorldStep::Link),
        1 => prop::option::of((1_u32..4).prop_map(count)).prop_map(WorldStep::Room),
        2 => weather.prop_map(WorldStep::Weather),
    ];
    prop::collection::vec(step, 1..150)
}

/// The rights to render and to fetch a project once, as a machine gives them.
pub(crate) fn permit() -> Permit {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut machine = machine_that_misses(0..1, limits(100.0, 10, 4, 10), now);
    match machine.take_actions().pop() {
        Some(Action::Render { permit, .. }) => permit,
        other => panic!("no render, but {other:?}"),
    }
}

pub(crate) fn fetch_permit() -> FetchPermit {
    let mut machine = Admission::new(limits(100.0, 10, 4, 10), 1, 1, Moment::START);
    machine.set_link(Link::Up, Moment::START);
    let wish = wish(None, 1, Some(Duration::from_secs(100)), Moment::START);
    machine.want(&name(0), wish, Moment::START);
    match machine.take_actions().pop() {
        Some(Action::Fetch { permit, .. }) => permit,
        other => panic!("no fetch, but {other:?}"),
    }
}

/// How late a gate is asked.
fn rank(gate: Option<Gate>) -> Option<usize> {
    let gate = gate?;
    Gate::ALL.iter().position(|other| *other == gate)
}

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn limits(rate: f64, burst: u32, concurrency: u32, queue: u32) -> Limits {
    Limits {
        rate,
        burst: count(burst),
        concurrency: count(concurrency),
        queue: count(queue),
        fetch: FetchLimits {
            rate: 10.0,
            concurrency: count(2),
        },
    }
}

fn name(project: usize) -> Project {
    Project::new(&format!("demo/{project}")).unwrap()
}

/// How many sequences: `PROPTEST_CASES`, else a thousand.
fn cases() -> u32 {
    let set = std::env::var("PROPTEST_CASES").ok();
    set.map_or(1_000, |cases| {
        cases.parse().expect("PROPTEST_CASES is no number")
    })
}

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        source_file: Some(file!()),
        ..ProptestConfig::with_cases(cases())
    })
}

#[test]
fn every_sequence_of_events_keeps_the_invariants_and_ends_fresh_or_drained() {
    let sequences = (steps(), any::<u64>(), prop::bool::weighted(0.2));
    let all = std::cell::RefCell::new(Reached::default());
    let run = runner().run(&sequences, |(steps, seed, drains)| {
        let mut world = CheckedWorld::new(seed);
        for step in steps {
            world.take(&step);
        }
        if drains {
            world.drains();
        } else {
            world.converges();
        }
        all.borrow_mut().add(&world.reached);
        Ok(())
    });
    run.unwrap();
    all.borrow().check(cases());
}

fn launched(admission: &mut Admission) -> Vec<(Project, Class)> {
    let actions = admission.take_actions().into_iter();
    actions
        .filter_map(|action| match action {
            Action::Render { project, class, .. } => Some((project, class)),
            Action::Fetch { .. }
            | Action::Confirm { .. }
            | Action::Reserve { .. }
            | Action::Return { .. }
            | Action::Redial { .. }
            | Action::Resolve { .. } => None,
        })
        .collect()
}

/// A machine without Fetch that wants missing projects, each waited for.
fn machine_that_misses(projects: std::ops::Range<usize>, limits: Limits, now: Moment) -> Admission {
    let mut admission = Admission::new(limits, 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    admission.fetched(&name(0), FetchLanding::Unimplemented, now);
    for project in projects {
        let patience = Some(Duration::from_secs(100));
        admission.want(&name(project), wish(None, 1, patience, now), now);
    }
    admission
}

fn wish(held: Option<HeldMark>, rollout: u64, patience: Option<Duration>, now: Moment) -> Wish {
    Wish {
        held,
        want: Want {
            rollout,
            number: 0,
            validated_since: Moment::START,
        },
        demand: None,
        until: patience.map(|patience| now + patience),
    }
}

fn pushed_back(after: Duration) -> Landing {
    Landing::Failed(CallFailure::Exhausted(Pushback {
        after: Some(after),
        scope: PushbackScope::Project,
    }))
}
