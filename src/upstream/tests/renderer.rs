//! A renderer that behaves as it is told.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    sync::{broadcast, watch},
    time::{Duration, sleep},
};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::until;
use crate::proto::v1::{self, render_service_server::RenderService};

/// How the renderer answers.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    Answers(v1::RenderResponse),
    /// Answers with the project and the rollout asked for.
    Renders {
        number: u64,
        /// How long it takes.
        cost: Duration,
    },
    Stalls,
    Fails(Status),
    /// Resets the stream instead of answering.
    Resets,
}

/// A renderer. Clones are the same one.
#[derive(Clone)]
pub(super) struct ScriptedRenderer {
    manner: Arc<Mutex<Manner>>,
    fetch: Arc<Mutex<Manner>>,
    changes: broadcast::Sender<Result<v1::Change, Status>>,
    refuses_changes: Arc<Mutex<Option<Status>>>,
    stands: Arc<Mutex<Option<(String, bool)>>>,
    /// The positions that streams were asked to begin after.
    pub(super) afters: Arc<Mutex<Vec<String>>>,
    /// The requests so far, each with its `grpc-timeout`.
    pub(super) renders: watch::Sender<Vec<(v1::RenderRequest, String)>>,
    pub(super) fetches: Arc<AtomicUsize>,
    /// The `traceparent` of each render and fetch so far.
    pub(super) traceparents: Arc<Mutex<Vec<String>>>,
    pub(super) listens: watch::Sender<usize>,
    /// How many calls were reset before they were answered.
    pub(super) resets: watch::Sender<usize>,
}

impl ScriptedRenderer {
    pub(super) fn answers(payload: &[u8]) -> Self {
        Self::new(Manner::Answers(response(payload)))
    }

    pub(super) fn stalls() -> Self {
        Self::new(Manner::Stalls)
    }

    pub(super) fn fails(status: Status) -> Self {
        Self::new(Manner::Fails(status))
    }

    pub(super) fn new(manner: Manner) -> Self {
        Self {
            manner: Arc::new(Mutex::new(manner)),
            fetch: Arc::new(Mutex::new(Manner::Fails(Status::unimplemented("no store")))),
            changes: broadcast::channel(16).0,
            refuses_changes: Arc::default(),
            stands: Arc::default(),
            afters: Arc::default(),
            renders: watch::Sender::new(Vec::new()),
            fetches: Arc::default(),
            traceparents: Arc::default(),
            listens: watch::Sender::new(0),
            resets: watch::Sender::new(0),
        }
    }

    fn note_trace<T>(&self, request: &Request<T>) {
        let traceparent = request.metadata().get("traceparent").unwrap();
        let traceparent = traceparent.to_str().unwrap().to_owned();
        self.traceparents.lock().unwrap().push(traceparent);
    }

