//! Lookups that want a project: whether each waits, and when waiting lookups are told something.

use super::{
    Action, Admission,
    explain::Found,
    gates::{Gate, QueueRoom},
    register::Entry,
    words::{Outcome, Refused, Wish, WishVerdict},
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Project,
};

impl Admission {
    /// Records that a lookup wants a project, and says whether to wait.
    pub fn want(&mut self, project: &Project, wish: Wish, now: Moment) -> WishVerdict {
        self.proceed(now);
        let mut entry = self.register.take_or_new(project, wish, now);
        entry.look_up(wish, &self.rules.tuning, now);
        let is_in_flight = entry.flight().is_some();
        // Only a lookup that does not wait and found no flight is told that its refresh is
        // scheduled.
        let found = if is_in_flight || wish.until.is_some() {
            Found::Flight
        } else {
            Found::Nothing
        };
        let is_queued = is_in_flight || !entry.waiters.is_empty() || wish.held.is_some();
        let room = if is_queued || self.register.counts.waited_for < self.queue() {
            QueueRoom::Some
        } else {
            QueueRoom::None
        };
        let refused_for = entry.refuses_demand(wish.demand, now);
        let until = wish
            .until
            .filter(|_| room == QueueRoom::Some && refused_for.is_none());
        if let Some(until) = until {
            entry.waiters.add(until);
        }
        let class = entry.class();
        self.register.put(project, entry, self.around(now));
        self.proceed(now);
        if let Some(retry_after) = refused_for {
            return WishVerdict::Refused(Refused {
                class,
                gate: Some(Gate::Project),
                refusal: Refusal {
                    reason: NotRefreshed::RendererBehind,
                    retry_after,
                },
            });
        }
        if until.is_some_and(|until| self.is_worth_waiting(project, until, now)) {
            return WishVerdict::Wait;
        }
        if let Some(until) = until {
            self.left(project, until, now);
        }
        WishVerdict::Refused(self.refuse(project, found, room, now))
    }

    /// Records that a lookup which waited for a project until `until` has left.
    pub fn left(&mut self, project: &Project, until: Moment, now: Moment) {
        // What is due is told to the lookups that still wait.
        self.proceed(now);
        let around = self.around(now);
        let left = self
            .register
            .update(project, around, |entry| entry.waiters.remove(until));
        if left.is_some() {
            // The renderer has stopped offering Fetch: what waited for a fetch may be rendered now.
            self.proceed(now);
        }
    }

    /// Tells the lookups that wait for a project, if any.
    pub(super) fn resolve(&mut self, project: &Project, entry: &mut Entry, outcome: Outcome) {
        if entry.waiters.clear() {
            let project = project.clone();
            self.actions.push(Action::Resolve { project, outcome });
        }
    }

    /// Sends away, in turn, some lookups whose project will not land in time.
    pub(super) fn review_some(&mut self, now: Moment) {
        let most = self.rules.tuning.turns.reviewed;
        let projects = self.register.queues.next_to_review(most);
        self.review(projects, now);
    }

    pub(super) fn review(&mut self, projects: impl IntoIterator<Item = Project>, now: Moment) {
        let mut are_sent_away = false;
        for project in projects {
            let entry = self.register.get(&project);
            let Some(until) = entry.and_then(|entry| entry.waiters.latest()) else {
                continue;
            };
            if self.is_worth_waiting(&project, until, now) {
                continue;
            }
            let refused = self.refuse(&project, Found::Flight, QueueRoom::Some, now);
            if let Some(mut entry) = self.register.take(&project) {
                self.resolve(&project, &mut entry, Outcome::Refused(refused.refusal));
                self.register.put(&project, entry, self.around(now));
                are_sent_away = true;
            }
        }
        if are_sent_away {
            // They stand elsewhere now, or what was granted to them may go to others.
            self.dispatch(now);
        }
    }
}
