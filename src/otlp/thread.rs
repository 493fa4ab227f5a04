//! What the thread does: takes spans from the queue, sends them together, and counts what became of
//! them.

use std::{
    fmt, mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::Uri;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter as _},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use super::SpanCounts;
use crate::log::losses::{LossChange, Losses};

/// The most spans that are sent together: the default of OpenTelemetry
/// (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take, with all attempts: the default of OTLP
/// (`OTEL_EXPORTER_OTLP_TIMEOUT`).
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is looked whether spans are lost while the collector takes its time.
const LOOK: Duration = Duration::from_secs(1);

/// All that the thread needs.
#[derive(Debug)]
pub(super) struct SpanThread {
    pub(super) exporter: SpanExporter,
    pub(super) spans: mpsc::Receiver<SpanData>,
    pub(super) counts: Arc<SpanCounts>,
    pub(super) closing: CancellationToken,
}

/// What sends spans to a collector; it connects when there is the first to send. Headers and
/// compression follow OpenTelemetry's variables of the environment.
///
/// # Errors
/// When one of these is not accepted.
pub(super) fn exporter(endpoint: Uri) -> Result<SpanExporter, ExporterBuildError> {
    let channel = Endpoint::from(endpoint)
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_lazy();
    let mut exporter = SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_timeout(TIMEOUT)
        .build()?;
    exporter.set_resource(&resource());
    Ok(exporter)
}

fn resource() -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("host.name", host.trim().to_owned()),
        ])
        .build()
}

fn tell(change: Option<LossChange>, cause: impl fmt::Display) {
    match change {
        Some(LossChange::Began) => {
            tracing::warn!(%cause, "spans are dropped: the collector does not take them");
        }
        Some(LossChange::Ended(lost)) => {
            tracing::info!(lost, "the collector takes all spans again");
        }
        None => {}
    }
}

impl SpanThread {
    /// Sends spans until it is told to close and nothing waits.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut losses = Losses::default();
        while self.gather(&mut batch).await {
            let count = batch.len() as u64;
            let sent = {
                let export = self.exporter.export(mem::take(&mut batch));
                tokio::pin!(export);
                loop {
                    tokio::select! {
                        sent = &mut export => break sent,
                        () = sleep(LOOK) => tell(losses.look(self.dropped(), Instant::now()), "it takes long"),
                    }
                }
            };
            let counted = match sent {
                Ok(()) => &self.counts.exported,
                Err(_) => &self.counts.dropped,
            };
            counted.fetch_add(count, Relaxed);
            let change = losses.look(self.dropped(), Instant::now());
            match sent {
                Ok(()) => tell(change, "more spans end than it takes"),
                Err(error) => tell(change, error),
            }
        }
    }

    fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }

    /// Waits for spans, and for more of them; false when there will be none.
    async fn gather(&mut self, batch: &mut Vec<SpanData>) -> bool {
        tokio::select! {
            received = self.spans.recv_many(batch, BATCH) => if received == 0 { return false },
            () = self.closing.cancelled(), if !self.closing.is_cancelled() => {}
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH && !self.closing.is_cancelled() {
            let room = BATCH - batch.len();
            tokio::select! {
                received = self.spans.recv_many(batch, room) => if received == 0 { break },
                () = self.closing.cancelled() => {}
                () = sleep_until(until) => break,
            }
        }
        if self.closing.is_cancelled() {
            self.spans.close();
            while batch.len() < BATCH
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
        }
        !batch.is_empty()
    }
}
