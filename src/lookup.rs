//! A stand-in for the core's lookup: its signatures, over a script. It says what the edge may call, and nothing more.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    answer::{Answer, Failure},
    reason::{NotRefreshed, Refusal},
    revision::{Order, Project},
};

/// A lookup's question.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whose configuration.
    pub project: Project,
    /// How long to wait for a refresh; unset means the setting.
    pub patience: Option<Duration>,
    /// The caller's own deadline.
    pub deadline: Option<Instant>,
    /// Fail rather than answer with an older revision.
    pub min_revision: Option<Order>,
    /// Fail rather than answer with what has been outdated for longer.
    pub max_outdated: Option<Duration>,
}

/// Answers lookups.
#[derive(Clone, Debug, Default)]
pub struct Lookup {}

/// The revisions of one project, newest first.
#[derive(Debug)]
pub struct Watch {
    answered: bool,
}

const NOTHING_HELD: Failure = Failure::NotRefreshed {
    refusal: Refusal {
        reason: NotRefreshed::Unreachable,
        retry_after: Duration::from_secs(1),
    },
    held: false,
    deadline_exceeded: false,
};

impl Lookup {
    /// Answers one lookup.
    ///
    /// # Errors
    /// When nothing can be served.
    pub async fn get(&self, _query: Query) -> Result<Answer, Failure> {
        Err(NOTHING_HELD)
    }

    /// Answers several lookups, in the order asked.
    pub async fn get_many(
        &self,
        projects: &[Project],
        _patience: Option<Duration>,
        _deadline: Option<Instant>,
    ) -> Vec<Result<Answer, Failure>> {
        projects.iter().map(|_| Err(NOTHING_HELD)).collect()
    }

    /// Watches a project.
    pub fn watch(&self, _project: Project) -> Watch {
        Watch { answered: false }
    }
}

impl Watch {
    /// The first answer at once, then each newer one; never ends; cancel-safe.
    ///
    /// # Errors
    /// When nothing can be served; the watch goes on.
    pub async fn next(&mut self) -> Result<Answer, Failure> {
        if self.answered {
            std::future::pending::<()>().await;
        }
        self.answered = true;
        Err(NOTHING_HELD)
    }
}
