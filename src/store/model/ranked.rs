//! A sorted set as the server has it: by score, then by name.

use std::collections::{BTreeMap, BTreeSet};

use super::SidecarId;

/// Sidecars, each with a score.
#[derive(Clone, Debug, Default)]
pub(super) struct SortedSet {
    scores: BTreeMap<SidecarId, u64>,
    order: BTreeSet<(u64, SidecarId)>,
}

impl SortedSet {
    pub(super) fn insert(&mut self, id: &SidecarId, score: u64) {
        self.remove(id);
        self.scores.insert(id.clone(), score);
        self.order.insert((score, id.clone()));
    }

    pub(super) fn remove(&mut self, id: &SidecarId) {
        if let Some(score) = self.scores.remove(id) {
            self.order.remove(&(score, id.clone()));
        }
    }

    pub(super) fn contains(&self, id: &SidecarId) -> bool {
        self.scores.contains_key(id)
    }

    pub(super) fn len(&self) -> u64 {
        self.scores.len() as u64
    }

    pub(super) fn first(&self) -> Option<(SidecarId, u64)> {
        self.order.first().map(|(score, id)| (id.clone(), *score))
    }

    /// The first of those whose score is lower.
    pub(super) fn below(&self, score: u64, most: usize) -> Vec<SidecarId> {
        let below = self.order.iter().take_while(|(of, _)| *of < score);
        below.take(most).map(|(_, id)| id.clone()).collect()
    }

    /// The first of those whose score is higher.
    pub(super) fn above(&self, score: u64, most: usize) -> Vec<SidecarId> {
        let descending = self.order.iter().rev();
        let above: Vec<_> = descending.take_while(|(of, _)| *of > score).collect();
        let ascending = above.into_iter().rev().take(most);
        ascending.map(|(_, id)| id.clone()).collect()
    }
}
