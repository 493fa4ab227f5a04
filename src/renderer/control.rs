//! The control endpoint, for people with curl and for tests: plain HTTP, on loopback.
//!
//! `GET /fault`, `POST /fault` with `NAME[,for=DURATION]` as the body, `DELETE /fault` · `GET
//! /rollout`, `POST /rollout` with a number as the body · `GET /renders` · `GET /projects`. It
//! answers whatever fault the renderer itself has.

use std::{num::NonZeroU64, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::sync::watch;

use super::{
    fault::{FaultOrder, Faults, InvalidFault},
    generation::{Generation, LowerRollout},
    journal::Journal,
    projects::Projects,
};

/// What the endpoint controls and shows.
#[derive(Clone)]
pub(super) struct Controls {
    pub(super) faults: Faults,
    pub(super) journal: Arc<Journal>,
    pub(super) projects: watch::Receiver<Arc<Projects>>,
    pub(super) generation: Generation,
}

/// The endpoint.
pub(super) fn router(controls: Controls) -> Router {
    Router::new()
        .route("/fault", get(fault).post(set_fault).delete(clear_fault))
        .route("/rollout", get(rollout).post(raise_rollout))
        .route("/renders", get(renders))
        .route("/projects", get(projects))
        .with_state(controls)
}

async fn fault(State(controls): State<Controls>) -> String {
    match controls.faults.in_force() {
        None => "none\n".to_owned(),
        Some(order) => format!("{order}\n"),
    }
}

async fn set_fault(
    State(controls): State<Controls>,
    body: String,
) -> Result<String, (StatusCode, String)> {
    let order: FaultOrder = body.trim().parse().map_err(|error: InvalidFault| {
        let message = format!("{error}\n");
        (StatusCode::BAD_REQUEST, message)
    })?;
    controls.faults.set(order);
    Ok(format!("{order}\n"))
}

async fn clear_fault(State(controls): State<Controls>) -> &'static str {
    controls.faults.clear();
    "none\n"
}

async fn rollout(State(controls): State<Controls>) -> String {
    format!("{}\n", controls.generation.rollout())
}

async fn raise_rollout(
    State(controls): State<Controls>,
    body: String,
) -> Result<String, (StatusCode, String)> {
    let rollout: NonZeroU64 = body.trim().parse().map_err(|_| {
        let shown: String = body.trim().chars().take(40).collect();
        let message = format!("rollout is {shown:?}: a whole number from 1 on is accepted\n");
        (StatusCode::BAD_REQUEST, message)
    })?;
    let raised = controls.generation.raise(rollout);
    raised.map_err(|error: LowerRollout| (StatusCode::CONFLICT, format!("{error}\n")))?;
    Ok(format!("{rollout}\n"))
}

async fn renders(State(controls): State<Controls>) -> Response {
    json(&controls.journal.read())
}

async fn projects(State(controls): State<Controls>) -> Response {
    let names = controls.projects.borrow().names();
    json(&names.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
