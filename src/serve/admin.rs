//! The admin listener: health and reflection, on a socket that the applications of the pod do not see.

use std::io;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::pb::health_server::SERVICE_NAME;

use super::{connections::Connections, grpc, health::Health, listener::Listener, reflection};

/// Serves until `closing` is cancelled, and a second longer at most.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: Listener,
    health: &Health,
    closing: CancellationToken,
) -> io::Result<()> {
    let mut routes = Routes::builder();
    routes.add_service(health.service());
    reflection::add(&mut routes, &[SERVICE_NAME]);
    let uncounted = Connections::new();
    grpc::serve(listener, routes.routes(), uncounted, closing).await
}
