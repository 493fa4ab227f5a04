//! Writes what was recorded, and the gauges.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    registry::Registry,
};

use super::{
    Exposition, LookupResult, Recorded, Role, histogram::Observations, labels::ServedLabel,
    table::ALL,
};
use crate::{
    admission::{Class, Gate},
    disk::{DiskErrorKind, DiskNumbers},
    fleet::{CallResult, FleetNumbers, LeaseResult, PublishResult, PullResult, StoreCall},
    refresh::RenderResult,
};

/// The gauges, as they are when someone looks.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the list of metrics says what they are")]
pub struct Gauges {
    pub in_flight: usize,
    pub bucket_level: f64,
    /// Renders per second.
    pub rate: f64,
    /// What is left of it.
    pub rate_in_force: f64,
    pub breaker_open: bool,
    pub pushed_back: bool,
    pub connected: bool,
    pub renders_at_once: u32,
    pub fetches_at_once: u32,
    pub burst: u32,
    pub concurrency: usize,
    pub queue: usize,
    pub target_rollout: u64,
    /// Seconds of Unix time; none before the first raise.
    pub target_raised_at: Option<f64>,
    /// By gate.
    pub stopped: [Duration; Gate::ALL.len()],
    pub fleet_rate: Option<f64>,
    pub fleet_size: Option<u32>,
    pub max_bytes: usize,
    pub max_waiting: u32,
    pub projects_fresh: usize,
    pub projects_outdated: usize,
    /// By [`Class::by_held`].
    pub projects_wanted: [usize; Class::ALL.len()],
    pub projects_failing: usize,
    pub oldest_render: Duration,
    pub oldest_outdated: Duration,
    pub held_bytes: u64,
    pub evictions_total: u64,
    pub evicted_wanted_total: u64,
    pub waiting: usize,
    pub watchers: usize,
    pub unread_bytes: usize,
    pub unread_ended_total: u64,
    pub lookup_connections: usize,
    pub ready: bool,
    pub degraded: bool,
    pub changes_up: bool,
    pub projects_unconfirmed: usize,
    pub settings_hash: String,
    pub settings_valid: bool,
    pub settings_pending: usize,
    pub log_lines_dropped_total: u64,
    pub spans: SpanNumbers,
    /// None without a disk.
    pub disk: Option<DiskNumbers>,
    /// None without a store of a fleet.
    pub fleet: Option<FleetNumbers>,
    pub process: ProcessNumbers,
}

/// Spans of sampled flights since the start; only builds with the cargo feature `otlp` have any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanNumbers {
    /// Those that the collector took.
    pub exported: u64,
    /// Those that were lost because it did not.
    pub dropped: u64,
}

/// What the process takes of the machine, as the kernel counts it; zero where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessNumbers {
    /// Processor time, of all threads, in the kernel and outside.
    pub cpu_time: Duration,
    /// Bytes of memory in use.
    pub resident_bytes: u64,
    /// File descriptors that are open.
    pub open_descriptors: u64,
    /// File descriptors that may be open; the highest number where there is no limit.
    pub max_descriptors: u64,
    /// Seconds of Unix time at which it started.
    pub started_at: f64,
}

/// Everything recorded, and the gauges beside it.
pub(super) fn text(recorded: Arc<Recorded>, gauges: Gauges, exposition: Exposition) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { recorded, gauges }));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("BUG: a string takes what is written to it");
    exposition.of(text)
}

/// One scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    recorded: Arc<Recorded>,
    gauges: Gauges,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for metric in ALL {
            let kind = metric.kind.metric_type();
            let family = metric.family();
            let to = encoder.encode_descriptor(&family, metric.meaning, None, kind)?;
            (metric.write)(self, to)?;
        }
        Ok(())
    }
}

impl Scrape {
    pub(super) fn lookups(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        let has_fleet = self.gauges.fleet.is_some();
        let mut results = LookupResult::all().filter(|result| has_fleet || !result.is_of_fleet());
        results.try_for_each(|result| {
            let labels = [
                ("served", result.served().as_str()),
                ("reason", result.reason()),
            ];
            count(&mut to, labels, self.recorded.lookups(result))
        })
    }

    pub(super) fn lookup_durations(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        ServedLabel::ALL.into_iter().try_for_each(|served| {
            let labels = [("served", served.as_str())];
            let durations = self.recorded.lookup_durations(served);
            histogram(&mut to.encode_family(&labels)?, &durations)
        })
    }

