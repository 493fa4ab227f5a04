//! What a storm came to: counts, percentiles, and series over time. Pure functions of what was
//! observed.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    StormTerms,
    callers::{AfterRelease, longest_of_held},
    load::{LookupSample, SampleResult, UNSAID},
    observed::StormObserved,
};
use crate::renderer::Fault;

/// From one point of a series to the next.
pub(super) const STEP: Duration = Duration::from_millis(100);

/// The time before a point of a series over which that point counts.
const WINDOW: Duration = Duration::from_secs(1);

/// The shortest time over which a point counts, just after the storm has begun.
const LEAST: Duration = Duration::from_millis(500);

/// How much later than it happened something may be seen, beside what the threads that see it were
/// late.
const TRAVEL: Duration = Duration::from_millis(50);

/// What a storm came to. Where nothing else is said, it is counted from the release on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// For how long it was counted.
    pub lasted: Duration,
    /// Lookups answered with what was held fresh.
    pub fresh: usize,
    /// Lookups answered with what became fresh while they waited.
    pub rendered: usize,
    /// Lookups answered with what is outdated, by reason.
    pub outdated: BTreeMap<&'static str, usize>,
    /// Lookups that failed.
    pub failed: usize,
    /// Lookups that failed before the release.
    pub failed_before: usize,
    /// How long all of them took.
    pub latencies: Latencies,
    /// The longest that a lookup took of a project that was held, since the storm began.
    pub longest_of_held: Duration,
    /// Renders that the renderer was asked for.
    pub asked: usize,
    /// Renders that it did.
    pub done: u64,
    /// Stored revisions that it was asked for.
    pub fetched: u64,
    /// Renders that it was asked for in the worst second.
    pub most_in_a_second: usize,
    /// Renders that it was asked for beyond the budget, in the worst window of the storm: those
    /// that may have been late by the [tolerance](Self::tolerance) are not counted. None when
    /// within.
    pub beyond_budget: Option<f64>,
    /// Renders that the renderer had to do at once, since its start.
    pub most_in_flight: u64,
    /// How long after the release was known every project was fresh, by the count of who answers
    /// and by what the callers got.
    pub fresh_after: Option<Duration>,
    /// How many projects are not fresh at the end.
    pub not_fresh: usize,
    /// The fault.
    pub fault: Option<Fault>,
    /// How long after the end of the fault every project was fresh; zero when it was before.
    pub recovered_after: Option<Duration>,
    /// The longest that the thread of the renderer or of the callers was late during the storm: how
    /// busy the machine was.
    pub late: Duration,
    /// All of it over time.
    pub series: Series,
}

/// Percentiles of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// The median.
    pub p50: Duration,
    /// What one in a hundred exceeds.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// What went on, from the start of the storm in steps of a tenth of a second; rates are of the
/// second before each point.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    /// When the release came, in seconds.
    pub release: f64,
    /// When the fault began and ended, in seconds.
    pub fault: Option<(f64, f64)>,
    /// Lookups answered fresh, per second.
    pub fresh: Vec<usize>,
    /// Lookups answered outdated, per second.
    pub outdated: Vec<usize>,
    /// Lookups that failed, per second.
    pub failed: Vec<usize>,
    /// Renders that the renderer was asked for, per second.
    pub renders: Vec<usize>,
    /// Projects that are fresh.
    pub projects_fresh: Vec<usize>,
}

impl Measured {
    pub(super) fn of(seen: &StormObserved, terms: &StormTerms) -> Self {
        let (before, after): (Vec<&LookupSample>, Vec<&LookupSample>) =
            seen.samples.iter().partition(|it| it.at < seen.release);
        let came_to = |result: SampleResult| after.iter().filter(|it| it.result == result).count();
        let mut outdated = BTreeMap::new();
        for sample in &after {
            if let SampleResult::Outdated(reason) = sample.result {
                *outdated.entry(reason).or_default() += 1;
            }
        }
        let projects = terms.projects.get();
        let calls = seen.renders.calls.iter();
        let arrivals: Vec<_> = calls
            .filter_map(|call| call.arrived.checked_sub(seen.began))
            .collect();
        let since = arrivals.partition_point(|it| *it < seen.release);
        let callers = AfterRelease::of(seen, projects);
        let fresh_at = seen.fresh_at(projects).filter(|_| callers.not_fresh == 0);
        let fresh_at = fresh_at.map(|at| at.max(callers.last_outdated));
        let counted = seen.fresh.last().map_or(0, |(_, fresh)| *fresh);
        let recovered_after = seen.fault.zip(fresh_at);
        Self {
            lasted: seen.length.saturating_sub(seen.release),
            fresh: came_to(SampleResult::Fresh),
            rendered: came_to(SampleResult::Rendered),
            outdated,
            failed: came_to(SampleResult::Failed),
            failed_before: before
                .iter()
                .filter(|it| it.result == SampleResult::Failed)
                .count(),
            longest_of_held: longest_of_held(seen, terms),
            latencies: Latencies::of(after.iter().map(|it| it.took).collect()),
            asked: arrivals.len() - since,
            done: seen.renders.rendered - seen.done_before,
            fetched: seen.renders.fetched - seen.fetched_before,
            most_in_a_second: most_within(&arrivals[since..], WINDOW),
            beyond_budget: beyond_budget(&arrivals, terms, seen),
            most_in_flight: seen.renders.most_in_flight,
            fresh_after: fresh_at.map(|at| at.saturating_sub(seen.learned)),
            not_fresh: projects.saturating_sub(counted).max(callers.not_fresh),
            fault: terms.fault.map(|(fault, _)| fault),
            recovered_after: recovered_after.map(|((_, ended), at)| at.saturating_sub(ended)),
            late: seen.late,
            series: Series::of(seen, &arrivals),
        }
    }

