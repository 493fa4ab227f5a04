//! A lookup that waits for a project. Dropping it tells admission that this lookup no longer waits;
//! the flight goes on.

use std::sync::Arc;

use tokio::sync::watch;

use super::RefreshShared;
use crate::{admission::Outcome, cache::Held, moment::Moment, revision::Project};

/// What became of a project that was waited for.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// How it ended.
    pub outcome: Outcome,
    /// What was held of it then. It may be evicted before the waiting lookups look.
    pub held: Option<Arc<Held>>,
}

/// Waits for what becomes of a project.
pub struct Waiter {
    project: Project,
    until: Moment,
    outcome: watch::Receiver<Option<Resolved>>,
    shared: Arc<RefreshShared>,
}

impl Waiter {
    pub(super) fn new(
        project: Project,
        until: Moment,
        outcome: watch::Receiver<Option<Resolved>>,
        shared: Arc<RefreshShared>,
    ) -> Self {
        Self {
            project,
            until,
            outcome,
            shared,
        }
    }

    /// Waits for the outcome. Cancel-safe.
    pub async fn outcome(&mut self) -> Resolved {
        let resolved = self.outcome.wait_for(Option::is_some).await;
        resolved
            .ok()
            .and_then(|resolved| resolved.clone())
            .expect("BUG: waiters are told an outcome before their channel goes")
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let is_told = self.outcome.borrow().is_some();
        if is_told {
            return;
        }
        let mut state = self.shared.lock();
        // The outcome may have come between the look and the lock; the channel found here may then
        // be another's.
        let is_told = self.outcome.borrow().is_some();
        if is_told {
            return;
        }
        let channel = state.waiters.get(&self.project);
        // The last one; its own receiver goes with it.
        if channel.is_some_and(|channel| channel.receiver_count() == 1) {
            state.waiters.remove(&self.project);
        }
        let now = self.shared.clock.now();
        state.admission.left(&self.project, self.until, now);
        self.shared.perform(&mut state);
    }
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter")
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}
