//! A core that answers by script, and a client connected to the edge in memory.

use std::{
    collections::HashMap,
    io,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::{
    io::DuplexStream,
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{
    Accepting, Answers, Calls, Connections, RoleState, Unread, Watching,
    gathered::{Gathered, GatheringRoom},
    get_config::Service,
    grpc_listener, response,
};
use crate::{
    answer::{Answer, Failure, Outdated, Served},
    lookup::Query,
    metrics::Metrics,
    proto::v1,
    reason::{NotRefreshed, Refusal},
    revision::{Order, Project, Revision},
    trace::TraceContext,
};

/// Writes an answer for a caller that has the payload of digest `known` already; empty is none.
pub(super) fn message(answer: &Answer, known: &str) -> v1::GetConfigResponse {
    let revision = response::revision(&answer.revision);
    let not_modified = revision.digest == known;
    let mut message = v1::GetConfigResponse {
        payload: if not_modified {
            Default::default()
        } else {
            answer.revision.payload.clone()
        },
        revision: Some(revision),
        not_modified,
        unconfirmed: answer.is_unconfirmed,
        ..Default::default()
    };
    message.set_served(response::served(answer.served));
    match answer.served {
        Served::Fresh | Served::Rendered => {}
        Served::Outdated(Outdated {
            refusal,
            outdated_for,
        }) => {
            message.set_not_refreshed(response::not_refreshed(refusal.reason));
            message.outdated_for = Some(response::duration(outdated_for));
            message.retry_after = Some(response::duration(refusal.retry_after));
        }
    }
    message
}

type FakeAnswer = Result<Answer, Failure>;

/// An answer with a fresh revision of number 1.
pub(super) fn fresh(project: &str, rollout: u64, payload: impl Into<Bytes>) -> Answer {
    let payload = payload.into();
    Answer {
        revision: Arc::new(Revision::new(
            Project::new(project).unwrap(),
            Order::new(rollout, 1),
            None,
            "application/json".into(),
            &payload,
        )),
        served: Served::Fresh,
        is_unconfirmed: false,
    }
}

/// An outdated answer: throttled, for 3 s, until in 2 s.
pub(super) fn outdated(project: &str, rollout: u64, payload: impl Into<Bytes>) -> Answer {
    Answer {
        served: Served::Outdated(Outdated {
            refusal: throttled(),
            outdated_for: Duration::from_secs(3),
        }),
        ..fresh(project, rollout, payload)
    }
}

/// Nothing is held, and it is throttled.
pub(super) fn nothing_held() -> Failure {
    Failure::NotRefreshed {
        refusal: throttled(),
        held: false,
        deadline_exceeded: false,
    }
}

fn throttled() -> Refusal {
    Refusal {
        reason: NotRefreshed::Throttled,
        retry_after: Duration::from_secs(2),
    }
}

/// Answers by script; a project that the script does not know is not found.
#[derive(Clone, Debug)]
pub(super) struct Scripted {
    script: Arc<Mutex<HashMap<String, FakeAnswer>>>,
    asked: Arc<Mutex<Vec<Query>>>,
    newest: Arc<watch::Sender<Option<FakeAnswer>>>,
    takes: Duration,
    is_at_once: bool,
}

impl Scripted {
    pub(super) fn new() -> Self {
        Self {
            script: Arc::default(),
            asked: Arc::default(),
            newest: Arc::new(watch::Sender::new(None)),
            takes: Duration::ZERO,
            is_at_once: false,
        }
    }

    /// Answers from memory what the script answers, without noting that it was asked.
    pub(super) fn at_once(self) -> Self {
        Self {
            is_at_once: true,
            ..self
        }
    }

    /// Lets every lookup take that long whose caller waits.
    pub(super) fn takes(self, takes: Duration) -> Self {
        Self { takes, ..self }
    }

    pub(super) fn answers(&self, project: &str, told: FakeAnswer) {
        self.script.lock().unwrap().insert(project.to_owned(), told);
    }

    /// Tells every watch.
    pub(super) fn publishes(&self, told: FakeAnswer) {
        self.newest.send_replace(Some(told));
    }

    /// What was asked, in order.
    pub(super) fn asked(&self) -> Vec<Query> {
        self.asked.lock().unwrap().clone()
    }

    fn told(&self, project: &Project) -> FakeAnswer {
        let script = self.script.lock().unwrap();
        script.get(project.as_str()).cloned().unwrap_or_else(|| {
            Err(Failure::ProjectNotFound {
                retry_after: Duration::from_secs(30),
            })
        })
    }
}

impl Answers for Scripted {
    type Watch = ScriptedWatch;

    fn at_once(&self, project: &str) -> Option<Answer> {
        if !self.is_at_once {
            return None;
        }
        self.script.lock().unwrap().get(project)?.clone().ok()
    }

    async fn get(&self, query: Query) -> FakeAnswer {
        let told = self.told(&query.project);
        let waits = query.patience != Some(Duration::ZERO);
        self.asked.lock().unwrap().push(query);
        if waits {
            sleep(self.takes).await;
        }
        told
    }

    async fn get_many(
        &self,
        projects: &[Project],
        patience: Option<Duration>,
        _deadline: Option<Instant>,
        _trace: Option<TraceContext>,
    ) -> Vec<FakeAnswer> {
        if patience != Some(Duration::ZERO) {
            sleep(self.takes).await;
        }
        projects.iter().map(|project| self.told(project)).collect()
    }

    fn watch(&self, _project: Project) -> ScriptedWatch {
        let mut newest = self.newest.subscribe();
        newest.mark_changed();
        ScriptedWatch { newest }
    }
}

/// The newest that was published.
#[derive(Debug)]
pub(super) struct ScriptedWatch {
    newest: watch::Receiver<Option<FakeAnswer>>,
}

impl Watching for ScriptedWatch {
    async fn next(&mut self) -> FakeAnswer {
        loop {
            self.newest.changed().await.unwrap();
            if let Some(told) = self.newest.borrow_and_update().clone() {
                return told;
            }
        }
    }

    async fn again(&mut self) -> Option<FakeAnswer> {
        self.newest.borrow_and_update().clone()
    }
}

/// Room for all that is not read.
pub(super) fn unread() -> Unread {
    Unread::at_most(usize::MAX)
}

/// Limits wide enough for any test.
pub(super) fn role_state() -> RoleState {
    RoleState {
        connections: Connections::at_most(NonZeroUsize::MAX),
        closing: CancellationToken::new(),
        accepting: Accepting::new(Metrics::new()),
        max_streams: NonZeroU32::MAX,
        calls: Calls::at_most(NonZeroUsize::MAX),
    }
}

/// Serves until the terms close, and connects to that, all in memory.
pub(super) async fn connect(service: impl Service, role_state: &RoleState) -> Channel {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let theirs = Gathered::new(theirs, GatheringRoom::default());
    let seat = role_state.connections.enter(&role_state.closing);
    tokio::spawn(grpc_listener::serve_connection(
        theirs,
        service,
        seat,
        role_state.max_streams,
    ));
    let mut ours = Some(ours);
    let connector = service_fn(move |_| {
        let socket: io::Result<DuplexStream> = ours
            .take()
            .ok_or_else(|| io::Error::other("connected once"));
        async { socket.map(TokioIo::new) }
    });
    Endpoint::from_static("http://in.memory")
        .connect_with_connector(connector)
        .await
        .unwrap()
}
