//! When the log says that callers ask for projects that the renderer does not know.

use std::time::Duration;

use crate::{
    admission::{FirstRenders, Landing},
    moment::Moment,
};

/// How long after the last unknown project it is over, even without first renders of other
/// projects.
const QUIET: Duration = Duration::from_secs(600);

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownNotice {
    /// Half or more of the last first renders found no project.
    Begins(FirstRenders),
    /// A quarter or less of them did, or there was no first render for long.
    Ends,
}

/// When the last unknown project was asked for, while the log says so.
#[derive(Debug, Default)]
pub(super) struct Unknown(Option<Moment>);

impl Unknown {
    /// Records what the first render of a project brought.
    pub(super) fn record(
        &mut self,
        landing: Landing,
        of_late: FirstRenders,
        now: Moment,
    ) -> Option<UnknownNotice> {
        let is_unknown = landing == Landing::NotFound;
        let FirstRenders { unknown, seen, .. } = of_late;
        match &mut self.0 {
            None if is_unknown && of_late.is_flood() => {
                self.0 = Some(now);
                Some(UnknownNotice::Begins(of_late))
            }
            None => None,
            Some(_) if unknown * 4 <= seen => {
                self.0 = None;
                Some(UnknownNotice::Ends)
            }
            Some(last) => {
                if is_unknown {
                    *last = now;
                }
                None
            }
        }
    }

    /// Ends it when it is over.
    pub(super) fn look(&mut self, now: Moment) -> Option<UnknownNotice> {
        self.next_look().filter(|&at| at <= now)?;
        self.0 = None;
        Some(UnknownNotice::Ends)
    }

    /// When to look again though nothing happens.
    pub(super) fn next_look(&self) -> Option<Moment> {
        self.0.map(|last| last + QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn of_late(unknown: usize) -> FirstRenders {
        FirstRenders {
            unknown,
            seen: 20,
            window: 20,
        }
    }

    #[test]
    fn it_begins_at_half_and_ends_at_a_quarter() {
        let mut unknown = Unknown::default();
        assert_eq!(unknown.record(Landing::NotFound, of_late(9), at(1)), None);
        let begins = Some(UnknownNotice::Begins(of_late(10)));
        assert_eq!(
            unknown.record(Landing::NotFound, of_late(10), at(2)),
            begins
        );
        assert_eq!(unknown.record(Landing::NotFound, of_late(20), at(3)), None);
        assert_eq!(unknown.record(Landing::Rejected, of_late(6), at(4)), None);
        assert_eq!(
            unknown.record(Landing::Rejected, of_late(5), at(5)),
            Some(UnknownNotice::Ends)
        );
        assert_eq!(unknown.record(Landing::Rejected, of_late(10), at(6)), None);
    }

    #[test]
    fn it_ends_when_unknown_projects_are_no_longer_asked_for_and_may_begin_again() {
        let mut unknown = Unknown::default();
        assert!(
            unknown
                .record(Landing::NotFound, of_late(16), at(1))
                .is_some()
        );
        unknown.record(Landing::NotFound, of_late(17), at(5));
        assert_eq!(unknown.next_look(), Some(at(605)));
        assert_eq!(unknown.look(at(604)), None);
        assert_eq!(unknown.look(at(605)), Some(UnknownNotice::Ends));
        assert!(
            unknown
                .record(Landing::NotFound, of_late(17), at(606))
                .is_some()
        );
    }

    #[test]
    fn few_first_renders_tell_nothing() {
        let few = FirstRenders {
            window: 20,
            unknown: 5,
            seen: 5,
        };
        assert_eq!(
            Unknown::default().record(Landing::NotFound, few, at(1)),
            None
        );
    }
}
