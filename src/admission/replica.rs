//! Whether the connection leads to a replica of the renderer that is behind.
//!
//! A balancer of TCP connections keeps each on the replica that it chose, so that over the same one
//! the same replica answers, also when others have long had the new generation. What the renderer
//! as a whole lacks looks the same; so dialling anew has a back-off.

use super::tuning::FaultTuning;
use crate::{moment::Moment, revision::Project};

/// What came over the connection in use of late.
#[derive(Debug)]
pub(super) struct Replica {
    tuning: FaultTuning,
    connection: u64,
    /// Answers in a row that were behind.
    answers: u32,
    /// Different projects among them, as many as matter.
    projects: Vec<Project>,
    /// Redials since something was not behind.
    redials: u32,
    next: Moment,
}

impl Replica {
    pub(super) fn new(tuning: FaultTuning) -> Self {
        Self {
            tuning,
            connection: 0,
            answers: 0,
            projects: Vec::new(),
            redials: 0,
            next: Moment::START,
        }
    }

    /// Records that what came over a connection was not behind.
    pub(super) fn came(&mut self, connection: u64) {
        if connection >= self.connection {
            self.forget(connection);
            self.redials = 0;
        }
    }

    /// Records that what came of a project over a connection was behind. Returns true if another
    /// connection is to be tried.
    pub(super) fn came_behind(
        &mut self,
        project: &Project,
        connection: u64,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> bool {
        if connection < self.connection {
            return false;
        }
        if connection > self.connection {
            self.forget(connection);
        }
        let (projects, answers) = (self.tuning.behind_projects, self.tuning.behind_answers);
        self.answers = self.answers.saturating_add(1);
        if self.projects.len() < projects && !self.projects.contains(project) {
            self.projects.push(project.clone());
        }
        let is_pinned = self.projects.len() >= projects || self.answers >= answers;
        if !is_pinned || answers == u32::MAX || now < self.next {
            return false;
        }
        let wait = self.tuning.behind_redial.doubled(self.redials);
        self.redials += 1;
        self.next = now + wait.mul_f64(0.5 + 0.5 * rng.f64());
        true
    }

    fn forget(&mut self, connection: u64) {
        self.connection = connection;
        self.answers = 0;
        self.projects.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::tuning::Tuning;

    fn name(number: u32) -> Project {
        Project::new(&format!("p/{number}")).unwrap()
    }

    struct Noted {
        replica: Replica,
        now: Moment,
        rng: fastrand::Rng,
    }

    impl Noted {
        fn new() -> Self {
            Self {
                replica: Replica::new(Tuning::DEFAULT.fault),
                now: Moment::after_start(Duration::from_secs(100)),
                rng: fastrand::Rng::with_seed(1),
            }
        }

        fn behind(&mut self, project: u32, connection: u64) -> bool {
            self.replica
                .came_behind(&name(project), connection, self.now, &mut self.rng)
        }
    }

    #[test]
    fn three_projects_in_a_row_that_are_behind_have_another_connection_tried() {
        let mut noted = Noted::new();
        assert!(!noted.behind(1, 1));
        assert!(!noted.behind(2, 1));
        noted.replica.came(1);
        assert!(!noted.behind(1, 1));
        assert!(!noted.behind(1, 1));
        assert!(!noted.behind(2, 1));
        assert!(noted.behind(3, 1));
        assert!(!noted.behind(4, 1), "it is being dialled");
    }

    #[test]
    fn one_project_that_is_behind_again_and_again_is_enough_where_there_is_no_other() {
        let mut noted = Noted::new();
        let tried = (0..5).map(|_| noted.behind(1, 1));
        assert_eq!(
            tried.collect::<Vec<_>>(),
            [false, false, false, false, true]
        );
    }

    #[test]
    fn what_comes_late_over_a_connection_that_was_replaced_says_nothing_of_the_new_one() {
        let mut noted = Noted::new();
        noted.behind(1, 2);
        noted.behind(2, 2);
        assert!(!noted.behind(3, 1));
        noted.replica.came(1);
        assert!(noted.behind(3, 2));
    }

    /// In an ordinary release the renderer as a whole is behind for minutes.
    #[test]
    fn a_renderer_that_is_behind_as_a_whole_is_dialled_with_a_back_off() {
        let mut noted = Noted::new();
        let (mut connection, mut redials) = (1, 0);
        for second in 0..3_600 {
            noted.now = Moment::after_start(Duration::from_secs(100 + second));
            for project in 0..5 {
                if noted.behind(project, connection) {
                    connection += 1;
                    redials += 1;
                }
            }
        }
        assert!((10..=30).contains(&redials), "{redials} in an hour");
    }
}
