//! Callers that look projects up one after the other, until they are told to stop.

use std::{collections::BTreeMap, sync::Arc};

use evenkeel::proto::v1::{GetConfigResponse, NotRefreshed, Served};
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{StormSidecar, asking, millis, sidecar::call};

/// Several callers, each with a connection of its own.
pub(crate) struct StormLoad {
    callers: JoinSet<Vec<GetConfigResponse>>,
    stop: CancellationToken,
}

/// Answers by how they were served and why they are not fresh, as the contract names it.
pub(crate) type LookupAnswers = BTreeMap<(&'static str, &'static str), u64>;

impl StormLoad {
    /// Starts callers that ask for all these projects in turn, each from another one on.
    pub(crate) async fn start(sidecar: &StormSidecar, projects: &[String], callers: usize) -> Self {
        let projects: Arc<[String]> = projects.into();
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for caller in 0..callers {
            let mut client = sidecar.connect().await;
            let (projects, stop) = (Arc::clone(&projects), stop.clone());
            let first = caller * projects.len() / callers;
            tasks.spawn(async move {
                let mut answers = Vec::new();
                for project in projects.iter().cycle().skip(first) {
                    let answer = call(&mut client, asking(project)).await;
                    let mut answer = answer.expect("a lookup of what is held is answered");
                    answer.payload.clear();
                    answers.push(answer);
                    sleep(millis(5)).await;
                    if stop.is_cancelled() {
                        break;
                    }
                }
                answers
            });
        }
        Self {
            callers: tasks,
            stop,
        }
    }

    /// Stops them. Fails when a lookup failed, or was answered outdated without saying why or when
    /// to come back.
    pub(crate) async fn stop(self) -> LookupAnswers {
        self.stop.cancel();
        let answers = self.callers.join_all().await.into_iter().flatten();
        answers.fold(LookupAnswers::new(), |mut answers, answer| {
            let is_outdated = answer.served() == Served::Outdated;
            let says_why = answer.not_refreshed() != NotRefreshed::Unspecified;
            assert_eq!(says_why, is_outdated, "{answer:?}");
            assert_eq!(answer.retry_after.is_some(), is_outdated, "{answer:?}");
            let key = (
                answer.served().as_str_name(),
                answer.not_refreshed().as_str_name(),
            );
            *answers.entry(key).or_default() += 1;
            answers
        })
    }
}
