//! The reasons as an operator reads them: the table of `deploy/README.md`.
//!
//! Names and codes follow from the reasons themselves; this file has only what is said about them.

use tonic::Code;

use super::status::code;
use crate::reason::{FailureReason, NotRefreshed};

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonRow {
    /// Its name in answers, error details, metrics and logs.
    pub name: &'static str,
    /// The code of a lookup that fails for it, which happens only if nothing can be served.
    pub code: Code,
    /// What it says.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// All reasons: those of outdated answers in the order of the contract, then those of failed
/// lookups alone.
pub fn table() -> Vec<ReasonRow> {
    let refusals = NotRefreshed::ALL
        .into_iter()
        .map(FailureReason::NotRefreshed);
    refusals.chain(FailureReason::OTHERS).map(row).collect()
}

fn row(reason: FailureReason) -> ReasonRow {
    let (meaning, advice) = match reason {
        FailureReason::NotRefreshed(reason) => refusal(reason),
        FailureReason::ProjectNotFound => (
            "The renderer does not know this project.",
            "Check the name. A new project is found within a minute.",
        ),
        FailureReason::DemandNotMet => (
            "Nothing meets `min_revision` or `max_outdated`, or the demanded rollout is more than 16 above any known one.",
            "Demand less, or release what you demand.",
        ),
        FailureReason::InvalidProject => (
            "This is not a valid project name.",
            "Fix the caller: 1 to 253 bytes of `[A-Za-z0-9._:/-]`.",
        ),
        FailureReason::InvalidRequest => (
            "Another field has a value that is not accepted.",
            "Fix the caller: the details name the field.",
        ),
        FailureReason::BatchTooLarge => (
            "The other payloads of the batch leave no room for this one.",
            "Look it up alone, at once: it is held.",
        ),
        FailureReason::SettingsInvalid => (
            "The sidecar started with a mistake in its hot settings, and waits until it is fixed.",
            "Fix the file that the message names; no restart is needed.",
        ),
        FailureReason::TooManyCalls => (
            "Too many calls are open at this sidecar, or too many bytes of unfinished requests.",
            "Look for a caller that opens calls or watches and does not end them; otherwise raise `lookup.max_streams`.",
        ),
    };
    ReasonRow {
        name: reason.as_str(),
        code: code(reason),
        meaning,
        advice,
    }
}

const fn refusal(reason: NotRefreshed) -> (&'static str, &'static str) {
    match reason {
        NotRefreshed::Scheduled => (
            "A render is wanted, and the caller did not want to wait for it.",
            "Nothing: it will be fresh after `retry_after`.",
        ),
        NotRefreshed::Throttled => (
            "The render budget is used up for the moment.",
            "Nothing during a release. If it lasts, check whether the renderers can afford a higher `admission.rate`.",
        ),
        NotRefreshed::ConcurrencyLimited => (
            "As many renders are in flight as are allowed.",
            "Nothing during a release. If it lasts, renders have become slower, or `admission.concurrency` is too low.",
        ),
        NotRefreshed::QueueFull => (
            "Too many missing projects, or too many lookups, are already waiting.",
            "Look for a caller that walks through all projects. Otherwise raise `admission.queue` or `lookup.max_waiting`.",
        ),
        NotRefreshed::TimedOut => (
            "The render is running, and takes longer than the caller wanted to wait.",
            "Nothing: its result will be used. If it lasts, check the renderer.",
        ),
        NotRefreshed::RenderFailed => (
            "The render ended in an error.",
            "The log has the renderer's message. The sidecar tries again after a cool-down.",
        ),
        NotRefreshed::CoolingDown => (
            "A render of this project failed a short time ago, or one for an earlier release is less than 10 s old.",
            "After a failure, check the renderer. Otherwise nothing.",
        ),
        NotRefreshed::BreakerOpen => (
            "Several projects failed in a row, or the renderer refused the identity of this sidecar. No render starts for a while.",
            "Check the renderer; the log says which of the two it is. The sidecar probes the renderer by itself.",
        ),
        NotRefreshed::PushedBack => (
            "The renderer asked the sidecar to pause.",
            "It is overloaded: give it capacity, or lower `admission.rate`.",
        ),
        NotRefreshed::Unreachable => (
            "There is no connection to the renderer.",
            "Check the renderer, `upstream.url`, and the network between them.",
        ),
        NotRefreshed::RendererBehind => (
            "The renderer answered with an older rollout than it was asked for.",
            "Finish the roll-out of the renderer, or correct `rollout`.",
        ),
        NotRefreshed::Rejected => (
            "The renderer's answer cannot be served: it is empty, too large, of another project, or corrupt.",
            "The log says which. Fix the renderer, or raise `upstream.max_payload`.",
        ),
        NotRefreshed::ProjectGone => (
            "The renderer says that a held project does not exist. The sidecar drops it if another connection confirms this.",
            "Nothing if it was deleted. Otherwise check the renderer's data.",
        ),
        NotRefreshed::Draining => (
            "The sidecar is shutting down and starts no new renders.",
            "Ask the sidecar that replaces it.",
        ),
        NotRefreshed::RenderingElsewhere => (
            "Another sidecar of the fleet renders the project, and shares what it gets through the store.",
            "Nothing: it will be here soon after the other has it.",
        ),
        NotRefreshed::FleetUnreachable => (
            "The store of the fleet does not answer. Nothing is rendered for 4.5 s; then the sidecar goes on with its part of `admission.fleet_rate`.",
            "If it lasts, check `store.url` and the store.",
        ),
    }
}
