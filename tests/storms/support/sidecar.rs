//! One sidecar, in this process or as the real program, and a client of it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    process::{Child, Command},
    time::Duration,
};

use evenkeel::{
    app,
    proto::v1::{
        BatchGetConfigsRequest, GetConfigRequest, GetConfigResponse, WatchConfigRequest,
        WatchConfigResponse, config_result, config_service_client::ConfigServiceClient,
    },
    serve::listener::ListenAddress,
    settings::{self, Sources},
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    MetricsPage, StormRenderer,
    metrics::{http, scrape},
    settings::Settings,
    until,
};

/// How long a call may take before a test calls it hung.
pub(crate) const HUNG: Duration = Duration::from_secs(30);

pub(crate) type Client = ConfigServiceClient<Channel>;

/// A sidecar that is ready.
pub(crate) struct StormSidecar {
    settings: Settings,
    process: Process,
    lookup: SocketAddr,
    telemetry: SocketAddr,
    client: Client,
}

enum Process {
    Here(Box<app::Sidecar>),
    Program(Child),
}

impl StormSidecar {
    /// Starts one in this process, with settings other than those of [`Settings::new`] where
    /// `special` says so.
    pub(crate) async fn start(renderer: &StormRenderer, special: Value) -> Self {
        let settings = Settings::new(&renderer.url(), special);
        let sources = Sources {
            files: vec![settings.path()],
            ..Sources::default()
        };
        let loaded = settings::load(&sources).expect("the settings are fit");
        let sidecar = app::Sidecar::start(sources, loaded)
            .await
            .expect("the ports are free");
        let addresses = sidecar.addresses().clone();
        let (lookup, telemetry) = (tcp(&addresses.lookup[0]), tcp(&addresses.telemetry));
        Self::ready(
            settings,
            Process::Here(Box::new(sidecar)),
            lookup,
            telemetry,
        )
        .await
    }

