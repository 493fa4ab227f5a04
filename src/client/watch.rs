//! A watch of several projects over one connection, that outlives the sidecar it speaks to.
//!
//! Owns what was told last of each project, so that a new connection repeats nothing, and when to
//! dial again. Does not know how news is shown, nor ever gives up: only a server that is no sidecar
//! ends it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tonic::{Code, Status, transport::Channel};

use super::{LookupError, MAX_ANSWER_BYTES, Reply, SidecarAddress, SidecarStatus};
use crate::{
    back_off::{BackOff, Ceilings},
    proto::v1::{
        WatchConfigRequest, WatchConfigResponse, config_service_client::ConfigServiceClient,
        watch_config_response::Event,
    },
    revision::{Order, Project},
};

/// How long a dial may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How the longest wait before dialling again grows. A person looks on, and the sidecar
/// is on the same machine.
const CEILINGS: Ceilings = Ceilings {
    first: Duration::from_millis(200),
    growth: 2.0,
    longest: Duration::from_secs(5),
};

/// A connection that lasted this long was a good one: the waits start anew.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// Follows projects of one sidecar.
#[derive(Debug)]
pub struct Watcher {
    address: SidecarAddress,
    told: BTreeMap<Project, LastTold>,
    connection: Option<WatchCalls>,
    dial_at: Instant,
    back_off: BackOff,
    is_broken: bool,
    pending: VecDeque<News>,
}

/// What a watcher tells.
#[derive(Debug)]
pub enum News {
    /// Another revision than the one told last is served.
    Changed(Box<Reply>),
    /// There is none, or no longer one.
    Failed {
        /// Whose configuration.
        project: Project,
        /// Why.
        status: SidecarStatus,
    },
    /// The sidecar is not there; it is dialled until it is.
    Broken(LookupError),
    /// The sidecar is there again.
    Healed,
}

/// What answers at the address is no sidecar.
#[derive(Debug, thiserror::Error)]
#[error("what answers at {0} is no sidecar")]
pub struct NoSidecar(pub SidecarAddress);

/// One call for each project, all over one connection. Dropping it ends them.
#[derive(Debug)]
struct WatchCalls {
    messages: mpsc::Receiver<(Project, Result<WatchConfigResponse, Status>)>,
    since: Instant,
    _calls: JoinSet<()>,
}

/// What was told of one project.
#[derive(Debug, Default)]
struct LastTold {
    last: Option<LastState>,
    /// The digest of the payload told last; empty for none.
    digest: String,
}

/// A project as its last message had it.
#[derive(Debug, PartialEq, Eq)]
enum LastState {
    Served { order: Order, digest: String },
    Failed { code: Code, reason: String },
}

// === impl Watcher ===

impl Watcher {
    /// Will follow these projects, of the sidecar at that address.
    pub fn new(address: SidecarAddress, projects: impl IntoIterator<Item = Project>) -> Self {
        Self {
            address,
            told: projects
                .into_iter()
                .map(|project| (project, LastTold::default()))
                .collect(),
            connection: None,
            dial_at: Instant::now(),
            back_off: BackOff::new(CEILINGS),
            is_broken: false,
            pending: VecDeque::new(),
        }
    }

    /// Waits for news, for as long as it takes.
    ///
    /// # Errors
    /// When something else than a sidecar answers.
    pub async fn next(&mut self) -> Result<News, NoSidecar> {
        loop {
            if let Some(news) = self.pending.pop_front() {
                return Ok(news);
            }
            match &mut self.connection {
                None => self.connect().await,
                Some(connection) => match connection.messages.recv().await {
                    Some((project, Ok(message))) => self.heard(&project, message),
                    Some((_, Err(status))) => self.lost(status)?,
                    None => self.broke(self.address.ended(Status::unavailable("all calls ended"))),
                },
            }
        }
    }

    async fn connect(&mut self) {
        sleep_until(self.dial_at).await;
        match self.address.connect(CONNECT_TIMEOUT).await {
            Ok(channel) => self.connection = Some(WatchCalls::open(&channel, &self.told)),
            Err(error) => self.broke(error),
        }
    }

    fn heard(&mut self, project: &Project, message: WatchConfigResponse) {
        if self.is_broken {
            self.is_broken = false;
            self.pending.push_back(News::Healed);
        }
        // A message of a kind that this client does not know is none.
        let Some(event) = message.event else { return };
        if let Some(told) = self.told.get_mut(project) {
            self.pending.extend(told.news(project, event));
        }
    }

    fn lost(&mut self, status: Status) -> Result<(), NoSidecar> {
        if status.code() == Code::Unimplemented {
            return Err(NoSidecar(self.address.clone()));
        }
        self.broke(self.address.ended(status));
        Ok(())
    }

