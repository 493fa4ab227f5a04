//! A sorted set that tells how many of its elements are greater than one: a `BTreeSet` would have
//! to visit each of them, at every lookup of every wanted project.
//!
//! It is cut into chunks of a bounded length: a change moves the elements of one, and a count adds
//! the lengths of some.

/// A chunk that is longer is cut in two.
const LONGEST: usize = 256;

/// A sorted set.
#[derive(Debug)]
pub(in crate::admission) struct Ranked<T> {
    /// In order, none of them empty.
    chunks: Vec<Vec<T>>,
    length: usize,
}

impl<T> Default for Ranked<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            length: 0,
        }
    }
}

impl<T: Ord> Ranked<T> {
    pub(in crate::admission) fn len(&self) -> usize {
        self.length
    }

    pub(in crate::admission) fn last(&self) -> Option<&T> {
        self.chunks.last()?.last()
    }

    /// How many elements are greater than this, which may be one of them.
    pub(in crate::admission) fn above(&self, element: &T) -> usize {
        let at = self.chunk_of(element);
        let Some(chunk) = self.chunks.get(at) else {
            return 0;
        };
        let upto = chunk.partition_point(|other| other <= element);
        let later = self.chunks[at + 1..].iter().map(Vec::len).sum::<usize>();
        chunk.len() - upto + later
    }

    /// How many elements are less than this, which may be one of them.
    pub(in crate::admission) fn below(&self, element: &T) -> usize {
        let at = self.chunk_of(element);
        let earlier = self.chunks[..at].iter().map(Vec::len).sum::<usize>();
        let chunk = self.chunks.get(at);
        earlier + chunk.map_or(0, |chunk| chunk.partition_point(|other| other < element))
    }

    /// Inserts an element, unless it is there.
    pub(in crate::admission) fn insert(&mut self, element: T) {
        let at = self
            .chunk_of(&element)
            .min(self.chunks.len().saturating_sub(1));
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![element]);
            self.length = 1;
            return;
        };
        if let Err(place) = chunk.binary_search(&element) {
            chunk.insert(place, element);
            self.length += 1;
        }
        if chunk.len() > LONGEST {
            let rest = chunk.split_off(LONGEST / 2);
            self.chunks.insert(at + 1, rest);
        }
    }

    /// Removes an element, if it is there.
    pub(in crate::admission) fn remove(&mut self, element: &T) {
        let at = self.chunk_of(element);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return;
        };
        if let Ok(place) = chunk.binary_search(element) {
            chunk.remove(place);
            self.length -= 1;
        }
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    /// The chunk in which an element belongs; one past the last when it is greater than all.
    fn chunk_of(&self, element: &T) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last < element))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_as_one_who_visits_all(
            changes in prop::collection::vec((any::<bool>(), 0_u16..2_000), 1..3_000),
        ) {
            let (mut ranked, mut visited) = (Ranked::default(), BTreeSet::new());
            for (inserts, element) in changes {
                if inserts {
                    ranked.insert(element);
                    visited.insert(element);
                } else {
                    ranked.remove(&element);
                    visited.remove(&element);
                }
                prop_assert_eq!(ranked.len(), visited.len());
                prop_assert_eq!(ranked.last(), visited.last());
                let above = visited.range(element + 1..).count();
                prop_assert_eq!(ranked.above(&element), above);
                let below = visited.range(..element).count();
                prop_assert_eq!(ranked.below(&element), below);
            }
        }
    }
}
