//! AdminService: reads an operator's request, asks the core, writes the answer. No payload is ever
//! shown.

use tonic::{Request, Response, Status, codec::CompressionEncoding};

use super::{
    config_service::MAX_REQUEST_BYTES,
    request, response,
    status::{FailedLookup, Jitter},
};
use crate::{
    operate::{GateAnswer, Operate, ProjectState},
    proto::v1::{
        self,
        admin_service_server::{AdminService, AdminServiceServer},
    },
};

/// Serves what an operator asks about projects. Clones serve the same.
#[derive(Clone, Debug)]
pub struct Admin {
    operate: Operate,
}

impl Admin {
    /// Serves what `operate` answers.
    pub const fn new(operate: Operate) -> Self {
        Self { operate }
    }

    /// The gRPC service.
    pub(super) fn into_service(self) -> AdminServiceServer<Self> {
        AdminServiceServer::new(self)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_projects(
        &self,
        request: Request<v1::ListProjectsRequest>,
    ) -> Result<Response<v1::ListProjectsResponse>, Status> {
        let (filter, limit) = request::list(request.into_inner())
            .map_err(|invalid| FailedLookup::invalid(invalid).status(Jitter::draw()))?;
        let listing = self.operate.list(filter, limit).await;
        Ok(Response::new(v1::ListProjectsResponse {
            projects: listing.projects.into_iter().map(state).collect(),
            total: listing.total as u64,
        }))
    }

    async fn explain_project(
        &self,
        request: Request<v1::ExplainProjectRequest>,
    ) -> Result<Response<v1::ExplainProjectResponse>, Status> {
        let project = request::project(&request.into_inner().project)
            .map_err(|invalid| FailedLookup::invalid(invalid).status(Jitter::draw()))?;
        let explained = self
            .operate
            .explain(&project)
            .ok_or_else(|| FailedLookup::unknown(&project).status(Jitter::draw()))?;
        Ok(Response::new(v1::ExplainProjectResponse {
            state: Some(state(explained.state)),
            gates: explained.gates.into_iter().map(gate).collect(),
        }))
    }

    async fn purge_project(
        &self,
        request: Request<v1::PurgeProjectRequest>,
    ) -> Result<Response<v1::PurgeProjectResponse>, Status> {
        let project = request::project(&request.into_inner().project)
            .map_err(|invalid| FailedLookup::invalid(invalid).status(Jitter::draw()))?;
        let held = self.operate.purge(&project);
        let held = held.map(|held| response::revision(&held.revision));
        Ok(Response::new(v1::PurgeProjectResponse { held }))
    }
}

fn state(state: ProjectState) -> v1::ProjectState {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let held = state.held.as_ref();
    let retry_after = state.refusal.map(|refusal| refusal.retry_after);
    let mut told = v1::ProjectState {
        project: state.project.to_string(),
        held: held.map(|held| response::revision(&held.revision)),
        held_bytes: held.map_or(0, |held| held.revision.payload.len() as u64),
        outdated_for: state.outdated_for.map(response::duration),
        in_flight: state.is_in_flight,
        retry_after: retry_after.or(state.absent_for).map(response::duration),
        last_failure: state.last_failure.unwrap_or_default(),
        failures_in_a_row: state.failures,
        place: state.turn.map_or(0, |turn| count(turn.place)),
        of: state.turn.map_or(0, |turn| count(turn.of)),
        validated_ago: held.map(|held| response::duration(held.validated_ago)),
        ..v1::ProjectState::default()
    };
    if let Some(refusal) = state.refusal {
        told.set_not_refreshed(response::not_refreshed(refusal.reason));
    }
    told
}

fn gate(answer: GateAnswer) -> v1::GateAnswer {
    v1::GateAnswer {
        gate: answer.gate.to_owned(),
        passes: answer.opens_in.is_none(),
        says: answer.says,
        opens_in: answer.opens_in.map(response::duration),
    }
}
