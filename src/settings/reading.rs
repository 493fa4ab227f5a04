//! What a file was when it was read: which file, whether it had come to rest, and its bytes; and
//! the hash of them all.

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

/// Which file was read: its path behind all symbolic links, and its device and inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The path behind all symbolic links.
    pub(super) target: PathBuf,
    /// Device and inode.
    pub(super) inode: (u64, u64),
}

/// What a file was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileReading {
    /// Which file, when there was one.
    pub(super) identity: Option<Identity>,
    /// Whether its name or mode changed after its content did: as far as the file system tells, it
    /// was moved into place whole.
    pub(super) is_settled: bool,
    /// Whether it can be read only once: a pipe, standard input, the substitution of a process.
    pub(super) is_stream: bool,
    /// Its bytes, or what the system says.
    pub(super) content: Result<Vec<u8>, String>,
}

/// The largest file that is read, in bytes: far more than settings need, and than a ConfigMap may
/// hold, which is 1 MiB.
const LARGEST: usize = 16 << 20;

/// How long a pipe may stay silent: it may have no writer.
const SILENCE: Duration = Duration::from_secs(5);

/// The other names of standard input. Opening one again fails where it is a socket.
const INPUTS: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

impl FileReading {
    /// Reads a file; `-` is standard input.
    pub(super) fn of(path: &Path) -> Self {
        let read = || -> io::Result<Self> {
            if path.as_os_str() == "-" {
                return Ok(Self::of_stream(path));
            }
            let kind = fs::metadata(path)?.file_type();
            if kind.is_file() || kind.is_dir() {
                Self::of_file(path)
            } else {
                Ok(Self::of_stream(path))
            }
        };
        read().unwrap_or_else(|error| Self {
            identity: None,
            is_settled: false,
            is_stream: false,
            content: Err(error.to_string()),
        })
    }

    fn of_stream(path: &Path) -> Self {
        Self {
            identity: None,
            is_settled: true,
            is_stream: true,
            content: read_stream(path).map_err(|error| error.to_string()),
        }
    }

    /// Reads a file again. What can be read but once stays as it was.
    pub(super) fn again(self, path: &Path) -> Self {
        if self.is_stream { self } else { Self::of(path) }
    }

    fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = fs::File::open(path)?;
        let mut content = Vec::new();
        file.by_ref()
            .take(LARGEST as u64 + 1)
            .read_to_end(&mut content)?;
        let metadata = file.metadata()?;
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let written = (metadata.mtime(), metadata.mtime_nsec());
        Ok(Self {
            identity: Some(Identity {
                // What another process has open may have no name.
                target: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
                inode: (metadata.dev(), metadata.ino()),
            }),
            is_settled: changed > written,
            is_stream: false,
            content: Ok(bounded(content)?),
        })
    }
}

fn bounded(content: Vec<u8>) -> io::Result<Vec<u8>> {
    if content.len() > LARGEST {
        return Err(io::Error::other("it is larger than 16 MiB"));
    }
    Ok(content)
}

/// Reads to the end, on a thread that is abandoned if nothing comes: opening a pipe without a
/// writer blocks. Standard input is waited for, as by any other command that reads it.
fn read_stream(path: &Path) -> io::Result<Vec<u8>> {
    let is_input = INPUTS.iter().any(|input| path.as_os_str() == *input);
    let (sender, pieces) = mpsc::sync_channel(1);
    let path = path.to_owned();
    thread::Builder::new()
        .name("settings".to_owned())
        .spawn(move || {
            let told = if is_input {
                hand_over(io::stdin(), &sender)
            } else {
                fs::File::open(path).and_then(|file| hand_over(file, &sender))
            };
            // The receiver is gone if this took too long.
            let _unheard = sender.send(told.map(|()| Vec::new()));
        })?;
    let mut content = Vec::new();
    loop {
        let piece = if is_input {
            pieces.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            pieces.recv_timeout(SILENCE)
        };
        let piece = piece.map_err(|error| match error {
            RecvTimeoutError::Timeout => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it is a pipe, and nothing came for {SILENCE:?}"),
            ),
            RecvTimeoutError::Disconnected => io::Error::other("its reader failed"),
        })??;
        if piece.is_empty() {
            return Ok(content);
        }
        content.extend(piece);
        content = bounded(content)?;
    }
}

/// Hands over what is read, piece by piece, until the end or until the receiver is gone.
fn hand_over(mut source: impl Read, pieces: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                if pieces.send(Ok(piece[..length].to_vec())).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The first 12 hexadecimal digits of the SHA-256 of the files, one after the other: `cat FILE... |
/// sha256sum`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash(String);

impl Hash {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Hashes what was read; files that could not be read count as empty.
    pub(super) fn of(readings: &[FileReading]) -> Self {
        let mut digest = Sha256::new();
        for bytes in readings.iter().flat_map(|reading| &reading.content) {
            digest.update(bytes);
        }
        let digest = digest.finalize();
        Self(
            digest[..6]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
