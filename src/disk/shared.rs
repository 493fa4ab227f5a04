//! What the rest of the process and the disk's thread share: the names of what is to be written, of
//! what is to be read next, and what is counted.
//!
//! Every lock is held for a few instructions, never while the disk works. A slow disk makes the set
//! of names grow, and nothing else: what is written is read from the cache when its turn comes.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    cache::KeepEvent,
    moment::{Clock, Moment},
    revision::Project,
};

/// As many names may wait that only say that the renderer does not know them: any caller can think
/// them up. Of others there are no more than were held.
const MOST_ABSENT: usize = 10_000;

/// Shared by all handles and the thread.
#[derive(Debug)]
pub(super) struct DiskShared {
    pub(super) clock: Clock,
    waiting: Mutex<WaitingNames>,
    wakes: Condvar,
    is_over: AtomicBool,
    has_ended: AtomicBool,
    pub(super) counts: DiskCounts,
    /// Whether everything was recalled that memory has room for.
    pub(super) settled: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct WaitingNames {
    names: HashMap<Project, NotedEvent>,
    /// How many names the thread took and has not written, and since when the first was noted.
    in_hand: (usize, Option<Moment>),
    /// When projects were dropped that the thread has not heard of.
    drops: Vec<Moment>,
    /// The targets changed.
    is_raised: bool,
    /// What is still to be recalled, and what of it is asked for.
    left: HashSet<Project>,
    asked: Vec<Project>,
    is_closing: bool,
}

/// What is to be written of a project.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotedEvent {
    pub(super) event: KeepEvent,
    pub(super) since: Moment,
}

/// What the thread is to do next.
#[derive(Debug, Default)]
pub(super) struct TakenNames {
    pub(super) names: Vec<(Project, NotedEvent)>,
    pub(super) drops: Vec<Moment>,
    pub(super) is_raised: bool,
    pub(super) asked: Vec<Project>,
    pub(super) is_closing: bool,
}

/// How long the thread waits when there is nothing to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// Not at all.
    Never,
    /// Until then, or until there is something to write.
    For(Option<Instant>),
    /// Until then, whatever is to be written: the disk cannot be used.
    Away(Instant),
}

/// What is counted, and how the disk is.
#[derive(Debug, Default)]
pub(super) struct DiskCounts {
    pub(super) is_up: AtomicBool,
    pub(super) bytes: AtomicU64,
    pub(super) projects: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) durable: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) recalled: AtomicU64,
    pub(super) recall_nanos: AtomicU64,
    /// By kind of error.
    pub(super) errors: [AtomicU64; 4],
    /// Since when something has been written and not durable, in nanoseconds; 0 when all is.
    pub(super) dirty_since: AtomicU64,
}

