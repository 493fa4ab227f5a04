//! The renders and fetches in flight: how many, since when, and what the last ones tell about the
//! next.

mod recent;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub(super) use self::recent::Recent;
use super::{
    budget::{Lane, Permits},
    register::{Flight, Stage},
    tuning::Guesses,
    words::Class,
};
use crate::{moment::Moment, revision::Project};

#[derive(Debug)]
pub(super) struct Flights {
    pub(super) renders: u32,
    pub(super) outdated: u32,
    pub(super) cooling: u32,
    /// Confirming ones included.
    pub(super) fetches: u32,
    ages: Ages,
    /// The renders, by when they were launched.
    pub(super) launched: BTreeSet<(Moment, Project)>,
    /// How long a render may run before its permit comes home.
    deadline: Duration,
    rendered: RefusalTally,
    fetched: RefusalTally,
    pub(super) recent_renders: Recent,
    pub(super) recent_fetches: Recent,
}

/// How many calls were answered, and how many plainly refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RefusalTally {
    pub(super) answered: u64,
    pub(super) refused: u64,
}

/// When the renders in flight were launched.
#[derive(Debug, Default)]
struct Ages {
    all: Launches,
    outdated: Launches,
    cooling: Launches,
}

/// How many were launched when.
#[derive(Debug, Default)]
struct Launches(BTreeMap<Moment, u32>);

impl Flights {
    pub(super) fn new(tuning: Guesses) -> Self {
        Self {
            renders: 0,
            outdated: 0,
            cooling: 0,
            fetches: 0,
            ages: Ages::default(),
            launched: BTreeSet::new(),
            deadline: Duration::MAX,
            rendered: RefusalTally::default(),
            fetched: RefusalTally::default(),
            recent_renders: Recent::new(tuning),
            recent_fetches: Recent::new(tuning),
        }
    }

    pub(super) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    pub(super) fn launched(&mut self, project: &Project, flight: &Flight) {
        if !flight.is_render() {
            self.fetches += 1;
            return;
        }
        self.ages.launched(flight);
        self.launched.insert((flight.since, project.clone()));
        self.renders += 1;
        self.outdated += u32::from(flight.is_outdated());
        self.cooling += u32::from(flight.is_cooling);
    }

    pub(super) fn landed(&mut self, project: &Project, flight: &Flight) {
        if !flight.is_render() {
            self.fetches -= 1;
            return;
        }
        self.ages.landed(flight);
        self.launched.remove(&(flight.since, project.clone()));
        self.renders -= 1;
        self.outdated -= u32::from(flight.is_outdated());
        self.cooling -= u32::from(flight.is_cooling);
    }

    /// Records that the renderer took a call, and answered it.
    pub(super) fn answered(&mut self, flight: &Flight) {
        self.tally_of(flight).answered += 1;
    }

    /// Records that the renderer plainly refused a call.
    pub(super) fn refused(&mut self, flight: &Flight) {
        self.tally_of(flight).refused += 1;
    }

    /// What became of all calls that are like one.
    pub(super) fn tally(&mut self, flight: &Flight) -> RefusalTally {
        *self.tally_of(flight)
    }

    fn tally_of(&mut self, flight: &Flight) -> &mut RefusalTally {
        if flight.is_render() {
            &mut self.rendered
        } else {
            &mut self.fetched
        }
    }

    /// Whether a render of that lane can have a permit, beside that many others that are to start.
    pub(super) fn leave_room(&self, permits: Permits, lane: Lane, beside: u32) -> bool {
        self.renders + beside < permits.all
            && (lane.class == Class::Missing || self.outdated + beside < permits.outdated)
            && (!lane.is_cooling || self.cooling + beside < permits.cooling)
    }

    /// The render that has been in flight for longest: since when, and of which project.
    pub(super) fn oldest(&self) -> Option<(Moment, &Project)> {
        let (since, project) = self.launched.first()?;
        Some((*since, project))
    }

    /// If all permits of a lane are held for longer than a render takes: when the first can be
    /// expected back, and how long a render then takes. An overdue render is expected to take as
    /// long again as it has run, but not beyond its deadline.
    pub(super) fn overdue(
        &self,
        permits: Permits,
        lane: Lane,
        now: Moment,
    ) -> Option<(Duration, Duration)> {
        let is_outdated = lane.class == Class::Outdated;
        let short = [
            (self.renders >= permits.all, &self.ages.all),
            (
                is_outdated && self.outdated >= permits.outdated,
                &self.ages.outdated,
            ),
            (
                lane.is_cooling && self.cooling >= permits.cooling,
                &self.ages.cooling,
            ),
        ];
        let short = short.into_iter().filter(|(is_short, _)| *is_short);
        short
            .filter_map(|(_, launches)| launches.overdue(self.deadline, now))
            .filter(|(youngest, _)| *youngest > self.recent_renders.expected())
            .map(|(youngest, ends)| (youngest.min(ends), youngest.min(self.deadline)))
            .max()
    }
}

impl Flight {
    pub(super) fn is_render(&self) -> bool {
        match self.stage {
            Stage::Render => true,
            Stage::Fetch | Stage::Confirm | Stage::Reserve => false,
        }
    }

    fn is_outdated(&self) -> bool {
        self.class == Class::Outdated
    }
}

impl Ages {
    fn launched(&mut self, flight: &Flight) {
        for launches in self.of(flight) {
            *launches.0.entry(flight.since).or_default() += 1;
        }
    }

    fn landed(&mut self, flight: &Flight) {
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
}

impl Launches {
    /// How long the youngest of these renders has run, and after how long the oldest reaches its
    /// deadline.
    fn overdue(&self, deadline: Duration, now: Moment) -> Option<(Duration, Duration)> {
        let (youngest, _) = self.0.last_key_value()?;
        let (oldest, _) = self.0.first_key_value()?;
        Some((
            now.since(*youngest),
            deadline.saturating_sub(now.since(*oldest)),
        ))
    }
}
