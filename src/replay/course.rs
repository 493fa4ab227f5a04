//! What happened, recorded or replayed, in the same figures.

use std::{collections::HashMap, time::Duration};

use super::calls::{RecordedCalls, RecordedProject, held};
use crate::{
    admission::{AdmissionFact, FetchLanding},
    moment::Moment,
    record::Record,
};

/// A release is over when all projects are fresh that were looked up within this time of the raise.
const ASKED_WITHIN: Duration = Duration::from_secs(60);
/// How many points a series has at most.
const POINTS: u64 = 120;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// How long it lasted.
    pub lasts: Duration,
    /// Renders that began.
    pub renders: f64,
    /// The most of them within a second.
    pub most_renders: f64,
    /// The most of them in flight at once.
    pub most_at_once: f64,
    /// The part of them that brought no revision.
    pub useless: f64,
    /// The part of all lookups that was answered outdated.
    pub outdated: f64,
    /// The part of all lookups that failed.
    pub failed: f64,
    /// When the target was last raised, unless it was lowered since.
    pub raised_at: Option<Duration>,
    /// How long after that everything was fresh that was looked up within a minute of it; none when
    /// it never was, or there was no raise.
    pub fresh_after: Option<Duration>,
    /// How long a step of the next two lasts.
    pub step: Duration,
    /// The part of lookups that was answered outdated, in each step.
    pub outdated_by_step: Vec<f64>,
    /// Renders that began per second, in each step.
    pub renders_by_step: Vec<f64>,
}

/// What is written down while it happens.
#[derive(Clone, Debug, Default)]
pub(super) struct Happenings {
    pub(super) begun: Vec<Moment>,
    pub(super) most_at_once: usize,
    pub(super) useless: usize,
    answers: Vec<SecondOfAnswers>,
    pub(super) release: Option<ReplayedRelease>,
}

/// How lookups of a second were answered.
#[derive(Clone, Copy, Debug, Default)]
struct SecondOfAnswers {
    all: f64,
    outdated: f64,
    failed: f64,
}

/// How a lookup was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplayedAnswer {
    Fresh,
    Outdated,
    Failed,
}

/// A raise of the target, and how it went on.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayedRelease {
    raised_at: Moment,
    target: u64,
    /// Projects that were looked up soon enough, and when they became fresh.
    asked: HashMap<RecordedProject, Option<Moment>>,
}

impl ReplayedRelease {
    pub(super) fn new(target: u64, now: Moment) -> Self {
        Self {
            raised_at: now,
            target,
            asked: HashMap::new(),
        }
    }

    /// A project is looked up of which this rollout is held, if anything is.
    pub(super) fn looked_up(&mut self, of: RecordedProject, rollout: Option<u64>, now: Moment) {
        let is_soon = now.since(self.raised_at) <= ASKED_WITHIN;
        if is_soon && rollout.is_none_or(|rollout| rollout < self.target) {
            self.asked.entry(of).or_default();
        }
    }

    /// This rollout of a project is held from now on.
    pub(super) fn came(&mut self, of: RecordedProject, rollout: u64, now: Moment) {
        if rollout >= self.target
            && let Some(fresh) = self.asked.get_mut(&of)
        {
            fresh.get_or_insert(now);
        }
    }

    /// How long it took, if it ended.
    fn fresh_after(&self) -> Option<Duration> {
        let mut last = self.raised_at;
        for fresh in self.asked.values() {
            last = last.max((*fresh)?);
        }
        Some(last.since(self.raised_at))
    }
}

impl Happenings {
    pub(super) fn answered(&mut self, how: ReplayedAnswer, weight: f64, at: Moment) {
        let second = self.second(at);
        second.all += weight;
        match how {
            ReplayedAnswer::Fresh => {}
            ReplayedAnswer::Outdated => second.outdated += weight,
            ReplayedAnswer::Failed => second.failed += weight,
        }
    }

    fn second(&mut self, at: Moment) -> &mut SecondOfAnswers {
        let second = at.since_start().as_secs() as usize;
        if self.answers.len() <= second {
            self.answers.resize_with(second + 1, Default::default);
        }
        &mut self.answers[second]
    }

    /// The figures.
    pub(super) fn course(mut self, end: Moment) -> Course {
        let lasts = end.since_start();
        let seconds = lasts.as_secs() + 1;
        let step = seconds.div_ceil(POINTS).max(1) as usize;
        self.begun.sort_unstable();
        let sum = |of: fn(&SecondOfAnswers) -> f64| self.answers.iter().map(of).sum::<f64>();
        let all = sum(|second| second.all).max(1.0);
        let renders = self.begun.len() as f64;
        Course {
            lasts,
            renders,
            most_renders: most_within(&self.begun, Duration::from_secs(1)) as f64,
            most_at_once: self.most_at_once as f64,
            useless: self.useless as f64 / renders.max(1.0),
            outdated: sum(|second| second.outdated) / all,
            failed: sum(|second| second.failed) / all,
            raised_at: self.release.as_ref().map(|it| it.raised_at.since_start()),
            fresh_after: self.release.as_ref().and_then(ReplayedRelease::fresh_after),
            step: Duration::from_secs(step as u64),
            outdated_by_step: by_step(&self.answers, step),
            renders_by_step: per_second(&self.begun, step),
        }
    }
}

