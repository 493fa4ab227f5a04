//! What a lookup gets: an [`Answer`], which may be outdated and then says why, or a [`Failure`]
//! when nothing can be served.

use std::{sync::Arc, time::Duration};

use crate::{
    reason::{NotRefreshed, Refusal},
    revision::{Order, Revision},
};

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It was held fresh.
    Fresh,
    /// It became fresh while the caller waited.
    Rendered,
    /// It is outdated.
    Outdated(Outdated),
}

/// Why, and for how long, an answer has been outdated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// Why it was not refreshed, and when to come back.
    pub refusal: Refusal,
    /// How long ago this sidecar learned that it is outdated.
    pub outdated_for: Duration,
}

/// A revision, and how it came to be served.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What is served.
    pub revision: Arc<Revision>,
    /// How it came about.
    pub served: Served,
    /// A change of it may have been missed, and the renderer has not been asked since.
    pub is_unconfirmed: bool,
}

/// Why a lookup cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The renderer says that there is no such project; it is not asked again within `retry_after`.
    #[error("the renderer knows no such project")]
    ProjectNotFound {
        /// How long the renderer is not asked again.
        retry_after: Duration,
    },
    /// Nothing is held, or what is held does not meet the demand, and it could not be refreshed.
    #[error("{}: not refreshed: {}", if *.held { "the demand is not met" } else { "nothing is held" }, .refusal.reason)]
    NotRefreshed {
        /// Why not, and when to come back.
        refusal: Refusal,
        /// Something is held, but the caller demands more.
        held: bool,
        /// The caller's own deadline set the patience, and it ran out.
        deadline_exceeded: bool,
    },
    /// The renderer answered, and what is held is still below the caller's `min_revision`.
    #[error("the newest revision is {newest}, below the one demanded")]
    BelowMinRevision {
        /// The newest there is.
        newest: Order,
        /// When to ask again, where the rollout that is demanded may be on its way: it is above the
        /// target.
        retry_after: Option<Duration>,
    },
    /// The caller's `min_revision` is of a rollout that is not under way. The renderer was not
    /// asked.
    #[error(
        "rollout {demanded} is demanded, and the target is {target}: at most {reach} may be on its way"
    )]
    BeyondReach {
        /// The rollout that is demanded.
        demanded: u64,
        /// The target.
        target: u64,
        /// The highest that may be demanded.
        reach: u64,
    },
    /// What is held has been outdated for longer than the caller's `max_outdated`, and could not be
    /// refreshed.
    #[error("outdated for {outdated_for:?}, longer than demanded: not refreshed: {reason}")]
    BeyondMaxOutdated {
        /// For how long it has been outdated.
        outdated_for: Duration,
        /// Why it was not refreshed.
        reason: NotRefreshed,
    },
}
