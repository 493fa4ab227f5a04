//! What this sidecar says of itself: samples of the last minute, taken each second and thinned to
//! one in five, and the status that they lead to.

use std::{
    borrow::Borrow,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{SidecarCore, hot, page::CoreNumbers};
use crate::{
    admission::{Class, Gate},
    metrics::SinceStart,
    reason::NotRefreshed,
    refresh::{self, RenderResult},
    serve::telemetry::Form,
    settings::reload::InForce,
    status::{self, Status},
    verdict::{Facts, Landed, PerGate, Sample, window},
};

/// How often a sample is taken; those of the last [`THIN`] are all kept.
const PERIOD: Duration = Duration::from_secs(1);
/// Of older samples, every fifth is kept.
const THIN: usize = 5;
/// How many of these: a minute.
const KEPT: usize = 12;
/// How many medians of render times are kept, one a minute: an hour.
const MEDIANS: usize = 60;

/// What was seen of the last minute, and of the renders of the last hour.
#[derive(Debug)]
pub(super) struct StatusHistory {
    kept: Mutex<KeptSamples>,
    /// Differs between two sidecars.
    instance: String,
    name: String,
}

#[derive(Debug, Default)]
struct KeptSamples {
    samples: VecDeque<SeenSample>,
    /// The median time of the renders at the end of each minute in which some landed.
    medians: VecDeque<Duration>,
    minute: u64,
    ticks: usize,
}

/// A sample, and the lookups that were answered outdated by then, by reason.
#[derive(Clone, Debug)]
struct SeenSample {
    sample: Sample,
    outdated: [u64; NotRefreshed::ALL.len()],
    tick: usize,
}

impl Borrow<Sample> for SeenSample {
    fn borrow(&self) -> &Sample {
        &self.sample
    }
}

/// Takes samples for as long as the sidecar lives.
pub(super) async fn follow(core: Arc<SidecarCore>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let read = core.read();
        let seen = core.seen(&read);
        core.history.lock().keep(seen);
    }
}

/// Writes a status as its reader wants it.
pub(super) fn written(status: &Status, form: Form) -> String {
    match form {
        Form::Text => status::screen(status),
        Form::Json => status.json(),
    }
}

impl StatusHistory {
    pub(super) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            instance: format!("{:012x}", fastrand::u64(..1 << 48)),
            name: hot::host_name().trim().to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, KeptSamples> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptSamples {
    fn keep(&mut self, mut seen: SeenSample) {
        self.keep_median(&seen.sample);
        seen.tick = self.ticks;
        self.ticks += 1;
        self.samples.push_back(seen);
        let ticks = self.ticks;
        self.samples.retain(|seen| {
            let age = ticks - seen.tick;
            age <= THIN || (seen.tick.is_multiple_of(THIN) && age <= THIN * (KEPT + 1))
        });
    }

    /// Keeps the median of the renders once a minute.
    fn keep_median(&mut self, sample: &Sample) {
        let minute = sample.at.as_secs() / 60;
        if minute == self.minute || sample.median_render.is_zero() {
            return;
        }
        self.minute = minute;
        self.medians.push_back(sample.median_render);
        if self.medians.len() > MEDIANS {
            self.medians.pop_front();
        }
    }

    /// How long a render took in the hour before: the median of the medians.
    fn usual_render(&self) -> Duration {
        let mut medians: Vec<_> = self.medians.iter().collect();
        medians.sort();
        medians
            .get(medians.len() / 2)
            .copied()
            .copied()
            .unwrap_or_default()
    }
}

impl SidecarCore {
    /// What it says of itself now.
    pub(super) fn status(&self) -> Status {
        let read = self.read();
        let mut now = self.seen(&read);
        let kept = self.history.lock();
        now.sample.usual_render = kept.usual_render();
        let begin = window(&kept.samples, &now.sample);
        let facts = Facts::between(
            begin.map_or(&Sample::default(), |seen| &seen.sample),
            &now.sample,
        );
        let mut because: Vec<_> = NotRefreshed::ALL
            .into_iter()
            .zip(now.outdated)
            .map(|(reason, count)| {
                let before = begin.map_or(0, |seen| seen.outdated[reason as usize]);
                (reason.as_str().to_owned(), count.saturating_sub(before))
            })
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason, u32::try_from(count).unwrap_or(u32::MAX)))
            .collect();
        drop(kept);
        because.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        because.truncate(status::REASONS);
        let settings = &read.settings.settings;
        let raised = read.core.raised_at.map(|at| read.at.since(at).as_secs());
        let beside = Status {
            name: self.history.name.clone(),
            instance: self.history.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up: self.up(read.at).as_secs(),
            ready: self.readiness.is_ready(),
            target: read.core.target,
            raised,
            settled: read.core.settled,
            settings: read.settings.hash.to_string(),
            pending: u32::try_from(read.settings.pending.len()).unwrap_or(u32::MAX),
            burst: read.core.limits.burst.get(),
            fleet_size: settings.admission.fleet_size.map(|size| size.get()),
            outdated_because: because,
            ..Status::default()
        };
        Status::of(beside, facts)
    }

    fn seen(&self, read: &CoreNumbers) -> SeenSample {
        let counted = self.metrics.counted();
        SeenSample {
            sample: self.sample(read, &counted),
            outdated: counted.outdated,
            tick: 0,
        }
    }

    fn sample(&self, read: &CoreNumbers, counted: &SinceStart) -> Sample {
        let refresh::Snapshot { limits, stops, .. } = read.core;
        let core = &read.core;
        let InForce { is_valid, .. } = *read.settings;
        Sample {
            at: self.up(read.at),
            settings_valid: is_valid,
            connected: *self.is_connected.borrow(),
            apart: self
                .fleet
                .as_ref()
                .is_some_and(|fleet| fleet.numbers().is_apart),
            breaker_open: stops.is_broken,
            pushed_back: stops.is_held,
            rate: limits.rate,
            rate_in_force: core.rate_in_force,
            concurrency: core.renders_at_once.get(),
            fresh: core.fresh,
            outdated: core.outdated,
            wanted_missing: core.wanted_missing,
            wanted_outdated: core.wanted_outdated,
            failing: core.failing,
            in_flight: core.in_flight,
            oldest_render: core.oldest_render,
            answered_ago: core.answered_ago,
            succeeded_ago: core.succeeded_ago,
            failed_ago: core.failed_ago,
            median_render: core.median_render,
            usual_render: Duration::ZERO,
            render_time: counted.render_time,
            lookups: counted.lookups,
            lookups_outdated: counted.outdated.iter().sum(),
            lookups_failed: counted.failed,
            lookups_queue_full: counted.queue_full,
            landed: landed(&counted.renders),
            evicted_wanted: core.evicted_wanted,
            returned: core.returned,
            wanted_for: core.wanted_for,
            bound: bound(core.stopped),
        }
    }
}

