//! What a run showed.

use std::{collections::BTreeMap, time::Duration};

use super::{sidecar::Convergence, sim::Plan};
use crate::{
    admission::{CallFailure, Class, Landing},
    moment::Moment,
    reason::{NotRefreshed, Refusal},
};

/// Arrivals are counted in bins of so long, for windows of a second.
const BIN: Duration = Duration::from_millis(50);
const BINS: usize = 20;
/// The median of fewer promises says nothing.
const LEAST_PROMISES: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) events: u64,
    pub(super) lookups: u64,
    pub(super) launches: u64,
    /// Of them, those that are not the first for the same wish: a project came to be wanted, was launched, and is wanted still.
    pub(super) repeats: u64,
    /// Of these, those for callers who waited all the time.
    pub(super) retries: u64,
    /// Launches of what was fresh.
    pub(super) wasted: u64,
    /// The most launches of a sidecar from a pushback that held everything to the next.
    pub(super) attempts_in_hold: u32,
    pub(super) pushed_back_for_others: u64,
    pub(super) largest_excess: f64,
    /// Callers who were told to wait and of whom the machine then knew nothing, or who were woken for nothing.
    pub(super) forgotten: usize,
    /// Of the incident's way: lookups that failed of projects of which something had been held.
    pub(super) failed_though_held: u64,
    /// Projects that are outdated though they were looked up long ago, and not so long that nobody is interested any more.
    pub(super) unfresh: usize,
    pub(super) untrue: Vec<(Moment, usize, usize, NotRefreshed)>,
    pub(super) converged: Vec<Option<Convergence>>,
    pub(super) told: BTreeMap<NotRefreshed, u64>,
    /// How long things took, as a multiple of what was promised.
    pub(super) promises: BTreeMap<NotRefreshed, Vec<(Moment, f64, f64)>>,
    pub(super) demanded: Seconds,
    pub(super) useful: Seconds,
    pub(super) pushed_back: Seconds,
    /// Renders that were plainly refused.
    pub(super) refused: Seconds,
    /// Fetches that arrived, and those of them that were plainly refused.
    pub(super) fetched: Seconds,
    pub(super) fetch_refused: Seconds,
    pub(super) timed_out: Seconds,
    /// Launches in the class of outdated projects.
    pub(super) outdated: Seconds,
    pub(super) missing_asked: Seconds,
    pub(super) missing_answered: Seconds,
    pub(super) missing_failed: Seconds,
    offered: Vec<u32>,
    /// Renders that the rates in force allowed in each bin.
    allowed: Vec<f64>,
    /// The rate of all sidecars together.
    fleet_rate: f64,
}

/// A count for each second of a run.
#[derive(Debug, Default)]
pub(super) struct Seconds(Vec<u32>);

impl Seconds {
    fn add(&mut self, now: Moment) {
        #[expect(clippy::cast_possible_truncation, reason = "a run is short")]
        let second = now.since_start().as_secs() as usize;
        if self.0.len() <= second {
            self.0.resize(second + 1, 0);
        }
        self.0[second] += 1;
    }

    /// How many a second there were from one second up to another.
    #[expect(clippy::cast_precision_loss, reason = "a run is short")]
    pub(super) fn mean(&self, from: u64, to: u64) -> f64 {
        f64::from(self.sum(from, to)) / (to - from) as f64
    }

    #[expect(clippy::cast_possible_truncation, reason = "a run is short")]
    pub(super) fn sum(&self, from: u64, to: u64) -> u32 {
        let seconds = self.0.iter().skip(from as usize);
        seconds.take((to - from) as usize).sum()
    }
}

impl Observed {
    pub(super) fn new(plan: &Plan) -> Self {
        let bins = Duration::from_secs(plan.seconds + 1).as_millis() / BIN.as_millis();
        Self {
            offered: vec![0; usize::try_from(bins).expect("BUG: a run is short")],
            fleet_rate: plan.fleet_rate(),
            ..Self::default()
        }
    }

    pub(super) fn offered(&mut self, now: Moment) {
        let bin = now.since_start().as_millis() / BIN.as_millis();
        self.offered[usize::try_from(bin).expect("BUG: a run is short")] += 1;
    }

    /// The most renders that were offered in any second from one second up to another.
    pub(super) fn peak(&self, from: u64, to: u64) -> u32 {
        let windows = self.bins(from, to).windows(BINS);
        windows
            .map(|window| window.iter().sum())
            .max()
            .unwrap_or_default()
    }

