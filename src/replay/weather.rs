//! What a call brings at a moment of a replay, and how much work it is: as in the record at about
//! the same time.
//!
//! A failure of one project, while renders of others succeed, is taken to be the project's own; one
//! among failures of others is the renderer's, for whatever is rendered then.

use std::{collections::HashMap, time::Duration};

use super::{
    calls::{RecordedCall, RecordedCalls, RecordedProject, held, nearest},
    workers::WorkedRender,
};
use crate::{
    admission::{AdmissionFact, CallFailure, FetchLanding, HeldMark, Landing},
    moment::Moment,
    record::Record,
    revision::Order,
};

/// How long a render is taken to take where none was recorded.
const UNSEEN: Duration = Duration::from_secs(1);
/// How soon a renderer says that it does not offer a fetch, where none was recorded.
const UNIMPLEMENTED: Duration = Duration::from_millis(1);

/// What a render comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum RenderFate {
    /// A worker takes it, and it brings a revision.
    Works {
        /// What it brings.
        order: Order,
    },
    /// It takes as long, and brings something else.
    Ends {
        /// How long.
        took: Duration,
        /// What it brings.
        landing: Landing,
    },
}

/// How the renderer did, over time.
#[derive(Debug)]
pub(super) struct RendererWeather {
    /// Renders that succeeded, and those that failed with the renderer, by when they began.
    of_all: Vec<SeenRender>,
    /// Renders that the renderer worked on, by when it began.
    works: Vec<(Moment, Duration)>,
    /// The rollouts that they brought, by the one that was asked for.
    rollouts: HashMap<u64, Vec<(Moment, u64)>>,
    projects: HashMap<RecordedProject, OfProject>,
    fetches: Vec<RecordedCall<FetchLanding>>,
}

/// A render.
#[derive(Clone, Copy, Debug)]
struct SeenRender {
    began: Moment,
    took: Duration,
    landing: Landing,
}

/// What is known of one project.
#[derive(Debug, Default)]
struct OfProject {
    renders: Vec<SeenRender>,
    /// The numbers that renders brought, and those of changes, by when they were there.
    numbers: Vec<(Moment, u64)>,
    fetches: Vec<RecordedCall<FetchLanding>>,
}

impl RendererWeather {
    pub(super) fn of(record: &Record, calls: &RecordedCalls, works: &[WorkedRender]) -> Self {
        let mut weather = Self {
            of_all: Vec::new(),
            works: works.iter().map(|it| (it.began, it.work)).collect(),
            rollouts: HashMap::new(),
            projects: HashMap::new(),
            fetches: calls.fetches.clone(),
        };
        for (place, call) in calls.renders.iter().enumerate() {
            let seen = SeenRender {
                began: call.began,
                took: call.took,
                landing: call.landing,
            };
            let is_of_all = match held(call.landing) {
                Some(held) => {
                    weather.brought(call, held);
                    true
                }
                None => is_fault(call.landing) && is_among_faults(&calls.renders, place),
            };
            if is_of_all {
                weather.of_all.push(seen);
            }
            let project = weather.projects.entry(call.project).or_default();
            project.renders.push(seen);
        }
        for call in &calls.fetches {
            let project = weather.projects.entry(call.project).or_default();
            project.fetches.push(*call);
        }
        for &(at, fact) in &record.facts {
            if let AdmissionFact::Changed { project, number } = fact {
                let project = weather.projects.entry(project).or_default();
                project.numbers.push((at, number));
            }
        }
        for project in weather.projects.values_mut() {
            project.numbers.sort_unstable();
        }
        weather
    }

    /// What a render brings that arrives at that moment.
    pub(super) fn render(&self, project: RecordedProject, asked: u64, now: Moment) -> RenderFate {
        let of_all = nearest(&self.of_all, now, |seen| seen.began).map(|place| self.of_all[place]);
        let own = self.projects.get(&project);
        let own = own.and_then(|own| {
            let place = nearest(&own.renders, now, |seen| seen.began)?;
            Some(own.renders[place])
        });
        let ends = |seen: SeenRender| RenderFate::Ends {
            took: seen.took,
            landing: seen.landing,
        };
        if let Some(seen) = of_all.filter(|seen| held(seen.landing).is_none()) {
            return ends(seen);
        }
        if let Some(seen) = own.filter(|seen| held(seen.landing).is_none())
            && !self.is_of_all(seen)
        {
            return ends(seen);
        }
        RenderFate::Works {
            order: Order::new(self.rollout(asked, now), self.number(project, now)),
        }
    }

    /// How much work a render is that is begun at that moment.
    pub(super) fn work(&self, now: Moment) -> Duration {
        let place = nearest(&self.works, now, |&(began, _)| began);
        place.map_or(UNSEEN, |place| self.works[place].1)
    }

    /// What a fetch brings that is launched at that moment, and how long it takes.
    pub(super) fn fetch(&self, project: RecordedProject, now: Moment) -> (FetchLanding, Duration) {
        let began = |call: &RecordedCall<FetchLanding>| call.began;
        let Some(place) = nearest(&self.fetches, now, began) else {
            return (FetchLanding::Unimplemented, UNIMPLEMENTED);
        };
        let any = self.fetches[place];
        let own = self.projects.get(&project);
        let own = own.and_then(|own| {
            let place = nearest(&own.fetches, now, began)?;
            Some(own.fetches[place])
        });
        match (any.landing, own) {
            (
                FetchLanding::Failed(_) | FetchLanding::Unreachable | FetchLanding::Unimplemented,
                _,
            ) => (any.landing, any.took),
            (_, Some(own)) => (own.landing, own.took),
            // Of what is stored of another project nothing is known.
            (FetchLanding::Held(_) | FetchLanding::Nothing, None) => {
                (FetchLanding::Nothing, any.took)
            }
        }
    }

