//! What is known of single projects, for an operator who asks: read under the lock, a little at a
//! time.

use super::Refresh;
use crate::{
    admission::{Explanation, Ladder, Remembered, Turn},
    moment::Moment,
    revision::Project,
};

/// What is known of one project at one moment.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The moment.
    pub at: Moment,
    /// What admission remembers of it, if anything.
    pub remembered: Option<Remembered>,
    /// Why it is not refreshed; `None` if it is not wanted.
    pub explanation: Option<Explanation>,
    /// Its place among those that wait in turn.
    pub turn: Option<Turn>,
    /// What its last render failed with, while it fails: at most 200 bytes, printable.
    pub last_failure: Option<String>,
}

/// A step of a walk over the projects that admission remembers.
#[derive(Clone, Debug)]
pub struct Wanting {
    /// What is remembered, by name.
    pub projects: Vec<(Project, Remembered)>,
    /// After which project to go on; `None` at the end.
    pub next: Option<Project>,
}

impl Refresh {
    /// What is known of one project.
    pub fn inspect(&self, project: &Project) -> Inspected {
        let state = self.shared.lock();
        let at = self.shared.clock.now();
        let remembered = state.admission.remembered(project);
        let is_failing = remembered.is_some_and(|it| it.failures > 0);
        let last_failure = state.troubles.last_failure(project);
        Inspected {
            at,
            remembered,
            explanation: state.admission.explain(project, at),
            turn: state.admission.turn(project),
            last_failure: last_failure.filter(|_| is_failing).map(str::to_owned),
        }
    }

    /// What every gate answers to a project; `None` if it is not wanted, or is in flight.
    pub fn ladder(&self, project: &Project) -> Option<Ladder> {
        let state = self.shared.lock();
        state.admission.ladder(project, self.shared.clock.now())
    }

    /// Looks at up to `most` of the projects that admission remembers, by name, after `after`.
    /// Keeps those that `is_of_interest`. A caller that walks over all of them leaves the lock to
    /// lookups between two steps.
    pub fn walk(
        &self,
        after: Option<&Project>,
        most: usize,
        is_of_interest: impl Fn(&Remembered) -> bool,
    ) -> Wanting {
        let state = self.shared.lock();
        let (mut seen, mut last) = (0, None);
        let mut projects = Vec::new();
        for (project, remembered) in state.admission.remembered_after(after, most) {
            (seen, last) = (seen + 1, Some(project));
            if is_of_interest(&remembered) {
                projects.push((project.clone(), remembered));
            }
        }
        let next = last.filter(|_| seen == most).cloned();
        Wanting { projects, next }
    }
}
