//! The facts that a verdict is about: what became of a sidecar, or of a fleet, within a window.

use serde::{Deserialize, Serialize};

use super::{
    landed::Landed,
    per_gate::PerGate,
    sample::{SHORTEST, Sample},
};

/// What two samples of a sidecar say together, or those of a fleet: gauges as they are now, and
/// counts within a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// How many sidecars these are the facts of.
    pub sidecars: u32,
    /// Those whose settings files are bad.
    pub settings_bad: u32,
    /// Those without a connection.
    pub disconnected: u32,
    /// Those that have a fleet's store, and render without.
    pub apart: u32,
    /// Those whose breaker is open.
    pub broken: u32,
    /// Those whom the renderer pushed back.
    pub pushed_back: u32,
    /// Those whose renders are accepted and not answered.
    pub hanging: u32,
    /// Those whose last landing failed, or one within 10 s did.
    pub failing_now: u32,
    /// Renders per second that are set, all together.
    pub rate: f64,
    /// What is left of them.
    pub rate_in_force: f64,
    /// Permits.
    pub concurrency: u32,
    /// Held projects that are fresh.
    pub fresh: u32,
    /// Held projects that are outdated, wanted or not.
    pub outdated: u32,
    /// Wanted projects of which nothing is held.
    pub wanted_missing: u32,
    /// Wanted projects of which something is held.
    pub wanted_outdated: u32,
    /// Projects whose last render failed, was rejected or behind.
    pub failing: u32,
    /// Renders in flight.
    pub in_flight: u32,
    /// The age of the oldest of them, in seconds.
    #[serde(rename = "oldest")]
    pub oldest_seconds: f64,
    /// How long a render usually takes now; 0 when that is not known.
    #[serde(rename = "median")]
    pub median_seconds: f64,
    /// How long the renders that ended within the window took on average; 0 without one.
    #[serde(rename = "mean")]
    pub mean_seconds: f64,
    /// How long it took in the hour before; 0 when that is not known.
    #[serde(rename = "usual")]
    pub usual_seconds: f64,
    /// When all that is wanted is fresh, if all goes on as it does; none when nothing tells.
    #[serde(rename = "done_in")]
    pub done_in_seconds: Option<f64>,
    /// How long the window is.
    #[serde(rename = "window")]
    pub window_seconds: f64,
    /// Lookups within it.
    pub lookups: u32,
    /// Those of them that were answered outdated.
    pub lookups_outdated: u32,
    /// Those that failed.
    pub lookups_failed: u32,
    /// Those that failed because too many waited.
    #[serde(rename = "queue_full")]
    pub lookups_queue_full: u32,
    /// Wanted projects that were evicted within the window.
    pub evicted_wanted: u32,
    /// Evicted projects that were stored again.
    pub returned: u32,
    /// Renders that landed, per second.
    pub renders_per_second: f64,
    /// Renders that landed within the window.
    pub landed: Landed<u32>,
    /// For which part of the time in which something was wanted, within the window, each gate was
    /// the first to stop it; of a fleet the sum of the parts. A time of less than 2 s counts as 2
    /// s.
    pub bound: PerGate<f64>,
}

impl Facts {
    /// What became of one sidecar from one sample to a later one.
    pub fn between(before: &Sample, now: &Sample) -> Self {
        let window = now.at.saturating_sub(before.at);
        let landed = now.landed.since(&before.landed);
        let renders = f64::from(landed.sum());
        let seconds = window.as_secs_f64().max(0.001);
        let render_time = now.render_time.saturating_sub(before.render_time);
        // What was before a release does not hide what stops it.
        let wanted_for = now.wanted_for.saturating_sub(before.wanted_for);
        let wanted_seconds = wanted_for.max(SHORTEST).as_secs_f64().min(seconds);
        Self {
            sidecars: 1,
            settings_bad: (!now.settings_valid).into(),
            disconnected: (!now.connected).into(),
            apart: now.apart.into(),
            broken: now.breaker_open.into(),
            pushed_back: now.pushed_back.into(),
            hanging: now.is_hanging().into(),
            failing_now: now.is_failing_now().into(),
            rate: rounded(now.rate),
            rate_in_force: rounded(now.rate_in_force),
            concurrency: now.concurrency,
            fresh: count(now.fresh as u64),
            outdated: count(now.outdated as u64),
            wanted_missing: count(now.wanted_missing as u64),
            wanted_outdated: count(now.wanted_outdated as u64),
            failing: count(now.failing as u64),
            in_flight: count(now.in_flight as u64),
            oldest_seconds: rounded(now.oldest_render.as_secs_f64()),
            median_seconds: rounded(now.median_render.as_secs_f64()),
            mean_seconds: rounded(render_time.as_secs_f64() / renders.max(1.0)),
            usual_seconds: rounded(now.usual_render.as_secs_f64()),
            done_in_seconds: now.done_in(),
            window_seconds: rounded(window.as_secs_f64()),
            lookups: rise(now.lookups, before.lookups),
            lookups_outdated: rise(now.lookups_outdated, before.lookups_outdated),
            lookups_failed: rise(now.lookups_failed, before.lookups_failed),
            lookups_queue_full: rise(now.lookups_queue_full, before.lookups_queue_full),
            evicted_wanted: rise(now.evicted_wanted, before.evicted_wanted),
            returned: rise(now.returned, before.returned),
            renders_per_second: rounded(renders / seconds),
            landed,
            bound: now.bound.part_of(&before.bound, wanted_seconds),
        }
    }

