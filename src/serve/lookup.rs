//! The lookup listeners, each served by every one of a few threads that do nothing else.
//!
//! A thread has a `current_thread` runtime of its own: no work moves between threads, and what else the sidecar does, renders
//! above all, does not stand in a lookup's way. This room knows that, not what a lookup is.

use std::{future::Future, io, num::NonZeroUsize, sync::Arc, thread};

use futures_util::future::try_join_all;
use tokio::{
    runtime::{self, Runtime},
    sync::watch,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::{
    answers::Answers, config::Configs, connections::Connections, grpc, health::Health,
    listener::Listener, reflection, service::Lookups,
};
use crate::proto::v1::config_service_server::SERVICE_NAME;

/// Everything that a lookup listener serves: the configurations, health and reflection.
pub fn service<A: Answers>(configs: Configs<A>, health: &Health) -> Lookups<A> {
    let mut routes = Routes::builder();
    routes
        .add_service(configs.clone().into_service())
        .add_service(health.service());
    reflection::add(
        &mut routes,
        &[SERVICE_NAME, tonic_health::pb::health_server::SERVICE_NAME],
    );
    Lookups::new(configs, routes.routes())
}

/// The threads that serve lookups.
#[derive(Debug)]
pub struct Threads {
    progress: Arc<watch::Sender<Progress>>,
}

/// Why lookups are served no longer, though nobody said so.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a thread that serves lookups ended: {0}")]
pub struct ThreadFailed(String);

#[derive(Debug, Default)]
struct Progress {
    running: usize,
    failed: Option<ThreadFailed>,
}

/// A running thread's entry; tells how it ended when dropped, be it by a panic.
struct Running {
    progress: Arc<watch::Sender<Progress>>,
    failed: Option<ThreadFailed>,
}

impl Threads {
    /// Starts them. Each serves lookups of its own on every listener until `closing` is cancelled: then connections are told to go
    /// away, and a second later they are closed.
    ///
    /// # Errors
    /// When a thread, its runtime or its share of a listener is not to be had.
    pub fn start<A: Answers>(
        threads: NonZeroUsize,
        listeners: &[Listener],
        lookups: impl Fn() -> Lookups<A>,
        connections: &Connections,
        closing: &CancellationToken,
    ) -> io::Result<Self> {
        let progress = Arc::new(watch::Sender::new(Progress::default()));
        for number in 0..threads.get() {
            let lookups = lookups();
            let serving = listeners
                .iter()
                .map(|listener| {
                    let (lookups, connections) = (lookups.clone(), connections.clone());
                    let listener = listener.try_clone()?;
                    Ok(grpc::serve(listener, lookups, connections, closing.clone()))
                })
                .collect::<io::Result<Vec<_>>>()?;
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let running = Running::new(&progress);
            thread::Builder::new()
                .name(format!("lookup-{number}"))
                .spawn(move || running.run(runtime, try_join_all(serving)))?;
        }
        Ok(Self { progress })
    }

    /// Waits until all have ended and every connection is closed; returns early when one failed. May be called again.
    ///
    /// # Errors
    /// When a thread could not serve, or panicked.
    pub async fn ended(&self) -> Result<(), ThreadFailed> {
        let mut progress = self.progress.subscribe();
        let progress = progress
            .wait_for(|progress| progress.running == 0 || progress.failed.is_some())
            .await
            .expect("BUG: the threads' progress outlives those who wait for it");
        progress.failed.clone().map_or(Ok(()), Err)
    }
}

impl Running {
    fn new(progress: &Arc<watch::Sender<Progress>>) -> Self {
        progress.send_modify(|progress| progress.running += 1);
        Self {
            progress: Arc::clone(progress),
            failed: Some(ThreadFailed("it panicked".to_owned())),
        }
    }

    fn run(mut self, runtime: Runtime, serving: impl Future<Output = io::Result<Vec<()>>>) {
        let served = runtime.block_on(serving);
        // Closes what connections are left.
        drop(runtime);
        self.failed = served.err().map(|error| ThreadFailed(error.to_string()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| {
            progress.running -= 1;
            progress.failed = progress.failed.take().or(self.failed.take());
        });
    }
}

#[cfg(test)]
mod tests;
