//! The facts that a refresh reports to its observer.

use std::time::Duration;

use crate::{
    admission::{AdmissionFact, Class, Gate},
    answer::{Answer, Failure},
    moment::Moment,
    render::RenderReason,
    revision::Project,
    trace::TraceSpan,
};

/// What a render or a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RenderResult {
    /// A revision was stored.
    Stored,
    /// The held revision was confirmed.
    Validated,
    /// A fetch: the held revision lacks a change, and no stored revision has it.
    Changed,
    /// It was older than what is held, or than what was asked for.
    Behind,
    /// It was not fit to be held.
    Rejected,
    /// There is no such project, or nothing of it is stored.
    NotFound,
    /// It took longer than its deadline.
    DeadlineExceeded,
    /// The renderer answered UNAVAILABLE or ABORTED, or the connection broke.
    Unavailable,
    /// There was no connection.
    Unreachable,
    /// The renderer said when to call again.
    Exhausted,
    /// The renderer refused it without a word on when to call again.
    Refused,
    /// The renderer answered UNAUTHENTICATED: it does not accept the identity of this sidecar.
    Unauthenticated,
    /// The renderer does not offer the method.
    Unimplemented,
    /// Any other failure.
    Failed,
}

impl RenderResult {
    /// Every result.
    pub const ALL: [Self; 14] = [
        Self::Stored,
        Self::Validated,
        Self::Changed,
        Self::Behind,
        Self::Rejected,
        Self::NotFound,
        Self::DeadlineExceeded,
        Self::Unavailable,
        Self::Unreachable,
        Self::Exhausted,
        Self::Refused,
        Self::Unauthenticated,
        Self::Unimplemented,
        Self::Failed,
    ];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Validated => "validated",
            Self::Changed => "changed",
            Self::Behind => "behind",
            Self::Rejected => "rejected",
            Self::NotFound => "not_found",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Unavailable => "unavailable",
            Self::Unreachable => "unreachable",
            Self::Exhausted => "exhausted",
            Self::Refused => "refused",
            Self::Unauthenticated => "unauthenticated",
            Self::Unimplemented => "unimplemented",
            Self::Failed => "failed",
        }
    }
}

/// A render or a fetch that came to its end.
#[derive(Clone, Copy, Debug)]
pub struct Flown<'a> {
    /// Whose configuration it was for.
    pub project: &'a Project,
    /// The call as a part of a trace; the renderer knows it as its parent.
    pub span: TraceSpan,
    /// What was asked for.
    pub call: Called,
    /// What it came to.
    pub result: RenderResult,
    /// How long it took, until now.
    pub duration: Duration,
}

/// What a flight asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// A render.
    Render {
        /// The generation to render with.
        rollout: u64,
        /// Why it was asked for.
        reason: RenderReason,
        /// Which attempt it was for callers who have waited since the first, from 1.
        attempt: u32,
    },
    /// A fetch of what is stored.
    Fetch,
}

/// Hears of what happens.
pub trait Observe: Send + Sync + 'static {
    /// A render landed after `duration`; the class is by what was held at its launch.
    fn rendered(&self, class: Class, result: RenderResult, duration: Duration);
    /// A fetch landed after `duration`.
    fn fetched(&self, result: RenderResult, duration: Duration);
    /// A gate refused a lookup; the class is by what is held.
    fn refused(&self, class: Class, gate: Gate);
    /// A render or a fetch landed whose trace its caller sampled.
    fn flown(&self, _: &Flown<'_>) {}
    /// Admission is told something at that moment.
    fn told(&self, _: AdmissionFact<&Project>, _: Moment) {}
    /// A lookup of that name has come; only told where lookups are
    /// [counted](crate::lookup::Lookup::counted).
    fn looked_up(&self, _: &str) {}
    /// A lookup that was told is answered.
    fn answered(&self, _: &Result<Answer, Failure>) {}
}

/// Measures nothing.
impl Observe for () {
    fn rendered(&self, _: Class, _: RenderResult, _: Duration) {}
    fn fetched(&self, _: RenderResult, _: Duration) {}
    fn refused(&self, _: Class, _: Gate) {}
}
