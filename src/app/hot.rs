//! Puts hot settings in force when they change: at once, but for a raised rollout, which may be
//! splayed, and the share of a fleet that shrank, which rises gently.

use std::{fs, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{SidecarCore, values};
use crate::{
    admission::{FleetMode, FleetRate, Share, Splay},
    moment::Moment,
    settings::Settings,
    valkey::{FleetState, Valkey},
};

/// How often a rising share is looked at.
const STEP: Duration = Duration::from_secs(1);

/// Follows the settings for as long as the sidecar lives.
pub(super) async fn follow(core: Arc<SidecarCore>) {
    let mut in_force = core.settings.clone();
    let mut fleet = core.fleet.as_ref().map(Valkey::state);
    let settings = in_force.borrow_and_update().settings.clone();
    let mut hot = Hot::new(&core, &settings);
    loop {
        let wake = hot.wake(&core);
        tokio::select! {
            changed = in_force.changed() => if changed.is_err() { return },
            () = fleet_changed(&mut fleet) => {}
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
        let settings = in_force.borrow_and_update().settings.clone();
        hot.apply(&core, &settings);
    }
}

/// Waits until the sidecar goes another way with its fleet; for ever without one.
async fn fleet_changed(fleet: &mut Option<watch::Receiver<FleetState>>) {
    let changed = match fleet {
        Some(fleet) => fleet.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

struct Hot {
    share: Share,
    splay: Splay,
    mode: Option<FleetMode>,
}

impl Hot {
    fn new(core: &SidecarCore, settings: &Settings) -> Self {
        let now = core.refresh.clock().now();
        Self {
            share: Share::new(settings.admission.rate(), values::fleet(settings), now),
            splay: Splay::new(part_of(&host_name())),
            mode: None,
        }
    }

    fn wake(&self, core: &SidecarCore) -> Option<Instant> {
        let clock = core.refresh.clock();
        let is_rising = self.share.is_rising(clock.now());
        let step = is_rising.then(|| Instant::now() + STEP);
        let release = self.splay.wakes_at().map(|at| clock.instant(at));
        [step, release].into_iter().flatten().min()
    }

    fn apply(&mut self, core: &SidecarCore, settings: &Settings) {
        let now = core.refresh.clock().now();
        self.apply_rate(core, settings, now);
        core.lookup.set_limits(values::lookup(settings));
        core.unread
            .set_most(values::bytes(settings.lookup.max_unread));
        core.freshness.set_max_age(settings.lookup.max_age);
        let (rollout, splay) = (settings.rollout.get(), settings.admission.splay);
        if let Some(rollout) = self.splay.due(core.freshness.target(), rollout, splay, now) {
            core.refresh.set_target(rollout);
            core.kept.record_raise();
        }
    }

    /// Puts the rate in force: with a fleet's store the whole of it, of which the store lets this
    /// sidecar have what it needs, or the part that it takes alone.
    fn apply_rate(&mut self, core: &SidecarCore, settings: &Settings, now: Moment) {
        let budget = values::budget(settings);
        let (Some(fleet), Some(budget)) = (&core.fleet, budget) else {
            self.share
                .set(settings.admission.rate(), values::fleet(settings), now);
            let limits = values::admission(settings, self.share.rate(now));
            core.refresh.set_limits(limits);
            return;
        };
        fleet.set_budget(budget);
        let FleetState { mode, count } = *fleet.state().borrow();
        let size = count.max(budget.size);
        let rate = budget.rate / f64::from(size);
        let of_all = FleetRate {
            rate: budget.rate,
            size,
        };
        self.share.set(rate, Some(of_all), now);
        let has_changed = self.mode.replace(mode) != Some(mode);
        if mode == FleetMode::Joined {
            if has_changed {
                core.refresh.set_fleet(mode);
            }
            core.refresh
                .set_limits(values::admission(settings, budget.rate));
        } else {
            // The smaller rate first: alone, it is the only limit.
            let limits = values::admission(settings, self.share.rate(now));
            core.refresh.set_limits(limits);
            if has_changed {
                core.refresh.set_fleet(mode);
            }
        }
    }
}

/// A fraction that is the same whenever the name is.
fn part_of(name: &str) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a fraction")]
    let part = xxh3_64(name.as_bytes()) as f64 / u64::MAX as f64;
    part
}

/// The name of the host, which in Kubernetes is the pod's.
pub(super) fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_different_parts() {
        let parts: Vec<_> = (0..100)
            .map(|pod| part_of(&format!("shop-7c9f-{pod}")))
            .collect();
        assert!(parts.iter().any(|part| *part < 0.1) && parts.iter().any(|part| *part > 0.9));
    }
}
