//! What is compared: the fleet as flags and its status say it is, and as the change makes it.

use std::time::Duration;

use super::PlanArgs;
use crate::{
    plan::{Case, Seen, Unfit},
    status::Fleet,
};

/// What holds for a sidecar without settings: the defaults of the settings.
const RATE: f64 = 5.0;
const BURST: u32 = 10;
const CONCURRENCY: u32 = 4;
/// How often a sidecar is asked, where nothing tells.
const LOOKUPS: f64 = 1.0;
/// Renders are slow that take this much longer than in the hour before.
const SLOWER: f64 = 1.5;

/// The value of a flag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sides<T> {
    /// `VALUE`.
    One(T),
    /// `BEFORE:AFTER`.
    Both(T, T),
}

impl<T: Copy> Sides<T> {
    /// Reads one value or two.
    pub(super) fn read(
        text: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Self, String> {
        match text.split_once(':') {
            Some((before, after)) => Ok(Self::Both(read(before)?, read(after)?)),
            None => Ok(Self::One(read(text)?)),
        }
    }

    fn map<U>(self, map: impl Fn(T) -> U) -> Sides<U> {
        match self {
            Self::One(value) => Sides::One(map(value)),
            Self::Both(before, after) => Sides::Both(map(before), map(after)),
        }
    }
}

/// What is known of the fleet without flags.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Known {
    /// No sidecar was to be asked.
    Nothing,
    /// None answered.
    Silence,
    /// What they say.
    Fleet(Box<Now>),
}

/// A fleet as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Now {
    asked: usize,
    answered: u32,
    fleet_size: Option<u32>,
    burst: u32,
    concurrency: u32,
    projects: u32,
    /// Of a sidecar.
    rate: f64,
    /// Of a sidecar, per second; 0 when nothing was looked up.
    lookups: f64,
    /// 0 when no render landed of late.
    render_seconds: f64,
    busy: f64,
    is_slow: bool,
}

impl Known {
    /// What the sidecars of a fleet say.
    pub(super) fn of(fleet: &Fleet) -> Self {
        if fleet.is_silent() {
            return Self::Silence;
        }
        let facts = fleet.facts();
        let sidecars = facts.sidecars.max(1);
        let each = |sum: u32| sum.div_ceil(sidecars);
        let statuses = || fleet.statuses();
        let windows =
            statuses().map(|one| f64::from(one.facts.lookups) / one.facts.window_seconds.max(1.0));
        Self::Fleet(Box::new(Now {
            asked: fleet.asked(),
            answered: sidecars,
            fleet_size: statuses().filter_map(|one| one.fleet_size).max(),
            burst: statuses().map(|one| one.burst).max().unwrap_or(BURST),
            concurrency: each(facts.concurrency),
            projects: each(
                [facts.outdated, facts.wanted_missing]
                    .into_iter()
                    .fold(facts.fresh, u32::saturating_add),
            ),
            rate: facts.rate / f64::from(sidecars),
            lookups: windows.sum::<f64>() / f64::from(sidecars),
            render_seconds: facts.median_seconds,
            busy: facts.renders_per_second * facts.median_seconds,
            is_slow: facts.usual_seconds > 0.0
                && facts.median_seconds > SLOWER * facts.usual_seconds,
        }))
    }

    fn now(&self) -> Option<&Now> {
        match self {
            Self::Fleet(now) => Some(now),
            Self::Nothing | Self::Silence => None,
        }
    }

    /// What has to be known of the settings for a change to be as planned.
    pub(super) fn note(&self, [before, after]: &[Case; 2]) -> Option<String> {
        self.now()?.fleet_size?;
        (before.pods != after.pods).then(|| {
            format!(
                "The rate of the fleet is divided by `fleet_size`: set it to {} as well.",
                after.pods
            )
        })
    }

    /// What the fleet was seen to do.
    pub(super) fn seen(&self) -> Option<Seen> {
        let now = self.now()?;
        Some(Seen {
            answered: now.answered as usize,
            busy: now.busy,
            is_slow: now.is_slow,
        })
    }
}

