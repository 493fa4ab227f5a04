//! The admin listener: what operators ask about projects, health and reflection, on a socket that
//! the applications of the pod do not see.

use std::io;

use tonic::service::Routes;
use tonic_health::pb::health_server::SERVICE_NAME;

use super::{
    accept::RoleState, admin_service::Admin, get_config::Methods, grpc_listener, health::Health,
    listener::Listener, reflection,
};
use crate::proto::v1::admin_service_server;

/// Serves until its role is closing, and a second longer at most; without `admin` while the
/// settings are invalid, when no project is known.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: Listener,
    admin: Option<Admin>,
    health: &Health,
    role_state: RoleState,
) -> io::Result<()> {
    let mut routes = Routes::builder();
    routes.add_service(health.service());
    let mut services = vec![SERVICE_NAME];
    if let Some(admin) = admin {
        routes.add_service(admin.into_service());
        services.push(admin_service_server::SERVICE_NAME);
    }
    reflection::add(&mut routes, &services);
    let methods = Methods::new(routes.routes(), role_state.calls.clone());
    grpc_listener::serve(listener, methods, role_state).await
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
    use crate::serve::{
        fake::role_state,
        listener::{Access, ListenAddress},
    };

    #[tokio::test]
    async fn tells_health_on_a_socket_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = Listener::bind(&ListenAddress::Unix(path.clone()), Access::Owner).unwrap();
        let (health, role_state) = (Health::new().await, role_state());
        let serving = tokio::spawn({
            let (health, role_state) = (health.clone(), role_state.clone());
            async move { serve(listener, None, &health, role_state).await }
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
        role_state.closing.cancel();
        serving.await.unwrap().unwrap();
        assert!(!path.exists());
    }
}
