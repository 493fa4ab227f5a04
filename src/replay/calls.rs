//! The calls of a record: which renders and fetches began when, and what they brought.

use std::time::Duration;

use crate::{
    admission::{AdmissionFact, FetchLanding, HeldMark, Landing},
    moment::Moment,
    record::Record,
};

/// Times are rounded in a record, by less than this.
const ROUNDED: Duration = Duration::from_millis(1);

/// The number of a project in a record.
pub(super) type RecordedProject = u32;

/// The renders and fetches of a record, each in the order in which they began.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedCalls {
    pub(super) renders: Vec<RecordedCall<Landing>>,
    pub(super) fetches: Vec<RecordedCall<FetchLanding>>,
}

/// A call that landed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RecordedCall<L> {
    pub(super) project: RecordedProject,
    /// The rollout that was asked for.
    pub(super) asked: u64,
    pub(super) began: Moment,
    pub(super) took: Duration,
    pub(super) landing: L,
}

impl<L> RecordedCall<L> {
    pub(super) fn ended(&self) -> Moment {
        self.began + self.took
    }
}

impl RecordedCalls {
    pub(super) fn of(record: &Record) -> Self {
        let mut calls = Self::default();
        for &(at, fact) in &record.facts {
            let began = |took: Duration| Moment::after_start(at.since_start().saturating_sub(took));
            if let AdmissionFact::Rendered {
                project,
                asked,
                landing,
                took,
            } = fact
            {
                calls.renders.push(RecordedCall {
                    project,
                    asked,
                    began: began(took),
                    took,
                    landing,
                });
            }
            if let AdmissionFact::Fetched {
                project,
                landing,
                took,
            } = fact
            {
                calls.fetches.push(RecordedCall {
                    project,
                    asked: 0,
                    began: began(took),
                    took,
                    landing,
                });
            }
        }
        calls.renders.sort_by_key(|call| call.began);
        calls.fetches.sort_by_key(|call| call.began);
        calls
    }

    /// The most renders that were in flight at once.
    pub(super) fn most_at_once(&self) -> usize {
        let began = self.renders.iter().map(|call| (call.began, 1));
        // One that begins when another ends is not beside it, however times are rounded.
        let ended = self.renders.iter().map(|call| {
            let ended = call.ended().since_start().saturating_sub(ROUNDED);
            (Moment::after_start(ended).max(call.began), -1)
        });
        let mut changes: Vec<(Moment, isize)> = began.chain(ended).collect();
        changes.sort_unstable();
        let mut in_flight = 0;
        let counts = changes.into_iter().map(|(_, change)| {
            in_flight += change;
            in_flight
        });
        counts.max().map_or(0, isize::unsigned_abs)
    }
}

/// What a render left held.
pub(super) fn held(landing: Landing) -> Option<HeldMark> {
    match landing {
        Landing::Held(held) => Some(held),
        Landing::Rejected
        | Landing::NotFound
        | Landing::Gone
        | Landing::Unreachable
        | Landing::Failed(_) => None,
    }
}

/// The place of the value nearest to a moment, of values in order of time.
pub(super) fn nearest<T>(values: &[T], at: Moment, of: impl Fn(&T) -> Moment) -> Option<usize> {
    let after = values.partition_point(|value| of(value) < at);
    let gap = |place: usize| {
        let value = of(&values[place]);
        value.since(at).max(at.since(value))
    };
    match (after.checked_sub(1), after < values.len()) {
        (Some(before), true) if gap(before) <= gap(after) => Some(before),
        (_, true) => Some(after),
        (before, false) => before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_before_or_after() {
        let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
        let values = [at(10), at(20), at(40)];
        let nearest = |seconds| nearest(&values, at(seconds), |value| *value);
        let places = [0, 14, 16, 29, 31, 99].map(nearest);
        assert_eq!(places, [0, 0, 1, 1, 2, 2].map(Some));
        assert_eq!(super::nearest(&[], at(1), |value: &Moment| *value), None);
    }
}
