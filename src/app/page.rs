//! The page of metrics: what the core counts, and what the app knows beside it.

use std::sync::Arc;

use super::Core;
use crate::metrics::Snapshot;

impl Core {
    pub(super) fn page(self: &Arc<Self>) -> String {
        let core = self.refresh.snapshot();
        let settings = self.settings.borrow().clone();
        self.metrics.text(Snapshot {
            in_flight: core.in_flight,
            bucket_level: core.bucket_level,
            rate: core.limits.rate,
            rate_in_force: core.rate_in_force,
            breaker_open: core.stops.is_broken,
            pushed_back: core.stops.is_held,
            burst: core.limits.burst.get(),
            concurrency: core.limits.concurrency.get() as usize,
            queue: core.limits.queue.get() as usize,
            target_rollout: core.target,
            projects_fresh: core.fresh,
            projects_outdated: core.outdated,
            projects_wanted: core.wanted,
            oldest_outdated: core.oldest_outdated,
            held_bytes: core.held_bytes,
            held_projects: core.fresh + core.outdated,
            evicted_wanted_total: core.evicted_wanted,
            waiting: self.lookup.waiting(),
            watchers: self.lookup.watching(),
            lookup_connections: self.connections.open(),
            ready: self.readiness.is_ready(),
            degraded: self.is_degraded(),
            changes_up: self.changes_up.now(),
            settings_hash: settings.hash.to_string(),
            settings_valid: settings.is_valid,
        })
    }
}