    /// Notes that the rates of all sidecars together are greater by that much from now on.
    pub(super) fn rates_changed(&mut self, by: f64, now: Moment) {
        let bins = usize::try_from(now.since_start().as_millis() / BIN.as_millis());
        let bins = bins.expect("BUG: a run is short");
        let allowed = self.fleet_rate * BIN.as_secs_f64();
        self.allowed.resize(bins.max(self.allowed.len()), allowed);
        self.fleet_rate += by;
    }

    /// The most renders that were offered in a second, as a multiple of what the rates in force in it and `bursts` allowed.
    pub(super) fn offered_share(&self, bursts: f64) -> f64 {
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
    pub(super) fn offered_mean(&self, from: u64, to: u64) -> f64 {
        f64::from(self.bins(from, to).iter().sum::<u32>()) / (to - from) as f64
    }

    #[expect(clippy::cast_possible_truncation, reason = "a run is short")]
    fn bins(&self, from: u64, to: u64) -> &[u32] {
        let to = (to as usize * BINS).min(self.offered.len());
        &self.offered[from as usize * BINS..to]
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
        if class == Class::Outdated {
            self.outdated.add(now);
        }
    }

    pub(super) fn launched(&mut self, repeats: bool, is_retry: bool) {
        self.launches += 1;
        self.repeats += u64::from(repeats);
        self.retries += u64::from(is_retry);
    }

    /// Notes how many launches there were since everything was held.
    pub(super) fn held(&mut self, attempts: u32) {
        self.attempts_in_hold = self.attempts_in_hold.max(attempts);
    }

    pub(super) fn landed(&mut self, now: Moment, landing: &Landing) {
        if *landing == Landing::Failed(CallFailure::DeadlineExceeded) {
            self.timed_out.add(now);
        }
    }

    pub(super) fn excess(&mut self, excess: f64) {
        self.largest_excess = self.largest_excess.max(excess);
    }

    pub(super) fn told(&mut self, reason: NotRefreshed) {
        *self.told.entry(reason).or_default() += 1;
    }

    pub(super) fn kept_promise(&mut self, now: Moment, at: Moment, refusal: Refusal) {
        let promise = (
            at,
            refusal.retry_after.as_secs_f64(),
            now.since(at).as_secs_f64(),
        );
        self.promises
            .entry(refusal.reason)
            .or_default()
            .push(promise);
    }

    /// The median of how long things took as a multiple of what was promised, where that was long enough to matter; none of too few.
    pub(super) fn honesty(&self, reason: NotRefreshed, from: u64, to: u64) -> Option<f64> {
        let promises = self.promises.get(&reason)?;
        let mut ratios: Vec<_> = promises
            .iter()
            .filter(|(at, after, _)| {
                *after >= 0.5 && (from..to).contains(&at.since_start().as_secs())
            })
            .map(|(_, after, took)| took / after)
            .collect();
        ratios.sort_by(f64::total_cmp);
        (ratios.len() >= LEAST_PROMISES).then(|| ratios[ratios.len() / 2])
    }

    /// One line.
    #[expect(clippy::cast_precision_loss, reason = "it is only shown")]
    pub(super) fn summary(&self, plan: &Plan) -> String {
        let end = plan.seconds;
        let slowest = self
            .converged
            .iter()
            .flatten()
            .map(|converged| converged.took.as_secs_f64())
            .fold(0.0, f64::max);
        let reasons = self.promises.keys();
        let honesty: Vec<_> = reasons
            .map(|&reason| (reason, self.honesty(reason, 0, end)))
            .collect();
        let unconverged = self.converged.iter().filter(|one| one.is_none()).count();
        format!(
            "events {} launches {} repeats {} retries {} wasted {} in a hold {} forgotten {} peak {}/s of {:.0}/s excess {:.2} pushed back {} timed out {} missing {}/{} refused {} fetches {} refused {} unfresh {} converged in {slowest:.0} s (not {unconverged}) took as long as promised {:.2?} untrue {} told {:?}",
            self.events,
            self.launches,
            self.repeats,
            self.retries,
            self.wasted,
            self.attempts_in_hold,
            self.forgotten,
            self.peak(0, end),
            plan.sidecars as f64 * plan.rate,
            self.largest_excess,
            self.pushed_back.sum(0, end),
            self.timed_out.sum(0, end),
            self.missing_answered.sum(0, end),
            self.missing_asked.sum(0, end),
            self.refused.sum(0, end),
            self.fetched.sum(0, end),
            self.fetch_refused.sum(0, end),
            self.unfresh,
            honesty,
            self.untrue.len(),
            self.told,
        )
    }
}
