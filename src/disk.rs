//! What is held survives the process: a file beside the sidecar, and the thread that owns it.
//!
//! The cache tells the names of what changed; the thread writes what is held of them, most often
//! within milliseconds, and makes it durable a second later. When the process starts, what was held
//! comes back with its age and all that makes it outdated. Nothing waits for the disk: a disk that
//! is slow, full, damaged or away costs what would have survived, and is said once.
//! This room knows what is held. It does not know who looks it up, nor where settings come from.

mod file;
mod health;
mod index;
mod inspect;
mod keeper;
mod notes;
mod record;
mod shared;
mod stamp;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use xxhash_rust::xxh3::xxh3_64;

pub use self::{
    file::{FileError, Whose},
    health::DiskErrorKind,
    inspect::{InspectedFile, InspectedRow, inspect},
};
use self::{
    keeper::{DiskKeeper, KeptCore},
    shared::DiskShared,
};
use crate::{
    cache::{Cache, Keep, KeepEvent, Recall},
    freshness::{Freshness, Raises},
    moment::{Clock, Moment},
    revision::Project,
};

/// How far back moments of processes before this one can be said: what is older is taken to be that
/// old.
pub const PAST: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long a start waits for the names of what was held. A disk that hangs must not prevent it.
const OPENING: Duration = Duration::from_secs(2);
/// How long the end of the process waits for what is still to be written.
const ENDING: Duration = Duration::from_secs(1);
/// How often it looks whether that is done.
const LOOK: Duration = Duration::from_millis(5);

/// Where and how what is held is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// The folder; it is made where there is none.
    pub dir: PathBuf,
    /// Whose revisions they are: others have another file.
    pub whose: Whose,
    /// The most that the file takes, with its log of writes.
    pub max_bytes: u64,
    /// After how long at most what was written is made durable.
    pub sync: Duration,
    /// What was validated longer ago is not recalled.
    pub max_age: Duration,
}

/// What a process before this one left, but for its revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftBehind {
    /// How many projects are to be recalled.
    pub projects: usize,
    /// The targets that there were.
    pub raises: Raises,
    /// When held projects were dropped of late.
    pub drops: Vec<Moment>,
}

/// Keeps what is held on disk. Clones keep in the same place.
#[derive(Clone, Debug)]
pub struct Disk {
    shared: Arc<DiskShared>,
    max_bytes: u64,
}

/// The thread, and what it waits for. Dropping it ends the thread once what waits is written.
#[derive(Debug)]
pub struct DiskThread {
    disk: Disk,
    core: mpsc::Sender<KeptCore>,
}

/// How the disk is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskNumbers {
    /// Whether it can be written to.
    pub is_up: bool,
    /// What the file takes, with its log of writes.
    pub bytes: u64,
    /// What it may take.
    pub max_bytes: u64,
    /// How many projects it has.
    pub projects: u64,
    /// How many projects wait to be written.
    pub pending: usize,
    /// For how long the oldest change has not been durable.
    pub lag: Duration,
    /// Rows written since the start.
    pub written: u64,
    /// Of them, those that are durable.
    pub durable: u64,
    /// Changes that were not written since the start.
    pub skipped: u64,
    /// Rows that could not be believed since the start.
    pub lost: u64,
    /// Projects recalled since the start.
    pub recalled: u64,
    /// How long it took to recall them.
    pub recall: Duration,
    /// Errors since the start, by [`DiskErrorKind`].
    pub errors: [u64; DiskErrorKind::ALL.len()],
}

/// Opens the disk with a thread of its own, and waits, within a bound, for the names of what was
/// held. The thread goes on once it is [told](DiskThread::serve) of the cache.
///
/// # Errors
/// When there can be no such thread.
pub async fn open(
    options: DiskOptions,
    clock: Clock,
) -> io::Result<(Disk, DiskThread, LeftBehind)> {
    let max_bytes = options.max_bytes;
    let shared = Arc::new(DiskShared::new(clock));
    let (tell_core, core) = mpsc::channel();
    let (tell_found, found) = oneshot::channel();
    let of_thread = Arc::clone(&shared);
    thread::Builder::new()
        .name("disk".to_owned())
        .spawn(move || {
            if let Some((keeper, found)) = DiskKeeper::open(Arc::clone(&of_thread), options) {
                // A start that waits no longer does without.
                let _late = tell_found.send(found);
                if let Ok(core) = core.recv() {
                    keeper.work(&core);
                }
            }
            of_thread.record_end();
        })?;
    let disk = Disk { shared, max_bytes };
    let thread = DiskThread {
        disk: disk.clone(),
        core: tell_core,
    };
    let found = match timeout(OPENING, found).await {
        Ok(found) => found.unwrap_or_default(),
        Err(_) => {
            tracing::warn!("the disk store does not answer; starting without it");
            LeftBehind::default()
        }
    };
    Ok((disk, thread, found))
}