impl Course {
    /// What a record says that happened.
    pub(super) fn recorded(record: &Record, calls: &RecordedCalls) -> Self {
        let mut seen = Happenings {
            begun: calls.renders.iter().map(|call| call.began).collect(),
            most_at_once: calls.most_at_once(),
            useless: {
                let renders = calls.renders.iter();
                renders.filter(|it| held(it.landing).is_none()).count()
            },
            ..Happenings::default()
        };
        for interest in &record.interest {
            let lasts = interest.during.end.since(interest.during.start);
            let all: f64 = interest.lookups.iter().map(|&(_, it)| f64::from(it)).sum();
            let second = seen.second(interest.during.start + lasts / 2);
            second.all += all;
            second.outdated += interest.outdated as f64;
            second.failed += interest.failed as f64;
        }
        seen.release = recorded_release(record);
        seen.course(record.ends_at())
    }

    /// The figures in the middle of several courses of the same length.
    pub(super) fn median(courses: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| middle(courses.iter().map(of).collect());
        let fresh_after = middle(|course| match (course.raised_at, course.fresh_after) {
            (None, _) => -1.0,
            (Some(_), after) => after.map_or(f64::INFINITY, |after| after.as_secs_f64()),
        });
        let series = |of: fn(&Self) -> &Vec<f64>| {
            let longest = courses.iter().map(|course| of(course).len()).max();
            let at = |point| {
                let values = courses.iter().map(|it| of(it).get(point).copied());
                self::middle(values.map(|value| value.unwrap_or(0.0)).collect())
            };
            (0..longest.unwrap_or(0)).map(at).collect()
        };
        let first = courses.first();
        Self {
            lasts: first.map(|course| course.lasts).unwrap_or_default(),
            renders: middle(|course| course.renders),
            most_renders: middle(|course| course.most_renders),
            most_at_once: middle(|course| course.most_at_once),
            useless: middle(|course| course.useless),
            outdated: middle(|course| course.outdated),
            failed: middle(|course| course.failed),
            raised_at: first.and_then(|course| course.raised_at),
            fresh_after: Duration::try_from_secs_f64(fresh_after).ok(),
            step: first.map(|course| course.step).unwrap_or_default(),
            outdated_by_step: series(|course| &course.outdated_by_step),
            renders_by_step: series(|course| &course.renders_by_step),
        }
    }
}

/// How the last release of a record went.
fn recorded_release(record: &Record) -> Option<ReplayedRelease> {
    let mut target = record.start.target;
    let mut raise = None;
    for &(at, fact) in &record.facts {
        if let AdmissionFact::Target(to) = fact {
            if to != target {
                raise = (to > target).then_some((at, to));
            }
            target = to;
        }
    }
    let (raised_at, target) = raise?;
    let mut release = ReplayedRelease::new(target, raised_at);
    let mut rollouts = HashMap::new();
    let mut asked = record.interest.iter().peekable();
    for &(at, fact) in &record.facts {
        while let Some(interest) = asked.next_if(|it| it.during.start < at) {
            if interest.during.start >= raised_at {
                for &(project, _) in &interest.lookups {
                    let rollout = rollouts.get(&project).copied();
                    release.looked_up(project, rollout, interest.during.start);
                }
            }
        }
        if let Some((project, rollout)) = came(fact) {
            rollouts.insert(project, rollout);
            if at >= raised_at {
                release.came(project, rollout, at);
            }
        }
    }
    for interest in asked.filter(|it| it.during.start >= raised_at) {
        for &(project, _) in &interest.lookups {
            let rollout = rollouts.get(&project).copied();
            release.looked_up(project, rollout, interest.during.start);
        }
    }
    Some(release)
}

/// The rollout that a fact says is held of a project.
fn came(fact: AdmissionFact<RecordedProject>) -> Option<(RecordedProject, u64)> {
    let (project, mark) = match fact {
        AdmissionFact::Rendered {
            project, landing, ..
        } => (project, held(landing)?),
        AdmissionFact::Fetched {
            project,
            landing: FetchLanding::Held(held),
            ..
        }
        | AdmissionFact::Confirmed { project, held } => (project, held),
        AdmissionFact::Fetched { .. }
        | AdmissionFact::Limits(_)
        | AdmissionFact::Target(_)
        | AdmissionFact::Link(_)
        | AdmissionFact::Room(_)
        | AdmissionFact::Changed { .. }
        | AdmissionFact::GaveUp { .. } => return None,
    };
    Some((project, mark.order.rollout))
}

/// The most of these moments, in order, that lie within such a time.
fn most_within(moments: &[Moment], time: Duration) -> usize {
    let mut first = 0;
    let counts = moments.iter().enumerate().map(|(last, at)| {
        while at.since(moments[first]) >= time {
            first += 1;
        }
        last + 1 - first
    });
    counts.max().unwrap_or(0)
}

fn by_step(answers: &[SecondOfAnswers], step: usize) -> Vec<f64> {
    let steps = answers.chunks(step).map(|seconds| {
        let all: f64 = seconds.iter().map(|second| second.all).sum();
        let outdated: f64 = seconds.iter().map(|second| second.outdated).sum();
        (outdated / all.max(1.0)).min(1.0)
    });
    steps.collect()
}

fn per_second(moments: &[Moment], step: usize) -> Vec<f64> {
    let mut steps = Vec::new();
    for at in moments {
        let place = at.since_start().as_secs() as usize / step;
        if steps.len() <= place {
            steps.resize(place + 1, 0.0);
        }
        steps[place] += 1.0 / step as f64;
    }
    steps
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
