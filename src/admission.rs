//! Decides which render is launched, and when: the budget, its gates, and the order of those who want one.
//!
//! A sans-IO state machine: facts and `now` go in, [`Action`]s come out, and [`Admission::explain`] tells at any moment why a
//! project is not refreshed. The same code runs in production, in property tests and in simulations. The driver that owns it
//! (`refresh`) carries the actions out. It knows of no socket, task or clock, and of no payload.
//!
//! The gates stand cheap before dear and refundable before irrevocable, and a project is peeked at, not popped, until it has
//! passed them all: satisfied or of no interest (dropped free), draining, breaker and connection, global hold, project
//! (cool-down), concurrency, and the token bucket last.

mod ages;
mod breaker;
mod bucket;
mod confirming;
mod controllers;
mod dispatch;
mod explain;
mod fault;
mod fetched;
mod flood;
mod landing;
mod learned;
mod limits;
mod pace;
mod project;
mod pushback;
mod queued;
mod ranked;
mod recent;
mod retries;
mod store;
mod valve;
mod wanted;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

#[cfg(test)]
use self::controllers::Controllers;
use self::{
    ages::Ages,
    breaker::{Breaker, Cause},
    bucket::Bucket,
    confirming::Confirming,
    controllers::Controller,
    fault::Fault,
    flood::Flood,
    learned::Learned,
    limits::{CONVERGENCE, LONGEST_INTEREST},
    pace::Pace,
    project::{Counted, Entry, Place},
    pushback::Pushbacks,
    queued::Queued,
    recent::Recent,
    retries::RetryBudget,
    store::Store,
    wanted::Wanted,
};
pub use self::{
    bucket::MIN_RATE,
    explain::Explanation,
    flood::FirstRenders,
    limits::{FetchLimits, Limits},
};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    revision::{Order, Project},
};

/// The right to render one project once. Only admission makes it; a render consumes it.
#[derive(Debug)]
pub struct Permit {
    _private: (),
}

/// The right to fetch one project once. Only admission makes it; a fetch consumes it.
#[derive(Debug)]
pub struct FetchPermit {
    _private: (),
}

#[cfg(test)]
impl Permit {
    pub(crate) fn for_tests() -> Self {
        Self { _private: () }
    }
}

#[cfg(test)]
impl FetchPermit {
    pub(crate) fn for_tests() -> Self {
        Self { _private: () }
    }
}

/// Which projects go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing is held, and a caller waits.
    Missing,
    /// Something is held, or nobody waits any more.
    Outdated,
}

impl Class {
    /// Every class, the first served first.
    pub const ALL: [Self; 2] = [Self::Missing, Self::Outdated];

    /// The class that metrics count a project in: by what is held alone, whether callers wait or not.
    pub const fn by_held(is_held: bool) -> Self {
        if is_held {
            Self::Outdated
        } else {
            Self::Missing
        }
    }

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Outdated => "outdated",
        }
    }
}

/// What can stand between a project and its render, in the order of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// The sidecar is shutting down.
    Draining,
    /// Several projects failed in a row, or the renderer refused the identity of this sidecar; nothing is rendered for a while.
    Breaker,
    /// There is no connection.
    Connection,
    /// The renderer asked to be left alone.
    Hold,
    /// The project cools down.
    Project,
    /// The queue of missing projects is full.
    Queue,
    /// All permits are held, of those that are set or of fewer since calls were refused.
    Concurrency,
    /// The bucket is empty.
    Tokens,
}

impl Gate {
    /// Every gate, in the order of asking.
    pub const ALL: [Self; 8] = [
        Self::Draining,
        Self::Breaker,
        Self::Connection,
        Self::Hold,
        Self::Project,
        Self::Queue,
        Self::Concurrency,
        Self::Tokens,
    ];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Breaker => "breaker",
            Self::Connection => "connection",
            Self::Hold => "hold",
            Self::Project => "project",
            Self::Queue => "queue",
            Self::Concurrency => "concurrency",
            Self::Tokens => "tokens",
        }
    }
}

/// What is held of a project, as far as admission cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldMark {
    /// The order of what is held.
    pub order: Order,
    /// When it was last known to be right.
    pub validated_at: Moment,
}

/// What makes a project fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The least rollout.
    pub rollout: u64,
    /// The least number.
    pub number: u64,
    /// Validated at this moment or later.
    pub validated_since: Moment,
}

