//! What a run showed, second by second.

use std::{collections::BTreeMap, time::Duration};

use super::{
    plan::Plan,
    sidecar::{Convergence, SimulatedSidecar},
};
use crate::{
    admission::{CallFailure, Class, Landing},
    moment::Moment,
    reason::NotRefreshed,
};

/// Arrivals are counted in bins of this length, for windows of a second.
const BIN: Duration = Duration::from_millis(50);
const BINS: usize = 20;

/// What a run showed. Seconds count from the start of the run.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Everything that happened in the world.
    pub events: u64,
    /// Renders that were launched.
    pub launches: u64,
    /// Without a sidecar: lookups that failed of projects of which something had been held.
    pub failed_though_held: u64,
    /// How each sidecar caught up with the newest target that it learned of; none when it did not.
    pub converged: Vec<Option<Convergence>>,
    /// How often callers were told each reason.
    pub told: BTreeMap<NotRefreshed, u64>,
    /// Lookups.
    pub looked_up: Seconds,
    /// Lookups that were answered with an outdated revision.
    pub answered_outdated: Seconds,
    /// Changes and evictions.
    pub demanded: Seconds,
    /// Projects that became fresh.
    pub useful: Seconds,
    /// Renders that were pushed back because the renderer's queue was full.
    pub pushed_back: Seconds,
    /// Renders that were plainly refused.
    pub refused: Seconds,
    /// Fetches that arrived.
    pub fetched: Seconds,
    /// Fetches that were plainly refused.
    pub fetch_refused: Seconds,
    /// Asks for renders that were answered by the reserver.
    pub asks_answered: Seconds,
    /// Renders that took longer than their deadline.
    pub timed_out: Seconds,
    /// Launches in the class of outdated projects.
    pub outdated: Seconds,
    /// Lookups that reached admission of projects of which nothing was held.
    pub missing_asked: Seconds,
    /// Of them, those that were answered with a revision.
    pub missing_answered: Seconds,
    /// Of them, those that ended in an error.
    pub missing_failed: Seconds,
    /// Held projects that were dropped because the renderer no longer knew them.
    pub dropped: Seconds,
    /// Seconds of a core that renders took, in each [`WORK_STEP`].
    ///
    /// [`WORK_STEP`]: super::WORK_STEP
    pub worked: Vec<f64>,
    /// When the run ended.
    pub ended: Moment,
    offered: Vec<u32>,
    /// Renders that the rates in force allowed in each bin.
    allowed: Vec<f64>,
    /// The rate of all sidecars together.
    total_rate: f64,
}

/// A count for each second of a run.
#[derive(Clone, Debug, Default)]
pub struct Seconds(Vec<u32>);

impl Seconds {
    pub(super) fn add(&mut self, now: Moment) {
        #[expect(clippy::cast_possible_truncation, reason = "a run is short")]
        let second = now.since_start().as_secs() as usize;
        if self.0.len() <= second {
            self.0.resize(second + 1, 0);
        }
        self.0[second] += 1;
    }

    /// How many a second there were from one second up to another.
    #[expect(clippy::cast_precision_loss, reason = "a run is short")]
    pub fn mean(&self, from: u64, to: u64) -> f64 {
        f64::from(self.sum(from, to)) / (to - from) as f64
    }

    /// How many there were from one second up to another.
    #[expect(clippy::cast_possible_truncation, reason = "a run is short")]
    pub fn sum(&self, from: u64, to: u64) -> u32 {
        let seconds = self.0.iter().skip(from as usize);
        seconds.take((to - from) as usize).sum()
    }
}

impl Observed {
    pub(super) fn new(plan: &Plan) -> Self {
        let bins = Duration::from_secs(plan.seconds + 1).as_millis() / BIN.as_millis();
        Self {
            offered: vec![0; usize::try_from(bins).expect("BUG: a run is short")],
            total_rate: plan.total_rate(),
            ..Self::default()
        }
    }

    pub(super) fn offered(&mut self, now: Moment) {
        let bin = now.since_start().as_millis() / BIN.as_millis();
        self.offered[usize::try_from(bin).expect("BUG: a run is short")] += 1;
    }

