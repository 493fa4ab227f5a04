//! What goes on in a pod: applications look up, the machine decides, its actions are carried out, and renders land. It stands in
//! for the rooms around admission, and does as they do.

use std::time::Duration;

use super::{
    renderer::{CallId, Failure},
    sidecar::{Caller, ProjectId, Slot, Waiting},
    sim::{Answer, COLD_PATIENCE, Call, Event, INCIDENT_TIMEOUT, PATIENCE, TRIES, Way, World},
};
use crate::{
    admission::{
        Action, CallFailure, Class, FetchLanding, HeldMark, Landing, Outcome, Tuning, Verdict, Wish,
    },
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::{Order, Project},
};

/// What a lookup says of a missing project of which the machine knows nothing.
const UNEXPLAINED: Refusal = Refusal {
    reason: NotRefreshed::QueueFull,
    retry_after: Duration::from_secs(1),
};
/// How soon after each other an application that starts looks its projects up.
const LOOKED_UP_EVERY: Duration = Duration::from_millis(25);

impl World {
    /// Has everything of a project held that was rendered before the run.
    pub(super) fn warm(&mut self, sidecar: usize) {
        let (now, target) = (self.now, self.fate.target);
        let sidecar = &mut self.sidecars[sidecar];
        for slot in &mut sidecar.slots[..self.plan.projects] {
            slot.held = Some(HeldMark {
                order: Order::rollout(target),
                validated_at: now,
            });
        }
        sidecar.behind = 0;
    }

    /// Replaces a pod by a new one, which holds nothing.
    pub(super) fn replace(&mut self, sidecar: usize) {
        let mut new = self.new_sidecar();
        let old = &mut self.sidecars[sidecar];
        new.incarnation = old.incarnation + 1;
        new.ledger = old.ledger;
        new.ledger.forgive_one();
        new.learned(self.plan.projects, self.now);
        let suspended = old.suspended_until;
        *old = new;
        old.suspended_until = suspended;
        self.settle(sidecar);
        let starting = LOOKED_UP_EVERY * u32::try_from(self.plan.projects).unwrap_or(u32::MAX);
        for project in 0..self.plan.projects {
            let after = starting.mul_f64(self.rng.f64());
            self.at(after, Event::Return(sidecar, project, 0));
        }
    }

    /// Raises the target of every sidecar within so long.
    pub(super) fn release(&mut self, spread: Duration) {
        self.fate.target += 1;
        let rollout = self.fate.target;
        for sidecar in 0..self.sidecars.len() {
            let after = spread.mul_f64(self.rng.f64());
            self.at(after, Event::Learn(sidecar, rollout));
        }
    }

    /// Has a sidecar learn of a target. Every project is watched, so that each is looked up at once.
    pub(super) fn learn(&mut self, id: usize, rollout: u64) {
        let now = self.now;
        let sidecar = &mut self.sidecars[id];
        if sidecar.target >= rollout {
            return;
        }
        sidecar.target = rollout;
        sidecar.epoch += 1;
        sidecar.admission.set_target(rollout, now);
        sidecar.witness.raised();
        let floor = Order::rollout(rollout);
        let known = &mut sidecar.slots[..self.plan.projects];
        for (project, slot) in known.iter_mut().enumerate() {
            // What is under way asks for less, so that it does not meet this wish.
            if sidecar.witness.is_flying(project) {
                slot.attempts = 0;
            }
        }
        sidecar.behind = known
            .iter()
            .filter(|slot| slot.held.is_none_or(|held| held.order < floor))
            .count();
        sidecar.learned(sidecar.behind, now);
        self.settle(id);
        for project in 0..self.plan.projects {
            self.look_up(id, project, TRIES);
        }
    }

