//! Renders that ended, counted by result.

use serde::{Deserialize, Serialize};

use super::facts::rise;

/// Renders that ended, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are the results")]
pub struct Landed<Count> {
    pub stored: Count,
    pub validated: Count,
    pub behind: Count,
    pub rejected: Count,
    /// Of a held project.
    pub gone: Count,
    /// Of what was never held.
    pub not_found: Count,
    pub deadline_exceeded: Count,
    pub unavailable: Count,
    pub unreachable: Count,
    pub exhausted: Count,
    pub refused: Count,
    /// Any other failure.
    pub failed: Count,
}

impl Landed<u64> {
    pub(super) fn sum(&self) -> u64 {
        self.all().into_iter().sum()
    }

    pub(super) fn since(&self, before: &Self) -> Landed<u32> {
        let mut landed = Landed::default();
        let both = self.all().into_iter().zip(before.all());
        for (to, (now, before)) in landed.all_mut().into_iter().zip(both) {
            *to = rise(now, before);
        }
        landed
    }
}

impl Landed<u32> {
    /// All of them.
    pub fn sum(&self) -> u32 {
        self.all().into_iter().fold(0, u32::saturating_add)
    }
}

impl<Count: Copy> Landed<Count> {
    /// The names of the results, as metrics have them.
    pub const NAMES: [&str; 12] = [
        "stored",
        "validated",
        "behind",
        "rejected",
        "gone",
        "not_found",
        "deadline_exceeded",
        "unavailable",
        "unreachable",
        "exhausted",
        "refused",
        "failed",
    ];

    /// Each, in the order of the names.
    pub fn all(&self) -> [Count; 12] {
        [
            self.stored,
            self.validated,
            self.behind,
            self.rejected,
            self.gone,
            self.not_found,
            self.deadline_exceeded,
            self.unavailable,
            self.unreachable,
            self.exhausted,
            self.refused,
            self.failed,
        ]
    }

    pub(super) fn all_mut(&mut self) -> [&mut Count; 12] {
        [
            &mut self.stored,
            &mut self.validated,
            &mut self.behind,
            &mut self.rejected,
            &mut self.gone,
            &mut self.not_found,
            &mut self.deadline_exceeded,
            &mut self.unavailable,
            &mut self.unreachable,
            &mut self.exhausted,
            &mut self.refused,
            &mut self.failed,
        ]
    }
}
