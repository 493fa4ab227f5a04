//! What has changed is written, and made durable.

use std::{mem, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        file::{FileError, PAGE, RowWrite},
        health::{DiskErrorKind, RoomLeft},
        index::{RowEntry, room},
        notes,
        record::{KeptRecord, facts},
        shared::{NotedEvent, TakenNames},
        stamp::ClockStamp,
    },
    DiskKeeper, FileAccess, KeptCore, kind_of,
};
use crate::{
    cache::{Held, KeepEvent},
    moment::Moment,
    revision::Project,
};

/// For how long drops are remembered: as long as they count.
const DROPS_LAST: Duration = Duration::from_secs(300);
/// What was validated again is written again after this time, or a tenth of the maximal age.
const VALIDATED_AGAIN: Duration = Duration::from_secs(60);

impl TakenNames {
    /// Whether something is to be written.
    pub(super) fn has_writes(&self) -> bool {
        !self.names.is_empty() || !self.drops.is_empty() || self.is_raised
    }
}

/// Which notes are to be written beside projects.
#[derive(Clone, Copy)]
struct NotesDue {
    targets: bool,
    drops: bool,
}

/// A transaction that is being made, and what the index is to know once it is written.
struct Transaction {
    now: Moment,
    stamp: ClockStamp,
    writes: Vec<RowWrite>,
    entries: Vec<(Project, Option<RowEntry>)>,
    /// Of payloads.
    bytes: u64,
    room: RoomLeft,
    notes: NotesDue,
}

impl DiskKeeper {
    /// Writes what is held now of the names that were taken.
    pub(super) fn write(&mut self, core: &KeptCore, mut taken: TakenNames) {
        self.drops.append(&mut taken.drops);
        if !matches!(self.file, FileAccess::Writer(_)) {
            self.put_back(taken.names, taken.is_raised.then_some(notes::TARGETS));
            return;
        }
        let mut transaction = Transaction {
            now: self.shared.clock.now(),
            stamp: ClockStamp::now(),
            writes: Vec::new(),
            entries: Vec::new(),
            bytes: 0,
            room: RoomLeft::Enough,
            notes: NotesDue {
                targets: taken.is_raised,
                drops: taken
                    .names
                    .iter()
                    .any(|(_, it)| it.event != KeepEvent::Changed),
            },
        };
        self.note_beside(core, &mut transaction);
        let mut names = mem::take(&mut taken.names).into_iter();
        let mut done = Vec::new();
        for (project, noted) in names.by_ref() {
            match noted.event {
                KeepEvent::Changed => self.plan_put(core, &mut transaction, &project),
                KeepEvent::Dropped | KeepEvent::Purged => {
                    self.plan_delete(&mut transaction, &project);
                }
                KeepEvent::Absent => {
                    let is_left = self.recalling.left.contains_key(&project);
                    if !is_left && core.cache.get(project.as_str()).is_none() {
                        self.plan_delete(&mut transaction, &project);
                    }
                }
            }
            done.push((project, noted));
            if transaction.bytes >= self.options.largest_write() {
                break;
            }
        }
        self.shared.put_back(names.collect());
        self.commit(core, transaction, done);
    }

    fn commit(
        &mut self,
        core: &KeptCore,
        transaction: Transaction,
        done: Vec<(Project, NotedEvent)>,
    ) {
        let NotesDue { targets, drops } = transaction.notes;
        let note = targets.then_some(notes::TARGETS);
        let FileAccess::Writer(file) = &self.file else {
            self.put_back(done, note);
            return;
        };
        if !transaction.writes.is_empty()
            && let Err(error) = file.write(&transaction.writes)
        {
            self.put_back(done, note);
            self.failed(core, &error, DiskErrorKind::Write);
            return;
        }
        self.health.succeeded();
        self.health
            .record_room(transaction.room, self.options.max_bytes);
        if transaction.writes.is_empty() {
            return;
        }
        let written = transaction.writes.len() as u64;
        self.shared.counts.record_written(written);
        if self.shared.counts.dirty_since().is_none() {
            let since = done.iter().map(|(_, noted)| noted.since).min();
            let since = since.unwrap_or(transaction.now);
            self.shared.counts.set_dirty_since(Some(since));
        }
        for write in &transaction.writes {
            if let RowWrite::Put(_, record, _) = write {
                tracing::debug!(project = %record.project, order = %record.order, "written to disk");
            }
        }
        for (project, entry) in transaction.entries {
            match entry {
                Some(entry) => drop(self.index.insert(project, entry)),
                None => drop(self.index.remove(&project)),
            }
        }
        self.record_size();
        let sync_at = Instant::now() + self.options.sync;
        let sync_at = self.sync_at.map_or(sync_at, |at| at.min(sync_at));
        // What was dropped must not come back, and the log of writes stays short.
        self.unsynced += transaction.bytes + 2 * PAGE * written;
        let is_due = drops || self.unsynced >= self.options.largest_write();
        self.sync_at = Some(if is_due { Instant::now() } else { sync_at });
    }

    /// Makes durable what was written.
    pub(super) fn sync(&mut self, core: &KeptCore) {
        self.sync_at = None;
        let FileAccess::Writer(file) = &self.file else {
            return;
        };
        match file.sync() {
            Ok(()) => {
                self.unsynced = 0;
                self.shared.counts.record_sync();
                self.record_size();
            }
            Err(error) => self.failed(core, &error, DiskErrorKind::Sync),
        }
    }

    pub(super) fn record_size(&self) {
        let counts = &self.shared.counts;
        if let FileAccess::Writer(file) = &self.file {
            counts.bytes.store(file.bytes(), Relaxed);
        }
        counts.projects.store(self.index.len() as u64, Relaxed);
    }

