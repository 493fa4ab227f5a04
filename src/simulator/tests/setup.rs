//! What a scenario starts from: a plan, and what the oracle allows in it.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use crate::simulator::Plan;

/// How long a sidecar may take to be back to normal.
pub(super) const RECOVERY: Duration = Duration::from_secs(90);

#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) plan: Plan,
    /// How many launches may not be the first for the same wish, for each that is.
    pub(super) repeats: f64,
}

impl Setup {
    /// How long a project may be outdated that was looked up, once nothing is wrong: until the
    /// sidecar is back to normal, and for as long as it takes to render all that may be wanted
    /// while other wishes go on.
    #[expect(clippy::cast_precision_loss, reason = "a few projects")]
    pub(super) fn recovery(&self) -> Duration {
        let unknown = self.unknown.min(self.queue as usize);
        let wanted = (self.projects + unknown) as f64;
        let others = self.capacity() * self.load / self.sidecars as f64;
        let seconds = wanted / (self.bearable_rate() - others).max(1e-3);
        RECOVERY + Duration::from_secs_f64(seconds)
    }
}

impl Deref for Setup {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.plan
    }
}

impl DerefMut for Setup {
    fn deref_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }
}
