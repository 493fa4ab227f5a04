//! Which projects are listed, and which of them first.

use std::collections::{BinaryHeap, HashMap};

use super::state::{HeldOrAbsent, ProjectState};
use crate::{
    admission::{Class, Remembered},
    moment::Moment,
    revision::Project,
};

/// Which projects are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectFilter {
    /// All that are held, wanted, or taken to be absent.
    All,
    /// Those whose last render failed, was rejected or brought less than was asked for.
    Failing,
    /// Those that are held and not fresh.
    Outdated,
    /// Those of which nothing is held, and that are wanted or taken to be absent.
    Missing,
}

/// A list of projects.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The longest outdated first, then by name.
    pub projects: Vec<ProjectState>,
    /// How many the filter lets through, listed or not.
    pub total: usize,
}

/// A project that may be listed. The first one in order has been outdated for longest; what is not
/// outdated comes last.
#[derive(Debug)]
pub(super) struct ListCandidate {
    /// Since when it is outdated or, if nothing is held, wanted.
    pub(super) since: Option<Moment>,
    pub(super) project: Project,
    pub(super) known: HeldOrAbsent,
}

/// The first candidates in order, up to a limit, so that a list takes only the room of what is
/// shown.
#[derive(Debug)]
pub(super) struct Longest {
    first: BinaryHeap<ListCandidate>,
    limit: usize,
    total: usize,
}

pub(super) fn by_name(remembered: Vec<(Project, Remembered)>) -> HashMap<Project, Remembered> {
    remembered.into_iter().collect()
}

impl ProjectFilter {
    /// Whether it takes what admission remembers to tell what is listed.
    pub(super) const fn asks_admission(self) -> bool {
        match self {
            Self::All | Self::Failing | Self::Missing => true,
            Self::Outdated => false,
        }
    }

    /// Whether what is remembered of a project has to be known to tell whether it is listed.
    pub(super) fn wants(self, remembered: &Remembered) -> bool {
        match self {
            Self::Failing => remembered.failures > 0,
            Self::All | Self::Missing => {
                remembered.class == Class::Missing && remembered.wanted_since.is_some()
            }
            Self::Outdated => false,
        }
    }

    /// Whether projects are listed that are taken to be absent.
    pub(super) const fn takes_absent(self) -> bool {
        match self {
            Self::All | Self::Missing => true,
            Self::Failing | Self::Outdated => false,
        }
    }
}

impl ListCandidate {
    fn order(&self) -> (bool, Option<Moment>, &Project) {
        (self.since.is_none(), self.since, &self.project)
    }
}

impl PartialEq for ListCandidate {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for ListCandidate {}

impl PartialOrd for ListCandidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ListCandidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Longest {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            first: BinaryHeap::new(),
            limit,
            total: 0,
        }
    }

    pub(super) fn add(&mut self, candidate: ListCandidate) {
        self.total += 1;
        self.first.push(candidate);
        if self.first.len() > self.limit {
            self.first.pop();
        }
    }

    /// How many were added.
    pub(super) const fn total(&self) -> usize {
        self.total
    }

    pub(super) fn into_sorted(self) -> Vec<ListCandidate> {
        self.first.into_sorted_vec()
    }
}
