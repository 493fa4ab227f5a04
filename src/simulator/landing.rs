//! What admission decided is carried out, and what calls bring is held and told. It stands in for
//! the room `refresh`, and does as that does.

use std::time::Duration;

use super::{
    calls::{RendererAnswer, SimulatedCall, number},
    plan::Upkeep,
    renderer::{AnsweredFailure, CallId},
    sidecar::{Caller, ProjectId, Waiting},
    watch::{Launch, Observer},
    world::{Event, World},
};
use crate::{
    admission::{
        Action, AskId, CallFailure, Dropping, FetchLanding, HeldMark, Landing, Outcome, WishVerdict,
    },
    revision::{AnswerOrigin, Order, Project},
};

/// For how long a project that is not found is taken for absent.
const ABSENCE: Duration = Duration::from_secs(30);

impl<W: Observer> World<W> {
    /// Carries out what the machine decided, and sets its alarm. Those who wait wake after that.
    pub(super) fn settle(&mut self, id: usize) {
        let mut resolved = Vec::new();
        for action in self.sidecars[id].admission.take_actions() {
            match action {
                Action::Render {
                    project,
                    rollout,
                    class,
                    attempt,
                    ..
                } => self.launch(id, &project, rollout, Launch::Render { class, attempt }),
                Action::Fetch { project, .. } => self.launch(id, &project, 0, Launch::Fetch),
                Action::Reserve {
                    ask, candidates, ..
                } => self.ask(id, ask, candidates.len()),
                // Nothing is missed here, and the reserver counts no leases.
                Action::Confirm { .. } | Action::Return { .. } => {}
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

    /// Asks the reserver whether that many renders may start.
    fn ask(&mut self, id: usize, ask: AskId, candidates: usize) {
        let sidecar = &self.sidecars[id];
        self.watch.asks(sidecar, self.now);
        let answer = Event::Reserved(id, sidecar.incarnation, ask, candidates);
        if !self.reserver.is_dead {
            self.at(self.reserver.takes, answer);
        }
    }

    /// Sends a render or a fetch on its way.
    fn launch(&mut self, id: usize, name: &Project, rollout: u64, launch: Launch) {
        let (project, now) = (self.names.id(name), self.now);
        let sidecar = &mut self.sidecars[id];
        self.watch.launched(sidecar, project, launch, now);
        sidecar.slots[project].quiet = None;
        let (is_fetch, deadline) = match launch {
            Launch::Render { class, .. } => {
                self.observed.admitted(now, class);
                (false, self.plan.deadline)
            }
            Launch::Fetch => (true, self.plan.fetch_deadline),
        };
        let call = SimulatedCall {
            sidecar: id,
            incarnation: sidecar.incarnation,
            project,
            is_fetch,
            connection: sidecar.connection,
            replica: sidecar.replica,
            rollout,
            sent_at: now,
            is_answered: false,
            tries: 0,
        };
        self.send(call, deadline);
    }

    /// Connects every sidecar anew, each to any of the replicas, as when the renderer's pods are
    /// replaced.
    pub fn redial_all(&mut self) {
        for id in 0..self.sidecars.len() {
            self.redial(id, self.sidecars[id].connection);
        }
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
        let project = self.names.id(name);
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
        self.watch.woken(sidecar, project, self.now);
        if sidecar.slots[project].held.is_none() {
            return;
        }
        if caller.is_missing {
            self.observed.missing_answered(self.now);
        }
        if sidecar.is_fresh(project) {
            return;
        }
        if let WishVerdict::Refused(refused) = self.want(id, project, None) {
            let is_missing = false;
            let caller = Caller {
                is_missing,
                ..caller
            };
            self.refused(id, project, refused.refusal, caller);
        }
    }

    pub(super) fn answered(&mut self, call: CallId, answer: RendererAnswer) {
        if std::mem::replace(&mut self.calls[call].is_answered, true) {
            return;
        }
        let call = self.calls[call];
        if self.plan.way == Upkeep::Incident {
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
        self.watch.answered(sidecar, call.project, answer, self.now);
    }

    fn fetched(&mut self, call: SimulatedCall, answer: RendererAnswer) {
        let landing = match answer {
            RendererAnswer::Stored { order: Some(order) } => {
                FetchLanding::Held(self.store(call, order))
            }
            RendererAnswer::Unimplemented => FetchLanding::Unimplemented,
            RendererAnswer::Stored { order: None }
            | RendererAnswer::Rendered { .. }
            | RendererAnswer::NotFound => FetchLanding::Nothing,
            RendererAnswer::Unavailable
            | RendererAnswer::Broken
            | RendererAnswer::Failed(_)
            | RendererAnswer::Exhausted(_)
            | RendererAnswer::Refused
            | RendererAnswer::DeadlineExceeded => FetchLanding::Failed(failure_of(answer)),
        };
        let (name, now) = (self.names.of(call.project), self.now);
        let sidecar = &mut self.sidecars[call.sidecar];
        self.watch.fetched(sidecar, call.project, landing, now);
        sidecar.admission.fetched(name, landing, now);
    }

    fn landed(&mut self, call: SimulatedCall, answer: RendererAnswer) {
        let now = self.now;
        let sidecar = &mut self.sidecars[call.sidecar];
        let before = sidecar.slots[call.project].held;
        sidecar.progress.rendered(now.since(call.sent_at));
        let landing = match answer {
            RendererAnswer::Rendered { rollout } => {
                Landing::Held(self.store(call, Order::new(rollout, number(now))))
            }
            RendererAnswer::NotFound => self.not_found(call),
            RendererAnswer::Failed(AnsweredFailure::Rejected) => Landing::Rejected,
            RendererAnswer::Unavailable
            | RendererAnswer::Broken
            | RendererAnswer::Failed(_)
            | RendererAnswer::Stored { .. }
            | RendererAnswer::Unimplemented
            | RendererAnswer::Exhausted(_)
            | RendererAnswer::Refused
            | RendererAnswer::DeadlineExceeded => Landing::Failed(failure_of(answer)),
        };
        self.observed.landed(now, &landing);
        let name = self.names.of(call.project);
        let sidecar = &mut self.sidecars[call.sidecar];
        self.watch
            .landed(sidecar, call.project, landing, before, now);
        let admission = &mut sidecar.admission;
        admission.came_over(name, call.connection, landing, now);
        admission.landed(name, landing, now);
    }

    /// A missing project is absent for a while. A held one is held until a second NOT_FOUND over
    /// another connection, and longer while too many would be dropped at once.
    fn not_found(&mut self, call: SimulatedCall) -> Landing {
        let now = self.now;
        let sidecar = &mut self.sidecars[call.sidecar];
        if sidecar.slots[call.project].held.is_some() {
            let origin = AnswerOrigin {
                at: now,
                connection: Some(call.connection),
            };
            let first = *sidecar.slots[call.project].gone.get_or_insert(origin);
            let held = sidecar.count_held() as u64;
            if !first.is_confirmed_by(origin, sidecar.drops.confirmed_after(held))
                || sidecar.drops.decide(held, now) != Dropping::Allowed
            {
                return Landing::Gone;
            }
            self.watch.dropped(sidecar, call.project, now);
            self.observed.dropped(now);
            sidecar.evict(call.project);
        }
        sidecar.slots[call.project].absent_until = now + ABSENCE;
        Landing::NotFound
    }

    /// Holds what a call brought, if it is newer, and tells what is held then.
    pub(super) fn store(&mut self, call: SimulatedCall, order: Order) -> HeldMark {
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
        (slot.held, slot.gone) = (Some(held), None);
        if was_behind && order >= target {
            sidecar.progress.catch_up(now);
        }
        if !was_fresh && sidecar.is_fresh(call.project) {
            sidecar.slots[call.project].become_fresh();
            self.watch.became_fresh(sidecar, call.project, now);
            self.observed.useful(now);
        }
        held
    }
}

/// Which failure of a call an answer is.
fn failure_of(answer: RendererAnswer) -> CallFailure {
    match answer {
        RendererAnswer::Unavailable => CallFailure::Unavailable,
        RendererAnswer::Failed(AnsweredFailure::Unauthenticated) => CallFailure::Unauthenticated,
        RendererAnswer::Failed(AnsweredFailure::Aborted) => CallFailure::Aborted,
        RendererAnswer::Exhausted(pushback) => CallFailure::Exhausted(pushback),
        RendererAnswer::Refused => CallFailure::Refused,
        RendererAnswer::DeadlineExceeded => CallFailure::DeadlineExceeded,
        RendererAnswer::Failed(AnsweredFailure::Internal | AnsweredFailure::Rejected)
        | RendererAnswer::Broken
        | RendererAnswer::Rendered { .. }
        | RendererAnswer::Stored { .. }
        | RendererAnswer::Unimplemented
        | RendererAnswer::NotFound => CallFailure::Other,
    }
}
