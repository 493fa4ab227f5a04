//! Renderers that fail all at once, push back, or are ruined by one project; and how it ends.

use super::*;
use crate::admission::Stops;
use crate::logged::CapturedLog;

/// Keeps looking projects up, every 100 ms each, for as long as it is polled, and has each answer
/// judged.
async fn look_up(core: &LookupCore, projects: &[Project], judge: fn(&Result<Answer, Failure>)) {
    loop {
        for project in projects {
            judge(&core.get_within(project, Duration::ZERO).await);
        }
        sleep(millis(100)).await;
    }
}

fn assert_answered(answer: &Result<Answer, Failure>) {
    assert!(answer.is_ok(), "{answer:?}");
}

fn assert_failed(answer: &Result<Answer, Failure>) {
    assert!(answer.is_err(), "{answer:?}");
}

/// Looks projects up meanwhile. All of them are held, so that no lookup may fail.
async fn under_load<T>(
    core: &LookupCore,
    projects: &[Project],
    done: impl Future<Output = T>,
) -> T {
    tokio::select! {
        done = done => done,
        () = look_up(core, projects, assert_answered) => unreachable!("it never ends"),
    }
}

/// Fails when something speaks against the renderer: all of the rate has to be in force.
fn assert_trusts_the_renderer(core: &LookupCore) {
    let snapshot = core.refresh.snapshot();
    assert_eq!(snapshot.stops, Stops::default());
    assert_eq!(snapshot.rate_in_force, snapshot.limits.rate);
}

/// flagd#2027, unleash-edge's loop of one second: an upstream that is dead for long is asked again
/// and again.
#[tokio::test(start_paused = true)]
async fn a_renderer_that_is_unavailable_for_long_is_asked_seldom_and_used_soon_after() {
    let core = LookupCore::paced(50.0, 100).await;
    let projects = projects(50);
    core.holds(&projects).await;
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    let before = core.renders();
    core.refresh.set_target(2);
    under_load(&core, &projects, sleep(secs(40))).await;
    let attempts = core.renders() - before;
    assert!(attempts <= 60, "{attempts} attempts");
    core.renderer.behaves(Behaviour::Answers);
    let took = under_load(&core, &projects, core.converges(&projects, 2)).await;
    assert!(took <= secs(90), "{took:?}");
}

/// flagd#2027, unleash-edge's loop of one second: ten minutes of a dead upstream, each attempt of
/// them logged.
#[tokio::test(start_paused = true)]
async fn ten_minutes_of_a_dead_renderer_cost_only_its_probes_and_one_log_line() {
    let core = LookupCore::new().await;
    let projects = projects(100);
    core.holds(&projects).await;
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    let before = core.renders();
    core.refresh.set_target(2);
    let log = CapturedLog::start();
    under_load(&core, &projects, sleep(secs(600))).await;
    let attempts = core.renders() - before;
    assert!(attempts <= 8 + 6 + 600 / 15, "{attempts} attempts");
    core.renderer.behaves(Behaviour::Answers);
    under_load(&core, &projects, core.converges(&projects, 2)).await;
    log.assert_says(&[
        "renders are failing",
        "renders of another project are failing",
        "renders of another project are failing",
        "renders of another project are failing",
        "renders of another project are failing",
        "breaker is open",
        "not fresh yet: 100 of 100 outdated, no end in sight rollout=2 after=10m",
        "breaker is closed",
        "renders succeed again",
        "all wanted projects are fresh rollout=2 after=10m renders=100",
    ]);
}

