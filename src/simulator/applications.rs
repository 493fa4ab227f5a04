//! What applications do: they look projects up, wait for as long as they are patient, are told why
//! a project is not fresh, and try again. It stands in for the room `lookup`, and does as that
//! does.

use std::time::Duration;

use super::{
    calls::number,
    plan::{COLD_PATIENCE, PATIENCE, Upkeep},
    sidecar::{Caller, ProjectId, Waiting},
    watch::Observer,
    world::{Event, World},
};
use crate::{
    admission::{Wish, WishVerdict},
    moment::Moment,
    reason::{NotRefreshed, Refusal},
};

/// How often an application tries again after an error.
pub(super) const TRIES: u32 = 5;
/// What a lookup says of a missing project of which admission knows nothing.
const UNEXPLAINED: Refusal = Refusal {
    reason: NotRefreshed::QueueFull,
    retry_after: Duration::from_secs(1),
};

impl<W: Observer> World<W> {
    /// Has as many lookups a second of names that are no projects, from now on.
    pub fn set_typos(&mut self, per_second: f64) {
        let before = std::mem::replace(&mut self.fate.typos, per_second);
        if before == 0.0 && per_second > 0.0 {
            self.mistype();
        }
    }

    pub(super) fn application_looks_up(&mut self, sidecar: usize) {
        let next = self.gap(self.plan.lookups);
        self.at(next, Event::Lookup(sidecar));
        let project = self.popular();
        self.look_up(sidecar, project, 0);
    }

