#![doc = include_str!("ARCHITECTURE.md")]

pub mod admission;
pub mod answer;
pub mod app;
pub mod back_off;
pub mod cache;
pub mod charts;
pub mod cli;
pub mod client;
#[cfg(feature = "demo")]
pub mod demo;
pub mod descriptors;
pub mod disk;
pub mod drain;
pub mod drill;
pub mod fleet;
pub mod freshness;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod log;
#[cfg(test)]
mod logged;
pub mod lookup;
pub mod metrics;
pub mod moment;
pub mod operate;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod page;
pub mod plan;
pub mod printable;
pub mod proto;
pub mod readiness;
pub mod reason;
pub mod record;
pub mod refresh;
pub mod render;
#[cfg(feature = "demo")]
pub mod renderer;
pub mod replay;
pub mod revision;
pub mod serve;
pub mod settings;
pub mod simulator;
pub mod status;
pub mod store;
pub mod trace;
pub mod upstream;
pub mod valkey;
pub mod verdict;