    pub(super) fn renders(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        Class::ALL.into_iter().try_for_each(|class| {
            RenderResult::ALL.into_iter().try_for_each(|result| {
                let labels = [("class", class.as_str()), ("result", result.as_str())];
                let renders = &self.recorded.renders[class as usize];
                count(&mut to, labels, renders.get(result as usize))
            })
        })
    }

    pub(super) fn render_durations(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        histogram(&mut to, &self.recorded.render_durations())
    }

    pub(super) fn fetches(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        RenderResult::ALL.into_iter().try_for_each(|result| {
            let fetches = self.recorded.fetches.get(result as usize);
            count(&mut to, [("result", result.as_str())], fetches)
        })
    }

    pub(super) fn refusals(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        Class::ALL.into_iter().try_for_each(|class| {
            Gate::ALL.into_iter().try_for_each(|gate| {
                let labels = [("class", class.as_str()), ("gate", gate.as_str())];
                let refusals = &self.recorded.refusals[class as usize];
                count(&mut to, labels, refusals.get(gate as usize))
            })
        })
    }

    pub(super) fn accept_errors(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        Role::ALL.into_iter().try_for_each(|role| {
            let errors = self.recorded.accept_errors.get(role as usize);
            count(&mut to, [("listener", role.as_str())], errors)
        })
    }

    pub(super) fn limits(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let now = &self.gauges;
        let limits = [
            ("rate", now.rate),
            ("burst", now.burst.into()),
            ("concurrency", now.concurrency as f64),
            ("queue", now.queue as f64),
            ("max_bytes", now.max_bytes as f64),
            ("max_waiting", now.max_waiting.into()),
        ];
        let of_a_fleet = [
            ("fleet_rate", now.fleet_rate),
            ("fleet_size", now.fleet_size.map(f64::from)),
        ];
        let of_a_fleet = of_a_fleet
            .into_iter()
            .filter_map(|(setting, limit)| Some((setting, limit?)));
        gauges(to, "setting", limits.into_iter().chain(of_a_fleet))
    }

    pub(super) fn concurrency_in_force(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let now = &self.gauges;
        let at_once = [
            ("render", now.renders_at_once.into()),
            ("fetch", now.fetches_at_once.into()),
        ];
        gauges(to, "call", at_once)
    }

    pub(super) fn projects(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let now = &self.gauges;
        let projects = [
            ("fresh", now.projects_fresh as f64),
            ("outdated", now.projects_outdated as f64),
        ];
        gauges(to, "state", projects)
    }

    pub(super) fn wanted(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let wanted = Class::ALL.map(|class| {
            let count = self.gauges.projects_wanted[class as usize];
            (class.as_str(), count as f64)
        });
        gauges(to, "class", wanted)
    }

    pub(super) fn evictions(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        to.encode_counter::<NoLabelSet, _, u64>(&self.gauges.evictions_total, None)
    }

    pub(super) fn unread_ended(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        to.encode_counter::<NoLabelSet, _, u64>(&self.gauges.unread_ended_total, None)
    }

    pub(super) fn log_lines_dropped(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        to.encode_counter::<NoLabelSet, _, u64>(&self.gauges.log_lines_dropped_total, None)
    }

    pub(super) fn fleet_mode(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let modes = self.gauges.fleet.map(|fleet| {
            let is_lost = !fleet.is_joined && !fleet.is_apart;
            [
                ("joined", f64::from(u8::from(fleet.is_joined))),
                ("lost", f64::from(u8::from(is_lost))),
                ("apart", f64::from(u8::from(fleet.is_apart))),
            ]
        });
        gauges(to, "mode", modes.into_iter().flatten())
    }

    pub(super) fn fleet_sidecars(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let sidecars = self.gauges.fleet.map(|fleet| {
            [
                ("present", fleet.present as f64),
                ("absent", fleet.absent as f64),
            ]
        });
        gauges(to, "state", sidecars.into_iter().flatten())
    }

    pub(super) fn fleet_rate(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let rates = self
            .gauges
            .fleet
            .map(|fleet| [("told", fleet.told), ("in_force", fleet.in_force)]);
        gauges(to, "which", rates.into_iter().flatten())
    }

    pub(super) fn store_calls(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        let Some(fleet) = self.gauges.fleet else {
            return Ok(());
        };
        StoreCall::ALL.into_iter().try_for_each(|call| {
            CallResult::ALL.into_iter().try_for_each(|result| {
                let labels = [("call", call.as_str()), ("result", result.as_str())];
                let calls = fleet.calls[call as usize][result as usize];
                count(&mut to, labels, calls)
            })
        })
    }

