//! What a recorded while would have been with other limits.
//!
//! [`Replay`] tells the real [admission](crate::admission) again, in virtual time, what a
//! [`Record`] says that a sidecar was told: who was looked up, and which target, limits and
//! connection there were. What renders bring and how long they take follows from what the recorded
//! renders brought at about the same time ([`weather`]), and from how many of them the renderer
//! works on at once ([`workers`]). The outcome is a [`Course`]: the recorded one and a replayed one
//! are measured alike.
//!
//! Not replayed are what the cache evicts, fetches that confirm what is held, callers with another
//! patience than the settings', and demands.

mod calls;
mod course;
mod flights;
mod interest;
mod lookups;
mod queue;
mod run;
mod sidecar;
mod weather;
mod workers;

use std::num::NonZeroU32;

use self::{calls::RecordedCalls, run::ReplayRun, weather::RendererWeather};
pub use self::{course::Course, workers::RendererModel};
use crate::{admission::Limits, record::Record};

/// The figures are medians of replays with these seeds.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// Limits that are other than the recorded ones; those that are none stay as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OtherLimits {
    /// Renders per second.
    pub rate: Option<f64>,
    /// The most renders that may have been saved up.
    pub burst: Option<NonZeroU32>,
    /// The most renders in flight at once.
    pub concurrency: Option<NonZeroU32>,
}

/// A record that is ready to be replayed.
#[derive(Debug)]
pub struct Replay<'a> {
    record: &'a Record,
    calls: RecordedCalls,
    model: RendererModel,
    weather: RendererWeather,
}

impl OtherLimits {
    /// Whether nothing is other than it was.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    fn instead_of(self, recorded: Limits) -> Limits {
        Limits {
            rate: self.rate.unwrap_or(recorded.rate),
            burst: self.burst.unwrap_or(recorded.burst),
            concurrency: self.concurrency.unwrap_or(recorded.concurrency),
            ..recorded
        }
    }
}

impl<'a> Replay<'a> {
    /// Learns from a record how its renderer did.
    pub fn of(record: &'a Record) -> Self {
        let calls = RecordedCalls::of(record);
        let (model, works) = RendererModel::of(&calls);
        let weather = RendererWeather::of(record, &calls, &works);
        Self {
            record,
            calls,
            model,
            weather,
        }
    }

    /// How many renders the renderer works on at once.
    pub fn model(&self) -> RendererModel {
        self.model
    }

    /// What happened.
    pub fn recorded(&self) -> Course {
        Course::recorded(self.record, &self.calls)
    }

    /// What would have happened with these limits, as the median of a few replays. The same record
    /// and limits always have the same outcome.
    pub fn with(&self, limits: OtherLimits) -> Course {
        let courses = SEEDS.map(|seed| ReplayRun::new(self, limits, seed).finish());
        Course::median(&courses)
    }
}

#[cfg(test)]
mod tests;