/// linkerd: a breaker that closes lets a herd through.
#[tokio::test(start_paused = true)]
async fn a_breaker_that_closes_lets_one_probe_through_and_then_a_ramp() {
    let core = LookupCore::paced(20.0, 20).await;
    let projects = projects(200);
    core.holds(&projects).await;
    core.renderer.costs(millis(10));
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    core.refresh.set_target(2);
    under_load(&core, &projects, sleep(secs(20))).await;
    assert_eq!(
        reason(&core.get(&projects[0]).await),
        NotRefreshed::BreakerOpen
    );
    core.renderer.behaves(Behaviour::Answers);
    let before = core.renders();
    let probed = async {
        while core.renders() == before {
            sleep(millis(1)).await;
        }
    };
    under_load(&core, &projects, probed).await;
    assert_eq!(core.renders(), before + 1);
    under_load(&core, &projects, sleep(secs(1))).await;
    let first_second = core.renders() - before;
    assert!(
        first_second <= 1 + 6,
        "{first_second} in the first second after the probe"
    );
    let took = under_load(&core, &projects, core.converges(&projects, 2)).await;
    assert!(took <= secs(60), "{took:?}");
}

/// Each refused project cooled down by itself for 5 s and more, however little was in the
/// renderer's way.
#[tokio::test(start_paused = true)]
async fn a_plain_refusal_is_no_failure_but_asks_for_fewer_at_once() {
    let core = LookupCore::new().await;
    let projects = projects(20);
    core.holds(&projects).await;
    let log = CapturedLog::start();
    let refused = RenderError::Refused(Message::new("busy"));
    core.renderer.behaves(Behaviour::Fails(refused));
    core.refresh.set_target(2);
    under_load(&core, &projects, sleep(secs(5))).await;
    for project in &projects {
        let told = reason(&core.get(project).await);
        assert_eq!(told, NotRefreshed::ConcurrencyLimited);
    }
    assert_eq!(core.refresh.snapshot().renders_at_once, count(1));
    core.renderer.behaves(Behaviour::Answers);
    assert!(core.converges(&projects, 2).await <= secs(20));
    log.assert_says(&[
        "target raised",
        "renderer refuses calls; making fewer at once",
        "all wanted projects are fresh",
    ]);
    assert_trusts_the_renderer(&core);
}

#[tokio::test(start_paused = true)]
async fn callers_that_hang_up_are_no_failures_of_the_renderer() {
    let core = LookupCore::new().await;
    core.renderer.costs(secs(1));
    let projects = projects(40);
    let calls = projects
        .iter()
        .map(|project| tokio::time::timeout(millis(10), core.get(project)));
    let hung_up = join_all(calls).await;
    assert!(hung_up.iter().filter(|call| call.is_err()).count() >= 4);
    core.converges(&projects, 1).await;
    assert_trusts_the_renderer(&core);
    assert_eq!(core.renders(), 40, "none was cancelled and made again");
}

#[tokio::test(start_paused = true)]
async fn lookups_that_wait_in_the_queue_in_vain_are_no_failures_of_the_renderer() {
    let core = LookupCore::with(
        admission::Limits {
            concurrency: count(1),
            ..limits()
        },
        64 << 20,
    )
    .await;
    core.renderer.costs(secs(10));
    let in_flight = project("demo/in-flight");
    assert!(core.get_within(&in_flight, millis(1)).await.is_err());
    let queued = projects(20);
    let start = Instant::now();
    let waited = queued
        .iter()
        .map(|project| core.get_within(project, millis(500)));
    let failed = join_all(waited).await;
    assert!(
        failed
            .iter()
            .all(|answer| failure(answer) == NotRefreshed::ConcurrencyLimited)
    );
    assert_eq!(
        start.elapsed(),
        millis(500),
        "they waited all their patience"
    );
    assert_eq!(core.renders(), 1);
    core.renderer.costs(millis(10));
    core.converges(&queued, 1).await;
    assert_trusts_the_renderer(&core);
}

