//! Runs many sidecars against one renderer in virtual time, to tell what would happen.
//!
//! Each sidecar is a real [`Admission`](crate::admission::Admission), driven through its public
//! face as the product drives it. Around it stand models: a renderer with cores, a queue and a
//! store ([`SimulatedRenderer`]), a network with a little latency, and applications that look
//! projects up. A run of minutes takes seconds, and the same seed gives the same run.
//!
//! Say in a [`Plan`] what the world is made of, put into the [`World`] what happens when, and let
//! it run: [`Observed`] holds what was seen. A [`Observer`] hears of every decision while the world
//! runs. What lies beyond admission is not simulated: payloads, sockets, and what the sidecar's
//! cache evicts when it is full.

mod applications;
mod calls;
mod crowd;
mod fate;
mod incident;
mod landing;
mod observed;
mod plan;
mod pod;
mod renderer;
mod reserver;
mod sidecar;
mod watch;
mod world;

pub use self::{
    calls::RendererAnswer,
    crowd::WORK_STEP,
    fate::{Fate, Poison},
    observed::{Observed, Seconds},
    plan::{COLD_PATIENCE, PATIENCE, Plan, Upkeep},
    renderer::{AnsweredFailure, Mood, SimulatedRenderer, Store},
    reserver::{Reserver, Reserving},
    sidecar::{Convergence, ProjectId, SimulatedSidecar},
    watch::{Launch, Observer, Unwatched},
    world::World,
};

#[cfg(test)]
mod tests;
