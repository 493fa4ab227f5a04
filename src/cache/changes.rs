//! The changes of one project's input that a renderer told of, as far as it matters since when what
//! is held lacks one.
//!
//! A change is compared by its number alone: the number is the version of the input. The rollout of
//! a change says which generation had it first, and the target alone says which generation is
//! wanted: a renderer that was restarted, or one that is ahead of this sidecar's target, tells of
//! the same input under another rollout.

use crate::moment::Moment;

/// How many changes of one project are told apart when it is asked since when one is lacking.
const MAX_STEPS: usize = 4;
/// After how many renders that lack a change it is given up.
const MAX_LACKING: u32 = 8;

/// A change that what is held does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The number of the newest one: the least that has all of them.
    pub number: u64,
    /// When the first one was learned.
    pub since: Moment,
}

/// What is known of the changes of one project.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    /// Their numbers, ascending, and when each was learned.
    steps: Vec<(u64, Moment)>,
    /// How many renders in a row lacked the last one.
    lacking: u32,
}

impl Changes {
    /// Records that there is a change; false when it was known.
    pub(super) fn record(&mut self, number: u64, now: Moment) -> bool {
        let Err(place) = self.steps.binary_search_by_key(&number, |&(step, _)| step) else {
            return false;
        };
        if place == self.steps.len() {
            self.lacking = 0;
        }
        self.steps.insert(place, (number, now));
        if self.steps.len() > MAX_STEPS {
            // The next one stands for both, from when the first of them was learned.
            let (_, since) = self.steps.remove(1);
            let (_, next) = &mut self.steps[1];
            *next = since.min(*next);
        }
        true
    }

    /// What a revision of that number lacks.
    pub(super) fn lacked_by(&self, number: u64) -> Option<Change> {
        let (newest, _) = *self.steps.last()?;
        let lacked = self.steps.iter().filter(|&&(step, _)| step > number);
        let since = lacked.map(|&(_, since)| since).min()?;
        Some(Change {
            number: newest,
            since,
        })
    }

    /// Records that a render brought that number. Where it is one too many that lacks the last
    /// change, that is given up, and returned.
    pub(super) fn rendered(&mut self, number: u64) -> Option<u64> {
        // Of those that it has, the last one stays: what lacks that and is fetched later is
        // outdated.
        let has = self.steps.partition_point(|&(step, _)| step <= number);
        self.steps.drain(..has.saturating_sub(1));
        let &(last, _) = self.steps.last().filter(|&&(step, _)| step > number)?;
        self.lacking += 1;
        if self.lacking < MAX_LACKING {
            return None;
        }
        self.lacking = 0;
        self.steps.pop();
        Some(last)
    }
}
