//! The bytes of payloads that unread answers pin, of all watches and batches together.
//!
//! A payload that several answers pin counts once, as it takes memory once. Where the bound is
//! reached, an answer that would pin more waits, pinning nothing, in order of arrival. Only while
//! some wait is a stream ended, and only one whose caller has taken no byte for [`PATIENT`].
//! Lookups of one project are not counted: they are never to wait.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{self, watch},
    time::{Instant, sleep},
};

use super::reading::Lasting;
use crate::revision::Revision;

/// How long a caller may take no byte while others wait for the room that it occupies.
const PATIENT: Duration = Duration::from_secs(30);

/// How often one that waits looks for a stream to end.
const LOOK: Duration = Duration::from_secs(1);

/// How soon it looks again once it has ended one.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a payload takes beside its bytes: what belongs to its revision.
const BESIDE: usize = 512;

/// Bounds the bytes that unread answers pin. Clones count together.
#[derive(Clone, Debug)]
pub struct Unread {
    shared: Arc<UnreadShared>,
}

#[derive(Debug)]
struct UnreadShared {
    most: AtomicUsize,
    pinned: Mutex<PinnedPayloads>,
    ended: AtomicU64,
    /// Those who wait, the one that has its turn included.
    waiting: AtomicUsize,
    turn: sync::Mutex<()>,
    /// Changes when something was let go of.
    freed: watch::Sender<()>,
    began: Instant,
}

#[derive(Debug, Default)]
struct PinnedPayloads {
    bytes: usize,
    /// By the address of a payload: what it takes, and how many answers pin it.
    payloads: HashMap<usize, (usize, usize)>,
    streams: HashMap<u64, Arc<UnreadStream>>,
    next: u64,
}

/// A watch or a batch. Counts what it pins.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    open: Arc<UnreadStream>,
    /// Forgets the stream with its last clone.
    registered: Arc<Registered>,
}

#[derive(Debug)]
struct UnreadStream {
    bytes: AtomicUsize,
    /// When its caller last took a byte of it, in milliseconds since the count began.
    taken: AtomicU64,
    is_ended: std::sync::atomic::AtomicBool,
    /// None in a call that cannot be ended from outside.
    lasting: Option<Lasting>,
}

#[derive(Debug)]
struct Registered {
    unread: Unread,
    number: u64,
}

/// Bytes that an answer pins until this is dropped.
#[derive(Debug)]
pub(super) struct Pin {
    stream: Stream,
    /// The address of the payload; none for bytes of the answer's own.
    payload: Option<usize>,
    bytes: usize,
}

/// The turn of the one that has waited for longest.
#[derive(Debug)]
pub(super) struct UnreadTurn<'a> {
    stream: &'a Stream,
    _turn: sync::MutexGuard<'a, ()>,
    _waits: WaitingStream<'a>,
    freed: watch::Receiver<()>,
    look_in: Duration,
}

#[derive(Debug)]
struct WaitingStream<'a>(&'a AtomicUsize);

impl Unread {
    /// Starts with nothing pinned, and allows at most `bytes`; a single answer always fits.
    pub fn at_most(bytes: usize) -> Self {
        Self {
            shared: Arc::new(UnreadShared {
                most: AtomicUsize::new(bytes),
                pinned: Mutex::default(),
                ended: AtomicU64::new(0),
                waiting: AtomicUsize::new(0),
                turn: sync::Mutex::default(),
                freed: watch::Sender::new(()),
                began: Instant::now(),
            }),
        }
    }

    /// Puts another bound in force. What is pinned above it stays.
    pub fn set_most(&self, bytes: usize) {
        self.shared.most.store(bytes, Relaxed);
        self.shared.freed.send_replace(());
    }

    /// The bytes that are pinned.
    pub fn bytes(&self) -> usize {
        self.shared.pinned().bytes
    }

    /// How many streams were ended because their callers read nothing while others waited.
    pub fn ended(&self) -> u64 {
        self.shared.ended.load(Relaxed)
    }

    /// Counts a watch or a batch.
    pub(super) fn open(&self, lasting: Option<Lasting>) -> Stream {
        let open = Arc::new(UnreadStream {
            bytes: AtomicUsize::new(0),
            taken: AtomicU64::new(self.shared.now()),
            is_ended: false.into(),
            lasting,
        });
        let mut pinned = self.shared.pinned();
        pinned.next += 1;
        let number = pinned.next;
        pinned.streams.insert(number, Arc::clone(&open));
        let registered = Arc::new(Registered {
            unread: self.clone(),
            number,
        });
        Stream { open, registered }
    }
}

impl UnreadShared {
    fn pinned(&self) -> MutexGuard<'_, PinnedPayloads> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the count began.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the largest stream whose caller has taken nothing for too long; tells whether there was
    /// one.
    fn end_one(&self) -> Eviction {
        let now = Instant::now();
        let streams = self.pinned();
        let stuck = streams
            .streams
            .values()
            .filter(|open| !open.is_ended.load(Relaxed) && open.bytes.load(Relaxed) > 0)
            .filter_map(|open| Some((open, open.lasting.as_ref()?)))
            .filter(|(open, lasting)| {
                let taken = self.began + Duration::from_millis(open.taken.load(Relaxed));
                let taken = lasting.behind_since().map_or(taken, |at| at.max(taken));
                now.saturating_duration_since(taken) >= PATIENT
            })
            .max_by_key(|(open, _)| open.bytes.load(Relaxed));
        let Some((open, lasting)) = stuck else {
            return Eviction::Nothing;
        };
        open.is_ended.store(true, Relaxed);
        self.ended.fetch_add(1, Relaxed);
        let bytes = open.bytes.load(Relaxed);
        tracing::debug!(
            bytes,
            "ended a stream: its caller reads nothing, and others wait"
        );
        lasting.end();
        Eviction::One
    }
}