    /// Has names, and perhaps a note, written later.
    fn put_back(&self, names: Vec<(Project, NotedEvent)>, note: Option<&str>) {
        self.shared.put_back(names);
        if note.is_some() {
            self.shared.record_raise();
        }
    }

    /// After a failure: makes room, or begins a new file, once; a disk that fails again is left
    /// alone for a while.
    fn failed(&mut self, core: &KeptCore, error: &FileError, during: DiskErrorKind) {
        self.count_error(kind_of(error, during));
        let was_failing = self.health.is_failing();
        self.health.failed(error);
        match error {
            FileError::Full(_) => self.make_room(core),
            FileError::Damaged(_) | FileError::Failed(_) if !was_failing => self.renew(core),
            FileError::Damaged(_)
            | FileError::Failed(_)
            | FileError::Locked
            | FileError::Denied(_)
            | FileError::Foreign
            | FileError::Newer
            | FileError::OtherRealm => {
                self.file = FileAccess::Nothing;
                self.shared.counts.is_up.store(false, Relaxed);
            }
        }
    }

    /// Deletes what memory no longer holds, down to seven eighths of what there is.
    fn make_room(&mut self, core: &KeptCore) {
        let most = self.index.bytes() / 8 * 7;
        let gone = self
            .index
            .to_delete(most, |project| core.cache.get(project.as_str()).is_none());
        let FileAccess::Writer(file) = &self.file else {
            return;
        };
        let ids = gone.iter().filter_map(|project| self.index.get(project));
        let writes: Vec<_> = ids.map(|entry| RowWrite::Delete(entry.id)).collect();
        // Pages that are carried over make room in the log of writes.
        let made = file.sync().and_then(|()| file.write(&writes));
        match made {
            Ok(()) => gone.iter().for_each(|project| self.let_go(project)),
            Err(error) => tracing::debug!(%error, "there is no room to make room"),
        }
    }

    fn let_go(&mut self, project: &Project) {
        self.index.remove(project);
        if self.recalling.left.remove(project).is_some() {
            self.shared.record_recalled(project);
        }
    }

    /// The targets and drops, where they have changed.
    fn note_beside(&mut self, core: &KeptCore, transaction: &mut Transaction) {
        let (now, stamp) = (transaction.now, transaction.stamp);
        if transaction.notes.targets {
            let text = notes::write_raises(&core.freshness.raises(), now, stamp);
            transaction
                .writes
                .push(RowWrite::Note(notes::TARGETS, text));
        }
        if transaction.notes.drops {
            self.drops.retain(|&at| now.since(at) <= DROPS_LAST);
            let text = notes::write_drops(&self.drops, now, stamp);
            transaction.writes.push(RowWrite::Note(notes::DROPS, text));
        }
    }

    fn plan_delete(&mut self, transaction: &mut Transaction, project: &Project) {
        if self.recalling.left.remove(project).is_some() {
            self.shared.record_recalled(project);
        }
        if let Some(entry) = self.index.get(project) {
            transaction.writes.push(RowWrite::Delete(entry.id));
            transaction.entries.push((project.clone(), None));
        }
    }

    fn plan_put(&mut self, core: &KeptCore, transaction: &mut Transaction, project: &Project) {
        // What was held may be newer than what landed.
        self.recall(core, project);
        let Some(held) = core.cache.get(project.as_str()) else {
            // It was evicted before its turn.
            self.shared.counts.skipped.fetch_add(1, Relaxed);
            return;
        };
        let known = self.index.get(project).copied();
        if known.is_some_and(|known| is_written(&known, &held, core)) {
            return;
        }
        let size = held.revision.payload.len() as u64;
        let is_same = known.is_some_and(|known| known.digest == held.revision.digest);
        if !is_same && !self.has_room_for(core, transaction, size) {
            self.shared.counts.skipped.fetch_add(1, Relaxed);
            transaction.room = RoomLeft::Short;
            self.plan_delete(transaction, project);
            return;
        }
        let id = known.map_or_else(|| self.index.new_id(), |known| known.id);
        let record = Box::new(KeptRecord::of(&held, transaction.now, transaction.stamp));
        let payload = (!is_same).then(|| held.revision.payload.clone());
        transaction.bytes += payload.as_ref().map_or(0, |it| it.len() as u64);
        transaction.writes.push(RowWrite::Put(id, record, payload));
        let entry = RowEntry {
            id,
            digest: held.revision.digest,
            size,
            facts: Some(facts(&held)),
            validated_at: held.validated_at,
        };
        transaction.entries.push((project.clone(), Some(entry)));
    }

    /// Whether a payload fits, after what memory no longer holds is deleted.
    fn has_room_for(&mut self, core: &KeptCore, transaction: &mut Transaction, size: u64) -> bool {
        if size > self.options.max_bytes / 8 {
            return false;
        }
        let limit = self.options.rows_limit();
        let needed = transaction.bytes + room(size);
        if self.index.bytes() + needed > limit {
            let most = (limit / 8 * 7).saturating_sub(needed);
            let gone = self
                .index
                .to_delete(most, |project| core.cache.get(project.as_str()).is_none());
            for project in gone {
                self.plan_delete(transaction, &project);
                self.index.remove(&project);
            }
        }
        self.index.bytes() + needed <= limit
    }
}

/// Whether what is held says no more than its row, but that it was validated a little later.
fn is_written(known: &RowEntry, held: &Held, core: &KeptCore) -> bool {
    let tolerated = core
        .freshness
        .max_age()
        .map_or(Duration::MAX, |age| age / 10);
    let later = held.validated_at.since(known.validated_at);
    known.facts == Some(facts(held)) && later <= VALIDATED_AGAIN.min(tolerated)
}
