//! The contract: turns calls of `evenkeel.v1.RenderService` into renders, and what came of them
//! into answers and statuses.
//!
//! Here faults of answers are applied. `Fetch` and `Changes` suffer from faults of the process
//! alone: what is stored can be had from a renderer that is slow, behind, busy or wrong, but not
//! from one that hangs or is dead. A stream of changes that is open while the renderer hangs goes
//! on.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Response, Status};

use super::{
    fault::{Fault, Faults, Garbage},
    generation::Generation,
    journal::{CallState, Journal},
    projects::Projects,
    store::Component,
    workers::{Job, WorkError, Workers},
};
use crate::{
    proto::v1::{
        Change, ChangesRequest, FetchRequest, FetchResponse, HeldRevision, RenderRequest,
        RenderResponse, Revision as RevisionMessage, render_service_server::RenderService,
    },
    revision::{Order, Project, Revision},
};

/// For how long a busy renderer asks to be left alone.
const BUSY: Duration = Duration::from_secs(3);

/// How long a stream of changes is silent at most: the contract has 20 s.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// How large an oversized payload is, in bytes: one more than a sidecar accepts by default.
const OVERSIZED: usize = 16 * 1024 * 1024 + 1;

/// The longest name of a component, in bytes: the longest that the sidecar's setting takes.
const LONGEST_COMPONENT: usize = 253;

/// Serves the contract.
pub(super) struct RendererService {
    pub(super) projects: watch::Receiver<Arc<Projects>>,
    pub(super) workers: Arc<Workers>,
    pub(super) journal: Arc<Journal>,
    pub(super) faults: Faults,
    pub(super) generation: Generation,
    pub(super) stores: bool,
    /// Tells this process from earlier ones, whose positions mean nothing here.
    pub(super) process: Arc<str>,
}

/// What a fault makes of an answer.
#[derive(Clone, Copy)]
enum Answering {
    Truly,
    Garbled,
}