/// What a look for a stream to end came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eviction {
    One,
    Nothing,
}

impl Stream {
    /// Pins what an answer takes: bytes of its own, and payloads; each payload until its pin is
    /// dropped. None where there is no room, or others have waited for longer.
    pub(super) fn pin<'a>(
        &self,
        own: usize,
        revisions: impl Iterator<Item = &'a Revision> + Clone,
    ) -> Option<Vec<Pin>> {
        self.try_pin(own, revisions, PlaceInLine::Behind)
    }

    /// Tells that the caller took some of it.
    pub(super) fn mark_taken(&self) {
        let now = self.shared().now();
        self.open.taken.store(now, Relaxed);
    }

    /// Waits until no other has waited for longer.
    pub(super) async fn turn(&self) -> UnreadTurn<'_> {
        let shared = self.shared();
        shared.waiting.fetch_add(1, Relaxed);
        let waits = WaitingStream(&shared.waiting);
        let turn = shared.turn.lock().await;
        UnreadTurn {
            stream: self,
            _turn: turn,
            _waits: waits,
            freed: shared.freed.subscribe(),
            look_in: Duration::ZERO,
        }
    }

    fn shared(&self) -> &UnreadShared {
        &self.registered.unread.shared
    }

    fn try_pin<'a>(
        &self,
        own: usize,
        revisions: impl Iterator<Item = &'a Revision> + Clone,
        line: PlaceInLine,
    ) -> Option<Vec<Pin>> {
        let shared = self.shared();
        let mut pinned = shared.pinned();
        let mut added = own;
        let mut counted = std::collections::HashSet::new();
        for revision in revisions.clone() {
            let payload = address(revision);
            if !pinned.payloads.contains_key(&payload) && counted.insert(payload) {
                added += taken_by(revision);
            }
        }
        let others_wait = line == PlaceInLine::Behind && shared.waiting.load(Relaxed) > 0;
        let fits = pinned.bytes == 0 || pinned.bytes + added <= shared.most.load(Relaxed);
        if added > 0 && (others_wait || !fits) {
            return None;
        }
        pinned.bytes += added;
        let own = (own > 0).then_some((None, own));
        let payloads = revisions.map(|revision| {
            let (payload, bytes) = (address(revision), taken_by(revision));
            pinned.payloads.entry(payload).or_insert((bytes, 0)).1 += 1;
            (Some(payload), bytes)
        });
        let pins: Vec<_> = own
            .into_iter()
            .chain(payloads)
            .map(|(payload, bytes)| {
                self.open.bytes.fetch_add(bytes, Relaxed);
                Pin {
                    stream: self.clone(),
                    payload,
                    bytes,
                }
            })
            .collect();
        drop(pinned);
        self.mark_taken();
        Some(pins)
    }
}

/// Where an answer stands that asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceInLine {
    /// Behind those who wait.
    Behind,
    /// In front.
    Front,
}

fn address(revision: &Revision) -> usize {
    revision.payload.as_ptr().addr()
}

fn taken_by(revision: &Revision) -> usize {
    revision.payload.len() + BESIDE
}

impl UnreadTurn<'_> {
    /// Pins what an answer takes, as [`Stream::pin`] does, in front of all others.
    pub(super) fn pin<'a>(
        &self,
        own: usize,
        revisions: impl Iterator<Item = &'a Revision> + Clone,
    ) -> Option<Vec<Pin>> {
        self.stream.try_pin(own, revisions, PlaceInLine::Front)
    }

    /// Waits until there may be more room than before, and sees to it that there is.
    pub(super) async fn wait_for_room(&mut self) {
        loop {
            tokio::select! {
                freed = self.freed.changed() => {
                    return freed.expect("BUG: the count outlives those who wait for it");
                }
                () = sleep(self.look_in) => {
                    self.look_in = match self.stream.shared().end_one() {
                        Eviction::One => LOOK_AGAIN,
                        Eviction::Nothing => LOOK,
                    };
                }
            }
        }
    }
}

impl Drop for WaitingStream<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let shared = self.stream.shared();
        let mut pinned = shared.pinned();
        self.stream.open.bytes.fetch_sub(self.bytes, Relaxed);
        if let Some(payload) = self.payload {
            let (_, count) = pinned
                .payloads
                .get_mut(&payload)
                .expect("BUG: a payload is counted while it is pinned");
            *count -= 1;
            if *count > 0 {
                return;
            }
            pinned.payloads.remove(&payload);
        }
        pinned.bytes -= self.bytes;
        drop(pinned);
        shared.freed.send_replace(());
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.unread.shared.pinned().streams.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
