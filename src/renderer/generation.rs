//! The rollout that a renderer renders: the generation of its own software, whatever it is asked
//! for. It only rises.

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The generation of a renderer. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Generation(Arc<AtomicU64>);

/// A rollout that a renderer cannot be raised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "rollout {wanted} is below {current}, which is rendered: a rollback is a new, higher rollout"
)]
pub struct LowerRollout {
    /// The one that was wanted.
    pub wanted: u64,
    /// The one that is rendered.
    pub current: u64,
}

impl Generation {
    /// Starts with a rollout.
    pub(super) fn new(rollout: NonZeroU64) -> Self {
        Self(Arc::new(AtomicU64::new(rollout.get())))
    }

    /// The rollout that is rendered now.
    pub(super) fn rollout(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Renders a higher rollout from now on, or the same.
    ///
    /// # Errors
    /// When it is lower.
    pub(super) fn raise(&self, rollout: NonZeroU64) -> Result<(), LowerRollout> {
        let wanted = rollout.get();
        let current = self.0.fetch_max(wanted, Ordering::Relaxed);
        if wanted < current {
            return Err(LowerRollout { wanted, current });
        }
        tracing::info!(
            rollout = wanted,
            before = current,
            "rendering a new rollout"
        );
        Ok(())
    }
}
