//! The demo: one storm of lookups and a release in the middle of it, the way of the incident and
//! then with evenkeel.
//!
//! Everything is real and in this process: the embedded renderer, the sidecar as [`crate::app`]
//! wires it, clients over gRPC on loopback. What the incident did lives in [`incident`] and can be
//! had nowhere else. Nothing is printed here: progress is told to a channel, and a [`DemoReport`]
//! comes out, with a verdict on what evenkeel promises.

mod callers;
mod chart;
mod evenkeel;
mod incident;
mod live;
mod load;
mod measured;
mod observed;
mod promises;
mod renderer;
mod report;
mod stay;
mod storm;
mod terms;
mod thread;
mod way;

use std::{io, time::Duration};

use tempfile::TempDir;
use tokio::sync::watch;

pub use self::{
    evenkeel::Evenkeel,
    live::{DemoStage, LiveNumbers},
    measured::{Latencies, Measured, Series},
    promises::{Promise, promises},
    report::DemoReport,
    stay::Stay,
    terms::{Release, StormTerms},
};
use self::{incident::Incident, renderer::RendererSite, storm::StormSide};
use crate::{app, renderer::StartError, settings::Invalid};

/// Why a demo came to no end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The sample input, or a settings file, cannot be written.
    #[error("cannot write to the folder of temporary files")]
    Folder(#[source] io::Error),
    /// A port cannot be listened on, or a thread not be started.
    #[error("cannot listen on loopback")]
    Listen(#[source] io::Error),
    /// The renderer does not start.
    #[error("the renderer does not start")]
    Renderer(#[from] StartError),
    /// The settings of the sidecar are wrong.
    #[error("the settings are wrong")]
    Settings(#[from] Invalid),
    /// The sidecar does not start.
    #[error("the sidecar does not start")]
    Sidecar(#[from] app::SidecarError),
    /// The sidecar went on with the rollout before.
    #[error("the sidecar did not learn of the release within {0:?}")]
    Unlearned(Duration),
    /// A client cannot reach what it looks projects up at.
    #[error("no connection to {0} on loopback")]
    Connect(&'static str, #[source] tonic::transport::Error),
    /// A project could not be looked up before anything was wrong.
    #[error("{project} could not be looked up before the storm")]
    WarmUp {
        /// The project.
        project: String,
        /// What it was answered with.
        #[source]
        status: Box<tonic::Status>,
    },
}

/// A demo that has come to its end, and is still up.
pub struct DemoRun {
    /// What it came to.
    pub report: DemoReport,
    evenkeel: StormSide<Evenkeel>,
    folder: TempDir,
}

/// Runs both storms, one after the other, and tells how it goes on. Dropping it midway ends
/// everything that it started.
///
/// # Errors
/// When something does not start, or the renders before the storm fail.
pub async fn run(
    terms: StormTerms,
    live: watch::Sender<LiveNumbers>,
) -> Result<DemoRun, DemoError> {
    let folder = TempDir::with_prefix("evenkeel-demo-").map_err(DemoError::Folder)?;
    let site = RendererSite::start(&terms, &folder.path().join("incident")).await?;
    let way = Incident::start(&terms, &site.url()).await?;
    let mut incident = StormSide::new(site, way, &terms);
    let site = RendererSite::start(&terms, &folder.path().join("evenkeel")).await?;
    let way = Evenkeel::start(&terms, &site.url(), folder.path()).await?;
    let mut evenkeel = StormSide::new(site, way, &terms);
    storm::warm_up(&incident, &evenkeel, &live).await?;
    let before = Measured::of(&incident.storm(&terms, &live).await?, &terms);
    drop(incident);
    let with = Measured::of(&evenkeel.storm(&terms, &live).await?, &terms);
    Ok(DemoRun {
        report: DemoReport {
            terms,
            incident: before,
            evenkeel: with,
        },
        evenkeel,
        folder,
    })
}

impl DemoRun {
    /// Keeps the sidecar and its renderer up, with callers of both.
    ///
    /// # Errors
    /// When the sidecar cannot be reached.
    pub async fn stay(self) -> Result<Stay, DemoError> {
        Stay::start(self.evenkeel, &self.report.terms, self.folder).await
    }
}
