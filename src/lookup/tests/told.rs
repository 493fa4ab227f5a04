//! What the rooms tell each other: each fact that admission has to hear, shown by what happens when
//! it does.

use tokio::time::timeout;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_change_during_a_render_is_rendered_again_without_another_lookup() {
    let core = LookupCore::new().await;
    core.renderer.offers_no_fetch();
    let shop = project("shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.costs(secs(1));
    core.refresh.set_target(2);
    core.get(&shop).await.unwrap();
    assert_eq!(core.renderer.in_flight(), 1);
    core.refresh.changed(&shop, Order::new(2, 5));
    // What flies has the old input.
    core.renderer.numbers(5);
    let start = Instant::now();
    let held = || core.cache.get(shop.as_str()).unwrap().revision.order;
    while held() < Order::new(2, 5) {
        sleep(millis(100)).await;
        assert!(start.elapsed() < secs(60), "the change was not rendered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_makes_room_for_another_in_the_queue() {
    let short = admission::Limits {
        concurrency: count(1),
        queue: count(1),
        ..limits()
    };
    let core = LookupCore::with(short, 64 << 20).await;
    core.renderer.offers_no_fetch();
    core.renderer.behaves(Behaviour::Stalls);
    let [flies, waits, comes, goes] = ["flies", "waits", "comes", "goes"].map(project);
    // Each waits for a moment, and then its caller hangs up.
    let hangs_up = async |project| {
        timeout(millis(10), core.get_within(project, secs(20)))
            .await
            .unwrap_err();
    };
    hangs_up(&flies).await;
    hangs_up(&waits).await;
    hangs_up(&comes).await;
    let waiting = core.get_within(&waits, millis(900));
    let full = async {
        sleep(millis(1)).await;
        core.get_within(&goes, millis(900)).await
    };
    let (_, full) = tokio::join!(waiting, full);
    assert_eq!(failure(&full), NotRefreshed::QueueFull);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_to_one_caller_ends_with_the_fact_that_it_came_of() {
    let core = LookupCore::new().await;
    let shop = project("shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.refresh.set_limits(admission::Limits {
        rate: 0.0,
        ..limits()
    });
    core.refresh.set_target(2);
    assert_eq!(reason(&core.get(&shop).await), NotRefreshed::Throttled);
    assert_eq!(reason(&core.get(&shop).await), NotRefreshed::Throttled);
    // The same second: the refusal that is remembered would hold for a minute.
    let retry_at = core.clock.now() + secs(20);
    core.refresh.set_link(Link::Down { retry_at });
    assert_eq!(reason(&core.get(&shop).await), NotRefreshed::Unreachable);
}
