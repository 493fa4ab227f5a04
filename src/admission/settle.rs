//! Where projects belong after what concerned them, and what follows for those that are no longer
//! remembered.

use std::time::Duration;

use super::{Action, Admission, Rules, budget::Permits, register::Around, words::Outcome};
use crate::{moment::Moment, revision::Project};

impl Admission {
    /// What places depend on beside the projects.
    pub(super) fn around(&self, now: Moment) -> Around {
        let Rules { limits, tuning } = &self.rules;
        let permits = Permits::of(limits.concurrency, &tuning.budget);
        let render = self.flights.recent_renders.expected().as_secs_f64();
        let rate = limits
            .rate
            .min(f64::from(permits.outdated) / render.max(1e-9));
        Around {
            now,
            fetches: self.fetches.come_first(),
            turn: Duration::try_from_secs_f64(1.0 / rate).ok(),
            queue: self.queue(),
        }
    }

    pub(super) fn queue(&self) -> usize {
        self.rules.limits.queue.get() as usize
    }

    /// Puts a project where it now belongs, after what concerned every project.
    pub(super) fn touch(&mut self, project: &Project, now: Moment) {
        let Some(mut entry) = self.register.take(project) else {
            return;
        };
        if entry.is_satisfied() && entry.flight().is_none() {
            self.resolve(project, &mut entry, Outcome::Landed);
        }
        self.register.put(project, entry, self.around(now));
    }

    /// Gives back what projects had that were forgotten.
    pub(super) fn hear_of_dropped(&mut self) {
        let dropped = self.register.take_dropped();
        for project in &dropped.projects {
            self.throttle.fault.forget(project);
        }
        let returned = dropped.leases.into_iter();
        self.actions
            .extend(returned.map(|lease| Action::Return { lease }));
    }
}
