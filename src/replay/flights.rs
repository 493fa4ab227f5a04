//! What admission decided is carried out: renders go to the renderer, wait there, and land.

use super::{
    calls::RecordedProject,
    course::ReplayedAnswer,
    queue::{CallStage, ReplayedCall},
    run::{ReplayRun, ReplayedEvent},
    weather::RenderFate,
};
use crate::{
    admission::{Action, CallFailure, FetchLanding, HeldMark, Landing, Outcome},
    revision::Order,
};

impl ReplayRun<'_> {
    /// Carries out what the machine decided. Those who wait wake after that.
    pub(super) fn settle(&mut self) {
        loop {
            let actions = self.sidecar.admission.take_actions();
            if actions.is_empty() {
                return self.wake_in_time();
            }
            self.carry_out(actions);
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        let mut resolved = Vec::new();
        for action in actions {
            match action {
                Action::Render {
                    project, rollout, ..
                } => self.launch(self.sidecar.number(&project), rollout),
                Action::Fetch { project, .. } => {
                    let project = self.sidecar.number(&project);
                    let (landing, took) = self.weather.fetch(project, self.now);
                    self.after(took, ReplayedEvent::Fetched(project, landing));
                }
                Action::Resolve { project, outcome } => {
                    resolved.push((self.sidecar.number(&project), outcome));
                }
                // Whom a connection leads to is not recorded, nothing is to be confirmed, and the
                // budget is the sidecar's own.
                Action::Redial { .. }
                | Action::Confirm { .. }
                | Action::Reserve { .. }
                | Action::Return { .. } => {}
            }
        }
        for (project, outcome) in resolved {
            self.resolve(project, outcome);
        }
    }

    fn launch(&mut self, project: RecordedProject, rollout: u64) {
        let now = self.now;
        self.seen.begun.push(now);
        self.sidecar.slot(project).quiet = None;
        let call = self.calls.len();
        let fate = self.weather.render(project, rollout, now);
        let mut replayed = ReplayedCall {
            project,
            order: Order::default(),
            state: CallStage::Away,
        };
        match fate {
            RenderFate::Works { order } => {
                (replayed.order, replayed.state) = (order, CallStage::Waiting);
                self.calls.push(replayed);
                self.after(self.deadline_of_renders(), ReplayedEvent::Deadline(call));
                let started = self.queue.take(call);
                self.work(started);
            }
            RenderFate::Ends { took, landing } => {
                self.calls.push(replayed);
                self.after(took, ReplayedEvent::Lands(call, landing));
            }
        }
        let in_flight = self.in_flight + 1;
        self.in_flight = in_flight;
        self.seen.most_at_once = self.seen.most_at_once.max(in_flight);
    }

    /// A worker begins with a call.
    fn work(&mut self, call: Option<usize>) {
        if let Some(call) = call {
            self.calls[call].state = CallStage::Working;
            let work = self.weather.work(self.now);
            self.after(work, ReplayedEvent::Worked(call));
        }
    }

    pub(super) fn worked(&mut self, call: usize) {
        if self.calls[call].state != CallStage::Working {
            return;
        }
        let next = self.queue.done();
        self.work(next);
        let ReplayedCall { project, order, .. } = self.calls[call];
        let held = self.hold(project, order);
        self.land(call, Landing::Held(held));
    }

    /// The time of a render is over. One that nobody waits for is given up by the renderer, too.
    pub(super) fn deadline(&mut self, call: usize) {
        match self.calls[call].state {
            CallStage::Waiting => self.queue.forget(call),
            CallStage::Working => {
                let next = self.queue.done();
                self.work(next);
            }
            CallStage::Away | CallStage::Landed => return,
        }
        self.land(call, Landing::Failed(CallFailure::DeadlineExceeded));
    }

    pub(super) fn land(&mut self, call: usize, landing: Landing) {
        let (now, project) = (self.now, self.calls[call].project);
        self.calls[call].state = CallStage::Landed;
        self.sidecar.slot(project).quiet = None;
        self.in_flight -= 1;
        let is_held = self.sidecar.held(project).is_some();
        let landing = match landing {
            Landing::NotFound | Landing::Gone if is_held => Landing::Gone,
            Landing::NotFound | Landing::Gone => {
                self.sidecar.record_absent(project, now);
                Landing::NotFound
            }
            Landing::Held(_) | Landing::Rejected | Landing::Unreachable | Landing::Failed(_) => {
                landing
            }
        };
        self.seen.useless += usize::from(!matches!(landing, Landing::Held(_)));
        let name = self.sidecar.name(project);
        self.sidecar.admission.landed(&name, landing, now);
        self.settle();
    }

    pub(super) fn fetched(&mut self, project: RecordedProject, landing: FetchLanding) {
        let landing = match landing {
            FetchLanding::Held(held) => FetchLanding::Held(self.hold(project, held.order)),
            FetchLanding::Nothing
            | FetchLanding::Failed(_)
            | FetchLanding::Unreachable
            | FetchLanding::Unimplemented => landing,
        };
        let name = self.sidecar.name(project);
        self.sidecar.admission.fetched(&name, landing, self.now);
        self.settle();
    }

    /// Holds what came, if it is newer.
    pub(super) fn hold(&mut self, project: RecordedProject, order: Order) -> HeldMark {
        let held = self.sidecar.store(project, order, self.now);
        if let Some(release) = &mut self.seen.release {
            release.came(project, held.order.rollout, self.now);
        }
        held
    }

    fn resolve(&mut self, project: RecordedProject, outcome: Outcome) {
        let waiting = &mut self.sidecar.waiting;
        let resolved: Vec<_> = waiting
            .extract_if(.., |waiting| waiting.project == project)
            .collect();
        for waiter in resolved {
            match outcome {
                Outcome::Landed if self.sidecar.held(project).is_some() => {
                    self.look_again(waiter);
                }
                Outcome::Landed | Outcome::NotFound => {
                    self.answer(waiter, ReplayedAnswer::Failed);
                }
                Outcome::Refused(refusal) => self.refused(waiter, refusal),
            }
        }
    }
}
