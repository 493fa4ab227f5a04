//! What an operator sees: counters and histograms recorded at the edges, and gauges read when someone looks.
//!
//! Every series has its place in an array from the start, so that recording is one or three atomic additions and no lock.
//! The core does not know this room: it tells facts to an [`Observe`], which this is. The one list of all metrics is [`table`].

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

mod counters;
mod histogram;
mod labels;
mod page;
mod table;

pub use self::{
    labels::Outcome,
    page::{CONTENT_TYPE, Snapshot},
    table::{Kind, Row, table},
};

use self::{counters::Counters, histogram::Histogram, labels::Served};
use crate::{
    admission::{Class, Gate},
    refresh::{Observe, RenderResult},
};

/// Everything that is recorded. Clones record into the same place.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    recorded: Arc<Recorded>,
}

#[derive(Debug)]
struct Recorded {
    lookups: Counters<{ Outcome::COUNT }>,
    lookup_durations: [Histogram; Served::ALL.len()],
    renders: [Counters<{ RenderResult::ALL.len() }>; Class::ALL.len()],
    render_durations: Histogram,
    fetches: Counters<{ RenderResult::ALL.len() }>,
    refusals: [Counters<{ Gate::ALL.len() }>; Class::ALL.len()],
}

/// The upper bounds of a lookup's duration. Beside a usual ladder they hold the usual patiences (50 ms, 0.5 s, 1 s, 2 s) with and
/// without 50 ms more, so that what waiting costs can be read off.
const LOOKUP_BOUNDS: &[Duration] = &[
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
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
const RENDER_BOUNDS: &[Duration] = &[
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
            lookups: Counters::default(),
            lookup_durations: Served::ALL.map(|_| Histogram::new(LOOKUP_BOUNDS)),
            renders: Default::default(),
            render_durations: Histogram::new(RENDER_BOUNDS),
            fetches: Counters::default(),
            refusals: Default::default(),
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Starts with every series at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a lookup that was answered, or failed, `took` after its request's headers arrived.
    pub fn looked_up(&self, outcome: Outcome, took: Duration) {
        self.recorded.lookups.add(outcome.index());
        self.recorded.lookup_durations[outcome.served() as usize].observe(took);
    }

    /// Writes everything, with the gauges of `snapshot`, as OpenMetrics text of [`CONTENT_TYPE`].
    pub fn text(&self, snapshot: Snapshot) -> String {
        page::text(Arc::clone(&self.recorded), snapshot)
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