    /// How long the run lasted, in seconds.
    pub fn seconds(&self) -> u64 {
        (self.offered.len() / BINS) as u64 - 1
    }

    /// The most renders that were offered in any second from one second up to another.
    pub fn peak(&self, from: u64, to: u64) -> u32 {
        let windows = self.bins(from, to).windows(BINS);
        windows
            .map(|window| window.iter().sum())
            .max()
            .unwrap_or_default()
    }

    /// Records that the rates of all sidecars together are greater by that much from now on.
    pub(super) fn rates_changed(&mut self, by: f64, now: Moment) {
        let bins = usize::try_from(now.since_start().as_millis() / BIN.as_millis());
        let bins = bins.expect("BUG: a run is short");
        let allowed = self.total_rate * BIN.as_secs_f64();
        self.allowed.resize(bins.max(self.allowed.len()), allowed);
        self.total_rate += by;
    }

    /// The most renders that were offered in a second, as a multiple of what the rates in force in
    /// it and `bursts` allowed.
    pub fn offered_share(&self, bursts: f64) -> f64 {
        let offered = self.offered.windows(BINS);
        let allowed = self.allowed.windows(BINS);
        let shares = offered.zip(allowed).map(|(offered, allowed)| {
            let allowed: f64 = allowed.iter().sum();
            f64::from(offered.iter().sum::<u32>()) / (allowed + bursts)
        });
        shares.fold(0.0, f64::max)
    }

    /// How many renders were offered a second, from one second up to another.
    #[expect(clippy::cast_precision_loss, reason = "a run is short")]
    pub fn offered_mean(&self, from: u64, to: u64) -> f64 {
        f64::from(self.bins(from, to).iter().sum::<u32>()) / (to - from) as f64
    }

    #[expect(clippy::cast_possible_truncation, reason = "a run is short")]
    fn bins(&self, from: u64, to: u64) -> &[u32] {
        let to = (to as usize * BINS).min(self.offered.len());
        &self.offered[from as usize * BINS..to]
    }

    pub(super) fn looked_up(&mut self, now: Moment) {
        self.looked_up.add(now);
    }

    pub(super) fn answered_outdated(&mut self, now: Moment) {
        self.answered_outdated.add(now);
    }

    pub(super) fn demanded(&mut self, now: Moment) {
        self.demanded.add(now);
    }

    pub(super) fn useful(&mut self, now: Moment) {
        self.useful.add(now);
    }

    pub(super) fn pushed_back(&mut self, now: Moment) {
        self.pushed_back.add(now);
    }

    pub(super) fn refused(&mut self, now: Moment) {
        self.refused.add(now);
    }

    pub(super) fn fetched(&mut self, now: Moment) {
        self.fetched.add(now);
    }

    pub(super) fn fetch_refused(&mut self, now: Moment) {
        self.fetch_refused.add(now);
    }

    pub(super) fn dropped(&mut self, now: Moment) {
        self.dropped.add(now);
    }

    pub(super) fn missing_asked(&mut self, now: Moment) {
        self.missing_asked.add(now);
    }

    pub(super) fn missing_answered(&mut self, now: Moment) {
        self.missing_answered.add(now);
    }

    pub(super) fn missing_failed(&mut self, now: Moment) {
        self.missing_failed.add(now);
    }

    pub(super) fn admitted(&mut self, now: Moment, class: Class) {
        self.launches += 1;
        if class == Class::Outdated {
            self.outdated.add(now);
        }
    }

    pub(super) fn landed(&mut self, now: Moment, landing: &Landing) {
        if *landing == Landing::Failed(CallFailure::DeadlineExceeded) {
            self.timed_out.add(now);
        }
    }

    pub(super) fn told(&mut self, reason: NotRefreshed) {
        *self.told.entry(reason).or_default() += 1;
    }

    /// Records what the run ended with.
    pub(super) fn end(&mut self, sidecars: &[SimulatedSidecar], now: Moment) {
        self.rates_changed(0.0, now);
        self.ended = now;
        let converged = sidecars.iter().map(|sidecar| sidecar.progress.converged);
        self.converged = converged.collect();
    }
}
