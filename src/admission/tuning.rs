//! Every constant of admission, with its unit, grouped by the part that reads it.
//!
//! `ARCHITECTURE.md` lists them with the reason for each; a test compares the two. A simulation
//! switches a part off by a neutral value here, which the field names.

mod default;

use std::time::Duration;

/// The constants of one machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// How long a lookup counts.
    pub interest: InterestTuning,
    /// Whose turn it is.
    pub turns: Turns,
    /// How the budget starts and is shared.
    pub budget: ShareTuning,
    /// How long a project is left alone.
    pub cool_down: CoolDowns,
    /// When those who wait are tried for again.
    pub retry: Retries,
    /// When failures stop all renders.
    pub breaker: Breaking,
    /// When the renderer's pushback stops all renders.
    pub hold: HoldTuning,
    /// How the rate falls and recovers.
    pub pace: Pacing,
    /// When a fault is the renderer's.
    pub fault: FaultTuning,
    /// How many calls at once the renderer takes.
    pub learned: Learning,
    /// When fetches are tried again, given up, and used to confirm.
    pub fetch: FetchTuning,
    /// What is assumed where nothing is known.
    pub guess: Guesses,
}

/// A wait from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first, or the least.
    pub first: Duration,
    /// The longest.
    pub most: Duration,
}

impl Range {
    const fn millis(first: u64, most: u64) -> Self {
        Self {
            first: Duration::from_millis(first),
            most: Duration::from_millis(most),
        }
    }

    /// No wait at all.
    pub const NONE: Self = Self::millis(0, 0);

    /// The first wait doubled that many times, up to the longest.
    pub(super) fn doubled(self, times: u32) -> Duration {
        (self.first * 2_u32.pow(times.min(16))).min(self.most)
    }

    /// Full jitter: U(0, min(most, first × 2ⁿ)) after n before it (M. Brooker, "Exponential Backoff
    /// and Jitter", AWS architecture blog, 2015).
    pub(super) fn full_jitter(self, before: u32, rng: &mut fastrand::Rng) -> Duration {
        self.doubled(before).mul_f64(rng.f64())
    }
}

/// How long a lookup counts as interest in its project.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InterestTuning {
    /// After each lookup.
    pub lasts: Duration,
    /// At most, where the convergence that it waits for takes longer.
    pub most: Duration,
    /// How much longer than rate and permits say convergence may take.
    pub convergence: f64,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turns {
    /// The time in which the weight of a second with a lookup falls to 1/e.
    pub weight_decay: Duration,
    /// One in this many refreshes of outdated projects goes to the longest wanted.
    pub longest_wanted: u32,
    /// One in this many tokens goes to an outdated project while missing ones wait. `u32::MAX`: all
    /// go to missing ones.
    pub outdated: u32,
    /// Among how many missing projects, in order of arrival, a probe is looked for.
    pub probe_candidates: usize,
    /// How many of those who wait are told, in one step, that they wait in vain.
    pub reviewed: usize,
    /// How many of all projects are visited, in one step, after what concerns them all.
    pub swept: usize,
}

/// How the budget starts and is shared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareTuning {
    /// The part of a token up to which the bucket may lack its first, at random. 0: it starts with
    /// a whole one.
    pub first_token: f64,
    /// The longest that the first token is held back from a missing project.
    pub missing_start: Duration,
    /// The part of the permits that is kept for missing projects; at least one permit. 0 keeps
    /// none.
    pub kept_for_missing: f64,
    /// The part of the permits for projects whose last render failed; at least one permit.
    pub failing: f64,
    /// Of how many first renders half find no project in a flood of names that do not exist.
    /// `usize::MAX`: it is never one.
    pub flood_window: usize,
    /// The share of the rate that projects of which nothing is held get in such a flood.
    pub flood_share: f64,
    /// The most projects that are reserved by one ask.
    pub asked_at_once: usize,
    /// After how long an ask without an answer is taken for one that could not be made.
    pub ask_deadline: Duration,
    /// The furthest that an answer may put a start or a new ask off.
    pub ask_horizon: Duration,
    /// After how long a grant of a fleet is void whose render has not started.
    pub grant_lasts: Duration,
}

/// How long a project is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolDowns {
    /// An outdated project whose render failed.
    pub outdated: Range,
    /// A missing project whose render failed.
    pub missing: Range,
    /// The longest for an outdated project while the fault may be the renderer's.
    pub most_in_a_fault: Duration,
    /// A project whose renderer is behind.
    pub behind: Range,
    /// A held project for which the renderer answers NOT_FOUND.
    pub gone: Range,
    /// Between two renders of a project for raised targets.
    pub raised: Duration,
}

