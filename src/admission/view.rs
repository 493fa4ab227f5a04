//! What can be seen of admission: what metrics show and logs say.

use std::{num::NonZeroU32, time::Duration};

use super::{
    Admission,
    budget::{FirstRenders, Lane, MIN_RATE, Permits},
    limits::Limits,
    words::{Class, Link, Stops},
};
use crate::{
    moment::Moment,
    revision::{Order, Project},
};

impl Admission {
    /// How many projects that were looked up are still to be confirmed.
    pub fn left_to_confirm(&self) -> usize {
        self.confirming.left()
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// Whether the breaker or the renderer's pushback stops every render.
    pub fn stops(&self) -> Stops {
        self.throttle.stops()
    }

    /// Renders that may be in flight at once: as many as are set, or as few as the renderer takes.
    pub fn renders_at_once(&self, now: Moment) -> NonZeroU32 {
        let most = self.rules.limits.concurrency;
        self.within_room(self.budget.learned.in_force(most, now))
    }

    /// Fetches that may be in flight at once: as many as are set, or as few as the renderer takes.
    pub fn fetches_at_once(&self, now: Moment) -> NonZeroU32 {
        self.within_room(self.fetches.at_once(now))
    }

    /// Whether the renderer refused a render or a fetch within the last minute, without a word on
    /// when to come back.
    pub fn is_refused(&self, now: Moment) -> bool {
        self.budget.learned.is_refused(now) || self.fetches.learned.is_refused(now)
    }

    /// Whether fetches as a whole fail, so that missing projects are rendered instead.
    pub fn has_given_fetches_up(&self) -> bool {
        self.fetches.store.is_given_up()
    }

    /// Renders per second that are left of the rate: by the pace and the ramps, and nothing during
    /// a stop.
    pub fn rate_in_force(&self, now: Moment) -> f64 {
        if self.stops() == Stops::default() {
            self.rate(now)
        } else {
            0.0
        }
    }

    /// How many renders the bucket would admit now, with the fraction of the next: none at a rate
    /// of 0.
    pub fn level(&self, now: Moment) -> f64 {
        if self.rules.limits.rate < MIN_RATE {
            return 0.0;
        }
        self.budget.level(now)
    }

    /// Grants of a fleet that were given up because nothing was free for their render.
    pub fn voided(&self) -> u64 {
        self.reserve.voided
    }

    /// What makes a wanted project fresh for all who wait: the least order, and since when it has
    /// to be validated.
    pub fn wish_of(&self, project: &Project) -> Option<(Order, Moment)> {
        let entry = self.register.get(project)?;
        let want = entry.want;
        let least = Order::new(want.rollout, want.number);
        let least = least.max(entry.demands.highest.unwrap_or_default());
        entry
            .seat
            .place
            .is_wanted()
            .then_some((least, want.validated_since))
    }

    /// How many renders are in flight.
    pub fn in_flight(&self) -> usize {
        self.flights.renders as usize
    }

    /// The render that has been in flight for longest: since when, and of which project.
    pub fn oldest_render(&self) -> Option<(Moment, &Project)> {
        self.flights.oldest()
    }

    /// The median of how long the last renders took that brought a revision; zero while none has.
    pub fn median_render(&self) -> Duration {
        self.flights.recent_renders.median()
    }

    /// How many projects are wanted, those in flight included, of which something is held, or
    /// nothing.
    pub fn wanted(&self, class: Class) -> usize {
        self.register.counts.wanted[class as usize]
    }

    /// How many projects are wanted of which an older rollout is held than is asked for.
    pub fn below_target(&self) -> usize {
        self.register.counts.below_target
    }

    /// The target.
    pub fn target(&self) -> u64 {
        self.register.target()
    }

    /// Whether every project has heard of the target: until then those [below
    /// it](Admission::below_target) may be too few.
    pub fn is_settled(&self) -> bool {
        !self.register.is_sweeping()
    }

    /// Whether there is a connection to the renderer.
    pub fn is_connected(&self) -> bool {
        self.way.link == Link::Up
    }

    /// How many renders of that class may be in flight at once.
    pub fn permits(&self, class: Class) -> u32 {
        let Limits { concurrency, .. } = self.rules.limits;
        Permits::of(concurrency, &self.rules.tuning.budget).of_lane(Lane {
            class,
            is_cooling: false,
        })
    }

    /// What the last first renders of projects found.
    pub fn first_renders(&self) -> FirstRenders {
        self.budget.flood.of_late()
    }

    /// How many projects are remembered whose last render failed, was rejected or brought less than
    /// was asked for.
    pub fn failing(&self) -> usize {
        self.register.counts.failing
    }

    /// Whether a project is wanted or in flight.
    pub fn is_wanted(&self, project: &Project) -> bool {
        self.register
            .get(project)
            .is_some_and(|entry| entry.seat.place.is_wanted())
    }
}
