//! The serving edge: what applications, probes and scrapers of the pod talk to.
//!
//! It turns requests into lookups, and answers and failures into the contract's messages and
//! statuses. It knows nothing of how an answer is found: only [`Answers`] and what one says.

pub mod admin;
pub mod health;
pub mod listener;
pub mod lookup_listeners;
pub mod reasons;
pub mod telemetry;

mod accept;
mod admin_service;
mod answers;
mod arrival;
mod body;
mod calls;
mod config_service;
mod connections;
mod framed;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod gathered;
mod get_config;
mod grpc_listener;
mod messages;
mod pace;
mod reading;
mod reflection;
mod request;
mod response;
mod status;
mod threads;
mod trace;
mod unfit;
mod unread;
mod watch;
mod whole;

#[cfg(test)]
mod fake;

pub use self::{
    accept::{Accepting, RoleState},
    admin_service::Admin,
    answers::{Answers, Watching},
    calls::Calls,
    config_service::Configs,
    connections::Connections,
    get_config::Lookups,
    threads::{ThreadFailed, Threads},
    unfit::UnfitLookups,
    unread::Unread,
};
