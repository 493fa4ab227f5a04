//! The lookup listeners, each served by every one of a few threads that do nothing else.
//!
//! What else the sidecar does, renders above all, does not stand in a lookup's way. This room knows
//! that, not what a lookup is.

use std::{io, num::NonZeroUsize};

use futures_util::future::try_join_all;
use tonic::service::Routes;

use super::{
    accept::RoleState,
    answers::Answers,
    config_service::Configs,
    get_config::{Lookups, Methods},
    grpc_listener,
    health::Health,
    listener::Listener,
    reflection,
    threads::Threads,
};
use crate::proto::v1::config_service_server::SERVICE_NAME;

/// Everything that a lookup listener serves: the configurations, health and reflection.
pub fn service<A: Answers>(
    configs: Configs<A>,
    health: &Health,
    role_state: &RoleState,
) -> Lookups<A> {
    let batches = Routes::new(configs.clone().into_batches());
    let mut routes = Routes::builder();
    routes
        .add_service(configs.clone().into_service())
        .add_service(health.service());
    reflection::add(
        &mut routes,
        &[SERVICE_NAME, tonic_health::pb::health_server::SERVICE_NAME],
    );
    let methods = Methods::new(routes.routes(), role_state.calls.clone()).with_batches(batches);
    Lookups::new(configs, methods)
}

/// Starts the threads that serve lookups. Each serves lookups of its own on every listener until
/// their role is closing: then connections are told to go away, and a second later they are closed.
///
/// # Errors
/// When a thread, its runtime or its share of a listener is not to be had.
pub fn start<A: Answers>(
    threads: NonZeroUsize,
    listeners: &[Listener],
    lookups: impl Fn() -> Lookups<A>,
    role_state: &RoleState,
) -> io::Result<Threads> {
    let started = Threads::new();
    for number in 0..threads.get() {
        let lookups = lookups();
        let serving = listeners
            .iter()
            .map(|listener| {
                let listener = listener.try_clone()?;
                Ok(grpc_listener::serve(
                    listener,
                    lookups.clone(),
                    role_state.clone(),
                ))
            })
            .collect::<io::Result<Vec<_>>>()?;
        started.spawn(format!("lookup-{number}"), "lookups", try_join_all(serving))?;
    }
    Ok(started)
}

#[cfg(test)]
mod tests;
