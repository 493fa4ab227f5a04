//! What a world is made of: how many sidecars and projects, their limits, the renderer's strength,
//! and the load.

use std::{num::NonZeroU32, time::Duration};

use super::reserver::Reserving;
use crate::admission::{FetchLimits, Limits, Permits, Tuning};

/// How long a lookup waits for a project of which something is held: the default of
/// `lookup.patience`.
pub const PATIENCE: Duration = Duration::from_millis(50);
/// How long a lookup waits for a project of which nothing is held: the default of
/// `lookup.cold_patience`.
pub const COLD_PATIENCE: Duration = Duration::from_secs(2);

/// How the applications' configuration is kept up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Admission decides about renders.
    Admission,
    /// Without a sidecar: what is outdated is forgotten, and each lookup renders, times out, and
    /// retries at once.
    Incident,
}

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How configuration is kept up to date.
    pub way: Upkeep,
    /// Sidecars, each in a pod of its own.
    pub sidecars: usize,
    /// Projects, all of which every sidecar is asked for.
    pub projects: usize,
    /// Names that are looked up although there are no such projects.
    pub unknown: usize,
    /// Renders per second of one sidecar.
    pub rate: f64,
    /// The most renders that a sidecar may have saved up; at least 1.
    pub burst: u32,
    /// The most renders of a sidecar in flight at once; at least 1.
    pub concurrency: u32,
    /// The most missing projects that wait in one sidecar; at least 1.
    pub queue: u32,
    /// What the renderer can render per second, as a multiple of what all sidecars may ask for.
    pub headroom: f64,
    /// The mean work of a render, in seconds of a core.
    pub work: f64,
    /// How long a render may run.
    pub deadline: Duration,
    /// How long a fetch may take.
    pub fetch_deadline: Duration,
    /// Changes and evictions per second, as a share of what the renderer can do.
    pub load: f64,
    /// The part of them after which nothing is held of the project.
    pub missing: f64,
    /// Lookups per second and sidecar that want nothing new.
    pub lookups: f64,
    /// Whether the renderer offers Fetch.
    pub offers_fetch: bool,
    /// Where renders are reserved.
    pub reserving: Reserving,
    /// What a render costs that the renderer has done before, as a share of its work.
    pub memo: f64,
    /// How many projects, from the first, may be made poison.
    pub poisoned: usize,
    /// How long the run lasts.
    pub seconds: u64,
    /// The same seed gives the same run.
    pub seed: u64,
    /// The constants of admission.
    pub tuning: Tuning,
}

impl Plan {
    /// Renders per second that the renderer can do.
    pub fn capacity(&self) -> f64 {
        self.total_rate() * self.headroom
    }

    /// Renders per second that all sidecars may ask for.
    #[expect(clippy::cast_precision_loss, reason = "a few sidecars")]
    pub fn total_rate(&self) -> f64 {
        self.sidecars as f64 * self.rate
    }

    /// Renders per second of one sidecar that its rate, its permits for refreshes and its share of
    /// the renderer bear.
    #[expect(clippy::cast_precision_loss, reason = "a few sidecars")]
    pub fn bearable_rate(&self) -> f64 {
        let permits =
            f64::from(Permits::of(self.limits().concurrency, &self.tuning.budget).outdated);
        let share = self.capacity() / self.sidecars as f64;
        self.rate.min(permits / self.work).min(share)
    }

    /// The limits of each sidecar at the start. Fetches have the default limits of the settings.
    ///
    /// # Panics
    ///
    /// When the burst, the concurrency or the queue is 0.
    pub fn limits(&self) -> Limits {
        Limits {
            rate: self.rate,
            burst: count(self.burst),
            concurrency: count(self.concurrency),
            queue: count(self.queue),
            fetch: FetchLimits {
                rate: 50.0,
                concurrency: count(16),
            },
        }
    }
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("BUG: a plan counts from 1")
}
