//! The values of the labels that are this room's own.

use crate::reason::{FailureReason, NotRefreshed};

/// How a lookup came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServedLabel {
    Fresh,
    Rendered,
    Outdated,
    Failed,
}

impl ServedLabel {
    pub(super) const ALL: [Self; 4] = [Self::Fresh, Self::Rendered, Self::Outdated, Self::Failed];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Rendered => "rendered",
            Self::Outdated => "outdated",
            Self::Failed => "failed",
        }
    }
}

/// What a lookup got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupResult {
    /// A revision that was held fresh.
    Fresh,
    /// A revision that became fresh while the caller waited.
    Rendered,
    /// An outdated revision.
    Outdated(NotRefreshed),
    /// Nothing.
    Failed(FailureReason),
}

const REASONS: usize = NotRefreshed::ALL.len();

impl LookupResult {
    /// How many there are.
    pub(super) const COUNT: usize = 2 + 2 * REASONS + FailureReason::OTHERS.len();

    /// Every result, in the order of its index.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let failures = NotRefreshed::ALL.map(FailureReason::NotRefreshed);
        [Self::Fresh, Self::Rendered]
            .into_iter()
            .chain(NotRefreshed::ALL.map(Self::Outdated))
            .chain(failures.map(Self::Failed))
            .chain(FailureReason::OTHERS.map(Self::Failed))
    }

    /// Its place among all.
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Fresh => 0,
            Self::Rendered => 1,
            Self::Outdated(reason) => 2 + reason as usize,
            Self::Failed(reason) => {
                2 + REASONS
                    + match reason {
                        FailureReason::NotRefreshed(reason) => reason as usize,
                        FailureReason::ProjectNotFound => REASONS,
                        FailureReason::DemandNotMet => REASONS + 1,
                        FailureReason::InvalidProject => REASONS + 2,
                        FailureReason::InvalidRequest => REASONS + 3,
                        FailureReason::BatchTooLarge => REASONS + 4,
                        FailureReason::SettingsInvalid => REASONS + 5,
                        FailureReason::TooManyCalls => REASONS + 6,
                    }
            }
        }
    }

    /// Whether only a sidecar with a fleet's store can have it.
    pub(super) const fn is_of_fleet(self) -> bool {
        match self {
            Self::Outdated(reason) | Self::Failed(FailureReason::NotRefreshed(reason)) => {
                matches!(
                    reason,
                    NotRefreshed::RenderingElsewhere | NotRefreshed::FleetUnreachable
                )
            }
            Self::Fresh | Self::Rendered | Self::Failed(_) => false,
        }
    }

    /// How it was served.
    pub(super) const fn served(self) -> ServedLabel {
        match self {
            Self::Fresh => ServedLabel::Fresh,
            Self::Rendered => ServedLabel::Rendered,
            Self::Outdated(_) => ServedLabel::Outdated,
            Self::Failed(_) => ServedLabel::Failed,
        }
    }

    /// Why it is not fresh; empty when it is.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Fresh | Self::Rendered => "",
            Self::Outdated(reason) => reason.as_str(),
            Self::Failed(reason) => reason.as_str(),
        }
    }
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Lookups of applications.
    Lookup,
    /// Operators.
    Admin,
    /// Probes and scrapers.
    Telemetry,
}

impl Role {
    /// Every role, in the order of its index.
    pub const ALL: [Self; 3] = [Self::Lookup, Self::Admin, Self::Telemetry];

    /// The role's name, as labels and log lines have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Admin => "admin",
            Self::Telemetry => "telemetry",
        }
    }
}