#[tokio::test(start_paused = true)]
async fn one_project_pushed_back_holds_only_that_project() {
    let core = LookupCore::new().await;
    let projects = projects(20);
    core.holds(&projects).await;
    core.renderer.behaves_for(
        &projects[0],
        Behaviour::Fails(exhausted(3, PushbackScope::Project)),
    );
    core.refresh.set_target(2);
    under_load(&core, &projects, sleep(secs(1))).await;
    assert_eq!(
        reason(&core.get(&projects[0]).await),
        NotRefreshed::PushedBack
    );
    for project in &projects[1..] {
        assert_eq!(core.get(project).await.unwrap().served, Served::Fresh);
    }
    let before = core.renderer.renders_of(&projects[0]);
    under_load(&core, &projects, sleep(secs(9))).await;
    assert!(core.renderer.renders_of(&projects[0]) - before <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_global_pushback_holds_everything_then_probes_then_ramps() {
    let core = LookupCore::paced(50.0, 100).await;
    let projects = projects(100);
    core.holds(&projects).await;
    core.renderer
        .behaves(Behaviour::Fails(exhausted(3, PushbackScope::Project)));
    core.refresh.set_target(2);
    under_load(&core, &projects, sleep(millis(500))).await;
    assert_eq!(
        reason(&core.get(&projects[50]).await),
        NotRefreshed::PushedBack
    );
    let first_burst = core.renders();
    for _ in 0..60 {
        under_load(&core, &projects, sleep(secs(1))).await;
        let mut reasons = Vec::new();
        for project in &projects {
            reasons.push(reason(&core.get_within(project, Duration::ZERO).await));
        }
        reasons.retain(|reason| *reason != NotRefreshed::PushedBack);
        assert!(
            reasons.is_empty() || reasons == [NotRefreshed::TimedOut],
            "but for the probe: {reasons:?}"
        );
    }
    // Whatever is pushed back starts a hold of 3 s to 4.5 s: what arrives within 3 s came in one
    // and the same.
    let arrivals = core.renderer.arrivals().split_off(first_burst);
    let holds: Vec<_> = arrivals
        .chunk_by(|one, next| *next - *one < secs(3))
        .map(<[_]>::len)
        .collect();
    assert!((13..=20).contains(&holds.len()), "{holds:?}");
    assert!(holds.iter().all(|attempts| *attempts <= 3), "{holds:?}");
    core.renderer.behaves(Behaviour::Answers);
    let took = under_load(&core, &projects, core.converges(&projects, 2)).await;
    assert!(took <= secs(90), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pushback_that_forbids_retries_is_not_retried() {
    let core = LookupCore::new().await;
    core.renderer
        .behaves(Behaviour::Fails(RenderError::Exhausted {
            pushback: Pushback {
                after: None,
                scope: PushbackScope::Project,
            },
            message: Message::new("never"),
        }));
    let shop = project("demo/shop");
    assert_eq!(
        failure(&core.get_within(&shop, millis(400)).await),
        NotRefreshed::RenderFailed
    );
    assert_eq!(core.renders(), 1);
}

/// A renderer that said UNAVAILABLE and 20 s was asked five times in 10 s.
#[tokio::test(start_paused = true)]
async fn a_project_that_is_pushed_back_is_asked_for_once_until_its_time_has_come() {
    let core = LookupCore::new().await;
    core.renderer
        .behaves(Behaviour::Fails(exhausted(20, PushbackScope::Project)));
    let shop = project("demo/shop");
    for _ in 0..20 {
        let answer = core.get_within(&shop, secs(1)).await;
        assert_eq!(failure(&answer), NotRefreshed::PushedBack);
        sleep(secs(1)).await;
        if core.renderer.arrivals()[0].elapsed() >= secs(20) {
            break;
        }
        assert_eq!(core.renderer.renders_of(&shop), 1);
    }
    core.renderer.behaves(Behaviour::Answers);
    core.converges(std::slice::from_ref(&shop), 1).await;
    assert_eq!(core.renderer.renders_of(&shop), 2);
}

#[tokio::test(start_paused = true)]
async fn a_missing_project_is_tried_again_while_somebody_waits_and_the_budget_allows() {
    let core = LookupCore::new().await;
    core.holds(&projects(30)).await;
    let before = core.renders();
    let shop = project("new/shop");
    core.renderer
        .behaves_for(&shop, Behaviour::Fails(unavailable()));
    let answer = core.get_within(&shop, secs(10)).await;
    assert_eq!(failure(&answer), NotRefreshed::RenderFailed);
    assert_eq!(core.renders() - before, 3);
}

/// dapr#4512: the retries of sidecar, application and mesh multiply.
#[tokio::test(start_paused = true)]
async fn retries_of_every_layer_together_stay_within_a_tenth_of_the_first_attempts() {
    let core = LookupCore::with(
        admission::Limits {
            rate: 100.0,
            concurrency: count(16),
            ..limits()
        },
        64 << 20,
    )
    .await;
    let mut retries = 0;
    for (index, project) in projects(1_000).iter().enumerate() {
        if index % 4 == 0 {
            let aborted = RenderError::Aborted(Message::new("again"));
            core.renderer
                .behaves_for(project, Behaviour::Fails(aborted));
        }
        for _application_retry in 0..3 {
            let _ = core.get_within(project, millis(450)).await;
        }
        retries += core.renderer.renders_of(project) - 1;
    }
    assert!(
        (50..=1_000 / 10 + 2).contains(&retries),
        "{retries} retries"
    );
}

/// What never ends, what is larger than accepted, what panics; and what is as large as accepted,
/// which is no poison.
#[tokio::test(start_paused = true)]
async fn a_poison_project_cools_down_alone() {
    let core = LookupCore::new().await;
    let projects = projects(40);
    core.holds(&projects).await;
    core.renderer.behaves_for(&projects[0], Behaviour::Stalls);
    core.renderer.behaves_for(
        &projects[1],
        Behaviour::Garbles(|offer| offer.payload = vec![b' '; 17 << 20].into()),
    );
    core.renderer.behaves_for(&projects[2], Behaviour::Panics);
    core.renderer.behaves_for(
        &projects[3],
        Behaviour::Garbles(|offer| offer.payload = vec![b' '; 10_000_000].into()),
    );
    core.refresh.set_target(2);
    let well = &projects[3..];
    let took = under_load(&core, &projects, core.converges(well, 2)).await;
    assert!(took <= secs(2), "{took:?}");
    under_load(&core, &projects, sleep(secs(300))).await;
    for poison in &projects[..3] {
        assert!(
            core.renderer.renders_of(poison) <= 30,
            "{}",
            core.renderer.renders_of(poison)
        );
        assert!(core.get(poison).await.is_ok());
    }
    assert!(
        well.iter()
            .all(|project| core.renderer.renders_of(project) == 2)
    );
    let large = core.get(&projects[3]).await.unwrap();
    assert_eq!(
        (large.served, large.revision.payload.len()),
        (Served::Fresh, 10_000_000)
    );
    assert_eq!(core.cache.len(), 40, "it throws none of the others out");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_projects_that_do_not_exist_gets_a_fifth_of_the_rate() {
    let core = LookupCore::paced(20.0, 1).await;
    core.renderer.offers_no_fetch();
    core.renderer
        .behaves(Behaviour::Fails(RenderError::NotFound));
    let flood: Vec<_> = (0..2_000).map(|n| project(&format!("flood/{n}"))).collect();
    let measured = async {
        sleep(secs(10)).await;
        let before = core.renders();
        sleep(secs(10)).await;
        core.renders() - before
    };
    let renders = tokio::select! {
        renders = measured => renders,
        () = look_up(&core, &flood, assert_failed) => unreachable!("it never ends"),
    };
    assert!((30..=45).contains(&renders), "{renders} of 200");
}

/// Google Cloud, 2025-06-12; flagd#1944: everyone starts at once, and asks at once.
#[tokio::test(start_paused = true)]
async fn sidecars_that_start_together_ask_at_different_times() {
    let mut firsts = Vec::new();
    for seed in 0..20 {
        let slow = admission::Limits {
            rate: 0.1,
            ..limits()
        };
        let mut admission = admission::Admission::new(slow, 2, seed, Moment::START);
        admission.set_link(Link::Up, Moment::START);
        let wish = admission::Wish {
            held: Some(admission::HeldMark {
                order: Order::rollout(1),
                validated_at: Moment::START,
            }),
            want: admission::Want {
                rollout: 2,
                number: 0,
                validated_since: Moment::START,
            },
            demand: None,
            until: None,
        };
        admission.want(&project("demo/shop"), wish, Moment::START);
        firsts.push(
            admission
                .next_wake()
                .expect("it waits for its first token")
                .since_start(),
        );
    }
    firsts.sort_unstable();
    assert!(
        firsts
            .windows(2)
            .all(|pair| pair[1] - pair[0] > Duration::ZERO)
    );
    assert!(
        firsts[0] < secs(2) && firsts[19] > secs(8) && firsts[19] <= secs(10),
        "{firsts:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_renderer_restarted_with_its_numbers_from_one_loses_nothing_and_is_right_again_with_the_next_rollout()
 {
    let core = LookupCore::new().await;
    let shop = project("demo/shop");
    core.renderer.numbers(50);
    core.holds(std::slice::from_ref(&shop)).await;
    core.renderer.numbers(2);
    core.refresh.changed(&shop, Order::new(1, 2));
    assert_eq!(core.get(&shop).await.unwrap().served, Served::Fresh);
    core.refresh.set_target(2);
    let answer = core.get(&shop).await.unwrap();
    assert_eq!(
        (answer.served, answer.revision.order),
        (Served::Rendered, Order::new(2, 2))
    );
}

/// A poison project fails alone in a quiet pod, and then there is a release.
#[tokio::test(start_paused = true)]
async fn a_poison_project_does_not_hold_a_release_up() {
    for quiet in [1_800, 2_000, 2_300] {
        let core = LookupCore::paced(10.0, 10).await;
        let projects = projects(20);
        core.holds(&projects).await;
        core.renderer.behaves_for(&projects[0], Behaviour::Stalls);
        core.refresh.set_target(2);
        under_load(&core, &projects, sleep(secs(quiet))).await;
        assert!(core.renderer.renders_of(&projects[0]) > 5);
        assert_eq!(core.refresh.snapshot().stops, Stops::default());
        core.refresh.set_target(3);
        let took = under_load(&core, &projects, core.converges(&projects[1..], 3)).await;
        assert!(took <= secs(4), "{took:?}");
    }
}

/// Few projects cannot open the breaker, so that their own cool-downs decide when the renderer is
/// noticed again.
#[tokio::test(start_paused = true)]
async fn few_projects_are_fresh_soon_after_a_long_outage() {
    for many in [1, 2, 3, 6] {
        for outage in [300, 480, 660, 900] {
            let core = LookupCore::paced(10.0, 10).await;
            let projects = projects(many);
            core.holds(&projects).await;
            core.renderer.behaves(Behaviour::Fails(unavailable()));
            core.refresh.set_target(2);
            under_load(&core, &projects, sleep(secs(outage))).await;
            core.renderer.behaves(Behaviour::Answers);
            let took = under_load(&core, &projects, core.converges(&projects, 2)).await;
            assert!(took <= secs(90), "{many} projects: {took:?}");
        }
    }
}

/// While one project has used its own quota up, all are pushed back once.
#[tokio::test(start_paused = true)]
async fn a_quota_of_one_project_does_not_prolong_a_hold_of_all() {
    for phase in 0..6 {
        let core = LookupCore::paced(5.0, 5).await;
        let projects = projects(40);
        core.holds(&projects).await;
        core.refresh.set_target(2);
        let quota = Behaviour::Fails(exhausted(5, PushbackScope::Project));
        core.renderer.behaves_for(&projects[0], quota);
        under_load(&core, &projects, sleep(secs(120 + phase))).await;

        let hold = Behaviour::Fails(exhausted(10, PushbackScope::Global));
        core.renderer.behaves_for(&projects[1], hold);
        core.renderer.numbers(9);
        for project in &projects[1..] {
            core.refresh.changed(project, Order::new(2, 2));
        }
        let is_held = || core.refresh.snapshot().stops.is_held;
        let until = async |held: bool| {
            while is_held() != held {
                sleep(millis(100)).await;
            }
        };
        under_load(&core, &projects, until(true)).await;
        core.renderer.behaves_for(&projects[1], Behaviour::Answers);
        let start = Instant::now();
        under_load(&core, &projects, until(false)).await;
        let took = start.elapsed();
        assert!(took <= secs(16), "{took:?}");
    }
}