    /// Starts the program.
    pub(crate) async fn start_program(renderer: &StormRenderer, special: Value) -> Self {
        let settings = Settings::new(&renderer.url(), special);
        let log = settings.folder().join("log");
        let program = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["serve", "--config"])
            .arg(settings.path())
            .stderr(File::create(&log).expect("the folder is ours"))
            .spawn()
            .expect("it is built");
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let address_in = |what: &str| {
            let said = said();
            let line = said.lines().find(|line| line.contains(what))?;
            line.split_once("address=")?.1.trim().parse().ok()
        };
        let has_started = async || address_in("metrics are served").is_some();
        until("the program listens", HUNG, has_started).await;
        let lookup = address_in("lookups are answered").expect("it is said before");
        let telemetry = address_in("metrics are served").expect("it is said");
        Self::ready(settings, Process::Program(program), lookup, telemetry).await
    }

    async fn ready(
        settings: Settings,
        process: Process,
        lookup: SocketAddr,
        telemetry: SocketAddr,
    ) -> Self {
        let is_ready = async || matches!(http(telemetry, "/readyz").await, Some((200, _)));
        until("the sidecar is ready", HUNG, is_ready).await;
        Self {
            settings,
            process,
            lookup,
            telemetry,
            client: connect(lookup).await,
        }
    }

    /// Where lookups are answered.
    pub(crate) fn address(&self) -> SocketAddr {
        self.lookup
    }

    /// Where probes, metrics and status are served.
    pub(crate) fn telemetry(&self) -> SocketAddr {
        self.telemetry
    }

    // Settings.

    /// Changes settings, and has them read at once.
    pub(crate) fn edit(&mut self, change: Value) {
        self.settings.edit(change);
        self.reload();
    }

    /// Replaces the settings file, and has it read at once.
    pub(crate) fn write_settings(&self, text: &str) {
        self.settings.write(text);
        self.reload();
    }

    fn reload(&self) {
        match &self.process {
            Process::Here(sidecar) => sidecar.reload()(),
            Process::Program(program) => {
                let hangup = format!("kill -HUP {}", program.id());
                let sent = Command::new("sh").args(["-c", &hangup]).status();
                assert!(sent.expect("there is a shell").success());
            }
        }
    }

    /// Puts limits in force: renders a second, burst and concurrency.
    pub(crate) async fn limit(&mut self, rate: f64, burst: u32, concurrency: u32) {
        let limits = json!({ "rate": rate, "burst": burst, "concurrency": concurrency });
        self.edit(json!({ "admission": limits }));
        let limit =
            |page: &MetricsPage, name: &str| page.sum("limit", &[&format!("setting=\"{name}\"")]);
        self.until("the limits are in force", HUNG, |page| {
            limit(page, "rate") == rate
                && limit(page, "burst") == f64::from(burst)
                && limit(page, "concurrency") == f64::from(concurrency)
        })
        .await;
    }

    /// Raises the target, and returns when the sidecar knows.
    pub(crate) async fn release(&mut self, rollout: u64) {
        self.edit(json!({ "rollout": rollout }));
        self.until("the release is known", HUNG, |page| {
            page.sum("target_rollout", &[]) == rollout as f64
        })
        .await;
    }

    // Metrics.

    /// What it says of itself.
    pub(crate) async fn metrics(&self) -> MetricsPage {
        scrape(self.telemetry).await
    }

    /// Waits until its metrics are like that, and tells how long that took.
    pub(crate) async fn until(
        &self,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&MetricsPage) -> bool,
    ) -> Duration {
        until(what, limit, async || is_so(&self.metrics().await)).await
    }

    /// Waits until this many lookups wait.
    pub(crate) async fn until_waiting(&self, lookups: usize) {
        let they_wait = |page: &MetricsPage| page.sum("lookups_waiting", &[]) == lookups as f64;
        self.until("they wait", HUNG, they_wait).await;
    }

    /// Waits until this many projects are held and all of them are fresh.
    pub(crate) async fn until_fresh(&self, projects: usize, limit: Duration) -> Duration {
        let all_are = |page: &MetricsPage| {
            page.sum("projects", &["state=\"fresh\""]) == projects as f64
                && page.sum("projects", &["state=\"outdated\""]) == 0.0
        };
        self.until("all projects are fresh", limit, all_are).await
    }

    // Lookups.

    /// Opens another connection.
    pub(crate) async fn connect(&self) -> Client {
        connect(self.lookup).await
    }

    /// A client that shares one connection.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Looks a project up.
    pub(crate) async fn get(&self, project: &str) -> Result<GetConfigResponse, Status> {
        self.ask(asking(project)).await
    }

    /// Makes a lookup.
    pub(crate) async fn ask(
        &self,
        request: tonic::Request<GetConfigRequest>,
    ) -> Result<GetConfigResponse, Status> {
        call(&mut self.client(), request).await
    }

    /// Looks many projects up at once; tells of each answer, and fails when one is not answered.
    pub(crate) async fn get_all(&self, projects: &[String]) -> Vec<GetConfigResponse> {
        let request = BatchGetConfigsRequest {
            projects: projects.to_vec(),
            patience: HUNG.try_into().ok(),
        };
        let response = self.client().batch_get_configs(request).await;
        let results = response.expect("a batch is answered").into_inner().results;
        let answers = results.into_iter().map(|it| match it.result {
            Some(config_result::Result::Answer(answer)) => Some(answer),
            Some(config_result::Result::Failure(_)) | None => None,
        });
        let answers: Option<Vec<_>> = answers.collect();
        answers.expect("each project is answered")
    }

    /// Has these projects held, fresh.
    pub(crate) async fn hold(&self, projects: &[String]) {
        self.get_all(projects).await;
        self.until_fresh(projects.len(), HUNG).await;
    }

    /// Watches a project.
    pub(crate) async fn watch(&self, project: &str) -> Streaming<WatchConfigResponse> {
        let request = WatchConfigRequest {
            project: project.to_owned(),
            known_digest: String::new(),
        };
        let watching = self.client().watch_config(request).await;
        watching.expect("a watch begins").into_inner()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Self::Program(program) = self {
            let ended = program.kill().and_then(|()| program.wait());
            drop(ended);
        }
    }
}

/// A lookup with nothing special about it.
pub(crate) fn asking(project: &str) -> tonic::Request<GetConfigRequest> {
    tonic::Request::new(GetConfigRequest {
        project: project.to_owned(),
        ..GetConfigRequest::default()
    })
}

/// A lookup that waits for this long.
pub(crate) fn waiting(project: &str, patience: Duration) -> tonic::Request<GetConfigRequest> {
    let mut request = asking(project);
    request.get_mut().patience = patience.try_into().ok();
    request
}

pub(crate) async fn call(
    client: &mut Client,
    request: tonic::Request<GetConfigRequest>,
) -> Result<GetConfigResponse, Status> {
    let answered = timeout(HUNG, client.get_config(request)).await;
    Ok(answered.expect("a lookup does not hang")?.into_inner())
}

async fn connect(address: SocketAddr) -> Client {
    let connected = ConfigServiceClient::connect(format!("http://{address}")).await;
    let client = connected.expect("the sidecar accepts connections");
    client.max_decoding_message_size(usize::MAX)
}

fn tcp(address: &ListenAddress) -> SocketAddr {
    let ListenAddress::Tcp(address) = address else {
        unreachable!("the settings name TCP addresses")
    };
    *address
}
