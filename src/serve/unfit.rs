//! What a lookup listener answers while the settings are invalid: the mistake, in the words that
//! operators read.

use std::{io, pin::Pin};

use futures_util::Stream;
use tonic::{Request, Response, Status, codec::CompressionEncoding, service::Routes};

use super::{
    accept::RoleState,
    arrival::Arrival,
    config_service::MAX_BATCH_REQUEST_BYTES,
    get_config::Methods,
    grpc_listener,
    health::Health,
    listener::Listener,
    reflection,
    status::{FailedLookup, Jitter},
};
use crate::{
    metrics::{LookupResult, Metrics},
    proto::v1::{
        self,
        config_service_server::{ConfigService, ConfigServiceServer, SERVICE_NAME},
    },
};

/// Refuses every lookup. `problem` says why, anew for each.
#[derive(Clone, Debug)]
pub struct UnfitLookups<F> {
    problem: F,
    metrics: Metrics,
}

impl<F: Fn() -> String + Clone + Send + Sync + 'static> UnfitLookups<F> {
    /// Refuses lookups for this problem, and counts them.
    pub const fn new(problem: F, metrics: Metrics) -> Self {
        Self { problem, metrics }
    }

    /// Serves health and reflection too, until its role is closing, and a second longer at most.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub async fn serve(
        self,
        listener: Listener,
        health: &Health,
        role_state: RoleState,
    ) -> io::Result<()> {
        let config = ConfigServiceServer::new(self)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_BATCH_REQUEST_BYTES);
        let mut routes = Routes::builder();
        routes.add_service(config).add_service(health.service());
        reflection::add(
            &mut routes,
            &[SERVICE_NAME, tonic_health::pb::health_server::SERVICE_NAME],
        );
        let methods = Methods::new(routes.routes(), role_state.calls.clone());
        grpc_listener::serve(listener, methods, role_state).await
    }

    fn refuse<T>(&self, request: &Request<T>) -> Status {
        let failed = FailedLookup::unfit(&(self.problem)());
        let took = Arrival::of(request.extensions()).at.elapsed();
        self.metrics
            .looked_up(LookupResult::Failed(failed.reason()), took);
        failed.status(Jitter::draw())
    }
}

#[tonic::async_trait]
impl<F: Fn() -> String + Clone + Send + Sync + 'static> ConfigService for UnfitLookups<F> {
    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::GetConfigResponse>, Status> {
        Err(self.refuse(&request))
    }

    async fn batch_get_configs(
        &self,
        request: Request<v1::BatchGetConfigsRequest>,
    ) -> Result<Response<v1::BatchGetConfigsResponse>, Status> {
        Err(self.refuse(&request))
    }

    type WatchConfigStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchConfigResponse, Status>> + Send>>;

    async fn watch_config(
        &self,
        request: Request<v1::WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        Err(self.refuse(&request))
    }
}
