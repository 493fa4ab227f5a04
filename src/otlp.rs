//! Sends the spans of flights to an OpenTelemetry collector, by OTLP over gRPC, from a thread of
//! its own.
//!
//! Only flights whose caller sampled the trace are told of here. What tells of them never waits: a
//! span goes into a bounded queue, and is dropped and counted when that is full. A collector that
//! hangs, is slow or is away therefore costs spans, and neither time nor memory. This room exists
//! with the cargo feature `otlp` only, and does not know where flights come from.

mod span;
mod thread;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread as threads,
    time::Duration,
};

use http::Uri;
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::trace::SpanData;
use tokio::{runtime, sync::mpsc, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    admission::{Class, Gate},
    refresh::{Flown, Observe, RenderResult},
};

/// Where spans are sent, and how many may wait.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// The collector, `http://HOST:PORT`.
    pub endpoint: Uri,
    /// The most spans that wait for it.
    pub queue: usize,
}

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The variables that OpenTelemetry defines, such as `OTEL_EXPORTER_OTLP_COMPRESSION`, do not
    /// do.
    #[error("OpenTelemetry's variables of the environment are not accepted")]
    Environment(#[from] ExporterBuildError),
    /// The thread cannot start.
    #[error("cannot start the thread that sends spans")]
    Thread(#[from] io::Error),
}

/// Takes spans. Clones fill the same queue.
#[derive(Clone, Debug)]
pub struct SpanQueue {
    queue: mpsc::Sender<SpanData>,
    counts: Arc<SpanCounts>,
}

/// The thread that sends spans. When it is dropped, the thread sends what waits, and ends.
#[derive(Debug)]
#[must_use = "spans are sent until this is dropped"]
pub struct SpanExport {
    closing: DropGuard,
    ended: CancellationToken,
}

/// Tells one observer of everything, and sends spans of flights.
pub struct Traced {
    /// The observer.
    pub observe: Arc<dyn Observe>,
    /// Where the spans go.
    pub spans: SpanQueue,
}

/// Spans since the start.
#[derive(Debug, Default)]
struct SpanCounts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// Starts to send spans.
///
/// # Errors
/// When a variable of the environment that OpenTelemetry defines is not accepted, or no thread can
/// be started.
pub fn start(options: ExportOptions) -> Result<(SpanQueue, SpanExport), ExportError> {
    let ExportOptions { endpoint, queue } = options;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exporter = {
        let _runtime = runtime.enter();
        thread::exporter(endpoint)?
    };
    let (sender, receiver) = mpsc::channel(queue);
    let counts = Arc::<SpanCounts>::default();
    let (closing, ended) = (CancellationToken::new(), CancellationToken::new());
    let sending = thread::SpanThread {
        exporter,
        spans: receiver,
        counts: Arc::clone(&counts),
        closing: closing.clone(),
    };
    let is_over = ended.clone().drop_guard();
    threads::Builder::new()
        .name("otlp".to_owned())
        .spawn(move || {
            let _is_over = is_over;
            runtime.block_on(sending.run());
            // A look-up of the collector's name that hangs must not keep the thread.
            runtime.shutdown_background();
        })?;
    let spans = SpanQueue {
        queue: sender,
        counts,
    };
    let export = SpanExport {
        closing: closing.drop_guard(),
        ended,
    };
    Ok((spans, export))
}

impl SpanQueue {
    /// How many spans the collector took since the start.
    pub fn exported(&self) -> u64 {
        self.counts.exported.load(Relaxed)
    }

    /// How many spans were lost since the start, because the collector did not take them.
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }

    fn send(&self, flown: &Flown<'_>) {
        match self.queue.try_reserve() {
            Ok(place) => place.send(span::of(flown)),
            Err(_) => {
                self.counts.dropped.fetch_add(1, Relaxed);
            }
        }
    }
}

impl SpanExport {
    /// Sends what waits, and ends, within that time.
    pub async fn end(self, within: Duration) {
        drop(self.closing);
        let _ = timeout(within, self.ended.cancelled()).await;
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced")
            .field("spans", &self.spans)
            .finish_non_exhaustive()
    }
}

impl Observe for Traced {
    fn rendered(&self, class: Class, result: RenderResult, duration: Duration) {
        self.observe.rendered(class, result, duration);
    }

    fn fetched(&self, result: RenderResult, duration: Duration) {
        self.observe.fetched(result, duration);
    }

    fn refused(&self, class: Class, gate: Gate) {
        self.observe.refused(class, gate);
    }

    fn flown(&self, flown: &Flown<'_>) {
        self.spans.send(flown);
        self.observe.flown(flown);
    }
}
