//! What was held comes back: first the names, before lookups are answered, then the payloads, those
//! that are asked for first.

use std::{collections::HashSet, sync::atomic::Ordering::Relaxed, time::Duration};

use super::{
    super::{
        LeftBehind,
        file::{FileError, RowWrite, Rows},
        health::DiskErrorKind,
        index::RowEntry,
        record::facts,
    },
    CHUNK, DiskKeeper, FileAccess, KeptCore, Recalling,
};
use crate::{moment::spoken, revision::Project};

/// Of the bytes that memory may hold, so many hundredths are filled by what nobody asked for yet:
/// to recall something evicts nothing.
const FILLED: u64 = 95;

impl Recalling {
    /// Whether there is more to recall without being asked.
    pub(super) fn is_under_way(&self) -> bool {
        !self.order.is_empty() && !self.is_sated
    }

    /// Recalls nothing more; tells what was left.
    pub(super) fn give_up(&mut self) -> Vec<Project> {
        self.order.clear();
        self.left.drain().map(|(project, _)| project).collect()
    }
}

impl DiskKeeper {
    /// Reads all rows but for their payloads.
    pub(super) fn find(&mut self) -> LeftBehind {
        let mut found = LeftBehind::default();
        self.noted(&mut found);
        let (FileAccess::Writer(file) | FileAccess::Reader(file) | FileAccess::Damaged(Some(file))) =
            &self.file
        else {
            self.settle(HashSet::new());
            return found;
        };
        let rows = file.rows().unwrap_or_else(|error| {
            tracing::warn!(%error, "the disk store cannot be read");
            Rows::default()
        });
        self.take_in(rows);
        // What was written last is recalled first.
        let left = &self.recalling.left;
        let mut order: Vec<_> = left.keys().cloned().collect();
        order.sort_by_cached_key(|project| {
            let (_, record) = &left[project];
            std::cmp::Reverse(record.written.elapsed(self.opened.stamp))
        });
        if left
            .values()
            .any(|(_, record)| record.written.is_ahead_of(self.opened.stamp))
        {
            tracing::warn!(
                "the wall clock was set back since revisions were written: they may be older than they seem"
            );
        }
        self.recalling.order = order;
        found.projects = self.recalling.left.len();
        self.settle(self.recalling.left.keys().cloned().collect());
        found
    }

    /// Knows the rows of a file that another process wrote meanwhile, and recalls none of them.
    pub(super) fn take_over(&mut self) {
        if let FileAccess::Writer(file) = &self.file
            && let Ok(rows) = file.rows()
        {
            let left = std::mem::take(&mut self.recalling.left);
            self.take_in(rows);
            self.recalling.left = left;
        }
    }

    fn take_in(&mut self, rows: Rows) {
        let Rows {
            records,
            spoilt,
            is_damaged,
        } = rows;
        self.shared
            .counts
            .lost
            .fetch_add(spoilt.len() as u64, Relaxed);
        let mut useless: Vec<_> = spoilt.into_iter().map(RowWrite::Delete).collect();
        for (id, record) in records {
            self.index.skip(id);
            let validated_at = self.opened.moment_of(record.written, record.validated_ago);
            if self.opened.moment.since(validated_at) > self.options.max_age {
                useless.push(RowWrite::Delete(id));
                continue;
            }
            let entry = RowEntry {
                id,
                digest: record.digest,
                size: record.size,
                facts: None,
                validated_at,
            };
            let project = record.project.clone();
            if let Some(before) = self.index.insert(project.clone(), entry) {
                useless.push(RowWrite::Delete(before.id));
            }
            self.recalling.left.insert(project, (id, record));
        }
        if let FileAccess::Writer(file) = &self.file {
            if is_damaged {
                self.damaged();
            } else if !useless.is_empty()
                && let Err(error) = file.write(&useless)
            {
                tracing::debug!(%error, "useless rows are left");
            }
        }
        self.record_size();
    }

