//! The telemetry listener: `/metrics`, `/status`, `/livez` and `/readyz` over HTTP/1, for reading
//! only.
//!
//! It has a thread of its own, so that scrapers take no time from renders and lookups; and since it
//! is open to the cluster, a connection gets little memory and time. It knows neither metrics,
//! readiness nor status: they are asked for when someone asks.

use std::{io, sync::Arc};

use axum::{
    Router,
    http::{
        HeaderMap, StatusCode,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY},
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

/// How a status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A screen of text.
    Text,
    /// JSON.
    Json,
}

/// What the listener serves. `metrics` writes the metrics as the scraper accepts them; `pending`
/// lists what the sidecar still waits for before it is ready, and is empty when it is; `status`
/// writes what holds the sidecar up.
pub fn routes<P: AsRef<str> + 'static>(
    metrics: impl Fn(Exposition) -> String + Send + Sync + 'static,
    pending: impl Fn() -> Vec<P> + Send + Sync + 'static,
    status: impl Fn(Form) -> String + Send + Sync + 'static,
) -> Router {
    let metrics = Arc::new(metrics);
    let pending = Arc::new(pending);
    let status = Arc::new(status);
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async move || ready(&pending())))
        .route(
            "/metrics",
            get(async move |headers: HeaderMap| page(&headers, metrics.as_ref())),
        )
        .route(
            "/status",
            get(async move |headers: HeaderMap| shown(&headers, status.as_ref())),
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

fn shown(headers: &HeaderMap, status: impl Fn(Form) -> String) -> Response {
    let accept = headers.get_all(ACCEPT).iter();
    let form = Form::accepted(accept.filter_map(|value| value.to_str().ok()));
    let described = [
        (CONTENT_TYPE, form.content_type()),
        (VARY, ACCEPT.as_str()),
        (CACHE_CONTROL, "no-store"),
    ];
    (described, status(form)).into_response()
}

impl Form {
    /// JSON for those who name it, and for all others the text for people.
    fn accepted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let mut ranges = accept.into_iter().flat_map(|value| value.split(','));
        let names_json = ranges.any(|range| {
            let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
            let is_refused = parameters
                .split(';')
                .filter_map(|parameter| parameter.trim().strip_prefix("q="))
                .any(|quality| quality.parse() == Ok(0.0));
            media.trim().eq_ignore_ascii_case("application/json") && !is_refused
        });
        if names_json { Self::Json } else { Self::Text }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

fn ready(pending: &[impl AsRef<str>]) -> Response {
    if pending.is_empty() {
        return "ready\n".into_response();
    }
    let line = |name: &_| format!("{}\n", AsRef::<str>::as_ref(name));
    let list: String = pending.iter().map(line).collect();
    (StatusCode::SERVICE_UNAVAILABLE, format!("pending:\n{list}")).into_response()
}

/// Serves on a thread of its own until its role is closing: probes are answered for as long as the
/// process lives.
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
