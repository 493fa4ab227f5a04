//! Many projects at once: releases, floods, failures of all, and the order in which they converge.

use super::*;

/// The most renders that arrived within any window, less what the budget allows in it.
fn excess(arrivals: &[Instant], rate: f64, burst: f64) -> f64 {
    let mut worst = f64::NEG_INFINITY;
    for (first, from) in arrivals.iter().enumerate() {
        for (last, to) in arrivals.iter().enumerate().skip(first) {
            let allowed = burst + rate * (*to - *from).as_secs_f64();
            worst = worst.max((last - first + 1) as f64 - allowed);
        }
    }
    worst
}

/// The incident; argo-cd#27971: every project outdated at one instant.
#[tokio::test(start_paused = true)]
async fn a_release_under_load_renders_each_project_once_within_the_budget_and_fails_no_lookup() {
    let tight = admission::Limits {
        rate: 20.0,
        burst: count(10),
        ..limits()
    };
    let core = Core::with(tight, 64 << 20).await;
    let projects = projects(200);
    core.holds(&projects).await;
    core.renderer.costs(millis(100));
    sleep(secs(5)).await;
    let before = core.renders();
    core.refresh.set_target(2);
    let start = Instant::now();
    let callers = (0..64).map(|caller| {
        let (core, projects) = (&core, &projects);
        async move {
            for turn in 0..400 {
                let project = &projects[(caller * 37 + turn * 11) % projects.len()];
                assert!(core.get(project).await.is_ok());
                sleep(millis(50)).await;
            }
        }
    });
    let (took, _) = tokio::join!(core.converges(&projects, 2), join_all(callers));
    assert!(took <= secs(14), "{took:?}");
    assert_eq!(core.renders(), before + 200);
    assert!(
        start.elapsed() >= secs(20),
        "and none more while the callers went on"
    );
    let arrivals = core.renderer.arrivals();
    assert!(excess(&arrivals, 20.0, 10.0) <= 1e-6);
    assert!(core.renderer.most_in_flight() <= 4);
}

#[tokio::test(start_paused = true)]
async fn projects_looked_up_once_after_a_release_become_fresh_without_further_traffic() {
    let core = Core::with(
        admission::Limits {
            rate: 4.0,
            burst: count(1),
            ..limits()
        },
        64 << 20,
    )
    .await;
    let projects = projects(40);
    core.holds(&projects).await;
    core.refresh.set_target(2);
    for project in &projects {
        assert!(core.get(project).await.is_ok());
    }
    assert!(core.converges(&projects, 2).await <= secs(11));
}

#[tokio::test(start_paused = true)]
async fn the_most_wanted_become_fresh_first() {
    let core = Core::with(
        admission::Limits {
            rate: 1.0,
            burst: count(1),
            ..limits()
        },
        64 << 20,
    )
    .await;
    let projects = projects(10);
    core.holds(&projects).await;
    core.refresh.set_limits(admission::Limits {
        rate: 0.0,
        ..limits()
    });
    core.refresh.set_target(2);
    for project in &projects {
        assert_eq!(reason(&core.get(project).await), NotRefreshed::Throttled);
    }
    for _ in 0..5 {
        sleep(secs(1)).await;
        core.get(&projects[7]).await.unwrap();
    }
    core.refresh.set_limits(admission::Limits {
        rate: 1.0,
        burst: count(1),
        ..limits()
    });
    core.converges(&projects[7..8], 2).await;
    assert!(
        projects
            .iter()
            .filter(|project| core.held_rollout(project) == Some(2))
            .count()
            <= 2
    );
}

/// governor#39: each reload of the limits grants a burst.
#[tokio::test(start_paused = true)]
async fn a_thousand_reloads_of_the_limits_under_load_grant_not_one_render_more() {
    let tight = admission::Limits {
        rate: 2.0,
        burst: count(4),
        ..limits()
    };
    let core = Core::with(tight, 64 << 20).await;
    let projects = projects(300);
    core.holds(&projects).await;
    let before = core.renders();
    core.refresh.set_target(2);
    for turn in 0..1_000 {
        for project in projects.iter().skip(turn % 7).step_by(7) {
            core.get_within(project, Duration::ZERO).await.unwrap();
        }
        let burst = count(if turn % 2 == 0 { 4 } else { 3 });
        core.refresh
            .set_limits(admission::Limits { burst, ..tight });
        sleep(millis(100)).await;
    }
    let arrivals = core.renderer.arrivals();
    assert!(excess(&arrivals[before..], 2.0, 4.0) <= 1e-6);
    assert!(
        arrivals.len() - before >= 198,
        "{}",
        arrivals.len() - before
    );
}

