//! Tells a fault of the renderer from one of a project, whatever code the failures carry: when
//! several different projects failed in a row, the fault is the renderer's.
//!
//! Failures that came without an answer (UNAVAILABLE, deadlines) are left to the breaker; here they
//! only take part in what is forgiven.

use std::collections::{BTreeMap, VecDeque};

use crate::{admission::tuning::FaultTuning, moment::Moment, revision::Project};

/// The failures since a render last brought a revision.
#[derive(Debug)]
pub(in crate::admission) struct RendererFault {
    tuning: FaultTuning,
    /// The projects that failed since then, and whether the renderer answered.
    failed: BTreeMap<Project, WasAnswered>,
    /// How many of them it answered.
    answered: usize,
    /// The launch of the youngest render that brought a revision.
    proven: Moment,
    /// The last renders that were answered.
    recent: VecDeque<AnsweredRender>,
}

/// Whether a failed render was answered by the renderer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum WasAnswered {
    Yes,
    No,
}

/// What a render came to that the renderer answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnsweredRender {
    Failed,
    Brought,
}

impl RendererFault {
    pub(in crate::admission) fn new(tuning: FaultTuning) -> Self {
        Self {
            tuning,
            failed: BTreeMap::new(),
            answered: 0,
            proven: Moment::START,
            recent: VecDeque::new(),
        }
    }

    /// Records that the render of a project failed, which had `failed_before` at that moment.
    pub(in crate::admission) fn failed(
        &mut self,
        project: &Project,
        answered: WasAnswered,
        failed_before: Option<Moment>,
    ) {
        if answered == WasAnswered::Yes {
            self.note(AnsweredRender::Failed);
        }
        if self.is_of_project(failed_before) {
            return;
        }
        let before = self.failed.insert(project.clone(), answered);
        self.answered += usize::from(answered == WasAnswered::Yes);
        self.answered -= usize::from(before == Some(WasAnswered::Yes));
    }

    /// Records that a render launched at `since` brought a revision. Returns the projects to
    /// forgive: those that failed before it, if enough of them failed for the fault to be the
    /// renderer's.
    pub(in crate::admission) fn succeeded(&mut self, since: Moment) -> Vec<Project> {
        self.note(AnsweredRender::Brought);
        self.proven = self.proven.max(since);
        let was_of_many = self.is_of_many();
        self.answered = 0;
        let failed = std::mem::take(&mut self.failed);
        if was_of_many {
            failed.into_keys().collect()
        } else {
            Vec::new()
        }
    }

    /// Whether enough different projects failed in a row for the fault to be the renderer's.
    pub(in crate::admission) fn is_of_many(&self) -> bool {
        self.answered >= self.tuning.projects
    }

    /// Whether half of the last renders failed, so that it may be a part of the renderer's
    /// replicas.
    pub(in crate::admission) fn is_of_half(&self) -> bool {
        let has_failed = |render: &&AnsweredRender| **render == AnsweredRender::Failed;
        let failed = self.recent.iter().filter(has_failed).count();
        self.recent.len() >= self.tuning.outcomes && failed * 2 >= self.tuning.outcomes
    }

    /// Whether a project that failed before fails by its own fault: a render that was launched
    /// since brought a revision of another project.
    pub(in crate::admission) fn is_of_project(&self, failed_before: Option<Moment>) -> bool {
        failed_before.is_some_and(|failed_before| self.proven > failed_before)
    }

    /// Forgets a project that admission forgets.
    pub(in crate::admission) fn forget(&mut self, project: &Project) {
        if self.failed.remove(project) == Some(WasAnswered::Yes) {
            self.answered -= 1;
        }
    }

    fn note(&mut self, render: AnsweredRender) {
        if self.recent.len() == self.tuning.outcomes {
            self.recent.pop_front();
        }
        self.recent.push_back(render);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::tuning::Tuning;

    const FAULT_PROJECTS: usize = Tuning::DEFAULT.fault.projects;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn project(number: usize) -> Project {
        Project::new(&format!("demo/{number}")).unwrap()
    }

    #[test]
    fn five_projects_that_fail_in_a_row_are_forgiven_at_the_first_success_and_four_are_not() {
        for projects in [FAULT_PROJECTS - 1, FAULT_PROJECTS] {
            let mut fault = RendererFault::new(Tuning::DEFAULT.fault);
            for number in (0..projects).chain(0..projects) {
                fault.failed(&project(number), WasAnswered::Yes, None);
            }
            let is_of_many = projects == FAULT_PROJECTS;
            assert_eq!(fault.is_of_many(), is_of_many);
            let forgiven = fault.succeeded(at(1));
            assert_eq!(forgiven.len(), if is_of_many { projects } else { 0 });
            assert!(!fault.is_of_many());
        }
    }

    #[test]
    fn what_fails_again_after_another_project_was_rendered_is_a_fault_of_its_own() {
        let mut fault = RendererFault::new(Tuning::DEFAULT.fault);
        assert!(fault.succeeded(at(5)).is_empty());
        assert!(!fault.is_of_project(Some(at(5))), "it was launched before");
        assert!(fault.is_of_project(Some(at(4))));
        for number in 0..FAULT_PROJECTS {
            fault.failed(&project(number), WasAnswered::Yes, Some(at(4)));
        }
        assert!(!fault.is_of_many());
    }

    #[test]
    fn silence_is_forgiven_with_answers_but_is_no_fault_of_many_by_itself() {
        let mut fault = RendererFault::new(Tuning::DEFAULT.fault);
        for number in 0..3 * FAULT_PROJECTS {
            fault.failed(&project(number), WasAnswered::No, None);
        }
        assert!(!fault.is_of_many());
        for number in 0..FAULT_PROJECTS {
            fault.failed(&project(number), WasAnswered::Yes, None);
        }
        assert!(fault.is_of_many());
        fault.forget(&project(0));
        assert!(!fault.is_of_many());
        fault.failed(&project(0), WasAnswered::Yes, None);
        assert_eq!(fault.succeeded(at(1)).len(), 3 * FAULT_PROJECTS);
    }
}
