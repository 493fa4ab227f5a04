//! How long permits have been held: what comes home next, where all of them are held for longer than a render takes.

use std::{collections::BTreeMap, time::Duration};

use super::project::Flight;
use crate::moment::Moment;

/// When the renders in flight were launched.
#[derive(Debug, Default)]
pub(super) struct Ages {
    all: Launches,
    outdated: Launches,
    cooling: Launches,
}

/// How many were launched when.
#[derive(Debug, Default)]
pub(super) struct Launches(BTreeMap<Moment, u32>);

impl Ages {
    pub(super) fn launched(&mut self, flight: &Flight) {
        for launches in self.of(flight) {
            *launches.0.entry(flight.since).or_default() += 1;
        }
    }

    pub(super) fn landed(&mut self, flight: &Flight) {
        for launches in self.of(flight) {
            if let Some(count) = launches.0.get_mut(&flight.since) {
                *count -= 1;
                if *count == 0 {
                    launches.0.remove(&flight.since);
                }
            }
        }
    }

    fn of(&mut self, flight: &Flight) -> impl Iterator<Item = &mut Launches> {
        let outdated = flight.is_outdated().then_some(&mut self.outdated);
        let cooling = flight.is_cooling.then_some(&mut self.cooling);
        [Some(&mut self.all), outdated, cooling]
            .into_iter()
            .flatten()
    }

    /// All renders.
    pub(super) fn all(&self) -> &Launches {
        &self.all
    }

    /// Those of outdated projects.
    pub(super) fn outdated(&self) -> &Launches {
        &self.outdated
    }

    /// Those of projects whose last render failed.
    pub(super) fn cooling(&self) -> &Launches {
        &self.cooling
    }
}

impl Launches {
    /// How long the youngest of these renders has run, and after how long the oldest reaches its deadline.
    pub(super) fn overdue(&self, deadline: Duration, now: Moment) -> Option<(Duration, Duration)> {
        let (youngest, _) = self.0.last_key_value()?;
        let (oldest, _) = self.0.first_key_value()?;
        Some((
            now.since(*youngest),
            deadline.saturating_sub(now.since(*oldest)),
        ))
    }
}