/// The results of renders, of both classes.
fn landed(renders: &[[u64; RenderResult::ALL.len()]; Class::ALL.len()]) -> Landed<u64> {
    let mut landed = Landed::default();
    for class in Class::ALL {
        for result in RenderResult::ALL {
            let count = renders[class as usize][result as usize];
            let to = match (result, class) {
                (RenderResult::Stored, _) => &mut landed.stored,
                (RenderResult::Validated, _) => &mut landed.validated,
                (RenderResult::Behind, _) => &mut landed.behind,
                (RenderResult::Rejected, _) => &mut landed.rejected,
                (RenderResult::NotFound, Class::Outdated) => &mut landed.gone,
                (RenderResult::NotFound, Class::Missing) => &mut landed.not_found,
                (RenderResult::DeadlineExceeded, _) => &mut landed.deadline_exceeded,
                (RenderResult::Unavailable, _) => &mut landed.unavailable,
                (RenderResult::Unreachable, _) => &mut landed.unreachable,
                (RenderResult::Exhausted, _) => &mut landed.exhausted,
                (RenderResult::Refused, _) => &mut landed.refused,
                (
                    RenderResult::Unauthenticated
                    | RenderResult::Unimplemented
                    | RenderResult::Failed
                    | RenderResult::Changed,
                    _,
                ) => &mut landed.failed,
            };
            *to += count;
        }
    }
    landed
}

/// How long each gate stopped what was wanted.
fn bound(stopped: [Duration; Gate::ALL.len()]) -> PerGate<Duration> {
    PerGate {
        draining: stopped[Gate::Draining as usize],
        breaker: stopped[Gate::Breaker as usize],
        connection: stopped[Gate::Connection as usize],
        hold: stopped[Gate::Hold as usize],
        project: stopped[Gate::Project as usize],
        queue: stopped[Gate::Queue as usize],
        concurrency: stopped[Gate::Concurrency as usize],
        tokens: stopped[Gate::Tokens as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_five_seconds_and_one_of_five_for_a_minute() {
        let mut kept = KeptSamples::default();
        for second in 0..300 {
            let sample = Sample {
                at: Duration::from_secs(second),
                median_render: Duration::from_millis(second),
                ..Sample::default()
            };
            kept.keep(SeenSample {
                sample,
                outdated: Default::default(),
                tick: 0,
            });
        }
        let seconds: Vec<_> = kept
            .samples
            .iter()
            .map(|seen| seen.sample.at.as_secs())
            .collect();
        assert_eq!(
            seconds,
            [
                235, 240, 245, 250, 255, 260, 265, 270, 275, 280, 285, 290, 295, 296, 297, 298, 299
            ]
        );
        assert_eq!(kept.medians.len(), 4, "one a minute");
        assert_eq!(kept.usual_render(), Duration::from_millis(180));
    }
}
