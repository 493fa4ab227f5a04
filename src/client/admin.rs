//! A client of a sidecar's admin listener: which projects fail, are outdated or missing, why one is
//! not refreshed, and what forgets one.

use std::time::Duration;

use tonic::{Request, Status};

use super::{LookupError, SidecarAddress, duration, rfc_3339, unanswered, without_prefix};
use crate::{
    proto::v1::{self, admin_service_client::AdminServiceClient},
    revision::{Order, Project},
};

/// Which projects are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedFilter {
    /// All.
    All,
    /// Those whose last render failed, was rejected or brought less than was asked for.
    Failing,
    /// Those that are held and not fresh.
    Outdated,
    /// Those of which nothing is held.
    Missing,
}

/// A list of projects.
#[derive(Clone, Debug)]
pub struct ProjectsReply {
    /// The longest outdated first.
    pub projects: Vec<ProjectReply>,
    /// How many the filter lets through, listed or not.
    pub total: u64,
}

/// How a project stands, by the names of the contract.
#[derive(Clone, Debug)]
pub struct ProjectReply {
    /// The project.
    pub project: String,
    /// What is held of it.
    pub held: Option<HeldReply>,
    /// For how long it has been outdated or, if nothing is held, wanted.
    pub outdated_for: Option<Duration>,
    /// Whether a call to the renderer is under way.
    pub in_flight: bool,
    /// Why it is not refreshed, without the prefix of its enum; none when it is not wanted.
    pub not_refreshed: Option<String>,
    /// When it may be expected to be refreshed.
    pub retry_after: Option<Duration>,
    /// What its last render failed with, while it fails.
    pub last_failure: Option<String>,
    /// How many renders in a row failed.
    pub failures_in_a_row: u32,
    /// Its place among those that wait in turn, from 1, and how many these are.
    pub turn: Option<(u32, u32)>,
}

/// What is held of a project.
#[derive(Clone, Debug)]
pub struct HeldReply {
    /// Where it stands among the revisions of its project.
    pub order: Order,
    /// When it was rendered, as RFC 3339 writes it.
    pub rendered_at: Option<String>,
    /// The size of its payload, in bytes.
    pub bytes: u64,
    /// How long ago the renderer last said that it is right.
    pub validated_ago: Duration,
}

/// Why a project is not refreshed.
#[derive(Clone, Debug)]
pub struct ExplainReply {
    /// How it stands.
    pub state: ProjectReply,
    /// Every gate in the order of asking; none unless the project is wanted and not in flight.
    pub gates: Vec<GateReply>,
}

/// What a gate answers to a project.
#[derive(Clone, Debug)]
pub struct GateReply {
    /// Its name.
    pub gate: String,
    /// Whether it lets the project pass.
    pub passes: bool,
    /// What it goes by.
    pub says: String,
    /// When it is expected to open.
    pub opens_in: Option<Duration>,
}

/// Lists projects, and gives up after `timeout`.
///
/// # Errors
/// When the sidecar cannot be reached, does not answer in time, or answers with a status.
pub async fn projects(
    address: &SidecarAddress,
    filter: AskedFilter,
    limit: u32,
    timeout: Duration,
) -> Result<ProjectsReply, LookupError> {
    let filter = match filter {
        AskedFilter::All => v1::ProjectFilter::All,
        AskedFilter::Failing => v1::ProjectFilter::Failing,
        AskedFilter::Outdated => v1::ProjectFilter::Outdated,
        AskedFilter::Missing => v1::ProjectFilter::Missing,
    };
    let asked = v1::ListProjectsRequest {
        filter: filter.into(),
        limit: Some(limit),
    };
    let call = async {
        let mut client = AdminServiceClient::new(address.connect(timeout).await?);
        let told = client.list_projects(with_timeout(asked, timeout)).await;
        let told = told.map_err(|status| ended(address, status, timeout))?;
        let v1::ListProjectsResponse { projects, total } = told.into_inner();
        let projects = projects.into_iter().map(Into::into).collect();
        Ok(ProjectsReply { projects, total })
    };
    let called = tokio::time::timeout(timeout, call).await;
    called.unwrap_or_else(|_| Err(unanswered(address, timeout)))
}

