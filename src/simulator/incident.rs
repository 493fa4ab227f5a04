//! Configuration without a sidecar, as in the incident: what is outdated is forgotten, each lookup
//! renders, times out, and retries at once. An operator compares with it what admission does.

use std::time::Duration;

use super::{
    applications::TRIES,
    calls::{RendererAnswer, SimulatedCall, number},
    sidecar::ProjectId,
    watch::{Launch, Observer},
    world::World,
};
use crate::{admission::Class, revision::Order};

/// How long a client waits before it retries.
const TIMEOUT: Duration = Duration::from_secs(2);

impl<W: Observer> World<W> {
    /// Without a sidecar, what is outdated is forgotten, and each lookup renders.
    pub(super) fn forget_and_render(&mut self, id: usize, project: ProjectId) {
        let sidecar = &mut self.sidecars[id];
        let was_held = sidecar.slots[project].held.is_some();
        sidecar.evict(project);
        self.watch.evicted(sidecar, project, self.now);
        sidecar.slots[project].was_forgotten |= was_held;
        self.render_as_in_the_incident(id, project, 0);
    }

    fn render_as_in_the_incident(&mut self, id: usize, project: ProjectId, tries: u32) {
        self.observed.launches += 1;
        let launch = Launch::Render {
            class: Class::Missing,
            attempt: tries + 1,
        };
        let from = &self.sidecars[id];
        self.watch.launched(from, project, launch, self.now);
        let call = SimulatedCall {
            sidecar: id,
            incarnation: 0,
            project,
            is_fetch: false,
            connection: from.connection,
            replica: from.replica,
            rollout: from.target,
            sent_at: self.now,
            is_answered: false,
            tries,
        };
        self.send(call, TIMEOUT);
    }

    pub(super) fn incident_lands(&mut self, call: SimulatedCall, answer: RendererAnswer) {
        if let RendererAnswer::Rendered { rollout } = answer {
            self.store(call, Order::new(rollout, number(self.now)));
        } else if call.tries < TRIES {
            self.render_as_in_the_incident(call.sidecar, call.project, call.tries + 1);
        } else if self.sidecars[call.sidecar].slots[call.project].was_forgotten {
            self.observed.failed_though_held += 1;
        }
    }
}
