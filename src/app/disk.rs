//! The disk of a sidecar, if its settings name a folder: opened before anything is held, and ended
//! after all has landed.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Block, SidecarCore, SidecarError};
use crate::{
    cache::Cache,
    disk::{self, Disk, DiskNumbers, DiskOptions, DiskThread, LeftBehind, Whose},
    freshness::Freshness,
    lookup::Lookup,
    moment::Clock,
    refresh::Refresh,
    settings::{Settings, StartPolicy},
};

/// The disk, if there is one, and what a process before this one left there.
#[derive(Debug, Default)]
pub(super) struct KeptState {
    disk: Option<Disk>,
    left: LeftBehind,
}

/// Ends the disk's thread, if there is one.
#[derive(Debug, Default)]
pub(super) struct DiskEnd(Option<DiskThread>);

/// Opens the disk that the settings name.
pub(super) async fn open(
    settings: &Settings,
    clock: Clock,
) -> Result<(KeptState, DiskEnd), SidecarError> {
    let Some(dir) = &settings.disk.dir else {
        return Ok(Default::default());
    };
    let options = DiskOptions {
        dir: dir.path().to_owned(),
        whose: Whose {
            component: settings.component.clone(),
            realm: settings.disk.realm.clone(),
        },
        max_bytes: settings.disk.max_bytes.bytes(),
        sync: settings.disk.sync,
        max_age: settings.disk.max_age,
    };
    let opened = disk::open(options, clock).await;
    let (disk, thread, left) = opened.map_err(SidecarError::Disk)?;
    let disk = Some(disk);
    Ok((KeptState { disk, left }, DiskEnd(Some(thread))))
}

impl KeptState {
    /// A cache that is kept, and a freshness that goes on where the last process left off.
    pub(super) fn restored(
        &self,
        cache: Cache,
        settings: &Settings,
        clock: Clock,
    ) -> (Arc<Cache>, Arc<Freshness>) {
        let (target, max_age) = (settings.rollout.get(), settings.lookup.max_age);
        let raises = self.left.raises.clone();
        let freshness = Freshness::resumed(raises, target, max_age, clock.now());
        let cache = match &self.disk {
            Some(disk) => cache.kept_by(Arc::new(disk.clone())),
            None => cache,
        };
        if let Some(at) = freshness.raised_at() {
            cache.record_raise(at);
        }
        (Arc::new(cache), Arc::new(freshness))
    }

    /// Lookups that wait for what is being recalled.
    pub(super) fn recalled_by(&self, lookup: Lookup) -> Lookup {
        match &self.disk {
            Some(disk) => lookup.with_recall(Arc::new(disk.clone())),
            None => lookup,
        }
    }

    /// What was left takes effect: drops count, and what was held is to be confirmed.
    pub(super) fn take_effect(&self, refresh: &Refresh) {
        refresh.resume_drops(self.left.drops.iter().copied());
        if self.disk.is_some() {
            refresh.resync(refresh.clock().now());
        }
    }

    /// Whether it holds something.
    fn has_something(&self) -> bool {
        self.left.projects > 0
    }

    /// Records that the target changed.
    pub(super) fn record_raise(&self) {
        if let Some(disk) = &self.disk {
            disk.record_raise();
        }
    }

    pub(super) fn numbers(&self) -> Option<DiskNumbers> {
        self.disk.as_ref().map(Disk::numbers)
    }
}

impl DiskEnd {
    /// Recalls into `cache`, and writes what it holds from now on.
    pub(super) fn serve(&self, cache: Arc<Cache>, freshness: Arc<Freshness>) {
        if let Some(thread) = &self.0 {
            thread.serve(cache, freshness);
        }
    }

    /// Waits a second at most until all that is held is durable.
    pub(super) async fn end(self) {
        if let Some(thread) = self.0 {
            thread.end().await;
        }
    }
}

/// What keeps the sidecar unready until what it holds can be answered; none when it can be now. The
/// first contact with the renderer is for others to end.
pub(super) fn policy(core: &Arc<SidecarCore>, settings: &Settings) -> Option<Block> {
    let contact = || Some(core.readiness.block("first contact with the renderer"));
    if !core.kept.has_something() {
        return contact();
    }
    match settings.start.policy {
        StartPolicy::Recalled => None,
        StartPolicy::Contact => contact(),
        StartPolicy::Warm => {
            let block = core.readiness.block("what was held before the start");
            tokio::spawn(warm(core.kept.disk.clone(), block, settings.start.grace));
            None
        }
    }
}

/// Lifts the block once memory has what was held, or when the grace ends.
async fn warm(disk: Option<Disk>, block: Block, grace: Duration) {
    if let Some(disk) = disk
        && timeout(grace, disk.recalled()).await.is_err()
    {
        tracing::warn!("not all that was held is in memory yet; becoming ready without it");
    }
    drop(block);
}
