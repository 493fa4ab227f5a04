//! What was seen of a storm, written down as it was; what it means is computed in `measured`.

use std::time::Duration;

use super::load::LookupSample;
use crate::renderer::RenderCounts;

/// What was seen of a storm; times since it began.
#[derive(Clone, Debug, Default)]
pub(super) struct StormObserved {
    pub(super) length: Duration,
    /// When the release began.
    pub(super) release: Duration,
    /// When those who answer lookups had learned of it.
    pub(super) learned: Duration,
    /// When the fault began and ended.
    pub(super) fault: Option<(Duration, Duration)>,
    pub(super) samples: Vec<LookupSample>,
    /// How many projects were fresh.
    pub(super) fresh: Vec<(Duration, usize)>,
    /// What the renderer did, and when the storm began by its clock.
    pub(super) renders: RenderCounts,
    pub(super) began: Duration,
    /// Calls of `Render`, renders truly done, calls of `Fetch`: before the release.
    pub(super) asked_before: Option<u64>,
    pub(super) done_before: u64,
    pub(super) fetched_before: u64,
    /// The longest that the thread of the renderer or of the callers was late.
    pub(super) late: Duration,
    /// Processes that had a budget of their own.
    pub(super) pods: u32,
}

impl StormObserved {
    /// When this many projects were fresh for the first time after the release.
    pub(super) fn fresh_at(&self, projects: usize) -> Option<Duration> {
        let after = self.fresh.iter().filter(|(at, _)| *at > self.learned);
        let mut after = after.skip_while(|(_, fresh)| *fresh < projects);
        after.next().map(|(at, _)| *at)
    }
}