    /// Lookups that were answered.
    pub fn answered(&self) -> usize {
        self.fresh + self.rendered + self.outdated.values().sum::<usize>()
    }

    /// Lookups whose answer was outdated and called itself fresh.
    pub fn unsaid(&self) -> usize {
        self.outdated.get(UNSAID).copied().unwrap_or(0)
    }

    /// How much later than it happened something may have been seen.
    pub fn tolerance(&self) -> Duration {
        TRAVEL + self.late
    }
}

impl Latencies {
    /// Of any durations; zero when there are none.
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |percent: usize| {
            let rank = (durations.len() * percent).div_ceil(100).max(1);
            durations.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

impl Series {
    fn of(seen: &StormObserved, arrivals: &[Duration]) -> Self {
        let ends = |is: fn(&LookupSample) -> bool| {
            let mut ends: Vec<_> = seen
                .samples
                .iter()
                .filter(|it| is(it))
                .map(|it| it.at)
                .collect();
            ends.sort_unstable();
            per_second(&ends, seen.length)
        };
        let projects_fresh = points(seen.length).map(|at| {
            let before = seen.fresh.partition_point(|(then, _)| *then <= at);
            seen.fresh
                .get(before.saturating_sub(1))
                .map_or(0, |(_, fresh)| *fresh)
        });
        Self {
            release: seen.release.as_secs_f64(),
            fault: seen
                .fault
                .map(|(from, to)| (from.as_secs_f64(), to.as_secs_f64())),
            fresh: ends(|it| matches!(it.result, SampleResult::Fresh | SampleResult::Rendered)),
            outdated: ends(|it| matches!(it.result, SampleResult::Outdated(_))),
            failed: ends(|it| it.result == SampleResult::Failed),
            renders: per_second(arrivals, seen.length),
            projects_fresh: projects_fresh.collect(),
        }
    }
}

fn points(length: Duration) -> impl Iterator<Item = Duration> {
    let count = u32::try_from(length.as_millis() / STEP.as_millis()).unwrap_or(u32::MAX);
    (0..=count).map(|step| STEP * step)
}

/// How many of these sorted moments lie in the second before each point; projected, before a second
/// has passed.
fn per_second(moments: &[Duration], length: Duration) -> Vec<usize> {
    let until = |end: Duration| moments.partition_point(|it| *it < end);
    let before = |at: Duration| {
        let at = at.max(LEAST);
        let from = at.saturating_sub(WINDOW);
        let seconds = (at - from).as_secs_f64();
        ((until(at) - until(from)) as f64 / seconds).round() as usize
    };
    points(length).map(before).collect()
}

/// The most of these sorted moments that lie in any window of that length.
fn most_within(moments: &[Duration], window: Duration) -> usize {
    let within = moments
        .iter()
        .enumerate()
        .map(|(first, from)| moments.partition_point(|it| *it < *from + window) - first);
    within.max().unwrap_or(0)
}

/// By how much the arrivals exceed, in their worst window, what the budget allows: the burst, once
/// for each process, and the rate.
fn beyond_budget(arrivals: &[Duration], terms: &StormTerms, seen: &StormObserved) -> Option<f64> {
    let late = (TRAVEL + seen.late).as_secs_f64();
    let allowed =
        f64::from(terms.burst.get()) + f64::from(seen.pods.saturating_sub(1)) + terms.rate * late;
    // Of all windows that end with an arrival, the worst begins where the count lags the refill
    // most.
    let (mut least, mut worst) = (f64::INFINITY, 0.0_f64);
    for (count, arrived) in arrivals.iter().enumerate() {
        let ahead = count as f64 - terms.rate * arrived.as_secs_f64();
        least = least.min(ahead);
        worst = worst.max(ahead - least + 1.0 - allowed);
    }
    (worst > 0.0).then_some(worst)
}

#[cfg(test)]
mod tests;