impl Want {
    fn is_met_by(&self, held: Option<HeldMark>) -> bool {
        held.is_some_and(|held| {
            held.order.rollout >= self.rollout
                && held.order.number >= self.number
                && held.validated_at >= self.validated_since
        })
    }

    fn raise_to(&mut self, other: Self) {
        self.rollout = self.rollout.max(other.rollout);
        self.number = self.number.max(other.number);
        self.validated_since = self.validated_since.max(other.validated_since);
    }
}

/// What became of a wish, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The caller is counted as waiting: a [`Action::Resolve`] will follow, or the caller tells that it [left](Admission::left).
    Wait,
    /// The caller is not to wait. The project stays wanted, unless the queue is full.
    Refused(Refused),
}

/// A refusal, and who was refused by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The class of the project, by what is held.
    pub class: Class,
    /// The gate that said no; none when the project is in flight.
    pub gate: Option<Gate>,
    /// What the caller is told.
    pub refusal: Refusal,
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Render a project, then call [`Admission::landed`].
    Render {
        /// Which.
        project: Project,
        /// With which generation of the software.
        rollout: u64,
        /// Whether a caller asked for more than freshness.
        is_demand: bool,
        /// In which class it was admitted.
        class: Class,
        /// The right to do so.
        permit: Permit,
    },
    /// Fetch a project, then call [`Admission::fetched`].
    Fetch {
        /// Which.
        project: Project,
        /// The right to do so.
        permit: FetchPermit,
    },
    /// Fetch a project of which something is held, to see whether that is still right; then call [`Admission::confirmed`].
    Confirm {
        /// Which.
        project: Project,
        /// The right to do so.
        permit: FetchPermit,
    },
    /// Wake everyone who waits for a project.
    Resolve {
        /// Which.
        project: Project,
        /// What to tell them.
        outcome: Outcome,
    },
}

/// What those who wait for a project are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A revision landed; look again.
    Landed,
    /// The renderer knows no such project.
    NotFound,
    /// Nothing came of it.
    Refused(Refusal),
}

/// What a render brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// This is held now; it may be less than what was asked for.
    Held(HeldMark),
    /// It was not fit to be held.
    Rejected,
    /// The renderer knows no such project, and nothing of it is held.
    NotFound,
    /// The renderer knows no such project any more; what is held stays, and is asked for again after a while.
    Gone,
    /// There was no connection after all.
    Unreachable,
    /// The call failed.
    Failed(CallFailure),
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The renderer was unavailable, or the connection broke.
    Unavailable,
    /// The renderer gave the render up.
    Aborted,
    /// The renderer does not accept the identity of this sidecar.
    Unauthenticated,
    /// It took longer than its deadline. The renderer may still be at it.
    DeadlineExceeded,
    /// The renderer is exhausted, and says when to come back.
    Exhausted(Pushback),
    /// The renderer refused the call without a word on when to come back: it wants fewer calls at once.
    Refused,
    /// Anything else.
    Other,
}

/// A renderer's word on when to call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushback {
    /// After how long; none means not to retry.
    pub after: Option<Duration>,
    /// Whether it holds for every project.
    pub is_global: bool,
}

/// What a fetch brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchLanding {
    /// This is held now.
    Held(HeldMark),
    /// Nothing is stored, or what is stored is not fit to be held.
    Nothing,
    /// The call failed.
    Failed(CallFailure),
    /// There was no connection after all.
    Unreachable,
    /// The renderer does not offer it on this connection.
    Unimplemented,
}

/// The connection to the renderer, as the driver last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The first dial is under way.
    Dialling,
    /// There is one.
    Up,
    /// There is none; the next dial is at that moment.
    Down {
        /// When it is dialled again.
        retry_at: Moment,
    },
}

