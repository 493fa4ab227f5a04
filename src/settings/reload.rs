//! Keeps the settings in force while their files change.
//!
//! The files are read every 500 ms, which sees a rename, a symlink swap and a file written in place
//! alike, where inotify loses its watch. Hot fields apply at once, changed restart-only fields are
//! pending, and settings that are not fit change nothing. When a change is taken is decided in
//! [`watch`], without a file or a clock.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch::Receiver, watch::Sender},
    time::{MissedTickBehavior, interval},
};
use tokio_util::task::AbortOnDropHandle;

use self::watch::{FileWatch, ReadCause};
use super::{
    Hash, Invalid, Loaded, Pinned, Settings, Sources, load::resolve, reading::FileReading,
    section::Difference,
};

mod repair;
#[cfg(test)]
mod tests;
mod watch;

/// How often the files are read.
const PERIOD: Duration = Duration::from_millis(500);

/// The settings that a sidecar runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// The settings: hot fields as the files have them, the others as they were at start.
    pub settings: Settings,
    /// Of which files.
    pub hash: Hash,
    /// Whether the files were fit when they were read last.
    pub is_valid: bool,
    /// The fields that differ in the files and apply at the next start.
    pub pending: Vec<&'static str>,
}

impl From<&Loaded> for InForce {
    fn from(loaded: &Loaded) -> Self {
        Self {
            settings: loaded.settings.clone(),
            hash: loaded.hash.clone(),
            is_valid: true,
            pending: Vec::new(),
        }
    }
}

/// Reads the files again and again, until it is dropped.
#[derive(Debug)]
pub struct Reloader {
    demand: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

impl Reloader {
    /// Starts with what was loaded from these sources. Must be called within a runtime.
    ///
    /// The receiver sees each change of what is in force, and of whether the files are fit.
    pub fn start(sources: Sources, loaded: Loaded) -> (Self, Receiver<Arc<InForce>>) {
        let (sender, receiver) = tokio::sync::watch::channel(Arc::new(InForce::from(&loaded)));
        let demand = Arc::new(Notify::new());
        let reload = Reload::new(sources, loaded);
        let task = tokio::spawn(run(reload, Arc::clone(&demand), sender));
        let reloader = Self {
            demand,
            _task: AbortOnDropHandle::new(task),
        };
        (reloader, receiver)
    }

    /// Has the files read at once, as on SIGHUP; what stands there is taken without a second look.
    pub fn read_now(&self) {
        self.demand.notify_one();
    }
}

async fn run(mut reload: Reload, demand: Arc<Notify>, sender: Sender<Arc<InForce>>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let cause = tokio::select! {
            () = demand.notified() => ReadCause::Demand,
            _ = ticks.tick(), if !reload.sources.files.is_empty() => ReadCause::Poll,
        };
        let Some(readings) = read_again(&reload.sources, &reload.watch).await else {
            return;
        };
        match reload.see(readings, cause) {
            Some(result) => {
                sender.send_replace(Arc::new(reload.in_force.clone()));
                result.log();
            }
            None if cause == ReadCause::Demand => {
                tracing::info!(hash = %reload.in_force.hash, "settings read, nothing changed");
            }
            None => {}
        }
    }
}

/// Reads the files again; none when the runtime ends.
async fn read_again(sources: &Sources, watch: &FileWatch) -> Option<Vec<FileReading>> {
    let (files, taken) = (sources.files.clone(), watch.taken());
    let read = move || {
        let pairs = files.iter().zip(taken);
        pairs.map(|(path, taken)| taken.again(path)).collect()
    };
    tokio::task::spawn_blocking(read).await.ok()
}

/// What is in force, and what was seen of the files.
#[derive(Debug)]
struct Reload {
    sources: Sources,
    watch: FileWatch,
    in_force: InForce,
    pinned: Vec<Pinned>,
}

impl Reload {
    fn new(sources: Sources, loaded: Loaded) -> Self {
        Self {
            sources,
            in_force: InForce::from(&loaded),
            watch: FileWatch::new(loaded.readings),
            pinned: loaded.pinned,
        }
    }

    /// Looks at what was read, and takes over what is to be taken. Each content has one result,
    /// however often it is read.
    fn see(&mut self, readings: Vec<FileReading>, cause: ReadCause) -> Option<ReloadResult> {
        let readings = self.watch.see(readings, cause)?;
        let hash = Hash::of(&readings);
        Some(match resolve(&self.sources, readings) {
            Ok(loaded) => ReloadResult::Reloaded(self.adopt(loaded)),
            Err(invalid) => {
                self.in_force.is_valid = false;
                ReloadResult::Rejected { invalid, hash }
            }
        })
    }

    fn adopt(&mut self, loaded: Loaded) -> Reloaded {
        let in_force = &mut self.in_force;
        let mut differing = Vec::new();
        in_force.settings.adopt(&loaded.settings, &mut differing);
        let (changed, pending): (Vec<_>, Vec<_>) = differing
            .into_iter()
            .partition(|difference: &Difference| difference.field.is_hot);
        in_force.pending = pending.iter().map(|pending| pending.field.path).collect();
        in_force.hash = loaded.hash.clone();
        in_force.is_valid = true;
        let known = std::mem::replace(&mut self.pinned, loaded.pinned);
        let is_edited = |pin: &&Pinned| pin.ignored.is_some() && !known.contains(pin);
        Reloaded {
            hash: loaded.hash,
            changed,
            pending,
            ignored: self.pinned.iter().filter(is_edited).cloned().collect(),
        }
    }
}

/// What came of a change of the files.
#[derive(Clone, Debug, PartialEq)]
enum ReloadResult {
    /// They are fit, and their hot fields are in force.
    Reloaded(Reloaded),
    /// They are not fit, and nothing changed.
    Rejected {
        /// Why not.
        invalid: Invalid,
        /// Of which files.
        hash: Hash,
    },
}

/// What was taken over.
#[derive(Clone, Debug, PartialEq)]
struct Reloaded {
    hash: Hash,
    /// The hot fields that changed.
    changed: Vec<Difference>,
    /// The restart-only fields that differ from what is in force.
    pending: Vec<Difference>,
    /// The edits that change nothing, since the environment or a flag decides.
    ignored: Vec<Pinned>,
}

impl ReloadResult {
    /// Writes one line.
    fn log(&self) {
        match self {
            Self::Reloaded(reloaded) => {
                tracing::info!(hash = %reloaded.hash, "settings reloaded: {reloaded}");
            }
            Self::Rejected { invalid, hash } => {
                let problems = invalid.in_one_line();
                tracing::warn!(%hash, "settings rejected, keeping those in force: {problems}");
            }
        }
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changed.as_slice() {
            [] => f.write_str("no hot field changed")?,
            changed => f.write_str(&listed(changed))?,
        }
        if !self.pending.is_empty() {
            write!(f, "; pending until a restart {}", listed(&self.pending))?;
        }
        self.ignored.iter().try_for_each(|pin| write!(f, "; {pin}"))
    }
}

fn listed(differences: &[Difference]) -> String {
    let differences: Vec<_> = differences.iter().map(Difference::to_string).collect();
    differences.join(", ")
}
