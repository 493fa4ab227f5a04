//! What admission is told, as far as it decides which renders follow: what a record keeps, and a
//! replay tells again.

use std::{num::NonZeroU32, time::Duration};

use super::{
    limits::Limits,
    words::{FetchLanding, HeldMark, Landing, Link},
};

/// Something that admission is told. `P` names a project.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AdmissionFact<P> {
    /// Other limits are in force.
    Limits(Limits),
    /// The target is this rollout.
    Target(u64),
    /// The connection is like this.
    Link(Link),
    /// The connection takes as many calls at once; `None` if it sets no limit.
    Room(Option<NonZeroU32>),
    /// The input of a project changed.
    Changed {
        /// The project.
        project: P,
        /// The first number that has the change.
        number: u64,
    },
    /// A change that renders lack is given up.
    GaveUp {
        /// The project.
        project: P,
        /// The number that satisfies.
        number: u64,
    },
    /// A render landed.
    Rendered {
        /// The project.
        project: P,
        /// The rollout that was asked for.
        asked: u64,
        /// What it brought.
        landing: Landing,
        /// How long it took.
        took: Duration,
    },
    /// A fetch landed.
    Fetched {
        /// The project.
        project: P,
        /// What it brought.
        landing: FetchLanding,
        /// How long it took.
        took: Duration,
    },
    /// A fetch that confirmed something held left this held.
    Confirmed {
        /// The project.
        project: P,
        /// What is held.
        held: HeldMark,
    },
}

impl<P> AdmissionFact<P> {
    /// Names the project differently.
    ///
    /// # Errors
    /// When the project has no such name.
    pub fn rename<Q, E>(self, name: impl FnOnce(P) -> Result<Q, E>) -> Result<AdmissionFact<Q>, E> {
        Ok(match self {
            Self::Limits(limits) => AdmissionFact::Limits(limits),
            Self::Target(target) => AdmissionFact::Target(target),
            Self::Link(link) => AdmissionFact::Link(link),
            Self::Room(room) => AdmissionFact::Room(room),
            Self::Changed { project, number } => AdmissionFact::Changed {
                project: name(project)?,
                number,
            },
            Self::GaveUp { project, number } => AdmissionFact::GaveUp {
                project: name(project)?,
                number,
            },
            Self::Rendered {
                project,
                asked,
                landing,
                took,
            } => AdmissionFact::Rendered {
                project: name(project)?,
                asked,
                landing,
                took,
            },
            Self::Fetched {
                project,
                landing,
                took,
            } => AdmissionFact::Fetched {
                project: name(project)?,
                landing,
                took,
            },
            Self::Confirmed { project, held } => AdmissionFact::Confirmed {
                project: name(project)?,
                held,
            },
        })
    }
}
