//! The wait of a lookup for a refresh: how long it lasts, and what it comes to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{Demands, Lookup, Query, is_under_way, patience::Patience};
use crate::{
    admission::Outcome,
    cache::Held,
    moment,
    reason::{NotRefreshed, Refusal},
    refresh::{Asked, Resolved, Told},
    revision::Order,
};

impl Lookup {
    /// Waits, within the patience, until the project is fresh or there is no use in waiting. What
    /// is in hand is kept: it may be thrown away meanwhile.
    pub(super) async fn wait(
        &self,
        query: &Query,
        mut in_hand: Option<Arc<Held>>,
        patience: Patience,
    ) -> WaitResult {
        let demands = query.demands();
        let waits = WaitingLookup::count(&self.waiting, self.limits.load().max_waiting);
        let mut asked = Asked {
            demand: self.demand(demands),
            until: patience.until.filter(|_| waits.has_room()),
            trace: query.trace,
        };
        loop {
            let mut waiter = match self.refresh.want(&query.project, asked) {
                Told::LookAgain => return WaitResult::with(CameTo::Landed, in_hand),
                Told::Refused(mut refusal) => {
                    // Where a gate refused, that stays the reason.
                    if !waits.has_room() && is_under_way(refusal) {
                        refusal.reason = NotRefreshed::QueueFull;
                        if in_hand.is_none() {
                            self.refresh.record_crowded(self.limits.load().max_waiting);
                        }
                    }
                    return WaitResult::with(CameTo::Refused(refusal), in_hand);
                }
                Told::Wait(waiter) => waiter,
            };
            let until = asked.until.unwrap_or_default();
            let waited = moment::by(self.clock.instant(until), waiter.outcome()).await;
            let Some(Resolved { outcome, held }) = waited else {
                return WaitResult::with(CameTo::PatienceOver, in_hand);
            };
            in_hand = held.or(in_hand);
            let now = self.clock.now();
            match outcome {
                Outcome::NotFound => return WaitResult::with(CameTo::NotFound, in_hand),
                Outcome::Refused(refusal) => {
                    return WaitResult::with(CameTo::Refused(refusal), in_hand);
                }
                Outcome::Landed => {
                    let landed = in_hand.as_deref();
                    if landed.is_some_and(|held| self.is_fresh(demands, held, now)) {
                        return WaitResult::with(CameTo::Landed, in_hand);
                    }
                    if self.meets(demands, landed, now) {
                        asked.until = None;
                    }
                }
            }
        }
    }

    /// The least order that the caller accepts, if it demands anything.
    fn demand(&self, demands: Demands) -> Option<Order> {
        let target = Order::rollout(self.freshness.target());
        demands
            .min_revision
            .or(demands.max_outdated.map(|_| target))
    }
}

/// What the wait of a lookup came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CameTo {
    /// A revision landed, or is held by now.
    Landed,
    /// The renderer knows no such project.
    NotFound,
    /// The refresh was refused, or ended without a revision.
    Refused(Refusal),
    /// The renderer takes longer than the caller waits.
    PatienceOver,
}

/// How the wait of a lookup ended.
pub(super) struct WaitResult {
    pub(super) came_to: CameTo,
    /// The last that was seen held of the project.
    pub(super) in_hand: Option<Arc<Held>>,
}

impl WaitResult {
    pub(super) fn with(came_to: CameTo, in_hand: Option<Arc<Held>>) -> Self {
        Self { came_to, in_hand }
    }
}

/// Counts one lookup that waits, for as long as it does.
struct WaitingLookup<'a> {
    waiting: &'a AtomicUsize,
    has_room: bool,
}

impl<'a> WaitingLookup<'a> {
    fn count(waiting: &'a AtomicUsize, most: usize) -> Self {
        let has_room = waiting.fetch_add(1, Relaxed) < most;
        Self { waiting, has_room }
    }

    fn has_room(&self) -> bool {
        self.has_room
    }
}

impl Drop for WaitingLookup<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Relaxed);
    }
}
