//! What is missing, gone, unknown or thrown away.

use super::*;
use crate::logged::CapturedLog;

#[tokio::test(start_paused = true)]
async fn a_missing_lookup_that_joins_a_queued_refresh_promotes_it_in_place() {
    let core = LookupCore::paced(1.0, 1).await;
    let held = projects(20);
    core.holds(&held).await;
    core.refresh.set_target(2);
    for project in &held {
        core.get(project).await.unwrap();
    }
    let new = project("new/shop");
    assert!(
        core.get_within(&new, Duration::ZERO).await.is_err(),
        "queued, though no caller waits"
    );
    let start = Instant::now();
    assert_eq!(
        core.get_within(&new, secs(5)).await.unwrap().served,
        Served::Rendered
    );
    assert!(start.elapsed() <= secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_missing_project_whose_callers_all_leave_is_rendered_after_those_that_are_waited_for() {
    let core = LookupCore::paced(1.0, 1).await;
    core.holds(&[project("demo/shop")]).await;
    let (left, waited_for) = (project("new/left"), project("new/waited-for"));
    let _ = tokio::time::timeout(millis(100), core.get_within(&left, secs(20))).await;
    assert!(core.get_within(&waited_for, secs(20)).await.is_ok());
    let order: Vec<_> = core
        .renderer
        .renders()
        .into_iter()
        .map(|ask| ask.project)
        .collect();
    assert_eq!(order.last(), Some(&waited_for));
    core.converges(&[left], 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_projects_fills_a_bounded_queue_and_leaves_others_alone() {
    let core = LookupCore::with(
        admission::Limits {
            rate: 10.0,
            burst: count(1),
            queue: count(16),
            ..limits()
        },
        64 << 20,
    )
    .await;
    core.renderer.offers_no_fetch();
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    core.renderer.behaves_for(&shop, Behaviour::Answers);
    let flood = projects(2_000);
    let answers = join_all(
        flood
            .iter()
            .map(|project| core.get_within(project, secs(5))),
    )
    .await;
    assert!(answers.iter().any(|answer| matches!(answer, Err(Failure::NotRefreshed { refusal, .. }) if refusal.reason == NotRefreshed::QueueFull)));
    assert!(core.refresh.snapshot().wanted_missing <= 32);
    core.refresh.set_target(2);
    let (took, _) = tokio::join!(
        core.converges(std::slice::from_ref(&shop), 2),
        join_all(
            [core.get(&shop)]
                .into_iter()
                .chain(flood.iter().map(|project| core.get(project)))
        )
    );
    assert!(
        took <= secs(5),
        "every tenth token is for outdated projects: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_landing_is_held_though_its_entry_was_evicted_meanwhile_and_eviction_splits_no_flight() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.costs(secs(1));
    core.refresh.set_target(2);
    core.get(&shop).await.unwrap();
    core.cache.remove(&shop);
    assert_eq!(
        core.get(&shop).await.unwrap().served,
        Served::Rendered,
        "it joins the flight"
    );
    assert_eq!(core.renderer.renders_of(&shop), 2);
}

/// ld-relay: an absence that is not the renderer's word is remembered, or one that is wipes what is
/// held.
#[tokio::test(start_paused = true)]
async fn a_missing_project_that_the_renderer_does_not_know_is_not_asked_for_again_for_a_while() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    for _ in 0..28 {
        let Err(Failure::ProjectNotFound { retry_after }) = core.get(&shop).await else {
            panic!("the project is found");
        };
        assert!(retry_after <= secs(30));
        sleep(secs(1)).await;
    }
    assert_eq!(core.renders(), 1);
    core.renderer.behaves(Behaviour::Answers);
    core.refresh.set_target(2);
    assert!(
        core.get(&shop).await.is_ok(),
        "a raised target ends the absence"
    );
}

#[tokio::test(start_paused = true)]
async fn a_transient_error_is_never_remembered_as_absence() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    assert_eq!(failure(&core.get(&shop).await), NotRefreshed::RenderFailed);
    core.renderer.behaves(Behaviour::Answers);
    assert!(core.get_within(&shop, secs(20)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_lone_project_is_served_until_the_renderer_says_over_two_connections_that_it_is_gone() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    core.refresh.set_target(2);
    let until = async |end: u64, start: Instant| {
        while start.elapsed() < secs(end) {
            assert_eq!(reason(&core.get(&shop).await), NotRefreshed::ProjectGone);
            sleep(secs(1)).await;
        }
    };
    // The whole fleet of such pods lost its configuration to one replica within half a minute.
    let start = Instant::now();
    until(600, start).await;
    core.renderer.is_redialled();
    sleep(secs(121)).await;
    let _ = core.get(&shop).await;
    assert!(matches!(
        core.get(&shop).await,
        Err(Failure::ProjectNotFound { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn one_of_many_projects_is_dropped_by_the_second_word_over_another_connection() {
    let core = LookupCore::new().await;
    let projects = projects(40);
    core.holds(&projects).await;
    let (gone, _) = projects.split_first().unwrap();
    let not_found = Behaviour::Fails(RenderError::NotFound);
    core.renderer.behaves_for(gone, not_found);
    core.refresh.set_target(2);
    core.converges(&projects[1..], 1).await;
    assert_eq!(reason(&core.get(gone).await), NotRefreshed::ProjectGone);
    core.renderer.is_redialled();
    sleep(secs(31)).await;
    let _ = core.get(gone).await;
    let told = core.get(gone).await;
    assert!(
        matches!(told, Err(Failure::ProjectNotFound { .. })),
        "{told:?}"
    );
    assert_eq!(core.cache.len(), 39);
}

/// Where the connection is never replaced, a project that was deleted still goes.
#[tokio::test(start_paused = true)]
async fn over_one_connection_a_project_is_gone_after_a_quarter_of_an_hour() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    core.refresh.set_target(2);
    let start = Instant::now();
    while core.get(&shop).await.is_ok() {
        sleep(secs(1)).await;
    }
    let took = start.elapsed();
    assert!(took >= secs(900) && took <= secs(1_030), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_knows_nothing_does_not_wipe_what_is_held() {
    let core = LookupCore::new().await;
    let projects = projects(100);
    core.holds(&projects).await;
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    core.refresh.set_target(2);
    for _ in 0..80 {
        for project in &projects {
            let _ = core.get_within(project, Duration::ZERO).await;
        }
        sleep(secs(1)).await;
    }
    assert!(core.cache.len() >= 95, "{}", core.cache.len());
}

/// The incident; Google Cloud, 2025-06-12: an ordinary release replaces pods, and a new pod holds
/// nothing.
#[tokio::test(start_paused = true)]
async fn a_new_pod_fetches_what_is_stored_without_a_render() {
    let core = LookupCore::new().await;
    let projects = projects(200);
    for project in &projects {
        core.renderer.stores(project, Order::new(1, 4));
    }
    let answers = join_all(projects.iter().map(|project| core.get(project))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(core.renders(), 0);
}

/// A store that answered in 1.5 s turned 20 stored projects into 20 renders.
#[tokio::test(start_paused = true)]
async fn fetches_that_are_late_lead_to_renders_only_when_all_fail_for_a_while() {
    let core = LookupCore::new().await;
    let log = CapturedLog::start();
    let projects = projects(20);
    for project in &projects {
        core.renderer.stores(project, Order::new(1, 4));
    }
    core.renderer.fetch_costs(millis(1_500));
    let answers = join_all(projects.iter().map(|project| core.get(project))).await;
    assert!(answers.iter().all(Result::is_err));
    assert_eq!(core.renders(), 0);
    sleep(secs(3)).await;
    let answers = join_all(projects.iter().map(|project| core.get(project))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(core.renders() > 0);
    core.renderer.fetch_costs(Duration::ZERO);
    sleep(secs(11)).await;
    let other = project("demo/other");
    core.renderer.stores(&other, Order::new(1, 4));
    let before = core.renders();
    assert!(core.get(&other).await.is_ok());
    assert_eq!(core.renders(), before);
    log.assert_says(&[
        "fetches are failing; rendering missing projects instead",
        "fetches succeed again",
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_fetched_revision_of_an_older_rollout_is_served_outdated_at_once_and_then_rendered() {
    let core = LookupCore::new().await;
    core.refresh.set_target(3);
    core.renderer.costs(millis(700));
    let shop = project("demo/shop");
    core.renderer.stores(&shop, Order::new(2, 4));
    let answer = core.get(&shop).await;
    assert!(matches!(
        reason(&answer),
        NotRefreshed::TimedOut | NotRefreshed::Scheduled
    ));
    assert_eq!(answer.unwrap().revision.order, Order::new(2, 4));
    core.converges(&[shop], 3).await;
}

/// What its caller could have been given was thrown away for another project while it waited.
#[tokio::test(start_paused = true)]
async fn a_lookup_that_waits_is_answered_with_what_it_had_though_that_was_evicted_meanwhile() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.behaves(Behaviour::Stalls);
    core.refresh.set_target(2);
    let (answer, ()) = tokio::join!(core.get(&shop), async {
        sleep(millis(20)).await;
        core.cache.evict(&shop);
    });
    assert_eq!(reason(&answer), NotRefreshed::TimedOut);
    assert_eq!(answer.unwrap().revision.order.rollout, 1);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_lands_answers_those_who_wait_though_others_take_its_room_at_once() {
    // There is room for one.
    let core = LookupCore::with(limits(), 1_000).await;
    sleep(secs(1)).await;
    core.renderer.costs(millis(100));
    let projects = projects(4);
    let answers = join_all(projects.iter().map(|project| core.get(project))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().served, Served::Rendered);
    }
    assert_eq!(core.renders(), 4);
}

/// 99.9 % of the callers were told that the queue was full, just after the renderer had said
/// NOT_FOUND.
#[tokio::test(start_paused = true)]
async fn one_who_waited_is_told_that_there_is_no_such_project_though_that_was_forgotten_since() {
    let core = LookupCore::new().await;
    let query = query(&project("demo/mistyped"));
    let patience = Patience {
        until: None,
        is_deadline: false,
    };
    let ended = WaitResult::with(CameTo::NotFound, None);
    let told = core.lookup.conclude(&query, ended, patience);
    let retry_after = LEAST_ABSENCE;
    assert_eq!(told.unwrap_err(), Failure::ProjectNotFound { retry_after });
}
