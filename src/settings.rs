//! The settings of a sidecar: what they are named, what they default to, which of them are hot, and
//! how they are read.
//!
//! They come in layers, flag over environment over file over default, are read strictly, and every
//! problem is reported at once. The sections below are the one list of all fields: struct, names,
//! defaults, JSON Schema and the table of `deploy/README.md` follow from it. This room knows
//! nothing of those it configures: they are handed plain values.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    time::Duration,
};

use http::Uri;

mod address;
mod choice;
mod document;
mod environment;
mod flags;
mod folder;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod layers;
mod load;
mod problem;
mod reading;
pub mod reload;
mod repair;
mod schema;
mod section;
mod setting;
mod shown;
#[cfg(test)]
mod tests;

pub use self::{
    address::{Listen, StoreAddress},
    choice::{LogFormat, LogLevel, StartPolicy},
    flags::Flags,
    folder::KeptFolder,
    load::{Flag, Loaded, Pinned, Sources, load},
    problem::{Invalid, Problem, ValueOrigin},
    reading::Hash,
    repair::Repair,
    schema::{markdown_table, schema},
    section::Field,
    setting::{JsonType, Size},
    shown::{in_one_line, shown},
};
use self::{layers::Layers, section::section};

section! {
    /// All settings of a sidecar.
    Settings("") {
        /// The generation of the software to render with; raising it makes everything outdated.
        rollout: NonZeroU64 = "1" hot;
        /// The component whose configurations are looked up, as the renderer knows it.
        component: String = "identity";
    } with {
        /// The calls to the renderer.
        upstream: Upstream,
        /// The lookups of the pod.
        lookup: Lookup,
        /// How many renders are let through.
        admission: Admission,
        /// What is held in memory.
        cache: Cache,
        /// What is held, on disk.
        disk: Disk,
        /// The listener for operators.
        admin: Admin,
        /// The listener for probes and metrics.
        telemetry: Telemetry,
        /// The start of the process.
        start: Start,
        /// The end of the process.
        drain: Drain,
        /// The store by which a fleet shares one budget.
        store: Store,
        /// What is logged.
        log: Log,
        /// The collector of traces.
        otlp: Otlp if "otlp",
    }
}

section! {
    /// The calls to the renderer.
    Upstream("upstream.") {
        /// The address of the renderer.
        url: Uri = "http://127.0.0.1:7070";
        /// How long a render may run.
        deadline: Duration = "30s" ["10ms" to "1h"];
        /// How long the renderer may take to accept a connection.
        connect_timeout: Duration = "1s" ["1ms" to "1m"];
        /// The largest payload that is accepted from the renderer.
        max_payload: Size = "16MiB" ["1KiB" to "1GiB"];
    } with {
        /// Fetches of stored revisions, which cost no render.
        fetch: Fetch,
    }
}

section! {
    /// Fetches of stored revisions, which cost no render.
    Fetch("upstream.fetch.") {
        /// Fetches per second; 0 = none.
        rate: f64 = "50" ["0" to "1000000"];
        /// Fetches at once.
        concurrency: NonZeroU32 = "16" ["1" to "10000"];
        /// How long a fetch may take.
        deadline: Duration = "1s" ["10ms" to "1h"];
    }
}

section! {
    /// The lookups of the pod.
    Lookup("lookup.") {
        /// Where lookups are answered: loopback addresses and Unix sockets; at least one must be
        /// available.
        listen: Vec<Listen> = "127.0.0.1:7400,[::1]:7400";
        /// How many threads answer lookups.
        threads: NonZeroUsize = "1" ["1" to "64"];
        /// How long a lookup waits for a refresh if an outdated revision is held and the caller
        /// does not say.
        patience: Duration = "50ms" ["0s" to "5m"] hot;
        /// How long a lookup waits if nothing is held and the caller does not say.
        cold_patience: Duration = "2s" ["0s" to "5m"] hot;
        /// The longest that a lookup waits, even if its caller asks for more.
        max_patience: Duration = "30s" ["0s" to "5m"] hot;
        /// The age at which a revision becomes outdated by itself (± 10 %); null = never.
        max_age: Option<Duration> = "null" ["1s" to "365d"] hot;
        /// How many lookups may wait at once; more are answered from memory or refused.
        max_waiting: u32 = "4096" ["0" to "1000000"] hot;
        /// How many calls, including watches, one connection may have open; all connections
        /// together twice as many.
        max_streams: NonZeroU32 = "2000" ["1" to "100000"];
        /// How many payload bytes unread answers of watches and batches may keep in memory
        /// together; those that do not fit wait.
        max_unread: Size = "64MiB" ["1MiB" to "1TiB"] hot;
    }
}

