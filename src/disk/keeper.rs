//! The thread that owns the file: it writes what is held when it has changed, and reads what was
//! held when the process starts. All that waits for the disk waits here.

mod recalling;
mod writing;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    DiskOptions, LeftBehind,
    file::{self, File, FileError},
    health::{DiskErrorKind, DiskHealth},
    index::RowIndex,
    notes,
    record::{KeptRecord, OpenedAt},
    shared::{DiskShared, Wait},
    stamp::ClockStamp,
};
use crate::{
    cache::{Cache, KeepEvent},
    freshness::Freshness,
    moment::Moment,
    revision::Project,
};

/// The most names that are written together.
const BATCH: u64 = 64;
/// How many projects are recalled before it is looked what is to be written.
const CHUNK: usize = 16;

/// What the thread works with.
#[derive(Debug)]
pub(super) struct DiskKeeper {
    shared: Arc<DiskShared>,
    options: DiskOptions,
    opened: OpenedAt,
    file: FileAccess,
    index: RowIndex,
    recalling: Recalling,
    /// When held projects were dropped.
    drops: Vec<Moment>,
    health: DiskHealth,
    /// When what was written is to be made durable.
    sync_at: Option<Instant>,
    /// What the log of writes has grown by since, about.
    unsynced: u64,
}

/// What can be done with the file.
#[derive(Debug)]
enum FileAccess {
    /// It is ours.
    Writer(File),
    /// It can be read only: another process writes it, or the disk is read-only.
    Reader(File),
    /// It is damaged: what can be read is, then it is replaced.
    Damaged(Option<File>),
    /// It cannot be used now.
    Nothing,
}

/// What is to be recalled.
#[derive(Debug, Default)]
struct Recalling {
    left: HashMap<Project, (i64, KeptRecord)>,
    /// In which order, the last first. It may name some that were read meanwhile.
    order: Vec<Project>,
    /// Memory has no room for more than is asked for.
    is_sated: bool,
    is_said: bool,
    oldest: Duration,
    outdated: usize,
    began: Option<Instant>,
}

/// What the rest of the sidecar holds.
#[derive(Clone, Debug)]
pub(super) struct KeptCore {
    pub(super) cache: Arc<Cache>,
    pub(super) freshness: Arc<Freshness>,
}

impl DiskKeeper {
    /// Opens the file, and reads what was held but for the payloads. None when the file is not
    /// ours to touch.
    pub(super) fn open(
        shared: Arc<DiskShared>,
        options: DiskOptions,
    ) -> Option<(Self, LeftBehind)> {
        let opened = OpenedAt {
            moment: shared.clock.now(),
            stamp: ClockStamp::now(),
        };
        let mut this = Self {
            shared,
            options,
            opened,
            file: FileAccess::Nothing,
            index: RowIndex::default(),
            recalling: Recalling::default(),
            drops: Vec::new(),
            health: DiskHealth::new(),
            sync_at: None,
            unsynced: 0,
        };
        this.recalling.began = Some(Instant::now());
        match this.open_file() {
            Ok(file) => {
                this.file = FileAccess::Writer(file);
                this.shared.counts.is_up.store(true, Relaxed);
            }
            Err(FileError::Foreign | FileError::Newer | FileError::OtherRealm) => return None,
            Err(FileError::Damaged(error)) => {
                tracing::warn!(%error, "the disk store is damaged: what can be read of it is kept");
                this.count_error(DiskErrorKind::Read);
                this.file = FileAccess::Damaged(this.reader());
            }
            Err(error) => {
                this.count_error(kind_of(&error, DiskErrorKind::Write));
                this.health.failed(&error);
                this.file = this
                    .reader()
                    .map_or(FileAccess::Nothing, FileAccess::Reader);
            }
        }
        let found = this.find();
        Some((this, found))
    }

    /// Works until it is told to close, and all is durable or the disk fails.
    pub(super) fn work(mut self, core: &KeptCore) {
        loop {
            if self.health.is_due() {
                self.try_again(core);
            }
            let taken = self.shared.take(self.most(), self.wait());
            for project in &taken.asked {
                self.recall(core, project);
            }
            let is_closing = taken.is_closing;
            if taken.has_writes() {
                self.write(core, taken);
            }
            self.recall_some(core);
            self.end_recall(core);
            if self
                .sync_at
                .is_some_and(|at| is_closing || at <= Instant::now())
            {
                self.sync(core);
            }
            if is_closing && (!self.shared.has_names() || self.health.is_failing()) {
                return;
            }
        }
    }

