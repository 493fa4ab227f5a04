//! What a file was when it was read: which file, whether it had come to rest, and its bytes; and the hash of them all.

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
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
pub(super) struct Reading {
    /// Which file, when there was one.
    pub(super) identity: Option<Identity>,
    /// Whether its name or mode changed after its content did: as far as the file system tells, it was moved into place
    /// whole.
    pub(super) is_settled: bool,
    /// Its bytes, or what the system says.
    pub(super) content: Result<Vec<u8>, String>,
}

impl Reading {
    /// Reads a file.
    pub(super) fn of(path: &Path) -> Self {
        let read = || -> io::Result<Self> {
            let target = fs::canonicalize(path)?;
            let mut file = fs::File::open(&target)?;
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            let metadata = file.metadata()?;
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            let written = (metadata.mtime(), metadata.mtime_nsec());
            Ok(Self {
                identity: Some(Identity {
                    target,
                    inode: (metadata.dev(), metadata.ino()),
                }),
                is_settled: changed > written,
                content: Ok(content),
            })
        };
        read().unwrap_or_else(|error| Self {
            identity: None,
            is_settled: false,
            content: Err(error.to_string()),
        })
    }
}

/// The first 12 hexadecimal digits of the SHA-256 of the files, one after the other: `cat FILE... | sha256sum`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash(String);

impl Hash {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Hashes what was read; files that could not be read count as empty.
    pub(super) fn of(readings: &[Reading]) -> Self {
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
