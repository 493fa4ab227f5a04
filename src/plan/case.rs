//! What a prediction is about: a fleet, its limits, its renderers, and what goes wrong.

use std::{fmt, time::Duration};

/// A release is followed for at most this long, for which admission remembers lookups.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// The lowest rate of a sidecar, in renders per second: that of the settings.
const LEAST_RATE: f64 = 0.000_001;
/// The highest: a render takes the simulator some 20 µs.
const MOST_RATE: f64 = 10_000.0;
/// The most sidecars.
const MOST_PODS: u32 = 1_000_000;
/// The most projects of a sidecar: beyond it too few sidecars could be simulated to stand for all.
const MOST_PROJECTS: u32 = 5_000;
/// The most permits, and the most saved-up renders, of a sidecar.
const MOST_OF_A_LIMIT: u32 = 10_000;
/// The most cores of all renderers.
const MOST_RENDERERS: f64 = 1_000_000.0;
/// The shortest median render.
const SHORTEST: Duration = Duration::from_micros(100);
/// How long a render may run: the default of `upstream.deadline`.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);
/// The most lookups of a sidecar, per second.
const MOST_LOOKUPS: f64 = 1_000_000.0;

/// A fleet in which a release happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Sidecars.
    pub pods: u32,
    /// Projects that each of them holds and that are looked up.
    pub projects: u32,
    /// Renders per second of each.
    pub rate: f64,
    /// Renders that each may start at once after a quiet time.
    pub burst: u32,
    /// Renders that each may have in flight.
    pub concurrency: u32,
    /// How many renders all renderers together work on at full speed: their cores. None: as many as
    /// there are.
    pub renderers: Option<f64>,
    /// The median time of a render that has a core for itself.
    pub render_time: Duration,
    /// For how long the renderers are away after the target was raised.
    pub outage: Duration,
    /// Lookups per second of each sidecar.
    pub lookups: f64,
}

/// A value for which nothing can be predicted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} {value}: {accepted}")]
pub struct Unfit {
    /// The field of the case, as a flag has it.
    pub name: &'static str,
    /// What it was.
    pub value: String,
    /// What is accepted.
    pub accepted: String,
}

impl Case {
    /// Renders per second of all sidecars.
    pub fn fleet_rate(&self) -> f64 {
        self.rate * f64::from(self.pods)
    }

    /// Renders that a release wants.
    pub fn wanted(&self) -> f64 {
        f64::from(self.pods) * f64::from(self.projects)
    }

    /// Checks that something can be predicted.
    ///
    /// # Errors
    /// The first field that is not fit.
    pub fn check(&self) -> Result<(), Unfit> {
        within("--pods", self.pods, 1, MOST_PODS)?;
        within("--projects", self.projects, 1, MOST_PROJECTS)?;
        within("--rate", self.rate, LEAST_RATE, MOST_RATE)?;
        within("--burst", self.burst, 1, MOST_OF_A_LIMIT)?;
        within("--concurrency", self.concurrency, 1, MOST_OF_A_LIMIT)?;
        if let Some(renderers) = self.renderers {
            within("--renderers", renderers, 0.01, MOST_RENDERERS)?;
        }
        within("--lookups", self.lookups, 0.001, MOST_LOOKUPS)?;
        let time = |time: Duration| format!("{}s", time.as_secs_f64());
        if !(SHORTEST..DEADLINE).contains(&self.render_time) {
            return Err(Unfit {
                name: "--render-time",
                value: time(self.render_time),
                accepted: format!(
                    "expected at least {} and less than {}, the deadline of a render",
                    time(SHORTEST),
                    time(DEADLINE)
                ),
            });
        }
        if self.outage >= LONGEST {
            return Err(Unfit {
                name: "--outage",
                value: time(self.outage),
                accepted: format!("expected less than {}", time(LONGEST)),
            });
        }
        let quick = f64::from(self.burst) / self.rate;
        if quick > LONGEST.as_secs_f64() {
            return Err(Unfit {
                name: "--burst",
                value: self.burst.to_string(),
                accepted: format!(
                    "expected such that it refills within a day: at {} renders/s of a sidecar at most {}",
                    self.rate,
                    (LONGEST.as_secs_f64() * self.rate).floor()
                ),
            });
        }
        Ok(())
    }
}

fn within<T: Copy + PartialOrd + fmt::Display>(
    name: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), Unfit> {
    if (&least..=&most).contains(&&value) {
        return Ok(());
    }
    Err(Unfit {
        name,
        value: value.to_string(),
        accepted: format!("expected {least} to {most}"),
    })
}
