//! The values of the labels, each an enum.

use crate::reason::{FailureReason, NotRefreshed};

/// Declares a fieldless enum whose values have names: the one list of a label.
macro_rules! label {
    ($(#[$outer:meta])* $visibility:vis enum $label:ident { $($(#[$inner:meta])* $value:ident = $name:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $label {
            $($(#[$inner])* $value,)+
        }

        impl $label {
            /// Every value, in the order declared.
            $visibility const ALL: [Self; [$($name),+].len()] = [$(Self::$value),+];

            /// The label's value.
            $visibility const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }
    };
}

label! {
    /// What a refresh is for.
    pub enum Class {
        /// A project of which nothing is held.
        Missing = "missing",
        /// A project that is held, and outdated.
        Outdated = "outdated",
    }
}

label! {
    /// How a render or a fetch ended.
    pub enum RenderResult {
        /// A revision that was asked for.
        Ok = "ok",
        /// What is held is right.
        NotModified = "not_modified",
        /// An older revision than asked for.
        Behind = "behind",
        /// A revision that is not fit to be held.
        Rejected = "rejected",
        /// The renderer knows no such project.
        NotFound = "not_found",
        /// Another error of the renderer.
        Failed = "failed",
        /// The deadline passed.
        TimedOut = "timed_out",
        /// The renderer was unavailable, or the connection broke.
        Unavailable = "unavailable",
        /// There was no connection.
        Unreachable = "unreachable",
        /// The renderer had no room for it.
        Exhausted = "exhausted",
        /// It panicked.
        Panicked = "panicked",
    }
}

label! {
    /// What refused a refresh.
    pub enum Gate {
        /// The sidecar is shutting down.
        Draining = "draining",
        /// There is no connection to the renderer.
        Connection = "connection",
        /// Everything is held back for a while.
        Hold = "hold",
        /// This project is held back for a while.
        Project = "project",
        /// As many renders are in flight as may be.
        Concurrency = "concurrency",
        /// The token bucket is empty.
        Tokens = "tokens",
        /// The queue of missing projects is full.
        Queue = "queue",
    }
}

label! {
    /// How a lookup came to its end.
    pub(super) enum Served {
        Fresh = "fresh",
        Rendered = "rendered",
        Outdated = "outdated",
        Failed = "failed",
    }
}

/// What a lookup got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
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

impl Outcome {
    /// How many there are.
    pub(super) const COUNT: usize = 2 + 2 * REASONS + FailureReason::OTHERS.len();

    /// Every outcome, in the order of its index.
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
                    }
            }
        }
    }

    /// How it was served.
    pub(super) const fn served(self) -> Served {
        match self {
            Self::Fresh => Served::Fresh,
            Self::Rendered => Served::Rendered,
            Self::Outdated(_) => Served::Outdated,
            Self::Failed(_) => Served::Failed,
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