    /// A project as applications look them up: some often, most seldom.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "projects are few"
    )]
    fn popular(&mut self) -> ProjectId {
        (self.plan.projects as f64 * self.rng.f64().powi(3)) as ProjectId
    }

    /// Has something wanted of a sidecar: a changed project, or one that was evicted.
    pub(super) fn demand(&mut self) {
        let per_second = self.plan.capacity() * self.fate.load;
        if per_second > 0.0 {
            let gap = Duration::from_secs_f64(1.0 / per_second);
            self.at(gap, Event::Demand);
        } else {
            return self.at(Duration::from_secs(1), Event::Demand);
        }
        let id = self.rng.usize(..self.sidecars.len());
        let project = self.rng.usize(..self.plan.projects);
        self.observed.demanded(self.now);
        let is_missing = self.rng.f64() < self.fate.missing && !self.is_poison(project);
        let now = self.now;
        let sidecar = &mut self.sidecars[id];
        if is_missing {
            sidecar.evict(project);
            self.watch.evicted(sidecar, project, now);
        } else {
            sidecar.change(project, number(now));
            sidecar
                .admission
                .changed(self.names.of(project), number(now), now);
        }
        self.settle(id);
        self.look_up(id, project, 0);
    }

    /// Looks up a name that is none.
    pub(super) fn mistype(&mut self) {
        let gap = Duration::from_secs_f64(1.0 / self.fate.typos.max(1e-3));
        self.at(gap, Event::Typo);
        if self.fate.typos > 0.0 {
            let sidecar = self.rng.usize(..self.sidecars.len());
            let project = self.plan.projects + self.rng.usize(..self.plan.unknown);
            self.look_up(sidecar, project, TRIES);
        }
    }

    /// A lookup, as the product does it; `tries` is how often its application has tried before.
    pub(super) fn look_up(&mut self, id: usize, project: ProjectId, tries: u32) {
        let now = self.now;
        let is_suspended = self.sidecars[id].suspended_until > now;
        let sidecar = &mut self.sidecars[id];
        self.observed.looked_up(now);
        if is_suspended || sidecar.is_fresh(project) || sidecar.slots[project].absent_until > now {
            return;
        }
        self.watch.looked_up(sidecar, project, now);
        if self.plan.way == Upkeep::Incident {
            return self.forget_and_render(id, project);
        }
        let slot = &mut sidecar.slots[project];
        let is_missing = slot.held.is_none();
        let is_quiet = slot
            .quiet
            .is_some_and(|(until, epoch)| until > now && epoch == sidecar.epoch);
        let second = now.since_start().as_secs();
        if is_quiet && slot.told_in == second && !is_missing {
            self.observed.answered_outdated(now);
            return;
        }
        slot.told_in = second;
        self.watch.asked(sidecar, project, now);
        if is_missing {
            self.observed.missing_asked(now);
        }
        let patience = if is_missing { COLD_PATIENCE } else { PATIENCE };
        let until = now + patience.min(self.fate.callers_leave_after);
        let caller = Caller { is_missing, tries };
        match self.want(id, project, Some(until)) {
            WishVerdict::Wait => {
                self.waiters += 1;
                let sidecar = &mut self.sidecars[id];
                sidecar.waiting.push(Waiting {
                    id: self.waiters,
                    project,
                    until,
                    caller,
                });
                let leave = Event::Leave(id, sidecar.incarnation, self.waiters);
                self.at_moment(until, leave);
                self.settle(id);
            }
            WishVerdict::Refused(refused) => self.refused(id, project, refused.refusal, caller),
        }
    }

    pub(super) fn want(
        &mut self,
        id: usize,
        project: ProjectId,
        until: Option<Moment>,
    ) -> WishVerdict {
        let sidecar = &mut self.sidecars[id];
        let wish = Wish {
            held: sidecar.slots[project].held,
            want: sidecar.want(project),
            demand: None,
            until,
        };
        let name = self.names.of(project);
        sidecar.admission.want(name, wish, self.now)
    }

    /// A caller is not to wait. The refusal of what is held is remembered, as far as it holds for
    /// others.
    pub(super) fn refused(
        &mut self,
        id: usize,
        project: ProjectId,
        refusal: Refusal,
        caller: Caller,
    ) {
        let sidecar = &mut self.sidecars[id];
        self.watch.refused(sidecar, project, refusal, self.now);
        let slot = &mut sidecar.slots[project];
        let holds_for_all = !matches!(
            refusal.reason,
            NotRefreshed::Scheduled | NotRefreshed::TimedOut
        );
        if slot.held.is_some() && holds_for_all {
            slot.quiet = Some((self.now + refusal.retry_after, sidecar.epoch));
        }
        self.settle(id);
        self.told(id, project, refusal, caller);
    }

    /// A caller is told why its project is not fresh.
    pub(super) fn told(&mut self, id: usize, project: ProjectId, refusal: Refusal, caller: Caller) {
        let (now, sidecar) = (self.now, &self.sidecars[id]);
        self.watch.told(sidecar, project, refusal, now);
        self.observed.told(refusal.reason);
        if sidecar.slots[project].held.is_some() {
            self.observed.answered_outdated(now);
        }
        if caller.is_missing {
            self.observed.missing_failed(now);
            self.try_again(id, project, refusal.retry_after, caller.tries);
        }
    }

    /// Every other application comes back when it was told to, the others soon and stubbornly.
    fn try_again(&mut self, id: usize, project: ProjectId, after: Duration, tries: u32) {
        if tries >= TRIES {
            return;
        }
        let after = if project.is_multiple_of(2) {
            after.mul_f64(1.0 + 0.2 * self.rng.f64())
        } else {
            Duration::from_millis(100)
        };
        self.at(after, Event::Return(id, project, tries + 1));
    }

    pub(super) fn leave(&mut self, id: usize, incarnation: u32, waiter: u64) {
        let now = self.now;
        let sidecar = &mut self.sidecars[id];
        if sidecar.incarnation != incarnation {
            return;
        }
        let Some(place) = sidecar
            .waiting
            .iter()
            .position(|waiting| waiting.id == waiter)
        else {
            return;
        };
        let waiting = sidecar.waiting.swap_remove(place);
        let name = self.names.of(waiting.project);
        let explained = sidecar.admission.explain(name, now);
        self.watch.leaves(sidecar, waiting.project, explained, now);
        sidecar.admission.left(name, waiting.until, now);
        let explained = sidecar.admission.explain(name, now);
        let refusal = explained.map_or(UNEXPLAINED, |explained| explained.refusal);
        self.settle(id);
        self.told(id, waiting.project, refusal, waiting.caller);
    }
}
