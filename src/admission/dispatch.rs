//! Launches what passes every gate.

use std::time::Duration;

use super::{
    Action, Admission, Class, FetchPermit, Link, Permit,
    limits::{MISSING_START, OUTDATED_TURN},
    project::Flight,
};
use crate::{moment::Moment, revision::Project};

impl Admission {
    pub(super) fn dispatch(&mut self, now: Moment) {
        (self.next_token, self.next_fetch_token) = (None, None);
        if self.is_draining || self.link != Link::Up {
            return;
        }
        self.dispatch_fetches(now);
        while let Some((project, class)) = self.next_candidate(now) {
            if !self.take_token(class, now) {
                break;
            }
            self.launch(&project, class, now);
        }
    }

    fn dispatch_fetches(&mut self, now: Moment) {
        while let Some((_, project)) = self.to_fetch.first_key_value() {
            if self.in_flight.fetches >= self.limits.fetch.concurrency.get() {
                return;
            }
            if let Err(next) = self.fetch_bucket.take(now) {
                self.next_fetch_token = next;
                return;
            }
            let project = project.clone();
            self.in_flight.fetches += 1;
            self.take_off(&project, true, now);
            self.actions.push(Action::Fetch {
                project,
                permit: FetchPermit { _private: () },
            });
        }
    }

    /// The project whose turn it is and for which there is a permit, and the class in which it is served.
    fn next_candidate(&mut self, now: Moment) -> Option<(Project, Class)> {
        self.drop_uninteresting(now);
        let missing = self.next_missing();
        let outdated = self.next_outdated();
        match (missing, outdated) {
            (Some(_), Some(outdated)) if self.missing_turns + 1 >= OUTDATED_TURN => {
                Some((outdated, Class::Outdated))
            }
            (Some(missing), _) => Some((missing, Class::Missing)),
            (None, outdated) => outdated.map(|project| (project, Class::Outdated)),
        }
    }

    /// Drops from the heads of the index what nobody has looked up for long.
    fn drop_uninteresting(&mut self, now: Moment) {
        while let Some(project) = self.uninteresting_head(now) {
            self.settle(&project, now);
        }
    }

    fn uninteresting_head(&self, now: Moment) -> Option<Project> {
        let is_of_interest = |project: &Project| {
            self.entries
                .get(project)
                .is_some_and(|entry| entry.is_of_interest(now))
        };
        let mut heads = [self.wanted.peek(), self.again.peek()]
            .into_iter()
            .flatten();
        heads.find(|project| !is_of_interest(project)).cloned()
    }

    pub(super) fn next_missing(&self) -> Option<Project> {
        if !self.has_permit(Class::Missing, false) {
            return None;
        }
        let may_cool = self.has_permit(Class::Missing, true);
        let mut queue = self.missing.values();
        queue
            .find(|project| {
                may_cool
                    || self
                        .entries
                        .get(*project)
                        .is_some_and(|entry| !entry.is_cooling())
            })
            .cloned()
    }

    fn next_outdated(&self) -> Option<Project> {
        let of = |index: &super::Wanted, is_cooling| {
            index
                .peek()
                .filter(|_| self.has_permit(Class::Outdated, is_cooling))
                .cloned()
        };
        of(&self.wanted, false).or_else(|| of(&self.again, true))
    }

    /// Whether there is a permit for a render of that class.
    pub(super) fn has_permit(&self, class: Class, is_cooling: bool) -> bool {
        let flying = &self.in_flight;
        flying.renders < self.limits.concurrency.get()
            && (class == Class::Missing || flying.outdated < self.limits.outdated_permits())
            && (!is_cooling || flying.cooling < self.limits.cooling_permits())
    }

    /// Takes a token; else notes when the next is there.
    fn take_token(&mut self, class: Class, now: Moment) -> bool {
        let opens = self.opens(class);
        self.next_token = if now < opens {
            Some(opens)
        } else {
            match self.bucket.take(now) {
                Ok(()) => return true,
                Err(next) => next,
            }
        };
        false
    }

    /// When the first token is given out.
    fn opens(&self, class: Class) -> Moment {
        let held_back =
            Duration::try_from_secs_f64(self.phase / self.limits.rate).unwrap_or_default();
        self.start
            + match class {
                Class::Missing => held_back.min(MISSING_START),
                Class::Outdated => held_back,
            }
    }

    fn launch(&mut self, project: &Project, class: Class, now: Moment) {
        match class {
            Class::Missing if self.wanted.is_empty() && self.again.is_empty() => {
                self.missing_turns = 0
            }
            Class::Missing => self.missing_turns += 1,
            Class::Outdated => {
                self.missing_turns = 0;
                if self.wanted.peek() == Some(project) {
                    self.wanted.turn();
                } else {
                    self.again.turn();
                }
            }
        }
        let target = self.target;
        let Some(flight) = self.take_off(project, false, now) else {
            return;
        };
        self.in_flight.renders += 1;
        self.in_flight.outdated += u32::from(class == Class::Outdated);
        self.in_flight.cooling += u32::from(flight.is_cooling);
        let is_demand = self
            .entries
            .get(project)
            .is_some_and(|entry| entry.demand.is_some());
        self.actions.push(Action::Render {
            project: project.clone(),
            rollout: flight.asked.rollout.max(target),
            is_demand,
            class,
            permit: Permit { _private: () },
        });
    }

    fn take_off(&mut self, project: &Project, is_fetch: bool, now: Moment) -> Option<Flight> {
        let mut entry = self.take_entry(project)?;
        let flight = Flight {
            is_fetch,
            since: now,
            asked: entry.asked(),
            class: entry.class(),
            is_cooling: entry.is_cooling(),
        };
        entry.flight = Some(flight);
        self.put_entry(project, entry, now);
        Some(flight)
    }
}