    pub(super) fn now(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub(super) fn fetch_now(&self, manner: Manner) {
        *self.fetch.lock().unwrap() = manner;
    }

    pub(super) fn refuse_changes(&self, status: Status) {
        *self.refuses_changes.lock().unwrap() = Some(status);
    }

    pub(super) fn take_changes(&self) {
        *self.refuses_changes.lock().unwrap() = None;
    }

    pub(super) fn tell(&self, project: &str, number: u64) {
        let project = project.to_owned();
        let change = v1::Change {
            project,
            rollout: 1,
            number,
            ..v1::Change::default()
        };
        self.changes.send(Ok(change)).unwrap();
    }

    /// Says where it stands.
    pub(super) fn stand(&self, position: &str, resync: bool) {
        let position = position.to_owned();
        let change = v1::Change {
            position,
            resync,
            ..v1::Change::default()
        };
        self.changes.send(Ok(change)).unwrap();
    }

    /// Has each stream begin with where it stands.
    pub(super) fn stands_at_once(&self, position: &str, resync: bool) {
        *self.stands.lock().unwrap() = Some((position.to_owned(), resync));
    }

    pub(super) fn end_changes(&self) {
        self.changes.send(Err(Status::internal("enough"))).unwrap();
    }

    pub(super) async fn until_rendering(&self, count: usize) {
        let mut renders = self.renders.subscribe();
        until(&mut renders, |so_far| so_far.len() >= count).await;
    }

    pub(super) async fn until_listening(&self, count: usize) {
        let mut listens = self.listens.subscribe();
        until(&mut listens, |so_far| *so_far >= count).await;
    }

    async fn act(
        &self,
        manner: Manner,
        project: String,
        rollout: u64,
    ) -> Result<v1::RenderResponse, Status> {
        match manner {
            Manner::Answers(response) => Ok(response),
            Manner::Renders { number, cost } => {
                sleep(cost).await;
                let revision = v1::Revision {
                    project,
                    rollout,
                    number,
                    ..v1::Revision::default()
                };
                Ok(v1::RenderResponse {
                    revision: Some(revision),
                    ..response(b"{}")
                })
            }
            Manner::Fails(status) => Err(status),
            // A handler that unwinds drops its stream unanswered, and nothing else.
            Manner::Resets => std::panic::resume_unwind(Box::new("reset")),
            Manner::Stalls => {
                let _notice = NoticeReset(self.resets.clone());
                std::future::pending().await
            }
        }
    }
}

struct NoticeReset(watch::Sender<usize>);

impl Drop for NoticeReset {
    fn drop(&mut self) {
        self.0.send_modify(|resets| *resets += 1);
    }
}

/// A response whose revision is of project `shop`, order 1/1.
pub(super) fn response(payload: &[u8]) -> v1::RenderResponse {
    v1::RenderResponse {
        revision: Some(v1::Revision {
            project: "shop".to_owned(),
            rollout: 1,
            number: 1,
            ..v1::Revision::default()
        }),
        payload: payload.to_vec().into(),
        not_modified: false,
    }
}

#[tonic::async_trait]
impl RenderService for ScriptedRenderer {
    async fn render(
        &self,
        request: Request<v1::RenderRequest>,
    ) -> Result<Response<v1::RenderResponse>, Status> {
        let timeout = request.metadata().get("grpc-timeout").unwrap();
        let timeout = timeout.to_str().unwrap().to_owned();
        self.note_trace(&request);
        let request = request.into_inner();
        let (project, rollout) = (request.project.clone(), request.rollout);
        let render = (request, timeout);
        self.renders.send_modify(|renders| renders.push(render));
        let manner = self.manner.lock().unwrap().clone();
        let answer = self.act(manner, project, rollout).await;
        answer.map(Response::new)
    }

    async fn fetch(
        &self,
        request: Request<v1::FetchRequest>,
    ) -> Result<Response<v1::FetchResponse>, Status> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.note_trace(&request);
        let manner = self.fetch.lock().unwrap().clone();
        let v1::RenderResponse {
            revision, payload, ..
        } = self.act(manner, request.into_inner().project, 1).await?;
        Ok(Response::new(v1::FetchResponse {
            revision,
            payload,
            not_modified: false,
        }))
    }

    type ChangesStream = Pin<Box<dyn Stream<Item = Result<v1::Change, Status>> + Send>>;

    async fn changes(
        &self,
        request: Request<v1::ChangesRequest>,
    ) -> Result<Response<Self::ChangesStream>, Status> {
        let changes = BroadcastStream::new(self.changes.subscribe());
        let stands = self.stands.lock().unwrap().clone();
        let stands = stands.map(|(position, resync)| v1::Change {
            position,
            resync,
            ..v1::Change::default()
        });
        let after = request.into_inner().after;
        self.afters.lock().unwrap().push(after);
        self.listens.send_modify(|listens| *listens += 1);
        if let Some(status) = self.refuses_changes.lock().unwrap().clone() {
            return Err(status);
        }
        let first = futures_util::stream::iter(stands.map(Ok));
        Ok(Response::new(
            first.chain(changes.map(Result::unwrap)).boxed(),
        ))
    }
}