/// Retries for those who wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Retries earned by a success.
    pub per_success: f64,
    /// The most saved up.
    pub saved: f64,
    /// One retry is allowed in this time, whatever the successes. 0: all are allowed.
    pub floor: Duration,
    /// How often a missing project is tried while somebody waits.
    pub attempts: u32,
    /// The wait before a retry.
    pub backoff: Range,
}

/// The breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaking {
    /// Projects in a row whose failure opens it. `usize::MAX`: it never opens.
    pub failures: usize,
    /// How long it stays open, × U(1, 1.5).
    pub open: Range,
    /// The longest ramp after it. 0: none.
    pub ramp: Duration,
    /// The share of the rate with which a ramp begins.
    pub ramp_start: f64,
    /// Between probes that come back, but not well.
    pub probes: Range,
}

/// The hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HoldTuning {
    /// This many projects pushed back within the window hold all. `u32::MAX`: nothing holds all.
    pub projects: u32,
    /// The window.
    pub window: Duration,
    /// The longest that a pushback is obeyed.
    pub most: Duration,
    /// The longest ramp after it. 0: none.
    pub ramp: Duration,
}

/// The pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pacing {
    /// What it is multiplied by on a global pushback. 1: nothing.
    pub on_pushback: f64,
    /// What it is multiplied by on a failure. 1: nothing.
    pub on_failure: f64,
    /// It falls at most once in this time.
    pub epoch: Duration,
    /// It is full this long after the last sign of overload.
    pub recovery: Duration,
    /// The least.
    pub least: f64,
    /// While a ramp or the pace is below 1, the rate is set so often.
    pub step: Duration,
}

/// When a fault is the renderer's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultTuning {
    /// Different projects whose renders fail in a row.
    pub projects: usize,
    /// Of how many answered renders half have to fail.
    pub outcomes: usize,
    /// This many different projects in a row that are behind have another connection tried …
    pub behind_projects: usize,
    /// … or this many answers in a row, where few projects are wanted. `u32::MAX`: no connection is
    /// replaced.
    pub behind_answers: u32,
    /// The least time between two redials for that, × U(0.5, 1).
    pub behind_redial: Range,
    /// The share of the held projects that may be dropped within the window, because the renderer
    /// no longer knows them; one always may. `f64::INFINITY`: all may.
    pub drop_share: f64,
    /// The window.
    pub drop_window: Duration,
    /// A held project may be dropped by a second NOT_FOUND this long after the first.
    pub dropped_after: Duration,
    /// Fewer held projects cannot tell a bad replica by the others …
    pub few: u64,
    /// … so that one of them may be dropped only this long after the first.
    pub few_dropped_after: Duration,
}

/// What is learned from refusals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// What the limit of calls at once is multiplied by on a refusal. 1: nothing is learned.
    pub decrease: f64,
    /// It is forgotten this long after the last refusal.
    pub lasts: Duration,
    /// The stop after a call that was refused alone.
    pub stop: Range,
    /// A project that was refused so often in a row, while others were answered, cools down as
    /// failed.
    pub strikes: u32,
    /// … or of which this many fetches in a row failed by themselves.
    pub failures: u32,
    /// How many calls of others have to be answered between two that count.
    pub answered: u64,
}

/// Fetches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FetchTuning {
    /// The wait of a project whose fetch failed, and of probes of fetches that were given up.
    pub backoff: Range,
    /// Fetches are given up when this many in a row came to nothing … `u32::MAX`: they never are.
    pub failures: u32,
    /// … and no fetch was answered for this long,
    pub fail_after: Duration,
    /// … or for this long, where all were plainly refused.
    pub refused_after: Duration,
    /// Fetches that came to nothing are in a row if at most this time lies between them.
    pub run_forgotten: Duration,
    /// A Fetch that is not offered is asked for again after this time.
    pub asked_again: Duration,
    /// The share of their rate at which what is held is confirmed.
    pub confirming: f64,
    /// The longest until the first is confirmed.
    pub confirm_start: Duration,
    /// How long nothing is confirmed after one failed, × U(0.5, 1).
    pub confirm_backoff: Range,
}

/// What is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guesses {
    /// Of how many renders the median is taken.
    pub renders: usize,
    /// How long a render takes while none has landed.
    pub render: Duration,
    /// `retry_after` where nothing tells.
    pub retry_after: Duration,
    /// The least `retry_after`.
    pub least_retry_after: Duration,
    /// Until there is a connection after a call that found none.
    pub reconnect: Duration,
}
