//! The renderer of one way: the embedded one with the sample input, on a thread of its own.
//!
//! What arrives is written down at once there. How long that thread itself is late is measured too: what was launched on time
//! may seem to arrive in a burst when the machine stands still.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use super::{Error, Terms, thread::Thread};
use crate::renderer::{Options, Renderer, Running};

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

/// How often the thread's lateness is measured.
const BEAT: Duration = Duration::from_millis(10);

/// A renderer, and where it runs.
pub(super) struct Site {
    running: Running,
    stall: Arc<AtomicU64>,
    _thread: Thread,
}

impl Site {
    /// Writes the sample input to a folder and starts a renderer with it.
    ///
    /// # Errors
    /// When the folder is not to be written to, or there is no port or thread to be had.
    pub(super) async fn start(terms: &Terms, folder: &Path) -> Result<Self, Error> {
        let options = Options {
            projects: folder.join("projects"),
            template: folder.join("template.json.j2"),
            generate: terms.projects.get().saturating_sub(SAMPLES.len()),
            workers: terms.workers,
            queue: QUEUE,
            cost: terms.cost,
            ..Options::default()
        };
        write_samples(&options).map_err(Error::Folder)?;
        let thread = Thread::start("renderer").map_err(Error::Listen)?;
        let stall = Arc::new(AtomicU64::new(0));
        let measured = Arc::clone(&stall);
        let serve = async move {
            tokio::spawn(measure(measured));
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.map_err(Error::Listen)?;
            Renderer::new(options)?
                .serve(listener)
                .map_err(Error::Listen)
        };
        Ok(Self {
            running: thread.run(serve).await?,
            stall,
            _thread: thread,
        })
    }

    /// The renderer.
    pub(super) fn running(&self) -> &Running {
        &self.running
    }

    /// What clients call it by.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.running.address())
    }

    /// The longest that its thread was late.
    pub(super) fn stall(&self) -> Duration {
        Duration::from_micros(self.stall.load(Relaxed))
    }
}

async fn measure(stall: Arc<AtomicU64>) {
    loop {
        let before = Instant::now();
        sleep(BEAT).await;
        let late = before.elapsed().saturating_sub(BEAT).as_micros();
        stall.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Relaxed);
    }
}

fn write_samples(options: &Options) -> io::Result<()> {
    fs::create_dir_all(&options.projects)?;
    for (name, settings) in SAMPLES {
        fs::write(options.projects.join(format!("{name}.yaml")), settings)?;
    }
    fs::write(&options.template, TEMPLATE)
}
