//! Renderers that are behind, wrong, slow or away, and releases that follow each other.

use super::*;
use crate::logged::CapturedLog;
use crate::render::fake::offer;

/// argo-cd#29766: a replica on the old rollout is asked in a tight loop.
#[tokio::test(start_paused = true)]
async fn a_renderer_that_stays_behind_is_asked_ever_more_seldom_and_used_once_it_is_right() {
    let core = LookupCore::new().await;
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

/// A balancer of TCP connections pinned a sidecar to a replica that is behind, for as long as the
/// connection lasted.
#[tokio::test(start_paused = true)]
async fn a_connection_over_which_several_projects_are_behind_is_replaced() {
    let core = LookupCore::new().await;
    let projects = projects(3);
    core.holds(&projects).await;
    core.renderer.behaves(Behaviour::AnswersWith(1));
    core.refresh.set_target(2);
    for project in &projects {
        let answer = core.get(project).await;
        assert_eq!(reason(&answer), NotRefreshed::RendererBehind);
    }
    assert_eq!(core.renderer.redials(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_renderer_behind_is_used_as_far_as_it_is_better_than_what_is_held() {
    let core = LookupCore::new().await;
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
    let core = LookupCore::new().await;
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

/// A release a minute, two releases ten seconds apart: only the newest counts, and a project is not
/// rendered for each.
#[tokio::test(start_paused = true)]
async fn a_project_just_rendered_for_a_raised_target_waits_before_it_is_rendered_for_the_next() {
    let core = LookupCore::new().await;
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

/// flagd logs and applies what it cannot read; Google Cloud, 2025-06-12: blank fields took readers
/// down.
#[tokio::test(start_paused = true)]
async fn a_blank_garbled_or_wrong_render_is_rejected_and_the_held_one_served() {
    let garbles: [fn(&mut crate::render::Offer); 10] = [
        |offer| offer.payload = [].as_slice().into(),
        |offer| offer.payload = vec![b' '; (16 << 20) + 1].into(),
        |offer| offer.digest = "0".repeat(64),
        |offer| offer.project = "demo/other".into(),
        |offer| offer.project = String::new(),
        |offer| offer.order.rollout = 0,
        // It was held, and sent with each answer, not_modified or not, outside of the batch's
        // limit.
        |offer| offer.content_type = format!("text/{}", "x".repeat(15 << 20)),
        |offer| offer.content_type = "text/plain\r\nx-forged: 1".into(),
        |offer| offer.content_type = "text/plain; charset=\u{1b}[31m".into(),
        |offer| offer.content_type = "json".into(),
    ];
    for garble in garbles {
        let core = LookupCore::new().await;
        let shop = project("demo/shop");
        core.holds(std::slice::from_ref(&shop)).await;
        core.renderer.behaves(Behaviour::Garbles(garble));
        core.refresh.set_target(2);
        let log = CapturedLog::start();
        let answer = core.get(&shop).await;
        assert_eq!(reason(&answer), NotRefreshed::Rejected);
        assert_eq!(answer.unwrap().revision.order.rollout, 1);
        let new = project("new/shop");
        assert_eq!(failure(&core.get(&new).await), NotRefreshed::Rejected);
        sleep(secs(60)).await;
        assert!(core.renders() >= 5, "rejected again and again");
        let rejected = [
            "renders are rejected",
            "renders of another project are rejected",
        ];
        log.assert_says(&rejected);

        core.renderer.behaves(Behaviour::Answers);
        core.converges(&[shop, new], 2).await;
        let [first, another] = rejected;
        log.assert_says(&[
            first,
            another,
            "renders are accepted again",
            "all wanted projects are fresh",
        ]);
    }
}

/// argo-cd#26530, #17874: a manifest of another revision was relabelled with the one asked for.
#[tokio::test(start_paused = true)]
async fn a_revision_is_held_under_its_own_order_never_under_the_one_asked_for() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer.behaves(Behaviour::AnswersWith(7));
    assert_eq!(core.get(&shop).await.unwrap().revision.order.rollout, 7);
}

#[tokio::test(start_paused = true)]
async fn an_older_result_that_lands_late_overwrites_nothing() {
    let core = LookupCore::new().await;
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

/// The slow one is given up at its deadline; a renderer that goes on with it is done after the fast
/// one.
#[tokio::test(start_paused = true)]
async fn a_slow_old_render_overwrites_nothing_when_a_fast_new_one_overtakes_it() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.costs(secs(40));
    core.refresh.set_target(2);
    core.get(&shop).await.unwrap();
    sleep(secs(31)).await;
    core.renderer.costs(millis(10));
    core.renderer.numbers(2);
    core.refresh.set_target(3);
    core.get(&shop).await.unwrap();
    for _ in 0..60 {
        let order = core.get(&shop).await.unwrap().revision.order;
        assert_eq!(order, Order::new(3, 2));
        sleep(secs(1)).await;
    }
    assert_eq!(core.renderer.renders_of(&shop), 3);
}

#[tokio::test(start_paused = true)]
async fn a_revision_of_the_same_order_with_another_digest_is_not_taken_and_said_once() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.holds(std::slice::from_ref(&shop)).await;
    let first = core.get(&shop).await.unwrap().revision;
    core.renderer
        .behaves(Behaviour::Garbles(|offer| offer.payload = "another".into()));
    core.refresh.set_max_age(Some(secs(100)));
    let log = CapturedLog::start();
    for _ in 0..60 {
        sleep(secs(10)).await;
        let answer = core.get(&shop).await.unwrap();
        assert_eq!(answer.revision.digest, first.digest);
    }
    assert!(core.renders() >= 5, "it is asked whenever it is too old");
    log.assert_says(&["sent two payloads for the same revision; keeping the first"]);

    core.renderer.behaves(Behaviour::Answers);
    sleep(secs(120)).await;
    core.get(&shop).await.unwrap();
    assert_eq!(log.lines().len(), 2, "{:#?}", log.lines());
    assert!(log.lines()[1].contains("agrees with the held revisions again"));
}

#[tokio::test(start_paused = true)]
async fn a_renderer_that_vouches_for_what_is_held_makes_it_fresh_without_a_payload() {
    let core = LookupCore::new().await;
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
    let core = LookupCore::with(limits(), 20 * 700).await;
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

/// tonic#1635, #2839: calls queue behind a connect that never ends.
#[tokio::test(start_paused = true)]
async fn queued_callers_are_told_at_once_that_the_renderer_is_unreachable() {
    let core = LookupCore::unconnected(limits(), 64 << 20);
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
async fn a_hanging_renderer_holds_at_most_its_permits_and_recovers_by_itself() {
    let core = LookupCore::new().await;
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

#[tokio::test(start_paused = true)]
async fn any_media_type_of_up_to_255_bytes_is_held_as_it_is_and_so_is_none() {
    let longest = format!("text/{}", "x".repeat(250));
    for content_type in [
        "",
        "application/vnd.acme.config+json",
        "text/plain; charset=\"utf-8\"",
        "application/yaml ;version=2",
        &longest,
    ] {
        let offer = crate::render::Offer {
            content_type: content_type.into(),
            ..offer(&project("demo/shop"), Order::new(1, 1))
        };
        let held = offer.check(&project("demo/shop"), 1_000).unwrap();
        assert_eq!(&*held.content_type, content_type);
    }
}

/// A renderer that was restarted said that a change came with rollout 1, and what was held was of
/// rollout 2.
#[tokio::test(start_paused = true)]
async fn a_change_under_a_lower_rollout_than_is_held_outdates_what_lacks_its_number() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.refresh.set_target(2);
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.numbers(2);
    core.refresh.changed(&shop, Order::new(1, 2));
    let answer = core.get(&shop).await.unwrap();
    assert_eq!(
        (answer.served, answer.revision.order),
        (Served::Rendered, Order::new(2, 2))
    );
}

/// Such changes took 84 % of the budget, for ever.
#[tokio::test(start_paused = true)]
async fn changes_that_no_render_has_are_given_up_and_later_ones_heard() {
    let core = LookupCore::paced(5.0, 10).await;
    let projects = projects(100);
    core.holds(&projects).await;
    let log = CapturedLog::start();
    for project in &projects {
        core.refresh.changed(project, Order::new(1, u64::MAX));
    }
    let mut minutes = Vec::new();
    for _ in 0..10 {
        let before = core.renders();
        for _ in 0..60 {
            for project in &projects {
                assert!(core.get_within(project, Duration::ZERO).await.is_ok());
            }
            sleep(secs(1)).await;
        }
        minutes.push(core.renders() - before);
    }
    assert_eq!(minutes[5..], [0; 5], "{minutes:?}");
    for project in &projects {
        assert_eq!(core.get(project).await.unwrap().served, Served::Fresh);
    }
    log.assert_says(&[
        "renderer is behind",
        "renderer announced a change that no render has",
        "renderer is no longer behind",
    ]);
    core.renderer.numbers(2);
    core.refresh.changed(&projects[0], Order::new(1, 2));
    let answer = core.get(&projects[0]).await.unwrap();
    assert_eq!(answer.revision.order, Order::new(1, 2));
}

/// A rollout that a renderer once mistook was fresh for ever, whatever was released.
#[tokio::test(start_paused = true)]
async fn what_is_ahead_of_the_target_gives_way_when_two_connections_agree() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    let log = CapturedLog::start();
    core.renderer.behaves(Behaviour::AnswersWith(u64::MAX));
    core.holds(std::slice::from_ref(&shop)).await;
    let mut watch = core.lookup.watch(shop.clone());
    assert_eq!(watch.next().await.unwrap().revision.order.rollout, u64::MAX);
    core.renderer.behaves(Behaviour::Answers);
    for rollout in [2, 3] {
        core.refresh.set_target(rollout);
        let answer = core.get(&shop).await;
        assert_eq!(reason(&answer), NotRefreshed::RendererBehind);
        assert_eq!(answer.unwrap().revision.order.rollout, u64::MAX);
    }
    for _ in 0..300 {
        assert!(core.get(&shop).await.is_ok());
        assert_eq!(core.held_rollout(&shop), Some(u64::MAX), "one replica");
        sleep(secs(1)).await;
    }
    core.renderer.is_redialled();
    sleep(secs(31)).await;
    let answer = core.get(&shop).await.unwrap();
    assert_eq!(answer.revision.order, Order::new(3, 1));
    assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
    let told = watch.next().await.unwrap();
    assert_eq!(
        told.revision.order,
        Order::new(3, 1),
        "a watch is told of the fall"
    );
    let said = log.lines();
    let ahead = said
        .iter()
        .filter(|line| line.contains("ahead of the target; serving"));
    assert_eq!(ahead.count(), 1, "{said:#?}");
    assert!(
        said.iter()
            .any(|line| line.contains("replaced a revision that was ahead"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_revision_ahead_of_the_target_is_fresh_and_not_asked_for_again() {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer.behaves(Behaviour::AnswersWith(3));
    core.holds(std::slice::from_ref(&shop)).await;
    for rollout in [1, 2, 3] {
        core.refresh.set_target(rollout);
        assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
    }
    assert_eq!(core.renders(), 1);
}
