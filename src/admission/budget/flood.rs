//! Detects a flood of projects that do not exist, so that it does not use up the budget of those
//! that do.

use std::{collections::VecDeque, time::Duration};

use crate::{
    admission::{Landing, tuning::ShareTuning},
    moment::Moment,
};

/// At most this many are remembered.
const LONGEST: usize = 1_000;

/// What the last first renders of projects brought.
#[derive(Debug)]
pub(in crate::admission) struct Flood {
    tuning: ShareTuning,
    unknown: VecDeque<bool>,
    /// When a project of which nothing is held was last launched.
    launched: Option<Moment>,
}

/// What the last first renders of projects found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstRenders {
    /// How many found that there is no such project.
    pub unknown: usize,
    /// How many there were, of those that count.
    pub seen: usize,
    /// How many count.
    pub window: usize,
}

impl FirstRenders {
    /// Whether there are enough, and half of them found no project.
    pub fn is_flood(self) -> bool {
        self.seen >= self.window && self.unknown * 2 >= self.window
    }
}

impl Flood {
    pub(in crate::admission) fn new(tuning: ShareTuning) -> Self {
        Self {
            tuning,
            unknown: VecDeque::new(),
            launched: None,
        }
    }

    /// What is remembered.
    pub(in crate::admission) fn of_late(&self) -> FirstRenders {
        let unknown = self.unknown.iter().filter(|is_unknown| **is_unknown);
        FirstRenders {
            unknown: unknown.count(),
            seen: self.unknown.len(),
            window: self.tuning.flood_window,
        }
    }

    /// Records what a first render brought.
    pub(in crate::admission) fn record(&mut self, landing: Landing) {
        if self.unknown.len() == self.tuning.flood_window.min(LONGEST) {
            self.unknown.pop_front();
        }
        self.unknown.push_back(landing == Landing::NotFound);
    }

    pub(in crate::admission) fn launched(&mut self, now: Moment) {
        self.launched = Some(now);
    }

    /// Until when projects of which nothing is held must wait, so that they only get their share of
    /// the rate.
    pub(in crate::admission) fn holds_until(&self, rate: f64, now: Moment) -> Option<Moment> {
        if !self.of_late().is_flood() || rate <= 0.0 {
            return None;
        }
        let gap = Duration::try_from_secs_f64(1.0 / (rate * self.tuning.flood_share))
            .unwrap_or(Duration::MAX);
        self.launched
            .map(|launched| launched + gap)
            .filter(|&until| until > now)
    }
}