/// The state machine.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    target: u64,
    link: Link,
    /// Until when a connection that a call could not use is not used again, unless there is a new one.
    unusable_until: Moment,
    is_draining: bool,
    /// Whether the renderer offers Fetch, as far as is known.
    offers_fetch: bool,
    /// When it is asked for again, while it is not offered.
    fetch_again_at: Moment,
    bucket: Bucket,
    fetch_bucket: Bucket,
    start: Moment,
    /// The part of a token's period after which the first token is there.
    phase: f64,
    advance: Advance,
    /// The moments before which the buckets are known to be empty.
    next_token: Option<Moment>,
    next_fetch_token: Option<Moment>,
    /// When as many calls as are set may be in flight again, after fewer since some were refused.
    next_permits: Option<Moment>,
    /// When to look at those to be confirmed again.
    next_confirmation: Option<Moment>,
    confirming: Confirming,
    /// Until when nothing is fetched, because fetches were pushed back that stand for all.
    fetches_held_until: Moment,
    /// The pushbacks of fetches that did not say that they stand for all.
    fetch_pushbacks: Pushbacks,
    /// How many renders, and how many fetches, the renderer takes at once.
    renders_at_once: Learned,
    fetches_at_once: Learned,
    /// Whether fetches as a whole fail.
    store: Store,
    launches: Launches,
    entries: BTreeMap<Project, Entry>,
    /// Missing projects that are to be fetched, in order of arrival.
    to_fetch: BTreeMap<u64, Project>,
    /// Missing projects that are to be rendered, in order of arrival.
    missing: BTreeMap<u64, Project>,
    queued: Queued,
    wanted: Wanted,
    timers: BTreeSet<(Moment, Project)>,
    in_flight: InFlight,
    ages: Ages,
    /// How long a render may run: then its permit comes home.
    deadline: Duration,
    /// The renders in flight, by when they were launched.
    launched: BTreeSet<(Moment, Project)>,
    counts: Counts,
    /// Tokens given to missing projects in a row.
    missing_turns: u32,
    arrivals: u64,
    recent: Recent,
    recent_fetches: Recent,
    breaker: Breaker,
    pushbacks: Pushbacks,
    pace: Pace,
    retries: RetryBudget,
    fault: Fault,
    flood: Flood,
    rng: fastrand::Rng,
    actions: Vec<Action>,
    #[cfg(test)]
    controllers: Controllers,
}

/// How many projects there are of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Wanted, by [`Class::by_held`].
    wanted: [usize; Class::ALL.len()],
    /// Those whose last render failed, was rejected or brought less than was asked for.
    failing: usize,
    /// Wanted ones of which an older rollout is held than is asked for.
    below_target: usize,
    /// Missing ones that are waited for and not in flight.
    waited_for: usize,
    /// Missing ones that nobody waits for any more.
    demoted: usize,
}

/// The first token, which a missing project may have before it is there: nothing is held, so that somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advance {
    Offered,
    /// A missing project had it, and the bucket has yet to give it.
    Owed,
    Settled,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InFlight {
    renders: u32,
    outdated: u32,
    cooling: u32,
    fetches: u32,
}

/// The launches so far, and the last of them that the renderer took and answered.
#[derive(Clone, Copy, Debug, Default)]
struct Launches {
    all: u64,
    answered_render: u64,
    answered_fetch: u64,
}

/// What stops every render until a probe succeeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// The breaker, after projects that failed in a row, or because the identity of this sidecar was refused.
    pub is_broken: bool,
    /// It was the identity.
    pub is_identity_refused: bool,
    /// The renderer's pushback.
    pub is_held: bool,
}

/// A wish for a project, as a lookup brings it.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What is held.
    pub held: Option<HeldMark>,
    /// What would make it fresh.
    pub want: Want,
    /// The least order that the caller accepts, when what is held does not do for it.
    pub demand: Option<Order>,
    /// Until when the caller waits; none when it does not.
    pub until: Option<Moment>,
}

