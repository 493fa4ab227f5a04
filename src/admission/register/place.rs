//! Where a project belongs in the register, and as what it counts against the queue.

use super::{
    effort::Effort,
    entry::Entry,
    wanted::{WantedKind, WantedStanding},
};
use crate::{
    admission::{tuning::Tuning, words::Class},
    moment::Moment,
};

/// Where a project stands in the register.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct RegisterSeat {
    /// The place in the queues of missing projects.
    pub(in crate::admission) arrival: u64,
    pub(in crate::admission) standing: WantedStanding,
    pub(in crate::admission) place: Place,
    pub(super) timer: Option<Moment>,
    pub(in crate::admission) counted: QueueCount,
}

/// Where a project stands: in exactly one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::admission) enum Place {
    InFlight,
    /// It was asked whether its render may start.
    Asked,
    /// Its render may start at that moment.
    Granted(Class, Moment),
    ToFetch,
    Missing,
    Wanted(WantedKind, WantedStanding),
    /// Wanted, behind its own gate.
    Cooling,
    /// Not wanted, but not to be forgotten yet.
    Resting,
}

impl Place {
    pub(in crate::admission) fn is_wanted(self) -> bool {
        self != Self::Resting
    }
}

/// As what a project counts against the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum QueueCount {
    Not,
    WaitedFor,
    Demoted,
}

impl Entry {
    /// Where this belongs and when to look again; nowhere when it can be forgotten.
    pub(in crate::admission) fn place_at(
        &self,
        fetches: bool,
        tuning: &Tuning,
        now: Moment,
    ) -> Option<(Place, Option<Moment>)> {
        let is_idle = self.is_satisfied() || !self.is_of_interest(now);
        match self.effort {
            Effort::Flight(_) => return Some((Place::InFlight, None)),
            Effort::Asked(_) => return Some((Place::Asked, None)),
            Effort::Granted(starts_at, _) if !is_idle => {
                let timer = (starts_at > now).then_some(starts_at);
                return Some((Place::Granted(self.class(), starts_at), timer));
            }
            Effort::Granted(..) | Effort::None => {}
        }
        let (gated_until, _) = self.gate(tuning);
        if is_idle {
            let raise_ends = self.raise_ends(tuning).unwrap_or_default();
            let until = gated_until
                .max(raise_ends)
                .max(self.demands.forgotten_at(tuning.cool_down.behind));
            return (until > now).then_some((Place::Resting, Some(until)));
        }
        if gated_until > now {
            return Some((Place::Cooling, Some(gated_until)));
        }
        let forgotten = self.waiters.is_empty().then_some(self.interest.until);
        let place = if self.held.is_some() {
            self.place_among_wanted()
        } else if self.fetching.is_due && fetches {
            let (fetched_at, _) = self.fetching.gate();
            if fetched_at > now {
                return Some((Place::Cooling, Some(fetched_at)));
            }
            Place::ToFetch
        } else if self.waiters.is_empty() {
            self.place_among_wanted()
        } else {
            Place::Missing
        };
        Some((place, forgotten))
    }

    fn place_among_wanted(&self) -> Place {
        let kind = if self.cool_down.is_cooling() {
            WantedKind::Failing
        } else if self.held.is_none() {
            WantedKind::Unseen
        } else if self.cool_down.is_pushed_back() {
            WantedKind::PushedBack
        } else {
            WantedKind::Held
        };
        Place::Wanted(kind, self.seat.standing)
    }

    pub(super) fn counts_as(&self) -> QueueCount {
        match self.seat.place {
            Place::InFlight => QueueCount::Not,
            _ if self.held.is_some() => QueueCount::Not,
            _ if !self.waiters.is_empty() => QueueCount::WaitedFor,
            Place::Asked
            | Place::Granted(..)
            | Place::ToFetch
            | Place::Missing
            | Place::Wanted(..) => QueueCount::Demoted,
            // The rate of fetches bounds them too little.
            Place::Cooling if self.seat.timer == Some(self.fetching.until) => QueueCount::Demoted,
            // Each of these was launched, so that the rate bounds them. Forgetting them would
            // forget that they are left alone.
            Place::Cooling | Place::Resting => QueueCount::Not,
        }
    }
}
