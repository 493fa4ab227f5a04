//! What can be read of a sidecar at one moment, and from which sample on a verdict looks back.

use std::{borrow::Borrow, collections::VecDeque, time::Duration};

use super::{
    facts::{MOST, rounded},
    landed::Landed,
    per_gate::PerGate,
};

/// A window ends at the last landings: enough of them to tell a share.
const LANDINGS: u64 = 20;
/// It is at most this long.
const LONGEST: Duration = Duration::from_secs(60);
/// It is at least this long, so that a share of its time means something.
pub(super) const SHORTEST: Duration = Duration::from_secs(2);
/// How long nothing may be wanted and nothing land before earlier trouble counts as over.
const QUIET: Duration = Duration::from_secs(10);
/// How long a failure counts; it counts for longer if no render has succeeded since.
const NEWS: Duration = Duration::from_secs(10);
/// A renderer hangs if its oldest render takes at least this long, and this many times longer than
/// usual.
const HANG: (Duration, u32) = (Duration::from_secs(5), 10);
/// The part of the permits that refreshes of outdated projects may hold.
const PERMITS_OF_REFRESHES: f64 = 0.75;

/// What can be read of one sidecar at one moment: gauges, and counters since its start.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names of the metrics say it")]
pub struct Sample {
    /// When it was taken, since the start.
    pub at: Duration,
    pub settings_valid: bool,
    pub connected: bool,
    pub breaker_open: bool,
    /// Whether it has a fleet's store, and renders without.
    pub apart: bool,
    pub pushed_back: bool,
    /// Renders per second.
    pub rate: f64,
    pub rate_in_force: f64,
    pub concurrency: u32,
    pub fresh: usize,
    pub outdated: usize,
    /// Wanted projects, those in flight included.
    pub wanted_missing: usize,
    pub wanted_outdated: usize,
    pub failing: usize,
    pub in_flight: usize,
    /// How long the oldest render has been in flight.
    pub oldest_render: Duration,
    /// Since the renderer last answered a render, whatever it said.
    pub answered_ago: Duration,
    /// Since a render last brought a revision; none if none has.
    pub succeeded_ago: Option<Duration>,
    /// Since a render last failed, was rejected or behind; none if none has.
    pub failed_ago: Option<Duration>,
    /// How long the last renders took; zero while none has landed.
    pub median_render: Duration,
    /// The same over the hour before; zero while that is not known.
    pub usual_render: Duration,
    /// How long all renders that ended took together.
    pub render_time: Duration,
    pub lookups: u64,
    pub lookups_outdated: u64,
    pub lookups_failed: u64,
    pub lookups_queue_full: u64,
    pub landed: Landed<u64>,
    pub evicted_wanted: u64,
    /// Evicted projects that were stored again.
    pub returned: u64,
    /// How long something was wanted, in flight or not.
    pub wanted_for: Duration,
    /// How long each gate was the first to stop what was wanted.
    pub bound: PerGate<Duration>,
}

/// The sample at which the window before `now` begins, of those `kept` in the order of time: the
/// last 20 landings, a minute, or ten seconds in which nothing was wanted and nothing landed,
/// whichever is shortest.
pub fn window<'a, Kept: Borrow<Sample>>(
    kept: &'a VecDeque<Kept>,
    now: &Sample,
) -> Option<&'a Kept> {
    let mut quiet = now.wanted() == 0;
    let mut begin = None;
    for each in kept.iter().rev() {
        let sample: &Sample = each.borrow();
        let age = now.at.saturating_sub(sample.at);
        if age > LONGEST && begin.is_some() {
            break;
        }
        begin = Some(each);
        let landed = now.landed.sum().saturating_sub(sample.landed.sum());
        let refused = now.lookups_queue_full != sample.lookups_queue_full;
        quiet = quiet && sample.wanted() == 0 && landed == 0 && !refused;
        if (landed >= LANDINGS && age >= SHORTEST) || (quiet && age >= QUIET) {
            break;
        }
    }
    begin
}

impl Sample {
    fn wanted(&self) -> usize {
        self.wanted_missing + self.wanted_outdated
    }

    /// Whether renders are accepted and not answered: the oldest takes long, and no other was
    /// answered for as long.
    pub(super) fn is_hanging(&self) -> bool {
        let (least, times) = HANG;
        let long = least.max(self.median_render.saturating_mul(times));
        self.in_flight > 0 && self.oldest_render > long && self.answered_ago > long
    }

    /// Whether renders fail: the last one did, or one a moment ago.
    pub(super) fn is_failing_now(&self) -> bool {
        let Some(failed) = self.failed_ago else {
            return false;
        };
        failed <= NEWS || self.succeeded_ago.is_none_or(|ago| ago >= failed)
    }

    /// When all that is wanted is fresh by the rate in force and the permits.
    pub(super) fn done_in(&self) -> Option<f64> {
        let wanted = self.wanted();
        if wanted == 0 || wanted <= self.failing {
            return None;
        }
        let by_permits = if self.median_render.is_zero() {
            f64::INFINITY
        } else {
            PERMITS_OF_REFRESHES * f64::from(self.concurrency) / self.median_render.as_secs_f64()
        };
        let rate = self.rate_in_force.min(by_permits);
        #[expect(clippy::cast_precision_loss, reason = "no cache holds that many")]
        let seconds = wanted as f64 / rate;
        (seconds.is_finite() && seconds < MOST).then(|| rounded(seconds))
    }
}
