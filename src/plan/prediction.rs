//! What happens in a case: a few runs of the simulator, and the medians of what they show.

use std::time::Duration;

use super::{
    case::{Case, DEADLINE, LONGEST, Unfit},
    sample::Sampled,
    tally::{All, Tally},
};
use crate::{
    admission::Tuning,
    moment::Moment,
    simulator::{Mood, Plan, Reserving, Upkeep, WORK_STEP, World},
};

/// The medians are of runs with these seeds.
const SEEDS: [u64; 3] = [1, 2, 3];
/// The target reaches every sidecar within that time.
const SPREAD: Duration = Duration::from_secs(10);
/// The simulator's median render takes this part of the mean: ¼ + ¾ ln 2.
const MEDIAN_OF_MEAN: f64 = 0.25 + 0.75 * std::f64::consts::LN_2;
/// The most lookups of a run: beyond it they would take longer than the renders.
const MOST_LOOKUPS: f64 = 400_000.0;
/// A release in which nothing becomes fresh for this long is given up, unless the rate is very low.
const STALLED: Duration = Duration::from_secs(3600);
/// How many points a series has at most.
const POINTS: usize = 120;

/// What happens when the target is raised, from that moment on.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Which sidecars were simulated.
    pub sampled: Sampled,
    /// When everything that is wanted is fresh; none when that was not seen.
    pub fresh_after: Option<Duration>,
    /// How long it was followed.
    pub followed: Duration,
    /// The part of what is wanted that was fresh in the end.
    pub fresh: f64,
    /// Renders.
    pub renders: f64,
    /// The most renders that began within a second.
    pub most_renders: f64,
    /// The part of the renders that brought no revision.
    pub useless: f64,
    /// The median time of a render.
    pub render_time: Duration,
    /// How many cores render, on average until the end.
    pub busy: f64,
    /// The same in the busiest ten seconds.
    pub most_busy: f64,
    /// The part of lookups per second that was simulated.
    pub lookups: f64,
    /// The part of all answers that is outdated, each second.
    pub outdated: Vec<f64>,
    /// How long a step of the next two lasts.
    pub step: Duration,
    /// Renders that begin per second, in each step.
    pub per_second: Vec<f64>,
    /// Cores that render, in each step.
    pub cores: Vec<f64>,
}

/// Predicts what a release does, as the median of three runs. The same case always has the same
/// prediction.
///
/// # Errors
/// When the case is not fit.
pub fn predict(case: &Case) -> Result<Prediction, Unfit> {
    case.check()?;
    Ok(predict_by(case, Sampled::of(case)))
}

/// Predicts by simulating this many sidecars.
pub(super) fn predict_by(case: &Case, sampled: Sampled) -> Prediction {
    let mut runs = SEEDS.map(|seed| run(case, sampled, seed));
    let longest = runs.iter().map(|run| run.followed).max();
    let longest = longest.unwrap_or_default().as_secs() as usize + 1;
    let step = longest.div_ceil(POINTS);
    let step = step.next_multiple_of(WORK_STEP.as_secs() as usize);
    let middle = |value: fn(&Run) -> f64| middle(runs.each_ref().map(value));
    let seconds = |value: f64| Duration::try_from_secs_f64(value).ok();
    Prediction {
        sampled,
        fresh_after: seconds(middle(|run| {
            let after = run.all.fresh_after;
            after.map_or(f64::INFINITY, |after| after.as_secs_f64())
        })),
        followed: seconds(middle(|run| run.followed.as_secs_f64())).unwrap_or(LONGEST),
        fresh: 1.0
            - middle(|run| run.tally.left as f64)
                / (f64::from(sampled.pods) * f64::from(case.projects)),
        renders: middle(|run| run.renders),
        most_renders: middle(|run| run.all.most_begun),
        useless: middle(|run| run.tally.useless as f64 / run.tally.launches().max(1.0)),
        busy: middle(Run::busy),
        most_busy: middle(|run| {
            let most = run.worked.iter().copied().fold(0.0, f64::max);
            most / run.followed.min(WORK_STEP).as_secs_f64().max(1.0)
        }),
        lookups: runs[0].lookups,
        outdated: medians(&runs.each_ref().map(|run| run.all.outdated.clone()), last),
        step: Duration::from_secs(step as u64),
        per_second: medians(
            &runs.each_ref().map(|run| run.all.begun.per_second(step)),
            nothing,
        ),
        cores: medians(&runs.each_ref().map(|run| run.cores(step)), nothing),
        render_time: {
            let times = runs.each_mut().map(|run| run.tally.render_time());
            seconds(self::middle(times.map(|time| time.as_secs_f64()))).unwrap_or_default()
        },
    }
}

