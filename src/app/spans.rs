//! Where the spans of flights go: to a collector, when the build has the cargo feature `otlp` and
//! the settings name one; else nowhere. The one place that asks which build it is.

use std::sync::Arc;
#[cfg(feature = "otlp")]
use std::time::Duration;

use super::SidecarError;
#[cfg(feature = "otlp")]
use crate::otlp;
use crate::{
    metrics::{Metrics, SpanNumbers},
    refresh::Observe,
    settings::Settings,
};

/// How long the end of the process may wait for the collector.
#[cfg(feature = "otlp")]
const LAST: Duration = Duration::from_secs(1);

/// Takes the spans of flights.
#[derive(Clone, Debug)]
pub(super) struct SpanSink {
    #[cfg(feature = "otlp")]
    to: Option<otlp::SpanQueue>,
}

/// What sends them.
#[derive(Debug)]
pub(super) struct SpanSender {
    #[cfg(feature = "otlp")]
    running: Option<otlp::SpanExport>,
}

/// Starts to send spans to the collector of the settings, if they name one.
///
/// # Errors
/// When spans cannot be sent, whatever the collector does.
#[cfg(feature = "otlp")]
pub(super) fn start(settings: &Settings) -> Result<(SpanSink, SpanSender), SidecarError> {
    let Some(endpoint) = settings.otlp.endpoint.clone() else {
        return Ok((SpanSink { to: None }, SpanSender { running: None }));
    };
    let queue = settings.otlp.queue.get() as usize;
    let (spans, export) = otlp::start(otlp::ExportOptions { endpoint, queue })?;
    Ok((
        SpanSink { to: Some(spans) },
        SpanSender {
            running: Some(export),
        },
    ))
}

/// Sends none: this build cannot.
#[cfg(not(feature = "otlp"))]
pub(super) fn start(_: &Settings) -> Result<(SpanSink, SpanSender), SidecarError> {
    Ok((SpanSink {}, SpanSender {}))
}

impl SpanSink {
    /// Counts everything in the metrics, and takes the spans.
    pub(super) fn observer(&self, metrics: &Metrics) -> Arc<dyn Observe> {
        let observe = Arc::new(metrics.clone());
        #[cfg(feature = "otlp")]
        if let Some(spans) = self.to.clone() {
            return Arc::new(otlp::Traced { observe, spans });
        }
        observe
    }

    /// What became of them.
    pub(super) fn counted(&self) -> SpanNumbers {
        #[cfg(feature = "otlp")]
        if let Some(spans) = &self.to {
            return SpanNumbers {
                exported: spans.exported(),
                dropped: spans.dropped(),
            };
        }
        SpanNumbers::default()
    }
}

impl SpanSender {
    /// Sends what waits to a collector that takes it within a second.
    pub(super) async fn end(self) {
        #[cfg(feature = "otlp")]
        if let Some(running) = self.running {
            running.end(LAST).await;
        }
    }
}
