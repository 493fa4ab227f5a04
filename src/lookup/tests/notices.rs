//! What an operator is told while it happens, by the log and by what is counted.

use super::*;
use crate::logged::CapturedLog;

/// The lines of the log that hold one of these texts.
#[track_caller]
fn assert_said(log: &CapturedLog, said: &[&str]) {
    let lines = log.lines();
    let words = |line: &&String| said.iter().any(|said| line.contains(said));
    let found: Vec<_> = lines.iter().filter(words).collect();
    let is_said = found.len() == said.len()
        && found
            .iter()
            .zip(said)
            .all(|(line, said)| line.contains(said));
    assert!(is_said, "{said:#?} in {lines:#?}");
}

/// Looks all projects up every 100 ms for this long.
async fn look_up_for(core: &LookupCore, projects: &[Project], duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        for project in projects {
            let _ = core.get_within(project, Duration::ZERO).await;
        }
        sleep(millis(100)).await;
    }
}

/// A renderer that hung was said by nothing for 30 s, until the deadline of the first render.
#[tokio::test(start_paused = true)]
async fn a_renderer_that_accepts_and_never_answers_is_said_long_before_the_deadline() {
    let core = LookupCore::new().await;
    core.renderer.costs(millis(100));
    let projects = projects(20);
    core.holds(&projects).await;
    let log = CapturedLog::start();
    core.renderer.behaves(Behaviour::Stalls);
    core.refresh.set_target(2);
    look_up_for(&core, &projects, millis(4_900)).await;
    assert_said(&log, &[]);
    assert!(core.refresh.snapshot().oldest_render >= millis(4_700));
    look_up_for(&core, &projects, millis(300)).await;
    let hangs = "slow render: running for 5.0s, usually 0.1s project=demo/";
    let lines = log.lines();
    assert!(lines.iter().any(|line| line.contains(hangs)), "{lines:#?}");
    look_up_for(&core, &projects, secs(60)).await;
    core.renderer.behaves(Behaviour::Answers);
    look_up_for(&core, &projects, secs(60)).await;
    assert_said(&log, &[hangs, "renders are answered again"]);
    assert_eq!(core.refresh.snapshot().oldest_render, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_release_is_a_line_when_the_last_wanted_project_is_fresh() {
    let core = LookupCore::paced(2.0, 1).await;
    let projects = projects(60);
    core.holds(&projects).await;
    let log = CapturedLog::start();
    core.refresh.set_target(2);
    look_up_for(&core, &projects, secs(60)).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let end = lines[1].split_once("all wanted projects are fresh rollout=2 after=");
    let (seconds, renders) = end.unwrap().1.split_once("s renders=").unwrap();
    let seconds: f64 = seconds.parse().unwrap();
    assert!((28.0..=31.0).contains(&seconds), "{lines:#?}");
    assert_eq!(renders, "60");
}

#[tokio::test(start_paused = true)]
async fn a_release_that_takes_long_says_how_many_are_left_and_until_when() {
    let core = LookupCore::paced(0.1, 1).await;
    let projects = projects(100);
    for project in &projects {
        core.renderer.stores(project, Order::new(1, 1));
        core.get(project).await.unwrap();
    }
    let log = CapturedLog::start();
    core.refresh.set_target(2);
    look_up_for(&core, &projects, secs(1_100)).await;
    log.assert_says(&[
        "target raised",
        "not fresh yet: 40 of 100 outdated, done in about 400s rollout=2 after=10m failing=0",
        "all wanted projects are fresh rollout=2 after=17m renders=100",
    ]);
}

#[tokio::test(start_paused = true)]
async fn mistyped_names_are_said_when_they_begin_and_when_they_end() {
    let core = LookupCore::new().await;
    core.renderer.offers_no_fetch();
    let known = projects(10);
    core.holds(&known).await;
    let log = CapturedLog::start();
    for n in 0..40 {
        let typo = project(&format!("typo/{n}"));
        let not_found = Behaviour::Fails(RenderError::NotFound);
        core.renderer.behaves_for(&typo, not_found);
        assert!(core.get(&typo).await.is_err());
        sleep(secs(1)).await;
    }
    let begins = "renderer does not know many projects: NOT_FOUND for 10 of the last 20 first renders project=typo/9";
    log.assert_says(&[begins]);
    for n in 0..20 {
        let new = project(&format!("new/{n}"));
        core.get_within(&new, secs(20)).await.unwrap();
    }
    log.assert_says(&[begins, "renderer knows the projects again"]);
}

#[tokio::test(start_paused = true)]
async fn lookups_that_find_the_queue_full_are_said_when_it_is_and_when_it_has_room_again() {
    let limits = admission::Limits {
        rate: 0.5,
        burst: count(1),
        queue: count(4),
        ..limits()
    };
    let core = LookupCore::with(limits, 64 << 20).await;
    core.renderer.offers_no_fetch();
    core.holds(&[project("demo/shop")]).await;
    let log = CapturedLog::start();
    let lookups = (0..20).map(|n| {
        let (core, project) = (&core, project(&format!("new/{n}")));
        async move { core.get_within(&project, secs(8)).await }
    });
    let answers = join_all(lookups).await;
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(refused >= 12, "{refused}");
    log.assert_says(&["lookups are refused: 4 missing projects are already waiting"]);
    sleep(secs(12)).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("lookups are no longer refused refused="));
}

#[tokio::test(start_paused = true)]
async fn lookups_beyond_those_that_may_wait_are_said_too() {
    let core = LookupCore::new().await;
    core.renderer.costs(secs(1));
    core.lookup.set_limits(WaitLimits {
        patience: millis(50),
        cold_patience: secs(2),
        max_patience: secs(30),
        max_waiting: 2,
    });
    let log = CapturedLog::start();
    let lookups = (0..4).map(|n| {
        let (core, project) = (&core, project(&format!("new/{n}")));
        async move { core.get(&project).await }
    });
    let answers = join_all(lookups).await;
    assert_eq!(failure(&answers[3]), NotRefreshed::QueueFull);
    sleep(secs(12)).await;
    log.assert_says(&[
        "lookups are refused: 2 lookups are already waiting",
        "lookups are no longer refused refused=2 lasted=0.0s",
    ]);
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_too_small_is_said_once_and_when_it_is_large_enough_again() {
    let core = LookupCore::with(limits(), 7 * 1_000).await;
    let projects = projects(60);
    for project in &projects {
        core.renderer.stores(project, Order::new(1, 1));
    }
    let log = CapturedLog::start();
    for _ in 0..5 {
        for project in &projects {
            core.get(project).await.unwrap();
            sleep(millis(20)).await;
        }
    }
    log.assert_says(&[
        "cache is too small: 10 evicted projects were wanted again within a minute held=",
    ]);
    sleep(secs(601)).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[1].contains("cache is large enough again evicted="));
    assert!(core.refresh.snapshot().evictions >= 200);
}

#[tokio::test(start_paused = true)]
async fn failing_projects_are_counted_while_they_fail_and_a_stopped_bucket_has_no_tokens() {
    let core = LookupCore::new().await;
    let projects = projects(4);
    core.holds(&projects).await;
    core.renderer.behaves_for(
        &projects[0],
        Behaviour::Garbles(|offer| offer.payload = [].as_slice().into()),
    );
    core.renderer
        .behaves_for(&projects[1], Behaviour::AnswersWith(1));
    core.refresh.set_target(2);
    look_up_for(&core, &projects, secs(1)).await;
    let snapshot = core.refresh.snapshot();
    assert_eq!((snapshot.failing, snapshot.wanted_outdated), (2, 2));
    assert_eq!(snapshot.wanted_missing, 0);
    assert!(snapshot.bucket_level > 1.0);
    core.renderer.behaves_for(&projects[0], Behaviour::Answers);
    core.renderer.behaves_for(&projects[1], Behaviour::Answers);
    look_up_for(&core, &projects, secs(60)).await;
    assert_eq!(core.refresh.snapshot().failing, 0);
    core.refresh.set_limits(admission::Limits {
        rate: 0.0,
        ..limits()
    });
    assert_eq!(core.refresh.snapshot().bucket_level, 0.0);
}
