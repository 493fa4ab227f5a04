//! How a failed lookup is told: as the status of a call, or as a message among others. The one
//! place where our failures meet gRPC's codes.
//!
//! A failure that may be asked again says when, a little later than it is told to us and never the
//! same for all, so that those who failed together do not come back together.

use std::time::Duration;

use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{
    request::{InvalidRequest, Violation},
    response::duration,
};
use crate::{
    answer::Failure,
    proto::v1,
    reason::{FailureReason, NotRefreshed, Refusal},
    revision::Project,
};

/// Whose reasons the error details carry.
const DOMAIN: &str = "evenkeel";

/// After how long a watch that ended because the sidecar drains may look for the next sidecar.
const AFTER_DRAIN: Duration = Duration::from_secs(1);

/// After how long a lookup that was refused for the settings may come back: they are read twice a
/// second.
const AFTER_REPAIR: Duration = Duration::from_secs(1);

/// After how long a caller may try again that was one too many.
const AFTER_TOO_MANY: Duration = Duration::from_secs(1);

/// Tells gRPC's own retries when, or, with -1, not to.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What a failed lookup is told.
#[derive(Clone, Debug)]
pub(super) struct FailedLookup {
    code: Code,
    message: String,
    reason: FailureReason,
    /// None when asking again is of no use.
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
}

impl FailedLookup {
    /// Tells a failure of the core.
    pub(super) fn because_of(failure: &Failure) -> Self {
        let (is_deadline, retry_after) = match *failure {
            Failure::NotRefreshed {
                refusal: Refusal { retry_after, .. },
                held: _,
                deadline_exceeded,
            } => (deadline_exceeded, Some(retry_after)),
            Failure::BelowMinRevision { retry_after, .. } => (false, retry_after),
            Failure::ProjectNotFound { .. }
            | Failure::BeyondReach { .. }
            | Failure::BeyondMaxOutdated { .. } => (false, None),
        };
        let told = Self::new(failure.to_string(), reason(failure), retry_after);
        if is_deadline {
            let code = Code::DeadlineExceeded;
            Self { code, ..told }
        } else {
            told
        }
    }

    /// Tells that a request is not accepted.
    pub(super) fn invalid(invalid: InvalidRequest) -> Self {
        let message = invalid.to_string();
        let reason = invalid.reason();
        Self {
            violations: invalid.into_violations(),
            ..Self::new(message, reason, None)
        }
    }

    /// Tells an operator that nothing is known of a project.
    pub(super) fn unknown(project: &Project) -> Self {
        let message = format!("{project} is neither held nor wanted");
        Self::new(message, FailureReason::ProjectNotFound, None)
    }

    /// Tells a batch that its deadline passed while it waited for room.
    pub(super) fn late() -> Self {
        let message = "the deadline passed while other answers were not read".to_owned();
        let reason = FailureReason::NotRefreshed(NotRefreshed::TimedOut);
        let told = Self::new(message, reason, None);
        Self {
            code: Code::DeadlineExceeded,
            ..told
        }
    }

    /// Tells a watcher that the sidecar leaves.
    pub(super) fn draining() -> Self {
        let message = "the sidecar is shutting down".to_owned();
        let reason = FailureReason::NotRefreshed(NotRefreshed::Draining);
        Self::new(message, reason, Some(AFTER_DRAIN))
    }

    /// Says that the settings are invalid.
    pub(super) fn unfit(problem: &str) -> Self {
        let message = format!("the sidecar's settings are invalid: {problem}");
        Self::new(message, FailureReason::SettingsInvalid, Some(AFTER_REPAIR))
    }

    /// Says that a batch has no room for the payload, which a single lookup would get.
    pub(super) fn batch_too_large() -> Self {
        let message = "the batch has no room for this payload: ask singly".to_owned();
        Self::new(message, FailureReason::BatchTooLarge, Some(Duration::ZERO))
    }

    /// Tells that this call is one too many.
    pub(super) fn too_many_calls() -> Self {
        let message = "too many calls are open at this sidecar".to_owned();
        Self::new(message, FailureReason::TooManyCalls, Some(AFTER_TOO_MANY))
    }

