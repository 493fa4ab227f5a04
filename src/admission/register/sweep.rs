//! What concerns every project: each entry hears of it when it is next touched, and a sweep touches
//! some of them at each step.

use std::ops::Bound;

use super::{Register, entry::AnnouncedTarget};
use crate::revision::Project;

impl Register {
    /// Another target is in force. A higher one ends every cool-down, but no pushback; after a
    /// lower one, nothing is wanted for the sake of the higher one.
    pub(in crate::admission) fn set_target(&mut self, target: u64) {
        self.target = if target > self.target() {
            AnnouncedTarget::Raised(target)
        } else {
            AnnouncedTarget::Lowered(target)
        };
        self.news.targets = self.news.targets.wrapping_add(1);
        self.sweep_all();
    }

    /// The renderer is back: what cools down because it was away is forgiven.
    pub(in crate::admission) fn forgive_absence(&mut self) {
        self.news.returns = self.news.returns.wrapping_add(1);
        self.sweep_all();
    }

    /// Has every project touched soon, from the first on.
    pub(in crate::admission) fn sweep_all(&mut self) {
        self.sweep = (!self.entries.is_empty()).then_some(Bound::Unbounded);
    }

    /// Whether a sweep is under way.
    pub(in crate::admission) fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// The next projects of a sweep, to be touched.
    pub(in crate::admission) fn sweep(&mut self) -> Vec<Project> {
        let Some(after) = self.sweep.take() else {
            return Vec::new();
        };
        let most = self.tuning.turns.swept;
        let rest = self.entries.range((after, Bound::Unbounded));
        let next: Vec<_> = rest
            .take(most)
            .map(|(project, _)| project.clone())
            .collect();
        if next.len() == most {
            self.sweep = next.last().cloned().map(Bound::Excluded);
        }
        next
    }
}
