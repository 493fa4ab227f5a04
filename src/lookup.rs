//! The lookup, from top to bottom: what is held fresh is answered at once; else the project is refreshed within the caller's
//! patience and answered fresh, or outdated with the reason, or, when nothing is held, failed with the reason.
//!
//! The fresh path takes no lock of ours and awaits nothing. How a refresh comes about is known to `refresh`, how an answer
//! travels to `serve`.

mod patience;
mod watch;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::time::Instant;

use self::patience::Patience;
pub use self::watch::Watch;
use crate::{
    admission::Outcome,
    answer::{Answer, Failure, Outdated, Served},
    cache::{Cache, Held, LEAST_ABSENCE},
    freshness::Freshness,
    moment::{self, Clock, Moment},
    reason::{NotRefreshed, Refusal},
    refresh::{Asked, Refresh, Resolved, Told},
    revision::{Order, Project},
};

/// After how long to come back when there is no room to wait, or a batch asks for too much.
const CROWDED: Duration = Duration::from_secs(1);

/// What a caller asks.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whose configuration.
    pub project: Project,
    /// How long to wait for a refresh; none means the setting.
    pub patience: Option<Duration>,
    /// The caller's own deadline.
    pub deadline: Option<Instant>,
    /// Fail rather than answer with less.
    pub min_revision: Option<Order>,
    /// Fail rather than answer with what has been outdated for longer.
    pub max_outdated: Option<Duration>,
}

/// What an operator sets of lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a caller waits that does not say, when something is held.
    pub patience: Duration,
    /// How long a caller waits that does not say, when nothing is held.
    pub cold_patience: Duration,
    /// The longest that any caller waits.
    pub max_patience: Duration,
    /// How many callers may wait at once; beyond that, patience is zero.
    pub max_waiting: usize,
}

/// Answers lookups. Cheap to clone.
#[derive(Clone)]
pub struct Lookup {
    clock: Clock,
    cache: Arc<Cache>,
    freshness: Arc<Freshness>,
    refresh: Refresh,
    limits: Arc<ArcSwap<Limits>>,
    waiting: Arc<AtomicUsize>,
    watching: Arc<AtomicUsize>,
}

impl Lookup {
    /// Makes lookups over what `cache` holds.
    pub fn new(
        clock: Clock,
        cache: Arc<Cache>,
        freshness: Arc<Freshness>,
        refresh: Refresh,
        limits: Limits,
    ) -> Self {
        Self {
            clock,
            cache,
            freshness,
            refresh,
            limits: Arc::new(ArcSwap::from_pointee(limits)),
            waiting: Arc::default(),
            watching: Arc::default(),
        }
    }

    /// Puts other limits in force.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// Answers a lookup that demands nothing, if it can be answered from what is held and nothing is left to do: it is fresh, or why
    /// it is not is known.
    pub fn at_once(&self, project: &str) -> Option<Answer> {
        let held = self.cache.get(project)?;
        let now = self.clock.now();
        if self.freshness.is_fresh(&held, now) {
            self.have_confirmed(&held, now);
            return Some(answer(&held, Served::Fresh));
        }
        let refusal = self.refresh.known_refusal(&held, now)?;
        held.note
            .is_told(now)
            .then(|| self.outdated(&held, refusal, now))
    }

    /// Answers one lookup. Dropping the future only ends the wait.
    ///
    /// # Errors
    /// If nothing is held, or what is held does not meet the caller's demand, and no refresh came in time.
    pub async fn get(&self, query: Query) -> Result<Answer, Failure> {
        let now = self.clock.now();
        let held = self.cache.get(query.project.as_str());
        if let Some(held) = &held {
            if self.is_fresh(&query, held, now) {
                self.have_confirmed(held, now);
                return Ok(answer(held, Served::Fresh));
            }
            if let Some(refusal) = self.known_refusal(&query, held, now) {
                return Ok(self.outdated(held, refusal, now));
            }
        } else if query.min_revision.is_none()
            && let Some(retry_after) = self.absent_for(&query, now)
        {
            return Err(Failure::ProjectNotFound { retry_after });
        }
        if let Some(failure) = self.beyond_reach(&query, held.as_deref()) {
            return Err(failure);
        }
        let patience = Patience::of(
            &query,
            &self.limits.load(),
            self.meets_demand(&query, held.as_deref(), now),
            now,
            &self.clock,
        );
        let ended = self.refreshed(&query, held, patience).await;
        self.conclude(&query, ended, patience)
    }

