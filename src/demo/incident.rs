//! The way of the incident: what is outdated is forgotten, and every lookup renders.
//!
//! Serves the lookups of the contract with none of what makes evenkeel: no admission, no flights
//! that outlive their callers, no outdated answers. The end of a lookup is the end of its render.
//! It exists for comparison, here alone.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::stream;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::{
    Request, Response, Status,
    transport::{
        Channel, Endpoint,
        server::{Server, TcpIncoming},
    },
};

use super::{DemoError, DemoStage, Release, StormTerms, way::LookupWay};
use crate::proto::v1::{
    BatchGetConfigsRequest, BatchGetConfigsResponse, GetConfigRequest, GetConfigResponse,
    RenderReason, RenderRequest, RenderResponse, Served, WatchConfigRequest, WatchConfigResponse,
    config_service_server::{ConfigService, ConfigServiceServer},
    render_service_client::RenderServiceClient,
};

/// A service that serves lookups as it did on that day.
pub(super) struct Incident {
    service: IncidentService,
    address: SocketAddr,
    release: Release,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct IncidentService {
    state: Arc<IncidentState>,
    renderer: RenderServiceClient<Channel>,
}

struct IncidentState {
    target: AtomicU64,
    held: Mutex<HashMap<String, RenderResponse>>,
}

impl Incident {
    /// Starts it before a renderer.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub(super) async fn start(terms: &StormTerms, renderer: &str) -> Result<Self, DemoError> {
        let endpoint = Endpoint::from_shared(renderer.to_owned());
        let endpoint = endpoint.map_err(|source| DemoError::Connect("the renderer", source))?;
        let channel = endpoint
            .connect_timeout(terms.deadline)
            .timeout(terms.render_deadline)
            .connect_lazy();
        let service = IncidentService {
            state: Arc::new(IncidentState {
                target: AtomicU64::new(1),
                held: Mutex::default(),
            }),
            renderer: RenderServiceClient::new(channel).max_decoding_message_size(usize::MAX),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(DemoError::Listen)?;
        let address = listener.local_addr().map_err(DemoError::Listen)?;
        let serving = tokio::spawn(serve(service.clone(), listener));
        Ok(Self {
            service,
            address,
            release: terms.release,
            _serving: AbortOnDropHandle::new(serving),
        })
    }
}

impl LookupWay for Incident {
    const STAGE: DemoStage = DemoStage::Incident;
    const RECOVERS: bool = false;

    fn lookup(&self) -> SocketAddr {
        self.address
    }

    fn fresh(&self) -> usize {
        let state = &self.service.state;
        let target = state.target.load(Relaxed);
        let held = state.held();
        held.iter()
            .filter(|(project, held)| rollout(held) >= target && is_fit(held, project))
            .count()
    }

    fn pods(&self) -> u32 {
        1
    }

    /// A pod that takes the place of another holds nothing.
    async fn release(&mut self, rollout: u64) -> Result<(), DemoError> {
        let state = &self.service.state;
        if self.release == Release::Replace {
            state.held().clear();
        }
        state.target.store(rollout, Relaxed);
        Ok(())
    }
}

async fn serve(service: IncidentService, listener: TcpListener) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = Server::builder()
        .add_service(ConfigServiceServer::new(service))
        .serve_with_incoming(incoming)
        .await;
    if let Err(error) = served.map_err(io::Error::other) {
        tracing::error!(%error, "the way of the incident ended");
    }
}

#[tonic::async_trait]
impl ConfigService for IncidentService {
    async fn get_config(
        &self,
        request: Request<GetConfigRequest>,
    ) -> Result<Response<GetConfigResponse>, Status> {
        let project = request.into_inner().project;
        let target = self.state.target.load(Relaxed);
        if let Some(held) = self.state.fresh(&project, target) {
            return Ok(Response::new(answer(held, Served::Fresh)));
        }
        let request = RenderRequest {
            project: project.clone(),
            component: "identity".to_owned(),
            rollout: target,
            held: None,
            reason: RenderReason::Missing.into(),
        };
        let rendered = self.renderer.clone().render(request).await?.into_inner();
        self.state.held().insert(project, rendered.clone());
        Ok(Response::new(answer(rendered, Served::Rendered)))
    }

    async fn batch_get_configs(
        &self,
        _: Request<BatchGetConfigsRequest>,
    ) -> Result<Response<BatchGetConfigsResponse>, Status> {
        Err(Status::unimplemented("the demo looks projects up singly"))
    }

    type WatchConfigStream = stream::Empty<Result<WatchConfigResponse, Status>>;

    async fn watch_config(
        &self,
        _: Request<WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        Err(Status::unimplemented("the demo watches nothing"))
    }
}

impl IncidentState {
    fn held(&self) -> MutexGuard<'_, HashMap<String, RenderResponse>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is held, if it is fresh; else it is forgotten.
    fn fresh(&self, project: &str, target: u64) -> Option<RenderResponse> {
        let mut held = self.held();
        if held.get(project).is_some_and(|held| rollout(held) < target) {
            held.remove(project);
        }
        held.get(project).cloned()
    }
}

fn rollout(held: &RenderResponse) -> u64 {
    held.revision
        .as_ref()
        .map_or(0, |revision| revision.rollout)
}

/// Whether it can be served as what was asked for; the incident's code did not check.
fn is_fit(held: &RenderResponse, project: &str) -> bool {
    let revision = held.revision.as_ref();
    revision.is_some_and(|it| it.project == project) && !held.payload.is_empty()
}

fn answer(held: RenderResponse, served: Served) -> GetConfigResponse {
    GetConfigResponse {
        revision: held.revision,
        payload: held.payload,
        served: served.into(),
        ..GetConfigResponse::default()
    }
}
