//! The embedded renderer, on a thread of its own as if it were another machine: what arrives is
//! written down at once.

use std::{ops::Deref, thread, time::Duration};

use evenkeel::renderer::{self, Cost, RendererOptions, RunningRenderer};
use tokio::{net::TcpListener, runtime, sync::oneshot};

/// How many projects `deploy/demo` has.
const SAMPLES: usize = 23;

/// The sample input with this many projects, and a renderer that is never short of workers.
pub(crate) fn sample(projects: usize, cost: Duration) -> RendererOptions {
    RendererOptions {
        generate: projects.saturating_sub(SAMPLES),
        workers: 512.try_into().expect("it is not zero"),
        cost: Cost::fixed(cost),
        ..RendererOptions::default()
    }
}

/// A renderer that runs until it is dropped.
pub(crate) struct StormRenderer {
    running: RunningRenderer,
    /// Its thread ends when this is gone.
    _life: oneshot::Sender<()>,
}

impl StormRenderer {
    /// Starts one on a port of its own.
    pub(crate) async fn start(options: RendererOptions) -> Self {
        let (tell, told) = oneshot::channel();
        let (life, death) = oneshot::channel();
        let live = async move {
            let listener = TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.expect("a port is free");
            let renderer = renderer::Renderer::new(options).expect("the sample input is there");
            if tell.send(renderer.serve([listener])).is_ok() {
                drop(death.await);
            }
        };
        thread::spawn(move || {
            let mut runtime = runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build();
            runtime.expect("a runtime is to be had").block_on(live);
        });
        let running = told.await.expect("it starts").expect("it has an address");
        Self {
            running,
            _life: life,
        }
    }

    /// Releases a new generation of the renderer, which comes before that of the sidecars.
    pub(crate) fn release(&self, rollout: u64) {
        let rollout = rollout.try_into().expect("a rollout is above zero");
        self.running.raise_rollout(rollout).expect("releases go up");
    }

    /// What a sidecar calls it by.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addresses()[0])
    }
}

impl Deref for StormRenderer {
    type Target = RunningRenderer;

    fn deref(&self) -> &RunningRenderer {
        &self.running
    }
}
