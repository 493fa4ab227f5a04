//! The load: callers that look projects up in turn over a few connections, and ask again when they
//! get no answer.
//!
//! A lookup whose time is up is asked again at once, any other failure after a breath, so that a
//! closed port does not make callers spin. Knows nothing of who answers.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use tonic::{Code, Request, Status, transport::Channel};

use super::{DemoError, StormTerms, terms::CONNECTIONS, thread::Thread};
use crate::proto::v1::{
    GetConfigRequest, GetConfigResponse, NotRefreshed, Served,
    config_service_client::ConfigServiceClient,
};

/// How long a caller waits after a failure that is not the end of its time.
pub(super) const BREATH: Duration = Duration::from_millis(50);

/// How many projects are looked up at once before the storm.
const WARMING: usize = 16;

/// How long a lookup may take before the storm.
const WARM_UP: Duration = Duration::from_secs(30);

/// The reason of an outdated answer that calls itself fresh, or gives none.
pub(super) const UNSAID: &str = "UNSAID";

/// A client over one connection.
pub(super) type LookupClient = ConfigServiceClient<Channel>;

/// What became of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleResult {
    /// Answered with what was held fresh.
    Fresh,
    /// Answered with what became fresh meanwhile.
    Rendered,
    /// Answered with what is outdated, for a reason of the contract or [`UNSAID`].
    Outdated(&'static str),
    /// Not answered, or not with a configuration.
    Failed,
}

/// A lookup.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookupSample {
    /// When it ended, since the storm began.
    pub(super) at: Duration,
    /// How long it took.
    pub(super) took: Duration,
    /// Whose configuration, by the place of the project among those of the load.
    pub(super) project: usize,
    /// What became of it.
    pub(super) result: SampleResult,
}

/// Callers that go on until this is ended or dropped.
pub(super) struct Load {
    shared: Arc<LoadShared>,
    callers: TaskTracker,
    thread: Thread,
}

struct LoadShared {
    clients: ArcSwap<Vec<LookupClient>>,
    projects: Vec<String>,
    next: AtomicUsize,
    target: AtomicU64,
    is_over: AtomicBool,
    samples: Mutex<Vec<LookupSample>>,
    began: Instant,
    terms: StormTerms,
}

impl Load {
    /// Connects, and looks every project up once; waits for each as long as it takes.
    ///
    /// # Errors
    /// When there is no connection, or a project cannot be had.
    pub(super) async fn warm_up(address: SocketAddr, projects: &[String]) -> Result<(), DemoError> {
        let thread = Thread::start("warm-up").map_err(DemoError::Listen)?;
        let clients = thread.run(connect(address)).await?;
        let projects: Arc<[String]> = projects.into();
        let next = Arc::new(AtomicUsize::new(0));
        let warm = async move {
            let callers = (0..WARMING).map(|caller| {
                let mut client = clients[caller % clients.len()].clone();
                let (projects, next) = (Arc::clone(&projects), Arc::clone(&next));
                async move {
                    while let Some(project) = projects.get(next.fetch_add(1, Relaxed)) {
                        let mut request = asking(project, WARM_UP);
                        request.get_mut().patience = WARM_UP.try_into().ok();
                        let answered = client.get_config(request).await;
                        answered.map_err(|status| DemoError::WarmUp {
                            project: project.clone(),
                            status: Box::new(status),
                        })?;
                    }
                    Ok::<_, DemoError>(())
                }
            });
            futures_util::future::try_join_all(callers).await
        };
        thread.run(warm).await?;
        Ok(())
    }

    /// Starts the callers.
    ///
    /// # Errors
    /// When there is no connection.
    pub(super) async fn start(
        terms: &StormTerms,
        address: SocketAddr,
        projects: &[String],
    ) -> Result<Self, DemoError> {
        let thread = Thread::start("callers").map_err(DemoError::Listen)?;
        let clients = thread.run(connect(address)).await?;
        // In an order that has nothing to do with their names.
        let mut projects = projects.to_vec();
        fastrand::Rng::with_seed(1).shuffle(&mut projects);
        let shared = Arc::new(LoadShared {
            clients: ArcSwap::from_pointee(clients),
            projects,
            next: AtomicUsize::new(0),
            target: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            samples: Mutex::default(),
            began: Instant::now(),
            terms: *terms,
        });
        let callers = TaskTracker::new();
        let (calling, spawned) = (Arc::clone(&shared), callers.clone());
        let spawn = async move {
            for caller in 0..calling.terms.callers.get() {
                spawned.spawn(call(Arc::clone(&calling), caller));
            }
        };
        thread.run(spawn).await;
        Ok(Self {
            shared,
            callers,
            thread,
        })
    }

