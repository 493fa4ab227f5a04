//! What an operator sets.

use std::num::NonZeroU32;

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Renders per second of this sidecar; 0 admits none.
    pub rate: f64,
    /// The most renders that may have been saved up.
    pub burst: NonZeroU32,
    /// The most renders in flight at once.
    pub concurrency: NonZeroU32,
    /// The most missing projects that wait for a render, and again as many that are wanted although
    /// no lookup waits.
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
