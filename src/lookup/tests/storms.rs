//! Many projects at once: releases, reloads of the limits, and the order in which they converge.

use std::time::SystemTime;

use super::*;
use crate::render::Offer;

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
    let core = LookupCore::paced(20.0, 10).await;
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
    let core = LookupCore::paced(4.0, 1).await;
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
    let core = LookupCore::paced(1.0, 1).await;
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
    let core = LookupCore::with(tight, 64 << 20).await;
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
    let core = LookupCore::new().await;
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
    let core = LookupCore::new().await;
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

/// A suspended pod, or a step of the clock: the monotonic clock jumps ahead.
#[tokio::test(start_paused = true)]
async fn a_pod_suspended_for_a_minute_or_an_hour_gets_at_most_the_burst() {
    for suspended in [secs(60), secs(3_600)] {
        let limits = admission::Limits {
            rate: 5.0,
            burst: count(10),
            concurrency: count(64),
            ..limits()
        };
        let core = LookupCore::with(limits, 64 << 20).await;
        let projects = projects(200);
        core.holds(&projects).await;
        core.renderer.costs(millis(1));
        core.refresh.set_target(2);
        let released = core.clock.now();
        let look_all_up = async || {
            for project in &projects {
                let answer = core.get_within(project, Duration::ZERO).await.unwrap();
                let Served::Outdated(outdated) = answer.served else {
                    assert_eq!(answer.revision.order.rollout, 2);
                    continue;
                };
                assert_eq!(outdated.outdated_for, core.clock.now().since(released));
            }
        };
        look_all_up().await;
        sleep(millis(1)).await;
        let before = core.renders();
        advance(suspended).await;
        look_all_up().await;
        sleep(secs(2)).await;
        let arrivals = core.renderer.arrivals().split_off(before);
        assert!(excess(&arrivals, 5.0, 10.0) <= 1e-6);
        assert!((10..=20).contains(&arrivals.len()), "{}", arrivals.len());
    }
}

/// A step of the wall clock, here or at the renderer: it is shown, and means nothing.
#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_an_hour_off_makes_nothing_older_younger_or_more() {
    let clocks: [fn(&mut Offer); 3] = [
        |offer| offer.rendered_at = Some(SystemTime::now()),
        |offer| offer.rendered_at = Some(SystemTime::now() - secs(3_600)),
        |offer| offer.rendered_at = Some(SystemTime::now() + secs(3_600)),
    ];
    let mut seen = Vec::new();
    for clock in clocks {
        let core = LookupCore::paced(1.0, 5).await;
        let shop = project("demo/shop");
        core.renderer.behaves(Behaviour::Garbles(clock));
        core.holds(std::slice::from_ref(&shop)).await;
        core.refresh.set_max_age(Some(secs(100)));
        core.renderer.behaves(Behaviour::Stalls);
        let start = Instant::now();
        while core.get(&shop).await.unwrap().served == Served::Fresh {
            sleep(secs(1)).await;
        }
        let fresh_for = start.elapsed();
        sleep(secs(10)).await;
        let Served::Outdated(outdated) = core.get(&shop).await.unwrap().served else {
            panic!("it was rendered without a lookup");
        };
        let level = core.refresh.snapshot().bucket_level;
        seen.push((fresh_for, outdated.outdated_for, level));
    }
    let (fresh_for, outdated_for, _) = seen[0];
    assert!((secs(90)..=secs(111)).contains(&fresh_for), "{seen:?}");
    assert!((secs(10)..=secs(12)).contains(&outdated_for), "{seen:?}");
    assert!(seen.iter().all(|as_seen| *as_seen == seen[0]), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn renders_start_with_one_token_after_a_random_part_of_a_second_at_most() {
    let core = LookupCore::unconnected(
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

#[tokio::test(start_paused = true)]
async fn draining_launches_nothing_and_answers_what_is_held() {
    let core = LookupCore::new().await;
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
