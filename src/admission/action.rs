//! What the driver is told to do, and the rights that only admission makes.

use super::{
    reserve::AskId,
    words::{Class, Outcome},
};
use crate::revision::Project;

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Render a project, then call [`Admission::landed`](super::Admission::landed).
    Render {
        /// The project.
        project: Project,
        /// With which generation of the software.
        rollout: u64,
        /// Whether a caller asked for more than freshness.
        is_demand: bool,
        /// In which class it was admitted.
        class: Class,
        /// Which attempt it is for callers who have waited since the first, from 1.
        attempt: u32,
        /// The right to do so.
        permit: Permit,
    },
    /// Fetch a project, then call [`Admission::fetched`](super::Admission::fetched).
    Fetch {
        /// The project.
        project: Project,
        /// The right to do so.
        permit: FetchPermit,
    },
    /// Fetch a project of which something is held, to see whether that is still right; then call
    /// [`Admission::confirmed`](super::Admission::confirmed).
    Confirm {
        /// The project.
        project: Project,
        /// The right to do so.
        permit: FetchPermit,
    },
    /// Replace a connection whose replica seems to be behind, since several projects are.
    Redial {
        /// The number of the connection.
        connection: u64,
    },
    /// Ask whether renders may start, then call
    /// [`Admission::reserved`](super::Admission::reserved).
    Reserve {
        /// The number of the ask.
        ask: AskId,
        /// In which class.
        class: Class,
        /// The projects, the most wanted first.
        candidates: Vec<Project>,
    },
    /// Give a lease back: its render has landed, or will not start.
    Return {
        /// The lease.
        lease: Lease,
    },
    /// Wake everyone who waits for a project.
    Resolve {
        /// The project.
        project: Project,
        /// What to tell them.
        outcome: Outcome,
    },
}

/// What a grant names, to be given back after its render.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(pub u64);

/// The right to render one project once. Only admission makes it; a render consumes it.
#[derive(Debug)]
pub struct Permit {
    lease: Option<Lease>,
}

impl Permit {
    pub(super) fn new(lease: Option<Lease>) -> Self {
        Self { lease }
    }

    /// The lease under which it was granted, if any.
    pub fn lease(&self) -> Option<Lease> {
        self.lease
    }
}

/// The right to fetch one project once. Only admission makes it; a fetch consumes it.
#[derive(Debug)]
pub struct FetchPermit {
    _private: (),
}

impl FetchPermit {
    pub(super) fn new() -> Self {
        Self { _private: () }
    }
}
