//! Launches what passes every gate: fetches, then confirming fetches, then renders.
//!
//! A project is peeked at, not taken, until the ladder lets it pass. For a project that may not go,
//! the moment to look again is kept.

mod asking;
mod next;

use super::{
    Action, Admission, Looked,
    action::{FetchPermit, Lease, Permit},
    gates::Candidate,
    register::{Effort, Flight, Probes, Stage},
    words::Class,
};
use crate::{moment::Moment, revision::Project};

/// The earliest moment at which a gate opens by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Look(Option<Moment>);

impl Look {
    fn at(&mut self, moment: Option<Moment>) {
        self.0 = [self.0, moment].into_iter().flatten().min();
    }
}

impl Admission {
    pub(super) fn dispatch(&mut self, now: Moment) {
        let mut look = Look::default();
        self.set_rate(now);
        while let Some(project) = self.next_fetch(&mut look, now) {
            if !self.fetches.take(now) {
                look.at(self.fetches.token(now).err().flatten());
                break;
            }
            self.launch_fetch(project, now);
        }
        while let Some(project) = self.next_to_confirm(&mut look, now) {
            if !self.fetches.take(now) {
                look.at(self.fetches.token(now).err().flatten());
                break;
            }
            let launch = self.fetches.learned.launch(self.flights.fetches);
            self.flights.fetches += 1;
            let limits = self.fetches.limits();
            self.confirming.launched(&project, launch, limits, now);
            let permit = FetchPermit::new();
            self.actions.push(Action::Confirm { project, permit });
        }
        look.at(self.void_grants(now));
        while let Some(next) = self.next_render(None, &mut look, now) {
            if !self.begin(next, now) {
                // The bucket knows to the nanosecond: when to look again is asked anew.
                self.next_granted(&mut look, now);
                self.open(&mut look, now);
                break;
            }
        }
        if self.register.any_to_render() && self.rate(now) < self.rules.limits.rate {
            look.at(Some(now + self.rules.tuning.pace.step));
        }
        self.looked = Looked {
            at: now,
            next: look.0,
        };
    }

    /// Has the bucket refill at the rate that the ramps and the pace leave.
    pub(super) fn set_rate(&mut self, now: Moment) {
        self.budget.pay(now);
        let rate = self.rate(now);
        self.budget.set_rate(rate, self.rules.limits.burst, now);
    }

    /// Renders per second that the ramps and the pace leave of the rate.
    pub(super) fn rate(&self, now: Moment) -> f64 {
        self.rules.limits.rate * self.throttle.share(now)
    }

    /// Whether the gates let a candidate pass. If not, keeps when to look again.
    fn may_go(&self, candidate: &Candidate, look: &mut Look, now: Moment) -> bool {
        match self.shut(candidate, now) {
            Some(shut) => {
                look.at(shut.opens_at);
                false
            }
            None => true,
        }
    }

    /// The project that is fetched next. Where fetches were given up, one at a time finds out
    /// whether they are answered again: of those that wait for a render the last.
    fn next_fetch(&self, look: &mut Look, now: Moment) -> Option<Project> {
        let queues = &self.register.queues;
        let project = if !self.fetches.store.is_given_up() {
            queues.to_fetch.first()?
        } else {
            let last = queues.missing.last()?;
            if !self.fetches.may_be() || self.flights.fetches > 0 {
                return None;
            }
            let probe_at = self.fetches.store.probe_at();
            if probe_at > now {
                look.at(Some(probe_at));
                return None;
            }
            let is_due = self.register.get(last)?.fetching.is_due;
            is_due.then_some(last)?
        };
        let candidate = Candidate::next(Stage::Fetch, Class::Missing);
        self.may_go(&candidate, look, now).then(|| project.clone())
    }

    /// The project that is confirmed next, when no missing project is to be fetched.
    fn next_to_confirm(&mut self, look: &mut Look, now: Moment) -> Option<Project> {
        if !self.register.queues.to_fetch.is_empty() || !self.fetches.may_be() {
            return None;
        }
        let project = match self.confirming.next(self.fetches.limits(), now) {
            Ok(project) => project,
            Err(next) => {
                look.at(next);
                return None;
            }
        };
        let candidate = Candidate::next(Stage::Confirm, Class::Outdated);
        self.may_go(&candidate, look, now).then_some(project)
    }

    /// Renders a project.
    fn start(
        &mut self,
        project: &Project,
        class: Class,
        lease: Option<Lease>,
        now: Moment,
    ) -> bool {
        let rate = self.rules.limits.rate;
        if !self.budget.take(class, rate, now) {
            return false;
        }
        match class {
            Class::Missing if self.register.wanted.is_empty() => self.budget.missing_turns = 0,
            Class::Missing => {
                self.budget.missing_turns = self.budget.missing_turns.saturating_add(1);
            }
            Class::Outdated => {
                self.budget.missing_turns = 0;
                self.register.wanted.turn();
            }
        }
        let Some(flight) = self.take_off(project, Stage::Render, lease, now) else {
            return true;
        };
        if flight.is_unseen {
            self.budget.flood.launched(now);
        }
        self.actions.push(Action::Render {
            project: project.clone(),
            rollout: self.register.target(),
            is_demand: flight.demand.is_some(),
            class,
            attempt: flight.attempt,
            permit: Permit::new(lease),
        });
        true
    }

    fn launch_fetch(&mut self, project: Project, now: Moment) {
        self.take_off(&project, Stage::Fetch, None, now);
        let permit = FetchPermit::new();
        self.actions.push(Action::Fetch { project, permit });
    }

    fn take_off(
        &mut self,
        project: &Project,
        stage: Stage,
        lease: Option<Lease>,
        now: Moment,
    ) -> Option<Flight> {
        let due = self.throttle.probes(now);
        let launch = match stage {
            Stage::Render | Stage::Reserve => self.budget.learned.launch(self.flights.renders),
            Stage::Fetch | Stage::Confirm => self.fetches.learned.launch(self.flights.fetches),
        };
        let is_render = stage == Stage::Render;
        let probes = Probes {
            // Render and Fetch carry the same identity.
            breaker: due.breaker && (is_render || self.throttle.is_identity_refused()),
            hold: due.hold && is_render,
        };
        let around = self.around(now);
        let flight = self.register.update(project, around, |entry| {
            let flight = Flight {
                stage,
                launch,
                since: now,
                want: entry.want,
                demand: entry.demands.highest,
                class: entry.class(),
                is_cooling: entry.cool_down.is_cooling(),
                is_unseen: entry.held.is_none(),
                probes,
                attempt: entry.attempts + 1,
                lease,
            };
            // None | Granted → Flight
            entry.effort = Effort::Flight(flight);
            flight
        })?;
        self.throttle.launched(probes, now);
        self.flights.launched(project, &flight);
        Some(flight)
    }
}
