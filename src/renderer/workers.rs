//! The workers: a number of renders at once, a bounded queue before them, and no render done twice.
//!
//! Calls for the same project, component, rollout and version of the settings share one render, and
//! a kept one costs nothing. A render without waiting callers is dropped where it stands: its
//! future belongs to its callers alone.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::{sync::Semaphore, time::sleep};

use super::{
    cost::Cost,
    fault::{Fault, Faults, SLOWNESS},
    journal::{CallState, Journal},
    projects::Input,
    store::{Component, RevisionStore},
    template::{Context, Template},
};
use crate::revision::{Order, Project, Revision};

/// What is rendered.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Whose configuration.
    pub(super) project: Project,
    /// Which component asks.
    pub(super) component: Component,
    /// The generation to render with.
    pub(super) rollout: u64,
    /// What to render it from.
    pub(super) input: Input,
}

/// Why a render gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum WorkError {
    /// The queue is full; it will have been worked off after `drained`.
    #[error("{waiting} renders are waiting already")]
    QueueFull { waiting: usize, drained: Duration },
    /// The settings of the project are broken.
    #[error("the settings are broken: {0}")]
    Settings(Arc<str>),
    /// The template gave no configuration for this project.
    #[error("{0}")]
    Template(Arc<str>),
}

/// How much work is done at once, and how long it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    /// How many renders run at once.
    pub(super) workers: NonZeroUsize,
    /// How many renders wait for a worker.
    pub(super) queue: usize,
    /// How long a render takes.
    pub(super) cost: Cost,
    /// The least size of a payload, in bytes.
    pub(super) pad: usize,
}

type Work = Result<Arc<Revision>, WorkError>;
type RenderKey = (Project, Component, Order);

/// Renders what is asked for.
pub(super) struct Workers {
    template: Template,
    capacity: Capacity,
    faults: Faults,
    journal: Arc<Journal>,
    store: RevisionStore,
    /// One permit for each render that runs or waits.
    places: Arc<Semaphore>,
    /// One permit for each render that runs.
    free: Semaphore,
    under_way: Mutex<HashMap<RenderKey, WeakShared<BoxFuture<'static, Work>>>>,
}

impl Job {
    fn order(&self) -> Order {
        Order::new(self.rollout, self.input.number)
    }

    fn key(&self) -> RenderKey {
        (
            self.project.clone(),
            Arc::clone(&self.component),
            self.order(),
        )
    }
}

// === impl Workers ===

impl Workers {
    /// Hires them.
    pub(super) fn new(
        template: Template,
        capacity: Capacity,
        faults: Faults,
        journal: Arc<Journal>,
    ) -> Self {
        let workers = capacity.workers.get();
        let places = workers
            .saturating_add(capacity.queue)
            .min(Semaphore::MAX_PERMITS);
        Self {
            template,
            capacity,
            faults,
            journal,
            store: RevisionStore::default(),
            places: Arc::new(Semaphore::new(places)),
            free: Semaphore::new(workers.min(Semaphore::MAX_PERMITS)),
            under_way: Mutex::default(),
        }
    }

    /// What was rendered.
    pub(super) fn store(&self) -> &RevisionStore {
        &self.store
    }

    /// Renders, or shares a render that is under way, or takes the kept one; also tells which.
    pub(super) async fn render(self: &Arc<Self>, job: Job) -> (CallState, Work) {
        let kept = self.store.get(&job.project, &job.component, job.order());
        if let Some(revision) = kept {
            return (CallState::Memoised, Ok(revision));
        }
        let (state, work) = match self.join_or_start(job) {
            Ok(shared) => shared,
            Err(full) => return (CallState::Refused, Err(full)),
        };
        let work = work.await;
        let state = if work.is_ok() {
            state
        } else {
            CallState::Failed
        };
        (state, work)
    }

    fn join_or_start(
        self: &Arc<Self>,
        job: Job,
    ) -> Result<(CallState, Shared<BoxFuture<'static, Work>>), WorkError> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = under_way.get(&job.key()).and_then(WeakShared::upgrade) {
            return Ok((CallState::Joined, work));
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(self.queue_full());
        };
        under_way.retain(|_, work| work.upgrade().is_some());
        let key = job.key();
        let workers = Arc::clone(self);
        let work = async move {
            let _place = place;
            workers.work(&job).await
        };
        let work = work.boxed().shared();
        under_way.extend(work.downgrade().map(|weak| (key, weak)));
        Ok((CallState::Rendered, work))
    }

    async fn work(&self, job: &Job) -> Work {
        let settings = job.input.settings(&job.project);
        let settings = settings.map_err(WorkError::Settings)?;
        let _worker = self
            .free
            .acquire()
            .await
            .expect("BUG: the semaphore is never closed");
        sleep(self.cost(job)).await;
        let payload = self.template.render(&Context {
            project: job.project.as_str(),
            component: &job.component,
            rollout: job.rollout,
            settings: &settings,
        });
        let payload = payload.map_err(|error| WorkError::Template(error.to_string().into()))?;
        let payload = padded(payload, self.capacity.pad);
        let revision = Arc::new(Revision::new(
            job.project.clone(),
            job.order(),
            Some(SystemTime::now()),
            "application/json".into(),
            &payload,
        ));
        self.store.keep(&job.component, &revision);
        self.journal.rendered(&job.project);
        Ok(revision)
    }

    fn cost(&self, job: &Job) -> Duration {
        let hash = job.project.hash().rotate_left(job.rollout as u32);
        let cost = self.capacity.cost.of(hash);
        match self.faults.in_force().map(|order| order.fault) {
            Some(Fault::Slow) => cost * SLOWNESS,
            Some(
                Fault::Dead
                | Fault::Hang
                | Fault::Flap
                | Fault::Behind
                | Fault::Garbage
                | Fault::Busy,
            )
            | None => cost,
        }
    }

    fn queue_full(&self) -> WorkError {
        let workers = self.capacity.workers.get();
        let waiting = self.capacity.queue;
        let rounds = u32::try_from(waiting / workers + 1).unwrap_or(u32::MAX);
        WorkError::QueueFull {
            waiting,
            drained: self.capacity.cost.mean().saturating_mul(rounds),
        }
    }
}

/// Pads a JSON document with spaces, which mean nothing in JSON, to that many bytes.
fn padded(payload: Bytes, bytes: usize) -> Bytes {
    if payload.len() >= bytes {
        return payload;
    }
    let mut padded = BytesMut::from(payload);
    padded.resize(bytes, b' ');
    padded.freeze()
}
