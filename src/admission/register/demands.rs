//! What callers demand beyond freshness, and how long an unmet demand is refused.

use super::cool_down::behind_for;
use crate::{
    admission::{tuning::Range, words::Outcome},
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::Order,
};

/// What callers demand beyond freshness. If a render does not meet a demand, the demand cools down,
/// not the project: other callers may want less.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct ProjectDemands {
    /// The highest order that a caller demanded since the last render.
    pub(in crate::admission) highest: Option<Order>,
    /// The least demand that was not met.
    unmet: Order,
    /// Until when it, and what is above it, is refused.
    pub(super) until: Moment,
    /// Renders in a row that did not meet one.
    times: u32,
}

impl ProjectDemands {
    pub(super) const NONE: Self = Self {
        highest: None,
        unmet: Order::new(0, 0),
        until: Moment::START,
        times: 0,
    };

    pub(super) fn add(&mut self, demand: Option<Order>, now: Moment) {
        let demand = demand.filter(|&demand| !self.refuses(demand, now));
        self.highest = self.highest.max(demand);
    }

    /// A render did not meet a demand.
    pub(super) fn fail(
        &mut self,
        demand: Order,
        range: Range,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Outcome {
        self.unmet = if self.times == 0 {
            demand
        } else {
            self.unmet.min(demand)
        };
        let retry_after = behind_for(self.times, range, rng);
        self.until = now + retry_after;
        self.times += 1;
        Outcome::Refused(Refusal {
            reason: NotRefreshed::RendererBehind,
            retry_after,
        })
    }

    /// A render brought that order.
    pub(super) fn meet(&mut self, order: Order) {
        if order >= self.unmet {
            self.forget_unmet();
        }
    }

    pub(super) fn forget_unmet(&mut self) {
        let highest = self.highest;
        *self = Self {
            highest,
            ..Self::NONE
        };
    }

    pub(super) fn refuses(&self, demand: Order, now: Moment) -> bool {
        self.until > now && demand >= self.unmet
    }

    /// Until when it matters that it grew.
    pub(super) fn forgotten_at(&self, range: Range) -> Moment {
        if self.times == 0 {
            Moment::START
        } else {
            self.until + range.most
        }
    }
}
