//! The page of metrics: what the core counts, and what the app knows beside it.

use std::{sync::Arc, time::Duration};

use super::{SidecarCore, values};
use crate::{
    log::DroppedLines,
    metrics::{Exposition, Gauges},
    moment::Moment,
    refresh,
    settings::reload::InForce,
    valkey::Valkey,
};

/// What the core counts, and the settings in force, at a moment.
pub(super) struct CoreNumbers {
    pub(super) at: Moment,
    pub(super) core: refresh::Snapshot,
    pub(super) settings: Arc<InForce>,
}

impl SidecarCore {
    /// How long the sidecar had been up then.
    pub(super) fn up(&self, at: Moment) -> Duration {
        at.since(self.refresh.clock().started())
    }

    fn unix_time(&self, at: Moment) -> f64 {
        self.started_at + self.up(at).as_secs_f64()
    }

    pub(super) fn read(&self) -> CoreNumbers {
        CoreNumbers {
            at: self.refresh.clock().now(),
            core: self.refresh.snapshot(),
            settings: self.settings.borrow().clone(),
        }
    }

    pub(super) fn page(self: &Arc<Self>, exposition: Exposition) -> String {
        let CoreNumbers { core, settings, .. } = self.read();
        let set = &settings.settings;
        let raised_at = core.raised_at.map(|at| self.unix_time(at));
        let gauges = Gauges {
            in_flight: core.in_flight,
            bucket_level: core.bucket_level,
            rate: core.limits.rate,
            rate_in_force: core.rate_in_force,
            breaker_open: core.stops.is_broken,
            pushed_back: core.stops.is_held,
            connected: *self.is_connected.borrow(),
            renders_at_once: core.renders_at_once.get(),
            fetches_at_once: core.fetches_at_once.get(),
            burst: core.limits.burst.get(),
            concurrency: core.limits.concurrency.get() as usize,
            queue: core.limits.queue.get() as usize,
            target_rollout: core.target,
            target_raised_at: raised_at,
            stopped: core.stopped,
            fleet_rate: set.admission.fleet_rate,
            fleet_size: set.admission.fleet_size.map(|size| size.get()),
            max_bytes: values::bytes(set.cache.max_bytes),
            max_waiting: set.lookup.max_waiting,
            projects_fresh: core.fresh,
            projects_outdated: core.outdated,
            projects_wanted: [core.wanted_missing, core.wanted_outdated],
            projects_failing: core.failing,
            oldest_render: core.oldest_render,
            oldest_outdated: core.oldest_outdated,
            held_bytes: core.held_bytes,
            evictions_total: core.evictions,
            evicted_wanted_total: core.evicted_wanted,
            waiting: self.lookup.waiting(),
            watchers: self.lookup.watching(),
            unread_bytes: self.unread.bytes(),
            unread_ended_total: self.unread.ended(),
            lookup_connections: self.connections.open(),
            ready: self.readiness.is_ready(),
            degraded: self.is_degraded(),
            projects_unconfirmed: core.unconfirmed,
            changes_up: self.changes_up.now(),
            settings_hash: settings.hash.to_string(),
            settings_valid: settings.is_valid,
            settings_pending: settings.pending.len(),
            log_lines_dropped_total: self.log_dropped.get().map_or(0, DroppedLines::count),
            spans: self.spans.counted(),
            disk: self.kept.numbers(),
            fleet: self.fleet.as_ref().map(Valkey::numbers),
            process: self.process.read(),
        };
        self.metrics.text(gauges, exposition)
    }
}
