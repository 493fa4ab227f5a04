//! What a folder holds, for people: read without a sidecar, and left as it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    file::{File, FileError, RowWrite, Whose},
    record::{KeptRecord, OpenedAt},
    stamp::ClockStamp,
};
use crate::{
    moment::Moment,
    revision::{Digest, Order, Project},
};

/// A file that was opened to be looked at.
#[derive(Debug)]
pub struct InspectedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whose revisions it holds, where that can be read.
    pub whose: Option<Whose>,
    /// Whether another process writes it: then only what is durable is seen.
    pub is_in_use: bool,
    /// Whether its structure is damaged: there may have been more rows.
    pub is_damaged: bool,
    /// How many rows are not believed.
    pub spoilt: usize,
    /// The rows that are, by project.
    pub rows: Vec<InspectedRow>,
    file: File,
}

/// A row.
#[derive(Debug)]
pub struct InspectedRow {
    id: i64,
    record: KeptRecord,
    /// How long ago the renderer last said that it is right.
    pub validated_ago: Duration,
}

/// Opens every file of ours in a folder, by name.
///
/// # Errors
/// When the folder cannot be read.
pub fn inspect(dir: &Path) -> io::Result<Vec<(PathBuf, Result<InspectedFile, FileError>)>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|ending| ending == "sqlite3");
        if is_ours && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let inspected = paths.into_iter().map(|path| {
        let file = InspectedFile::open(&path);
        (path, file)
    });
    Ok(inspected.collect())
}

impl InspectedFile {
    fn open(path: &Path) -> Result<Self, FileError> {
        let alone = File::read_alone(path).and_then(|file| {
            let rows = file.rows()?;
            Ok((file, rows))
        });
        let is_in_use = matches!(alone, Err(FileError::Locked));
        let (file, rows) = match alone {
            Ok(read) => read,
            // What cannot be locked can be read.
            Err(FileError::Locked | FileError::Denied(_)) => {
                let file = File::read(path)?;
                let rows = file.rows()?;
                (file, rows)
            }
            Err(error) => return Err(error),
        };
        let now = ClockStamp::now();
        let mut records: Vec<_> = rows
            .records
            .into_iter()
            .map(|(id, record)| InspectedRow {
                id,
                validated_ago: record.written.elapsed(now) + record.validated_ago,
                record,
            })
            .collect();
        records.sort_by(|one, other| one.project().cmp(other.project()));
        Ok(Self {
            path: path.to_owned(),
            whose: file.whose().unwrap_or_default(),
            is_in_use,
            is_damaged: rows.is_damaged,
            spoilt: rows.spoilt.len(),
            rows: records,
            file,
        })
    }

    /// Whether the payload of a row is the one that was written.
    pub fn is_right(&self, row: &InspectedRow) -> bool {
        self.payload(row).is_some()
    }

    /// Copies what is right into a folder, so that a sidecar can begin with it, and tells how many
    /// projects that is.
    ///
    /// # Errors
    /// When that cannot be written, or is there already.
    pub fn export(&self, to: &Path) -> Result<usize, FileError> {
        let (Some(whose), Some(name)) = (&self.whose, self.path.file_name()) else {
            return Err(FileError::Foreign);
        };
        let path = to.join(name);
        if path.exists() {
            return Err(FileError::Denied(format!("{} exists", path.display())));
        }
        let exported = File::open(&path, whose, u64::from(u32::MAX) - 1)?;
        let mut count = 0;
        for row in &self.rows {
            if let Some(payload) = self.payload(row) {
                let record = Box::new(row.record.clone());
                exported.write(&[RowWrite::Put(row.id, record, Some(payload.into()))])?;
                count += 1;
            }
        }
        exported.sync()?;
        Ok(count)
    }

    fn payload(&self, row: &InspectedRow) -> Option<Vec<u8>> {
        let opened = OpenedAt {
            moment: Moment::START,
            stamp: row.record.written,
        };
        let payload = self.file.payload(row.id).ok().flatten()?;
        row.record.recalled(&payload, opened)?;
        Some(payload)
    }
}

impl InspectedRow {
    /// Whose configuration.
    pub const fn project(&self) -> &Project {
        &self.record.project
    }

    /// Where it stands among the revisions of its project.
    pub const fn order(&self) -> Order {
        self.record.order
    }

    /// The digest of the payload.
    pub const fn digest(&self) -> Digest {
        self.record.digest
    }

    /// Of the payload, in bytes.
    pub const fn size(&self) -> u64 {
        self.record.size
    }
}
