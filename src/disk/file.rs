//! The file: an SQLite database, its statements, and what its errors mean. Nothing else names
//! SQLite.
//!
//! A transaction is written once it is committed, and durable once the log of writes (WAL) was
//! carried over into the database, which syncs both. The file is locked by its writer as a whole,
//! which so needs no shared memory. Who may not write reads the database alone, without a lock:
//! what it reads amid a write is not believed, as sums tell.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, config::DbConfig, params,
};
use xxhash_rust::xxh3::xxh3_128;

use super::{record::KeptRecord, record::nanos, stamp::ClockStamp};
use crate::revision::{Digest, Order, Project};

/// `evkl`: what says that a file is ours.
const APPLICATION: i32 = 0x6576_6b6c;
/// The newest layout that is known here.
const VERSION: i32 = 1;
/// Of a page, in bytes.
pub(super) const PAGE: u64 = 8192;

/// Times are in nanoseconds; ages are those at the time of writing, which `boot`, `since_boot` and
/// `wall` tell.
const LAYOUT: &str = "
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE project (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, rollout INTEGER NOT NULL, number INTEGER NOT NULL, digest BLOB NOT NULL,
  content_type TEXT NOT NULL, rendered_at INTEGER, rendered_at_nanos INTEGER, size INTEGER NOT NULL,
  boot BLOB, since_boot INTEGER NOT NULL, wall INTEGER NOT NULL, validated_ago INTEGER NOT NULL,
  changed_number INTEGER, changed_ago INTEGER, gone_ago INTEGER,
  lower_rollout INTEGER, lower_number INTEGER, lower_ago INTEGER, fell_rollout INTEGER, fell_number INTEGER,
  sum BLOB NOT NULL);
CREATE TABLE payload (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
";

const PUT: &str = "INSERT OR REPLACE INTO project VALUES
  (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22)";

/// Whose revisions a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The component whose configurations they are.
    pub component: String,
    /// The environment that they are of.
    pub realm: String,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It belongs to another program.
    #[error("it is a database of another program")]
    Foreign,
    /// It was written by a newer version.
    #[error("it was written by a newer version of evenkeel")]
    Newer,
    /// It was written by another component or environment.
    #[error("it was written by another environment")]
    OtherRealm,
    /// Its structure is spoilt.
    #[error("it is damaged: {0}")]
    Damaged(#[source] rusqlite::Error),
    /// There is no room.
    #[error("there is no room: {0}")]
    Full(#[source] rusqlite::Error),
    /// Another process writes it.
    #[error("another process has it open")]
    Locked,
    /// It cannot be opened, or not for writing.
    #[error("{0}")]
    Denied(String),
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Failed(#[source] rusqlite::Error),
}

/// An open file.
#[derive(Debug)]
pub(super) struct File {
    connection: Connection,
    path: PathBuf,
}

/// What is to be written of a project.
#[derive(Debug)]
pub(super) enum RowWrite {
    /// A row, and its payload where that is another.
    Put(i64, Box<KeptRecord>, Option<bytes::Bytes>),
    /// Nothing is to be left of it.
    Delete(i64),
    /// A note.
    Note(&'static str, String),
}

/// What rows there are.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) records: Vec<(i64, KeptRecord)>,
    /// Rows whose sum is another.
    pub(super) spoilt: Vec<i64>,
    /// The structure of the file is damaged: there may have been more.
    pub(super) is_damaged: bool,
}

impl From<rusqlite::Error> for FileError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::Denied(error.to_string())
            }
            // A value of another type than the layout has.
            None => Self::Damaged(error),
            Some(_) => Self::Failed(error),
        }
    }
}

impl FileError {
    fn denied(path: &Path, error: &io::Error) -> Self {
        Self::Denied(format!("{}: {error}", path.display()))
    }
}

impl File {
    /// Opens a file to write to it, and makes it and its folder where there is none. It gets at
    /// most `max_pages`.
    pub(super) fn open(path: &Path, whose: &Whose, max_pages: u64) -> Result<Self, FileError> {
        make(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::ZERO)?;
        pragma(&connection, "locking_mode=EXCLUSIVE")?;
        pragma(&connection, &format!("page_size={PAGE}"))?;
        pragma(&connection, "temp_store=MEMORY")?;
        pragma(&connection, "mmap_size=0")?;
        pragma(&connection, "cache_size=-2048")?;
        pragma(&connection, "cell_size_check=1")?;
        let is_new = layout(&connection)?;
        pragma(&connection, "journal_mode=WAL")?;
        pragma(&connection, "synchronous=NORMAL")?;
        pragma(&connection, "wal_autocheckpoint=0")?;
        pragma(&connection, &format!("max_page_count={max_pages}"))?;
        // Takes the lock, which is then kept.
        connection.execute_batch("BEGIN IMMEDIATE")?;
        if is_new {
            connection.execute_batch(LAYOUT)?;
            pragma(&connection, &format!("user_version={VERSION}"))?;
            pragma(&connection, &format!("application_id={APPLICATION}"))?;
        }
        connection.execute_batch("COMMIT")?;
        let path = path.to_owned();
        let this = Self { connection, path };
        if is_new {
            this.note("component", &whose.component)?;
            this.note("realm", &whose.realm)?;
            this.sync()?;
        } else if this.whose()?.is_some_and(|found| found != *whose) {
            return Err(FileError::OtherRealm);
        }
        Ok(this)
    }