#[tokio::test(start_paused = true)]
async fn shrinking_the_concurrency_below_what_is_in_flight_cancels_none_and_admits_none_until_under()
 {
    let core = Core::new().await;
    let projects = projects(20);
    core.holds(&projects).await;
    core.renderer.costs(secs(10));
    core.refresh.set_target(2);
    join_all(projects.iter().map(|project| core.get(project))).await;
    assert_eq!(
        core.renderer.in_flight(),
        3,
        "a quarter of four permits is kept for missing projects"
    );
    let before = core.renders();
    core.refresh.set_limits(admission::Limits {
        concurrency: count(1),
        ..limits()
    });
    sleep(secs(9)).await;
    assert_eq!((core.renderer.in_flight(), core.renders()), (3, before));
    sleep(secs(2)).await;
    assert_eq!((core.renderer.in_flight(), core.renders()), (1, before + 1));
}

#[tokio::test(start_paused = true)]
async fn rate_zero_pauses_renders_and_what_is_held_is_served() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.refresh.set_limits(admission::Limits {
        rate: 0.0,
        ..limits()
    });
    core.refresh.set_target(2);
    let before = core.renders();
    for _ in 0..100 {
        sleep(secs(1)).await;
        assert_eq!(reason(&core.get(&shop).await), NotRefreshed::Throttled);
    }
    assert_eq!(core.renders(), before);
}

/// A suspended pod, or a step of the clock: the monotonic clock jumps ahead by a minute.
#[tokio::test(start_paused = true)]
async fn a_pod_suspended_for_a_minute_gets_no_more_than_the_burst() {
    let core = Core::with(
        admission::Limits {
            rate: 5.0,
            burst: count(10),
            concurrency: count(64),
            ..limits()
        },
        64 << 20,
    )
    .await;
    let projects = projects(200);
    core.holds(&projects).await;
    core.renderer.costs(millis(1));
    core.refresh.set_target(2);
    for project in &projects {
        core.get_within(project, Duration::ZERO).await.unwrap();
    }
    let before = core.renders();
    advance(secs(60)).await;
    sleep(millis(1)).await;
    assert!(core.renders() - before <= 11, "{}", core.renders() - before);
    let Served::Outdated(outdated) = core
        .get_within(&projects[199], Duration::ZERO)
        .await
        .unwrap()
        .served
    else {
        panic!("two hundred projects take longer than a burst");
    };
    assert!(outdated.outdated_for >= secs(60));
}

/// argo-cd#29766: a replica on the old rollout is asked in a tight loop.
#[tokio::test(start_paused = true)]
async fn a_renderer_that_stays_behind_is_asked_ever_more_seldom_and_used_once_it_is_right() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.behaves(Behaviour::AnswersWith(1));
    core.refresh.set_target(2);
    let before = core.renders();
    core.get(&shop).await.unwrap();
    for _ in 0..29 {
        sleep(millis(100)).await;
        assert_eq!(reason(&core.get(&shop).await), NotRefreshed::RendererBehind);
    }
    assert!(core.renders() - before <= 2);
    for _ in 0..300 {
        sleep(secs(1)).await;
        core.get(&shop).await.unwrap();
    }
    assert!(core.renders() - before <= 20);
    core.renderer.behaves(Behaviour::Answers);
    assert!(core.converges(&[shop], 2).await <= secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_renderer_behind_is_used_as_far_as_it_is_better_than_what_is_held() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.behaves(Behaviour::AnswersWith(2));
    core.refresh.set_target(3);
    let answer = core.get(&shop).await;
    assert_eq!(reason(&answer), NotRefreshed::RendererBehind);
    assert_eq!(answer.unwrap().revision.order.rollout, 2);
}

#[tokio::test(start_paused = true)]
async fn a_target_raised_during_a_render_lets_it_land_and_wants_the_project_once_more() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.costs(secs(1));
    core.refresh.set_target(2);
    core.get(&shop).await.unwrap();
    core.refresh.set_target(3);
    let before = core.renders();
    core.converges(std::slice::from_ref(&shop), 2).await;
    core.converges(std::slice::from_ref(&shop), 3).await;
    sleep(secs(60)).await;
    assert_eq!(core.renders(), before + 1);
}

/// A release a minute, two releases ten seconds apart: only the newest counts, and a project is not rendered for each.
#[tokio::test(start_paused = true)]
async fn a_project_just_rendered_for_a_raised_target_waits_before_it_is_rendered_for_the_next() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.refresh.set_target(2);
    assert_eq!(core.get(&shop).await.unwrap().served, Served::Rendered);
    core.refresh.set_target(3);
    assert_eq!(reason(&core.get(&shop).await), NotRefreshed::CoolingDown);
    core.refresh.set_target(4);
    let took = core.converges(std::slice::from_ref(&shop), 4).await;
    assert!(took > secs(9) && took <= millis(10_020), "{took:?}");
    assert_eq!(core.renderer.renders_of(&shop), 3);
}

