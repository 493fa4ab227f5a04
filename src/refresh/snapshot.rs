//! What can be counted at one moment, for metrics.

use std::{num::NonZeroU32, time::Duration};

use crate::{
    admission::{Admission, Class, Gate, Limits, Stops},
    cache::Cache,
    freshness::Freshness,
    moment::Moment,
};

/// A count of everything that is held, wanted and limited.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields say it")]
pub struct Snapshot {
    pub limits: Limits,
    /// Renders per second that the pace, the ramps and the stops leave of the rate.
    pub rate_in_force: f64,
    pub stops: Stops,
    /// How many renders, and fetches, may be in flight at once: the setting, or fewer if the
    /// renderer takes fewer.
    pub renders_at_once: NonZeroU32,
    pub fetches_at_once: NonZeroU32,
    pub target: u64,
    /// Tokens, with the fraction of the next.
    pub bucket_level: f64,
    /// Renders.
    pub in_flight: usize,
    /// How long the oldest render has been in flight; zero without one.
    pub oldest_render: Duration,
    /// The median duration of the last renders that brought a revision; zero before the first.
    pub median_render: Duration,
    /// Since the renderer last answered a render, or since the start.
    pub answered_ago: Duration,
    /// Since a render last brought a revision.
    pub succeeded_ago: Option<Duration>,
    /// Since a render last failed, was rejected, or brought less than was asked for.
    pub failed_ago: Option<Duration>,
    /// How long each gate was the first to stop what was wanted, since the start, in the order of
    /// the gates.
    pub stopped: [Duration; Gate::ALL.len()],
    /// How long something was wanted, in flight or not, since the start.
    pub wanted_for: Duration,
    /// When the target was last raised.
    pub raised_at: Option<Moment>,
    /// Whether every project has heard of the target.
    pub settled: bool,
    /// Wanted projects of which nothing is held, those in flight included.
    pub wanted_missing: usize,
    /// Wanted projects of which something is held, those in flight included.
    pub wanted_outdated: usize,
    /// Projects whose last render failed, was rejected or brought less than was asked for.
    pub failing: usize,
    /// Projects that were looked up, and may lack a change that was missed.
    pub unconfirmed: usize,
    pub fresh: usize,
    pub outdated: usize,
    pub oldest_outdated: Duration,
    pub held_bytes: u64,
    /// Projects evicted, since the start.
    pub evictions: u64,
    /// Projects evicted while wanted, since the start.
    pub evicted_wanted: u64,
    /// Evicted projects that were stored again, since the start.
    pub returned: u64,
}

impl Snapshot {
    pub(super) fn of_admission(admission: &Admission, now: Moment) -> Self {
        Self {
            limits: *admission.limits(),
            rate_in_force: admission.rate_in_force(now),
            stops: admission.stops(),
            renders_at_once: admission.renders_at_once(now),
            fetches_at_once: admission.fetches_at_once(now),
            target: 0,
            bucket_level: admission.level(now),
            in_flight: admission.in_flight(),
            oldest_render: admission
                .oldest_render()
                .map_or(Duration::ZERO, |(since, _)| now.since(since)),
            median_render: admission.median_render(),
            answered_ago: Duration::ZERO,
            succeeded_ago: None,
            failed_ago: None,
            stopped: Default::default(),
            wanted_for: Duration::ZERO,
            raised_at: None,
            settled: admission.is_settled(),
            wanted_missing: admission.wanted(Class::Missing),
            wanted_outdated: admission.wanted(Class::Outdated),
            failing: admission.failing(),
            unconfirmed: admission.left_to_confirm(),
            fresh: 0,
            outdated: 0,
            oldest_outdated: Duration::ZERO,
            held_bytes: 0,
            evictions: 0,
            evicted_wanted: 0,
            returned: 0,
        }
    }

    pub(super) fn add_cache(&mut self, cache: &Cache, freshness: &Freshness, now: Moment) {
        self.target = freshness.target();
        self.held_bytes = cache.bytes();
        self.evictions = cache.evictions();
        self.evicted_wanted = cache.evicted_wanted();
        self.returned = cache.returned();
        let counts = freshness.count(&cache.counted(now));
        (self.fresh, self.outdated) = (counts.fresh, counts.outdated);
        let since = counts.outdated_since;
        self.oldest_outdated = since.map_or(Duration::ZERO, |since| now.since(since));
    }
}