    fn damaged(&mut self) {
        tracing::warn!("the disk store is damaged: what can be read of it is kept");
        self.count_error(DiskErrorKind::Read);
        self.file = match std::mem::replace(&mut self.file, FileAccess::Nothing) {
            FileAccess::Writer(file) | FileAccess::Reader(file) => FileAccess::Damaged(Some(file)),
            other @ (FileAccess::Damaged(_) | FileAccess::Nothing) => other,
        };
    }

    fn settle(&self, left: HashSet<Project>) {
        self.shared.set_left(left);
    }

    /// Recalls a few projects that nobody asked for, while memory has room.
    pub(super) fn recall_some(&mut self, core: &KeptCore) {
        for _ in 0..CHUNK {
            let filled = core.cache.bytes() * 100 / (core.cache.max_bytes() as u64).max(1);
            self.recalling.is_sated = filled >= FILLED;
            if self.recalling.is_sated {
                return;
            }
            let Some(project) = self.recalling.order.pop() else {
                return;
            };
            self.recall(core, &project);
        }
    }

    /// Recalls a project, if it is still to be.
    pub(super) fn recall(&mut self, core: &KeptCore, project: &Project) {
        let Some((id, record)) = self.recalling.left.remove(project) else {
            return;
        };
        let payload = match &self.file {
            FileAccess::Writer(file)
            | FileAccess::Reader(file)
            | FileAccess::Damaged(Some(file)) => file.payload(id),
            FileAccess::Damaged(None) | FileAccess::Nothing => Ok(None),
        };
        let is_damaged = matches!(payload, Err(FileError::Damaged(_)));
        let payload = payload.unwrap_or_else(|error| {
            tracing::debug!(%project, %error, "a payload cannot be read");
            None
        });
        let recalled = payload.and_then(|payload| record.recalled(&payload, self.opened));
        if let Some(recalled) = recalled {
            let age = self.opened.moment.since(recalled.validated_at);
            self.recalling.oldest = self.recalling.oldest.max(age);
            core.cache.recall(recalled);
            self.shared.counts.recalled.fetch_add(1, Relaxed);
            let held = core.cache.get(project.as_str());
            if let Some(held) = held.filter(|held| held.revision.order == record.order) {
                let now = self.shared.clock.now();
                self.recalling.outdated += usize::from(!core.freshness.is_fresh(&held, now));
                if let Some(&entry) = self.index.get(project) {
                    let facts = Some(facts(&held));
                    self.index
                        .insert(project.clone(), RowEntry { facts, ..entry });
                }
            }
        } else {
            self.shared.counts.lost.fetch_add(1, Relaxed);
            self.forget(project, id);
            core.cache.not_recalled(project);
        }
        self.shared.record_recalled(project);
        if is_damaged && matches!(self.file, FileAccess::Writer(_) | FileAccess::Reader(_)) {
            self.damaged();
        }
    }

    /// Deletes a row that is not believed.
    fn forget(&mut self, project: &Project, id: i64) {
        self.index.remove(project);
        if let FileAccess::Writer(file) = &self.file
            && let Err(error) = file.write(&[RowWrite::Delete(id)])
        {
            tracing::debug!(%project, %error, "a useless row is left");
        }
    }

    /// Once there is no more to recall: says so, and begins a damaged file anew.
    pub(super) fn end_recall(&mut self, core: &KeptCore) {
        if self.recalling.is_under_way() {
            return;
        }
        if !std::mem::replace(&mut self.recalling.is_said, true) {
            let counts = &self.shared.counts;
            let took = self
                .recalling
                .began
                .map_or(Duration::ZERO, |at| at.elapsed());
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            counts.recall_nanos.store(nanos, Relaxed);
            let (recalled, lost) = (counts.recalled.load(Relaxed), counts.lost.load(Relaxed));
            if recalled + lost > 0 {
                let oldest = spoken(self.recalling.oldest);
                let outdated = self.recalling.outdated;
                tracing::info!(
                    recalled,
                    lost,
                    outdated,
                    oldest,
                    ?took,
                    "what was held is recalled"
                );
            }
            self.shared.settled.send_replace(true);
        }
        if matches!(self.file, FileAccess::Damaged(_)) {
            self.renew(core);
        }
    }
}