impl Admission {
    /// Makes a machine that wants nothing yet. The bucket starts with a random part of a token, so that many sidecars that start
    /// at once render neither at once nor in step afterwards.
    pub fn new(limits: Limits, target: u64, seed: u64, now: Moment) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let phase = rng.f64();
        Self {
            limits,
            target,
            link: Link::Dialling,
            unusable_until: Moment::START,
            is_draining: false,
            offers_fetch: true,
            fetch_again_at: now,
            bucket: Bucket::new(limits.rate, limits.burst, 1.0 - phase, now),
            fetch_bucket: Bucket::new(limits.fetch.rate, limits.fetch.concurrency, 1.0, now),
            start: now,
            phase,
            advance: Advance::Offered,
            next_token: None,
            next_fetch_token: None,
            next_permits: None,
            next_confirmation: None,
            confirming: Confirming::default(),
            fetches_held_until: now,
            fetch_pushbacks: Pushbacks::NONE,
            renders_at_once: Learned::NOTHING,
            fetches_at_once: Learned::NOTHING,
            store: Store::WELL,
            launches: Launches::default(),
            entries: BTreeMap::new(),
            to_fetch: BTreeMap::new(),
            missing: BTreeMap::new(),
            queued: Queued::default(),
            wanted: Wanted::default(),
            timers: BTreeSet::new(),
            in_flight: InFlight::default(),
            ages: Ages::default(),
            deadline: Duration::MAX,
            launched: BTreeSet::new(),
            counts: Counts::default(),
            missing_turns: 0,
            arrivals: 0,
            recent: Recent::default(),
            recent_fetches: Recent::default(),
            breaker: Breaker::CLOSED,
            pushbacks: Pushbacks::NONE,
            pace: Pace::FULL,
            retries: RetryBudget::EMPTY,
            fault: Fault::NONE,
            flood: Flood::default(),
            rng,
            actions: Vec::new(),
            #[cfg(test)]
            controllers: Controllers::default(),
        }
    }

    /// Says how long a render may run, after which its permit comes home; by default there is no end.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Takes what is to be done.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// When to call [`Admission::tick`], unless something else happens before.
    pub fn next_wake(&self) -> Option<Moment> {
        let timer = self.timers.first().map(|&(at, _)| at);
        let queued = !(self.missing.is_empty() && self.wanted.is_empty());
        let token = self.next_token.filter(|_| queued);
        let may_fetch = !self.to_fetch.is_empty() || self.store.is_given_up();
        let fetch_token = self.next_fetch_token.filter(|_| may_fetch);
        let permits = self
            .next_permits
            .filter(|_| queued || !self.to_fetch.is_empty());
        let gives_up_at = self.store.gives_up_at();
        [
            timer,
            token,
            fetch_token,
            permits,
            gives_up_at,
            self.next_confirmation,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment) {
        if !self.offers_fetch && self.fetch_again_at <= now {
            self.offers_fetch = true;
            self.settle_all(now);
        }
        while let Some((at, project)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.timers.remove(&(at, project.clone()));
            self.settle(&project, now);
        }
        if self.store.gives_up_at().is_some_and(|at| at <= now) {
            if self.has(Controller::FetchesGivenUp) {
                self.store.give_up(now, &mut self.rng);
            } else {
                self.store = Store::WELL;
            }
            self.settle_all(now);
        }
        self.dispatch(now);
    }

    /// Notes that a lookup wants a project, and says whether to wait.
    pub fn want(&mut self, project: &Project, wish: Wish, now: Moment) -> Verdict {
        self.tick(now);
        self.arrivals += 1;
        let mut entry = match self.take_entry(project) {
            Some(entry) => entry,
            None => Entry::new(wish, self.arrivals, now),
        };
        entry.note(wish, now);
        let is_in_flight = entry.flight.is_some();
        // Only one that would not wait, and found no flight, is told that its refresh is scheduled.
        let was_in_flight = is_in_flight || wish.until.is_some();
        let is_queued = is_in_flight || !entry.waiters.is_empty() || wish.held.is_some();
        let has_room = is_queued || self.counts.waited_for < self.limits.queue.get() as usize;
        let refused_for = entry.refuses_demand(wish.demand, now);
        let until = wish.until.filter(|_| has_room && refused_for.is_none());
        if let Some(until) = until {
            entry.waiters.add(until);
        }
        let class = entry.class();
        self.put_entry(project, entry, now);
        self.tick(now);
        if let Some(retry_after) = refused_for {
            return Verdict::Refused(Refused {
                class,
                gate: Some(Gate::Project),
                refusal: Refusal {
                    reason: NotRefreshed::RendererBehind,
                    retry_after,
                },
            });
        }

        if until.is_some_and(|until| self.is_worth_waiting(project, until, now)) {
            return Verdict::Wait;
        }
        if let Some(until) = until {
            self.left(project, until, now);
        }
        let mut refused = self.refuse(project, was_in_flight, now);
        if !has_room && refused.gate.is_none_or(|gate| gate > Gate::Queue) {
            refused.gate = Some(Gate::Queue);
            refused.refusal.reason = NotRefreshed::QueueFull;
        }
        Verdict::Refused(refused)
    }

    /// Notes that one who waited for a project until then is gone.
    pub fn left(&mut self, project: &Project, until: Moment, now: Moment) {
        // What is due goes to whoever still waits.
        self.tick(now);
        if let Some(entry) = self.entries.get_mut(project) {
            entry.waiters.remove(until);
            self.settle(project, now);
            // The renderer has stopped offering Fetch: what waited for a fetch may be rendered now.
            self.dispatch(now);
        }
    }

    /// Notes that the target is another rollout. A higher one ends every cool-down, but no pushback;
    /// after a lower one, nothing is wanted any more for the higher one's sake.
    pub fn set_target(&mut self, rollout: u64, now: Moment) {
        let before = std::mem::replace(&mut self.target, rollout);
        if rollout == before {
            return;
        }
        for project in self.entries.keys().cloned().collect::<Vec<_>>() {
            let Some(mut entry) = self.take_entry(&project) else {
                continue;
            };
            if rollout > before {
                entry.want.rollout = entry.want.rollout.max(rollout);
                entry.forgive_failures();
            } else {
                entry.want.rollout = entry.want.rollout.min(rollout);
            }
            if entry.is_satisfied() && entry.flight.is_none() {
                self.resolve(&project, &mut entry, Outcome::Landed);
            }
            self.put_entry(&project, entry, now);
        }
        self.tick(now);
    }

    /// Notes that the input of a project changed: what is held of a lower number no longer satisfies.
    pub fn changed(&mut self, project: &Project, number: u64, now: Moment) {
        if let Some(entry) = self.entries.get_mut(project) {
            entry.want.number = entry.want.number.max(number);
            self.settle(project, now);
            self.tick(now);
        }
    }

    /// Notes that changes are given up that no render has: that number does.
    pub fn gave_up(&mut self, project: &Project, number: u64, now: Moment) {
        if let Some(entry) = self.entries.get_mut(project) {
            entry.want.number = number;
            if let Some(flight) = &mut entry.flight {
                flight.want.number = flight.want.number.min(number);
            }
            self.settle(project, now);
        }
    }

    /// Notes that changes may have been missed: what is held is to be confirmed, in the order in which it is [wanted most].
    ///
    /// [wanted most]: Admission::unconfirmed
    pub fn resync(&mut self, now: Moment) {
        self.confirming.resync(now, &mut self.rng);
        self.tick(now);
    }

    /// Notes that a project was looked up of which the revision held is fresh, as far as is known, and to be confirmed.
    pub fn unconfirmed(&mut self, project: &Project, now: Moment) {
        self.confirming.want(project, now);
        self.tick(now);
    }

    /// How many projects that were looked up are still to be confirmed.
    pub fn left_to_confirm(&self) -> usize {
        self.confirming.left()
    }

    /// Puts other limits in force. What is in flight stays; the level of the bucket stays.
    pub fn set_limits(&mut self, limits: Limits, now: Moment) {
        let fetched = self.fetches();
        self.fetch_bucket
            .set(limits.fetch.rate, limits.fetch.concurrency, now);
        self.limits = limits;
        self.confirming.set_limits(&limits.fetch, now);
        if self.fetches() != fetched {
            self.settle_all(now);
        }
        self.set_rate(now);
        self.forget_wakes();
        self.tick(now);
        self.review_all(now);
    }

    /// Notes what became of the connection.
    pub fn set_link(&mut self, link: Link, now: Moment) {
        self.link = link;
        self.unusable_until = now;
        if link == Link::Up && !self.offers_fetch {
            self.offers_fetch = true;
            self.settle_all(now);
        }
        self.tick(now);
        self.review_all(now);
    }

    /// Launches nothing more.
    pub fn drain(&mut self, now: Moment) {
        self.is_draining = true;
        self.review_all(now);
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the breaker or the renderer's pushback stops every render.
    pub fn stops(&self) -> Stops {
        Stops {
            is_broken: self.breaker.valve.is_stopped(),
            is_identity_refused: self.breaker.cause() == Some(Cause::IdentityRefused),
            is_held: self.pushbacks.valve.is_stopped(),
        }
    }

    /// Renders that may be in flight at once: as many as are set, or as few as the renderer takes.
    pub fn renders_at_once(&self, now: Moment) -> NonZeroU32 {
        self.limits_in_force(now).concurrency
    }

    /// Fetches that may be in flight at once: as many as are set, or as few as the renderer takes.
    pub fn fetches_at_once(&self, now: Moment) -> NonZeroU32 {
        self.limits_in_force(now).fetch.concurrency
    }

    /// Whether the renderer refused a render or a fetch within the last minute, without a word on when to come back.
    pub fn is_refused(&self, now: Moment) -> bool {
        self.renders_at_once.is_refused(now) || self.fetches_at_once.is_refused(now)
    }

    /// Whether fetches as a whole fail, so that missing projects are rendered instead.
    pub fn has_given_fetches_up(&self) -> bool {
        self.store.is_given_up()
    }

    /// The limits that are set, less what the renderer was learned not to take at once.
    fn limits_in_force(&self, now: Moment) -> Limits {
        let mut limits = self.limits;
        if !self.has(Controller::LearnedConcurrency) {
            return limits;
        }
        limits.concurrency = self.renders_at_once.in_force(limits.concurrency, now);
        limits.fetch.concurrency = self.fetches_at_once.in_force(limits.fetch.concurrency, now);
        limits
    }

    /// Renders per second that are left of the rate: by the pace and the ramps, and nothing during a stop.
    pub fn rate_in_force(&self, now: Moment) -> f64 {
        if self.stops() == Stops::default() {
            self.rate(now)
        } else {
            0.0
        }
    }

    /// How many renders the bucket would admit now, with the fraction of the next: none at a rate of 0.
    pub fn level(&self, now: Moment) -> f64 {
        if self.limits.rate < MIN_RATE {
            return 0.0;
        }
        self.bucket.level(now)
    }

    /// How many renders are in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.renders as usize
    }

    /// The render that has been in flight for longest: since when, and of which project.
    pub fn oldest_render(&self) -> Option<(Moment, &Project)> {
        let (since, project) = self.launched.first()?;
        Some((*since, project))
    }

    /// The median of how long the last renders took that brought a revision; zero while none has.
    pub fn median_render(&self) -> Duration {
        self.recent.median()
    }

    /// How many projects are wanted, those in flight included, of which something is held, or nothing.
    pub fn wanted(&self, class: Class) -> usize {
        self.counts.wanted[class as usize]
    }

    /// How many projects are wanted of which an older rollout is held than is asked for.
    pub fn below_target(&self) -> usize {
        self.counts.below_target
    }

    /// The target.
    pub fn target(&self) -> u64 {
        self.target
    }

    /// Whether there is a connection to the renderer.
    pub fn is_connected(&self) -> bool {
        self.link == Link::Up
    }

    /// How many renders of that class may be in flight at once.
    pub fn permits(&self, class: Class) -> u32 {
        self.limits.permits(class, false)
    }

    /// What the last first renders of projects found.
    pub fn first_renders(&self) -> FirstRenders {
        self.flood.of_late()
    }

    /// How many projects are remembered whose last render failed, was rejected or brought less than was asked for.
    pub fn failing(&self) -> usize {
        self.counts.failing
    }

    /// Whether a project is wanted or in flight.
    pub fn is_wanted(&self, project: &Project) -> bool {
        self.entries
            .get(project)
            .is_some_and(|entry| entry.place.is_wanted())
    }

    fn resolve(&mut self, project: &Project, entry: &mut Entry, outcome: Outcome) {
        if !entry.waiters.is_empty() {
            entry.waiters.clear();
            self.actions.push(Action::Resolve {
                project: project.clone(),
                outcome,
            });
        }
    }

    /// Sends those away who wait for what will not come in time: after what may concern all of them.
    fn review_all(&mut self, now: Moment) {
        let projects = self.queued.waited_for();
        self.review(projects, now);
    }

    /// As [`Admission::review_all`] after a landing, before which the stops and the connection were as `before` says. Where it
    /// changed neither, it concerns each of those who wait but little, and some of them are reviewed, in turn.
    fn review_after_landing(&mut self, before: (Stops, Moment), now: Moment) {
        if (self.stops(), self.unusable_until) == before {
            let projects = self.queued.next_to_review();
            self.review(projects, now);
        } else {
            self.review_all(now);
        }
    }

    fn review(&mut self, projects: impl IntoIterator<Item = Project>, now: Moment) {
        for project in projects {
            let entry = self.entries.get(&project);
            let Some(until) = entry.and_then(|entry| entry.waiters.latest()) else {
                continue;
            };
            if self.is_worth_waiting(&project, until, now) {
                continue;
            }
            let refused = self.refuse(&project, true, now);
            let Some(mut entry) = self.take_entry(&project) else {
                continue;
            };
            self.resolve(&project, &mut entry, Outcome::Refused(refused.refusal));
            self.put_entry(&project, entry, now);
        }
    }

    /// Whether a missing project is fetched before it is rendered.
    fn fetches(&self) -> bool {
        self.may_fetch() && !self.store.is_given_up()
    }

    /// Whether anything may be fetched at all.
    fn may_fetch(&self) -> bool {
        self.offers_fetch && self.limits.fetch.rate > 0.0
    }

    fn settle_all(&mut self, now: Moment) {
        for project in self.entries.keys().cloned().collect::<Vec<_>>() {
            self.settle(&project, now);
        }
    }

    /// Puts a project where it now belongs.
    fn settle(&mut self, project: &Project, now: Moment) {
        if let Some(entry) = self.take_entry(project) {
            self.put_entry(project, entry, now);
        }
    }

    fn take_entry(&mut self, project: &Project) -> Option<Entry> {
        let entry = self.entries.remove(project)?;
        match entry.place {
            Place::InFlight | Place::Cooling | Place::Resting => {}
            Place::ToFetch => drop(self.to_fetch.remove(&entry.arrival)),
            Place::Missing => drop(self.missing.remove(&entry.arrival)),
            Place::Wanted(kind, standing) => self.wanted.remove(project, kind, standing),
        }
        self.queued.remove(project, &entry);
        if let Some(at) = entry.timer {
            self.timers.remove(&(at, project.clone()));
        }
        self.counts.wanted[entry.held_class() as usize] -= usize::from(entry.place.is_wanted());
        self.counts.failing -= usize::from(entry.is_failing());
        self.counts.below_target -= usize::from(entry.place.is_wanted() && entry.is_raised());
        self.counts.waited_for -= usize::from(entry.counted == Counted::WaitedFor);
        self.counts.demoted -= usize::from(entry.counted == Counted::Demoted);
        Some(entry)
    }

    /// How long it takes at most until all that is wanted has been rendered while the renderer is well; nothing at rate 0.
    fn convergence(&self) -> Duration {
        if self.limits.rate <= 0.0 {
            return Duration::ZERO;
        }
        let permits = f64::from(self.limits.outdated_permits());
        let render = self.recent.expected().as_secs_f64().max(1e-9);
        let rate = self.limits.rate.min(permits / render);
        #[expect(clippy::cast_precision_loss, reason = "projects are fewer")]
        let wanted = (self.counts.wanted.iter().sum::<usize>() + 1) as f64;
        Duration::try_from_secs_f64(CONVERGENCE * wanted / rate).unwrap_or(LONGEST_INTEREST)
    }

    fn put_entry(&mut self, project: &Project, mut entry: Entry, now: Moment) {
        entry.extend_interest(self.convergence(), now);
        let Some((place, timer)) = entry.place_at(self.fetches(), now) else {
            self.fault.forget(project);
            return;
        };
        entry.place = place;
        entry.timer = timer;
        entry.counted = entry.counts_as();
        if entry.counted == Counted::Demoted
            && self.counts.demoted >= self.limits.queue.get() as usize
        {
            self.fault.forget(project);
            return;
        }
        match place {
            Place::InFlight | Place::Cooling | Place::Resting => {}
            Place::ToFetch => drop(self.to_fetch.insert(entry.arrival, project.clone())),
            Place::Missing => drop(self.missing.insert(entry.arrival, project.clone())),
            Place::Wanted(kind, standing) => self.wanted.insert(project, kind, standing),
        }
        self.queued.insert(project, &entry);
        if let Some(at) = timer {
            self.timers.insert((at, project.clone()));
        }
        self.counts.wanted[entry.held_class() as usize] += usize::from(place.is_wanted());
        self.counts.failing += usize::from(entry.is_failing());
        self.counts.below_target += usize::from(place.is_wanted() && entry.is_raised());
        self.counts.waited_for += usize::from(entry.counted == Counted::WaitedFor);
        self.counts.demoted += usize::from(entry.counted == Counted::Demoted);
        self.entries.insert(project.clone(), entry);
    }
}

#[cfg(test)]
mod fleet;
#[cfg(test)]
mod tests;
