//! The wait of a lookup for what a process before this one held, and which is being read.
//!
//! To read something is no refresh, so that a lookup without patience waits for it, too; but never
//! for long: the disk may hang. Then the project counts as missing, and what is read later is
//! judged by its order.

use std::{sync::Arc, time::Duration};

use super::{Lookup, Query};
use crate::{cache::Recall, moment, revision::Project};

/// How long a lookup waits at least, and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// Of its patience, a lookup waits for this part.
const PART: u32 = 4;

impl Lookup {
    /// Has what is still to come waited for.
    #[must_use]
    pub fn with_recall(mut self, recall: Arc<dyn Recall>) -> Self {
        self.recall = Some(recall);
        self
    }

    /// Whether a project that is not held is still to come.
    pub(super) fn is_to_be_recalled(&self, project: &Project) -> bool {
        let recall = self.recall.as_ref().filter(|recall| !recall.is_over());
        recall.is_some_and(|recall| recall.hasten(project))
    }

    /// Waits for a project that is still to come.
    pub(super) async fn wait_for_recall(&self, query: &Query) {
        let is_over = self.recall.as_ref().is_none_or(|recall| recall.is_over());
        if is_over || self.cache.get(query.project.as_str()).is_some() {
            return;
        }
        let mut comes = self.cache.subscribe(&query.project);
        if !self.is_to_be_recalled(&query.project) {
            return;
        }
        let patience = query.patience.unwrap_or(self.limits.load().patience);
        let (least, most) = WAIT;
        moment::within((patience / PART).clamp(least, most), comes.changed()).await;
    }
}
