//! The telemetry listener: `/metrics`, `/livez` and `/readyz` over HTTP/1, for reading only.
//!
//! It has a thread of its own, so that scrapers take no time from renders and lookups; and since it is open to the cluster, a
//! connection gets little memory and time. It knows neither metrics nor readiness: both are asked for when someone asks.

use std::{io, sync::Arc};

use axum::{
    Router,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CONTENT_TYPE, VARY},
    },
    response::{IntoResponse, Response},
    routing::get,
};

use self::connection::Pages;
use super::{
    accept::{self, RoleState},
    listener::Listener,
    threads::Threads,
};
use crate::metrics::Exposition;

mod connection;

/// What the listener serves. `metrics` writes the metrics as the scraper accepts them; `pending` lists what the sidecar still waits for before it is
/// ready, and is empty when it is.
pub fn routes<P: AsRef<str> + 'static>(
    metrics: impl Fn(Exposition) -> String + Send + Sync + 'static,
    pending: impl Fn() -> Vec<P> + Send + Sync + 'static,
) -> Router {
    let metrics = Arc::new(metrics);
    let pending = Arc::new(pending);
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async move || ready(&pending())))
        .route(
            "/metrics",
            get(async move |headers: HeaderMap| page(&headers, metrics.as_ref())),
        )
}

fn page(headers: &HeaderMap, metrics: impl Fn(Exposition) -> String) -> Response {
    let accept = headers.get_all(ACCEPT).iter();
    let exposition = Exposition::accepted(accept.filter_map(|value| value.to_str().ok()));
    let described = [
        (CONTENT_TYPE, exposition.content_type()),
        (VARY, ACCEPT.as_str()),
    ];
    (described, metrics(exposition)).into_response()
}

fn ready(pending: &[impl AsRef<str>]) -> Response {
    if pending.is_empty() {
        return "ready\n".into_response();
    }
    let line = |name: &_| format!("{}\n", AsRef::<str>::as_ref(name));
    let list: String = pending.iter().map(line).collect();
    (StatusCode::SERVICE_UNAVAILABLE, format!("pending:\n{list}")).into_response()
}

/// Serves on a thread of its own until its role is closing: probes are answered for as long as the process lives.
///
/// # Errors
/// When a thread is not to be had.
pub fn start(listener: Listener, routes: Router, role_state: RoleState) -> io::Result<Threads> {
    let threads = Threads::new();
    let serving = serve(listener, routes, role_state);
    threads.spawn("telemetry".to_owned(), "probes and metrics", serving)?;
    Ok(threads)
}

/// Serves on the current runtime until its role is closing.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: Listener, routes: Router, role_state: RoleState) -> io::Result<()> {
    accept::serve(listener, Pages { routes }, role_state).await
}

#[cfg(test)]
mod tests;
