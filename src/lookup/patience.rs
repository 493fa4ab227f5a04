//! How long a lookup waits: as asked or set, but never until its answer is too late for the caller.

use std::time::Duration;

use super::{Query, WaitLimits};
use crate::moment::{Clock, Moment};

/// The time kept back for the way of the answer, of what remains to the caller's deadline: a tenth,
/// within these bounds. Without it the transport's own deadline wins, and what is held is lost.
const MARGIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));

/// Until when a lookup waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// None when it does not wait.
    pub(super) until: Option<Moment>,
    /// The caller's own deadline sets it.
    pub(super) is_deadline: bool,
}

/// What a lookup can be answered with when its patience ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// The held revision.
    Held,
    /// Nothing: the lookup fails.
    Nothing,
}

impl Patience {
    /// The patience of a lookup at `now`, by what it falls back to.
    pub(super) fn of(
        query: &Query,
        limits: &WaitLimits,
        fallback: Fallback,
        now: Moment,
        clock: &Clock,
    ) -> Self {
        let set = match fallback {
            Fallback::Held => limits.patience,
            Fallback::Nothing => limits.cold_patience,
        };
        let asked = query.patience.unwrap_or(set).min(limits.max_patience);
        let left = query.deadline.map(|deadline| {
            let remaining = clock.moment(deadline).since(now);
            remaining.saturating_sub(margin(remaining))
        });
        let is_deadline = left.is_some_and(|left| left < asked);
        let patience = left.map_or(asked, |left| left.min(asked));
        Self {
            until: (!patience.is_zero()).then(|| now + patience),
            is_deadline,
        }
    }
}

fn margin(remaining: Duration) -> Duration {
    let (least, most) = MARGIN;
    (remaining / 10).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revision::Project;

    const LIMITS: WaitLimits = WaitLimits {
        patience: Duration::from_millis(50),
        cold_patience: Duration::from_secs(2),
        max_patience: Duration::from_secs(30),
        max_waiting: 1,
    };

    /// The patience in milliseconds, and whether the deadline sets it; times in milliseconds.
    fn patience(asked: Option<u64>, deadline: Option<u64>, fallback: Fallback) -> (u128, bool) {
        let clock = Clock::start();
        let now = Moment::after_start(Duration::from_secs(5));
        let query = Query {
            project: Project::new("demo/shop").unwrap(),
            patience: asked.map(Duration::from_millis),
            deadline: deadline.map(|left| clock.instant(now + Duration::from_millis(left))),
            min_revision: None,
            max_outdated: None,
            trace: None,
        };
        let patience = Patience::of(&query, &LIMITS, fallback, now, &clock);
        let millis = patience
            .until
            .map_or(0, |until| until.since(now).as_millis());
        (millis, patience.is_deadline)
    }

    #[test]
    fn is_the_setting_when_the_caller_says_nothing() {
        assert_eq!(patience(None, None, Fallback::Held), (50, false));
        assert_eq!(patience(None, None, Fallback::Nothing), (2_000, false));
    }

    #[test]
    fn is_what_the_caller_asks_within_the_maximum() {
        assert_eq!(patience(Some(0), None, Fallback::Held), (0, false));
        assert_eq!(patience(Some(700), None, Fallback::Held), (700, false));
        assert_eq!(
            patience(Some(90_000), None, Fallback::Held),
            (30_000, false)
        );
    }

    /// tonic drops the handler and answers CANCELLED when its own deadline wins.
    #[test]
    fn leaves_the_answer_time_to_travel_before_the_deadline() {
        assert_eq!(patience(Some(500), Some(60), Fallback::Held), (50, true));
        assert_eq!(patience(Some(500), Some(200), Fallback::Held), (180, true));
        assert_eq!(
            patience(Some(5_000), Some(1_000), Fallback::Held),
            (950, true)
        );
        assert_eq!(patience(Some(50), Some(1_000), Fallback::Held), (50, false));
    }

    #[test]
    fn is_zero_when_the_deadline_is_past_or_too_near() {
        assert_eq!(patience(Some(500), Some(0), Fallback::Held), (0, true));
        assert_eq!(patience(None, Some(9), Fallback::Nothing), (0, true));
    }
}