section! {
    /// How many renders are let through.
    Admission("admission.") {
        /// Renders per second of this sidecar; may be below 1; 0 = none.
        rate: f64 = "5" ["0" to "1000000"] hot;
        /// Replaces `rate`: renders per second of the whole fleet, of which this sidecar takes 1 /
        /// `fleet_size`.
        fleet_rate: Option<f64> = "null" ["0" to "1000000000"] hot;
        /// How many sidecars the fleet has; beside `rate` it only shows the product of the two.
        fleet_size: Option<NonZeroU32> = "null" ["1" to "1000000"] hot;
        /// Renders that may start at once after a quiet time.
        burst: NonZeroU32 = "10" ["1" to "1000000"] hot;
        /// Renders that may run at once.
        concurrency: NonZeroU32 = "4" ["1" to "10000"] hot;
        /// Projects without a held revision that may wait for a render.
        queue: NonZeroU32 = "512" ["1" to "1000000"] hot;
        /// A raised rollout is picked up after a part of this time, which the host name decides; 0s
        /// = at once.
        splay: Duration = "0s" ["0s" to "1h"] hot;
    }
}

impl Admission {
    /// Renders per second of this sidecar: its own rate, or its share of the fleet's.
    pub fn rate(&self) -> f64 {
        match (self.fleet_rate, self.fleet_size) {
            (Some(fleet_rate), Some(fleet_size)) => fleet_rate / f64::from(fleet_size.get()),
            _ => self.rate,
        }
    }

    /// Renders per second of the whole fleet, when its size is known.
    pub fn fleet_rate(&self) -> Option<f64> {
        let fleet_size = f64::from(self.fleet_size?.get());
        Some(self.fleet_rate.unwrap_or(self.rate * fleet_size))
    }
}

section! {
    /// What is held in memory.
    Cache("cache.") {
        /// The memory for held payloads and what belongs to them.
        max_bytes: Size = "256MiB" ["1KiB" to "1TiB"];
    }
}

section! {
    /// What is held, on disk, so that it survives a restart.
    Disk("disk.") {
        /// The folder that keeps what is held over a restart of the sidecar; null = nothing is
        /// kept.
        dir: Option<KeptFolder> = "null";
        /// The environment of the renderer: what was held in another one is not served in this.
        realm: String = "default";
        /// What the folder may take, at most; twice `cache.max_bytes` is enough.
        max_bytes: Size = "512MiB" ["16MiB" to "1TiB"];
        /// How long a power loss may undo what was written.
        sync: Duration = "1s" ["50ms" to "1m"];
        /// What the renderer last vouched for longer ago than this is not served after a restart.
        max_age: Duration = "30d" ["1m" to "10y"];
    }
}

section! {
    /// The listener for operators.
    Admin("admin.") {
        /// Where operators connect: a Unix socket that the application cannot reach, or a loopback
        /// address; empty = off.
        listen: Option<Listen> = "";
    }
}

section! {
    /// The listener for probes and metrics.
    Telemetry("telemetry.") {
        /// Where `/metrics`, `/livez` and `/readyz` are served; `[::]` includes IPv4, and falls
        /// back to IPv4 where there is no IPv6.
        listen: SocketAddr = "[::]:7402";
    }
}

section! {
    /// The start of the process.
    Start("start.") {
        /// How long the pod stays unready, at most, before the renderer has been reached.
        grace: Duration = "3s" ["0s" to "10m"];
        /// What the pod waits for where `disk.dir` has something: nothing (recalled), the renderer
        /// (contact), or until memory has all of it (warm).
        policy: StartPolicy = "recalled";
    }
}

section! {
    /// The end of the process.
    Drain("drain.") {
        /// How long lookups are still answered, at most, after the signal to stop.
        grace: Duration = "10s" ["0s" to "1h"];
    }
}

section! {
    /// The store by which a fleet shares one budget, and what it renders.
    Store("store.") {
        /// The Valkey (7.2 or later) or Redis (7.0 or later) by which the sidecars of a fleet share
        /// `admission.fleet_rate` and what they render; null = none.
        url: Option<StoreAddress> = "null";
        /// Which sidecars share: those with the same namespace and component.
        namespace: String = "default";
        /// As whom to log in; null = the server's default user.
        username: Option<String> = "null";
        /// The file that has the password, read at each dial; null = none.
        password_file: Option<String> = "null";
        /// How long a call of the store may take.
        timeout: Duration = "100ms" ["1ms" to "200ms"];
        /// How long a value stays in the store that is not renewed.
        ttl: Duration = "7d" ["1m" to "365d"];
        /// How long a sidecar that fell silent keeps its part of the rate: it may be rendering
        /// alone.
        forget: Duration = "10m" ["5s" to "1d"];
    }
}

section! {
    /// What is logged.
    Log("log.") {
        /// The format of log lines.
        format: LogFormat = "text";
        /// The least severe events to log.
        level: LogLevel = "info" hot;
    }
}

#[cfg(feature = "otlp")]
section! {
    /// The collector of traces.
    Otlp("otlp.") {
        /// The collector that gets the spans of sampled renders and fetches, by OTLP over gRPC;
        /// null = none.
        endpoint: Option<Uri> = "null";
        /// How many spans may wait for the collector; more are dropped.
        queue: NonZeroU32 = "2048" ["1" to "100000"];
    }
}

impl Settings {
    /// All fields, in the order of their declaration.
    pub fn fields() -> Vec<&'static Field> {
        let mut fields = Vec::new();
        Self::list(&mut fields);
        fields
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::read(&mut Layers::default())
    }
}
