//! What lookups of a held project remember for each other, without a lock: the refusal that is
//! known, and when interest was told.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
};

/// A few atomics beside a held revision.
#[derive(Debug, Default)]
pub struct LookupMemo {
    /// Bits 0-7 the reason, counted from 1; 8-23 the epoch; 24-63 the end, in milliseconds since
    /// the start. 0 is none.
    refusal: AtomicU64,
    /// The last second in which a lookup told its interest, counted from 1.
    told: AtomicU64,
    is_wanted: AtomicBool,
}

impl LookupMemo {
    /// Remembers a refusal until its `retry_after`, or until the epoch changes: whatever may change
    /// refusals starts a new epoch.
    pub fn remember(&self, refusal: Refusal, epoch: u16, now: Moment) {
        let until = millis(now + refusal.retry_after) & 0xff_ffff_ffff;
        let packed = (until << 24) | (u64::from(epoch) << 8) | (refusal.reason as u64 + 1);
        self.refusal.store(packed, Relaxed);
    }

    /// The refusal that is known to hold at `now`.
    pub fn refusal(&self, epoch: u16, now: Moment) -> Option<Refusal> {
        let packed = self.refusal.load(Relaxed);
        let remaining = (packed >> 24).checked_sub(millis(now))?;
        if remaining == 0 || (packed >> 8) & 0xffff != u64::from(epoch) {
            return None;
        }
        let index = usize::try_from(packed & 0xff).ok()?.checked_sub(1)?;
        Some(Refusal {
            reason: *NotRefreshed::ALL.get(index)?,
            retry_after: Duration::from_millis(remaining),
        })
    }

    /// Forgets the refusal.
    pub fn forget(&self) {
        self.refusal.store(0, Relaxed);
    }

    /// Claims this second for a lookup that tells its interest; false where another has.
    pub fn claim_second(&self, now: Moment) -> bool {
        let second = now.since_start().as_secs() + 1;
        self.told.load(Relaxed) != second && self.told.swap(second, Relaxed) != second
    }

    /// Whether the interest of this second was told.
    pub fn is_told(&self, now: Moment) -> bool {
        self.told.load(Relaxed) == now.since_start().as_secs() + 1
    }

    /// Records whether a refresh of the project is wanted.
    pub fn set_wanted(&self, is_wanted: bool) {
        self.is_wanted.store(is_wanted, Relaxed);
    }

    /// Whether a refresh of the project is wanted.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Relaxed)
    }
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.since_start().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    #[test]
    fn a_refusal_is_remembered_until_it_ends_or_the_epoch_does() {
        let memo = LookupMemo::default();
        assert_eq!(memo.refusal(0, at(0)), None);
        for reason in NotRefreshed::ALL {
            let refusal = Refusal {
                reason,
                retry_after: Duration::from_millis(700),
            };
            memo.remember(refusal, 65_535, at(100));
            let left = memo.refusal(65_535, at(300)).unwrap();
            assert_eq!(
                (left.reason, left.retry_after),
                (reason, Duration::from_millis(500))
            );
            assert_eq!(memo.refusal(0, at(300)), None);
            assert_eq!(memo.refusal(65_535, at(800)), None);
        }
        memo.forget();
        assert_eq!(memo.refusal(65_535, at(300)), None);
    }

    #[test]
    fn interest_is_told_once_a_second() {
        let memo = LookupMemo::default();
        assert!(memo.claim_second(at(0)));
        assert!(!memo.claim_second(at(999)));
        assert!(memo.claim_second(at(1_000)));
    }
}
