//! Callers that look projects up one after the other, until they are told to stop.

use std::{collections::BTreeMap, sync::Arc};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Sidecar, asking, millis, sidecar::call};

/// Several callers, each with a connection of its own.
pub(crate) struct Load {
    callers: JoinSet<Tally>,
    stop: CancellationToken,
}

/// How lookups went.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers by how they were served and why they are not fresh, such as `SERVED_FRESH` and `""`.
    pub(crate) answers: BTreeMap<(&'static str, &'static str), u64>,
    /// The lookups that failed.
    pub(crate) failures: Vec<Status>,
}

impl Load {
    /// Starts callers that ask for all these projects in turn, each from another one on.
    pub(crate) async fn start(sidecar: &Sidecar, projects: &[String], callers: usize) -> Self {
        let projects: Arc<[String]> = projects.into();
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for caller in 0..callers {
            let mut client = sidecar.connect().await;
            let (projects, stop) = (Arc::clone(&projects), stop.clone());
            let first = caller * projects.len() / callers;
            tasks.spawn(async move {
                let mut tally = Tally::default();
                for project in projects.iter().cycle().skip(first) {
                    tally.add(call(&mut client, asking(project)).await);
                    sleep(millis(5)).await;
                    if stop.is_cancelled() {
                        break;
                    }
                }
                tally
            });
        }
        Self {
            callers: tasks,
            stop,
        }
    }

    /// Stops them, and tells how their lookups went.
    pub(crate) async fn stop(self) -> Tally {
        self.stop.cancel();
        let tallies = self.callers.join_all().await;
        tallies.into_iter().fold(Tally::default(), Tally::and)
    }
}

impl Tally {
    fn add(&mut self, result: Result<super::GetConfigResponse, Status>) {
        match result {
            Ok(answer) => {
                let (served, reason) = super::served(&answer);
                let key = (served.as_str_name(), reason.as_str_name());
                *self.answers.entry(key).or_default() += 1;
            }
            Err(failure) => self.failures.push(failure),
        }
    }

    fn and(mut self, other: Self) -> Self {
        for (key, count) in other.answers {
            *self.answers.entry(key).or_default() += count;
        }
        self.failures.extend(other.failures);
        self
    }
}
