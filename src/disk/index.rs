//! What the file holds, as the thread remembers it: which row is whose, how much room it takes, and
//! what is deleted when there is no room.

use std::collections::HashMap;

use crate::{
    moment::Moment,
    revision::{Digest, Project},
};

/// What a row takes beside its payload: its columns and its share of the pages above it.
const ROW_BYTES: u64 = 640;

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowEntry {
    pub(super) id: i64,
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// What it says beside when it was last validated; none while that is not known.
    pub(super) facts: Option<u64>,
    pub(super) validated_at: Moment,
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct RowIndex {
    entries: HashMap<Project, RowEntry>,
    last_id: i64,
    bytes: u64,
}

impl RowIndex {
    pub(super) fn get(&self, project: &Project) -> Option<&RowEntry> {
        self.entries.get(project)
    }

    /// The number of a new row.
    pub(super) fn new_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    /// Takes in a row; tells which one it replaces.
    pub(super) fn insert(&mut self, project: Project, entry: RowEntry) -> Option<RowEntry> {
        self.skip(entry.id);
        self.bytes += room(entry.size);
        let before = self.entries.insert(project, entry)?;
        self.bytes -= room(before.size);
        Some(before)
    }

    pub(super) fn remove(&mut self, project: &Project) -> Option<RowEntry> {
        let entry = self.entries.remove(project)?;
        self.bytes -= room(entry.size);
        Some(entry)
    }

    /// Takes note that a row of that number is there, whatever it holds.
    pub(super) fn skip(&mut self, id: i64) {
        self.last_id = self.last_id.max(id);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the rows take, about.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The projects to delete so that at most `most` bytes are left: those that may go, the longest
    /// not validated first.
    pub(super) fn to_delete(&self, most: u64, may_go: impl Fn(&Project) -> bool) -> Vec<Project> {
        let mut left = self.bytes;
        if left <= most {
            return Vec::new();
        }
        let mut candidates: Vec<_> = self
            .entries
            .iter()
            .filter(|(project, _)| may_go(project))
            .collect();
        candidates.sort_by_key(|(project, entry)| (entry.validated_at, *project));
        let gone = candidates.into_iter().take_while(|(_, entry)| {
            let is_too_much = left > most;
            left = left.saturating_sub(room(entry.size));
            is_too_much
        });
        gone.map(|(project, _)| project.clone()).collect()
    }
}

/// What a row with such a payload takes, about. A small payload shares its page with others; a
/// large one has pages of its own.
pub(super) fn room(size: u64) -> u64 {
    const PAGE: u64 = super::file::PAGE;
    let payload = if size < PAGE / 4 {
        size
    } else {
        size.next_multiple_of(PAGE)
    };
    payload + ROW_BYTES
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_validated_longest_ago_is_deleted_first_and_only_what_may_go() {
        let mut index = RowIndex::default();
        for number in 0_u64..10 {
            let project = Project::new(&format!("team/{number}")).unwrap();
            let id = index.new_id();
            let entry = RowEntry {
                id,
                digest: Digest::of(b""),
                size: 10_000,
                facts: None,
                validated_at: Moment::after_start(Duration::from_secs(100 - number)),
            };
            index.insert(project, entry);
        }
        let each = room(10_000);
        assert_eq!((index.bytes(), index.len()), (10 * each, 10));
        let may_go = |project: &Project| project.as_str() != "team/9";
        let names = |most| {
            let gone = index.to_delete(most, may_go);
            gone.iter().map(Project::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(10 * each), [""; 0]);
        assert_eq!(names(8 * each), ["team/8", "team/7"]);
        assert_eq!(names(0).len(), 9);
    }
}