#[tonic::async_trait]
impl RenderService for RendererService {
    async fn render(
        &self,
        request: Request<RenderRequest>,
    ) -> Result<Response<RenderResponse>, Status> {
        let request = request.into_inner();
        let project = project(&request.project)?;
        let component = component(&request.component)?;
        if request.rollout == 0 {
            return Err(Status::invalid_argument(
                "rollout is 0: rollouts start at 1",
            ));
        }
        let entry = self.journal.arrived(&project, request.rollout);
        self.unless_mute().await;
        let rollout = self.generation.rollout();

        let (rollout, answering) = match self.fault() {
            None | Some(Fault::Slow | Fault::Dead | Fault::Hang | Fault::Flap) => {
                (rollout, Answering::Truly)
            }
            Some(Fault::Busy) => {
                entry.close(CallState::Refused);
                return Err(exhausted("the renderer is busy", BUSY));
            }
            Some(Fault::Behind) => (rollout.saturating_sub(1).max(1), Answering::Truly),
            Some(Fault::Garbage) => (rollout, Answering::Garbled),
        };
        let Some(input) = self.projects.borrow().find(&project) else {
            entry.close(CallState::Failed);
            return Err(no_such_project(&project));
        };
        let job = Job {
            project,
            component,
            rollout,
            input,
        };
        let (state, work) = self.workers.render(job).await;
        let revision = match work {
            Ok(revision) => revision,
            Err(error) => {
                entry.close(state);
                return Err(status(&error));
            }
        };
        let (state, response) = match answering {
            Answering::Truly => (state, response(&revision, request.held.as_ref())),
            Answering::Garbled => {
                let garbled = garbled(self.faults.next_garbage(), &revision);
                (CallState::Garbled, garbled)
            }
        };
        entry.close(state);
        Ok(Response::new(response))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<FetchResponse>, Status> {
        let request = request.into_inner();
        let project = project(&request.project)?;
        let component = component(&request.component)?;
        self.journal.fetched(&project);
        self.unless_mute().await;
        if !self.stores {
            return Err(Status::unimplemented("this renderer stores nothing"));
        }
        let input = self.projects.borrow().find(&project);
        let input = input.ok_or_else(|| no_such_project(&project))?;
        let stored = self.workers.store().newest(&project, &component);
        if let Some(held) = request.held {
            let answer = confirmation(&project, &held, input.number, stored.as_deref());
            return Ok(Response::new(answer));
        }
        let Some(stored) = stored else {
            return Err(Status::not_found(format!("nothing is stored of {project}")));
        };
        Ok(Response::new(FetchResponse {
            revision: Some(message(&stored)),
            payload: stored.payload.clone(),
            not_modified: false,
        }))
    }

    type ChangesStream = Pin<Box<dyn Stream<Item = Result<Change, Status>> + Send>>;

    /// Begins with what changed after the position that the caller has; without one, or with one of
    /// an earlier process, with what changed since this renderer started.
    async fn changes(
        &self,
        request: Request<ChangesRequest>,
    ) -> Result<Response<Self::ChangesStream>, Status> {
        self.unless_mute().await;
        let after = request.into_inner().after;
        let seen = self.seen_at(&after);
        let subscriber = Subscriber {
            projects: self.projects.clone(),
            generation: self.generation.clone(),
            process: Arc::clone(&self.process),
            first: Some(Change {
                resync: !after.is_empty() && seen.is_none(),
                ..Change::default()
            }),
            seen: seen.unwrap_or(0),
            told: seen.unwrap_or(0),
            untold: VecDeque::new(),
        };
        let changes = stream::unfold(subscriber, |mut subscriber| async {
            let change = subscriber.next().await?;
            Some((Ok(change), subscriber))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

impl RendererService {
    fn fault(&self) -> Option<Fault> {
        self.faults.in_force().map(|order| order.fault)
    }

    /// How many changes a caller has seen that has this position; none when it is not of this
    /// process.
    fn seen_at(&self, position: &str) -> Option<u64> {
        let (process, seen) = position.split_once('/')?;
        let seen = seen.parse().ok()?;
        (process == &*self.process && seen <= self.projects.borrow().changes()).then_some(seen)
    }

    /// Goes on, or never does: the caller has to give up.
    async fn unless_mute(&self) {
        if self.faults.is_mute() {
            std::future::pending::<()>().await;
        }
    }
}

/// One caller of `Changes`; what it does not read in time is told once, with its newest number.
struct Subscriber {
    projects: watch::Receiver<Arc<Projects>>,
    generation: Generation,
    process: Arc<str>,
    /// What the stream begins with.
    first: Option<Change>,
    /// How many changes it was told of, or is being told of.
    seen: u64,
    /// How many it was told of: its position.
    told: u64,
    untold: VecDeque<(Project, u64)>,
}

impl Subscriber {
    /// Waits for the next change, or the next sign of life; none when the renderer ends.
    async fn next(&mut self) -> Option<Change> {
        let change = match self.first.take() {
            Some(first) => first,
            None => match timeout(SIGN_OF_LIFE, self.next_change()).await {
                Ok(change) => change?,
                Err(_elapsed) => Change::default(),
            },
        };
        Some(Change {
            position: format!("{}/{}", self.process, self.told),
            ..change
        })
    }

    /// Waits for the next change; cancel-safe.
    async fn next_change(&mut self) -> Option<Change> {
        loop {
            if let Some((project, number)) = self.untold.pop_front() {
                if self.untold.is_empty() {
                    self.told = self.seen;
                }
                return Some(Change {
                    project: project.to_string(),
                    rollout: self.generation.rollout(),
                    number,
                    ..Change::default()
                });
            }
            let projects = Arc::clone(&self.projects.borrow_and_update());
            if projects.changes() == self.seen {
                self.projects.changed().await.ok()?;
                continue;
            }
            self.untold.extend(projects.changed_since(self.seen));
            self.seen = projects.changes();
        }
    }
}

fn project(name: &str) -> Result<Project, Status> {
    Project::new(name).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// A name that the setting `component` may have, or none at all.
fn component(name: &str) -> Result<Component, Status> {
    if name.len() > LONGEST_COMPONENT {
        return Err(Status::invalid_argument(format!(
            "component has {} bytes: at most {LONGEST_COMPONENT} are accepted",
            name.len()
        )));
    }
    Ok(name.into())
}

fn message(revision: &Revision) -> RevisionMessage {
    RevisionMessage {
        project: revision.project.to_string(),
        rollout: revision.order.rollout,
        number: revision.order.number,
        rendered_at: revision.rendered_at.map(Into::into),
        digest: revision.digest.to_string(),
        content_type: revision.content_type.to_string(),
    }
}

fn response(revision: &Revision, held: Option<&HeldRevision>) -> RenderResponse {
    let message = message(revision);
    let not_modified = held.is_some_and(|held| held.digest == message.digest);
    RenderResponse {
        revision: Some(message),
        payload: if not_modified {
            Bytes::new()
        } else {
            revision.payload.clone()
        },
        not_modified,
    }
}

/// Says whether what a caller holds is right: the input may have changed, whether or not a render
/// of it is stored.
fn confirmation(
    project: &Project,
    held: &HeldRevision,
    number: u64,
    stored: Option<&Revision>,
) -> FetchResponse {
    let order = Order::new(held.rollout, held.number);
    let newer = stored.filter(|stored| stored.order > order && stored.order.number >= number);
    if let Some(newer) = newer {
        return FetchResponse {
            revision: Some(message(newer)),
            payload: newer.payload.clone(),
            not_modified: false,
        };
    }
    FetchResponse {
        revision: Some(RevisionMessage {
            project: project.to_string(),
            rollout: held.rollout,
            number: number.max(held.number),
            ..RevisionMessage::default()
        }),
        payload: Bytes::new(),
        not_modified: number <= held.number,
    }
}

/// Makes an answer unfit to be served, in one way.
fn garbled(garbage: Garbage, revision: &Revision) -> RenderResponse {
    let mut response = response(revision, None);
    let message = response.revision.get_or_insert_default();
    match garbage {
        Garbage::Empty => {
            response.payload = Bytes::new();
            message.digest.clear();
        }
        Garbage::Oversized => {
            response.payload = vec![b' '; OVERSIZED].into();
            message.digest.clear();
        }
        Garbage::OtherProject => message.project.push_str("-other"),
        Garbage::WrongDigest => {
            message.digest = message.digest.chars().rev().collect();
        }
    }
    response
}

fn status(error: &WorkError) -> Status {
    match error {
        WorkError::QueueFull { drained, .. } => exhausted(&error.to_string(), *drained),
        WorkError::Settings(_) => Status::failed_precondition(error.to_string()),
        WorkError::Template(_) => Status::internal(error.to_string()),
    }
}

fn no_such_project(project: &Project) -> Status {
    Status::not_found(format!("no such project: {project}"))
}

/// RESOURCE_EXHAUSTED with a pushback.
fn exhausted(message: &str, pushback: Duration) -> Status {
    let mut status = Status::resource_exhausted(message);
    let milliseconds = u64::try_from(pushback.as_millis()).unwrap_or(u64::MAX);
    status
        .metadata_mut()
        .insert("grpc-retry-pushback-ms", milliseconds.into());
    status
}
