//! gRPC health: whether lookups can be answered, and, beside it, whether they can be answered
//! fresh.

use tonic::codec::CompressionEncoding;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthRpc, HealthServer},
    server::{HealthReporter, HealthService},
};

use super::config_service::MAX_REQUEST_BYTES;
use crate::proto::v1::config_service_server::SERVICE_NAME;

/// The name that is SERVING while the sidecar is *not* degraded. A name of its own: being degraded
/// must not take a pod out of service, for lookups are answered all the same.
pub const DEGRADED: &str = "evenkeel.v1.ConfigService/degraded";

/// The names that are SERVING while lookups can be answered.
const READY: [&str; 2] = ["", SERVICE_NAME];

/// What health checks are told. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Starts not ready, and not degraded.
    pub async fn new() -> Self {
        let health = Self {
            reporter: HealthReporter::new(),
        };
        health.set_ready(false).await;
        health.set_degraded(false).await;
        health
    }

    /// Tells whether lookups can be answered.
    pub async fn set_ready(&self, ready: bool) {
        let status = if ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in READY {
            self.set(name, status).await;
        }
    }

    /// Tells whether the renderer cannot be used.
    pub async fn set_degraded(&self, degraded: bool) {
        let status = if degraded {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        };
        self.set(DEGRADED, status).await;
    }

    /// Ends the watches of health, so that they keep no connection open.
    pub async fn close(&self) {
        let mut reporter = self.reporter.clone();
        for name in READY.into_iter().chain([DEGRADED]) {
            reporter.clear_service_status(name).await;
        }
    }

    async fn set(&self, name: &str, status: ServingStatus) {
        self.reporter.set_service_status(name, status).await;
    }

    /// The gRPC service.
    pub(super) fn service(&self) -> HealthServer<impl HealthRpc> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
    }
}
