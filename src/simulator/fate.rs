//! What may change while a world runs: the release, the load, and what is wrong with the renderer
//! and its projects.

use std::time::Duration;

use super::{plan::Plan, sidecar::ProjectId};

/// What changes of a world while it runs.
#[derive(Clone, Debug)]
pub struct Fate {
    /// The newest rollout, which a new sidecar starts with.
    pub target: u64,
    /// As [`Plan::load`](super::Plan::load).
    pub load: f64,
    /// As [`Plan::missing`](super::Plan::missing).
    pub missing: f64,
    /// A factor of every render's work.
    pub slowness: f64,
    /// The part of the renderer's replicas that lack the newest rollout.
    pub behind: f64,
    /// What the [poisoned](super::Plan::poisoned) projects do to the renderer.
    pub poison: Poison,
    /// The part of the renderer's replicas that answer NOT_FOUND to everything.
    pub unknowing: f64,
    /// How many projects, from the first, no longer exist.
    pub deleted: usize,
    /// A project whose every render is pushed back by 5 s.
    pub quota: Option<ProjectId>,
    /// How long applications wait at most.
    pub callers_leave_after: Duration,
    /// Lookups per second of names that are no projects.
    pub(super) typos: f64,
}

/// What poisoned projects do to a renderer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poison {
    /// Nothing: they are as others.
    None,
    /// Their renders never end.
    Endless,
    /// They take 8 s of a core.
    Large,
    /// They end in an error.
    Crash,
    /// They take the renderer's process down, so that the call ends in UNAVAILABLE.
    Kill,
}

impl Fate {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            target: 1,
            load: plan.load,
            missing: plan.missing,
            slowness: 1.0,
            behind: 0.0,
            unknowing: 0.0,
            deleted: 0,
            poison: Poison::None,
            quota: None,
            callers_leave_after: Duration::MAX,
            typos: 0.0,
        }
    }
}
