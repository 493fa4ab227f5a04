//! The lookup listeners, each served by every one of a few threads that do nothing else.
//!
//! A thread has a `current_thread` runtime of its own: no work moves between threads, and what else the sidecar does, renders
//! above all, does not stand in a lookup's way. This room knows that, not what a lookup is.

use std::{io, num::NonZeroUsize, thread};

use futures_util::future::try_join_all;
use tokio::{runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::{
    answers::Answers, config::Configs, connections::Connections, grpc, health::Health,
    listener::Listener, reflection,
};
use crate::proto::v1::config_service_server::SERVICE_NAME;

/// Everything that a lookup listener serves: the configurations, health and reflection.
pub fn routes<A: Answers>(configs: Configs<A>, health: &Health) -> Routes {
    let mut routes = Routes::builder();
    routes
        .add_service(configs.into_service())
        .add_service(health.service());
    reflection::add(
        &mut routes,
        &[SERVICE_NAME, tonic_health::pb::health_server::SERVICE_NAME],
    );
    routes.routes()
}

/// The threads that serve lookups.
#[derive(Debug)]
pub struct Threads {
    done: Vec<oneshot::Receiver<io::Result<()>>>,
}

impl Threads {
    /// Starts them. Each serves `routes` on every listener until `closing` is cancelled: then connections are told to go away, and a
    /// second later they are closed.
    ///
    /// # Errors
    /// When a thread, its runtime or its share of a listener is not to be had.
    pub fn start(
        threads: NonZeroUsize,
        listeners: &[Listener],
        routes: &Routes,
        connections: &Connections,
        closing: &CancellationToken,
    ) -> io::Result<Self> {
        let start = |number| {
            let listeners = listeners.iter().map(Listener::try_clone);
            let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
            let (routes, connections, closing) =
                (routes.clone(), connections.clone(), closing.clone());
            let (done, is_done) = oneshot::channel();
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            thread::Builder::new()
                .name(format!("lookup-{number}"))
                .spawn(move || {
                    let serve = |listener| {
                        grpc::serve(
                            listener,
                            routes.clone(),
                            connections.clone(),
                            closing.clone(),
                        )
                    };
                    let served = runtime.block_on(try_join_all(listeners.into_iter().map(serve)));
                    drop(runtime);
                    // Nobody may be waiting any more, when the process leaves at once.
                    let _ = done.send(served.map(|_| ()));
                })?;
            Ok(is_done)
        };
        let done = (0..threads.get()).map(start);
        Ok(Self {
            done: done.collect::<io::Result<_>>()?,
        })
    }

    /// Waits until all have ended and every connection is closed; returns early when one failed.
    ///
    /// # Errors
    /// When a thread could not serve, or panicked.
    pub async fn ended(&mut self) -> io::Result<()> {
        while let Some(done) = self.done.last_mut() {
            let ended = done.await;
            self.done.pop();
            ended.unwrap_or_else(|_| {
                Err(io::Error::other("a thread that serves lookups panicked"))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
