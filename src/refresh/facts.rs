//! Facts from outside that may change what is refreshed: settings, changes of inputs, the
//! connection, the end.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use super::{Parts, Refresh, troubles::Trouble};
use crate::{
    admission::{Admission, AdmissionFact, Limits, Link},
    freshness::TargetChange,
    moment::Moment,
    revision::{Order, Project},
};

impl Refresh {
    /// Puts other limits in force.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.tell(|admission, now| {
            self.record(AdmissionFact::Limits(limits), now);
            admission.set_limits(limits, now);
        });
    }

    /// Raises or lowers the target.
    pub fn set_target(&self, rollout: u64) {
        let Parts {
            cache, freshness, ..
        } = &self.shared.parts;
        // Under the lock: the census tells apart what was validated before the raise.
        self.shared.tell_state(|state, now| {
            match freshness.set_target(rollout, now) {
                TargetChange::None => return,
                TargetChange::Raised(before) => {
                    cache.record_raise(now);
                    tracing::info!(rollout, before, "target raised");
                    state.notices.target_raised(rollout, now);
                }
                TargetChange::Lowered(before) => {
                    tracing::warn!(rollout, before, "target lowered; nothing becomes outdated");
                    state.notices.target_lowered();
                }
            }
            self.record(AdmissionFact::Target(rollout), now);
            state.admission.set_target(rollout, now);
        });
        self.shared
            .target
            .send_if_modified(|target| std::mem::replace(target, rollout) != rollout);
    }

    /// Sets the age at which a revision is outdated, whatever its rollout. It takes effect for
    /// lookups at once; how many projects are too old is recounted in the background.
    pub fn set_max_age(&self, max_age: Option<Duration>) {
        let Parts {
            cache, freshness, ..
        } = &self.shared.parts;
        freshness.set_max_age(max_age);
        if cache.set_max_age(max_age) {
            let cache = Arc::clone(cache);
            self.shared
                .runtime
                .spawn_blocking(move || cache.count_ages_again());
        }
    }

    /// Records that the input of a project changed: a held revision with a lower number than that
    /// of `order` is outdated. The rollout of `order` does not matter: the target decides on
    /// rollouts.
    pub fn changed(&self, project: &Project, order: Order) {
        let now = self.shared.clock.now();
        let number = order.number;
        let target = self.shared.parts.freshness.target();
        if order.rollout > target {
            let cause = format!("a change with revision {order} while the target is {target}");
            let mut state = self.shared.lock();
            state.troubles.raise(Trouble::Ahead, project, &cause, now);
        }
        if self.shared.parts.cache.record_change(project, number, now) {
            self.shared.tell(|admission, now| {
                self.record(AdmissionFact::Changed { project, number }, now);
                admission.changed(project, number, now);
            });
        }
    }

    /// Records that changes may have been missed: answers to requests made before `since` may lack
    /// one.
    pub fn resync(&self, since: Moment) {
        self.shared.parts.freshness.resync(since);
        self.shared.tell(|admission, now| admission.resync(now));
        // Watchers look again, which tells that the watched projects are wanted.
        self.shared.target.send_modify(|_| {});
    }

    /// Counts the drops of held projects that a process before this one recorded, in order.
    pub fn resume_drops(&self, at: impl IntoIterator<Item = Moment>) {
        self.shared.lock().drops.resume(at);
    }

    /// Queues a held project to be confirmed: it was looked up, is fresh, and may lack a missed
    /// change.
    pub fn confirm(&self, project: &Project) {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        state.admission.unconfirmed(project, now);
        self.shared.perform(&mut state);
    }

    /// Records what became of the connection to the renderer.
    pub fn set_link(&self, link: Link) {
        self.shared.tell(|admission, now| {
            self.record(AdmissionFact::Link(link), now);
            admission.set_link(link, now);
        });
    }

    /// Records how many calls the connection takes at once; `None` if it sets no limit.
    pub fn set_room(&self, room: Option<NonZeroU32>) {
        self.shared.tell(|admission, now| {
            self.record(AdmissionFact::Room(room), now);
            admission.set_room(room, now);
        });
    }

    fn record(&self, fact: AdmissionFact<&Project>, now: Moment) {
        self.shared.parts.observe.told(fact, now);
    }

    /// Stops launching.
    pub fn drain(&self) {
        self.shared.tell(Admission::drain);
        self.shared.flights.close();
    }

    /// Waits until every flight has landed; to be called after [`Refresh::drain`].
    pub async fn landed(&self) {
        self.shared.flights.wait().await;
    }
}