    /// Opens a file to read what was carried over into the database, without a lock and without
    /// writing anything.
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let escaped: String = path.to_string_lossy().chars().map(escaped).collect();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let address = format!("file:{escaped}?immutable=1");
        let connection = Connection::open_with_flags(address, flags)?;
        pragma(&connection, "mmap_size=0")?;
        pragma(&connection, "cell_size_check=1")?;
        if layout(&connection)? {
            return Err(FileError::Foreign);
        }
        let path = path.to_owned();
        Ok(Self { connection, path })
    }

    /// Opens a file to read all of it, for as long as no other process does; it is left as it is.
    pub(super) fn read_alone(path: &Path) -> Result<Self, FileError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        pragma(&connection, "locking_mode=EXCLUSIVE")?;
        pragma(&connection, "query_only=1")?;
        pragma(&connection, "mmap_size=0")?;
        pragma(&connection, "cell_size_check=1")?;
        if layout(&connection)? {
            return Err(FileError::Foreign);
        }
        let path = path.to_owned();
        Ok(Self { connection, path })
    }

    /// Whose revisions it holds; none when that cannot be told.
    pub(super) fn whose(&self) -> Result<Option<Whose>, FileError> {
        let component = self.noted("component")?;
        let realm = self.noted("realm")?;
        Ok(component
            .zip(realm)
            .map(|(component, realm)| Whose { component, realm }))
    }

    /// Every row whose sum is right, as far as the file can be read.
    pub(super) fn rows(&self) -> Result<Rows, FileError> {
        let mut rows = Rows::default();
        if let Err(error) = self.scan(&mut rows, "ASC") {
            let FileError::Damaged(_) = error else {
                return Err(error);
            };
            // What stands behind the damage is read from the other end.
            rows.is_damaged = true;
            let _damaged_too = self.scan(&mut rows, "DESC");
            rows.records.sort_by_key(|&(id, _)| id);
            rows.records.dedup_by_key(|&mut (id, _)| id);
            rows.spoilt.sort_unstable();
            rows.spoilt.dedup();
        }
        Ok(rows)
    }

    fn scan(&self, rows: &mut Rows, direction: &str) -> Result<(), FileError> {
        let all = format!("SELECT * FROM project ORDER BY id {direction}");
        let mut statement = self.connection.prepare(&all)?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let Ok(id) = row.get(0) else { continue };
            match record(row) {
                Some(record) => rows.records.push((id, record)),
                None => rows.spoilt.push(id),
            }
        }
        Ok(())
    }

    /// The payload of a row; none where there is none.
    pub(super) fn payload(&self, id: i64) -> Result<Option<Vec<u8>>, FileError> {
        let mut statement = self
            .connection
            .prepare("SELECT bytes FROM payload WHERE id = ?1")?;
        Ok(statement.query_row([id], |row| row.get(0)).optional()?)
    }

    /// A note whose sum is right.
    pub(super) fn noted(&self, name: &str) -> Result<Option<String>, FileError> {
        let query = "SELECT value, sum FROM note WHERE name = ?1";
        let found = self.connection.query_row(query, [name], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        let found = found.optional()?;
        Ok(found.and_then(|(value, sum)| (sum == note_sum(name, &value)).then_some(value)))
    }

    fn note(&self, name: &str, value: &str) -> Result<(), FileError> {
        let put = "INSERT OR REPLACE INTO note VALUES (?1, ?2, ?3)";
        let sum = note_sum(name, value);
        self.connection.execute(put, params![name, value, sum])?;
        Ok(())
    }

    /// Writes all of it, or nothing.
    pub(super) fn write(&self, writes: &[RowWrite]) -> Result<(), FileError> {
        let transaction = self.connection.unchecked_transaction()?;
        {
            let mut put = self.connection.prepare(PUT)?;
            let mut delete = self
                .connection
                .prepare("DELETE FROM project WHERE id = ?1")?;
            let mut put_payload = self
                .connection
                .prepare("INSERT OR REPLACE INTO payload VALUES (?1, ?2)")?;
            let mut delete_payload = self
                .connection
                .prepare("DELETE FROM payload WHERE id = ?1")?;
            for write in writes {
                match write {
                    RowWrite::Put(id, record, payload) => {
                        put_record(&mut put, *id, record)?;
                        if let Some(payload) = payload {
                            put_payload.execute(params![id, &payload[..]])?;
                        }
                    }
                    RowWrite::Delete(id) => {
                        delete.execute([id])?;
                        delete_payload.execute([id])?;
                    }
                    RowWrite::Note(name, value) => self.note(name, value)?,
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// Makes durable what was written.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        let all = "PRAGMA wal_checkpoint(PASSIVE)";
        let is_busy: i64 = self.connection.query_row(all, [], |row| row.get(0))?;
        if is_busy == 0 {
            Ok(())
        } else {
            Err(FileError::Locked)
        }
    }

    /// What it takes of the disk, with the log of writes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        [self.path.clone(), log_of_writes(&self.path)]
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .map(|found| found.len())
            .sum()
    }
}

/// Puts a file out of the way, once: an earlier one of these is lost.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    fs::rename(path, &aside)?;
    match fs::remove_file(log_of_writes(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(aside.into()),
    }
}

fn log_of_writes(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Makes a file that none but this user can read, and its folder.
fn make(path: &Path) -> Result<(), FileError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| FileError::denied(folder, &error))?;
    }
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path);
    let file = open.map_err(|error| FileError::denied(path, &error))?;
    // What another user owns stays as it is.
    let _not_ours = file.set_permissions(Permissions::from_mode(0o600));
    Ok(())
}