impl DiskShared {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            waiting: Mutex::default(),
            wakes: Condvar::new(),
            is_over: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            counts: DiskCounts::default(),
            settled: watch::Sender::new(false),
        }
    }

    pub(super) fn note(&self, project: &Project, event: KeepEvent) {
        if self.has_ended() {
            return;
        }
        let since = self.clock.now();
        let mut waiting = self.lock();
        if event == KeepEvent::Dropped {
            waiting.drops.push(since);
        }
        let count = waiting.names.len();
        let is_new = match waiting.names.entry(project.clone()) {
            Entry::Vacant(vacant) => {
                if event == KeepEvent::Absent && count >= MOST_ABSENT {
                    self.counts.skipped.fetch_add(1, Relaxed);
                    return;
                }
                vacant.insert(NotedEvent { event, since });
                true
            }
            Entry::Occupied(mut noted) => {
                // What was dropped stays so, whatever is known of its absence.
                if event != KeepEvent::Absent {
                    noted.get_mut().event = event;
                }
                false
            }
        };
        if is_new && count == 0 {
            self.wakes.notify_one();
        }
    }

    /// Names again what could not be written, unless more is known by now.
    pub(super) fn put_back(&self, names: Vec<(Project, NotedEvent)>) {
        let mut waiting = self.lock();
        for (project, noted) in names {
            waiting.names.entry(project).or_insert(noted);
        }
    }

    pub(super) fn record_raise(&self) {
        self.lock().is_raised = true;
        self.wakes.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().is_closing = true;
        self.wakes.notify_one();
    }

    /// Records that nothing more is written or recalled.
    pub(super) fn record_end(&self) {
        self.has_ended.store(true, Release);
        self.is_over.store(true, Relaxed);
        self.counts.is_up.store(false, Relaxed);
        self.settled.send_replace(true);
        *self.lock() = WaitingNames::default();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Acquire)
    }

    /// What is to be done next: at most `most` names, in no order.
    pub(super) fn take(&self, most: usize, wait: Wait) -> TakenNames {
        let mut waiting = self.lock();
        waiting.in_hand = (0, None);
        loop {
            let is_away = matches!(wait, Wait::Away(_));
            let has_work = !waiting.asked.is_empty()
                || waiting.is_closing
                || (!is_away && (!waiting.names.is_empty() || waiting.is_raised));
            let until = match wait {
                _ if has_work => break,
                Wait::Never => break,
                Wait::For(until) => until,
                Wait::Away(until) => Some(until),
            };
            waiting = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = self.wakes.wait_timeout(waiting, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.wakes.wait(waiting);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
        let mut taken = TakenNames {
            asked: std::mem::take(&mut waiting.asked),
            is_closing: waiting.is_closing,
            ..TakenNames::default()
        };
        if most > 0 {
            let first: Vec<_> = waiting.names.keys().take(most).cloned().collect();
            let names = first.into_iter().filter_map(|project| {
                let noted = waiting.names.remove(&project)?;
                Some((project, noted))
            });
            taken.names = names.collect();
            let since = taken.names.iter().map(|(_, noted)| noted.since).min();
            waiting.in_hand = (taken.names.len(), since);
            taken.drops = std::mem::take(&mut waiting.drops);
            taken.is_raised = std::mem::take(&mut waiting.is_raised);
        }
        taken
    }

    /// Whether names wait that the thread has not taken.
    pub(super) fn has_names(&self) -> bool {
        !self.lock().names.is_empty()
    }

    /// How many names are not written, and since when the first of them waits.
    pub(super) fn pending(&self) -> (usize, Option<Moment>) {
        let waiting = self.lock();
        let (in_hand, since) = waiting.in_hand;
        let noted = waiting.names.values().map(|noted| noted.since);
        (waiting.names.len() + in_hand, noted.chain(since).min())
    }

    // === What is to be recalled ===

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    pub(super) fn hasten(&self, project: &Project) -> bool {
        let mut waiting = self.lock();
        let is_left = waiting.left.contains(project);
        if is_left {
            waiting.asked.push(project.clone());
            self.wakes.notify_one();
        }
        is_left
    }

    /// Sets what is to be recalled.
    pub(super) fn set_left(&self, left: HashSet<Project>) {
        self.is_over.store(left.is_empty(), Relaxed);
        self.lock().left = left;
    }

    /// Records that a project is no longer to be recalled.
    pub(super) fn record_recalled(&self, project: &Project) {
        let mut waiting = self.lock();
        waiting.left.remove(project);
        if waiting.left.is_empty() {
            self.is_over.store(true, Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, WaitingNames> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskCounts {
    pub(super) fn set_dirty_since(&self, since: Option<Moment>) {
        let nanos = since.map_or(0, |since| {
            u64::try_from(since.since_start().as_nanos()).unwrap_or(u64::MAX)
        });
        self.dirty_since.store(nanos, Relaxed);
    }

    pub(super) fn dirty_since(&self) -> Option<Moment> {
        let nanos = self.dirty_since.load(Relaxed);
        (nanos > 0).then(|| Moment::after_start(Duration::from_nanos(nanos)))
    }

    /// Counts what became durable: all that was written.
    pub(super) fn record_sync(&self) {
        self.durable.store(self.written.load(Acquire), Relaxed);
        self.set_dirty_since(None);
    }

    pub(super) fn record_written(&self, rows: u64) {
        self.written.fetch_add(rows, AcqRel);
    }
}