#[tokio::test(start_paused = true)]
async fn a_missing_lookup_that_joins_a_queued_refresh_promotes_it_in_place() {
    let core = Core::with(
        admission::Limits {
            rate: 1.0,
            burst: count(1),
            ..limits()
        },
        64 << 20,
    )
    .await;
    let held = projects(20);
    core.holds(&held).await;
    core.refresh.set_target(2);
    for project in &held {
        core.get(project).await.unwrap();
    }
    let new = project("new/shop");
    assert!(
        core.get_within(&new, Duration::ZERO).await.is_err(),
        "queued, though nobody waits"
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
    let core = Core::with(
        admission::Limits {
            rate: 1.0,
            burst: count(1),
            ..limits()
        },
        64 << 20,
    )
    .await;
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
    let core = Core::with(
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
    assert!(core.refresh.snapshot().wanted <= 32);
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

/// flagd logs and applies what it cannot read; Google Cloud, 2025-06-12: blank fields took readers down.
#[tokio::test(start_paused = true)]
async fn a_blank_garbled_or_wrong_render_is_rejected_and_the_held_one_served() {
    let garbles: [fn(&mut crate::render::Offer); 6] = [
        |offer| offer.payload = [].as_slice().into(),
        |offer| offer.payload = vec![b' '; (16 << 20) + 1].into(),
        |offer| offer.digest = "0".repeat(64),
        |offer| offer.project = "demo/other".into(),
        |offer| offer.project = String::new(),
        |offer| offer.order.rollout = 0,
    ];
    for garble in garbles {
        let core = Core::new().await;
        let shop = project("demo/shop");
        core.holds(std::slice::from_ref(&shop)).await;
        core.renderer.behaves(Behaviour::Garbles(garble));
        core.refresh.set_target(2);
        let answer = core.get(&shop).await;
        assert_eq!(reason(&answer), NotRefreshed::Rejected);
        assert_eq!(answer.unwrap().revision.order.rollout, 1);
        assert_eq!(
            failure(&core.get(&project("new/shop")).await),
            NotRefreshed::Rejected
        );
    }
}

/// argo-cd#26530, #17874: a manifest of another revision was relabelled with the one asked for.
#[tokio::test(start_paused = true)]
async fn a_revision_is_held_under_its_own_order_never_under_the_one_asked_for() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.renderer.behaves(Behaviour::AnswersWith(7));
    assert_eq!(core.get(&shop).await.unwrap().revision.order.rollout, 7);
}

#[tokio::test(start_paused = true)]
async fn an_older_result_that_lands_late_overwrites_nothing() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.renderer.numbers(5);
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.numbers(3);
    core.refresh.changed(&shop, Order::new(1, 6));
    assert_eq!(reason(&core.get(&shop).await), NotRefreshed::RendererBehind);
    assert_eq!(
        core.get(&shop).await.unwrap().revision.order,
        Order::new(1, 5)
    );
}

#[tokio::test(start_paused = true)]
async fn a_renderer_that_vouches_for_what_is_held_makes_it_fresh_without_a_payload() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    let payload = core.get(&shop).await.unwrap().revision.payload.clone();
    core.renderer.behaves(Behaviour::Vouches);
    core.refresh.set_target(2);
    let answer = core.get(&shop).await.unwrap();
    assert_eq!(answer.served, Served::Rendered);
    assert_eq!(
        (answer.revision.order, &answer.revision.payload),
        (Order::new(2, 1), &payload)
    );
}

