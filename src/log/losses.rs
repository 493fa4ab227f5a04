//! When the log tells that something is lost, and that this is over: once each.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing may have been lost before it is over: losing something now and then is one
/// trouble.
const QUIET: Duration = Duration::from_secs(60);

/// Follows how much was lost.
#[derive(Debug, Default)]
pub struct Losses {
    /// As much was lost when it was last looked at.
    seen: u64,
    /// As much had been lost when it began.
    before: Option<u64>,
    last: Option<Instant>,
}

/// What the log is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossChange {
    /// Something is lost.
    Began,
    /// It no longer is, after so much was.
    Ended(u64),
}

impl Losses {
    /// Looks at how much was lost since the start.
    pub fn look(&mut self, dropped: u64, now: Instant) -> Option<LossChange> {
        if dropped > self.seen {
            let before = std::mem::replace(&mut self.seen, dropped);
            self.last = Some(now);
            let is_new = self.before.is_none();
            self.before.get_or_insert(before);
            return is_new.then_some(LossChange::Began);
        }
        let is_quiet = self.last.is_some_and(|last| now - last >= QUIET);
        let before = self.before.filter(|_| is_quiet)?;
        self.before = None;
        Some(LossChange::Ended(dropped - before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_of_once_and_are_over_after_a_quiet_minute() {
        let mut losses = Losses::default();
        let start = Instant::now();
        let mut look =
            |seconds, dropped| losses.look(dropped, start + Duration::from_secs(seconds));
        assert_eq!(look(0, 0), None);
        assert_eq!(look(1, 3), Some(LossChange::Began));
        assert_eq!(look(2, 3), None);
        assert_eq!(look(50, 9), None, "the same trouble");
        assert_eq!(look(109, 9), None);
        assert_eq!(look(110, 9), Some(LossChange::Ended(9)));
        assert_eq!(look(500, 9), None);
        assert_eq!(look(501, 10), Some(LossChange::Began));
        assert_eq!(look(561, 10), Some(LossChange::Ended(1)));
    }
}