    fn brought(&mut self, call: &RecordedCall<Landing>, held: HeldMark) {
        let rollouts = self.rollouts.entry(call.asked).or_default();
        rollouts.push((call.began, held.order.rollout));
        let project = self.projects.entry(call.project).or_default();
        project.numbers.push((call.began, held.order.number));
    }

    fn is_of_all(&self, seen: SeenRender) -> bool {
        nearest(&self.of_all, seen.began, |other| other.began)
            .is_some_and(|place| self.of_all[place].began == seen.began)
    }

    /// The rollout that the renderer brings when it is asked for one: what it brought then.
    fn rollout(&self, asked: u64, now: Moment) -> u64 {
        let rollouts = self.rollouts.get(&asked);
        let rollout = rollouts.and_then(|rollouts| {
            let place = nearest(rollouts, now, |&(began, _)| began)?;
            Some(rollouts[place].1)
        });
        rollout.unwrap_or(asked)
    }

    /// The number of a project's input.
    fn number(&self, project: RecordedProject, now: Moment) -> u64 {
        let Some(own) = self.projects.get(&project) else {
            return 0;
        };
        let known = own.numbers.partition_point(|&(at, _)| at <= now);
        let until = own.numbers[..known].iter().map(|&(_, number)| number);
        let first = own.numbers.first().map(|&(_, number)| number);
        until.max().or(first).unwrap_or(0)
    }
}

/// Whether a failure may be the renderer's.
fn is_fault(landing: Landing) -> bool {
    match landing {
        Landing::Unreachable => true,
        Landing::Failed(failure) => match failure {
            CallFailure::Unavailable
            | CallFailure::Aborted
            | CallFailure::Unauthenticated
            | CallFailure::DeadlineExceeded
            | CallFailure::Exhausted(_)
            | CallFailure::Refused
            | CallFailure::Other => true,
        },
        Landing::Rejected => true,
        Landing::Held(_) | Landing::NotFound | Landing::Gone => false,
    }
}

/// Whether the render of another project that began before or after that one failed too.
fn is_among_faults(renders: &[RecordedCall<Landing>], place: usize) -> bool {
    let project = renders[place].project;
    let is_other = |call: &&RecordedCall<Landing>| call.project != project;
    let before = renders[..place].iter().rfind(is_other);
    let after = renders[place + 1..].iter().find(is_other);
    [before, after]
        .into_iter()
        .flatten()
        .any(|call| is_fault(call.landing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::tests::{at, record_of, rendered};

    fn weather(facts: &[(Moment, AdmissionFact<u32>)]) -> RendererWeather {
        let record = record_of(facts);
        let calls = RecordedCalls::of(&record);
        let (_, works) = crate::replay::RendererModel::of(&calls);
        RendererWeather::of(&record, &calls, &works)
    }

    fn well(project: u32, second: f64) -> (Moment, AdmissionFact<u32>) {
        rendered(project, second, 0.2, Landing::Held(mark(2, 1)))
    }

    fn bad(project: u32, second: f64) -> (Moment, AdmissionFact<u32>) {
        let landing = Landing::Failed(CallFailure::Unavailable);
        rendered(project, second, 0.01, landing)
    }

    fn mark(rollout: u64, number: u64) -> HeldMark {
        HeldMark {
            order: Order::new(rollout, number),
            validated_at: Moment::START,
        }
    }

    fn is_well(fate: RenderFate) -> bool {
        matches!(fate, RenderFate::Works { .. })
    }

    #[test]
    fn while_renders_of_several_fail_all_fail() {
        let weather = weather(&[
            well(0, 1.0),
            well(1, 2.0),
            bad(0, 3.0),
            bad(1, 4.0),
            well(0, 5.0),
            well(1, 6.0),
        ]);
        for (second, expected) in [(1.5, true), (3.2, false), (3.9, false), (5.1, true)] {
            for project in [0, 1, 2] {
                let fate = weather.render(project, 2, at(second));
                assert_eq!(is_well(fate), expected, "{project} at {second}");
            }
        }
    }

    #[test]
    fn what_fails_alone_fails_for_itself() {
        let weather = weather(&[
            well(0, 1.0),
            bad(9, 2.0),
            well(1, 3.0),
            bad(9, 4.0),
            well(2, 5.0),
        ]);
        for second in [1.9, 2.1, 3.0, 4.1] {
            assert!(is_well(weather.render(0, 2, at(second))), "{second}");
            assert!(!is_well(weather.render(9, 2, at(second))), "{second}");
        }
    }

    #[test]
    fn work_is_as_at_that_time_and_a_rollout_as_it_was_brought() {
        let behind = Landing::Held(mark(1, 4));
        let weather = weather(&[
            rendered(0, 10.0, 0.2, Landing::Held(mark(1, 3))),
            rendered(0, 20.0, 2.0, behind),
            rendered(1, 30.0, 0.3, Landing::Held(mark(2, 7))),
        ]);
        let work = |second| weather.work(at(second)).as_secs_f64();
        assert_eq!([work(0.0), work(19.0), work(40.0)], [0.2, 2.0, 0.3]);
        let order = |project, asked, second| match weather.render(project, asked, at(second)) {
            RenderFate::Works { order } => (order.rollout, order.number),
            RenderFate::Ends { .. } => panic!("it works"),
        };
        assert_eq!(order(0, 2, 12.0), (1, 3), "the renderer is behind");
        assert_eq!(order(0, 2, 29.0), (2, 4));
        assert_eq!(order(1, 5, 29.0), (5, 7), "nothing else is known");
    }
}