/// moka's TinyLFU; unleash-edge#750: the newcomer is the one thrown away.
#[tokio::test(start_paused = true)]
async fn a_full_cache_throws_the_least_recently_looked_up_away_and_never_what_was_just_rendered() {
    let core = Core::with(limits(), 20 * 700).await;
    let projects = projects(100);
    for project in &projects {
        assert!(core.get(project).await.is_ok());
        assert_eq!(core.get(project).await.unwrap().served, Served::Fresh);
        assert_eq!(
            core.get(&projects[0]).await.unwrap().served,
            Served::Fresh,
            "it is looked up all the time"
        );
    }
    assert!(core.cache.bytes() <= 20 * 700);
    assert!(core.held_rollout(&projects[50]).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_landing_is_held_though_its_entry_was_evicted_meanwhile_and_eviction_splits_no_flight() {
    let core = Core::new().await;
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

/// ld-relay: an absence that is not the renderer's word is remembered, or one that is wipes what is held.
#[tokio::test(start_paused = true)]
async fn a_missing_project_that_the_renderer_does_not_know_is_not_asked_for_again_for_a_while() {
    let core = Core::new().await;
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
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    assert_eq!(failure(&core.get(&shop).await), NotRefreshed::RenderFailed);
    core.renderer.behaves(Behaviour::Answers);
    assert!(core.get_within(&shop, secs(20)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_held_project_is_served_until_the_renderer_says_twice_that_it_is_gone() {
    let core = Core::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    core.refresh.set_target(2);
    for _ in 0..29 {
        assert_eq!(reason(&core.get(&shop).await), NotRefreshed::ProjectGone);
        sleep(secs(1)).await;
    }
    sleep(secs(2)).await;
    assert!(matches!(
        core.get(&shop).await,
        Err(Failure::ProjectNotFound { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_knows_nothing_does_not_wipe_what_is_held() {
    let core = Core::new().await;
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

/// The incident; Google Cloud, 2025-06-12: an ordinary release replaces pods, and a new pod holds nothing.
#[tokio::test(start_paused = true)]
async fn a_new_pod_fetches_what_is_stored_without_a_render() {
    let core = Core::new().await;
    let projects = projects(200);
    for project in &projects {
        core.renderer.stores(project, Order::new(1, 4));
    }
    let answers = join_all(projects.iter().map(|project| core.get(project))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(core.renders(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fetched_revision_of_an_older_rollout_is_served_outdated_at_once_and_then_rendered() {
    let core = Core::new().await;
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

#[tokio::test(start_paused = true)]
async fn renders_start_with_one_token_after_a_random_part_of_a_second_at_most() {
    let core = Core::unconnected(
        admission::Limits {
            rate: 0.1,
            burst: count(50),
            ..limits()
        },
        64 << 20,
    );
    core.refresh.set_link(Link::Up);
    core.renderer.offers_no_fetch();
    assert!(
        core.get_within(&project("demo/shop"), secs(2))
            .await
            .is_ok()
    );
    assert_eq!(
        failure(&core.get_within(&project("demo/mail"), secs(5)).await),
        NotRefreshed::Throttled
    );
    assert_eq!(core.renders(), 1);
}

/// tonic#1635, #2839: calls queue behind a connect that never ends.
#[tokio::test(start_paused = true)]
async fn queued_callers_are_told_at_once_that_the_renderer_is_unreachable() {
    let core = Core::unconnected(limits(), 64 << 20);
    let projects = projects(50);
    let start = Instant::now();
    let down = async {
        sleep(millis(100)).await;
        let retry_at = core.clock.now() + secs(20);
        core.refresh.set_link(Link::Down { retry_at });
    };
    let (answers, ()) = tokio::join!(
        join_all(projects.iter().map(|project| core.get(project))),
        down
    );
    assert!(
        answers
            .iter()
            .all(|answer| failure(answer) == NotRefreshed::Unreachable)
    );
    assert!(start.elapsed() <= millis(100));
    core.refresh.set_link(Link::Up);
    core.converges(&projects, 1).await;
}

#[tokio::test(start_paused = true)]
async fn draining_launches_nothing_and_answers_what_is_held() {
    let core = Core::new().await;
    let (shop, mail) = (project("demo/shop"), project("demo/mail"));
    core.holds(std::slice::from_ref(&shop)).await;
    core.refresh.set_target(2);
    core.renderer.costs(secs(1));
    let flight = core.get(&shop).await;
    assert_eq!(reason(&flight), NotRefreshed::TimedOut);
    core.refresh.drain();
    assert_eq!(failure(&core.get(&mail).await), NotRefreshed::Draining);
    let start = Instant::now();
    core.refresh.landed().await;
    assert!(start.elapsed() >= millis(900), "what flies lands");
    assert_eq!(core.held_rollout(&shop), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_renderer_that_hangs_holds_no_more_than_its_permits_and_recovers_by_itself() {
    let core = Core::new().await;
    let projects = projects(30);
    core.holds(&projects).await;
    core.renderer.behaves(Behaviour::Stalls);
    core.refresh.set_target(2);
    for _ in 0..50 {
        for project in &projects {
            let start = Instant::now();
            core.get(project).await.unwrap();
            assert!(start.elapsed() <= millis(50));
        }
        assert!(core.renderer.in_flight() <= 4);
        sleep(millis(200)).await;
    }
    core.renderer.behaves(Behaviour::Answers);
    assert!(core.converges(&projects, 2).await <= secs(90));
}
