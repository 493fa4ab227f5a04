//! An operator turns the limits of a running sidecar.

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::support::{HUNG, LaunchBudget, StormLoad, StormRenderer, StormSidecar, millis, sample};

/// Rates and bursts, one after the other and over again.
const LIMITS: [(f64, u32); 5] = [(20.0, 6), (40.0, 3), (5.0, 8), (0.5, 1), (30.0, 6)];

/// governor#39: every change of the limits grants a burst, or loses what was refilled.
#[tokio::test]
async fn sixty_changes_of_the_limits_by_sighup_grant_no_render_more_and_lose_few() {
    let renderer = StormRenderer::start(sample(400, millis(10))).await;
    let mut sidecar = StormSidecar::start_program(&renderer, json!({})).await;
    let projects = renderer.projects();
    sidecar.hold(&projects).await;
    let (rate, burst) = LIMITS[LIMITS.len() - 1];
    sidecar.limit(rate, burst, 16).await;
    let before = renderer.renders();
    let mut budget = LaunchBudget::new(rate, burst.into());
    let load = StormLoad::start(&sidecar, &projects, 16).await;
    renderer.release(2);
    sidecar.release(2).await;
    let released = renderer.renders().now;

    let start = Instant::now();
    for (change, (rate, burst)) in (1..=60).zip(LIMITS.into_iter().cycle()) {
        let asked = renderer.renders().now;
        sidecar.limit(rate, burst, 16).await;
        budget.changes([asked, renderer.renders().now], rate, burst.into());
        sleep_until(start + millis(200) * change).await;
    }
    let renders = renderer.renders();
    load.stop().await;
    budget.assert_kept(&renders, before.now);
    let rendered = (renders.asked - before.asked) as f64;
    let allowed = budget.surely_refilled(released, renders.now);
    assert!(rendered >= 0.8 * allowed, "{rendered} of {allowed:.0}");
    assert!(renders.asked < 800, "there was work all the time");
}

#[tokio::test]
async fn an_empty_settings_file_changes_nothing() {
    let renderer = StormRenderer::start(sample(23, millis(1))).await;
    let mut sidecar = StormSidecar::start(&renderer, json!({})).await;
    sidecar.limit(7.0, 3, 2).await;
    renderer.release(2);
    sidecar.release(2).await;
    sidecar.write_settings("");
    sidecar
        .until("it is refused", HUNG, |page| {
            page.sum("settings_valid", &[]) == 0.0
        })
        .await;
    let page = sidecar.metrics().await;
    for (limit, is) in [("rate", 7.0), ("burst", 3.0), ("concurrency", 2.0)] {
        assert_eq!(page.sum("limit", &[&format!("setting=\"{limit}\"")]), is);
    }
    assert_eq!(page.sum("target_rollout", &[]), 2.0);
    sidecar.get("brewbird").await.unwrap();

    renderer.release(3);
    sidecar.release(3).await;
    assert_eq!(sidecar.metrics().await.sum("settings_valid", &[]), 1.0);
}
