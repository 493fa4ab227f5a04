//! The observer that records: it hands facts to a thread and counts lookups, and never waits.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{self, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    RecordStart,
    tally::{Counted, LookupTally},
    thread::RecordThread,
    write::RecordFile,
};
use crate::{
    admission::{AdmissionFact, Class, Gate},
    answer::{Answer, Failure},
    moment::{Clock, Moment},
    refresh::{Flown, Observe, RenderResult},
    revision::Project,
};

/// How many facts may wait for the thread: a second of a busy sidecar.
const QUEUE: usize = 8_192;

/// Tells one observer of everything, and records what admission is told.
pub struct Recorder {
    observe: Arc<dyn Observe>,
    /// Its key is random, and is never written.
    hash: RandomState,
    facts: SyncSender<RecordNote>,
    shared: Arc<RecorderShared>,
}

/// A record that is being written. It ends with the recorder, or when this is asked to.
#[derive(Debug)]
pub struct Recording {
    facts: SyncSender<RecordNote>,
    ended: CancellationToken,
}

/// What the recorder tells its thread.
#[derive(Debug)]
pub(super) enum RecordNote {
    Fact(AdmissionFact<u64>, Moment),
    Lookups(Counted, Moment),
    End,
}

/// What a recorder and its thread share.
#[derive(Debug, Default)]
pub(super) struct RecorderShared {
    pub(super) tally: LookupTally,
    /// Facts that found no room.
    pub(super) lost: AtomicU64,
    pub(super) is_over: AtomicBool,
}

impl Recorder {
    /// Starts a thread that writes a record to a file.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        file: RecordFile,
        start: RecordStart,
        clock: Clock,
        observe: Arc<dyn Observe>,
    ) -> io::Result<(Self, Recording)> {
        let (facts, told) = mpsc::sync_channel(QUEUE);
        let shared = Arc::<RecorderShared>::default();
        let ended = CancellationToken::new();
        let writing = RecordThread::new(file, start, clock, Arc::clone(&shared));
        let is_over = ended.clone().drop_guard();
        thread::Builder::new()
            .name("record".to_owned())
            .spawn(move || {
                let _is_over = is_over;
                writing.run(&told);
            })?;
        let recorder = Self {
            observe,
            hash: RandomState::new(),
            facts: facts.clone(),
            shared,
        };
        Ok((recorder, Recording { facts, ended }))
    }

    fn send(&self, told: RecordNote) {
        if let Err(TrySendError::Full(lost)) = self.facts.try_send(told) {
            let lost = match lost {
                RecordNote::Fact(..) | RecordNote::End => 1,
                RecordNote::Lookups(counted, _) => counted.total(),
            };
            self.shared.lost.fetch_add(lost, Relaxed);
        }
    }
}

impl Recording {
    /// Ends the record within that time.
    pub async fn end(self, within: Duration) {
        // Where there is no room, the disk is too slow to wait for.
        let _ = self.facts.try_send(RecordNote::End);
        let _ = timeout(within, self.ended.cancelled()).await;
    }
}

impl Observe for Recorder {
    fn rendered(&self, class: Class, result: RenderResult, duration: Duration) {
        self.observe.rendered(class, result, duration);
    }

    fn fetched(&self, result: RenderResult, duration: Duration) {
        self.observe.fetched(result, duration);
    }

    fn refused(&self, class: Class, gate: Gate) {
        self.observe.refused(class, gate);
    }

    fn flown(&self, flown: &Flown<'_>) {
        self.observe.flown(flown);
    }

    fn told(&self, fact: AdmissionFact<&Project>, now: Moment) {
        if !self.shared.is_over.load(Relaxed) {
            if let AdmissionFact::Target(_) = fact {
                // Lookups before a release are told apart from those after it.
                self.send(RecordNote::Lookups(self.shared.tally.take(), now));
            }
            let hash = |project: &Project| {
                Ok::<_, std::convert::Infallible>(self.hash.hash_one(project.as_str()))
            };
            let Ok(fact) = fact.rename(hash);
            self.send(RecordNote::Fact(fact, now));
        }
        self.observe.told(fact, now);
    }

    fn looked_up(&self, project: &str) {
        if !self.shared.is_over.load(Relaxed) {
            self.shared.tally.count(self.hash.hash_one(project));
        }
        self.observe.looked_up(project);
    }

    fn answered(&self, answer: &Result<Answer, Failure>) {
        self.shared.tally.answered(answer);
        self.observe.answered(answer);
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
