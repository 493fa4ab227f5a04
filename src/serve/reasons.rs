//! The reasons as an operator reads them: the table of `deploy/README.md`.
//!
//! Names and codes follow from the reasons themselves; only what is said about them stands here.

use tonic::Code;

use super::status::code;
use crate::reason::{FailureReason, NotRefreshed};

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name in answers, error details, metrics and logs.
    pub name: &'static str,
    /// The code of a lookup that fails for it, which is the case only when nothing can be served.
    pub code: Code,
    /// What it says.
    pub meaning: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// All reasons: those of outdated answers in the order of the contract, then those of failed lookups alone.
pub fn table() -> Vec<Row> {
    let refusals = NotRefreshed::ALL
        .into_iter()
        .map(FailureReason::NotRefreshed);
    refusals.chain(FailureReason::OTHERS).map(row).collect()
}

fn row(reason: FailureReason) -> Row {
    let (meaning, advice) = match reason {
        FailureReason::NotRefreshed(reason) => refusal(reason),
        FailureReason::ProjectNotFound => (
            "The renderer knows no such project.",
            "Check the name. A project that was just created is found within a minute.",
        ),
        FailureReason::DemandNotMet => (
            "There is nothing that meets `min_revision` or `max_outdated`, or the rollout demanded is more than 16 above any known.",
            "Ask for less, or release what you ask for.",
        ),
        FailureReason::InvalidProject => (
            "No project can have that name.",
            "Mend the caller: 1 to 253 bytes of `[A-Za-z0-9._:/-]`.",
        ),
        FailureReason::InvalidRequest => (
            "Another field has a value that is not accepted.",
            "Mend the caller: the details name the field.",
        ),
        FailureReason::BatchTooLarge => (
            "The payloads of a batch leave no room for this one.",
            "Ask for it singly, at once: it is held.",
        ),
        FailureReason::SettingsInvalid => (
            "The sidecar started with hot settings that are not fit, and waits for their repair.",
            "Put the file right that the message names; no restart is needed.",
        ),
        FailureReason::TooManyCalls => (
            "Too many calls are open at this sidecar, or too much of their requests has not come to its end.",
            "Look for a caller that opens calls or watches and does not end them; else raise `lookup.max_streams`.",
        ),
    };
    Row {
        name: reason.as_str(),
        code: code(reason),
        meaning,
        advice,
    }
}

const fn refusal(reason: NotRefreshed) -> (&'static str, &'static str) {
    match reason {
        NotRefreshed::Scheduled => (
            "A render is wanted, and the caller would not wait for it.",
            "Nothing: it will be fresh after `retry_after`.",
        ),
        NotRefreshed::Throttled => (
            "The budget of renders is spent for the moment.",
            "Nothing during a release. If it lasts, see whether the renderers can afford a higher `admission.rate`.",
        ),
        NotRefreshed::ConcurrencyLimited => (
            "As many renders are in flight as may be.",
            "Nothing during a release. If it lasts, the renders have become slower, or `admission.concurrency` is too low.",
        ),
        NotRefreshed::QueueFull => (
            "Too many missing projects, or too many lookups, wait already.",
            "Look for a caller that walks through all projects. Else raise `admission.queue` or `lookup.max_waiting`.",
        ),
        NotRefreshed::TimedOut => (
            "The render is running, and takes longer than the caller would wait.",
            "Nothing: its result will be used. If it lasts, look at the renderer.",
        ),
        NotRefreshed::RenderFailed => (
            "The render ended in an error.",
            "The log has the renderer's message; it is tried again after a cool-down.",
        ),
        NotRefreshed::CoolingDown => (
            "A render of this project failed a short time ago, or one for an earlier release is less than 10 s old.",
            "In the second case nothing; in the first look at the renderer.",
        ),
        NotRefreshed::BreakerOpen => (
            "Several projects failed in a row, or the renderer refused the identity of this sidecar; nothing is rendered for a while.",
            "Look at the renderer, and at the log for which of the two it is. The sidecar tries it by itself, one render first.",
        ),
        NotRefreshed::PushedBack => (
            "The renderer asked to be left alone for a while.",
            "It is overloaded: give it capacity, or lower `admission.rate`.",
        ),
        NotRefreshed::Unreachable => (
            "There is no connection to the renderer.",
            "Look at the renderer, at `upstream.url` and at the network between.",
        ),
        NotRefreshed::RendererBehind => (
            "The renderer answered with an older rollout than it was asked for.",
            "Finish the roll-out of the renderer, or correct `rollout`.",
        ),
        NotRefreshed::Rejected => (
            "What the renderer answered is not fit to be served: empty, too large, of another project, or corrupt.",
            "The log says which; mend the renderer, or raise `upstream.max_payload`.",
        ),
        NotRefreshed::ProjectGone => (
            "The renderer says that a held project does not exist now; said again over another connection, it is dropped.",
            "Nothing when it was deleted; else look at the renderer's data.",
        ),
        NotRefreshed::Draining => (
            "The sidecar is shutting down, and starts no more renders.",
            "Ask the sidecar that takes its place.",
        ),
    }
}
