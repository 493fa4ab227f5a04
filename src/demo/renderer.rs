//! The renderer of one way: the embedded one with the sample input, on a thread of its own, where
//! what arrives is written down at once.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use tokio::net::TcpListener;

use super::{DemoError, StormTerms, thread::Thread};
use crate::renderer::{Renderer, RendererOptions, RunningRenderer};

/// Settings of projects; all others are derived from these.
const SAMPLES: [(&str, &str); 4] = [
    (
        "brewbird",
        include_str!("../../deploy/demo/projects/brewbird.yaml"),
    ),
    (
        "paperboy",
        include_str!("../../deploy/demo/projects/paperboy.yaml"),
    ),
    (
        "stagecraft",
        include_str!("../../deploy/demo/projects/stagecraft.yaml"),
    ),
    (
        "trailhead",
        include_str!("../../deploy/demo/projects/trailhead.yaml"),
    ),
];
const TEMPLATE: &str = include_str!("../../deploy/demo/template.json.j2");

/// How many renders may wait in the renderer: more than there are callers.
const QUEUE: usize = 1_024;

/// A renderer, and where it runs.
pub(super) struct RendererSite {
    running: RunningRenderer,
    control: SocketAddr,
    thread: Thread,
}

impl RendererSite {
    /// Writes the sample input to a folder and starts a renderer with it.
    ///
    /// # Errors
    /// When the folder is not to be written to, or there is no port or thread to be had.
    pub(super) async fn start(terms: &StormTerms, folder: &Path) -> Result<Self, DemoError> {
        let options = RendererOptions {
            projects: folder.join("projects"),
            template: folder.join("template.json.j2"),
            generate: terms.projects.get().saturating_sub(SAMPLES.len()),
            workers: terms.workers,
            queue: QUEUE,
            cost: terms.cost,
            ..RendererOptions::default()
        };
        write_samples(&options).map_err(DemoError::Folder)?;
        let thread = Thread::start("renderer").map_err(DemoError::Listen)?;
        let serve = async move {
            let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
            let listener = bind().await.map_err(DemoError::Listen)?;
            let running = Renderer::new(options)?
                .serve([listener])
                .map_err(DemoError::Listen)?;
            let listener = bind().await.map_err(DemoError::Listen)?;
            let control = listener.local_addr().map_err(DemoError::Listen)?;
            running.serve_controls(listener);
            Ok::<_, DemoError>((running, control))
        };
        let (running, control) = thread.run(serve).await?;
        Ok(Self {
            running,
            control,
            thread,
        })
    }

    /// The renderer.
    pub(super) fn running(&self) -> &RunningRenderer {
        &self.running
    }

    /// Where it takes commands over plain HTTP.
    pub(super) fn control(&self) -> SocketAddr {
        self.control
    }

    /// What clients call it by.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.running.addresses()[0])
    }

    /// Takes the longest that its thread was late since this was called last.
    pub(super) fn take_late(&self) -> Duration {
        self.thread.take_late()
    }
}

fn write_samples(options: &RendererOptions) -> io::Result<()> {
    fs::create_dir_all(&options.projects)?;
    for (name, settings) in SAMPLES {
        fs::write(options.projects.join(format!("{name}.yaml")), settings)?;
    }
    fs::write(&options.template, TEMPLATE)
}