/// Asks why a project is not refreshed, and gives up after `timeout`.
///
/// # Errors
/// As [`projects`].
pub async fn explain(
    address: &SidecarAddress,
    project: &Project,
    timeout: Duration,
) -> Result<ExplainReply, LookupError> {
    let asked = v1::ExplainProjectRequest {
        project: project.to_string(),
    };
    let call = async {
        let mut client = AdminServiceClient::new(address.connect(timeout).await?);
        let told = client.explain_project(with_timeout(asked, timeout)).await;
        let told = told.map_err(|status| ended(address, status, timeout))?;
        let v1::ExplainProjectResponse { state, gates } = told.into_inner();
        Ok(ExplainReply {
            state: state.unwrap_or_default().into(),
            gates: gates.into_iter().map(Into::into).collect(),
        })
    };
    let called = tokio::time::timeout(timeout, call).await;
    called.unwrap_or_else(|_| Err(unanswered(address, timeout)))
}

/// Has a project forgotten, and gives up after `timeout`; returns the order of what was held.
///
/// # Errors
/// As [`projects`].
pub async fn purge(
    address: &SidecarAddress,
    project: &Project,
    timeout: Duration,
) -> Result<Option<Order>, LookupError> {
    let asked = v1::PurgeProjectRequest {
        project: project.to_string(),
    };
    let call = async {
        let mut client = AdminServiceClient::new(address.connect(timeout).await?);
        let told = client.purge_project(with_timeout(asked, timeout)).await;
        let told = told.map_err(|status| ended(address, status, timeout))?;
        let held = told.into_inner().held;
        Ok(held.map(|held| Order::new(held.rollout, held.number)))
    };
    let called = tokio::time::timeout(timeout, call).await;
    called.unwrap_or_else(|_| Err(unanswered(address, timeout)))
}

fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn ended(address: &SidecarAddress, status: Status, timeout: Duration) -> LookupError {
    match std::error::Error::source(&status) {
        Some(_) if status.code() == tonic::Code::Cancelled => unanswered(address, timeout),
        Some(_) | None => address.ended(status),
    }
}

impl From<v1::ProjectState> for ProjectReply {
    fn from(state: v1::ProjectState) -> Self {
        let held = state.held.map(|held| HeldReply {
            order: Order::new(held.rollout, held.number),
            rendered_at: held.rendered_at.and_then(rfc_3339),
            bytes: state.held_bytes,
            validated_ago: duration(state.validated_ago),
        });
        let not_refreshed = (state.not_refreshed != 0).then(|| reason(state.not_refreshed));
        Self {
            project: state.project,
            held,
            outdated_for: state.outdated_for.map(|it| duration(Some(it))),
            in_flight: state.in_flight,
            not_refreshed,
            retry_after: state.retry_after.map(|it| duration(Some(it))),
            last_failure: Some(state.last_failure).filter(|said| !said.is_empty()),
            failures_in_a_row: state.failures_in_a_row,
            turn: (state.place > 0).then_some((state.place, state.of)),
        }
    }
}

impl From<v1::GateAnswer> for GateReply {
    fn from(answer: v1::GateAnswer) -> Self {
        Self {
            gate: answer.gate,
            passes: answer.passes,
            says: answer.says,
            opens_in: answer.opens_in.map(|it| duration(Some(it))),
        }
    }
}

/// The name of a reason; a newer sidecar may have some that this client does not know.
pub(super) fn reason(number: i32) -> String {
    v1::NotRefreshed::try_from(number).map_or_else(
        |unknown| format!("REASON_{}", unknown.0),
        |reason| without_prefix(reason.as_str_name(), "NOT_REFRESHED_"),
    )
}