    /// Sends the callers to another address, with their next lookups.
    ///
    /// # Errors
    /// When there is no connection.
    pub(super) async fn redirect(&self, address: SocketAddr) -> Result<(), DemoError> {
        let clients = self.thread.run(connect(address)).await?;
        self.shared.clients.store(Arc::new(clients));
        Ok(())
    }

    /// Has the callers take no lower rollout for fresh, from their next lookups on.
    pub(super) fn expect(&self, rollout: u64) {
        self.shared.target.store(rollout, Release);
    }

    /// When the callers began.
    pub(super) fn began(&self) -> Instant {
        self.shared.began
    }

    /// Takes the longest that their thread was late since this was called last.
    pub(super) fn take_late(&self) -> Duration {
        self.thread.take_late()
    }

    /// How many lookups ended so far, and how many of them failed.
    pub(super) fn count(&self) -> (usize, usize) {
        count(&self.shared.lock())
    }

    /// As [`count`](Self::count), since this was called last: the lookups are forgotten, so that
    /// they can go on for ever.
    pub(super) fn take_count(&self) -> (usize, usize) {
        let samples = std::mem::take(&mut *self.shared.lock());
        count(&samples)
    }

    /// Stops the callers, and waits for the lookups under way, at most a deadline and a pause.
    /// Returns all lookups.
    pub(super) async fn end(&self) -> Vec<LookupSample> {
        self.shared.is_over.store(true, Relaxed);
        self.callers.close();
        self.callers.wait().await;
        std::mem::take(&mut *self.shared.lock())
    }
}

fn count(samples: &[LookupSample]) -> (usize, usize) {
    let failed = samples
        .iter()
        .filter(|it| it.result == SampleResult::Failed);
    (samples.len(), failed.count())
}

impl LoadShared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<LookupSample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_project(&self) -> usize {
        self.next.fetch_add(1, Relaxed) % self.projects.len()
    }

    fn pause(&self) -> Duration {
        self.terms.pause.mul_f64(0.5 + fastrand::f64())
    }
}

async fn connect(address: SocketAddr) -> Result<Vec<LookupClient>, DemoError> {
    let connect = || async {
        let client = LookupClient::connect(format!("http://{address}")).await;
        client.map_err(|source| DemoError::Connect("what answers lookups", source))
    };
    futures_util::future::try_join_all((0..CONNECTIONS).map(|_| connect())).await
}

/// One caller.
async fn call(shared: Arc<LoadShared>, caller: usize) {
    sleep(shared.terms.pause.mul_f64(fastrand::f64())).await;
    let mut project = shared.next_project();
    while !shared.is_over.load(Relaxed) {
        let wait = match look_up(&shared, caller, project).await {
            Ok(()) => {
                project = shared.next_project();
                shared.pause()
            }
            Err(breath) => breath,
        };
        sleep(wait).await;
    }
}

/// Looks a project up; when that fails, says how long to wait before the next try.
async fn look_up(shared: &LoadShared, caller: usize, project: usize) -> Result<(), Duration> {
    // Before the client is taken: a new client in its place knows the target.
    let target = shared.target.load(Acquire);
    let clients = shared.clients.load_full();
    let mut client = clients[caller % clients.len()].clone();
    let (asked, deadline) = (Instant::now(), shared.terms.deadline);
    let name = &shared.projects[project];
    let answered = timeout(deadline, client.get_config(asking(name, deadline))).await;
    let took = asked.elapsed();
    let (result, breath) = match answered {
        Err(_) => (SampleResult::Failed, Duration::ZERO),
        Ok(Err(status)) => (SampleResult::Failed, breath(&status)),
        Ok(Ok(answer)) => match result(answer.get_ref(), name, target) {
            SampleResult::Failed => (SampleResult::Failed, BREATH),
            result @ (SampleResult::Fresh | SampleResult::Rendered | SampleResult::Outdated(_)) => {
                (result, Duration::ZERO)
            }
        },
    };
    let sample = LookupSample {
        at: shared.began.elapsed(),
        took,
        project,
        result,
    };
    shared.lock().push(sample);
    match result {
        SampleResult::Failed => Err(breath),
        SampleResult::Fresh | SampleResult::Rendered | SampleResult::Outdated(_) => Ok(()),
    }
}

