//! The embedded renderer: a real `evenkeel.v1.RenderService`, for development and tests.
//!
//! A folder of per-project settings and a template give the configuration. It can be slow, small,
//! behind and broken on demand, and keeps a journal of what it was asked for and what it did, so
//! that a sidecar can be developed against it and measured by it. Several can run in one process.
//! It knows nothing of sidecars but the contract.

use std::{
    io,
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{server::NamedService, service::Routes};

mod control;
mod cost;
mod fault;
mod generation;
mod journal;
mod port;
mod projects;
mod service;
mod store;
mod template;
mod workers;

use self::{
    control::Controls,
    generation::Generation,
    journal::Journal,
    projects::Projects,
    service::RendererService,
    template::Template,
    workers::{Capacity, Workers},
};
pub use self::{
    cost::{Cost, InvalidCost},
    fault::{FLAP, Fault, FaultOrder, Faults, Garbage, InvalidFault, SLOWNESS},
    generation::LowerRollout,
    journal::{CallState, ProjectRenders, RenderCall, RenderCounts},
    template::InvalidTemplate,
};
use crate::proto::{self, v1::render_service_server::RenderServiceServer};

/// What a renderer renders, and how well.
#[derive(Clone, Debug)]
pub struct RendererOptions {
    /// The folder of the projects' settings, one `PROJECT.yaml` each; watched.
    pub projects: PathBuf,
    /// The template of the configuration; read once.
    pub template: PathBuf,
    /// How many further projects are derived from those of the folder: `NAME-1`, `NAME-2` … of each
    /// in turn.
    pub generate: usize,
    /// How many renders run at once.
    pub workers: NonZeroUsize,
    /// How many renders wait for a worker; above that, RESOURCE_EXHAUSTED.
    pub queue: usize,
    /// How long a render takes.
    pub cost: Cost,
    /// The rollout that it renders, whatever it is asked for; it can be raised while it runs.
    pub rollout: NonZeroU64,
    /// Whether it offers `Fetch`.
    pub stores: bool,
    /// The least size of a payload, in bytes.
    pub pad: usize,
}

impl Default for RendererOptions {
    /// The sample input of `deploy/demo`, and a renderer that does some 40 renders a second.
    fn default() -> Self {
        Self {
            projects: "deploy/demo/projects".into(),
            template: "deploy/demo/template.json.j2".into(),
            generate: 0,
            workers: NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN),
            queue: 64,
            cost: Cost::fixed(Duration::from_millis(200)),
            rollout: NonZeroU64::MIN,
            stores: true,
            pad: 0,
        }
    }
}

/// Why a renderer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of the projects cannot be read.
    #[error("{}: the projects cannot be read", .folder.display())]
    Projects {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The template cannot be used.
    #[error("{}: the template cannot be used", .path.display())]
    Template {
        /// The template.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: InvalidTemplate,
    },
}

/// A renderer that has its input, and is not serving yet.
pub struct Renderer {
    folder: PathBuf,
    projects: watch::Sender<Arc<Projects>>,
    service: RendererService,
}

/// A renderer that serves. Dropping it stops it and cuts its connections.
pub struct RunningRenderer {
    addresses: Vec<SocketAddr>,
    controls: Controls,
    tasks: TaskTracker,
    drain: CancellationToken,
    stop: CancellationToken,
}

// === impl Renderer ===

impl Renderer {
    /// Reads the projects and the template.
    ///
    /// # Errors
    /// When the folder or the template cannot be read, or the template has a wrong syntax. A broken
    /// project is no error here: its renders fail.
    pub fn new(options: RendererOptions) -> Result<Self, StartError> {
        let RendererOptions {
            projects: folder,
            template: path,
            ..
        } = options;
        let projects = match Projects::read(&folder, options.generate) {
            Ok(projects) => watch::Sender::new(Arc::new(projects)),
            Err(source) => return Err(StartError::Projects { folder, source }),
        };
        let template = match Template::read(&path) {
            Ok(template) => template,
            Err(source) => return Err(StartError::Template { path, source }),
        };
        let capacity = Capacity {
            workers: options.workers,
            queue: options.queue,
            cost: options.cost,
            pad: options.pad,
        };
        let faults = Faults::default();
        let journal = Arc::new(Journal::start());
        let workers = Workers::new(template, capacity, faults.clone(), Arc::clone(&journal));
        let service = RendererService {
            projects: projects.subscribe(),
            workers: Arc::new(workers),
            journal,
            faults,
            generation: Generation::new(options.rollout),
            stores: options.stores,
            process: format!("{:016x}", fastrand::u64(..)).into(),
        };
        Ok(Self {
            folder,
            projects,
            service,
        })
    }

