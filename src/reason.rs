//! Why a lookup's answer is not fresh: the one list of reasons.
//!
//! The enum of the contract, metric labels, log fields and the table of `deploy/README.md` follow
//! from it; tests pin them.

use std::{fmt, time::Duration};

/// Why a project is not fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotRefreshed {
    /// A refresh is wanted; the caller did not want to wait for it.
    Scheduled,
    /// The token bucket is empty.
    Throttled,
    /// As many renders are in flight as may be.
    ConcurrencyLimited,
    /// The queue of missing projects, or the room for waiting lookups, is full.
    QueueFull,
    /// The render is still running.
    TimedOut,
    /// The render ended in an error.
    RenderFailed,
    /// A render of this project failed, or ended, too short a time ago.
    CoolingDown,
    /// Several projects failed in a row, or the renderer refused the identity of this sidecar;
    /// nothing is rendered for a while.
    BreakerOpen,
    /// The renderer asked the sidecar to pause.
    PushedBack,
    /// There is no connection to the renderer.
    Unreachable,
    /// The renderer answered with an older revision than it was asked for.
    RendererBehind,
    /// The renderer's answer cannot be served.
    Rejected,
    /// The renderer says that the project no longer exists.
    ProjectGone,
    /// The sidecar is shutting down.
    Draining,
    /// Another sidecar of the fleet renders the project.
    RenderingElsewhere,
    /// The store by which the fleet shares its budget does not answer; soon this sidecar goes on
    /// with a part of the budget.
    FleetUnreachable,
}

impl NotRefreshed {
    /// Every reason, in the order of the contract.
    pub const ALL: [Self; 16] = [
        Self::Scheduled,
        Self::Throttled,
        Self::ConcurrencyLimited,
        Self::QueueFull,
        Self::TimedOut,
        Self::RenderFailed,
        Self::CoolingDown,
        Self::BreakerOpen,
        Self::PushedBack,
        Self::Unreachable,
        Self::RendererBehind,
        Self::Rejected,
        Self::ProjectGone,
        Self::Draining,
        Self::RenderingElsewhere,
        Self::FleetUnreachable,
    ];

    /// The contract's name, without its prefix.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Throttled => "THROTTLED",
            Self::ConcurrencyLimited => "CONCURRENCY_LIMITED",
            Self::QueueFull => "QUEUE_FULL",
            Self::TimedOut => "TIMED_OUT",
            Self::RenderFailed => "RENDER_FAILED",
            Self::CoolingDown => "COOLING_DOWN",
            Self::BreakerOpen => "BREAKER_OPEN",
            Self::PushedBack => "PUSHED_BACK",
            Self::Unreachable => "UNREACHABLE",
            Self::RendererBehind => "RENDERER_BEHIND",
            Self::Rejected => "REJECTED",
            Self::ProjectGone => "PROJECT_GONE",
            Self::Draining => "DRAINING",
            Self::RenderingElsewhere => "RENDERING_ELSEWHERE",
            Self::FleetUnreachable => "FLEET_UNREACHABLE",
        }
    }
}

impl fmt::Display for NotRefreshed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason, and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why the project was not refreshed.
    pub reason: NotRefreshed,
    /// After how long it may be expected to be.
    pub retry_after: Duration,
}

/// Why a lookup failed: the reasons that the contract's errors carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// It could not be refreshed.
    NotRefreshed(NotRefreshed),
    /// The renderer knows no such project.
    ProjectNotFound,
    /// The renderer answered, and what the caller demands is not met.
    DemandNotMet,
    /// No project can have that name.
    InvalidProject,
    /// Another field of the request has a value that is not accepted.
    InvalidRequest,
    /// The payloads of a batch have no room for this one.
    BatchTooLarge,
    /// The sidecar waits for the repair of its settings, and does not know what to answer with.
    SettingsInvalid,
    /// Too many calls are open, or too much of their requests has not come to its end.
    TooManyCalls,
}

impl FailureReason {
    /// Those that are not a [`NotRefreshed`].
    pub const OTHERS: [Self; 7] = [
        Self::ProjectNotFound,
        Self::DemandNotMet,
        Self::InvalidProject,
        Self::InvalidRequest,
        Self::BatchTooLarge,
        Self::SettingsInvalid,
        Self::TooManyCalls,
    ];

    /// The contract's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRefreshed(reason) => reason.as_str(),
            Self::ProjectNotFound => "PROJECT_NOT_FOUND",
            Self::DemandNotMet => "DEMAND_NOT_MET",
            Self::InvalidProject => "INVALID_PROJECT",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::BatchTooLarge => "BATCH_TOO_LARGE",
            Self::SettingsInvalid => "SETTINGS_INVALID",
            Self::TooManyCalls => "TOO_MANY_CALLS",
        }
    }
}