/// The case before and the case after.
///
/// # Errors
/// When a value is missing or does not fit the others.
pub(super) fn cases(args: &PlanArgs, known: &Known) -> Result<[Case; 2], Unfit> {
    let now = known.now();
    let positive = |value: f64| (value > 0.0).then_some(value);
    let pods = now.map(|now| match now.fleet_size {
        Some(size) if now.asked == 1 => size,
        _ => u32::try_from(now.asked).unwrap_or(u32::MAX),
    });
    let pods = of("--pods", args.pods, pods, None)?;
    let projects = now.and_then(|now| (now.projects > 0).then_some(now.projects));
    let projects = of("--projects", args.projects, projects, None)?;
    let burst = of("--burst", args.burst, now.map(|now| now.burst), Some(BURST))?;
    let concurrency = now.map(|now| now.concurrency);
    let concurrency = of(
        "--concurrency",
        args.concurrency,
        concurrency,
        Some(CONCURRENCY),
    )?;
    let render_time = now.and_then(|now| positive(now.render_seconds));
    let render_time = render_time.map(Duration::from_secs_f64);
    let render_time = of("--render-time", args.render_time, render_time, None)?;
    let lookups = now.and_then(|now| positive(now.lookups));
    let lookups = of("--lookups", args.lookups, lookups, Some(LOOKUPS))?;
    let outage = now.map(|_| Duration::ZERO);
    let outage = of("--outage", args.outage, outage, Some(Duration::ZERO))?;
    let renderers = args.renderers.map(|renderers| renderers.map(Some));
    let renderers = of("--renderers", renderers, None, Some(None))?;
    let rate = rates(args, now, pods)?;
    let cases = [0, 1].map(|side| Case {
        pods: pods[side],
        projects: projects[side],
        rate: rate[side],
        burst: burst[side],
        concurrency: concurrency[side],
        renderers: renderers[side],
        render_time: render_time[side],
        outage: outage[side],
        lookups: lookups[side],
    });
    for case in &cases {
        case.check()?;
    }
    Ok(cases)
}

/// The values of a flag before and after: where the sidecars say what is the case now, one value is
/// the change.
fn of<T: Copy>(
    name: &'static str,
    flag: Option<Sides<T>>,
    now: Option<T>,
    default: Option<T>,
) -> Result<[T; 2], Unfit> {
    match (flag, now.or(default)) {
        (Some(Sides::Both(before, after)), _) => Ok([before, after]),
        (Some(Sides::One(value)), _) => Ok([now.unwrap_or(value), value]),
        (None, Some(value)) => Ok([value, value]),
        (None, None) => Err(Unfit {
            name,
            value: "is missing".to_owned(),
            accepted: "neither flags nor a sidecar say it".to_owned(),
        }),
    }
}

/// The rates of a sidecar. Where the settings divide a fleet's rate, it stays the same with another
/// number of pods.
fn rates(args: &PlanArgs, now: Option<&Now>, pods: [u32; 2]) -> Result<[f64; 2], Unfit> {
    let each = |rates: [f64; 2]| {
        // No pods are refused later.
        [0, 1].map(|side| rates[side] / f64::from(pods[side].max(1)))
    };
    if let Some(flag) = args.fleet_rate {
        let now = now.map(|now| now.rate * f64::from(pods[0]));
        let rates = of("--fleet-rate", Some(flag), now, None)?;
        return checked("--fleet-rate", rates).map(each);
    }
    let rates = match (args.rate, now) {
        (None, Some(now)) if now.fleet_size.is_some() => each([now.rate * f64::from(pods[0]); 2]),
        (flag, now) => of("--rate", flag, now.map(|now| now.rate), Some(RATE))?,
    };
    checked("--rate", rates)
}

/// Without renders there is nothing to plan.
fn checked(name: &'static str, rates: [f64; 2]) -> Result<[f64; 2], Unfit> {
    match rates.into_iter().find(|rate| rate.is_nan() || *rate <= 0.0) {
        None => Ok(rates),
        Some(rate) => Err(Unfit {
            name,
            value: rate.to_string(),
            accepted: "expected more than 0 before and after: nothing is rendered otherwise; BEFORE:AFTER sets both".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
