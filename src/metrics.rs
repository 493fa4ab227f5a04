//! What an operator sees: counters and histograms recorded at the edges, and gauges read when
//! someone looks.
//!
//! Every series has its place in an array from the start, so that recording is one or three atomic
//! additions and no lock; each thread that answers lookups counts them in a place of its own, so
//! that none waits for another's cache lines. The core does not know this room: it tells facts to
//! an [`Observe`], which this is. The one list of all metrics is [`table`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

mod counters;
mod exposition;
mod histogram;
mod labels;
mod page;
mod table;

pub use self::{
    exposition::Exposition,
    labels::{LookupResult, Role},
    page::{Gauges, ProcessNumbers, SpanNumbers},
    table::{MetricKind, MetricRow, table},
};

use self::{
    counters::Counters,
    histogram::{Histogram, Observations},
    labels::ServedLabel,
};
use crate::{
    admission::{Class, Gate},
    reason::{FailureReason, NotRefreshed},
    refresh::{Observe, RenderResult},
};

/// Everything that is recorded. Clones record into the same place.
#[derive(Clone, Debug)]
pub struct Metrics {
    recorded: Arc<Recorded>,
    /// Where this one, and its clones, count lookups.
    lookups: Arc<LookupCounts>,
}

/// Lookups and renders since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinceStart {
    /// All lookups.
    pub lookups: u64,
    /// Those that were answered outdated, by the index of the reason.
    pub outdated: [u64; NotRefreshed::ALL.len()],
    /// Those that failed.
    pub failed: u64,
    /// Those that failed with QUEUE_FULL.
    pub queue_full: u64,
    /// Renders that ended, by the indices of class and result.
    pub renders: [[u64; RenderResult::ALL.len()]; Class::ALL.len()],
    /// How long these took together.
    pub render_time: Duration,
}

#[derive(Debug)]
struct Recorded {
    /// The places where lookups are counted: what is shown is their sum.
    lookups: Mutex<Vec<Arc<LookupCounts>>>,
    renders: [Counters<{ RenderResult::ALL.len() }>; Class::ALL.len()],
    render_durations: Histogram<{ RENDER_BOUNDS.len() }>,
    fetches: Counters<{ RenderResult::ALL.len() }>,
    refusals: [Counters<{ Gate::ALL.len() }>; Class::ALL.len()],
    accept_errors: Counters<{ Role::ALL.len() }>,
}

/// Lookups, as counted in one place. Aligned to two cache lines, which processors fetch together.
#[derive(Debug)]
#[repr(align(128))]
struct LookupCounts {
    results: Counters<{ LookupResult::COUNT }>,
    durations: [Histogram<{ LOOKUP_BOUNDS.len() }>; ServedLabel::ALL.len()],
}

/// The upper bounds of a lookup's duration. Beside a usual ladder they hold the usual patiences (50
/// ms, 0.5 s, 1 s, 2 s) with and without 50 ms more, so that what waiting costs can be read off.
const LOOKUP_BOUNDS: &[Duration; 22] = &[
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(150),
    Duration::from_millis(200),
    Duration::from_millis(250),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_millis(550),
    Duration::from_millis(1000),
    Duration::from_millis(1050),
    Duration::from_millis(2000),
    Duration::from_millis(2050),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

/// The upper bounds of a render's duration.
const RENDER_BOUNDS: &[Duration; 13] = &[
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];

impl Default for Recorded {
    fn default() -> Self {
        Self {
            lookups: Mutex::default(),
            renders: Default::default(),
            render_durations: Histogram::new(RENDER_BOUNDS),
            fetches: Counters::default(),
            refusals: Default::default(),
            accept_errors: Counters::default(),
        }
    }
}

impl Default for LookupCounts {
    fn default() -> Self {
        Self {
            results: Counters::default(),
            durations: ServedLabel::ALL.map(|_| Histogram::new(LOOKUP_BOUNDS)),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Starts with every series at zero.
    pub fn new() -> Self {
        Self::in_own_place(Arc::default())
    }

    /// Records into the same place, but counts lookups in one that no other thread writes to.
    pub fn for_thread(&self) -> Self {
        Self::in_own_place(Arc::clone(&self.recorded))
    }

    fn in_own_place(recorded: Arc<Recorded>) -> Self {
        let lookups = Arc::default();
        recorded.places().push(Arc::clone(&lookups));
        Self { recorded, lookups }
    }

    /// Records a lookup that was answered, or failed, `took` after its request's headers arrived.
    pub fn looked_up(&self, result: LookupResult, took: Duration) {
        self.lookups.results.add(result.index());
        self.lookups.durations[result.served() as usize].observe(took);
    }

    /// Records that a listener of this role could not accept a connection.
    pub fn accept_failed(&self, role: Role) {
        self.recorded.accept_errors.add(role as usize);
    }

    /// What was counted since the start.
    pub fn counted(&self) -> SinceStart {
        let mut counted = SinceStart {
            render_time: self.recorded.render_durations.sum(),
            ..SinceStart::default()
        };
        for result in LookupResult::all() {
            let count = self.recorded.lookups(result);
            counted.lookups += count;
            match result {
                LookupResult::Fresh | LookupResult::Rendered => {}
                LookupResult::Outdated(reason) => counted.outdated[reason as usize] += count,
                LookupResult::Failed(reason) => {
                    counted.failed += count;
                    if reason == FailureReason::NotRefreshed(NotRefreshed::QueueFull) {
                        counted.queue_full += count;
                    }
                }
            }
        }
        for class in Class::ALL {
            for result in RenderResult::ALL {
                let renders = self.recorded.renders[class as usize].get(result as usize);
                counted.renders[class as usize][result as usize] = renders;
            }
        }
        counted
    }

    /// Writes everything, with `gauges`.
    pub fn text(&self, gauges: Gauges, exposition: Exposition) -> String {
        page::text(Arc::clone(&self.recorded), gauges, exposition)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorded {
    fn places(&self) -> MutexGuard<'_, Vec<Arc<LookupCounts>>> {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lookups(&self, result: LookupResult) -> u64 {
        let at = result.index();
        self.places()
            .iter()
            .map(|place| place.results.get(at))
            .sum()
    }

    fn lookup_durations(&self, served: ServedLabel) -> Observations {
        let mut observed = Observations::default();
        for place in self.places().iter() {
            place.durations[served as usize].add_to(&mut observed);
        }
        observed
    }

    fn render_durations(&self) -> Observations {
        let mut observed = Observations::default();
        self.render_durations.add_to(&mut observed);
        observed
    }
}

impl Observe for Metrics {
    fn rendered(&self, class: Class, result: RenderResult, duration: Duration) {
        self.recorded.renders[class as usize].add(result as usize);
        self.recorded.render_durations.observe(duration);
    }

    fn fetched(&self, result: RenderResult, _: Duration) {
        self.recorded.fetches.add(result as usize);
    }

    fn refused(&self, class: Class, gate: Gate) {
        self.recorded.refusals[class as usize].add(gate as usize);
    }
}

#[cfg(test)]
mod tests;
