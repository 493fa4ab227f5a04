//! How what a sidecar said is shown: in one line for people, in one JSON object for programs.

mod harmless;
mod projects;

use std::{io, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;

use self::harmless::write_line;
pub(super) use self::projects::{write_explain_as_json, write_projects_as_json};
use crate::{
    client::{LookupError, Reply, SidecarStatus},
    printable::printable,
    revision::Project,
};

/// The most bytes that are shown of what another process said.
const MAX_SAID: usize = 300;

/// `no sidecar answers at 127.0.0.1:7400: Connection refused`: what lies between only repeats it.
pub(super) fn with_root_cause(error: LookupError) -> String {
    let error = anyhow::Error::new(error);
    match error.chain().skip(1).last() {
        Some(cause) => format!("{error}: {}", printable(cause, MAX_SAID)),
        None => error.to_string(),
    }
}

/// `UNAVAILABLE (RENDER_FAILED): nothing is held; retry after 3.2s`
pub(super) fn refusal(status: &SidecarStatus) -> String {
    let mut line = status.code_name().to_owned();
    if !status.reason.is_empty() {
        line += &format!(" ({})", printable(&status.reason, MAX_SAID));
    }
    line += &format!(": {}", printable(&status.message, MAX_SAID));
    if let Some(after) = status.retry_after {
        line += &format!("; retry after {}", shown(after));
    }
    line
}

/// `FAILED demo/shop UNAVAILABLE (RENDER_FAILED): nothing is held; retry after 3.2s`
pub(super) fn failure_line(project: &Project, status: &SidecarStatus) -> String {
    format!("FAILED {project} {}", refusal(status))
}

/// `OUTDATED demo/shop rollout 2 number 7 digest 9f31c0… outdated for 6m 41s: THROTTLED, retry
/// after 3.2s`
pub(super) fn summary(reply: &Reply) -> String {
    let mut line = format!(
        "{} {} rollout {} number {} digest {}…",
        reply.served,
        printable(&reply.project, MAX_SAID),
        reply.order.rollout,
        reply.order.number,
        printable(reply.digest.get(..6).unwrap_or(&reply.digest), MAX_SAID),
    );
    if let Some(outdated) = &reply.outdated {
        line += &format!(
            " outdated for {}: {}, retry after {}",
            shown(outdated.outdated_for),
            outdated.reason,
            shown(outdated.retry_after),
        );
    }
    line
}

/// A duration to the precision that a person cares for.
fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{:.1}s", duration.as_secs_f64()),
        seconds => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

/// Writes a reply as a line of JSON.
pub(super) fn write_json(reply: &Reply, writer: &mut impl io::Write) -> io::Result<()> {
    write_line(&ReplyAsJson::from(reply), writer)
}

/// Writes a failure as a line of JSON.
pub(super) fn write_failure_as_json(
    project: &Project,
    status: &SidecarStatus,
    writer: &mut impl io::Write,
) -> io::Result<()> {
    write_line(&FailureAsJson::new(project, status), writer)
}

#[derive(Serialize)]
struct FailureAsJson<'a> {
    project: &'a str,
    code: &'static str,
    reason: &'a str,
    message: &'a str,
    retry_after_seconds: Option<f64>,
}

impl<'a> FailureAsJson<'a> {
    fn new(project: &'a Project, status: &'a SidecarStatus) -> Self {
        Self {
            project: project.as_str(),
            code: status.code_name(),
            reason: &status.reason,
            message: &status.message,
            retry_after_seconds: status.retry_after.map(|it| it.as_secs_f64()),
        }
    }
}

#[derive(Serialize)]
struct ReplyAsJson<'a> {
    project: &'a str,
    rollout: u64,
    number: u64,
    digest: &'a str,
    content_type: &'a str,
    rendered_at: Option<&'a str>,
    served: &'a str,
    not_refreshed: Option<&'a str>,
    outdated_for_seconds: Option<f64>,
    retry_after_seconds: Option<f64>,
    not_modified: bool,
    payload_encoding: Option<&'static str>,
    payload: Option<PayloadAsJson<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PayloadAsJson<'a> {
    Json(&'a RawValue),
    Base64(String),
}

impl<'a> From<&'a Reply> for ReplyAsJson<'a> {
    fn from(reply: &'a Reply) -> Self {
        let outdated = reply.outdated.as_ref();
        let payload = reply.payload.as_deref().map(PayloadAsJson::from);
        Self {
            project: &reply.project,
            rollout: reply.order.rollout,
            number: reply.order.number,
            digest: &reply.digest,
            content_type: &reply.content_type,
            rendered_at: reply.rendered_at.as_deref(),
            served: &reply.served,
            not_refreshed: outdated.map(|it| it.reason.as_str()),
            outdated_for_seconds: outdated.map(|it| it.outdated_for.as_secs_f64()),
            retry_after_seconds: outdated.map(|it| it.retry_after.as_secs_f64()),
            not_modified: reply.payload.is_none(),
            payload_encoding: payload.as_ref().map(|it| match it {
                PayloadAsJson::Json(_) => "json",
                PayloadAsJson::Base64(_) => "base64",
            }),
            payload,
        }
    }
}

impl<'a> From<&'a [u8]> for PayloadAsJson<'a> {
    fn from(payload: &'a [u8]) -> Self {
        match serde_json::from_slice(payload) {
            Ok(json) => Self::Json(json),
            Err(_) => Self::Base64(STANDARD.encode(payload)),
        }
    }
}

#[cfg(test)]
mod tests;
