//! The one list of all metrics: what a scrape writes, how, and the table of `deploy/README.md`.

use std::fmt;

use prometheus_client::{encoding::MetricEncoder, metrics::MetricType};

use self::MetricKind::{Counter, Gauge, Histogram, Info};
use super::page::Scrape;

/// What every name of ours starts with.
const PREFIX: &str = "evenkeel";

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRow {
    /// The name as an operator types it: with prefix, unit and suffix.
    pub name: String,
    /// Its type.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub meaning: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// It counts by upper bound.
    Histogram,
    /// It is always 1; its labels say it.
    Info,
}

/// All metrics, in the order in which they are written.
pub fn table() -> Vec<MetricRow> {
    ALL.iter().map(Metric::row).collect()
}

/// A metric as its exposition needs it: the name without prefix and suffix.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: MetricKind,
    labels: &'static [&'static str],
    pub(super) meaning: &'static str,
    pub(super) write: Write,
}

/// Writes a metric's values.
type Write = fn(&Scrape, MetricEncoder<'_>) -> fmt::Result;

const fn metric(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    meaning: &'static str,
    write: Write,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        meaning,
        write,
    }
}

/// The list.
#[rustfmt::skip]
pub(super) const ALL: &[Metric] = &[
    metric("lookups", Counter, &["served", "reason"], "Lookups, by how they were served and why they were not fresh", Scrape::lookups),
    metric("lookup_duration_seconds", Histogram, &["served"], "Time from a request's headers to its answer", Scrape::lookup_durations),
    metric("renders", Counter, &["class", "result"], "Renders that ended; class is missing if nothing was held at their launch, else outdated", Scrape::renders),
    metric("render_duration_seconds", Histogram, &[], "Time from a render's launch to its end", Scrape::render_durations),
    metric("fetches", Counter, &["result"], "Fetches of stored revisions that ended", Scrape::fetches),
    metric("refusals", Counter, &["class", "gate"], "Refreshes that admission refused, by the gate that refused", Scrape::refusals),
    metric("gate_binding_seconds", Counter, &["gate"], "Time in which something was wanted, not in flight, and this gate was the first to stop it", Scrape::stopped),
    metric("renders_in_flight", Gauge, &[], "Renders in flight", |page, to| page.gauge(to, |now| now.in_flight as f64)),
    metric("oldest_render_seconds", Gauge, &[], "How long the oldest render has been in flight; 0 without one", |page, to| page.gauge(to, |now| now.oldest_render.as_secs_f64())),
    metric("bucket_tokens", Gauge, &[], "Renders that the token bucket would admit now; 0 while the rate is 0", |page, to| page.gauge(to, |now| now.bucket_level)),
    metric("limit", Gauge, &["setting"], "Limits in force: rate, burst, concurrency, queue, max_bytes, max_waiting, and if set fleet_rate and fleet_size", Scrape::limits),
    metric("rate_in_force", Gauge, &[], "Renders per second allowed now: the rate, less what pace, ramps and stops take away", |page, to| page.gauge(to, |now| now.rate_in_force)),
    metric("concurrency_in_force", Gauge, &["call"], "Renders and fetches allowed in flight now: the setting, or fewer if the renderer takes fewer", Scrape::concurrency_in_force),
    metric("breaker_open", Gauge, &[], "1 while no render starts because several projects failed in a row or the renderer refused the identity (UNAUTHENTICATED)", |page, to| page.gauge(to, |now| now.breaker_open.into())),
    metric("pushed_back", Gauge, &[], "1 while no render starts because the renderer pushed back", |page, to| page.gauge(to, |now| now.pushed_back.into())),
    metric("connected", Gauge, &[], "1 while the sidecar is connected to the renderer", |page, to| page.gauge(to, |now| now.connected.into())),
    metric("target_rollout", Gauge, &[], "The target: the lowest rollout that is fresh", |page, to| page.gauge(to, |now| now.target_rollout as f64)),
    metric("target_raised_timestamp_seconds", Gauge, &[], "Unix time at which the target was last raised; absent before the first time", |page, to| page.gauge_if_any(to, |now| now.target_raised_at)),
    metric("projects", Gauge, &["state"], "Held projects, fresh and outdated", Scrape::projects),
    metric("projects_wanted", Gauge, &["class"], "Projects that wait for a refresh: missing (nothing is held) or outdated", Scrape::wanted),
    metric("projects_failing", Gauge, &[], "Projects whose last render failed, was rejected or was older than asked for", |page, to| page.gauge(to, |now| now.projects_failing as f64)),
    metric("projects_unconfirmed", Gauge, &[], "Projects looked up that wait for a fetch to confirm that no change was missed", |page, to| page.gauge(to, |now| now.projects_unconfirmed as f64)),
    metric("oldest_outdated_seconds", Gauge, &[], "How long the held project that is outdated for longest has been outdated", |page, to| page.gauge(to, |now| now.oldest_outdated.as_secs_f64())),
    metric("held_bytes", Gauge, &[], "Bytes of memory taken by held revisions", |page, to| page.gauge(to, |now| now.held_bytes as f64)),
    metric("evictions", Counter, &[], "Projects evicted from the full cache", Scrape::evictions),
    metric("evicted_wanted", Counter, &[], "Projects evicted from the full cache while wanted", Scrape::evicted_wanted),
    metric("lookups_waiting", Gauge, &[], "Lookups that wait for a refresh", |page, to| page.gauge(to, |now| now.waiting as f64)),
    metric("watchers", Gauge, &[], "Open watches", |page, to| page.gauge(to, |now| now.watchers as f64)),
    metric("unread_bytes", Gauge, &[], "Payload bytes that unread answers of watches and batches keep in memory", |page, to| page.gauge(to, |now| now.unread_bytes as f64)),
    metric("unread_ended", Counter, &[], "Watches and batches that were ended because their client read nothing for 30 s while others waited for memory", Scrape::unread_ended),
    metric("lookup_connections", Gauge, &[], "Open connections to the lookup listeners", |page, to| page.gauge(to, |now| now.lookup_connections as f64)),
    metric("accept_errors", Counter, &["listener"], "Connections that could not be accepted, mostly for lack of file descriptors", Scrape::accept_errors),
    metric("ready", Gauge, &[], "1 while lookups can be answered", |page, to| page.gauge(to, |now| now.ready.into())),
    metric("degraded", Gauge, &[], "1 while the renderer cannot be used: not connected, breaker open or pushed back", |page, to| page.gauge(to, |now| now.degraded.into())),
    metric("changes_up", Gauge, &[], "1 while the stream of changed inputs is up; 0 also if the renderer offers none", |page, to| page.gauge(to, |now| now.changes_up.into())),
    metric("settings", Info, &["hash"], "The hash of the settings in force", Scrape::settings),
    metric("settings_valid", Gauge, &[], "0 while a settings file is bad and the settings before it stay in force", |page, to| page.gauge(to, |now| now.settings_valid.into())),
    metric("settings_pending", Gauge, &[], "Fields that changed in the settings files and apply at the next start", |page, to| page.gauge(to, |now| now.settings_pending as f64)),
    metric("log_lines_dropped", Counter, &[], "Log lines that were lost because the log was not read fast enough", Scrape::log_lines_dropped),
    metric("fleet_mode", Gauge, &["mode"], "1 for the mode of a sidecar with a `store.url`: joined, lost (the store does not answer; nothing is rendered for 4.5 s) or apart (it renders its part of the rate alone)", Scrape::fleet_mode),
    metric("fleet_sidecars", Gauge, &["state"], "Sidecars of the fleet as the store last told: present, and absent ones that keep their part of the rate", Scrape::fleet_sidecars),
    metric("fleet_rate", Gauge, &["which"], "Renders per second of the whole fleet as the store last told: told by the settings, and in force", Scrape::fleet_rate),
    metric("store_calls", Counter, &["call", "result"], "Calls of the fleet's store", Scrape::store_calls),
    metric("leases", Counter, &["result"], "Leases of renders that were asked of the fleet's store; void were given up because nothing was free for the render", Scrape::leases),
    metric("pulls", Counter, &["result"], "Values of other sidecars that were read from the fleet's store", Scrape::pulls),
    metric("published", Counter, &["result"], "Values that were published in the fleet's store; validated and older are renders that another sidecar had made too", Scrape::published),
    #[cfg(feature = "otlp")]
    metric("spans", Counter, &["result"], "Spans of sampled renders and fetches: exported to the collector, or dropped because it did not take them", Scrape::spans),
    metric("disk_up", Gauge, &[], "1 while what is held can be written to disk; this and the others of the disk are absent without disk.dir", |page, to| page.disk(to, |disk| disk.is_up.into())),
    metric("disk_bytes", Gauge, &[], "Bytes that the file on disk takes, with its log of writes", |page, to| page.disk(to, |disk| disk.bytes as f64)),
    metric("disk_limit_bytes", Gauge, &[], "Bytes that it may take", |page, to| page.disk(to, |disk| disk.max_bytes as f64)),
    metric("disk_projects", Gauge, &[], "Projects that it has", |page, to| page.disk(to, |disk| disk.projects as f64)),
    metric("disk_pending", Gauge, &[], "Projects that wait to be written", |page, to| page.disk(to, |disk| disk.pending as f64)),
    metric("disk_lag_seconds", Gauge, &[], "How long the oldest change has not been durable", |page, to| page.disk(to, |disk| disk.lag.as_secs_f64())),
    metric("disk_written", Counter, &[], "Rows written, which survive the process", |page, to| page.of_disk(to, |disk| disk.written)),
    metric("disk_durable", Counter, &[], "Rows made durable, which survive a power loss", |page, to| page.of_disk(to, |disk| disk.durable)),
    metric("disk_skipped", Counter, &[], "Changes that were not written: too large, no room, or evicted before their turn", |page, to| page.of_disk(to, |disk| disk.skipped)),
    metric("disk_lost_records", Counter, &[], "Rows that could not be believed or read after the start", |page, to| page.of_disk(to, |disk| disk.lost)),
    metric("disk_errors", Counter, &["kind"], "Errors of the disk: read, write, sync, or full", Scrape::disk_errors),
    metric("recalled_projects", Counter, &[], "Projects that came back from disk after the start", |page, to| page.of_disk(to, |disk| disk.recalled)),
    metric("recall_seconds", Gauge, &[], "How long it took until they were in memory; 0 before", |page, to| page.disk(to, |disk| disk.recall.as_secs_f64())),
    metric("build", Info, &["version"], "The version of the program", Scrape::build),
    metric("process_cpu_seconds", Counter, &[], "CPU seconds that the process has used", Scrape::cpu_seconds),
    metric("process_resident_memory_bytes", Gauge, &[], "Bytes of resident memory of the process", |page, to| page.gauge(to, |now| now.process.resident_bytes as f64)),
    metric("process_open_fds", Gauge, &[], "Open file descriptors", |page, to| page.gauge(to, |now| now.process.open_descriptors as f64)),
    metric("process_max_fds", Gauge, &[], "Limit of open file descriptors", |page, to| page.gauge(to, |now| now.process.max_descriptors as f64)),
    metric("process_start_time_seconds", Gauge, &[], "Unix time at which the process started", |page, to| page.gauge(to, |now| now.process.started_at)),
];

impl MetricKind {
    /// The type's name, as the exposition has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    pub(super) const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}

impl Metric {
    /// The name of the family, with the prefix. What is of the process has none, by convention.
    pub(super) fn family(&self) -> String {
        if self.name.starts_with("process_") {
            self.name.to_owned()
        } else {
            format!("{PREFIX}_{}", self.name)
        }
    }

    /// The name of its samples.
    pub(super) fn sample(&self) -> String {
        let suffix = match self.kind {
            Counter => "_total",
            Info => "_info",
            Gauge | Histogram => "",
        };
        self.family() + suffix
    }

    fn row(&self) -> MetricRow {
        MetricRow {
            name: self.sample(),
            kind: self.kind,
            labels: self.labels,
            meaning: self.meaning,
        }
    }
}
