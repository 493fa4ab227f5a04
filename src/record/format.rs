//! The lines of a record, as JSON: a head, then one line for each fact.
//!
//! Times are seconds since the start of the sidecar; projects are numbers, each of which a line
//! says before it is used.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    admission::{
        AdmissionFact, CallFailure, FetchLanding, FetchLimits, HeldMark, Landing, Limits, Link,
        Pushback, PushbackScope,
    },
    moment::Moment,
    revision::Order,
};

/// The number of a project in a record, from 0, in the order in which they came.
pub(super) type ProjectNumber = u32;

/// The longest time that a record may name: beyond it a number is nonsense.
const LONGEST: f64 = 3_650.0 * 86_400.0;

/// What a number in a line cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Nonsense(pub(super) String);

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadLine {
    pub(super) schema: String,
    /// Of evenkeel.
    pub(super) version: String,
    /// Unix time in seconds.
    pub(super) started: u64,
    pub(super) target: u64,
    pub(super) limits: LimitsEntry,
    pub(super) deadline: f64,
    pub(super) patience: f64,
    pub(super) cold_patience: f64,
    pub(super) max_age: Option<f64>,
}

/// Any other line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FactLine {
    /// When it was.
    pub(super) at: f64,
    #[serde(flatten)]
    pub(super) entry: RecordEntry,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RecordEntry {
    /// A project that is new to the record.
    Project {
        number: ProjectNumber,
        hash: String,
    },
    /// The lookups since the last such line.
    Lookups {
        /// A project and how often it was looked up, in turn.
        of: Vec<u32>,
        outdated: u64,
        failed: u64,
    },
    Limits(LimitsEntry),
    Target(u64),
    Link(LinkEntry),
    Room(Option<NonZeroU32>),
    Changed {
        project: ProjectNumber,
        number: u64,
    },
    GaveUp {
        project: ProjectNumber,
        number: u64,
    },
    Rendered {
        project: ProjectNumber,
        asked: u64,
        took: f64,
        got: Got,
    },
    Fetched {
        project: ProjectNumber,
        took: f64,
        got: Got,
    },
    Confirmed {
        project: ProjectNumber,
        got: Got,
    },
    /// As many facts or lookups were lost.
    Lost(u64),
    /// The record ends before its sidecar does.
    Full {},
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsEntry {
    rate: f64,
    burst: NonZeroU32,
    concurrency: NonZeroU32,
    queue: NonZeroU32,
    fetch_rate: f64,
    fetch_concurrency: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum LinkEntry {
    Dialling,
    Up,
    /// Until it is dialled again, in seconds.
    Down(f64),
}

/// What a call brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Got {
    /// This rollout and number are held.
    Held(u64, u64),
    Nothing,
    Rejected,
    NotFound,
    Gone,
    Unreachable,
    Unimplemented,
    Unavailable,
    Aborted,
    Unauthenticated,
    DeadlineExceeded,
    Exhausted {
        /// After how many seconds to call again.
        after: Option<f64>,
        of_all: bool,
    },
    Refused,
    Failed,
}

/// Takes a number of seconds.
///
/// # Errors
/// When no record can have it.
pub(super) fn duration(seconds: f64) -> Result<Duration, Nonsense> {
    if !(0.0..LONGEST).contains(&seconds) {
        return Err(Nonsense(format!("{seconds} is no time in seconds")));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Seconds, to a tenth of a millisecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 1e4
}

impl From<Limits> for LimitsEntry {
    fn from(limits: Limits) -> Self {
        Self {
            rate: limits.rate,
            burst: limits.burst,
            concurrency: limits.concurrency,
            queue: limits.queue,
            fetch_rate: limits.fetch.rate,
            fetch_concurrency: limits.fetch.concurrency,
        }
    }
}

impl LimitsEntry {
    /// # Errors
    /// When a rate is none.
    pub(super) fn read(self) -> Result<Limits, Nonsense> {
        let rate = |rate: f64| {
            let is_rate = (0.0..=1e9).contains(&rate);
            is_rate
                .then_some(rate)
                .ok_or_else(|| Nonsense(format!("{rate} is no rate")))
        };
        Ok(Limits {
            rate: rate(self.rate)?,
            burst: self.burst,
            concurrency: self.concurrency,
            queue: self.queue,
            fetch: FetchLimits {
                rate: rate(self.fetch_rate)?,
                concurrency: self.fetch_concurrency,
            },
        })
    }
}

impl LinkEntry {
    /// # Errors
    /// When the time until the next dial is none.
    pub(super) fn read(self, now: Moment) -> Result<Link, Nonsense> {
        Ok(match self {
            Self::Dialling => Link::Dialling,
            Self::Up => Link::Up,
            Self::Down(seconds) => Link::Down {
                retry_at: now + duration(seconds)?,
            },
        })
    }
}

impl RecordEntry {
    /// What admission was told at that moment.
    pub(super) fn of(fact: AdmissionFact<ProjectNumber>, now: Moment) -> Self {
        match fact {
            AdmissionFact::Limits(limits) => Self::Limits(limits.into()),
            AdmissionFact::Target(target) => Self::Target(target),
            AdmissionFact::Link(link) => Self::Link(match link {
                Link::Dialling => LinkEntry::Dialling,
                Link::Up => LinkEntry::Up,
                Link::Down { retry_at } => LinkEntry::Down(seconds(retry_at.since(now))),
            }),
            AdmissionFact::Room(room) => Self::Room(room),
            AdmissionFact::Changed { project, number } => Self::Changed { project, number },
            AdmissionFact::GaveUp { project, number } => Self::GaveUp { project, number },
            AdmissionFact::Rendered {
                project,
                asked,
                landing,
                took,
            } => Self::Rendered {
                project,
                asked,
                took: seconds(took),
                got: Got::of_render(landing),
            },
            AdmissionFact::Fetched {
                project,
                landing,
                took,
            } => Self::Fetched {
                project,
                took: seconds(took),
                got: Got::of_fetch(landing),
            },
            AdmissionFact::Confirmed { project, held } => Self::Confirmed {
                project,
                got: Got::held(held),
            },
        }
    }
}

impl Got {
    fn held(held: HeldMark) -> Self {
        Self::Held(held.order.rollout, held.order.number)
    }

    fn of_render(landing: Landing) -> Self {
        match landing {
            Landing::Held(held) => Self::held(held),
            Landing::Rejected => Self::Rejected,
            Landing::NotFound => Self::NotFound,
            Landing::Gone => Self::Gone,
            Landing::Unreachable => Self::Unreachable,
            Landing::Failed(failure) => Self::of_failure(failure),
        }
    }

    fn of_fetch(landing: FetchLanding) -> Self {
        match landing {
            FetchLanding::Held(held) => Self::held(held),
            FetchLanding::Nothing => Self::Nothing,
            FetchLanding::Failed(failure) => Self::of_failure(failure),
            FetchLanding::Unreachable => Self::Unreachable,
            FetchLanding::Unimplemented => Self::Unimplemented,
        }
    }

    fn of_failure(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Unavailable => Self::Unavailable,
            CallFailure::Aborted => Self::Aborted,
            CallFailure::Unauthenticated => Self::Unauthenticated,
            CallFailure::DeadlineExceeded => Self::DeadlineExceeded,
            CallFailure::Exhausted(Pushback { after, scope }) => Self::Exhausted {
                after: after.map(seconds),
                of_all: scope == PushbackScope::Global,
            },
            CallFailure::Refused => Self::Refused,
            CallFailure::Other => Self::Failed,
        }
    }

    /// What a render brought.
    ///
    /// # Errors
    /// When no render brings it.
    pub(super) fn landing(self, now: Moment) -> Result<Landing, Nonsense> {
        match self {
            Self::Held(rollout, number) => Ok(Landing::Held(mark(rollout, number, now))),
            Self::Rejected => Ok(Landing::Rejected),
            Self::NotFound => Ok(Landing::NotFound),
            Self::Gone => Ok(Landing::Gone),
            Self::Unreachable => Ok(Landing::Unreachable),
            Self::Nothing | Self::Unimplemented => {
                Err(Nonsense(format!("no render brings {self:?}")))
            }
            Self::Unavailable
            | Self::Aborted
            | Self::Unauthenticated
            | Self::DeadlineExceeded
            | Self::Exhausted { .. }
            | Self::Refused
            | Self::Failed => self.failure().map(Landing::Failed),
        }
    }

    /// What a fetch brought.
    ///
    /// # Errors
    /// When no fetch brings it.
    pub(super) fn fetch_landing(self, now: Moment) -> Result<FetchLanding, Nonsense> {
        match self {
            Self::Held(rollout, number) => Ok(FetchLanding::Held(mark(rollout, number, now))),
            Self::Nothing => Ok(FetchLanding::Nothing),
            Self::Unreachable => Ok(FetchLanding::Unreachable),
            Self::Unimplemented => Ok(FetchLanding::Unimplemented),
            Self::Rejected | Self::NotFound | Self::Gone => {
                Err(Nonsense(format!("no fetch brings {self:?}")))
            }
            Self::Unavailable
            | Self::Aborted
            | Self::Unauthenticated
            | Self::DeadlineExceeded
            | Self::Exhausted { .. }
            | Self::Refused
            | Self::Failed => self.failure().map(FetchLanding::Failed),
        }
    }

    fn failure(self) -> Result<CallFailure, Nonsense> {
        Ok(match self {
            Self::Unavailable => CallFailure::Unavailable,
            Self::Aborted => CallFailure::Aborted,
            Self::Unauthenticated => CallFailure::Unauthenticated,
            Self::DeadlineExceeded => CallFailure::DeadlineExceeded,
            Self::Exhausted { after, of_all } => CallFailure::Exhausted(Pushback {
                after: after.map(duration).transpose()?,
                scope: if of_all {
                    PushbackScope::Global
                } else {
                    PushbackScope::Project
                },
            }),
            Self::Refused => CallFailure::Refused,
            Self::Failed => CallFailure::Other,
            Self::Held(..)
            | Self::Nothing
            | Self::Rejected
            | Self::NotFound
            | Self::Gone
            | Self::Unreachable
            | Self::Unimplemented => return Err(Nonsense(format!("{self:?} is no failure"))),
        })
    }
}

/// What is held from that moment on.
fn mark(rollout: u64, number: u64, now: Moment) -> HeldMark {
    HeldMark {
        order: Order::new(rollout, number),
        validated_at: now,
    }
}
