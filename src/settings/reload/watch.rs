//! Decides when what was read of the files is to be taken.
//!
//! What was moved into place is whole and is taken at once: a new target behind the symbolic links,
//! or a new inode whose name changed after its content did. Anything else may be half of what is
//! being written, and is taken when two successive readings agree. Nothing is taken twice.

use crate::settings::reading::FileReading;

/// Why the files were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadCause {
    /// It was time again.
    Poll,
    /// Somebody asked for it.
    Demand,
}

/// What was seen of the files, in the order of their names on the command line.
#[derive(Debug)]
pub(super) struct FileWatch {
    taken: Vec<FileReading>,
    /// Differs from what was taken, and waits for a second reading to agree.
    waiting: Option<Vec<FileReading>>,
}

impl FileWatch {
    /// Starts with what was taken at start.
    pub(super) fn new(taken: Vec<FileReading>) -> Self {
        Self {
            taken,
            waiting: None,
        }
    }

    /// What was taken last.
    pub(super) fn taken(&self) -> Vec<FileReading> {
        self.taken.clone()
    }

    /// Looks at a reading, and returns it when it is to be taken.
    pub(super) fn see(
        &mut self,
        read: Vec<FileReading>,
        cause: ReadCause,
    ) -> Option<Vec<FileReading>> {
        let waited = self.waiting.take();
        if has_same_content(&self.taken, &read) {
            self.taken = read;
            return None;
        }
        let agrees = waited.is_some_and(|waited| has_same_content(&waited, &read));
        if cause == ReadCause::Demand || agrees || self.was_moved_into_place(&read) {
            self.taken.clone_from(&read);
            return Some(read);
        }
        self.waiting = Some(read);
        None
    }

    /// Whether every file that changed was replaced by a whole one. What is empty or missing never
    /// counts as whole.
    fn was_moved_into_place(&self, read: &[FileReading]) -> bool {
        let pairs = self.taken.iter().zip(read);
        let mut changed = pairs.filter(|(taken, read)| taken.content != read.content);
        changed.all(|(taken, read)| {
            let has_content = read.content.as_ref().is_ok_and(|bytes| !bytes.is_empty());
            let (Some(before), Some(now)) = (&taken.identity, &read.identity) else {
                return false;
            };
            let is_other_inode = before.inode != now.inode && read.is_settled;
            has_content && (before.target != now.target || is_other_inode)
        })
    }
}

fn has_same_content(left: &[FileReading], right: &[FileReading]) -> bool {
    let mut pairs = left.iter().zip(right);
    pairs.all(|(left, right)| left.content == right.content)
}
