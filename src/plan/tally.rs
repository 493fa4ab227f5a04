//! What is counted while a world runs.

use std::{collections::HashMap, time::Duration};

use super::{last::greatest, sample::Sampled};
use crate::{
    admission::{HeldMark, Landing},
    moment::Moment,
    simulator::{Launch, Observer, ProjectId, SimulatedSidecar},
};

/// Launches are counted in bins of this length, for windows of a second.
const BIN: Duration = Duration::from_millis(50);
const BINS: usize = 20;
/// A release that takes this many renders for each wanted project is taken to have no end.
const MOST_RENDERS: usize = 10;
/// How often it is drawn when each sidecar hears of the target, unless there are very many renders
/// to count.
const DRAWS: f64 = 15.0;
/// The most renders that are counted for that.
const MOST_DRAWN: f64 = 2e7;
/// No run goes on for more events than these: with them a plan takes a minute.
const MOST_EVENTS: usize = 10_000_000;

/// Counts from the raise of the target on.
#[derive(Debug)]
pub(super) struct Tally {
    raised: Moment,
    /// A release in which nothing becomes fresh for this long is taken to have no end.
    patience: Duration,
    last_fresh: Moment,
    events: usize,
    /// The part of all lookups that is for each project.
    weights: Vec<f64>,
    /// When each sidecar learned of the target.
    learned: Vec<Duration>,
    /// When which sidecar launched a render.
    launched: Vec<(u32, Duration)>,
    flying: HashMap<(usize, ProjectId), Moment>,
    took: Vec<Duration>,
    pub(super) useless: usize,
    /// By how much the share of a sidecar's answers that are outdated rises, and when.
    rises: Vec<(u32, Duration, f64)>,
    pub(super) left: usize,
    /// When each sidecar last had something become fresh.
    finished: Vec<Duration>,
}

impl Tally {
    pub(super) fn new(
        (sidecars, projects): (usize, usize),
        raised: Moment,
        patience: Duration,
    ) -> Self {
        // As the simulator's applications look them up: by the cube of a uniform number.
        let part = |project: usize| (project as f64 / projects as f64).cbrt();
        Self {
            raised,
            patience,
            last_fresh: raised,
            events: 0,
            weights: (0..projects).map(|it| part(it + 1) - part(it)).collect(),
            learned: vec![Duration::ZERO; sidecars],
            launched: Vec::new(),
            flying: HashMap::new(),
            took: Vec::new(),
            useless: 0,
            rises: Vec::new(),
            left: sidecars * projects,
            finished: vec![Duration::ZERO; sidecars],
        }
    }

    /// Renders that were launched here.
    pub(super) fn launches(&self) -> f64 {
        self.launched.len() as f64
    }

    /// The median of how long renders took.
    pub(super) fn render_time(&mut self) -> Duration {
        self.took.sort_unstable();
        self.took
            .get(self.took.len() / 2)
            .copied()
            .unwrap_or_default()
    }

    /// What all sidecars did for which these stand: they hear of the target at other moments within
    /// `spread`. Each does as the one that hears of it at about the same moment, since the
    /// renderers are as busy then.
    pub(super) fn all(&self, sampled: Sampled, spread: Duration, seed: u64) -> All {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut later = self.later(sampled.of - sampled.pods, spread, &mut rng);
        for simulated in &mut later {
            simulated.push(0.0);
        }
        All {
            most_begun: self.most_begun(sampled, spread, &mut rng),
            begun: self.begun(&later),
            outdated: self.shares(&later, f64::from(sampled.of)),
            fresh_after: self.fresh_after(sampled),
        }
    }

    /// The most renders that all sidecars begin within a second: the median over many draws of when
    /// each of them hears of the target, as how many do so at once is mostly chance.
    fn most_begun(&self, sampled: Sampled, spread: Duration, rng: &mut fastrand::Rng) -> f64 {
        let each = self.launches() / f64::from(sampled.pods) * f64::from(sampled.of);
        let draws = (MOST_DRAWN / each.max(1.0)).clamp(1.0, DRAWS) as usize;
        let mut most: Vec<_> = (0..draws)
            .map(|_| self.begun(&self.later(sampled.of, spread, rng)).most())
            .collect();
        most.sort_by(f64::total_cmp);
        most[draws / 2]
    }

    /// When everything was fresh in all sidecars, if it was in these.
    fn fresh_after(&self, sampled: Sampled) -> Option<Duration> {
        let finished = self.finished.iter().map(Duration::as_secs_f64);
        let last = || greatest(finished.collect(), f64::from(sampled.of));
        (self.left == 0).then(|| Duration::from_secs_f64(last()))
    }

    /// By how much later than each of these, in seconds, as many others do what it does: from the
    /// first to hear of the target to the last, each stands for as many.
    fn later(&self, others: u32, spread: Duration, rng: &mut fastrand::Rng) -> Vec<Vec<f64>> {
        let moments = self.learned.iter().map(Duration::as_secs_f64);
        let mut heard: Vec<(f64, usize)> = moments.zip(0..).collect();
        heard.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let others = (0..others).map(|_| rng.f64() * spread.as_secs_f64());
        let mut others: Vec<_> = others.collect();
        others.sort_by(f64::total_cmp);
        let mut later = vec![Vec::new(); heard.len()];
        for (place, at) in others.iter().enumerate() {
            let (moment, pod) = heard[place * heard.len() / others.len()];
            later[pod].push(at - moment);
        }
        later
    }