    pub(super) fn leases(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let names = LeaseResult::ALL.map(LeaseResult::as_str);
        results(to, names, self.gauges.fleet.map(|fleet| fleet.leases))
    }

    pub(super) fn pulls(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let names = PullResult::ALL.map(PullResult::as_str);
        results(to, names, self.gauges.fleet.map(|fleet| fleet.pulls))
    }

    pub(super) fn published(&self, to: MetricEncoder<'_>) -> fmt::Result {
        let names = PublishResult::ALL.map(PublishResult::as_str);
        results(to, names, self.gauges.fleet.map(|fleet| fleet.published))
    }

    #[cfg(feature = "otlp")]
    pub(super) fn spans(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        let SpanNumbers { exported, dropped } = self.gauges.spans;
        count(&mut to, [("result", "exported")], exported)?;
        count(&mut to, [("result", "dropped")], dropped)
    }

    pub(super) fn disk_errors(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        let Some(disk) = self.gauges.disk else {
            return Ok(());
        };
        DiskErrorKind::ALL.into_iter().try_for_each(|kind| {
            let errors = disk.errors[kind as usize];
            count(&mut to, [("kind", kind.as_str())], errors)
        })
    }

    /// A number of the disk that only rises; absent without a disk.
    pub(super) fn of_disk(
        &self,
        mut to: MetricEncoder<'_>,
        value: impl FnOnce(&DiskNumbers) -> u64,
    ) -> fmt::Result {
        match &self.gauges.disk {
            Some(disk) => to.encode_counter::<NoLabelSet, _, u64>(&value(disk), None),
            None => Ok(()),
        }
    }

    /// Another number of the disk; absent without a disk.
    pub(super) fn disk(
        &self,
        to: MetricEncoder<'_>,
        value: impl FnOnce(&DiskNumbers) -> f64,
    ) -> fmt::Result {
        self.gauge_if_any(to, |now| now.disk.as_ref().map(value))
    }

    pub(super) fn cpu_seconds(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        let seconds = self.gauges.process.cpu_time.as_secs_f64();
        to.encode_counter::<NoLabelSet, _, u64>(&seconds, None)
    }

    pub(super) fn evicted_wanted(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        to.encode_counter::<NoLabelSet, _, u64>(&self.gauges.evicted_wanted_total, None)
    }

    pub(super) fn settings(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        to.encode_info(&[("hash", self.gauges.settings_hash.as_str())])
    }

    pub(super) fn build(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        to.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    pub(super) fn stopped(&self, mut to: MetricEncoder<'_>) -> fmt::Result {
        Gate::ALL.into_iter().try_for_each(|gate| {
            let seconds = self.gauges.stopped[gate as usize].as_secs_f64();
            to.encode_family(&[("gate", gate.as_str())])?
                .encode_counter::<NoLabelSet, _, u64>(&seconds, None)
        })
    }

    /// A gauge without labels, which may be absent.
    pub(super) fn gauge_if_any(
        &self,
        mut to: MetricEncoder<'_>,
        value: impl FnOnce(&Gauges) -> Option<f64>,
    ) -> fmt::Result {
        match value(&self.gauges) {
            Some(value) => to.encode_gauge(&value),
            None => Ok(()),
        }
    }

    /// A gauge without labels.
    pub(super) fn gauge(
        &self,
        mut to: MetricEncoder<'_>,
        value: impl FnOnce(&Gauges) -> f64,
    ) -> fmt::Result {
        to.encode_gauge(&value(&self.gauges))
    }
}

fn gauges<'a>(
    mut to: MetricEncoder<'_>,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, f64)>,
) -> fmt::Result {
    values
        .into_iter()
        .try_for_each(|(of, value)| to.encode_family(&[(label, of)])?.encode_gauge(&value))
}

/// Counters by result, if there are any.
fn results<const RESULTS: usize>(
    mut to: MetricEncoder<'_>,
    names: [&str; RESULTS],
    counts: Option<[u64; RESULTS]>,
) -> fmt::Result {
    names
        .into_iter()
        .zip(counts.into_iter().flatten())
        .try_for_each(|(result, value)| count(&mut to, [("result", result)], value))
}

fn count<const LABELS: usize>(
    to: &mut MetricEncoder<'_>,
    labels: [(&str, &str); LABELS],
    value: u64,
) -> fmt::Result {
    to.encode_family(&labels)?
        .encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn histogram(to: &mut MetricEncoder<'_>, observed: &Observations) -> fmt::Result {
    to.encode_histogram::<NoLabelSet>(observed.sum, observed.count, &observed.buckets, None)
}
