//! What an operator sets, and the one table of constants behind it.

use std::{num::NonZeroU32, time::Duration};

use super::Class;

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Renders per second of this sidecar; 0 admits none.
    pub rate: f64,
    /// The most renders that may have been saved up.
    pub burst: NonZeroU32,
    /// The most renders in flight at once.
    pub concurrency: NonZeroU32,
    /// The most missing projects that wait for a render, and again as many that are wanted though nobody waits any more.
    pub queue: NonZeroU32,
    /// The limits of fetches, which stand outside the budget of renders.
    pub fetch: FetchLimits,
}

/// The limits of fetches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FetchLimits {
    /// Fetches per second; 0 admits none.
    pub rate: f64,
    /// The most fetches in flight at once, and the burst of their bucket.
    pub concurrency: NonZeroU32,
}

impl Limits {
    /// How many permits projects of that class may hold, or those of them whose last render failed.
    pub(super) fn permits(&self, class: Class, is_cooling: bool) -> u32 {
        let permits = match class {
            Class::Missing => self.concurrency.get(),
            Class::Outdated => self.outdated_permits(),
        };
        if is_cooling {
            permits.min(self.cooling_permits())
        } else {
            permits
        }
    }

    /// How many permits refreshes of outdated projects may hold: a quarter, and at least one, is left to missing projects.
    pub(super) fn outdated_permits(&self) -> u32 {
        match self.concurrency.get() {
            1 => 1,
            limit => limit - (limit / 4).max(1),
        }
    }

    /// How many permits all projects together may hold whose last render failed.
    pub(super) fn cooling_permits(&self) -> u32 {
        (self.concurrency.get() / 4).max(1)
    }
}

/// Full jitter: U(0, min(most, first × 2^n)) (M. Brooker, "Exponential Backoff and Jitter", AWS architecture blog, 2015).
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// The longest wait.
    #[cfg(test)]
    pub(super) fn most(self) -> Duration {
        self.most
    }

    /// Draws a wait after so many before it.
    pub(super) fn draw(self, before: u32, rng: &mut fastrand::Rng) -> Duration {
        let grown = self.first * 2_u32.pow(before.min(16));
        grown.min(self.most).mul_f64(rng.f64())
    }
}

// A page of the architecture lists these with their sources.

/// How long a lookup counts as interest in its project.
pub(super) const INTEREST: Duration = Duration::from_secs(600);
/// The longest that it counts where those that are wanted take longer.
pub(super) const LONGEST_INTEREST: Duration = Duration::from_secs(86_400);
/// How much longer than its rate and its permits say convergence may take.
pub(super) const CONVERGENCE: f64 = 1.1;
/// The time in which a second with a lookup loses all but 1/e of its weight.
pub(super) const WEIGHT_DECAY: Duration = Duration::from_secs(60);
/// Of so many refreshes of outdated projects, one goes to the longest wanted, so that none starves.
pub(super) const AGING_TURN: u32 = 8;
/// Of so many tokens, one goes to an outdated project even while missing ones wait.
pub(super) const OUTDATED_TURN: u32 = 10;
/// The longest that the first token is held back from a missing project.
pub(super) const MISSING_START: Duration = Duration::from_secs(1);
/// How long a project that was rendered because of a raised target waits until it is rendered for the next.
pub(super) const RAISE_INTERVAL: Duration = Duration::from_secs(10);
/// The range of cool-downs of an outdated project.
pub(super) const OUTDATED_COOL_DOWN: (Duration, Duration) =
    (Duration::from_secs(5), Duration::from_secs(300));
/// The longest cool-down of an outdated project while the fault may be the renderer's: it is away, or many projects fail.
pub(super) const AWAY_COOL_DOWN: Duration = Duration::from_secs(60);
/// The range of cool-downs of a missing project.
pub(super) const MISSING_COOL_DOWN: (Duration, Duration) =
    (Duration::from_millis(500), Duration::from_secs(15));
/// The first cool-down of a project whose renderer is behind, and its cap.
pub(super) const BEHIND_COOL_DOWN: (Duration, Duration) =
    (Duration::from_secs(2), Duration::from_secs(30));
/// How long a held project that the renderer knows no more is left alone: at first, and at most.
pub(super) const GONE_COOL_DOWN: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(120));
/// How long nothing is launched after a call found no connection, and no word of the driver on the connection came.
pub(super) const RECONNECT: Duration = Duration::from_millis(200);
/// After how long a Fetch that the renderer does not offer is asked for again.
pub(super) const FETCH_AGAIN: Duration = Duration::from_secs(60);
/// The interval between probes that come back, but not well: the first, and the longest.
pub(super) const PROBE_INTERVAL: (Duration, Duration) =
    (Duration::from_millis(200), Duration::from_secs(10));