    /// Gives the connection up, and says so once until there is another.
    fn broke(&mut self, why: LookupError) {
        let connection = self.connection.take();
        if connection.is_some_and(|it| it.since.elapsed() >= GOOD_AFTER) {
            self.back_off.succeeded();
        }
        let wait = self.back_off.after_failure(fastrand::f64());
        self.dial_at = Instant::now() + wait;
        if !self.is_broken {
            self.is_broken = true;
            self.pending.push_back(News::Broken(why));
        }
    }
}

// === impl WatchCalls ===

impl WatchCalls {
    fn open(channel: &Channel, told: &BTreeMap<Project, LastTold>) -> Self {
        // Room for one: a reader that stops is not read ahead for, and resumes at the newest.
        let (sender, messages) = mpsc::channel(1);
        let mut calls = JoinSet::new();
        for (project, told) in told {
            let client = ConfigServiceClient::new(channel.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES);
            let known = told.digest.clone();
            calls.spawn(follow(client, project.clone(), known, sender.clone()));
        }
        Self {
            messages,
            since: Instant::now(),
            _calls: calls,
        }
    }
}

/// Hands the messages of one project on, and at last the status that its call ended with.
async fn follow(
    mut client: ConfigServiceClient<Channel>,
    project: Project,
    known_digest: String,
    messages: mpsc::Sender<(Project, Result<WatchConfigResponse, Status>)>,
) {
    let request = WatchConfigRequest {
        project: project.to_string(),
        known_digest,
    };
    let ended = async {
        let mut stream = client.watch_config(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            // The receiver is gone only when this task is about to be ended.
            let _unheard = messages.send((project.clone(), Ok(message))).await;
        }
        Ok::<_, Status>(())
    };
    let status = match ended.await {
        Ok(()) => Status::unavailable("the watch ended"),
        Err(status) => status,
    };
    let _unheard = messages.send((project, Err(status))).await;
}

// === impl LastTold ===

impl LastTold {
    /// The news in a message, if it says anything that was not told already.
    fn news(&mut self, project: &Project, event: Event) -> Option<News> {
        let (state, news) = match event {
            Event::Answer(answer) => {
                let reply = Reply::from(answer);
                let (order, digest) = (reply.order, reply.digest.clone());
                self.digest.clone_from(&digest);
                let state = LastState::Served { order, digest };
                (state, News::Changed(Box::new(reply)))
            }
            Event::Failure(failure) => {
                let status = SidecarStatus::from(failure);
                if status.code == Code::NotFound {
                    self.digest.clear();
                }
                let (code, reason) = (status.code, status.reason.clone());
                let project = project.clone();
                (
                    LastState::Failed { code, reason },
                    News::Failed { project, status },
                )
            }
        };
        let is_news = self.last.as_ref() != Some(&state);
        self.last = Some(state);
        is_news.then_some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{Failure, GetConfigResponse, Revision};

    fn project() -> Project {
        Project::new("demo/shop").expect("is a name")
    }

    fn answer(rollout: u64, digest: &str) -> Event {
        Event::Answer(GetConfigResponse {
            revision: Some(Revision {
                rollout,
                digest: digest.into(),
                ..Revision::default()
            }),
            ..GetConfigResponse::default()
        })
    }

    fn failure(code: Code) -> Event {
        Event::Failure(Failure {
            code: code.into(),
            ..Failure::default()
        })
    }

    #[test]
    fn what_was_told_before_the_connection_broke_is_no_news_after_it() {
        let mut told = LastTold::default();
        assert!(told.news(&project(), answer(1, "a")).is_some());
        assert!(told.news(&project(), answer(1, "a")).is_none());
        assert!(told.news(&project(), answer(2, "a")).is_some());
        assert!(told.news(&project(), answer(2, "b")).is_some());
        assert_eq!(told.digest, "b");
    }

    #[test]
    fn a_failure_is_told_once_and_its_end_too() {
        let mut told = LastTold::default();
        assert!(told.news(&project(), answer(1, "a")).is_some());
        assert!(told.news(&project(), failure(Code::Unavailable)).is_some());
        assert!(told.news(&project(), failure(Code::Unavailable)).is_none());
        assert_eq!(told.digest, "a", "its payload is still known");
        assert!(told.news(&project(), answer(1, "a")).is_some());
    }

    #[test]
    fn the_payload_of_a_project_that_is_gone_is_asked_for_again() {
        let mut told = LastTold::default();
        told.news(&project(), answer(1, "a"));
        told.news(&project(), failure(Code::NotFound));
        assert_eq!(told.digest, "");
    }
}