impl DiskOptions {
    /// The file.
    pub fn path(&self) -> PathBuf {
        self.dir.join(self.whose.file_name())
    }

    /// The most pages of the database: three quarters, so that the log of writes has room.
    fn max_pages(&self) -> u64 {
        self.max_bytes / 4 * 3 / file::PAGE
    }

    /// What rows may take: some of the pages are never full.
    const fn rows_limit(&self) -> u64 {
        self.max_bytes / 16 * 11
    }

    /// The most payload bytes of one transaction, but for its last payload.
    const fn largest_write(&self) -> u64 {
        self.max_bytes / 16
    }
}

impl Whose {
    /// A name of its own: what a file cannot be named is replaced, and told apart by a hash.
    fn file_name(&self) -> String {
        const LONGEST: usize = 80;
        let Self { component, realm } = self;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let plain = |name: &str| -> String {
            let plain = name.chars().map(|c| if is_plain(c) { c } else { '_' });
            plain.take(LONGEST).collect()
        };
        let (short_component, short_realm) = (plain(component), plain(realm));
        let is_exact = short_component == *component && short_realm == *realm;
        let hash = if is_exact {
            String::new()
        } else {
            format!(
                "-{:016x}",
                xxh3_64(format!("{component} {realm}").as_bytes())
            )
        };
        format!("{short_component}-{short_realm}{hash}-v1.sqlite3")
    }
}

impl Disk {
    /// Records that the targets changed.
    pub fn record_raise(&self) {
        self.shared.record_raise();
    }

    /// Waits until everything was recalled that memory has room for.
    pub async fn recalled(&self) {
        let mut settled = self.shared.settled.subscribe();
        let ended = settled.wait_for(|is_settled| *is_settled).await;
        ended.expect("BUG: the disk outlives those who wait for it");
    }

    /// How the disk is now.
    pub fn numbers(&self) -> DiskNumbers {
        let counts = &self.shared.counts;
        let (pending, since) = self.shared.pending();
        let since = [since, counts.dirty_since()].into_iter().flatten().min();
        let now = self.shared.clock.now();
        DiskNumbers {
            is_up: counts.is_up.load(Relaxed),
            bytes: counts.bytes.load(Relaxed),
            max_bytes: self.max_bytes,
            projects: counts.projects.load(Relaxed),
            pending,
            lag: since.map_or(Duration::ZERO, |since| now.since(since)),
            written: counts.written.load(Relaxed),
            durable: counts.durable.load(Relaxed),
            skipped: counts.skipped.load(Relaxed),
            lost: counts.lost.load(Relaxed),
            recalled: counts.recalled.load(Relaxed),
            recall: Duration::from_nanos(counts.recall_nanos.load(Relaxed)),
            errors: counts.errors.each_ref().map(|count| count.load(Relaxed)),
        }
    }
}

impl DiskThread {
    /// Goes on: recalls into `cache`, and writes what it holds from now on.
    pub fn serve(&self, cache: Arc<Cache>, freshness: Arc<Freshness>) {
        self.disk.record_raise();
        // A thread that ended has said why.
        let _ended = self.core.send(KeptCore { cache, freshness });
    }

    /// Ends the thread, and waits a second at most until all is written and durable.
    pub async fn end(self) {
        let shared = Arc::clone(&self.disk.shared);
        drop(self);
        let ended = async {
            while !shared.has_ended() {
                sleep(LOOK).await;
            }
        };
        if timeout(ENDING, ended).await.is_err() {
            tracing::warn!("the disk takes too long: what is not written yet is lost");
        }
    }
}

impl Drop for DiskThread {
    fn drop(&mut self) {
        self.disk.shared.close();
    }
}

impl Keep for Disk {
    fn note(&self, project: &Project, event: KeepEvent) {
        self.shared.note(project, event);
    }
}

impl Recall for Disk {
    fn is_over(&self) -> bool {
        self.shared.is_over()
    }

    fn hasten(&self, project: &Project) -> bool {
        self.shared.hasten(project)
    }
}

#[cfg(test)]
mod tests;
