//! What is held and outlives the process, as the cache sees it: what keeps it, and what comes back.
//!
//! The cache tells of names alone, whenever what it holds has changed, and never waits. What comes
//! back is judged by order, as a landing is. Where it is kept is not known here.

use std::{fmt, sync::Arc};

use super::{AnswerOrigin, Cache, Change, Held, HeldStanding};
use crate::{
    moment::Moment,
    revision::{Order, Project, Revision},
};

/// Keeps what is held beyond the process. It is told under the lock of the cache's writers, so it
/// must not wait.
pub trait Keep: fmt::Debug + Send + Sync {
    /// Takes note of a project.
    fn note(&self, project: &Project, event: KeepEvent);
}

/// What became of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepEvent {
    /// Something else is held of it, or more is known of what is held.
    Changed,
    /// It was dropped: the renderer no longer knows it.
    Dropped,
    /// The renderer does not know it, and nothing is held of it.
    Absent,
    /// An operator had it forgotten.
    Purged,
}

/// What is still to come of what a process before this one held.
pub trait Recall: Send + Sync {
    /// Whether nothing is still to come. Asked for each lookup of what is not held, so it must be
    /// cheap.
    fn is_over(&self) -> bool;

    /// Whether a project is still to come; it then comes next.
    fn hasten(&self, project: &Project) -> bool;
}

/// What was held of a project by a process before this one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of what is held")]
pub struct Recalled {
    pub revision: Revision,
    pub validated_at: Moment,
    pub changed: Option<Change>,
    pub gone: Option<AnswerOrigin>,
    pub lower: Option<(Order, AnswerOrigin)>,
    pub fell_from: Option<Order>,
}

impl Cache {
    /// Has what is held kept beyond the process.
    #[must_use]
    pub fn kept_by(mut self, keep: Arc<dyn Keep>) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Takes back what a process before this one held, unless something as new landed meanwhile.
    /// The renderer was not asked about it since.
    pub fn recall(&self, recalled: Recalled) {
        let _writer = self.lock();
        let project = recalled.revision.project.clone();
        let order = recalled.revision.order;
        let held = self.held.get(&project);
        if held.is_some_and(|held| held.revision.order >= order)
            || super::cost(&recalled.revision) > self.max_bytes
        {
            return;
        }
        if let Some(Change { number, since }) = recalled.changed {
            let mut changes = self.changes.get(&project).unwrap_or_default();
            changes.record(number, since);
            self.remember_changes(&project, &changes);
        }
        let changes = self.changes.get(&project);
        let held = Arc::new(Held {
            validated_at: recalled.validated_at,
            asked_at: Moment::START,
            changed: changes.and_then(|changes| changes.lacked_by(order.number)),
            gone: recalled.gone,
            lower: recalled.lower,
            fell_from: recalled.fell_from,
            memo: Arc::default(),
            standing: HeldStanding::default(),
            revision: Arc::new(recalled.revision),
        });
        self.census.came(&held);
        self.held.insert(project.clone(), held);
        self.held.run_pending_tasks();
        self.subscribers.notify(&project);
    }

    /// Tells those who wait for a project to be recalled that it will not be.
    pub fn not_recalled(&self, project: &Project) {
        self.subscribers.notify(project);
    }

    /// Forgets all that is known of a project; tells what was held of it.
    pub fn purge(&self, project: &Project) -> Option<Arc<Held>> {
        let _writer = self.lock();
        let held = self.held.remove(project);
        self.held.run_pending_tasks();
        self.absent.invalidate(project);
        self.changes.invalidate(project);
        self.note(project, KeepEvent::Purged);
        self.subscribers.notify(project);
        held
    }

    pub(super) fn note(&self, project: &Project, event: KeepEvent) {
        if let Some(keep) = &self.keep {
            keep.note(project, event);
        }
    }
}