    fn new(message: String, reason: FailureReason, retry_after: Option<Duration>) -> Self {
        Self {
            code: code(reason),
            message,
            reason,
            retry_after,
            violations: Vec::new(),
        }
    }

    /// Why.
    pub(super) const fn reason(&self) -> FailureReason {
        self.reason
    }

    /// As the status of a call.
    pub(super) fn status(self, jitter: Jitter) -> Status {
        let mut details = ErrorDetails::with_error_info(self.reason.as_str(), DOMAIN, []);
        let retry_after = self.retry_after.map(|after| jitter.stretch(after));
        if retry_after.is_some() {
            details.set_retry_info(retry_after);
        }
        for violation in self.violations {
            details.add_bad_request_violation(violation.field, violation.description);
        }
        let mut metadata = MetadataMap::new();
        metadata.insert(PUSHBACK, pushback(retry_after).into());
        Status::with_error_details_and_metadata(self.code, self.message, details, metadata)
    }

    /// As a message about `project` among others.
    pub(super) fn message(self, project: &str, jitter: Jitter) -> v1::Failure {
        v1::Failure {
            project: project.to_owned(),
            code: self.code.into(),
            message: self.message,
            reason: self.reason.as_str().to_owned(),
            retry_after: self
                .retry_after
                .map(|after| duration(jitter.stretch(after))),
        }
    }
}

/// Whole milliseconds, rounded up; -1 when there is no use. More than gRPC can read, some 24 days,
/// becomes the most it can.
fn pushback(retry_after: Option<Duration>) -> i32 {
    retry_after.map_or(-1, |after| {
        let milliseconds = after.as_nanos().div_ceil(1_000_000);
        i32::try_from(milliseconds).unwrap_or(i32::MAX)
    })
}

/// Why a lookup failed.
pub(super) const fn reason(failure: &Failure) -> FailureReason {
    match failure {
        Failure::ProjectNotFound { .. } => FailureReason::ProjectNotFound,
        Failure::NotRefreshed { refusal, .. } => FailureReason::NotRefreshed(refusal.reason),
        Failure::BelowMinRevision { .. }
        | Failure::BeyondReach { .. }
        | Failure::BeyondMaxOutdated { .. } => FailureReason::DemandNotMet,
    }
}

/// The code of a lookup that failed, unless its caller's own deadline made it fail.
pub(super) const fn code(reason: FailureReason) -> Code {
    match reason {
        FailureReason::NotRefreshed(reason) => code_of_refusal(reason),
        FailureReason::ProjectNotFound => Code::NotFound,
        FailureReason::DemandNotMet => Code::FailedPrecondition,
        FailureReason::InvalidProject | FailureReason::InvalidRequest => Code::InvalidArgument,
        FailureReason::BatchTooLarge | FailureReason::TooManyCalls => Code::ResourceExhausted,
        FailureReason::SettingsInvalid => Code::Unavailable,
    }
}

const fn code_of_refusal(reason: NotRefreshed) -> Code {
    match reason {
        NotRefreshed::Throttled
        | NotRefreshed::ConcurrencyLimited
        | NotRefreshed::QueueFull
        | NotRefreshed::PushedBack
        | NotRefreshed::FleetUnreachable => Code::ResourceExhausted,
        NotRefreshed::Scheduled
        | NotRefreshed::TimedOut
        | NotRefreshed::RenderFailed
        | NotRefreshed::CoolingDown
        | NotRefreshed::BreakerOpen
        | NotRefreshed::Unreachable
        | NotRefreshed::RendererBehind
        | NotRefreshed::Rejected
        | NotRefreshed::ProjectGone
        | NotRefreshed::Draining
        | NotRefreshed::RenderingElsewhere => Code::Unavailable,
    }
}

/// How much later than said a caller is told to come back: up to a fifth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter(f64);

impl Jitter {
    /// Draws one.
    pub(super) fn draw() -> Self {
        Self(1.0 + 0.2 * fastrand::f64())
    }

    fn stretch(self, after: Duration) -> Duration {
        Duration::try_from_secs_f64(after.as_secs_f64() * self.0).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests;
