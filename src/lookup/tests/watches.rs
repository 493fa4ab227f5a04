//! Those who follow a project.

use super::*;

async fn next_within(watch: &mut Watch, patience: Duration) -> Option<Result<Answer, Failure>> {
    tokio::time::timeout(patience, watch.next()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn watchers_see_every_project_renewed_after_a_release_without_a_lookup() {
    let core = LookupCore::paced(5.0, 1).await;
    let projects = projects(20);
    let mut watches: Vec<_> = projects
        .iter()
        .map(|project| core.lookup.watch(project.clone()))
        .collect();
    core.holds(&projects).await;
    for watch in &mut watches {
        assert_eq!(watch.next().await.unwrap().revision.order.rollout, 1);
    }
    // A watch that is not polled is like a reader that stopped: poll them all, as their streams
    // would.
    core.refresh.set_target(2);
    let renewed = join_all(watches.iter_mut().map(|watch| next_within(watch, secs(10)))).await;
    for answer in renewed {
        assert_eq!(answer.unwrap().unwrap().revision.order.rollout, 2);
    }
}

/// statsig's one-slot broadcast: a slow reader loses what it did not fetch in time.
#[tokio::test(start_paused = true)]
async fn a_watcher_that_stops_reading_resumes_at_the_newest() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    let mut watch = core.lookup.watch(shop.clone());
    assert!(watch.next().await.is_ok());
    for number in 2..50 {
        core.renderer.numbers(number);
        core.refresh.changed(&shop, Order::new(1, number));
        core.get(&shop).await.unwrap();
        sleep(millis(20)).await;
    }
    assert_eq!(
        watch.next().await.unwrap().revision.order,
        Order::new(1, 49)
    );
    assert!(next_within(&mut watch, secs(600)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn becoming_outdated_or_validated_is_no_event() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    let mut watch = core.lookup.watch(shop.clone());
    assert!(watch.next().await.is_ok());
    core.renderer.behaves(Behaviour::Stalls);
    core.refresh.set_target(2);
    assert!(next_within(&mut watch, secs(20)).await.is_none());
    assert_eq!(
        core.renderer.renders_of(&shop),
        2,
        "the watch alone is interest"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_end_a_watch() {
    let core = LookupCore::new().await;
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    let mut watch = core.lookup.watch(project("demo/shop"));
    assert_eq!(failure(&watch.next().await), NotRefreshed::RenderFailed);
    core.renderer.behaves(Behaviour::Answers);
    assert!(next_within(&mut watch, secs(60)).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_project_that_comes_to_be_is_seen_and_one_that_goes_as_well() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    let mut watch = core.lookup.watch(shop.clone());
    assert!(matches!(
        watch.next().await,
        Err(Failure::ProjectNotFound { .. })
    ));
    core.renderer.behaves(Behaviour::Answers);
    assert!(next_within(&mut watch, secs(100)).await.unwrap().is_ok());
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    core.refresh.set_target(2);
    assert!(next_within(&mut watch, secs(400)).await.is_none());
    core.renderer.is_redialled();
    let gone = next_within(&mut watch, secs(150)).await.unwrap();
    assert!(matches!(gone, Err(Failure::ProjectNotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn age_alone_renews_a_watched_project() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    let mut watch = core.lookup.watch(shop.clone());
    assert!(watch.next().await.is_ok());
    core.refresh.set_max_age(Some(secs(100)));
    core.holds(std::slice::from_ref(&shop)).await;
    assert!(
        next_within(&mut watch, secs(600)).await.is_none(),
        "the renderer has nothing newer"
    );
    assert!(
        core.renderer.renders_of(&shop) >= 4,
        "{}",
        core.renderer.renders_of(&shop)
    );
}