    /// Answers several lookups, which share one patience, in the order asked. Of the projects of which nothing is held, only
    /// so many are asked for as fill a quarter of the queue.
    pub async fn get_many(
        &self,
        projects: &[Project],
        patience: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Vec<Result<Answer, Failure>> {
        let room = self.refresh.queue().div_ceil(4);
        let mut missing = HashSet::new();
        let lookups = projects.iter().map(|project| {
            let at_once = self.at_once(project.as_str());
            let is_held = at_once.is_some() || self.cache.get(project.as_str()).is_some();
            let has_room = is_held || missing.contains(project) || {
                missing.len() < room && missing.insert(project)
            };
            async move {
                if let Some(answer) = at_once {
                    return Ok(answer);
                }
                if !has_room {
                    return Err(crowded());
                }
                self.get(Query {
                    project: project.clone(),
                    patience,
                    deadline,
                    min_revision: None,
                    max_outdated: None,
                })
                .await
            }
        });
        join_all(lookups).await
    }

    /// Follows a project.
    pub fn watch(&self, project: Project) -> Watch {
        Watch::new(self.clone(), project)
    }

    /// How many lookups wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// How many projects are followed, each follower counted.
    pub fn watching(&self) -> usize {
        self.watching.load(Relaxed)
    }

    /// Has what is fresh confirmed where it may lack a change that was missed. It is served as before.
    fn have_confirmed(&self, held: &Held, now: Moment) {
        if !self.freshness.is_confirmed(held) && held.note.is_first_of_second(now) {
            self.refresh.confirm(&held.revision.project);
        }
    }

    /// Waits, within the patience, until the project is fresh or there is no use in waiting. What is in hand is kept: it may be
    /// thrown away meanwhile.
    async fn refreshed(
        &self,
        query: &Query,
        mut in_hand: Option<Arc<Held>>,
        patience: Patience,
    ) -> Ended {
        let waits = Waits::count(&self.waiting, self.limits.load().max_waiting);
        let mut asked = Asked {
            demand: self.demand(query),
            until: patience.until.filter(|_| waits.has_room()),
        };
        loop {
            let mut waiter = match self.refresh.want(&query.project, asked) {
                Told::LookAgain => return Ended::with(Outcome::Landed, in_hand),
                Told::Refused(mut refusal) => {
                    // Where a gate refused, that stays the reason.
                    if !waits.has_room() && is_under_way(refusal) {
                        refusal.reason = NotRefreshed::QueueFull;
                        if in_hand.is_none() {
                            self.refresh.note_crowded(self.limits.load().max_waiting);
                        }
                    }
                    return Ended::with(Outcome::Refused(refusal), in_hand);
                }
                Told::Wait(waiter) => waiter,
            };
            let until = asked.until.unwrap_or_default();
            let waited = moment::by(self.clock.instant(until), waiter.outcome()).await;
            let Some(Resolved { outcome, held }) = waited else {
                return Ended {
                    outcome: None,
                    in_hand,
                };
            };
            in_hand = held.or(in_hand);
            let now = self.clock.now();
            match outcome {
                Outcome::NotFound | Outcome::Refused(_) => return Ended::with(outcome, in_hand),
                Outcome::Landed => {
                    let landed = in_hand.as_deref();
                    if landed.is_some_and(|held| self.is_fresh(query, held, now)) {
                        return Ended::with(outcome, in_hand);
                    }
                    if self.meets_demand(query, landed, now) {
                        asked.until = None;
                    }
                }
            }
        }
    }

    /// Answers with what is held now, or is in hand, or fails.
    fn conclude(&self, query: &Query, ended: Ended, patience: Patience) -> Result<Answer, Failure> {
        let now = self.clock.now();
        let Ended { outcome, in_hand } = ended;
        let held = self.cache.get(query.project.as_str());
        let absent_for = match (outcome, &held) {
            (_, Some(_)) => None,
            (Some(Outcome::NotFound), None) => {
                Some(self.absent_for(query, now).unwrap_or(LEAST_ABSENCE))
            }
            (None | Some(Outcome::Landed | Outcome::Refused(_)), None) => {
                self.absent_for(query, now)
            }
        };
        if let Some(retry_after) = absent_for {
            return Err(Failure::ProjectNotFound { retry_after });
        }
        let held = held.or(in_hand);
        if let Some(held) = held.as_ref().filter(|held| self.is_fresh(query, held, now)) {
            return Ok(answer(held, Served::Rendered));
        }
        let refusal = match outcome {
            Some(Outcome::Refused(refusal)) => refusal,
            None | Some(Outcome::Landed | Outcome::NotFound) => {
                self.explained(&query.project, held.is_some())
            }
        };
        let Some(held) = held else {
            return Err(not_refreshed(refusal, false, patience));
        };
        if self.meets_demand(query, Some(&held), now) {
            return Ok(self.outdated(&held, refusal, now));
        }
        let newest = held.revision.order;
        if let Some(min) = query.min_revision.filter(|&min| newest < min) {
            return Err(if refusal.reason == NotRefreshed::RendererBehind {
                let may_come = min.rollout > self.freshness.target();
                Failure::BelowMinRevision {
                    newest,
                    retry_after: may_come.then_some(refusal.retry_after),
                }
            } else {
                not_refreshed(refusal, true, patience)
            });
        }
        Err(Failure::BeyondMaxOutdated {
            outdated_for: self.outdated_for(&held, now),
            reason: refusal.reason,
        })
    }

    /// A demand for a rollout that is not under way fails without a render.
    fn beyond_reach(&self, query: &Query, held: Option<&Held>) -> Option<Failure> {
        let min = query.min_revision?;
        let reach = self.freshness.reach();
        let is_met = held.is_some_and(|held| held.revision.order >= min);
        (min.rollout > reach && !is_met).then(|| Failure::BeyondReach {
            demanded: min.rollout,
            target: self.freshness.target(),
            reach,
        })
    }

    fn explained(&self, project: &Project, is_held: bool) -> Refusal {
        match self.refresh.explain(project) {
            Some(explanation) => explanation.refusal,
            // Of a missing project nothing is known where there was no room to remember that it is wanted.
            None => Refusal {
                reason: if is_held {
                    NotRefreshed::Scheduled
                } else {
                    NotRefreshed::QueueFull
                },
                retry_after: CROWDED,
            },
        }
    }

    fn is_fresh(&self, query: &Query, held: &Held, now: Moment) -> bool {
        self.freshness.is_fresh(held, now)
            && query
                .min_revision
                .is_none_or(|min| held.revision.order >= min)
    }

    /// Whether what is held may be served to this caller, fresh or not.
    fn meets_demand(&self, query: &Query, held: Option<&Held>, now: Moment) -> bool {
        held.is_some_and(|held| {
            query
                .min_revision
                .is_none_or(|min| held.revision.order >= min)
                && query
                    .max_outdated
                    .is_none_or(|max| self.outdated_for(held, now) <= max)
        })
    }

    /// The least order that the caller accepts, if it demands anything.
    fn demand(&self, query: &Query) -> Option<Order> {
        let target = Order::rollout(self.freshness.target());
        query.min_revision.or(query.max_outdated.map(|_| target))
    }

    /// The refusal that is known already, where it is all that this caller needs.
    fn known_refusal(&self, query: &Query, held: &Held, now: Moment) -> Option<Refusal> {
        let refusal = self.refresh.known_refusal(held, now)?;
        let is_content = self.meets_demand(query, Some(held), now);
        (is_content && !held.note.is_first_of_second(now)).then_some(refusal)
    }

    fn absent_for(&self, query: &Query, now: Moment) -> Option<Duration> {
        self.cache
            .absent_for(&query.project, self.freshness.target(), now)
    }

    fn outdated(&self, held: &Arc<Held>, refusal: Refusal, now: Moment) -> Answer {
        let outdated_for = self.outdated_for(held, now);
        answer(
            held,
            Served::Outdated(Outdated {
                refusal,
                outdated_for,
            }),
        )
    }

    fn outdated_for(&self, held: &Held, now: Moment) -> Duration {
        self.freshness
            .outdated_since(held, now)
            .map_or(Duration::ZERO, |since| now.since(since))
    }
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// How the wait of a lookup ended.
struct Ended {
    /// What it was told; nothing when its patience ended first.
    outcome: Option<Outcome>,
    /// The last that was seen held of the project.
    in_hand: Option<Arc<Held>>,
}

impl Ended {
    fn with(outcome: Outcome, in_hand: Option<Arc<Held>>) -> Self {
        let outcome = Some(outcome);
        Self { outcome, in_hand }
    }
}

/// Counts one lookup that waits, for as long as it does.
struct Waits<'a> {
    waiting: &'a AtomicUsize,
    has_room: bool,
}

impl<'a> Waits<'a> {
    fn count(waiting: &'a AtomicUsize, most: usize) -> Self {
        let has_room = waiting.fetch_add(1, Relaxed) < most;
        Self { waiting, has_room }
    }

    fn has_room(&self) -> bool {
        self.has_room
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Relaxed);
    }
}

fn answer(held: &Held, served: Served) -> Answer {
    Answer {
        revision: Arc::clone(&held.revision),
        served,
    }
}

fn not_refreshed(refusal: Refusal, held: bool, patience: Patience) -> Failure {
    Failure::NotRefreshed {
        refusal,
        held,
        deadline_exceeded: is_under_way(refusal) && patience.is_deadline,
    }
}

/// Whether no gate refused anything: the refresh takes longer than the caller waits.
fn is_under_way(refusal: Refusal) -> bool {
    matches!(
        refusal.reason,
        NotRefreshed::TimedOut | NotRefreshed::Scheduled
    )
}

fn crowded() -> Failure {
    Failure::NotRefreshed {
        refusal: Refusal {
            reason: NotRefreshed::QueueFull,
            retry_after: CROWDED,
        },
        held: false,
        deadline_exceeded: false,
    }
}

#[cfg(test)]
mod tests;
