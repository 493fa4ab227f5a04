//! Lookups of a replay: answered from what is held, or told why not, as the room `lookup` does.

use super::{
    calls::RecordedProject,
    course::ReplayedAnswer,
    interest::ReplayedLookup,
    run::{ReplayRun, ReplayedEvent},
    sidecar::ReplayedWaiter,
};
use crate::{
    admission::{Wish, WishVerdict},
    moment::Moment,
    reason::{NotRefreshed, Refusal},
};

impl ReplayRun<'_> {
    pub(super) fn look_up(&mut self, lookup: ReplayedLookup) {
        let (now, project) = (self.now, lookup.project);
        self.waiters += 1;
        let mut waiter = ReplayedWaiter {
            id: self.waiters,
            project,
            until: now,
            weight: lookup.weight,
            came: now,
        };
        let held = self.sidecar.held(project);
        if let Some(release) = &mut self.seen.release {
            let rollout = held.map(|held| held.order.rollout);
            release.looked_up(project, rollout, now);
        }
        if self.sidecar.is_fresh(project, now) {
            return self.answer(waiter, ReplayedAnswer::Fresh);
        }
        if held.is_none() && self.sidecar.is_absent(project, now) {
            return self.answer(waiter, ReplayedAnswer::Failed);
        }
        let (second, epoch) = (now.since_start().as_secs() + 1, self.sidecar.epoch);
        let slot = self.sidecar.slot(project);
        let is_quiet = slot
            .quiet
            .is_some_and(|(until, told)| until > now && told == epoch);
        if held.is_some() && is_quiet && slot.told_in == second {
            return self.answer(waiter, ReplayedAnswer::Outdated);
        }
        slot.told_in = second;
        waiter.until = now + self.patience(held);
        match self.want(project, Some(waiter.until)) {
            WishVerdict::Wait => {
                self.at(waiter.until, ReplayedEvent::Leaves(waiter.id));
                self.sidecar.waiting.push(waiter);
            }
            WishVerdict::Refused(refused) => self.refused(waiter, refused.refusal),
        }
        self.settle();
    }

    /// A lookup has waited for as long as it would.
    pub(super) fn leave(&mut self, id: u64) {
        let waiting = &mut self.sidecar.waiting;
        let Some(place) = waiting.iter().position(|waiting| waiting.id == id) else {
            return;
        };
        let waiter = waiting.swap_remove(place);
        let name = self.sidecar.name(waiter.project);
        self.sidecar.admission.left(&name, waiter.until, self.now);
        self.answer_as_held(waiter);
        self.settle();
    }

    /// Something landed for a lookup that waited.
    pub(super) fn look_again(&mut self, waiter: ReplayedWaiter) {
        if self.sidecar.is_fresh(waiter.project, self.now) {
            return self.answer(waiter, ReplayedAnswer::Fresh);
        }
        match self.want(waiter.project, None) {
            WishVerdict::Refused(refused) => self.refused(waiter, refused.refusal),
            WishVerdict::Wait => self.answer_as_held(waiter),
        }
    }

    /// A lookup is told why its project is not fresh. The refusal of what is held is remembered, as
    /// far as it holds for others.
    pub(super) fn refused(&mut self, waiter: ReplayedWaiter, refusal: Refusal) {
        let (until, epoch) = (self.now + refusal.retry_after, self.sidecar.epoch);
        let holds_for_all = !matches!(
            refusal.reason,
            NotRefreshed::Scheduled | NotRefreshed::TimedOut
        );
        let slot = self.sidecar.slot(waiter.project);
        if slot.held.is_some() && holds_for_all {
            slot.quiet = Some((until, epoch));
        }
        self.answer_as_held(waiter);
    }

    pub(super) fn answer(&mut self, waiter: ReplayedWaiter, how: ReplayedAnswer) {
        self.seen.answered(how, waiter.weight, waiter.came);
    }

    fn answer_as_held(&mut self, waiter: ReplayedWaiter) {
        let how = match self.sidecar.held(waiter.project) {
            Some(_) => ReplayedAnswer::Outdated,
            None => ReplayedAnswer::Failed,
        };
        self.answer(waiter, how);
    }

    fn want(&mut self, project: RecordedProject, until: Option<Moment>) -> WishVerdict {
        let now = self.now;
        let wish = Wish {
            held: self.sidecar.held(project),
            want: self.sidecar.want(project, now),
            demand: None,
            until,
        };
        let name = self.sidecar.name(project);
        self.sidecar.admission.want(&name, wish, now)
    }
}
