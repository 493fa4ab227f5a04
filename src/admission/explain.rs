//! Tells why a project is not refreshed, and when it may be: a pure function of the state and
//! `now`.

use std::time::Duration;

use super::{
    Admission,
    gates::{Candidate, Gate, QueueRoom, Shut},
    register::{Effort, Entry, Flight, Place, Stage},
    words::{Class, Refused},
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Project,
};

/// Why a project is not refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its class, by what is held.
    pub class: Class,
    /// A flight is under way.
    pub is_in_flight: bool,
    /// The first gate that is shut; `None` if the project is in flight, or may go.
    pub gate: Option<Gate>,
    /// What a caller is told.
    pub refusal: Refusal,
}

/// Whether the caller that is told found a flight under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It found one, or would have waited: the flight is not over.
    Flight,
    /// It caused the flight: its refresh is scheduled.
    Nothing,
}

impl Admission {
    /// Tells why a project is not refreshed at `now`; `None` if it is not wanted.
    pub fn explain(&self, project: &Project, now: Moment) -> Option<Explanation> {
        let entry = self.wanted_entry(project)?;
        let is_in_flight = entry.flight().is_some();
        let found = if is_in_flight {
            Found::Flight
        } else {
            Found::Nothing
        };
        let refused = self.refuse(project, found, QueueRoom::Some, now);
        Some(Explanation {
            class: refused.class,
            is_in_flight,
            gate: refused.gate,
            refusal: refused.refusal,
        })
    }

    /// Every gate in the order of asking, and how it is shut for a project, if it is; none when the
    /// project is not wanted, or is in flight, past all of them.
    pub fn gates(&self, project: &Project, now: Moment) -> Option<[(Gate, Option<Shut>); 8]> {
        let entry = self.wanted_entry(project)?;
        if entry.flight().is_some() {
            return None;
        }
        let candidate = self.candidate(project, entry, now);
        Some(Gate::ALL.map(|gate| (gate, self.ask(gate, &candidate, now))))
    }

    fn wanted_entry(&self, project: &Project) -> Option<&Entry> {
        let entry = self.register.get(project)?;
        entry.seat.place.is_wanted().then_some(entry)
    }

    /// What a caller that does not wait is told.
    pub(super) fn refuse(
        &self,
        project: &Project,
        found: Found,
        room: QueueRoom,
        now: Moment,
    ) -> Refused {
        let Some(entry) = self.register.get(project) else {
            // The queue had no room for it.
            let mut candidate = Candidate::next(Stage::Reserve, Class::Missing);
            candidate.room = QueueRoom::None;
            return self.told(Class::Missing, self.shut(&candidate, now));
        };
        let class = entry.held_class();
        if let Some(flight) = entry.flight()
            && room == QueueRoom::Some
        {
            let reason = match found {
                Found::Flight => NotRefreshed::TimedOut,
                Found::Nothing => NotRefreshed::Scheduled,
            };
            let wait = self.until_landed(flight, now);
            return Refused {
                class,
                gate: None,
                refusal: self.refusal(reason, wait),
            };
        }
        let mut candidate = self.candidate(project, entry, now);
        candidate.room = room;
        let shut = match entry.flight() {
            // It was launched after all, for callers that do not wait.
            Some(_) => self.ask(Gate::Queue, &candidate, now),
            None => self.shut(&candidate, now),
        };
        self.told(class, shut)
    }

    fn told(&self, class: Class, shut: Option<Shut>) -> Refused {
        let least = self.rules.tuning.guess.least_retry_after;
        let refusal = match shut {
            Some(shut) => shut.refusal(least),
            None => self.refusal(
                NotRefreshed::Scheduled,
                self.flights.recent_renders.median(),
            ),
        };
        Refused {
            class,
            gate: shut.map(|shut| shut.gate),
            refusal,
        }
    }

    fn refusal(&self, reason: NotRefreshed, wait: Duration) -> Refusal {
        Refusal {
            reason,
            retry_after: wait.max(self.rules.tuning.guess.least_retry_after),
        }
    }

    fn until_landed(&self, flight: &Flight, now: Moment) -> Duration {
        let elapsed = now.since(flight.since);
        self.flights.recent_renders.remaining(elapsed)
    }

    /// A wanted project that is not in flight, as the gates see it.
    pub(super) fn candidate(&self, project: &Project, entry: &Entry, now: Moment) -> Candidate {
        let tuning = &self.rules.tuning;
        let placed = entry.place_at(self.fetches.come_first(), tuning, now);
        let place = placed.map_or(Place::Resting, |(place, _)| place);
        let stage = match place {
            Place::ToFetch => Stage::Fetch,
            Place::Granted(..) => Stage::Render,
            Place::Asked
            | Place::Missing
            | Place::Wanted(..)
            | Place::Cooling
            | Place::Resting
            | Place::InFlight => Stage::Reserve,
        };
        let (own, fetch) = (entry.gate(tuning), entry.fetching.gate());
        let alone = match entry.effort {
            Effort::Asked(ask) => (self.reserve.ends_at(ask), NotRefreshed::Throttled),
            Effort::Granted(starts_at, _) => (starts_at, NotRefreshed::Throttled),
            Effort::None | Effort::Flight(_) if place == Place::Cooling && own.0 <= now => fetch,
            Effort::None | Effort::Flight(_) => own,
        };
        let arrival = entry.seat.arrival;
        Candidate {
            stage,
            class: entry.class(),
            is_cooling: entry.cool_down.is_cooling(),
            is_unseen: entry.held.is_none(),
            alone,
            room: QueueRoom::Some,
            ahead: self.register.ahead_of(project, place, arrival),
        }
    }

    /// Whether a caller that waits until then can expect the project to land.
    pub(super) fn is_worth_waiting(&self, project: &Project, until: Moment, now: Moment) -> bool {
        let Some(entry) = self.register.get(project) else {
            return false;
        };
        if until <= now {
            return false;
        }
        if let Some(flight) = entry.flight() {
            return !flight.is_render() || now + self.until_landed(flight, now) <= until;
        }
        let may_queue = entry.held.is_none() || entry.demands.highest.is_some();
        if !may_queue || self.way.is_draining {
            return false;
        }
        let candidate = self.candidate(project, entry, now);
        let fetches = self.fetches.come_first() && entry.held.is_none() && entry.fetching.is_due;
        let recent = if fetches {
            &self.flights.recent_fetches
        } else {
            &self.flights.recent_renders
        };
        let wait = match self.shut(&candidate, now) {
            // How long permits are held is unknown yet, unless they have been held for long.
            Some(shut) if shut.gate == Gate::Concurrency && recent.is_empty() => {
                let permits = self.permits_in_force(now);
                match self.flights.overdue(permits, candidate.lane(), now) {
                    Some((next, _)) if !fetches => next,
                    Some(_) | None => Duration::ZERO,
                }
            }
            Some(shut) => shut.wait.max(self.rules.tuning.guess.least_retry_after),
            None => Duration::ZERO,
        };
        now + wait + recent.median() <= until
    }
}
