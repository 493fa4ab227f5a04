//! Launches what passes every gate.

use super::{
    Action, Admission, Advance, Class, FetchPermit, Link, Permit,
    breaker::Cause,
    controllers::Controller,
    limits::{MISSING_START, OUTDATED_TURN, PROBE_CANDIDATES, RATE_STEP},
    project::Flight,
    wanted::{Kind, Wanted},
};
use crate::{moment::Moment, revision::Project};

/// Finds the wanted project whose turn it is, among the kinds that may go.
type Peek = for<'a> fn(&'a Wanted, &dyn Fn(Kind) -> bool) -> Option<&'a Project>;

impl Admission {
    pub(super) fn dispatch(&mut self, now: Moment) {
        self.forget_wakes();
        self.next_permits = [&self.renders_at_once, &self.fetches_at_once]
            .into_iter()
            .filter_map(|learned| learned.forgotten_at(now))
            .min();
        if self.is_draining || self.link != Link::Up {
            return;
        }
        if self.unusable_until > now {
            let until = Some(self.unusable_until);
            (self.next_token, self.next_fetch_token) = (until, until);
            self.next_confirmation = until.filter(|_| self.confirming.left() > 0);
            return;
        }
        if let Some(until) = self.breaker.valve.is_shut(now) {
            (self.next_token, self.next_fetch_token) = (until, until);
            // That renders fail says nothing of what is stored.
            self.dispatch_confirmations(now);
            return;
        }
        self.dispatch_fetches(now);
        self.dispatch_confirmations(now);
        self.set_rate(now);
        while !self.is_stopped(now) {
            let Some((project, class)) = self.next_candidate(now) else {
                self.next_token = self.flooded_until(now);
                break;
            };
            if !self.take_token(class, now) {
                break;
            }
            self.launch(&project, class, now);
        }
        let is_slowed = self.rate(now) < self.limits.rate;
        if is_slowed {
            let step = now + RATE_STEP;
            self.next_token = Some(self.next_token.map_or(step, |next| next.min(step)));
        }
    }

    /// Whether a valve is shut or a render was refused alone, and until when.
    fn is_stopped(&mut self, now: Moment) -> bool {
        let valves = [self.breaker.valve, self.pushbacks.valve];
        let shut = valves.iter().find_map(|valve| valve.is_shut(now));
        let refused = || self.renders_stopped_until(now).map(Some);
        let Some(until) = shut.or_else(refused) else {
            return false;
        };
        self.next_token = until;
        true
    }

    /// Until when no render is launched because one was refused alone.
    pub(super) fn renders_stopped_until(&self, now: Moment) -> Option<Moment> {
        let until = self.renders_at_once.stopped_until(now);
        until.filter(|_| self.has(Controller::RefusedStop))
    }

    /// Sets the bucket to the rate that the pace and the ramps leave.
    pub(super) fn set_rate(&mut self, now: Moment) {
        let rate = self.rate(now);
        self.bucket.set(rate, self.limits.burst, now);
    }

    /// Renders per second that the pace and the ramps leave of the rate.
    pub(super) fn rate(&self, now: Moment) -> f64 {
        let ramps = [
            (Controller::BreakerRamp, self.breaker.valve),
            (Controller::HoldRamp, self.pushbacks.valve),
        ];
        let share = ramps
            .into_iter()
            .filter(|(ramp, _)| self.has(*ramp))
            .map(|(_, valve)| valve.share(now))
            .fold(1.0, f64::min);
        self.limits.rate * share * self.pace.multiplier(now)
    }

    fn dispatch_fetches(&mut self, now: Moment) {
        if self.fetches_held_until > now {
            self.next_fetch_token = Some(self.fetches_held_until);
            return;
        }
        if let Some(until) = self.fetches_at_once.stopped_until(now) {
            self.next_fetch_token = Some(until);
            return;
        }
        let limit = self.fetches_at_once(now).get();
        while let Some(project) = self.next_fetch(now) {
            let is_shut = self.breaker.valve.is_shut(now).is_some();
            if is_shut || self.in_flight.fetches >= limit {
                return;
            }
            if let Err(next) = self.fetch_bucket.take(now) {
                self.next_fetch_token = next;
                return;
            }
            self.take_off(&project, true, now);
            self.in_flight.fetches += 1;
            if self.breaker.cause() == Some(Cause::IdentityRefused) {
                self.breaker.valve.launched(now);
            }
            self.actions.push(Action::Fetch {
                project,
                permit: FetchPermit { _private: () },
            });
        }
    }

