//! What a sidecar said of its projects, as JSON for programs.

use std::io;

use serde::Serialize;

use super::harmless::write_line;
use crate::client::admin::{ExplainReply, GateReply, ProjectReply, ProjectsReply};

/// Writes a list of projects as a line of JSON.
pub(in crate::cli) fn write_projects_as_json(
    told: &ProjectsReply,
    writer: &mut impl io::Write,
) -> io::Result<()> {
    let projects = told.projects.iter().map(ProjectAsJson::from).collect();
    let json = ProjectsAsJson {
        schema: "evenkeel.projects/1",
        total: told.total,
        projects,
    };
    write_line(&json, writer)
}

/// Writes an explanation as a line of JSON.
pub(in crate::cli) fn write_explain_as_json(
    told: &ExplainReply,
    writer: &mut impl io::Write,
) -> io::Result<()> {
    let json = ExplainAsJson {
        schema: "evenkeel.explain/1",
        project: ProjectAsJson::from(&told.state),
        gates: told.gates.iter().map(GateAsJson::from).collect(),
    };
    write_line(&json, writer)
}

#[derive(Serialize)]
struct ProjectsAsJson<'a> {
    schema: &'static str,
    total: u64,
    projects: Vec<ProjectAsJson<'a>>,
}

#[derive(Serialize)]
struct ExplainAsJson<'a> {
    schema: &'static str,
    #[serde(flatten)]
    project: ProjectAsJson<'a>,
    gates: Vec<GateAsJson<'a>>,
}

#[derive(Serialize)]
struct ProjectAsJson<'a> {
    project: &'a str,
    held: Option<HeldAsJson<'a>>,
    outdated_for_seconds: Option<f64>,
    in_flight: bool,
    not_refreshed: Option<&'a str>,
    retry_after_seconds: Option<f64>,
    last_failure: Option<&'a str>,
    failures_in_a_row: u32,
    place: Option<u32>,
    of: Option<u32>,
}

#[derive(Serialize)]
struct HeldAsJson<'a> {
    rollout: u64,
    number: u64,
    bytes: u64,
    rendered_at: Option<&'a str>,
    validated_ago_seconds: f64,
}

#[derive(Serialize)]
struct GateAsJson<'a> {
    gate: &'a str,
    passes: bool,
    says: &'a str,
    opens_in_seconds: Option<f64>,
}

impl<'a> From<&'a ProjectReply> for ProjectAsJson<'a> {
    fn from(state: &'a ProjectReply) -> Self {
        let held = state.held.as_ref().map(|held| HeldAsJson {
            rollout: held.order.rollout,
            number: held.order.number,
            bytes: held.bytes,
            rendered_at: held.rendered_at.as_deref(),
            validated_ago_seconds: held.validated_ago.as_secs_f64(),
        });
        Self {
            project: &state.project,
            held,
            outdated_for_seconds: state.outdated_for.map(|it| it.as_secs_f64()),
            in_flight: state.in_flight,
            not_refreshed: state.not_refreshed.as_deref(),
            retry_after_seconds: state.retry_after.map(|it| it.as_secs_f64()),
            last_failure: state.last_failure.as_deref(),
            failures_in_a_row: state.failures_in_a_row,
            place: state.turn.map(|(place, _)| place),
            of: state.turn.map(|(_, of)| of),
        }
    }
}

impl<'a> From<&'a GateReply> for GateAsJson<'a> {
    fn from(answer: &'a GateReply) -> Self {
        Self {
            gate: &answer.gate,
            passes: answer.passes,
            says: &answer.says,
            opens_in_seconds: answer.opens_in.map(|it| it.as_secs_f64()),
        }
    }
}