fn asking(project: &str, deadline: Duration) -> Request<GetConfigRequest> {
    let mut request = Request::new(GetConfigRequest {
        project: project.to_owned(),
        ..GetConfigRequest::default()
    });
    request.set_timeout(deadline);
    request
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "two codes say that time is up"
)]
fn breath(status: &Status) -> Duration {
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => Duration::ZERO,
        _ => BREATH,
    }
}

/// An answer that is not what was asked for is none, and what it says of its freshness is not taken
/// on trust.
fn result(answer: &GetConfigResponse, project: &str, target: u64) -> SampleResult {
    let revision = answer.revision.as_ref();
    let Some(revision) = revision.filter(|it| it.project == project) else {
        return SampleResult::Failed;
    };
    if answer.payload.is_empty() {
        return SampleResult::Failed;
    }
    match answer.served() {
        Served::Fresh | Served::Rendered if revision.rollout < target => {
            SampleResult::Outdated(UNSAID)
        }
        Served::Fresh => SampleResult::Fresh,
        Served::Rendered => SampleResult::Rendered,
        Served::Outdated if answer.not_refreshed() == NotRefreshed::Unspecified => {
            SampleResult::Outdated(UNSAID)
        }
        Served::Outdated => {
            let reason = answer.not_refreshed().as_str_name();
            SampleResult::Outdated(reason.trim_start_matches("NOT_REFRESHED_"))
        }
        Served::Unspecified => SampleResult::Failed,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::proto::v1::Revision;

    fn answer() -> GetConfigResponse {
        GetConfigResponse {
            revision: Some(Revision {
                project: "ada".to_owned(),
                rollout: 1,
                ..Revision::default()
            }),
            payload: Bytes::from_static(b"{}"),
            served: Served::Outdated.into(),
            not_refreshed: NotRefreshed::Throttled.into(),
            ..GetConfigResponse::default()
        }
    }

    #[test]
    fn an_answer_that_is_empty_or_of_another_project_is_a_failure() {
        let throttled = SampleResult::Outdated("THROTTLED");
        assert_eq!(result(&answer(), "ada", 2), throttled);
        assert_eq!(result(&answer(), "bob", 2), SampleResult::Failed);
        let empty = GetConfigResponse {
            payload: Bytes::new(),
            ..answer()
        };
        assert_eq!(result(&empty, "ada", 2), SampleResult::Failed);
    }

    #[test]
    fn an_answer_of_an_older_rollout_is_outdated_whatever_it_calls_itself() {
        for (served, is) in [
            (Served::Fresh, SampleResult::Fresh),
            (Served::Rendered, SampleResult::Rendered),
        ] {
            let answer = GetConfigResponse {
                served: served.into(),
                ..answer()
            };
            assert_eq!(result(&answer, "ada", 1), is);
            assert_eq!(result(&answer, "ada", 2), SampleResult::Outdated(UNSAID));
        }
    }

    #[test]
    fn an_outdated_answer_without_a_reason_tells_nothing() {
        let answer = GetConfigResponse {
            not_refreshed: NotRefreshed::Unspecified.into(),
            ..answer()
        };
        assert_eq!(result(&answer, "ada", 2), SampleResult::Outdated(UNSAID));
    }

    #[tokio::test]
    async fn what_is_in_flight_at_the_end_is_counted() {
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let deadline = Duration::from_millis(300);
        let terms = StormTerms {
            callers: 4.try_into().unwrap(),
            pause: Duration::ZERO,
            deadline,
            ..StormTerms::default()
        };
        let address = mute.local_addr().unwrap();
        let load = Load::start(&terms, address, &["ada".to_owned()]).await;
        let load = load.unwrap();
        // Amid the second lookup of each caller.
        sleep(deadline.mul_f64(1.5)).await;
        let ends = load.began().elapsed();
        let samples = load.end().await;
        let in_flight = samples.iter().filter(|it| it.at > ends);
        assert_eq!(in_flight.count(), 4, "{samples:?}");
    }
}
