//! What the two ways have in common: they answer lookups and learn of releases.

use std::net::SocketAddr;

use super::{DemoError, DemoStage};

/// A way to answer lookups.
pub(super) trait LookupWay {
    /// What the demo is doing while its storm lasts.
    const STAGE: DemoStage;

    /// Whether its storm lasts until every project is fresh, or the time for a recovery is over.
    const RECOVERS: bool;

    /// Where it answers lookups now.
    fn lookup(&self) -> SocketAddr;

    /// How many projects it holds that are fresh and fit to be served.
    fn fresh(&self) -> usize;

    /// How many processes it took so far.
    fn pods(&self) -> u32;

    /// Releases a rollout as the terms say, and returns when it is known; lookups are answered at
    /// [`lookup`](Self::lookup) then.
    async fn release(&mut self, rollout: u64) -> Result<(), DemoError>;
}
