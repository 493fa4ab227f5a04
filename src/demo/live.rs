//! What is told while the demo goes on.

use std::time::Duration;

/// What the demo is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DemoStage {
    /// Both ways render every project once.
    #[default]
    WarmUp,
    /// The storm, the way of the incident.
    Incident,
    /// The storm with evenkeel.
    Evenkeel,
}

/// The few numbers that matter while a storm goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiveNumbers {
    /// What is being done.
    pub stage: DemoStage,
    /// For how long it has been done.
    pub elapsed: Duration,
    /// How long it will take; longer perhaps.
    pub expected: Duration,
    /// Lookups that were answered.
    pub answered: usize,
    /// Lookups that failed.
    pub failed: usize,
    /// Renders that the renderer was asked for since the release.
    pub renders: u64,
    /// Projects that are fresh.
    pub fresh: usize,
}
