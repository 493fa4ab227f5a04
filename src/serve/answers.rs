//! What the edge asks of the core, as a trait, so that the edge can be tested without one.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use crate::{
    answer::{Answer, Failure},
    lookup::{Demands, Lookup, Query, Watch},
    revision::Project,
    trace::TraceContext,
};

/// Answers lookups. Clones answer from the same memory.
pub trait Answers: Clone + Send + Sync + 'static {
    /// The watch of one project.
    type Watch: Watching;

    /// Answers a lookup that demands nothing, if memory is all that it takes.
    fn at_once(&self, project: &str) -> Option<Answer>;

    /// Answers one lookup, or says why it cannot.
    fn get(&self, query: Query) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Answers one lookup for each project, in the order asked.
    fn get_many(
        &self,
        projects: &[Project],
        patience: Option<Duration>,
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Vec<Result<Answer, Failure>>> + Send;

    /// Watches a project for as long as the watch is kept.
    fn watch(&self, project: Project) -> Self::Watch;
}

/// The newest revision of one project, again and again.
pub trait Watching: Send + 'static {
    /// The first answer at once, then each newer one. Never ends; may be dropped and called again.
    fn next(&mut self) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Replaces the last answer, which did not reach the caller, by the current one. Does not wait;
    /// returns none where the caller has the current one already.
    fn again(&mut self) -> impl Future<Output = Option<Result<Answer, Failure>>> + Send;
}

impl Answers for Lookup {
    type Watch = Watch;

    fn at_once(&self, project: &str) -> Option<Answer> {
        self.at_once(project, Demands::default())?.ok()
    }

    async fn get(&self, query: Query) -> Result<Answer, Failure> {
        self.get(query).await
    }

    async fn get_many(
        &self,
        projects: &[Project],
        patience: Option<Duration>,
        deadline: Option<Instant>,
        trace: Option<TraceContext>,
    ) -> Vec<Result<Answer, Failure>> {
        self.get_many(projects, patience, deadline, trace).await
    }

    fn watch(&self, project: Project) -> Watch {
        self.watch(project)
    }
}

impl Watching for Watch {
    async fn next(&mut self) -> Result<Answer, Failure> {
        self.next().await
    }

    async fn again(&mut self) -> Option<Result<Answer, Failure>> {
        self.again().await
    }
}
