//! Whether the sidecar can answer lookups: it is ready once nothing blocks it.
//!
//! A part that must be there first holds a [`Block`] and drops it once it is; the answer to why the
//! sidecar is not ready lists the blocks. This room does not know what they stand for, nor who
//! asks.

use std::sync::Arc;

use tokio::sync::watch;

/// What stands between the sidecar and being ready. Clones are of the same readiness.
#[derive(Clone, Debug)]
pub struct Readiness {
    pending: Arc<watch::Sender<Vec<&'static str>>>,
}

/// Keeps the sidecar from being ready until dropped.
#[derive(Debug)]
#[must_use = "dropping it unblocks at once"]
pub struct Block {
    readiness: Readiness,
    name: &'static str,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Starts with nothing pending, which is ready: take the blocks before anyone asks.
    pub fn new() -> Self {
        Self {
            pending: Arc::new(watch::Sender::new(Vec::new())),
        }
    }

    /// Blocks readiness; `/readyz` shows `name` while it is pending.
    pub fn block(&self, name: &'static str) -> Block {
        self.pending.send_modify(|pending| pending.push(name));
        Block {
            readiness: self.clone(),
            name,
        }
    }

    /// What is still pending, in the order blocked; empty when ready.
    pub fn pending(&self) -> Vec<&'static str> {
        self.pending.borrow().clone()
    }

    /// Whether nothing is pending.
    pub fn is_ready(&self) -> bool {
        self.pending.borrow().is_empty()
    }

    /// Waits until nothing is pending; returns at once when that is so already.
    pub async fn until_ready(&self) {
        self.until(Vec::is_empty).await;
    }

    /// Waits until something is pending; returns at once when that is so already.
    pub async fn until_unready(&self) {
        self.until(|pending| !pending.is_empty()).await;
    }

    async fn until(&self, is_reached: fn(&Vec<&'static str>) -> bool) {
        self.pending
            .subscribe()
            .wait_for(is_reached)
            .await
            .expect("BUG: a readiness outlives those who wait for it");
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.readiness.pending.send_modify(|pending| {
            if let Some(at) = pending.iter().position(|name| *name == self.name) {
                pending.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn is_ready_when_the_last_block_is_dropped() {
        let readiness = Readiness::new();
        let listeners = readiness.block("listeners");
        let upstream = readiness.block("upstream");
        assert_eq!(readiness.pending(), ["listeners", "upstream"]);

        drop(listeners);
        assert_eq!(readiness.pending(), ["upstream"]);
        assert!(readiness.until_ready().now_or_never().is_none());

        drop(upstream);
        assert!(readiness.is_ready());
        assert!(readiness.until_ready().now_or_never().is_some());
    }

    #[test]
    fn two_blocks_of_one_name_are_two() {
        let readiness = Readiness::new();
        let one = readiness.block("listener");
        let _other = readiness.block("listener");
        drop(one);
        assert_eq!(readiness.pending(), ["listener"]);
    }

    #[tokio::test(start_paused = true)]
    async fn tells_when_it_is_ready_no_longer() {
        let readiness = Readiness::new();
        readiness.until_ready().await;
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.until_unready().await }
        });
        let _draining = readiness.block("draining");
        waiting.await.unwrap();
        assert_eq!(readiness.pending(), ["draining"]);
    }
}