    /// How many names may be written now.
    fn most(&self) -> usize {
        if self.health.away_until().is_some() {
            return 0;
        }
        let each = 4 * file::PAGE;
        let most = (self.options.largest_write() / each).clamp(1, BATCH);
        usize::try_from(most).unwrap_or(1)
    }

    fn wait(&self) -> Wait {
        if self.recalling.is_under_way() || matches!(self.file, FileAccess::Damaged(_)) {
            return Wait::Never;
        }
        match self.health.away_until() {
            Some(until) => Wait::Away(until),
            None => Wait::For(self.sync_at),
        }
    }

    fn open_file(&self) -> Result<File, FileError> {
        let options = &self.options;
        let opened = File::open(&options.path(), &options.whose, options.max_pages());
        if let Err(error @ (FileError::Foreign | FileError::Newer | FileError::OtherRealm)) =
            &opened
        {
            let file = options.path();
            tracing::warn!(file = %file.display(), %error, "the disk store is not used");
        }
        opened
    }

    /// What can be read without writing, if it is ours.
    fn reader(&self) -> Option<File> {
        let file = File::read(&self.options.path()).ok()?;
        let whose = file.whose().ok().flatten();
        let is_ours = whose.is_none_or(|whose| whose == self.options.whose);
        is_ours.then_some(file)
    }

    /// Goes on with the file, or tries once more to get hold of it.
    fn try_again(&mut self, core: &KeptCore) {
        if let FileAccess::Writer(_) = self.file {
            self.health.come_back();
            return;
        }
        match self.open_file() {
            Ok(file) => {
                self.health.come_back();
                self.file = FileAccess::Writer(file);
                self.index = RowIndex::default();
                self.take_over();
                self.keep_all(core);
            }
            Err(FileError::Damaged(_)) => self.renew(core),
            Err(error) => {
                self.count_error(kind_of(&error, DiskErrorKind::Write));
                self.health.failed(&error);
            }
        }
    }

    /// Puts a file out of the way that cannot be trusted, and has all that is held written to a new
    /// one.
    fn renew(&mut self, core: &KeptCore) {
        self.file = FileAccess::Nothing;
        self.shared.counts.is_up.store(false, Relaxed);
        for project in self.recalling.give_up() {
            self.shared.record_recalled(&project);
            core.cache.not_recalled(&project);
        }
        match file::set_aside(&self.options.path()) {
            Ok(aside) => tracing::warn!(aside = %aside.display(), "the disk store begins anew"),
            Err(error) => tracing::debug!(%error, "the disk store cannot be put out of the way"),
        }
        match self.open_file() {
            Ok(file) => {
                self.file = FileAccess::Writer(file);
                self.index = RowIndex::default();
                self.keep_all(core);
            }
            Err(error) => {
                self.count_error(kind_of(&error, DiskErrorKind::Write));
                self.health.failed(&error);
            }
        }
    }

    /// Has everything that is known written.
    fn keep_all(&mut self, core: &KeptCore) {
        self.shared.counts.is_up.store(true, Relaxed);
        for held in core.cache.iter() {
            self.shared.note(&held.revision.project, KeepEvent::Changed);
        }
        self.shared.record_raise();
    }

    fn count_error(&self, kind: DiskErrorKind) {
        self.shared.counts.errors[kind as usize].fetch_add(1, Relaxed);
    }

    /// The targets and drops that were noted.
    fn noted(&mut self, found: &mut LeftBehind) {
        let (FileAccess::Writer(file) | FileAccess::Reader(file) | FileAccess::Damaged(Some(file))) =
            &self.file
        else {
            return;
        };
        let opened = self.opened;
        let noted = |name| file.noted(name).ok().flatten();
        found.raises = noted(notes::TARGETS)
            .and_then(|text| notes::read_raises(&text, opened))
            .unwrap_or_default();
        let drops = noted(notes::DROPS).and_then(|text| notes::read_drops(&text, opened));
        self.drops = drops.unwrap_or_default();
        found.drops = self.drops.clone();
    }
}

/// The kind of an error that happened while something of kind `during` was done.
fn kind_of(error: &FileError, during: DiskErrorKind) -> DiskErrorKind {
    match error {
        FileError::Full(_) => DiskErrorKind::Full,
        FileError::Damaged(_) => DiskErrorKind::Read,
        FileError::Foreign
        | FileError::Newer
        | FileError::OtherRealm
        | FileError::Locked
        | FileError::Denied(_)
        | FileError::Failed(_) => during,
    }
}
