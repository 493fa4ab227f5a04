//! The telemetry listener: `/metrics`, `/livez` and `/readyz` over HTTP/1, for reading only.
//!
//! It knows neither metrics nor readiness: both are asked for when someone asks.

use std::{io, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::{TcpListener, UnixListener};

use super::listener::{Bound, Listener};
use crate::metrics;

/// What the listener serves. `metrics` writes the metrics' text; `pending` lists what the sidecar still waits for before it is
/// ready, and is empty when it is.
pub fn routes(
    metrics: impl Fn() -> String + Send + Sync + 'static,
    pending: impl Fn() -> Vec<&'static str> + Send + Sync + 'static,
) -> Router {
    let metrics = Arc::new(metrics);
    let pending = Arc::new(pending);
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async move || ready(&pending())))
        .route(
            "/metrics",
            get(async move || ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics())),
        )
}

fn ready(pending: &[&str]) -> Response {
    if pending.is_empty() {
        return "ready\n".into_response();
    }
    let list: String = pending.iter().map(|name| format!("{name}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, format!("pending:\n{list}")).into_response()
}

/// Serves until dropped: probes are answered for as long as the process lives.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: Listener, routes: Router) -> io::Result<()> {
    match listener.into_bound() {
        Bound::Tcp(socket) => axum::serve(TcpListener::from_std(socket)?, routes).await,
        Bound::Unix(socket, _file) => axum::serve(UnixListener::from_std(socket)?, routes).await,
    }
}

#[cfg(test)]
mod tests;
