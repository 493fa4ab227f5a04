//! Puts hot settings in force when they change: at once, but for a raised rollout, which may be splayed, and the share of a fleet
//! that shrank, which rises gently.

use std::{fs, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};
use xxhash_rust::xxh3::xxh3_64;

use super::{Core, plain};
use crate::{settings::Settings, share::Share};

/// How often a rising share is looked at.
const STEP: Duration = Duration::from_secs(1);

/// Follows the settings for as long as the sidecar lives.
pub(super) async fn follow(core: Arc<Core>) {
    let mut in_force = core.settings.clone();
    let settings = in_force.borrow_and_update().settings.clone();
    let mut hot = Hot::new(&core, &settings);
    loop {
        let wake = hot.wake(&core);
        tokio::select! {
            changed = in_force.changed() => if changed.is_err() { return },
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
        let settings = in_force.borrow_and_update().settings.clone();
        hot.apply(&core, &settings);
    }
}

struct Hot {
    share: Share,
    /// The part of the splay that this host waits.
    part: f64,
    /// A rollout that is to be picked up, and when.
    release: Option<(u64, Instant)>,
}

impl Hot {
    fn new(core: &Core, settings: &Settings) -> Self {
        let now = core.refresh.clock().now();
        Self {
            share: Share::new(settings.admission.rate(), plain::fleet(settings), now),
            part: part_of(&host_name()),
            release: None,
        }
    }

    fn wake(&self, core: &Core) -> Option<Instant> {
        let is_rising = self.share.is_rising(core.refresh.clock().now());
        let step = is_rising.then(|| Instant::now() + STEP);
        let release = self.release.map(|(_, at)| at);
        [step, release].into_iter().flatten().min()
    }

    fn apply(&mut self, core: &Core, settings: &Settings) {
        let now = core.refresh.clock().now();
        self.share
            .set(settings.admission.rate(), plain::fleet(settings), now);
        core.refresh
            .set_limits(plain::admission(settings, self.share.rate(now)));
        core.lookup.set_limits(plain::lookup(settings));
        core.unread
            .set_most(plain::bytes(settings.lookup.max_unread));
        core.refresh.set_max_age(settings.lookup.max_age);
        if let Some(rollout) = self.due(core.freshness.target(), settings) {
            core.refresh.set_target(rollout);
        }
    }

    /// The rollout that is to be the target now, if it is another.
    fn due(&mut self, target: u64, settings: &Settings) -> Option<u64> {
        let rollout = settings.rollout.get();
        let waits = settings.admission.splay.mul_f64(self.part);
        if rollout <= target || waits.is_zero() {
            self.release = None;
            return (rollout != target).then_some(rollout);
        }
        let at = match self.release {
            // A newer one does not start the wait anew: releases in quick succession would never be picked up.
            Some((_, at)) => at,
            None => Instant::now() + waits,
        };
        let is_due = at <= Instant::now();
        self.release = (!is_due).then_some((rollout, at));
        is_due.then_some(rollout)
    }
}

/// A fraction that is the same whenever the name is.
fn part_of(name: &str) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a fraction")]
    let part = xxh3_64(name.as_bytes()) as f64 / u64::MAX as f64;
    part
}

/// The name of the host, which in Kubernetes is the pod's.
fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Moment;

    fn settings(rollout: u64, splay: Duration) -> Settings {
        let mut settings = Settings {
            rollout: rollout.try_into().unwrap(),
            ..Settings::default()
        };
        settings.admission.splay = splay;
        settings
    }

    fn hot() -> Hot {
        Hot {
            share: Share::new(5.0, None, Moment::START),
            part: 0.25,
            release: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_is_picked_up_after_the_host_s_part_of_the_splay() {
        let mut hot = hot();
        let settings = settings(2, Duration::from_secs(40));
        assert_eq!(hot.due(1, &settings), None);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(
            hot.due(1, &settings),
            None,
            "reading it again does not put it off"
        );
        let next = self::settings(3, Duration::from_secs(40));
        assert_eq!(hot.due(1, &next), None, "nor does a newer one");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(hot.due(1, &next), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_splay_and_on_the_way_down_it_is_picked_up_at_once() {
        assert_eq!(hot().due(1, &settings(2, Duration::ZERO)), Some(2));
        assert_eq!(hot().due(3, &settings(2, Duration::from_secs(40))), Some(2));
        assert_eq!(hot().due(2, &settings(2, Duration::from_secs(40))), None);
    }

    #[test]
    fn hosts_have_different_parts() {
        let parts: Vec<_> = (0..100)
            .map(|pod| part_of(&format!("shop-7c9f-{pod}")))
            .collect();
        assert!(parts.iter().any(|part| *part < 0.1) && parts.iter().any(|part| *part > 0.9));
    }
}
