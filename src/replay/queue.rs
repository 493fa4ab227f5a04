//! The workers of the renderer, and the renders that wait for one, in the order in which they came.

use std::collections::VecDeque;

use super::calls::RecordedProject;
use crate::revision::Order;

/// A render of a replay.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplayedCall {
    pub(super) project: RecordedProject,
    /// What it brings when it is worked on.
    pub(super) order: Order,
    pub(super) state: CallStage,
}

/// Where a render is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallStage {
    /// It waits for a worker.
    Waiting,
    /// A worker is at it.
    Working,
    /// It is on its way back, with or without having been worked on.
    Away,
    /// It landed.
    Landed,
}

/// Workers, and who waits for them.
#[derive(Debug)]
pub(super) struct WorkQueue {
    free: usize,
    waiting: VecDeque<usize>,
}

impl WorkQueue {
    /// As many workers; as many as are needed where no number is known.
    pub(super) fn new(workers: Option<usize>) -> Self {
        Self {
            free: workers.unwrap_or(usize::MAX),
            waiting: VecDeque::new(),
        }
    }

    /// Takes a call; returns it if there is a worker for it.
    pub(super) fn take(&mut self, call: usize) -> Option<usize> {
        self.waiting.push_back(call);
        self.next()
    }

    /// A worker is done, or its call is given up; returns the call that it goes on with.
    pub(super) fn done(&mut self) -> Option<usize> {
        self.free += 1;
        self.next()
    }

    /// Forgets a call that waits.
    pub(super) fn forget(&mut self, call: usize) {
        self.waiting.retain(|waiting| *waiting != call);
    }

    fn next(&mut self) -> Option<usize> {
        if self.free == 0 {
            return None;
        }
        let call = self.waiting.pop_front()?;
        self.free -= 1;
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_worked_on_in_the_order_in_which_they_came() {
        let mut queue = WorkQueue::new(Some(2));
        assert_eq!(
            [0, 1, 2, 3, 4].map(|it| queue.take(it)),
            [Some(0), Some(1), None, None, None]
        );
        queue.forget(2);
        assert_eq!(
            [queue.done(), queue.done(), queue.done()],
            [Some(3), Some(4), None]
        );
        assert_eq!(queue.take(5), Some(5));
        let mut queue = WorkQueue::new(None);
        assert!((0..100).all(|call| queue.take(call) == Some(call)));
        assert_eq!(queue.done(), None);
    }
}