/// How many of those who wait are reviewed at a landing that changes little for them.
pub(super) const REVIEWED: usize = 64;
/// Among how many missing projects, in order of arrival, a probe is looked for.
pub(super) const PROBE_CANDIDATES: usize = 64;
/// Of how many renders the median is taken.
pub(super) const RECENT_RENDERS: usize = 32;
/// The `retry_after` where nothing tells: the rate is 0, or the sidecar is draining.
pub(super) const UNKNOWN: Duration = Duration::from_secs(60);
/// How long a render is expected to take while none has landed.
pub(super) const UNKNOWN_RENDER: Duration = Duration::from_secs(1);
/// The least `retry_after`.
pub(super) const LEAST_RETRY_AFTER: Duration = Duration::from_millis(10);
/// Projects that fail in a row open the breaker.
pub(super) const BREAKER_FAILURES: usize = 5;
/// Different projects whose renders fail in a row make a fault of the renderer's, whatever it answers.
pub(super) const FAULT_PROJECTS: usize = 5;
/// Of how many answered renders half have to fail for it to be more than a fault of single projects.
pub(super) const RECENT_OUTCOMES: usize = 20;
/// How long the breaker stays open: at first, and at most.
pub(super) const BREAKER_OPEN: (Duration, Duration) =
    (Duration::from_secs(2), Duration::from_secs(30));
/// The share of the rate with which a ramp begins.
pub(super) const RAMP_START: f64 = 0.1;
/// The longest ramp after the breaker closed.
pub(super) const BREAKER_RAMP: Duration = Duration::from_secs(30);
/// The longest ramp after a global hold.
pub(super) const HOLD_RAMP: Duration = Duration::from_secs(60);
/// The longest that a pushback is obeyed.
pub(super) const PUSHBACK_CAP: Duration = Duration::from_secs(120);
/// Two projects pushed back within so long hold everything.
pub(super) const PUSHBACK_WINDOW: Duration = Duration::from_secs(5);
/// The pace falls at most once in so long.
pub(super) const PACE_EPOCH: Duration = Duration::from_secs(5);
/// The pace is full so long after the last sign of overload.
pub(super) const PACE_RECOVERY: Duration = Duration::from_secs(60);
/// The least pace.
pub(super) const PACE_FLOOR: f64 = 0.02;
/// What the pace is multiplied by on a global pushback.
pub(super) const PACE_ON_PUSHBACK: f64 = 0.7;
/// What the pace is multiplied by when the renderer is unavailable or late.
pub(super) const PACE_ON_FAILURE: f64 = 0.85;
/// Retries per success.
pub(super) const RETRY_RATIO: f64 = 0.1;
/// The most retries saved up.
pub(super) const RETRY_CAP: f64 = 5.0;
/// One retry in so long is allowed whatever the successes.
pub(super) const RETRY_FLOOR: Duration = Duration::from_secs(300);
/// How often a missing project is tried while somebody waits.
pub(super) const MISSING_ATTEMPTS: u32 = 3;
/// The back-off of retries.
pub(super) const RETRY_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    most: Duration::from_secs(10),
};
/// What the learned limit of calls at once is multiplied by on a refusal.
pub(super) const LEARNED_DECREASE: f64 = 0.7;
/// What was learned of calls at once is forgotten so long after the last refusal.
pub(super) const LEARNED_FOR: Duration = Duration::from_secs(60);
/// The stop after a call that was refused alone.
pub(super) const REFUSED_STOP: Backoff = Backoff {
    first: Duration::from_millis(200),
    most: Duration::from_secs(10),
};
/// A project that was refused so often while others landed cools down as one that failed.
pub(super) const REFUSED_OFTEN: u32 = 3;
/// The back-off of a project whose fetch failed, and of probes of fetches that were given up.
pub(super) const FETCH_BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    most: Duration::from_secs(10),
};
/// Fetches are given up when so many in a row came to nothing …
pub(super) const FETCHES_FAIL: u32 = 3;
/// … and for so long none was answered.
pub(super) const FETCHES_FAIL_AFTER: Duration = Duration::from_secs(3);
/// As [`FETCHES_FAIL_AFTER`], of those that were plainly refused.
pub(super) const FETCHES_REFUSED_AFTER: Duration = Duration::from_secs(30);
/// Fetches that came to nothing count as in a row when no more than so long lies between.
pub(super) const RUN_FORGOTTEN: Duration = Duration::from_secs(60);
/// While a ramp or the pace is below 1, the rate is set anew so often.
pub(super) const RATE_STEP: Duration = Duration::from_millis(500);
/// Of how many first renders half are NOT_FOUND in a flood of projects that do not exist.
pub(super) const FLOOD_WINDOW: usize = 20;
/// The share of the rate that projects of which nothing is held get in such a flood.
pub(super) const FLOOD_SHARE: f64 = 0.2;
/// The share of the rate of fetches at which what is held is confirmed after changes may have been missed.
pub(super) const CONFIRM_SHARE: f64 = 0.1;
/// The longest until the first is.
pub(super) const CONFIRM_START: Duration = Duration::from_secs(10);
/// How long nothing is confirmed after a fetch for it failed: at first, and at most; × U(0.5, 1).
pub(super) const CONFIRM_BACKOFF: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(60));
