//! What an operator asks about single projects: which of them fail, are outdated or missing, and
//! what stands between one of them and its render.
//!
//! The counterpart of `lookup`: it reads what lookups read, changes nothing unless told to forget a
//! project, and does not count as a lookup. It may walk over all that is held. That is done in
//! steps between which lookups have admission's lock to themselves, on another thread than theirs,
//! and for a few operators at once. How an answer travels is known to `serve`.

mod ladder;
mod listing;
mod state;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::sleep};

pub use self::{
    ladder::GateAnswer,
    listing::{Listing, ProjectFilter},
    state::{HeldState, ProjectState},
};
use self::{
    listing::{ListCandidate, Longest},
    state::HeldOrAbsent,
};
use crate::{
    admission::Remembered,
    cache::{Cache, Held},
    freshness::Freshness,
    moment::{Clock, Moment},
    refresh::Refresh,
    revision::Project,
};

/// How many lists are made at once; further ones wait.
const AT_ONCE: usize = 2;
/// How many of the projects that admission remembers are looked at under its lock: some 0.2 ms
/// where all of them are kept.
const STEP: usize = 512;
/// How many projects are explained between two pauses, each under the lock: some 0.1 ms where
/// 50,000 are wanted.
const EXPLAINED: usize = 8;
/// How long lookups have the lock to themselves between two steps. It is not fair: on a busy core,
/// a step that follows without a pause takes it before those who wait.
const PAUSE: Duration = Duration::from_millis(1);

/// Answers operators. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operate {
    clock: Clock,
    cache: Arc<Cache>,
    freshness: Arc<Freshness>,
    refresh: Refresh,
    lists: Arc<Semaphore>,
}

/// Why a project is not refreshed.
#[derive(Clone, Debug)]
pub struct Explained {
    /// How it stands.
    pub state: ProjectState,
    /// Every gate, in the order of asking; none unless it is wanted and not in flight.
    pub gates: Vec<GateAnswer>,
}

impl Operate {
    /// Makes answers about what `cache` holds and `refresh` is to refresh.
    pub fn new(
        clock: Clock,
        cache: Arc<Cache>,
        freshness: Arc<Freshness>,
        refresh: Refresh,
    ) -> Self {
        Self {
            clock,
            cache,
            freshness,
            refresh,
            lists: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Lists up to `limit` projects, the longest outdated first, then by name.
    pub async fn list(&self, filter: ProjectFilter, limit: usize) -> Listing {
        let _turn = self.lists.acquire().await;
        let remembered = self.remembered(filter).await;
        let walk = {
            let this = self.clone();
            move || this.among(filter, remembered, limit)
        };
        let found = tokio::task::spawn_blocking(walk).await;
        let found = found.unwrap_or_else(|failed| match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process ends.
            Err(_) => Longest::new(limit),
        });
        let total = found.total();
        let mut projects = Vec::new();
        for (at, candidate) in found.into_sorted().into_iter().enumerate() {
            if at % EXPLAINED == EXPLAINED - 1 {
                sleep(PAUSE).await;
            }
            projects.push(self.state(&candidate.project, candidate.known));
        }
        Listing { projects, total }
    }

    /// Says why a project is not refreshed; none when nothing is known of it.
    pub fn explain(&self, project: &Project) -> Option<Explained> {
        let now = self.clock.now();
        let known = HeldOrAbsent {
            held: self.cache.get(project.as_str()),
            absent_for: self
                .cache
                .absent_for(project.as_str(), self.freshness.target(), now),
        };
        let is_known = known.held.is_some() || known.absent_for.is_some();
        let state = self.state(project, known);
        if !is_known && state.refusal.is_none() {
            return None;
        }
        let ladder = self.refresh.ladder(project);
        let gates = ladder.map(|ladder| ladder::answers(&ladder));
        Some(Explained {
            state,
            gates: gates.unwrap_or_default(),
        })
    }

    /// Forgets all that is known of a project: what is held of it, wherever it is kept, its
    /// changes, and that it does not exist. Returns what was held.
    pub fn purge(&self, project: &Project) -> Option<Arc<Held>> {
        let held = self.cache.purge(project);
        let order = held.as_ref().map(|held| held.revision.order);
        let order = order.map_or_else(|| "none".to_owned(), |order| order.to_string());
        tracing::warn!(%project, order, "an operator had a project forgotten");
        held
    }

    /// The projects that admission remembers of that kind, by name.
    async fn remembered(&self, filter: ProjectFilter) -> Vec<(Project, Remembered)> {
        let mut all = Vec::new();
        let mut after = None;
        while filter.asks_admission() {
            let step = self
                .refresh
                .walk(after.as_ref(), STEP, |it| filter.wants(it));
            all.extend(step.projects);
            after = step.next;
            if after.is_none() {
                break;
            }
            sleep(PAUSE).await;
        }
        all
    }

    /// The first of all projects that the filter lets through, where admission remembers these of
    /// its kind.
    fn among(
        &self,
        filter: ProjectFilter,
        remembered: Vec<(Project, Remembered)>,
        limit: usize,
    ) -> Longest {
        let now = self.clock.now();
        let mut left = listing::by_name(remembered);
        let mut found = Longest::new(limit);
        for held in self.cache.iter() {
            let project = held.revision.project.clone();
            let is_remembered = left.remove(&project).is_some();
            let outdated_since = self.outdated_since(&held, now);
            let is_listed = match filter {
                ProjectFilter::All => true,
                ProjectFilter::Failing => is_remembered,
                ProjectFilter::Outdated => outdated_since.is_some(),
                ProjectFilter::Missing => false,
            };
            if is_listed {
                let known = HeldOrAbsent {
                    held: Some(held),
                    ..HeldOrAbsent::default()
                };
                found.add(ListCandidate {
                    since: outdated_since,
                    project,
                    known,
                });
            }
        }
        if filter.takes_absent() {
            for (project, absent_for) in self.cache.absent(self.freshness.target(), now) {
                let since = left.remove(&project).and_then(|it| it.wanted_since);
                let known = HeldOrAbsent {
                    absent_for: Some(absent_for),
                    ..HeldOrAbsent::default()
                };
                found.add(ListCandidate {
                    since,
                    project,
                    known,
                });
            }
        }
        for (project, remembered) in left {
            found.add(ListCandidate {
                since: remembered.wanted_since,
                project,
                known: HeldOrAbsent::default(),
            });
        }
        found
    }

    fn state(&self, project: &Project, known: HeldOrAbsent) -> ProjectState {
        let inspected = self.refresh.inspect(project);
        let held = known.held.as_deref();
        let outdated_since = match held {
            Some(held) => self.outdated_since(held, inspected.at),
            None => inspected.remembered.and_then(|it| it.wanted_since),
        };
        ProjectState::new(project.clone(), known, inspected, outdated_since)
    }

    /// Since when what is held has been outdated; none when it is fresh.
    fn outdated_since(&self, held: &Held, now: Moment) -> Option<Moment> {
        if self.freshness.is_fresh(held, now) {
            return None;
        }
        Some(self.freshness.outdated_since(held, now).unwrap_or(now))
    }
}

#[cfg(test)]
mod tests;
