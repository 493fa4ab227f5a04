//! What is held when changes may have been missed: served as before, and confirmed by fetches.

use super::*;

/// A core that holds projects at number 1, which a store has too, and then misses changes.
async fn core_that_missed(projects: &[Project]) -> LookupCore {
    let core = LookupCore::new().await;
    core.holds(projects).await;
    for project in projects {
        core.renderer.stores(project, Order::new(1, 1));
    }
    sleep(secs(1)).await;
    core.refresh.resync(core.clock.now());
    core
}

/// Looks a project up each second for this long; each answer has to be fresh.
async fn looks_up(core: &LookupCore, project: &Project, seconds: u64) {
    for _ in 0..seconds {
        sleep(secs(1)).await;
        let answer = core.lookup.at_once(project.as_str(), Demands::default());
        assert_eq!(answer.unwrap().unwrap().served, Served::Fresh);
    }
}

fn number(core: &LookupCore, project: &Project) -> u64 {
    let held = core.cache.get(project.as_str()).unwrap();
    held.revision.order.number
}

/// An input that changes while no stream of changes is open leaves the project fresh with its old
/// input for ever.
#[tokio::test(start_paused = true)]
async fn a_change_that_was_missed_is_found_by_a_fetch_and_costs_no_render() {
    let shop = project("demo/shop");
    let core = core_that_missed(std::slice::from_ref(&shop)).await;
    core.renderer.stores(&shop, Order::new(1, 2));
    let mut watch = core.lookup.watch(shop.clone());
    let before = core.renders();
    looks_up(&core, &shop, 12).await;
    assert_eq!(number(&core, &shop), 2);
    assert_eq!(core.refresh.snapshot().unconfirmed, 0);
    assert_eq!(core.renders(), before);
    assert_eq!(watch.next().await.unwrap().revision.order.number, 2);
}

#[tokio::test(start_paused = true)]
async fn a_missed_change_of_which_nothing_is_stored_makes_the_project_outdated() {
    let shop = project("demo/shop");
    let core = core_that_missed(std::slice::from_ref(&shop)).await;
    core.renderer.numbers(3);
    core.renderer.knows_of_change(&shop, Order::new(1, 3));
    core.renderer.costs(secs(1));
    while core.renderer.confirms().is_empty() {
        sleep(millis(500)).await;
        core.lookup.at_once(shop.as_str(), Demands::default());
    }
    sleep(millis(10)).await;
    assert_eq!(reason(&core.get(&shop).await), NotRefreshed::TimedOut);
    sleep(secs(2)).await;
    let answer = core.get(&shop).await.unwrap();
    assert_eq!(
        (answer.served, answer.revision.order.number),
        (Served::Fresh, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_right_is_confirmed_once_whatever_the_store_says_of_it() {
    let [same, older, unstored] = ["demo/same", "demo/older", "demo/unstored"].map(project);
    let core = LookupCore::new().await;
    let projects = [same.clone(), older.clone(), unstored];
    core.renderer.numbers(2);
    core.holds(&projects).await;
    core.renderer.stores(&same, Order::new(1, 2));
    core.renderer.stores(&older, Order::new(1, 1));
    sleep(secs(1)).await;
    core.refresh.resync(core.clock.now());
    for _ in 0..60 {
        sleep(secs(1)).await;
        for project in &projects {
            let answer = core
                .lookup
                .at_once(project.as_str(), Demands::default())
                .unwrap();
            assert_eq!(answer.unwrap().served, Served::Fresh);
        }
    }
    assert_eq!(core.renderer.confirms().len(), 3);
    assert_eq!(core.refresh.snapshot().unconfirmed, 0);
}

/// What is not looked up costs nothing.
#[tokio::test(start_paused = true)]
async fn only_what_is_looked_up_is_confirmed_and_the_rest_when_it_is() {
    let projects = projects(50);
    let core = core_that_missed(&projects).await;
    looks_up(&core, &projects[0], 20).await;
    assert_eq!(core.renderer.confirms().len(), 1);
    looks_up(&core, &projects[1], 20).await;
    assert_eq!(core.renderer.confirms().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_watched_is_confirmed_without_a_lookup() {
    let projects = projects(5);
    let core = LookupCore::new().await;
    core.holds(&projects).await;
    for project in &projects {
        core.renderer.stores(project, Order::new(1, 2));
    }
    let mut watches: Vec<_> = projects
        .iter()
        .map(|project| core.lookup.watch(project.clone()))
        .collect();
    for watch in &mut watches {
        assert_eq!(watch.next().await.unwrap().revision.order.number, 1);
    }
    sleep(secs(1)).await;
    core.refresh.resync(core.clock.now());
    let news = join_all(
        watches
            .iter_mut()
            .map(|watch| tokio::time::timeout(secs(15), watch.next())),
    );
    for answer in news.await {
        assert_eq!(answer.unwrap().unwrap().revision.order.number, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_ever_more_seldom_and_what_is_held_stays_served() {
    let shop = project("demo/shop");
    let core = core_that_missed(std::slice::from_ref(&shop)).await;
    core.renderer.stores(&shop, Order::new(1, 2));
    core.renderer.fails_to_confirm(Some(unavailable()));
    looks_up(&core, &shop, 300).await;
    let asked = core.renderer.confirms().len();
    assert!((6..=20).contains(&asked), "{asked}");
    assert_eq!(core.refresh.snapshot().unconfirmed, 1);
    core.renderer.fails_to_confirm(None);
    looks_up(&core, &shop, 61).await;
    assert_eq!(number(&core, &shop), 2);
}

/// A render that was asked for before the stream began may lack a change, though it lands later.
#[tokio::test(start_paused = true)]
async fn what_was_asked_for_before_changes_were_missed_is_confirmed_though_it_landed_later() {
    let shop = project("demo/shop");
    let core = LookupCore::new().await;
    core.renderer.costs(secs(2));
    let _ = core.get_within(&shop, Duration::ZERO).await;
    sleep(secs(1)).await;
    core.refresh.resync(core.clock.now());
    sleep(secs(2)).await;
    core.renderer.stores(&shop, Order::new(1, 2));
    looks_up(&core, &shop, 12).await;
    assert_eq!(number(&core, &shop), 2);
}
