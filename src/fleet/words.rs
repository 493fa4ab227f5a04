//! What a refresh tells the fleet.

use std::{sync::Arc, time::Duration};

use crate::{
    admission::{AskId, Class, Lease},
    moment::Moment,
    revision::{Order, Project, Revision},
};

/// What a refresh tells the fleet.
#[derive(Clone, Debug)]
pub enum FleetEvent {
    /// Admission asks whether renders may start.
    Ask {
        /// The number of the ask.
        ask: AskId,
        /// In which class.
        class: Class,
        /// What it would render, the most wanted first.
        wishes: Vec<FleetWish>,
    },
    /// A render ended.
    Ended {
        /// Of which project.
        project: Project,
        /// Under which lease, if any.
        lease: Option<Lease>,
        /// How.
        end: RenderEnd,
    },
    /// A lease is no longer needed.
    Return {
        /// Which.
        lease: Lease,
    },
}

/// A project, and what would make it fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetWish {
    /// The project.
    pub project: Project,
    /// The least order that does.
    pub least: Order,
    /// Since when it has to be validated.
    pub since: Moment,
}

/// How a render ended, as the fleet sees it.
#[derive(Clone, Debug)]
pub enum RenderEnd {
    /// This is held now.
    Held(Arc<Revision>),
    /// It failed, or brought what cannot be held: the fault may be the project's.
    Failed,
    /// The renderer knows no such project.
    Absent,
    /// There was no answer: the fault may be this sidecar's own.
    Unanswered,
    /// The renderer asks to leave the project alone.
    PushedBack(Duration),
    /// The renderer asks to leave all projects alone.
    AllPushedBack(Duration),
    /// The renderer was not asked, or turned the call away.
    Nothing,
}
