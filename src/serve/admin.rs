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

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tokio::net::UnixStream;
    use tonic::transport::Endpoint;
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    use tower::service_fn;

    use super::*;
    use crate::serve::listener::{Access, Address};

    #[tokio::test]
    async fn tells_health_on_a_socket_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = Listener::bind(&Address::Unix(path.clone()), Access::Owner).unwrap();
        let (health, closing) = (Health::new().await, CancellationToken::new());
        let serving = tokio::spawn({
            let (health, closing) = (health.clone(), closing.clone());
            async move { serve(listener, &health, closing).await }
        });
        health.set_ready(true).await;
        let connector = {
            let path = path.clone();
            service_fn(move |_| {
                let path = path.clone();
                async { UnixStream::connect(path).await.map(TokioIo::new) }
            })
        };
        let unused = Endpoint::from_static("http://unused");
        let channel = unused.connect_with_connector(connector).await.unwrap();
        let told = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await;
        assert_eq!(told.unwrap().into_inner().status(), ServingStatus::Serving);
        closing.cancel();
        serving.await.unwrap().unwrap();
        assert!(!path.exists());
    }
}