    /// The facts of a fleet: counts and rates are sums, ages the highest, render times those of the
    /// sidecar in the middle.
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        let (mut medians, mut means, mut usual) = (Vec::new(), Vec::new(), Vec::new());
        for one in all {
            sum.add(one);
            medians.extend((one.median_seconds > 0.0).then_some(one.median_seconds));
            means.extend((one.mean_seconds > 0.0).then_some(one.mean_seconds));
            usual.extend((one.usual_seconds > 0.0).then_some(one.usual_seconds));
        }
        sum.median_seconds = middle(medians);
        sum.mean_seconds = middle(means);
        sum.usual_seconds = middle(usual);
        sum
    }

    fn add(&mut self, one: &Self) {
        for (sum, one) in [
            (&mut self.sidecars, one.sidecars),
            (&mut self.settings_bad, one.settings_bad),
            (&mut self.disconnected, one.disconnected),
            (&mut self.apart, one.apart),
            (&mut self.broken, one.broken),
            (&mut self.pushed_back, one.pushed_back),
            (&mut self.hanging, one.hanging),
            (&mut self.failing_now, one.failing_now),
            (&mut self.concurrency, one.concurrency),
            (&mut self.fresh, one.fresh),
            (&mut self.outdated, one.outdated),
            (&mut self.wanted_missing, one.wanted_missing),
            (&mut self.wanted_outdated, one.wanted_outdated),
            (&mut self.failing, one.failing),
            (&mut self.in_flight, one.in_flight),
            (&mut self.lookups, one.lookups),
            (&mut self.lookups_outdated, one.lookups_outdated),
            (&mut self.lookups_failed, one.lookups_failed),
            (&mut self.lookups_queue_full, one.lookups_queue_full),
            (&mut self.evicted_wanted, one.evicted_wanted),
            (&mut self.returned, one.returned),
        ] {
            *sum = sum.saturating_add(one);
        }
        for (sum, one) in self.landed.all_mut().into_iter().zip(one.landed.all()) {
            *sum = sum.saturating_add(one);
        }
        for (sum, one) in self.bound.all_mut().into_iter().zip(one.bound.all()) {
            *sum = rounded(*sum + one);
        }
        for (sum, one) in [
            (&mut self.rate, one.rate),
            (&mut self.rate_in_force, one.rate_in_force),
            (&mut self.renders_per_second, one.renders_per_second),
        ] {
            *sum = rounded(*sum + one);
        }
        self.oldest_seconds = self.oldest_seconds.max(one.oldest_seconds);
        self.window_seconds = self.window_seconds.max(one.window_seconds);
        let done = [self.done_in_seconds, one.done_in_seconds];
        self.done_in_seconds = done.into_iter().flatten().reduce(f64::max);
    }

    /// Wanted projects that are not fresh.
    pub fn left(&self) -> u32 {
        self.wanted_missing.saturating_add(self.wanted_outdated)
    }

    /// A part of the sidecars.
    pub(super) fn part(&self, of: u32) -> f64 {
        f64::from(of) / f64::from(self.sidecars.max(1))
    }

    /// A part of the landings; 0 without one.
    pub(super) fn part_landed(&self, of: u32) -> f64 {
        f64::from(of) / f64::from(self.landed.sum().max(1))
    }

    /// For which part of the time a gate was the first to stop what was wanted, on average of the
    /// sidecars.
    pub fn part_bound(&self, by: f64) -> f64 {
        by / f64::from(self.sidecars.max(1))
    }

    /// Landings that say that the renderer cannot do its work.
    pub(super) fn failures(&self) -> u32 {
        let landed = &self.landed;
        [landed.unavailable, landed.failed, landed.deadline_exceeded]
            .into_iter()
            .fold(0, u32::saturating_add)
    }
}

/// Beyond this, a figure only tells that it is large, so that what is shown has a longest length.
pub(super) const MOST: f64 = 1e9;

/// A figure with three decimals, or the precision of three digits below that.
pub(super) fn rounded(figure: f64) -> f64 {
    if !figure.is_finite() {
        return 0.0;
    }
    let figure = figure.clamp(0.0, MOST);
    let steps = if figure < 0.1 { 1e6 } else { 1e3 };
    (figure * steps).round() / steps
}

pub(super) fn count(of: u64) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

pub(super) fn rise(now: u64, before: u64) -> u32 {
    count(now.saturating_sub(before))
}

/// The one in the middle; 0 without one.
fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