/// What one run showed.
struct Run {
    tally: Tally,
    followed: Duration,
    all: All,
    renders: f64,
    lookups: f64,
    /// Seconds of a core from the raise on, in each [`WORK_STEP`].
    worked: Vec<f64>,
}

impl Run {
    /// Cores that rendered, on average until the end.
    fn busy(&self) -> f64 {
        self.worked.iter().sum::<f64>() / self.followed.as_secs_f64().max(1.0)
    }

    /// Cores that rendered, on average in each step of that many seconds.
    fn cores(&self, step: usize) -> Vec<f64> {
        let steps = self.worked.chunks(step / WORK_STEP.as_secs() as usize);
        let cores = |work: &[f64]| work.iter().sum::<f64>() / step as f64;
        steps.map(cores).collect()
    }
}

fn run(case: &Case, sampled: Sampled, seed: u64) -> Run {
    let work = case.render_time.as_secs_f64() / MEDIAN_OF_MEAN;
    let rate_of_sample = case.rate * f64::from(sampled.pods);
    let refills = f64::from(case.burst) / case.rate;
    let raised = ((refills + 1.0) as u64).next_multiple_of(WORK_STEP.as_secs());
    let ends = raised + LONGEST.as_secs();
    let usual = f64::from(case.projects) / case.rate.min(permits(case));
    let lasts = raised as f64 + (usual + case.outage.as_secs_f64()).min(LONGEST.as_secs_f64());
    let lookups = (MOST_LOOKUPS / lasts / f64::from(sampled.pods)).min(case.lookups);
    let cores = case.renderers.unwrap_or(f64::from(u32::MAX));
    let plan = Plan {
        way: Upkeep::Admission,
        sidecars: sampled.pods as usize,
        projects: case.projects as usize,
        unknown: 0,
        rate: case.rate,
        burst: case.burst,
        concurrency: case.concurrency,
        queue: 512,
        headroom: cores / work / rate_of_sample,
        work,
        deadline: DEADLINE,
        fetch_deadline: Duration::from_secs(1),
        load: 0.0,
        missing: 0.0,
        lookups,
        offers_fetch: false,
        reserving: Reserving::Local,
        memo: 1.0,
        poisoned: 0,
        seconds: ends,
        seed,
        tuning: Tuning::DEFAULT,
    };
    let at = Moment::after_start(Duration::from_secs(raised));
    let slow = Duration::from_secs_f64(20.0 / rate_of_sample);
    let patience = case.outage + STALLED.max(slow);
    let tally = Tally::new((plan.sidecars, plan.projects), at, patience);
    let mut world = World::new(plan, tally);
    world.renderer.shed_nothing();
    world.renderer.stand_for(sampled.each());
    let outage = case.outage.as_secs_f64().ceil() as u64;
    world.script(raised, move |world| {
        if outage > 0 {
            world.renderer.mood = Mood::Unavailable;
        }
        world.release(SPREAD);
    });
    world.script(raised + outage, |world| world.renderer.mood = Mood::Working);
    let (observed, tally) = world.run();
    let from = (raised / WORK_STEP.as_secs()) as usize;
    let all = tally.all(sampled, SPREAD, seed);
    Run {
        followed: all.fresh_after.unwrap_or(observed.ended.since(at)),
        all,
        renders: tally.launches() * sampled.each(),
        lookups: lookups / case.lookups,
        worked: {
            // A sample of sidecars comes and goes more unevenly than all of them.
            let most = cores * WORK_STEP.as_secs_f64();
            let steps = observed.worked.iter().skip(from);
            steps.map(|work| work.min(most)).collect()
        },
        tally,
    }
}

/// Renders per second that the permits of a sidecar bear: three quarters of them are for refreshes.
fn permits(case: &Case) -> f64 {
    let permits = (f64::from(case.concurrency) * 0.75).max(1.0);
    permits / case.render_time.as_secs_f64()
}

/// The value in the middle of three.
fn middle(mut values: [f64; 3]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[1]
}

/// The value in the middle of three series at each point; what `then` makes of a series goes on
/// where it has ended.
fn medians(series: &[Vec<f64>; 3], then: fn(&[f64]) -> f64) -> Vec<f64> {
    let longest = series.iter().map(Vec::len).max().unwrap_or_default();
    let at = |one: &Vec<f64>, point: usize| one.get(point).copied().unwrap_or(then(one));
    let middles = (0..longest).map(|point| middle(series.each_ref().map(|one| at(one, point))));
    middles.collect()
}

/// Nothing is rendered after the end.
fn nothing(_: &[f64]) -> f64 {
    0.0
}

/// What is outdated in the end stays so.
fn last(shares: &[f64]) -> f64 {
    shares.last().copied().unwrap_or_default()
}