    /// The project that is fetched next. Where fetches were given up, one at a time finds out whether they are answered again:
    /// of those that wait for a render the last.
    fn next_fetch(&mut self, now: Moment) -> Option<Project> {
        if !self.store.is_given_up() {
            return self
                .to_fetch
                .first_key_value()
                .map(|(_, next)| next.clone());
        }
        if !self.may_fetch() || self.in_flight.fetches > 0 {
            return None;
        }
        let probe_at = self.store.probe_at();
        if probe_at > now {
            self.next_fetch_token = Some(probe_at).filter(|_| !self.missing.is_empty());
            return None;
        }
        let (_, last) = self.missing.last_key_value()?;
        self.entries.get(last)?.needs_fetch.then(|| last.clone())
    }

    /// Launches what is to be confirmed, when no missing project is to be fetched.
    fn dispatch_confirmations(&mut self, now: Moment) {
        let is_refused = self.breaker.cause() == Some(Cause::IdentityRefused);
        if !self.to_fetch.is_empty() || !self.may_fetch() || is_refused {
            return;
        }
        while self.in_flight.fetches < self.fetches_at_once(now).get() {
            let project = match self.confirming.next(&self.limits.fetch, now) {
                Ok(project) => project,
                Err(next) => {
                    self.next_confirmation = next;
                    return;
                }
            };
            let held_until = Some(self.fetches_held_until).filter(|until| *until > now);
            let halted_until = held_until.max(self.fetches_at_once.stopped_until(now));
            if halted_until.is_some() {
                self.next_confirmation = halted_until;
                return;
            }
            if let Err(next) = self.fetch_bucket.take(now) {
                self.next_confirmation = next;
                return;
            }
            self.in_flight.fetches += 1;
            self.confirming.launched(&project, &self.limits.fetch, now);
            self.actions.push(Action::Confirm {
                project,
                permit: FetchPermit { _private: () },
            });
        }
    }

    /// Forgets when to look again.
    pub(super) fn forget_wakes(&mut self) {
        (self.next_token, self.next_fetch_token) = (None, None);
        self.next_confirmation = None;
    }

    /// The project whose turn it is and for which there is a permit, and the class in which it is served.
    fn next_candidate(&mut self, now: Moment) -> Option<(Project, Class)> {
        let valves = [self.breaker.valve, self.pushbacks.valve];
        let is_refused_alone =
            self.has(Controller::RefusedStop) && self.renders_at_once.is_probing(now);
        if is_refused_alone || valves.iter().any(|valve| valve.wants_probe(now)) {
            return self.next_probe(now);
        }
        let missing = self.next_missing(now);
        let outdated = self.next_outdated(now, Wanted::peek);
        match (missing, outdated) {
            (Some(_), Some(outdated))
                if self.missing_turns + 1 >= OUTDATED_TURN
                    && self.has(Controller::OutdatedTurn) =>
            {
                Some((outdated, Class::Outdated))
            }
            (Some(missing), _) => Some((missing, Class::Missing)),
            (None, outdated) => outdated.map(|project| (project, Class::Outdated)),
        }
    }

    /// The project whose render tells most of the renderer: one that did not fail and was not pushed back when it was last rendered;
    /// else the one whose last render is longest ago, so that no bad project is the probe again and again.
    fn next_probe(&mut self, now: Moment) -> Option<(Project, Class)> {
        let outdated = self.next_outdated(now, Wanted::probe);
        let missing = self
            .next_missing(now)
            .map(|_| self.missing.values().take(PROBE_CANDIDATES));
        let may_cool = self.has_permit(Class::Missing, true, now);
        let candidates = outdated
            .iter()
            .map(|project| (project, Class::Outdated))
            .chain(
                missing
                    .into_iter()
                    .flatten()
                    .map(|project| (project, Class::Missing)),
            );
        let judged = candidates.filter_map(|(project, class)| {
            let entry = self.entries.get(project)?;
            let may_go = class == Class::Outdated || may_cool || !entry.is_cooling();
            let is_suspect = entry.is_suspect();
            let yields = !is_suspect && class == Class::Outdated;
            let judged = (is_suspect, yields, entry.standing.since);
            may_go.then_some((judged, project, class))
        });
        let (_, project, class) = judged.min_by_key(|(judged, ..)| *judged)?;
        Some((project.clone(), class))
    }

    pub(super) fn next_missing(&self, now: Moment) -> Option<Project> {
        if !self.has_permit(Class::Missing, false, now) || self.flooded_until(now).is_some() {
            return None;
        }
        let may_cool = self.has_permit(Class::Missing, true, now);
        let may_go = |project: &&Project| {
            may_cool
                || self
                    .entries
                    .get(*project)
                    .is_some_and(|entry| !entry.is_cooling())
        };
        self.missing.values().find(may_go).cloned()
    }

