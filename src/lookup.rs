//! The lookup, from top to bottom: what is held fresh is answered at once; else the project is
//! refreshed within the caller's patience and answered fresh, or outdated with the reason, or, when
//! nothing is held, failed with the reason.
//!
//! The fresh path takes no lock of ours and awaits nothing. How a refresh comes about is known to
//! `refresh`, how an answer travels to `serve`.

mod patience;
mod recall;
mod wait;
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

pub use self::watch::Watch;
use self::{
    patience::{Fallback, Patience},
    wait::{CameTo, WaitResult},
};
use crate::{
    admission::Class,
    answer::{Answer, Failure, Outdated, Served},
    cache::{Cache, Held, LEAST_ABSENCE, Recall},
    freshness::Freshness,
    moment::{Clock, Moment},
    reason::{NotRefreshed, Refusal},
    refresh::Refresh,
    revision::{Order, Project},
    trace::TraceContext,
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
    /// The trace that the caller belongs to.
    pub trace: Option<TraceContext>,
}

/// What a caller demands of its answer; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// The least order that it accepts.
    pub min_revision: Option<Order>,
    /// For how long what it accepts may have been outdated.
    pub max_outdated: Option<Duration>,
}

impl Demands {
    fn accept(self, order: Order) -> bool {
        self.min_revision.is_none_or(|min| order >= min)
    }
}

impl Query {
    /// What the caller demands.
    pub const fn demands(&self) -> Demands {
        Demands {
            min_revision: self.min_revision,
            max_outdated: self.max_outdated,
        }
    }
}

/// What an operator sets of lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitLimits {
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
    limits: Arc<ArcSwap<WaitLimits>>,
    waiting: Arc<AtomicUsize>,
    watching: Arc<AtomicUsize>,
    recall: Option<Arc<dyn Recall>>,
    counting: Counting,
}

/// Whether the observer of the refresh hears of every lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counting {
    Off,
    On,
}

impl Lookup {
    /// Makes lookups over what `cache` holds.
    pub fn new(
        clock: Clock,
        cache: Arc<Cache>,
        freshness: Arc<Freshness>,
        refresh: Refresh,
        limits: WaitLimits,
    ) -> Self {
        Self {
            clock,
            cache,
            freshness,
            refresh,
            limits: Arc::new(ArcSwap::from_pointee(limits)),
            waiting: Arc::default(),
            watching: Arc::default(),
            recall: None,
            counting: Counting::Off,
        }
    }

    /// Has every lookup from now on told to the observer of the refresh.
    #[must_use]
    pub fn counted(mut self) -> Self {
        self.freshness.count_lookups();
        self.counting = Counting::On;
        self
    }

