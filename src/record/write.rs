//! The file that a record is written to: one line a fact, up to a number of bytes.

use std::{
    collections::{HashMap, hash_map::Entry as Place},
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    RECORD_SCHEMA, RecordStart,
    format::{FactLine, HeadLine, ProjectNumber, RecordEntry, seconds},
    tally::Counted,
};
use crate::{admission::AdmissionFact, moment::Moment};

/// Only the owner reads it: it says when which of its projects were busy.
const MODE: u32 = 0o600;
/// How many projects a record tells apart; what concerns others is lost.
const MOST_PROJECTS: usize = 100_000;
/// Bytes that are kept for the last line of a record that is full.
const LAST_LINE: u64 = 64;

/// A record cannot be begun.
#[derive(Debug, thiserror::Error)]
#[error("{}: a record cannot be written there", .path.display())]
pub struct Unwritable {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// A file for a record, still empty.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: BufWriter<File>,
    most: u64,
    written: u64,
    /// When the record began: its times count from then on.
    began: Moment,
    numbers: HashMap<u64, ProjectNumber>,
}

/// Why no more is written.
#[derive(Debug)]
pub(super) enum Closed {
    /// The record has as many bytes as it may.
    Full,
    /// The disk refuses.
    Refused(io::Error),
}

impl RecordFile {
    /// Makes a file of its own in a folder, for a record of at most `most` bytes.
    ///
    /// # Errors
    /// When there is no such folder, or it takes no file.
    pub fn create(folder: &Path, most: u64) -> Result<Self, Unwritable> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let milliseconds = since.unwrap_or_default().as_millis();
        let path = folder.join(format!("evenkeel-{milliseconds}.jsonl"));
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(&path);
        match opened {
            Ok(file) => Ok(Self::new(path, file, most)),
            Err(cause) => Err(Unwritable { path, cause }),
        }
    }

    fn new(path: PathBuf, file: File, most: u64) -> Self {
        Self {
            path,
            file: BufWriter::new(file),
            most,
            written: 0,
            began: Moment::START,
            numbers: HashMap::new(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn begin(&mut self, start: &RecordStart, now: Moment) -> Result<(), Closed> {
        self.began = now;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.line(&HeadLine {
            schema: RECORD_SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: since.unwrap_or_default().as_secs(),
            target: start.target,
            limits: start.limits.into(),
            deadline: seconds(start.deadline),
            patience: seconds(start.patience),
            cold_patience: seconds(start.cold_patience),
            max_age: start.max_age.map(seconds),
        })
    }

    /// Writes a fact; tells how many were lost.
    pub(super) fn fact(&mut self, fact: AdmissionFact<u64>, at: Moment) -> Result<u64, Closed> {
        let mut closed = None;
        let named = fact.rename(|hash| {
            let number = self.number(hash, at);
            number.map_err(|error| closed = error)
        });
        match (named, closed) {
            (_, Some(closed)) => Err(closed),
            (Ok(fact), None) => self.entry(RecordEntry::of(fact, at), at).map(|()| 0),
            (Err(()), None) => Ok(1),
        }
    }

    /// Writes the lookups since the last time; tells how many were lost.
    pub(super) fn lookups(&mut self, counted: &Counted, at: Moment) -> Result<u64, Closed> {
        let mut lost = counted.uncounted;
        let mut of = Vec::with_capacity(2 * counted.lookups.len());
        for &(hash, count) in &counted.lookups {
            match self.number(hash, at) {
                Ok(number) => of.extend([number, count]),
                Err(None) => lost += u64::from(count),
                Err(Some(closed)) => return Err(closed),
            }
        }
        let (outdated, failed) = (counted.outdated, counted.failed);
        let entry = RecordEntry::Lookups {
            of,
            outdated,
            failed,
        };
        self.entry(entry, at).map(|()| lost)
    }

    pub(super) fn lost(&mut self, lost: u64, at: Moment) -> Result<(), Closed> {
        self.entry(RecordEntry::Lost(lost), at)
    }

    /// Hands what was written to the system.
    pub(super) fn flush(&mut self) -> Result<(), Closed> {
        self.file.flush().map_err(Closed::Refused)
    }

    /// Says in the last line that the record is full.
    pub(super) fn end(&mut self, at: Moment) -> Result<(), Closed> {
        self.most += LAST_LINE;
        self.entry(RecordEntry::Full {}, at)?;
        self.flush()
    }

    /// The number of a project; a new one is said first. `None` of an error where there are too
    /// many.
    fn number(&mut self, hash: u64, at: Moment) -> Result<ProjectNumber, Option<Closed>> {
        let known = self.numbers.len();
        let number = match self.numbers.entry(hash) {
            Place::Occupied(known) => return Ok(*known.get()),
            Place::Vacant(_) if known >= MOST_PROJECTS => return Err(None),
            Place::Vacant(new) => *new.insert(ProjectNumber::try_from(known).unwrap_or_default()),
        };
        let hash = format!("{hash:016x}");
        self.entry(RecordEntry::Project { number, hash }, at)
            .map_err(Some)?;
        Ok(number)
    }

    fn entry(&mut self, entry: RecordEntry, at: Moment) -> Result<(), Closed> {
        let at = seconds(at.since(self.began));
        self.line(&FactLine { at, entry })
    }

    fn line(&mut self, line: &impl serde::Serialize) -> Result<(), Closed> {
        let mut bytes = serde_json::to_vec(line).expect("BUG: a line is JSON");
        bytes.push(b'\n');
        let written = self.written + bytes.len() as u64;
        if written + LAST_LINE > self.most {
            return Err(Closed::Full);
        }
        self.written = written;
        self.file.write_all(&bytes).map_err(Closed::Refused)
    }
}