    /// The wanted project whose turn it is; those at the head that nobody has looked up for long are dropped.
    fn next_outdated(&mut self, now: Moment, peek: Peek) -> Option<Project> {
        loop {
            let may_fail = self.has_permit(Class::Outdated, true, now);
            let may_go = self.has_permit(Class::Outdated, false, now);
            let is_flooded = self.flooded_until(now).is_some();
            let next = peek(&self.wanted, &|kind| match kind {
                Kind::Held | Kind::PushedBack => may_go,
                Kind::Unseen => may_go && !is_flooded,
                Kind::Failing => may_fail,
            });
            let next = next?.clone();
            if self
                .entries
                .get(&next)
                .is_some_and(|entry| entry.is_of_interest(now))
            {
                return Some(next);
            }
            self.settle(&next, now);
        }
    }

    /// Whether there is a permit for a render of that class.
    pub(super) fn has_permit(&self, class: Class, is_cooling: bool, now: Moment) -> bool {
        let (flying, limits) = (&self.in_flight, self.limits_in_force(now));
        flying.renders < limits.concurrency.get()
            && (class == Class::Missing
                || flying.outdated < limits.outdated_permits()
                || !self.has(Controller::MissingPermits))
            && (!is_cooling
                || flying.cooling < limits.cooling_permits()
                || !self.has(Controller::FailingShare))
    }

    /// Takes a token; else notes when the next is there.
    fn take_token(&mut self, class: Class, now: Moment) -> bool {
        if self.advance == Advance::Owed {
            if let Err(next) = self.bucket.take(now) {
                self.next_token = next;
                return false;
            }
            self.advance = Advance::Settled;
        }
        let Err(next) = self.bucket.take(now) else {
            self.advance = Advance::Settled;
            return true;
        };
        self.next_token = next;
        if class == Class::Missing && self.advance == Advance::Offered && next.is_some() {
            let opens = self.start + MISSING_START.mul_f64(self.phase / self.limits.rate.max(1.0));
            if opens <= now {
                self.advance = Advance::Owed;
                return true;
            }
            self.next_token = next.min(Some(opens));
        }
        false
    }

    /// Until when projects of which nothing is held are to wait, because too many turn out not to exist.
    pub(super) fn flooded_until(&self, now: Moment) -> Option<Moment> {
        let until = self.flood.holds_until(self.rate(now), now);
        until.filter(|_| self.has(Controller::FloodShare))
    }

    fn launch(&mut self, project: &Project, class: Class, now: Moment) {
        match class {
            Class::Missing if self.wanted.is_empty() => self.missing_turns = 0,
            Class::Missing => self.missing_turns += 1,
            Class::Outdated => {
                self.missing_turns = 0;
                self.wanted.turn();
            }
        }
        let Some(flight) = self.take_off(project, false, now) else {
            return;
        };
        if flight.is_unseen {
            self.flood.launched(now);
        }
        self.breaker.valve.launched(now);
        self.pushbacks.valve.launched(now);
        self.ages.launched(&flight);
        self.launched.insert((now, project.clone()));
        self.in_flight.renders += 1;
        self.in_flight.outdated += u32::from(flight.is_outdated());
        self.in_flight.cooling += u32::from(flight.is_cooling);
        let is_demand = self
            .entries
            .get(project)
            .is_some_and(|entry| entry.demand.is_some());
        self.actions.push(Action::Render {
            project: project.clone(),
            rollout: self.target,
            is_demand,
            class,
            permit: Permit { _private: () },
        });
    }

    fn take_off(&mut self, project: &Project, is_fetch: bool, now: Moment) -> Option<Flight> {
        let mut entry = self.take_entry(project)?;
        self.launches.all += 1;
        let launch = if is_fetch {
            self.fetches_at_once.launch(self.in_flight.fetches)
        } else {
            self.renders_at_once.launch(self.in_flight.renders)
        };
        let flight = Flight {
            is_fetch,
            number: self.launches.all,
            launch,
            since: now,
            want: entry.want,
            demand: entry.demand,
            class: entry.class(),
            is_cooling: entry.is_cooling(),
            is_unseen: entry.held.is_none(),
            // Render and Fetch carry the same identity.
            probes_breaker: self.breaker.valve.wants_probe(now)
                && (!is_fetch || self.breaker.cause() == Some(Cause::IdentityRefused)),
            probes_hold: !is_fetch && self.pushbacks.valve.wants_probe(now),
            attempt: entry.attempts + 1,
        };
        entry.flight = Some(flight);
        self.put_entry(project, entry, now);
        Some(flight)
    }
}