    /// Sets the limits of a sidecar.
    pub(super) fn set_rate(&mut self, id: usize, rate: f64) {
        let now = self.now;
        let mut limits = self.plan.limits();
        limits.rate = rate;
        let sidecar = &mut self.sidecars[id];
        let change = rate - sidecar.admission.limits().rate;
        self.observed.rates_changed(change, now);
        sidecar.ledger.set_rate(rate, now);
        sidecar.witness.set_rate(rate, now);
        sidecar.epoch += 1;
        sidecar.admission.set_limits(limits, now);
        self.settle(id);
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
        } else {
            sidecar.change(project, number(now));
            sidecar
                .admission
                .changed(&self.names[project], number(now), now);
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
        self.observed.lookups += 1;
        if is_suspended || sidecar.is_fresh(project) || sidecar.slots[project].absent_until > now {
            return;
        }
        if self.plan.way == Way::Incident {
            return self.forget_and_render(id, project);
        }
        let slot = &mut sidecar.slots[project];
        slot.wanted_since.get_or_insert(now);
        let is_missing = slot.held.is_none();
        let is_quiet = slot
            .quiet
            .is_some_and(|(until, epoch)| until > now && epoch == sidecar.epoch);
        let second = now.since_start().as_secs();
        if is_quiet && slot.told_in == second && !is_missing {
            return;
        }
        (slot.told_in, slot.asked_at) = (second, now);
        if is_missing {
            self.observed.missing_asked(now);
        }
        let patience = if is_missing { COLD_PATIENCE } else { PATIENCE };
        let until = now + patience.min(self.fate.callers_leave_after);
        let caller = Caller { is_missing, tries };
        match self.want(id, project, Some(until)) {
            Verdict::Wait => {
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
            Verdict::Refused(refused) => self.refused(id, project, refused.refusal, caller),
        }
    }

    fn want(&mut self, id: usize, project: ProjectId, until: Option<Moment>) -> Verdict {
        let sidecar = &mut self.sidecars[id];
        let wish = Wish {
            held: sidecar.slots[project].held,
            want: sidecar.want(project),
            demand: None,
            until,
        };
        let name = &self.names[project];
        sidecar.admission.want(name, wish, self.now)
    }

    /// A caller is not to wait. The refusal of what is held is remembered, as far as it holds for others.
    fn refused(&mut self, id: usize, project: ProjectId, refusal: Refusal, caller: Caller) {
        let sidecar = &mut self.sidecars[id];
        let is_untrue = refusal.reason == NotRefreshed::QueueFull && !sidecar.is_queue_full();
        let slot = &mut sidecar.slots[project];
        let holds_for_all = !matches!(
            refusal.reason,
            NotRefreshed::Scheduled | NotRefreshed::TimedOut
        );
        if slot.held.is_some() && holds_for_all {
            slot.quiet = Some((self.now + refusal.retry_after, sidecar.epoch));
        }
        if refusal.reason == NotRefreshed::QueueFull {
            slot.wanted_since = None;
        }
        if is_untrue {
            self.observed
                .untrue
                .push((self.now, id, project, refusal.reason));
        }
        self.settle(id);
        self.told(id, project, refusal, caller);
    }

    /// A caller is told why its project is not fresh.
    fn told(&mut self, id: usize, project: ProjectId, refusal: Refusal, caller: Caller) {
        let now = self.now;
        let sidecar = &mut self.sidecars[id];
        if refusal.reason == NotRefreshed::Scheduled && !sidecar.witness.is_flying(project) {
            sidecar.scheduled.push((project, now));
        } else if !sidecar.is_true(project, refusal.reason, now) {
            self.observed
                .untrue
                .push((now, id, project, refusal.reason));
        }
        self.observed.told(refusal.reason);
        if refusal.reason == NotRefreshed::PushedBack
            && self.fate.quota.is_some_and(|quota| quota != project)
        {
            self.observed.pushed_back_for_others += 1;
        }
        if project < self.plan.projects {
            sidecar.promises.push((project, now, refusal));
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

    pub(super) fn wake(&mut self, id: usize, incarnation: u32) {
        let now = self.now;
        let sidecar = &mut self.sidecars[id];
        if sidecar.incarnation != incarnation || sidecar.wakes_at.is_none_or(|at| at > now) {
            return;
        }
        sidecar.wakes_at = None;
        sidecar.admission.tick(now);
        self.settle(id);
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
        let name = &self.names[waiting.project];
        if sidecar.admission.explain(name, now).is_none() {
            self.observed.forgotten += 1;
        }
        sidecar.admission.left(name, waiting.until, now);
        let explained = sidecar.admission.explain(name, now);
        let refusal = explained.map_or(UNEXPLAINED, |explained| explained.refusal);
        self.settle(id);
        self.told(id, waiting.project, refusal, waiting.caller);
    }

    /// Carries out what the machine decided, and sets its alarm. Those who wait wake after that.
    pub(super) fn settle(&mut self, id: usize) {
        self.miss_scheduled(id);
        let mut resolved = Vec::new();
        for action in self.sidecars[id].admission.take_actions() {
            match action {
                Action::Render {
                    project,
                    rollout,
                    class,
                    ..
                } => self.launch(id, &project, rollout, Some(class)),
                Action::Fetch { project, .. } => self.launch(id, &project, 0, None),
                // Only after a resync, which a simulation of its own is about.
                Action::Confirm { .. } | Action::Reserve { .. } | Action::Return { .. } => {}
                Action::Redial { connection } => self.redial(id, connection),
                Action::Resolve { project, outcome } => resolved.push((project, outcome)),
            }
        }
        let sidecar = &mut self.sidecars[id];
        let next = sidecar.admission.next_wake();
        if let Some(next) = next
            && sidecar.wakes_at.is_none_or(|at| next < at)
        {
            sidecar.wakes_at = Some(next);
            let wake = Event::Wake(id, sidecar.incarnation);
            self.at_moment(next, wake);
        }
        for (project, outcome) in resolved {
            self.resolve(id, &project, outcome);
        }
    }

    /// What was told to be scheduled, and was not launched at the same moment, was told untruly.
    fn miss_scheduled(&mut self, id: usize) {
        let now = self.now;
        let scheduled = &mut self.sidecars[id].scheduled;
        for (project, at) in scheduled.extract_if(.., |(_, at)| *at < now) {
            self.observed
                .untrue
                .push((at, id, project, NotRefreshed::Scheduled));
        }
    }

    /// Sends a render of that class on its way, or a fetch.
    fn launch(&mut self, id: usize, name: &Project, rollout: u64, class: Option<Class>) {
        let (project, now) = (self.id(name), self.now);
        let sidecar = &mut self.sidecars[id];
        let (want, is_fresh) = (sidecar.want(project), sidecar.is_fresh(project));
        sidecar.witness.launched(project, class, want, now);
        sidecar
            .scheduled
            .retain(|(scheduled, _)| *scheduled != project);
        sidecar.slots[project].quiet = None;
        if let Some(class) = class {
            let (flying, limit) = (sidecar.witness.flying(), self.plan.concurrency);
            assert!(flying <= limit, "P2: {flying} in flight, at most {limit}");
            self.observed.admitted(now, class);
            self.observed.held(sidecar.witness.attempts_in_hold());
            // What a flight tells is kept when it lands; what a gate tells, when it opens.
            let is_of_gate =
                |reason| !matches!(reason, NotRefreshed::TimedOut | NotRefreshed::Scheduled);
            for (at, refusal) in sidecar.kept_promises(project, is_of_gate) {
                self.observed.kept_promise(now, at, refusal);
            }
            let excess = sidecar.ledger.launched(now);
            self.observed.excess(excess);
            let entry = &sidecar.admission.register.entries[name];
            let is_retry = entry.flight().is_some_and(|flight| flight.attempt > 1);
            let attempts = &mut sidecar.slots[project].attempts;
            self.observed.launched(*attempts > 0, is_retry);
            self.observed.wasted += u64::from(is_fresh);
            *attempts += 1;
        }
        let call = Call {
            sidecar: id,
            incarnation: sidecar.incarnation,
            project,
            is_fetch: class.is_none(),
            connection: sidecar.connection,
            replica: sidecar.replica,
            rollout,
            is_answered: false,
            tries: 0,
        };
        let deadline = match class {
            Some(_) => self.plan.deadline,
            None => self.plan.fetch_deadline,
        };
        self.send(call, deadline);
    }

    /// Connects a sidecar anew, to any of the replicas.
    fn redial(&mut self, id: usize, connection: u64) {
        let replica = self.rng.f64();
        let sidecar = &mut self.sidecars[id];
        if sidecar.connection == connection {
            sidecar.connection += 1;
            sidecar.replica = replica;
        }
    }

    fn resolve(&mut self, id: usize, name: &Project, outcome: Outcome) {
        let project = self.id(name);
        let waiting = &mut self.sidecars[id].waiting;
        let resolved: Vec<_> = waiting
            .extract_if(.., |waiting| waiting.project == project)
            .collect();
        for Waiting { caller, .. } in resolved {
            match outcome {
                Outcome::Landed => self.look_again(id, project, caller),
                Outcome::NotFound => {}
                Outcome::Refused(refusal) => self.told(id, project, refusal, caller),
            }
        }
    }

    /// A caller for whom something landed: what is held now is its answer, fresh or not.
    fn look_again(&mut self, id: usize, project: ProjectId, caller: Caller) {
        let sidecar = &self.sidecars[id];
        if sidecar.slots[project].held.is_none() {
            self.observed.forgotten += 1;
            return;
        }
        if caller.is_missing {
            self.observed.missing_answered(self.now);
        }
        if sidecar.is_fresh(project) {
            return;
        }
        if let Verdict::Refused(refused) = self.want(id, project, None) {
            let is_missing = false;
            let caller = Caller {
                is_missing,
                ..caller
            };
            self.refused(id, project, refused.refusal, caller);
        }
    }

    pub(super) fn answered(&mut self, call: CallId, answer: Answer) {
        if std::mem::replace(&mut self.calls[call].is_answered, true) {
            return;
        }
        let call = self.calls[call];
        if self.plan.way == Way::Incident {
            return self.incident_lands(call, answer);
        }
        if self.sidecars[call.sidecar].incarnation != call.incarnation {
            return;
        }
        if call.is_fetch {
            self.fetched(call, answer);
        } else {
            self.landed(call, answer);
        }
        self.settle(call.sidecar);
        let sidecar = &self.sidecars[call.sidecar];
        // What is refused is tried again for those who wait.
        let is_refused = matches!(answer, Answer::Refused);
        if sidecar.slots[call.project].held.is_some() && !is_refused {
            let is_forgotten = |waiting: &&Waiting| waiting.project == call.project;
            self.observed.forgotten += sidecar.waiting.iter().filter(is_forgotten).count();
        }
    }

    fn fetched(&mut self, call: Call, answer: Answer) {
        let landing = match answer {
            Answer::Stored { order: Some(order) } => FetchLanding::Held(self.store(call, order)),
            Answer::Unimplemented => FetchLanding::Unimplemented,
            Answer::Failed(Failure::Unauthenticated) => {
                FetchLanding::Failed(CallFailure::Unauthenticated)
            }
            Answer::Stored { order: None } | Answer::Rendered { .. } | Answer::NotFound => {
                FetchLanding::Nothing
            }
            Answer::Unavailable => FetchLanding::Failed(CallFailure::Unavailable),
            Answer::Broken | Answer::Failed(_) => FetchLanding::Failed(CallFailure::Other),
            Answer::Exhausted(pushback) => FetchLanding::Failed(CallFailure::Exhausted(pushback)),
            Answer::Refused => FetchLanding::Failed(CallFailure::Refused),
            Answer::DeadlineExceeded => FetchLanding::Failed(CallFailure::DeadlineExceeded),
        };
        let (name, now) = (&self.names[call.project], self.now);
        let sidecar = &mut self.sidecars[call.sidecar];
        sidecar.witness.fetched(call.project, landing, now);
        sidecar.admission.fetched(name, landing, now);
    }

    fn landed(&mut self, call: Call, answer: Answer) {
        let now = self.now;
        let sidecar = &mut self.sidecars[call.sidecar];
        let before = sidecar.slots[call.project].held;
        sidecar.rendered(now.since(sidecar.witness.launched_at(call.project)));
        let landing = match answer {
            Answer::Rendered { rollout } => {
                Landing::Held(self.store(call, Order::new(rollout, number(now))))
            }
            Answer::NotFound => {
                let slot = &mut self.sidecars[call.sidecar].slots[call.project];
                slot.absent_until = now + Duration::from_secs(30);
                slot.wanted_since = None;
                Landing::NotFound
            }
            Answer::Unavailable => Landing::Failed(CallFailure::Unavailable),
            Answer::Failed(failure) => failed(failure),
            Answer::Broken | Answer::Stored { .. } | Answer::Unimplemented => {
                Landing::Failed(CallFailure::Other)
            }
            Answer::Exhausted(pushback) => Landing::Failed(CallFailure::Exhausted(pushback)),
            Answer::Refused => Landing::Failed(CallFailure::Refused),
            Answer::DeadlineExceeded => Landing::Failed(CallFailure::DeadlineExceeded),
        };
        self.observed.landed(now, &landing);
        let name = &self.names[call.project];
        let sidecar = &mut self.sidecars[call.sidecar];
        sidecar.witness.landed(call.project, &landing, before, now);
        let admission = &mut sidecar.admission;
        admission.came_over(name, call.connection, landing, now);
        admission.landed(name, landing, now);
    }

    /// Holds what a call brought, if it is newer, and tells what is held then.
    fn store(&mut self, call: Call, order: Order) -> HeldMark {
        let now = self.now;
        let sidecar = &mut self.sidecars[call.sidecar];
        let was_fresh = sidecar.is_fresh(call.project);
        let target = Order::rollout(sidecar.target);
        let slot = &mut sidecar.slots[call.project];
        let was_behind = slot.held.is_none_or(|held| held.order < target);
        let order = slot.held.map_or(order, |held| held.order.max(order));
        let held = HeldMark {
            order,
            validated_at: now,
        };
        slot.held = Some(held);
        if was_behind && order >= target {
            sidecar.catches_up(now);
        }
        if !was_fresh && sidecar.is_fresh(call.project) {
            sidecar.slots[call.project].become_fresh();
            for (at, refusal) in sidecar.kept_promises(call.project, |_| true) {
                self.observed.kept_promise(now, at, refusal);
            }
            self.observed.useful(now);
        }
        held
    }

    /// The incident's way: what is outdated is forgotten, and each lookup renders.
    fn forget_and_render(&mut self, id: usize, project: ProjectId) {
        let now = self.now;
        let sidecar = &mut self.sidecars[id];
        let before = sidecar.slots[project];
        sidecar.evict(project);
        let slot = &mut sidecar.slots[project];
        slot.changed = before.changed;
        slot.was_forgotten |= before.held.is_some();
        slot.wanted_since.get_or_insert(now);
        self.render_as_in_the_incident(id, project, 0);
    }

    fn render_as_in_the_incident(&mut self, sidecar: usize, project: ProjectId, tries: u32) {
        self.observed.launched(tries > 0, tries > 0);
        let call = Call {
            sidecar,
            incarnation: 0,
            project,
            is_fetch: false,
            connection: self.sidecars[sidecar].connection,
            replica: self.sidecars[sidecar].replica,
            rollout: self.sidecars[sidecar].target,
            is_answered: false,
            tries,
        };
        self.send(call, INCIDENT_TIMEOUT);
    }

    fn incident_lands(&mut self, call: Call, answer: Answer) {
        if let Answer::Rendered { rollout } = answer {
            self.store(call, Order::new(rollout, number(self.now)));
        } else if call.tries < TRIES {
            self.render_as_in_the_incident(call.sidecar, call.project, call.tries + 1);
        } else if self.sidecars[call.sidecar].slots[call.project].was_forgotten {
            self.observed.failed_though_held += 1;
        }
    }

    /// Notes what the run ended with.
    pub(super) fn conclude(&mut self) {
        let patience = self.plan.recovery();
        let quota = self.fate.quota;
        self.observed.rates_changed(0.0, self.now);
        for sidecar in &self.sidecars {
            self.observed.converged.push(sidecar.converged);
            let known = (0..self.plan.projects).filter(|project| Some(*project) != quota);
            let is_late = |project: &usize| {
                let slot = sidecar.slots[*project];
                !sidecar.is_fresh(*project)
                    && slot
                        .wanted_since
                        .is_some_and(|at| at + patience <= self.now)
                    && slot.asked_at + Tuning::DEFAULT.interest.lasts > self.now
            };
            self.observed.unfresh += known.filter(is_late).count();
        }
    }
}

fn failed(failure: Failure) -> Landing {
    Landing::Failed(match failure {
        Failure::Rejected => return Landing::Rejected,
        Failure::Internal => CallFailure::Other,
        Failure::Aborted => CallFailure::Aborted,
        Failure::Unauthenticated => CallFailure::Unauthenticated,
    })
}

/// The version of every project's input: it changes all the time.
pub(super) fn number(now: Moment) -> u64 {
    u64::try_from(now.since_start().as_micros()).expect("BUG: a run is short")
}

impl Slot {
    fn become_fresh(&mut self) {
        *self = Self {
            held: self.held,
            changed: self.changed,
            ..Self::default()
        };
    }
}
