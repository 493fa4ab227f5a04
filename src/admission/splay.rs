//! The splay of a release: each sidecar picks a raised rollout up after its own part of a delay, so
//! that a release does not reach the renderer from all sidecars at once.

use std::time::Duration;

use crate::moment::Moment;

/// When a sidecar picks a rollout up.
#[derive(Clone, Copy, Debug)]
pub struct Splay {
    part: f64,
    /// A rollout that is to be picked up, and when.
    waiting: Option<(u64, Moment)>,
}

impl Splay {
    /// Makes the splay of a sidecar that waits this part of every delay, from 0 to 1.
    ///
    /// # Panics
    ///
    /// When the part is not between 0 and 1.
    pub fn new(part: f64) -> Self {
        assert!((0.0..=1.0).contains(&part), "{part} is no part of a splay");
        Self {
            part,
            waiting: None,
        }
    }

    /// The rollout that becomes the target now, if it differs from `target`. A lower one is picked
    /// up at once.
    pub fn due(&mut self, target: u64, rollout: u64, splay: Duration, now: Moment) -> Option<u64> {
        let waits = splay.mul_f64(self.part);
        if rollout <= target || waits.is_zero() {
            self.waiting = None;
            return (rollout != target).then_some(rollout);
        }
        // A newer one does not start the wait anew: releases in quick succession would never be
        // picked up.
        let at = self.waiting.map_or(now + waits, |(_, at)| at);
        let is_due = at <= now;
        self.waiting = (!is_due).then_some((rollout, at));
        is_due.then_some(rollout)
    }

    /// When to ask again; `None` if no rollout waits.
    pub fn wakes_at(&self) -> Option<Moment> {
        self.waiting.map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPLAY: Duration = Duration::from_secs(40);

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_release_is_picked_up_after_the_sidecar_s_part_of_the_splay() {
        let mut splay = Splay::new(0.25);
        assert_eq!(splay.due(1, 2, SPLAY, at(0)), None);
        assert_eq!(splay.wakes_at(), Some(at(10)));
        let again = splay.due(1, 2, SPLAY, at(9));
        assert_eq!(again, None, "reading it again does not put it off");
        assert_eq!(splay.due(1, 3, SPLAY, at(9)), None, "nor does a newer one");
        assert_eq!(splay.due(1, 3, SPLAY, at(10)), Some(3));
        assert_eq!(splay.wakes_at(), None);
    }

    #[test]
    fn without_a_splay_and_on_the_way_down_it_is_picked_up_at_once() {
        let mut splay = Splay::new(0.25);
        assert_eq!(splay.due(1, 2, Duration::ZERO, at(0)), Some(2));
        assert_eq!(splay.due(3, 2, SPLAY, at(0)), Some(2));
        assert_eq!(splay.due(2, 2, SPLAY, at(0)), None);
    }
}
