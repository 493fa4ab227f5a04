//! A watch: lookups of one project whenever something may be new, told only when it is.
//!
//! It holds nothing but the order told last, so a slow reader costs no memory and ends on the
//! newest. It is interest for as long as it lasts.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{Lookup, Query};
use crate::{
    answer::{Answer, Failure, Served},
    cache::Subscription,
    revision::{Order, Project},
};

/// How often a watch renews its interest, and looks again while nothing is held.
const RENEWAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(240));

/// Follows one project.
pub struct Watch {
    lookup: Lookup,
    project: Project,
    changes: Subscription,
    target: watch::Receiver<u64>,
    told: Option<WatchEvent>,
    /// What was told before that.
    told_before: Option<WatchEvent>,
    /// When to look again though nothing happened; none until the first look.
    renewal: Option<Duration>,
}

/// What a watch told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WatchEvent {
    Revision(Order),
    NotFound,
    NotYet,
}

impl Watch {
    pub(super) fn new(lookup: Lookup, project: Project) -> Self {
        lookup.watching.fetch_add(1, Relaxed);
        let changes = lookup.cache.subscribe(&project);
        let target = lookup.refresh.target();
        Self {
            lookup,
            project,
            changes,
            target,
            told: None,
            told_before: None,
            renewal: None,
        }
    }

    /// Waits for news: at first for an answer as to a lookup with the cold patience, then for a
    /// revision newer than the one told last, or for the project's end. Never ends; cancel-safe.
    ///
    /// # Errors
    /// The failure of the first lookup; later only that the project no longer exists. The next call
    /// waits on.
    pub async fn next(&mut self) -> Result<Answer, Failure> {
        loop {
            let patience = match self.renewal {
                None => self.lookup.limits.load().cold_patience,
                Some(renewal) => {
                    self.something_happens(renewal).await;
                    Duration::ZERO
                }
            };
            if let Some(news) = self.look_for_news(patience).await {
                return news;
            }
        }
    }

    /// Replaces the last answer of [`Watch::next`], which did not reach the caller, by the current
    /// one. Does not wait; returns none where the caller has the current one already.
    pub async fn again(&mut self) -> Option<Result<Answer, Failure>> {
        self.told = self.told_before;
        self.look_for_news(Duration::ZERO).await
    }

    async fn look_for_news(&mut self, patience: Duration) -> Option<Result<Answer, Failure>> {
        let result = self.look(patience).await;
        self.renewal = Some(self.renewal_after(&result));
        let event = match &result {
            Ok(answer) => WatchEvent::Revision(answer.revision.order),
            Err(Failure::ProjectNotFound { .. }) => WatchEvent::NotFound,
            Err(
                Failure::NotRefreshed { .. }
                | Failure::BelowMinRevision { .. }
                | Failure::BeyondReach { .. }
                | Failure::BeyondMaxOutdated { .. },
            ) => WatchEvent::NotYet,
        };
        if !self.is_news(event) {
            return None;
        }
        self.told_before = self.told.replace(event);
        Some(result)
    }

    async fn look(&self, patience: Duration) -> Result<Answer, Failure> {
        let query = Query {
            project: self.project.clone(),
            patience: Some(patience),
            deadline: None,
            min_revision: None,
            max_outdated: None,
            // It lasts: what it causes much later belongs to no trace of its caller.
            trace: None,
        };
        self.lookup.get(query).await
    }

    async fn something_happens(&mut self, renewal: Duration) {
        tokio::select! {
            () = self.changes.changed() => {}
            // The target goes with the refresh that the lookup holds: it cannot be gone.
            _ = self.target.changed() => {}
            () = sleep(renewal) => {}
        }
    }

    fn is_news(&self, event: WatchEvent) -> bool {
        match (self.told, event) {
            (None, _) => true,
            (Some(WatchEvent::Revision(told)), WatchEvent::Revision(order)) => {
                order > told || order < told && self.has_fallen_from(told)
            }
            (Some(WatchEvent::NotFound | WatchEvent::NotYet), WatchEvent::Revision(_)) => true,
            (Some(told), WatchEvent::NotFound) => told != WatchEvent::NotFound,
            (Some(_), WatchEvent::NotYet) => false,
        }
    }

    /// Whether the revision told last was ahead of the target, and has given way.
    fn has_fallen_from(&self, told: Order) -> bool {
        let held = self.lookup.cache.get(self.project.as_str());
        held.and_then(|held| held.fell_from)
            .is_some_and(|from| told <= from)
    }

    fn renewal_after(&self, result: &Result<Answer, Failure>) -> Duration {
        let (least, most) = RENEWAL;
        let wait = match result {
            Ok(answer) => match answer.served {
                Served::Fresh | Served::Rendered => self.until_too_old(),
                Served::Outdated(_) => most,
            },
            Err(Failure::ProjectNotFound { retry_after }) => *retry_after,
            Err(Failure::NotRefreshed { refusal, .. }) => refusal.retry_after,
            Err(
                Failure::BelowMinRevision { .. }
                | Failure::BeyondReach { .. }
                | Failure::BeyondMaxOutdated { .. },
            ) => least,
        };
        wait.clamp(least, most)
    }

    fn until_too_old(&self) -> Duration {
        let held = self.lookup.cache.get(self.project.as_str());
        let too_old_at = held.and_then(|held| self.lookup.freshness.too_old_at(&held));
        too_old_at.map_or(Duration::MAX, |at| at.since(self.lookup.clock.now()))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.lookup.watching.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}
