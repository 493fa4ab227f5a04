//! A whole sidecar: the only place that names every concrete type, wires them, and takes them down
//! again.
//!
//! It decides nothing. What it starts runs until [`Sidecar::run`] has drained it; two sidecars can
//! run in one process.

mod disk;
mod fleet;
mod follow;
mod hot;
mod page;
mod process;
mod recording;
mod repair;
mod spans;
mod status;
mod values;

use std::{
    io,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::repair::repaired;
use self::{
    disk::{DiskEnd, KeptState},
    process::ProcessMeter,
    spans::{SpanSender, SpanSink},
    status::StatusHistory,
};
use crate::{
    admission::Stops,
    cache::Cache,
    descriptors::ConnectionShares,
    drain::{self, Drain, DrainEnd},
    freshness::Freshness,
    log::DroppedLines,
    lookup::Lookup,
    metrics::{Metrics, Role},
    moment::Clock,
    operate::Operate,
    readiness::{Block, Readiness},
    record::{RecordFile, Recording},
    refresh::{self, Refresh},
    serve::{
        self, Accepting, Admin, Calls, Configs, Connections, RoleState, ThreadFailed, Threads,
        Unread,
        health::Health,
        listener::{Access, BindError, ListenAddress, Listener},
    },
    settings::{
        Loaded, Settings, Sources,
        reload::{InForce, Reloader},
    },
    upstream::{self, ChangesUp, Upstream},
    valkey::Valkey,
};

/// Connections are closed once no lookup connection has been open for this long.
const IDLE: Duration = Duration::from_secs(1);

/// Calls that one connection of an operator may have open at once.
const OPERATORS_STREAMS: NonZeroU32 = NonZeroU32::new(100).expect("BUG: 100 is not 0");

/// How many times as many calls all connections may have open as one.
const CALLS_OF_ALL: NonZeroUsize = NonZeroUsize::new(2).expect("BUG: 2 is not 0");

/// How long the end of the process may wait for the end of a record.
const LAST: Duration = Duration::from_secs(1);

/// Why a sidecar cannot start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A thread that serves lookups cannot start.
    #[error("cannot serve lookups")]
    Lookup(#[source] io::Error),
    /// A thread that serves lookups failed.
    #[error(transparent)]
    Thread(#[from] ThreadFailed),
    /// A listener for operators failed.
    #[error("cannot serve operators")]
    Operators(#[source] io::Error),
    /// There can be no thread for the disk.
    #[error("cannot keep what is held in `disk.dir`")]
    Disk(#[source] io::Error),
    /// Spans cannot be sent.
    #[cfg(feature = "otlp")]
    #[error("cannot send spans to `otlp.endpoint`")]
    Spans(#[from] crate::otlp::ExportError),
    /// No thread can be started that records.
    #[error("cannot record")]
    Record(#[source] io::Error),
    /// One of its tasks panicked.
    #[error("a task failed")]
    Task(#[from] JoinError),
}

/// A running sidecar. Dropping it closes its listeners and, a second later, their connections.
#[derive(Debug)]
pub struct Sidecar {
    core: Arc<SidecarCore>,
    addresses: Addresses,
    threads: Threads,
    telemetry: Threads,
    /// The listener for operators; it does not end by itself.
    operators: JoinSet<io::Result<()>>,
    _followers: JoinSet<()>,
    reloader: Arc<Reloader>,
    export: SpanSender,
    disk: DiskEnd,
    recording: Option<Recording>,
    drain_grace: Duration,
    _closing: DropGuard,
    _gone: DropGuard,
}

/// Where a sidecar listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For lookups.
    pub lookup: Vec<ListenAddress>,
    /// For operators, if anywhere.
    pub admin: Option<ListenAddress>,
    /// For probes and metrics.
    pub telemetry: ListenAddress,
}

/// What the parts of a sidecar share.
#[derive(Debug)]
struct SidecarCore {
    freshness: Arc<Freshness>,
    /// The fleet that shares a budget, if there is one.
    fleet: Option<Valkey>,
    refresh: Refresh,
    lookup: Lookup,
    operate: Operate,
    kept: KeptState,
    metrics: Metrics,
    readiness: Readiness,
    health: Health,
    connections: Connections,
    unread: Unread,
    shares: ConnectionShares,
    accepting: Accepting,
    closing: CancellationToken,
    /// Is cancelled when the sidecar is dropped: probes are answered until then.
    gone: CancellationToken,
    /// Keeps the sidecar unready once it drains.
    draining: OnceLock<Block>,
    is_connected: watch::Sender<bool>,
    changes_up: ChangesUp,
    stops: watch::Receiver<Stops>,
    settings: watch::Receiver<Arc<InForce>>,
    process: ProcessMeter,
    history: StatusHistory,
    /// What counts the lines that the log of the process loses, once that is said.
    log_dropped: OnceLock<DroppedLines>,
    spans: SpanSink,
    /// Unix time of the start of the clock, in seconds.
    started_at: f64,
}

impl Sidecar {
    /// Starts a sidecar with settings that were loaded from `sources`, which it goes on reading.
    /// What is not a lookup runs on the current runtime.
    ///
    /// # Errors
    /// When an address cannot be listened on, or spans cannot be sent, whatever the collector does.
    pub async fn start(sources: Sources, loaded: Loaded) -> Result<Self, SidecarError> {
        Self::start_recording(sources, loaded, None).await
    }

    /// Starts a sidecar as [`Sidecar::start`] does, which writes a record if it has a file for one.
    ///
    /// # Errors
    /// As [`Sidecar::start`], or when no thread can be started that records.
    pub async fn start_recording(
        sources: Sources,
        loaded: Loaded,
        record: Option<RecordFile>,
    ) -> Result<Self, SidecarError> {
        let settings = loaded.settings.clone();
        let (spans, export) = spans::start(&settings)?;
        let upstream = Upstream::start(upstream_options(&settings));
        let (reloader, in_force) = Reloader::start(sources, loaded);
        let clock = Clock::with_past(crate::disk::PAST);
        let (kept, disk) = disk::open(&settings, clock).await?;
        let (core, cache, recording) = SidecarCore::new(
            &settings,
            clock,
            upstream.clone(),
            in_force,
            spans,
            kept,
            record,
        )
        .await?;
        let core = Arc::new(core);
        disk.serve(cache, Arc::clone(&core.freshness));

        let listening = core.readiness.block("listeners");
        let contact = disk::policy(&core, &settings);
        let mut operators = JoinSet::new();
        let telemetry = ListenAddress::Tcp(settings.telemetry.listen);
        let (telemetry, telemetry_threads) = core.serve_telemetry(&telemetry)?;
        let admin = settings.admin.listen.as_ref().map(values::address);
        let admin = admin
            .map(|admin| core.serve_admin(&admin, &mut operators))
            .transpose()?;
        let (lookup, threads) = core.serve_lookups(&settings)?;
        drop(listening);

        let mut followers = JoinSet::new();
        followers.spawn(follow::connection(
            Arc::clone(&core),
            upstream.connection_state(),
            contact,
            settings.start.grace,
        ));
        followers.spawn(follow::degraded(Arc::clone(&core)));
        followers.spawn(follow::changes(Arc::clone(&core), upstream.changes()));
        followers.spawn(hot::follow(Arc::clone(&core)));
        followers.spawn(status::follow(Arc::clone(&core)));
        followers.spawn(follow::readiness(Arc::clone(&core)));
        Ok(Self {
            _closing: core.closing.clone().drop_guard(),
            _gone: core.gone.clone().drop_guard(),
            core,
            addresses: Addresses {
                lookup,
                admin,
                telemetry,
            },
            threads,
            telemetry: telemetry_threads,
            operators,
            _followers: followers,
            reloader: Arc::new(reloader),
            export,
            disk,
            recording,
            drain_grace: settings.drain.grace,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The settings in force, as they change.
    pub fn settings(&self) -> watch::Receiver<Arc<InForce>> {
        self.core.settings.clone()
    }

    /// Its lookups, without a way through the transport.
    pub fn lookup(&self) -> &Lookup {
        &self.core.lookup
    }

    /// What it holds, wants and is limited by now.
    pub fn snapshot(&self) -> refresh::Snapshot {
        self.core.refresh.snapshot()
    }

    /// Has its metrics show how many lines the log of the process loses.
    pub fn show_dropped_lines(&self, dropped: DroppedLines) {
        // The first one counts the same as any other: a process has one log.
        let _ = self.core.log_dropped.set(dropped);
    }

    /// Waits until a lookup can be answered.
    pub async fn ready(&self) {
        self.core.readiness.until_ready().await;
    }

    /// What has the settings read at once when it is called, for as long as the sidecar runs.
    pub fn reload(&self) -> impl Fn() + Send + use<> {
        let reloader = Arc::downgrade(&self.reloader);
        move || {
            if let Some(reloader) = reloader.upgrade() {
                reloader.read_now();
            }
        }
    }

    /// Runs until `stop`, then drains, unless `again` comes before that is done.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        again: impl Future<Output = ()>,
    ) -> Result<DrainEnd, SidecarError> {
        tokio::select! {
            () = stop => {}
            ended = self.threads.ended() => {
                ended?;
                return Err(SidecarError::Operators(ended_early()));
            }
            ended = self.telemetry.ended() => {
                ended?;
                return Err(SidecarError::Operators(ended_early()));
            }
            Some(failed) = self.operators.join_next() => {
                return Err(SidecarError::Operators(failed?.err().unwrap_or_else(ended_early)));
            }
        }
        let ended = drain::drain(&self, self.drain_grace, again).await;
        if let Some(fleet) = &self.core.fleet {
            fleet.leave().await;
        }
        if ended == DrainEnd::Drained {
            self.export.end().await;
            self.disk.end().await;
            if let Some(recording) = self.recording {
                recording.end(LAST).await;
            }
        }
        Ok(ended)
    }
}

fn new_lookup(
    settings: &Settings,
    clock: Clock,
    cache: &Arc<Cache>,
    freshness: &Arc<Freshness>,
    refresh: &Refresh,
) -> Lookup {
    let (cache, freshness) = (Arc::clone(cache), Arc::clone(freshness));
    let limits = values::lookup(settings);
    Lookup::new(clock, cache, freshness, refresh.clone(), limits)
}

fn ended_early() -> io::Error {
    io::Error::other("it ended by itself")
}

impl SidecarCore {
    async fn new(
        settings: &Settings,
        clock: Clock,
        upstream: Upstream,
        in_force: watch::Receiver<Arc<InForce>>,
        spans: SpanSink,
        kept: KeptState,
        record: Option<RecordFile>,
    ) -> Result<(Self, Arc<Cache>, Option<Recording>), SidecarError> {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let started_at = unix.unwrap_or_default().as_secs_f64();
        let metrics = Metrics::new();
        let (shares, accepting) = (
            ConnectionShares::in_force(),
            Accepting::new(metrics.clone()),
        );
        let cache = Cache::new(values::bytes(settings.cache.max_bytes));
        let (cache, freshness) = kept.restored(cache, settings, clock);
        let changes_up = upstream.changes_up();
        let observe = spans.observer(&metrics);
        let (observe, recording) = recording::start(record, settings, clock, observe)?;
        let (sender, events) = fleet::channel(settings);
        let parts = refresh::Parts {
            cache: Arc::clone(&cache),
            freshness: Arc::clone(&freshness),
            render: Arc::new(upstream.clone()),
            stored: Arc::new(upstream),
            observe,
            fleet: sender,
        };
        let refresh = Refresh::new(
            clock,
            refresh_options(settings),
            values::admission(settings, settings.admission.rate()),
            parts,
        );
        kept.take_effect(&refresh);
        let mut lookup = new_lookup(settings, clock, &cache, &freshness, &refresh);
        if recording.is_some() {
            lookup = lookup.counted();
        }
        let lookup = kept.recalled_by(lookup);
        let operate = Operate::new(
            clock,
            Arc::clone(&cache),
            Arc::clone(&freshness),
            refresh.clone(),
        );
        let core = Self {
            stops: refresh.stops(),
            freshness,
            fleet: events.and_then(|events| fleet::start(settings, &refresh, events)),
            refresh,
            lookup,
            operate,
            metrics,
            readiness: Readiness::new(),
            health: Health::new().await,
            connections: Connections::at_most(shares.lookup),
            unread: Unread::at_most(values::bytes(settings.lookup.max_unread)),
            shares,
            accepting,
            closing: CancellationToken::new(),
            gone: CancellationToken::new(),
            draining: OnceLock::new(),
            is_connected: watch::Sender::new(false),
            changes_up,
            settings: in_force,
            process: ProcessMeter::start(),
            history: StatusHistory::new(),
            log_dropped: OnceLock::new(),
            spans,
            kept,
            started_at,
        };
        Ok((core, cache, recording))
    }

    fn serve_lookups(
        &self,
        settings: &Settings,
    ) -> Result<(Vec<ListenAddress>, Threads), SidecarError> {
        let addresses = settings.lookup.listen.iter().map(values::address);
        let listeners = Listener::bind_all(addresses, Access::Everyone)?;
        let role_state = RoleState {
            connections: self.connections.clone(),
            closing: self.closing.clone(),
            accepting: self.accepting.of(Role::Lookup),
            max_streams: settings.lookup.max_streams,
            calls: calls(settings.lookup.max_streams),
        };
        let lookups = || {
            let metrics = self.metrics.for_thread();
            let configs = Configs::new(
                self.lookup.clone(),
                metrics,
                self.unread.clone(),
                self.closing.clone(),
            );
            serve::lookup_listeners::service(configs, &self.health, &role_state)
        };
        let threads = serve::lookup_listeners::start(
            settings.lookup.threads,
            &listeners,
            lookups,
            &role_state,
        );
        let bound = listeners
            .iter()
            .map(|listener| listener.address().clone())
            .collect();
        Ok((bound, threads.map_err(SidecarError::Lookup)?))
    }

    fn serve_admin(
        &self,
        address: &ListenAddress,
        tasks: &mut JoinSet<io::Result<()>>,
    ) -> Result<ListenAddress, SidecarError> {
        let listener = Listener::bind(address, Access::Owner)?;
        let bound = listener.address().clone();
        let health = self.health.clone();
        let admin = Some(Admin::new(self.operate.clone()));
        let role_state = RoleState {
            connections: Connections::at_most(self.shares.admin),
            closing: self.closing.clone(),
            accepting: self.accepting.of(Role::Admin),
            max_streams: OPERATORS_STREAMS,
            calls: calls(OPERATORS_STREAMS),
        };
        tasks.spawn(async move { serve::admin::serve(listener, admin, &health, role_state).await });
        Ok(bound)
    }

    fn serve_telemetry(
        self: &Arc<Self>,
        address: &ListenAddress,
    ) -> Result<(ListenAddress, Threads), SidecarError> {
        let listener = Listener::bind(address, Access::Everyone)?;
        let bound = listener.address().clone();
        let (core, of_status) = (Arc::clone(self), Arc::clone(self));
        let readiness = self.readiness.clone();
        let routes = serve::telemetry::routes(
            move |exposition| core.page(exposition),
            move || readiness.pending(),
            move |form| status::written(&of_status.status(), form),
        );
        let role_state = RoleState {
            connections: Connections::at_most(self.shares.telemetry),
            closing: self.gone.clone(),
            accepting: self.accepting.of(Role::Telemetry),
            max_streams: OPERATORS_STREAMS,
            calls: calls(OPERATORS_STREAMS),
        };
        let threads = serve::telemetry::start(listener, routes, role_state);
        Ok((bound, threads.map_err(SidecarError::Operators)?))
    }

    /// Whether the renderer cannot be used: there is no connection, or the breaker or its pushback
    /// stops every render.
    fn is_degraded(&self) -> bool {
        !*self.is_connected.borrow() || *self.stops.borrow() != Stops::default()
    }
}

impl Drain for Sidecar {
    fn unready(&self) {
        let block = self.core.readiness.block("draining");
        // A second drain would find the first one's block in place.
        let _ = self.core.draining.set(block);
    }

    fn close_admission(&self) {
        self.core.refresh.drain();
    }

    async fn idle(&self) {
        self.core.connections.idle(IDLE).await;
    }

    async fn close_lookups(&self) {
        self.core.health.close().await;
        self.core.closing.cancel();
        if let Err(error) = self.threads.ended().await {
            tracing::warn!(%error, "serving lookups failed");
        }
    }

    async fn landed(&self) {
        self.core.refresh.landed().await;
    }
}

/// The bound of all connections together, by how many calls one may have open.
fn calls(of_one: NonZeroU32) -> Calls {
    let of_one = NonZeroUsize::try_from(of_one).unwrap_or(NonZeroUsize::MAX);
    Calls::at_most(of_one.saturating_mul(CALLS_OF_ALL))
}

fn refresh_options(settings: &Settings) -> refresh::RefreshOptions {
    refresh::RefreshOptions {
        deadline: settings.upstream.deadline,
        fetch_deadline: settings.upstream.fetch.deadline,
        max_payload: values::bytes(settings.upstream.max_payload),
        seed: fastrand::u64(..),
    }
}

fn upstream_options(settings: &Settings) -> upstream::UpstreamOptions {
    upstream::UpstreamOptions {
        url: settings.upstream.url.clone(),
        component: settings.component.clone(),
        connect_timeout: settings.upstream.connect_timeout,
        max_payload: values::bytes(settings.upstream.max_payload),
        seed: fastrand::u64(..),
    }
}
