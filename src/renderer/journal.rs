//! The journal: which calls arrived when, what became of them, and how many renders were truly
//! done.
//!
//! It is how a test sees a sidecar's budget from the other side: a call is written down the moment
//! it arrives, before anything can refuse, hold or answer it. It judges nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use crate::revision::Project;

/// How many of the latest calls are remembered one by one; the counts go on.
const REMEMBERED: usize = 500_000;

/// What became of a call of `Render`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// It is not answered yet.
    Open,
    /// It caused a render and was answered with it.
    Rendered,
    /// It was answered with an equal render that was under way.
    Joined,
    /// It was answered from the memo, at no cost.
    Memoised,
    /// It was answered with garbage.
    Garbled,
    /// It was answered with RESOURCE_EXHAUSTED.
    Refused,
    /// It was answered with any other error.
    Failed,
    /// Its caller went away, or its deadline passed.
    Abandoned,
}

/// A call of `Render`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderCall {
    /// When it arrived, since the renderer started.
    pub arrived: Duration,
    /// Whose configuration it asks for.
    pub project: Project,
    /// The rollout it asks for.
    pub rollout: u64,
    /// What became of it.
    pub state: CallState,
}

/// What a renderer did so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RenderCounts {
    /// The time since the renderer started.
    #[serde(rename = "now_ms", serialize_with = "milliseconds")]
    pub now: Duration,
    /// Calls of `Render`, whatever became of them.
    pub asked: u64,
    /// Renders truly done: not from the memo, not joined, not broken off.
    pub rendered: u64,
    /// Calls of `Fetch`.
    pub fetched: u64,
    /// Calls of `Render` that are not answered yet.
    pub in_flight: u64,
    /// The most calls of `Render` that were unanswered at once.
    pub most_in_flight: u64,
    /// The counts of each project.
    pub projects: BTreeMap<String, ProjectRenders>,
    /// The calls of `Render` in the order of their arrival; the latest 500,000. In JSON only their
    /// arrivals, in milliseconds.
    #[serde(rename = "arrived_ms", serialize_with = "arrivals")]
    pub calls: Vec<RenderCall>,
}

/// What a renderer did for one project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProjectRenders {
    /// Calls of `Render`, whatever became of them.
    pub asked: u64,
    /// Renders truly done.
    pub rendered: u64,
    /// Calls of `Fetch`.
    pub fetched: u64,
}

impl RenderCounts {
    /// How many calls of `Render` came to this.
    pub fn count(&self, state: CallState) -> usize {
        let calls = self.calls.iter();
        calls.filter(|call| call.state == state).count()
    }
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64() * 1e3)
}

fn arrivals<S: Serializer>(calls: &[RenderCall], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(calls.iter().map(|call| call.arrived.as_secs_f64() * 1e3))
}

/// Where the calls are written down.
#[derive(Debug)]
pub(super) struct Journal {
    start: Instant,
    pages: Mutex<CallPages>,
}

#[derive(Debug, Default)]
struct CallPages {
    calls: VecDeque<RenderCall>,
    /// The number of the first call that is still remembered.
    first: u64,
    renders: RenderCounts,
}

/// A call that was written down; dropped without a final state, it was abandoned.
#[derive(Debug)]
pub(super) struct JournalEntry {
    journal: Arc<Journal>,
    number: u64,
    state: CallState,
}

// === impl Journal ===

impl Journal {
    /// Starts a journal at this instant.
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            pages: Mutex::default(),
        }
    }

    /// Writes a call of `Render` down.
    pub(super) fn arrived(self: &Arc<Self>, project: &Project, rollout: u64) -> JournalEntry {
        let arrived = self.start.elapsed();
        let mut pages = self.lock();
        pages.renders.asked += 1;
        pages.renders.in_flight += 1;
        pages.renders.most_in_flight = pages.renders.most_in_flight.max(pages.renders.in_flight);
        pages.project(project).asked += 1;
        if pages.calls.len() == REMEMBERED {
            pages.calls.pop_front();
            pages.first += 1;
        }
        pages.calls.push_back(RenderCall {
            arrived,
            project: project.clone(),
            rollout,
            state: CallState::Open,
        });
        JournalEntry {
            journal: Arc::clone(self),
            number: pages.first + pages.calls.len() as u64 - 1,
            state: CallState::Abandoned,
        }
    }

    /// Counts a render that was truly done.
    pub(super) fn rendered(&self, project: &Project) {
        let mut pages = self.lock();
        pages.renders.rendered += 1;
        pages.project(project).rendered += 1;
    }

    /// Counts a call of `Fetch`.
    pub(super) fn fetched(&self, project: &Project) {
        let mut pages = self.lock();
        pages.renders.fetched += 1;
        pages.project(project).fetched += 1;
    }

    /// Reads everything.
    pub(super) fn read(&self) -> RenderCounts {
        let pages = self.lock();
        RenderCounts {
            now: self.start.elapsed(),
            calls: pages.calls.iter().cloned().collect(),
            ..pages.renders.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, CallPages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallPages {
    fn project(&mut self, project: &Project) -> &mut ProjectRenders {
        let projects = &mut self.renders.projects;
        projects.entry(project.as_str().to_owned()).or_default()
    }
}

impl JournalEntry {
    /// Writes down what became of the call.
    pub(super) fn close(mut self, state: CallState) {
        self.state = state;
    }
}

impl Drop for JournalEntry {
    fn drop(&mut self) {
        let mut pages = self.journal.lock();
        pages.renders.in_flight -= 1;
        let index = self
            .number
            .checked_sub(pages.first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(call) = index.and_then(|index| pages.calls.get_mut(index)) {
            call.state = self.state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_is_written_down_when_it_arrives_and_again_when_it_ends() {
        let journal = Arc::new(Journal::start());
        let project = Project::new("ada").unwrap();
        let first = journal.arrived(&project, 3);
        tokio::time::advance(Duration::from_millis(1500)).await;
        let second = journal.arrived(&project, 4);
        assert_eq!(journal.read().in_flight, 2);
        assert_eq!(journal.read().count(CallState::Open), 2);

        journal.rendered(&project);
        first.close(CallState::Rendered);
        drop(second);
        let renders = journal.read();
        assert_eq!(
            (renders.in_flight, renders.most_in_flight, renders.rendered),
            (0, 2, 1)
        );
        let states: Vec<_> = renders.calls.iter().map(|call| call.state).collect();
        assert_eq!(states, [CallState::Rendered, CallState::Abandoned]);

        let json = serde_json::to_value(&renders).unwrap();
        assert_eq!(json["arrived_ms"], serde_json::json!([0.0, 1500.0]));
        assert_eq!(json["projects"]["ada"]["asked"], 2);
    }
}