    /// Puts other limits in force.
    pub fn set_limits(&self, limits: WaitLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Answers from memory alone: a fresh revision, an outdated one whose refusal is known, or that
    /// there is no such project. None where that does not do for the caller, or its interest in an
    /// outdated project has still to be told this second.
    pub fn at_once(&self, project: &str, demands: Demands) -> Option<Result<Answer, Failure>> {
        let now = self.clock.now();
        let Some(held) = self.cache.get(project) else {
            let retry_after = self.absent_for(project, now)?;
            let is_asked = demands.min_revision.is_none();
            return is_asked
                .then(|| self.told(project, Err(Failure::ProjectNotFound { retry_after })));
        };
        if self.is_fresh(demands, &held, now) {
            if self.freshness.is_plain() {
                return Some(Ok(Answer {
                    revision: Arc::clone(&held.revision),
                    served: Served::Fresh,
                    is_unconfirmed: false,
                }));
            }
            return Some(self.concern_others(&held, now));
        }
        let refusal = self.known_refusal(demands, &held, now)?;
        held.memo
            .is_told(now)
            .then(|| self.told(project, Ok(self.outdated(&held, refusal, now))))
    }

    /// Answers one lookup: from memory, or after waiting for a refresh within the caller's
    /// patience.
    ///
    /// When the renderer is slow, the wait ends with [`CameTo::PatienceOver`], and what is held is
    /// served outdated. The refresh goes on without its callers. A lookup of a held project waits
    /// only for a flight that is already in the air: it never queues for a launch, unless its
    /// caller demands more than what is held. Dropping the future only ends the wait.
    ///
    /// # Errors
    /// If nothing is held, or what is held does not meet the caller's demands, and no refresh came
    /// in time.
    pub async fn get(&self, query: Query) -> Result<Answer, Failure> {
        let (project, demands) = (&query.project, query.demands());
        self.wait_for_recall(&query).await;
        if let Some(told) = self.at_once(project.as_str(), demands) {
            return told;
        }
        self.tell_lookup(project.as_str());
        let answer = self.get_in_time(&query).await;
        self.tell_answer(&answer);
        answer
    }

    /// Answers a lookup that memory alone does not answer.
    async fn get_in_time(&self, query: &Query) -> Result<Answer, Failure> {
        let (project, demands) = (&query.project, query.demands());
        let now = self.clock.now();
        let held = self.cache.get(project.as_str());
        if let Some(held) = &held
            && self.known_refusal(demands, held, now).is_some()
        {
            // The other lookups of this second are answered from memory.
            held.memo.claim_second(now);
        }
        if let Some(failure) = self.beyond_reach(demands, held.as_deref()) {
            return Err(failure);
        }
        let fallback = if self.meets(demands, held.as_deref(), now) {
            Fallback::Held
        } else {
            Fallback::Nothing
        };
        let limits = self.limits.load();
        let patience = Patience::of(query, &limits, fallback, now, &self.clock);
        drop(limits);
        let ended = self.wait(query, held, patience).await;
        self.conclude(query, ended, patience)
    }

    /// Answers several lookups, which share one patience, in the order asked. Asks for at most as
    /// many missing projects as fill a quarter of the queue.
    pub async fn get_many(
        &self,
        projects: &[Project],
        patience: Option<Duration>,
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> Vec<Result<Answer, Failure>> {
        let room = self.refresh.queue().div_ceil(4);
        let mut missing = HashSet::new();
        let lookups = projects.iter().map(|project| {
            let at_once = self.at_once(project.as_str(), Demands::default());
            let is_held = at_once.is_some()
                || self.cache.get(project.as_str()).is_some()
                || self.is_to_be_recalled(project);
            let has_room = is_held || missing.contains(project) || {
                missing.len() < room && missing.insert(project)
            };
            async move {
                if let Some(told) = at_once {
                    return told;
                }
                if !has_room {
                    return self.told(project.as_str(), Err(crowded()));
                }
                self.get(Query {
                    project: project.clone(),
                    patience,
                    deadline,
                    min_revision: None,
                    max_outdated: None,
                    trace,
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

    /// Tells the observer of a lookup that is answered at once, where lookups are counted.
    fn told(&self, project: &str, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        self.tell_lookup(project);
        self.tell_answer(&answer);
        answer
    }

    fn tell_lookup(&self, project: &str) {
        if self.counting == Counting::On {
            self.refresh.observer().looked_up(project);
        }
    }

    fn tell_answer(&self, answer: &Result<Answer, Failure>) {
        if self.counting == Counting::On {
            self.refresh.observer().answered(answer);
        }
    }

    /// Counts a fresh lookup where lookups are counted, and has what is fresh confirmed where it
    /// may lack a change that was missed. It is served as before.
    fn concern_others(&self, held: &Held, now: Moment) -> Result<Answer, Failure> {
        let answer = self.answer(held, Served::Fresh);
        if answer.is_unconfirmed && held.memo.claim_second(now) {
            self.refresh.confirm(&held.revision.project);
        }
        self.told(held.revision.project.as_str(), Ok(answer))
    }

    /// Answers with what is held now, or is in hand, or fails.
    fn conclude(
        &self,
        query: &Query,
        ended: WaitResult,
        patience: Patience,
    ) -> Result<Answer, Failure> {
        let now = self.clock.now();
        let WaitResult { came_to, in_hand } = ended;
        let (project, demands) = (query.project.as_str(), query.demands());
        let held = self.cache.get(project);
        let absent_for = match (came_to, &held) {
            (_, Some(_)) => None,
            (CameTo::NotFound, None) => {
                Some(self.absent_for(project, now).unwrap_or(LEAST_ABSENCE))
            }
            (CameTo::Landed | CameTo::Refused(_) | CameTo::PatienceOver, None) => {
                self.absent_for(project, now)
            }
        };
        if let Some(retry_after) = absent_for {
            return Err(Failure::ProjectNotFound { retry_after });
        }
        let held = held.or(in_hand);
        if let Some(held) = held
            .as_ref()
            .filter(|held| self.is_fresh(demands, held, now))
        {
            return Ok(self.answer(held, Served::Rendered));
        }
        let refusal = match came_to {
            CameTo::Refused(refusal) => refusal,
            // The renderer is slow, or what landed is not enough.
            CameTo::PatienceOver | CameTo::Landed | CameTo::NotFound => {
                self.explained(&query.project, Class::by_held(held.as_ref()))
            }
        };
        let Some(held) = held else {
            return Err(not_refreshed(refusal, Class::Missing, patience));
        };
        if self.meets(demands, Some(&held), now) {
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
                not_refreshed(refusal, Class::Outdated, patience)
            });
        }
        Err(Failure::BeyondMaxOutdated {
            outdated_for: self.outdated_for(&held, now),
            reason: refusal.reason,
        })
    }

    /// A demand for a rollout that is not under way fails without a render.
    fn beyond_reach(&self, demands: Demands, held: Option<&Held>) -> Option<Failure> {
        let min = demands.min_revision?;
        let reach = self.freshness.reach();
        let is_met = held.is_some_and(|held| held.revision.order >= min);
        (min.rollout > reach && !is_met).then(|| Failure::BeyondReach {
            demanded: min.rollout,
            target: self.freshness.target(),
            reach,
        })
    }

    fn explained(&self, project: &Project, class: Class) -> Refusal {
        match self.refresh.explain(project) {
            Some(explanation) => explanation.refusal,
            // Of a missing project nothing is known where there was no room to remember that it is
            // wanted.
            None => Refusal {
                reason: match class {
                    Class::Outdated => NotRefreshed::Scheduled,
                    Class::Missing => NotRefreshed::QueueFull,
                },
                retry_after: CROWDED,
            },
        }
    }

    fn is_fresh(&self, demands: Demands, held: &Held, now: Moment) -> bool {
        self.freshness.is_fresh(held, now) && demands.accept(held.revision.order)
    }

    /// Whether what is held may be served to this caller, fresh or not.
    fn meets(&self, demands: Demands, held: Option<&Held>, now: Moment) -> bool {
        held.is_some_and(|held| {
            demands.accept(held.revision.order)
                && demands
                    .max_outdated
                    .is_none_or(|max| self.outdated_for(held, now) <= max)
        })
    }

    /// The refusal that is known already, where it is all that this caller needs.
    fn known_refusal(&self, demands: Demands, held: &Held, now: Moment) -> Option<Refusal> {
        let refusal = self.refresh.known_refusal(held, now)?;
        self.meets(demands, Some(held), now).then_some(refusal)
    }

    fn absent_for(&self, project: &str, now: Moment) -> Option<Duration> {
        self.cache.absent_for(project, self.freshness.target(), now)
    }

    fn answer(&self, held: &Held, served: Served) -> Answer {
        Answer {
            revision: Arc::clone(&held.revision),
            served,
            is_unconfirmed: !self.freshness.is_confirmed(held),
        }
    }

    fn outdated(&self, held: &Arc<Held>, refusal: Refusal, now: Moment) -> Answer {
        let outdated_for = self.outdated_for(held, now);
        self.answer(
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

fn not_refreshed(refusal: Refusal, class: Class, patience: Patience) -> Failure {
    Failure::NotRefreshed {
        refusal,
        held: class == Class::Outdated,
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