    fn begun(&self, later: &[Vec<f64>]) -> Begun {
        let mut bins = Vec::new();
        for (pod, at) in &self.launched {
            for later in &later[*pod as usize] {
                let bin = ((at.as_secs_f64() + later) / BIN.as_secs_f64()) as usize;
                if bins.len() <= bin {
                    bins.resize(bin + 1, 0_u32);
                }
                bins[bin] += 1;
            }
        }
        Begun(bins)
    }

    /// The part of all answers that is outdated at the end of each second.
    fn shares(&self, later: &[Vec<f64>], sidecars: f64) -> Vec<f64> {
        let mut rises = Vec::new();
        for (pod, at, rise) in &self.rises {
            for later in &later[*pod as usize] {
                let second = (at.as_secs_f64() + later) as usize;
                if rises.len() <= second {
                    rises.resize(second + 1, 0.0);
                }
                rises[second] += rise / sidecars;
            }
        }
        let mut share = 0.0;
        let shares = rises.iter().map(|rise| {
            share += rise;
            f64::clamp(share, 0.0, 1.0)
        });
        shares.collect()
    }

    fn rise(&mut self, sidecar: &SimulatedSidecar, by: f64, now: Moment) {
        let at = now.since(self.raised);
        self.rises.push((number(sidecar), at, by));
    }
}

fn number(sidecar: &SimulatedSidecar) -> u32 {
    u32::try_from(sidecar.id()).expect("BUG: a sample is small")
}

/// What all sidecars did.
#[derive(Debug)]
pub(super) struct All {
    pub(super) begun: Begun,
    /// The most renders that began within a second.
    pub(super) most_begun: f64,
    /// The part of all answers that is outdated at the end of each second.
    pub(super) outdated: Vec<f64>,
    /// When everything was fresh, if it was.
    pub(super) fresh_after: Option<Duration>,
}

impl Observer for Tally {
    fn target_raised(&mut self, sidecar: &SimulatedSidecar, now: Moment) {
        self.learned[sidecar.id()] = now.since(self.raised);
        self.rise(sidecar, 1.0, now);
    }

    fn launched(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        launch: Launch,
        now: Moment,
    ) {
        if let Launch::Render { .. } = launch {
            let at = now.since(self.raised);
            self.launched.push((number(sidecar), at));
            self.flying.insert((sidecar.id(), project), now);
        }
    }

    fn landed(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        landing: Landing,
        _: Option<HeldMark>,
        now: Moment,
    ) {
        if let Some(began) = self.flying.remove(&(sidecar.id(), project)) {
            self.took.push(now.since(began));
        }
        self.useless += usize::from(!matches!(landing, Landing::Held(_)));
    }

    fn became_fresh(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {
        self.rise(sidecar, -self.weights[project], now);
        self.last_fresh = now;
        self.finished[sidecar.id()] = now.since(self.raised);
        self.left -= 1;
    }

    fn has_seen_enough(&mut self, now: Moment) -> bool {
        self.events += 1;
        let wanted = self.learned.len() * self.weights.len();
        self.left == 0
            || now.since(self.last_fresh) > self.patience
            || self.launched.len() >= MOST_RENDERS * wanted.max(100)
            || self.events >= MOST_EVENTS
    }
}

/// Renders that began, by bin.
#[derive(Debug)]
pub(super) struct Begun(Vec<u32>);

impl Begun {
    /// The most of them within a second.
    fn most(&self) -> f64 {
        let (mut most, mut sum) = (0, 0_u32);
        for (at, count) in self.0.iter().enumerate() {
            sum += count;
            if at >= BINS {
                sum -= self.0[at - BINS];
            }
            most = most.max(sum);
        }
        most.into()
    }

    /// How many there were a second, in each step of that many seconds.
    pub(super) fn per_second(&self, step: usize) -> Vec<f64> {
        let sums = self.0.chunks(step * BINS);
        sums.map(|bins| f64::from(bins.iter().sum::<u32>()) / step as f64)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods that hear of a release while the cores are idle were taken to be as quick when they
    /// hear of it later.
    #[test]
    fn those_that_are_not_simulated_do_as_the_one_that_hears_at_about_the_same_moment() {
        let [soon, late] = [Duration::ZERO, Duration::from_secs(10)];
        let mut tally = Tally::new((2, 10), Moment::START, Duration::MAX);
        tally.learned = vec![soon, late];
        tally.launched = vec![(0, soon)];
        tally.launched.extend([(1, late); 5]);
        let sampled = Sampled { pods: 2, of: 1_000 };
        let Begun(bins) = tally.all(sampled, late, 1).begun;
        // Half of them render once, the others five times.
        assert_eq!(bins.iter().sum::<u32>(), 3_000);
        let early = bins[..5 * BINS].iter().sum::<u32>();
        assert!((400..700).contains(&early), "{early}");
    }
}