    /// The switch of its faults.
    pub fn faults(&self) -> &Faults {
        &self.service.faults
    }

    /// Serves `RenderService`, health and reflection on listeners, on tasks of the runtime this is
    /// called in.
    ///
    /// # Errors
    /// When a listener has no local address.
    pub fn serve(
        self,
        listeners: impl IntoIterator<Item = TcpListener>,
    ) -> io::Result<RunningRenderer> {
        let listeners: Vec<_> = listeners.into_iter().collect();
        let addresses: Result<_, _> = listeners.iter().map(TcpListener::local_addr).collect();
        let addresses: Vec<_> = addresses?;
        let controls = Controls {
            faults: self.service.faults.clone(),
            journal: Arc::clone(&self.service.journal),
            projects: self.service.projects.clone(),
            generation: self.service.generation.clone(),
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let drain = stop.child_token();
        // When it ends, so does every stream of changes.
        let watching = projects::watch(self.folder, self.projects);
        tasks.spawn(drain.clone().run_until_cancelled_owned(watching));

        let faults = self.service.faults.clone();
        let (draining, stopped, ports) = (drain.clone(), stop.clone(), addresses.clone());
        tasks.spawn(async move {
            let routes = routes(self.service).await;
            let ports = listeners.into_iter().zip(ports).map(|(listener, address)| {
                let (routes, faults) = (routes.clone(), faults.clone());
                let port = port::serve(listener, routes, faults, draining.clone(), stopped.clone());
                async move {
                    if let Err(error) = port.await {
                        tracing::error!(%address, %error, "the renderer stopped serving");
                    }
                }
            });
            join_all(ports).await;
        });
        Ok(RunningRenderer {
            addresses,
            controls,
            tasks,
            drain,
            stop,
        })
    }
}

async fn routes(service: RendererService) -> Routes {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_serving::<RenderServiceServer<RendererService>>()
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(<RenderServiceServer<RendererService> as NamedService>::NAME)
        .with_service_name("grpc.health.v1.Health")
        .build_v1()
        .expect("BUG: the descriptors were compiled with the contract");
    Routes::new(RenderServiceServer::new(service))
        .add_service(health_service)
        .add_service(reflection)
}

// === impl Running ===

impl RunningRenderer {
    /// Where it serves, in the order of its listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The switch of its faults.
    pub fn faults(&self) -> &Faults {
        &self.controls.faults
    }

    /// The rollout that it renders.
    pub fn rollout(&self) -> u64 {
        self.controls.generation.rollout()
    }

    /// Has it render a higher rollout from now on: its own release, which comes before the
    /// sidecars'.
    ///
    /// # Errors
    /// When it renders a higher one already.
    pub fn raise_rollout(&self, rollout: NonZeroU64) -> Result<(), LowerRollout> {
        self.controls.generation.raise(rollout)
    }

    /// What it was asked for and did so far.
    pub fn renders(&self) -> RenderCounts {
        self.controls.journal.read()
    }

    /// The names of its projects.
    pub fn projects(&self) -> Vec<String> {
        let names = self.controls.projects.borrow().names();
        names.iter().map(ToString::to_string).collect()
    }

    /// Serves the control endpoint too, over plain HTTP: `/fault`, `/rollout`, `/renders` and
    /// `/projects`.
    pub fn serve_controls(&self, listener: TcpListener) {
        let controls = axum::serve(listener, control::router(self.controls.clone()));
        let drain = self.drain.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                ended = async { controls.await } => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the control endpoint stopped");
                    }
                }
                () = drain.cancelled() => {}
            }
        });
    }

    /// Closes its listeners and ends streams of changes; stops when the other calls have ended too,
    /// or after `grace`.
    pub async fn drain(self, grace: Duration) {
        self.drain.cancel();
        self.tasks.close();
        // Calls that did not end in time are cut.
        let _ = timeout(grace, self.tasks.wait()).await;
        self.stop().await;
    }

    /// Stops it: closes its listeners and cuts its connections.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for RunningRenderer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests;
