//! A renderer, sidecars before it, those who look up, and the arithmetic of the budget.

mod budget;
mod load;
mod metrics;
mod renderer;
mod settings;
mod sidecar;

use std::time::Duration;

use evenkeel::proto::v1::{GetConfigResponse, NotRefreshed, Served};
use tokio::time::{Instant, sleep};

pub(crate) use self::{
    budget::LaunchBudget,
    load::StormLoad,
    metrics::{MetricsPage, http},
    renderer::{StormRenderer, sample},
    sidecar::{HUNG, StormSidecar, asking, waiting},
};

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Waits until it is so, and tells how long that took; fails when it is not so within the limit.
pub(crate) async fn until(what: &str, limit: Duration, is_so: impl AsyncFn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(millis(5)).await;
    }
    start.elapsed()
}

/// How an answer came about, and why it is not fresh.
pub(crate) fn served(answer: &GetConfigResponse) -> (Served, NotRefreshed) {
    (answer.served(), answer.not_refreshed())
}

/// The rollout of an answer.
pub(crate) fn rollout(answer: &GetConfigResponse) -> u64 {
    answer.revision.as_ref().map_or(0, |it| it.rollout)
}
