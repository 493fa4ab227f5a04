//! What is counted while a world runs.

use std::{collections::HashMap, time::Duration};

use super::sample::Sampled;
use crate::{
    admission::{HeldMark, Landing},
    moment::Moment,
    simulator::{Launch, Observer, ProjectId, SimulatedSidecar},
};

/// Launches are counted in bins of this length, for windows of a second.
const BIN: Duration = Duration::from_millis(50);
const BINS: usize = 20;
/// A release that takes so many renders for each project that is wanted comes to no end.
const MOST_RENDERS: usize = 10;
/// No run goes on for more events than these: with them a plan takes a minute.
const MOST_EVENTS: usize = 10_000_000;

/// Counts from the raise of the target on.
#[derive(Debug)]
pub(super) struct Tally {
    raised: Moment,
    /// A release in which nothing becomes fresh for so long comes to no end.
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
    fresh_after: Option<Duration>,
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
            fresh_after: None,
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

    /// What all sidecars did for which these stand: as these do, but having learned of the target at other moments within
    /// `spread`.
    pub(super) fn all(&self, sampled: Sampled, spread: Duration, seed: u64) -> All {
        let later = self.later(sampled, spread.as_secs_f64(), seed);
        All {
            begun: self.begun(&later),
            outdated: self.shares(&later, f64::from(sampled.of)),
            fresh_after: self.fresh_after,
        }
    }

    /// By how much later, in seconds, those for which each sidecar stands do what it does, itself first.
    fn later(&self, sampled: Sampled, spread: f64, seed: u64) -> Vec<Vec<f64>> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut later = Vec::new();
        for (pod, learned) in (0..).zip(&self.learned) {
            let own = learned.as_secs_f64();
            let more = (1..sampled.stands_for(pod)).map(|_| rng.f64() * spread - own);
            later.push([0.0].into_iter().chain(more).collect());
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
        self.left -= 1;
        if self.left == 0 {
            self.fresh_after = Some(now.since(self.raised));
        }
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
    pub(super) fn most(&self) -> f64 {
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