/// Whether there is nothing in it yet.
fn layout(connection: &Connection) -> Result<bool, FileError> {
    let number = |of: &str| connection.query_row(of, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_master")?;
    let version = number("PRAGMA user_version")?;
    match (application, tables, version) {
        (0, 0, 0) => Ok(true),
        (APPLICATION, _, VERSION) => Ok(false),
        (APPLICATION, _, newer) if newer > VERSION => Err(FileError::Newer),
        _ => Err(FileError::Foreign),
    }
}

/// Sets something, whether or not that is answered with a row.
fn pragma(connection: &Connection, set: &str) -> Result<(), FileError> {
    let mut statement = connection.prepare(&format!("PRAGMA {set}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// A character in a URI of SQLite.
fn escaped(c: char) -> String {
    match c {
        '%' | '?' | '#' => format!("%{:02x}", u32::from(c)),
        c => c.to_string(),
    }
}

fn note_sum(name: &str, value: &str) -> [u8; 16] {
    xxh3_128(format!("{name}\n{value}").as_bytes()).to_le_bytes()
}

fn put_record(
    put: &mut rusqlite::Statement<'_>,
    id: i64,
    record: &KeptRecord,
) -> Result<(), FileError> {
    let whole = |duration: Duration| nanos(duration).cast_signed();
    let (lower, fell) = (record.lower, record.fell_from);
    put.execute(params![
        id,
        record.project.as_str(),
        record.order.rollout.cast_signed(),
        record.order.number.cast_signed(),
        record.digest.as_bytes(),
        &*record.content_type,
        record.rendered_at.map(|(seconds, _)| seconds),
        record.rendered_at.map(|(_, nanoseconds)| nanoseconds),
        record.size.cast_signed(),
        record.written.boot.map(u128::to_le_bytes),
        whole(record.written.since_boot),
        whole(record.written.wall),
        whole(record.validated_ago),
        record.changed.map(|(number, _)| number.cast_signed()),
        record.changed.map(|(_, ago)| whole(ago)),
        record.gone_ago.map(whole),
        lower.map(|(order, _)| order.rollout.cast_signed()),
        lower.map(|(order, _)| order.number.cast_signed()),
        lower.map(|(_, ago)| whole(ago)),
        fell.map(|order| order.rollout.cast_signed()),
        fell.map(|order| order.number.cast_signed()),
        record.sum(),
    ])?;
    Ok(())
}

/// What a row says; none where it is not what was written.
fn record(row: &Row<'_>) -> Option<KeptRecord> {
    let number = |at| Some(row.get::<_, i64>(at).ok()?.cast_unsigned());
    let some = |at| row.get::<_, Option<i64>>(at).ok();
    let duration = |at| Some(Duration::from_nanos(number(at)?));
    let age = |at| Some(some(at)?.map(|ago| Duration::from_nanos(ago.cast_unsigned())));
    let order = |at| {
        let rollout = some(at)?.map(i64::cast_unsigned);
        let number = some(at + 1)?.map(i64::cast_unsigned);
        Some(
            rollout
                .zip(number)
                .map(|(rollout, number)| Order::new(rollout, number)),
        )
    };
    let digest: [u8; 32] = row.get(4).ok()?;
    let boot: Option<[u8; 16]> = row.get(9).ok()?;
    let rendered_at = some(6)?.zip(row.get::<_, Option<u32>>(7).ok()?);
    let record = KeptRecord {
        project: Project::new(&row.get::<_, String>(1).ok()?).ok()?,
        order: Order::new(number(2)?, number(3)?),
        digest: Digest::from(digest),
        content_type: row.get::<_, String>(5).ok()?.into(),
        rendered_at,
        size: number(8)?,
        written: ClockStamp {
            boot: boot.map(u128::from_le_bytes),
            since_boot: duration(10)?,
            wall: duration(11)?,
        },
        validated_ago: duration(12)?,
        changed: some(13)?.map(i64::cast_unsigned).zip(age(14)?),
        gone_ago: age(15)?,
        lower: order(16)?.zip(age(18)?),
        fell_from: order(19)?,
    };
    let sum: [u8; 16] = row.get(21).ok()?;
    (record.sum() == sum).then_some(record)
}
