use super::*;
use crate::verdict::{Landed, PerGate};

fn status() -> Status {
    let facts = Facts {
        sidecars: 1,
        failing_now: 1,
        rate: 10.0,
        rate_in_force: 10.0,
        concurrency: 4,
        outdated: 60,
        wanted_outdated: 60,
        failing: 60,
        median_seconds: 0.01,
        mean_seconds: 0.01,
        usual_seconds: 0.1,
        window_seconds: 12.5,
        lookups: 500,
        lookups_outdated: 500,
        renders_per_second: 7.8,
        landed: Landed {
            behind: 98,
            ..Landed::default()
        },
        bound: PerGate {
            project: 0.92,
            tokens: 0.08,
            ..PerGate::default()
        },
        ..Facts::default()
    };
    let beside = Status {
        name: "application-7c9f-x2".to_owned(),
        instance: "0a1b2c3d4e5f".to_owned(),
        version: "0.1.0".to_owned(),
        up: 11_520,
        ready: true,
        target: 2,
        raised: Some(41),
        settled: true,
        settings: "758cf38ded23".to_owned(),
        burst: 5,
        outdated_because: vec![
            ("RENDERER_BEHIND".to_owned(), 455),
            ("THROTTLED".to_owned(), 45),
        ],
        ..Status::default()
    };
    Status::of(beside, facts)
}

#[test]
fn the_screen_shows_the_verdict_and_what_it_follows_from() {
    assert_eq!(
        screen(&status()),
        "\
application-7c9f-x2  evenkeel 0.1.0  up 3h12m  ready
BEHIND   Of the last 98 renders 98 were of an older rollout than the target.
do       Finish the roll-out of the renderer, or set `rollout` back. A higher rate is of no use.

fresh    ░░░░░░░░░░░░░░░░░░░░  0 of 60   rollout 2 for 41s; 60 failing; 0 missing wanted
lookups  40/s, 0 failed; outdated 100 %: RENDERER_BEHIND 455, THROTTLED 45
stopped  cool-down 92 %, tokens 8 % of the time in which something was wanted
renders  7.8/s of 10/s (burst 5, 0 of 4 in flight, oldest 0ms); behind 100 %; median 10ms, usually 100ms
renderer connected, breaker closed, no pushback
settings 758cf38ded23 valid, nothing pending; 10/s in this sidecar alone
"
    );
}

/// What scripts and other versions rely on: a field may come, none may go or mean something else.
#[test]
fn the_json_is_that_of_its_schema() {
    let golden = r#"{"schema":"evenkeel.status/1","name":"application-7c9f-x2","instance":"0a1b2c3d4e5f","version":"0.1.0","up":11520,"ready":true,"code":"BEHIND","beside":[],"says":"Of the last 98 renders 98 were of an older rollout than the target.","do":"Finish the roll-out of the renderer, or set `rollout` back. A higher rate is of no use.","target":2,"raised":41,"settled":true,"settings":"758cf38ded23","pending":0,"burst":5,"fleet_size":null,"outdated_because":[["RENDERER_BEHIND",455],["THROTTLED",45]],"facts":{"sidecars":1,"settings_bad":0,"disconnected":0,"apart":0,"broken":0,"pushed_back":0,"hanging":0,"failing_now":1,"rate":10.0,"rate_in_force":10.0,"concurrency":4,"fresh":0,"outdated":60,"wanted_missing":0,"wanted_outdated":60,"failing":60,"in_flight":0,"oldest":0.0,"median":0.01,"mean":0.01,"usual":0.1,"done_in":null,"window":12.5,"lookups":500,"lookups_outdated":500,"lookups_failed":0,"queue_full":0,"evicted_wanted":0,"returned":0,"renders_per_second":7.8,"landed":{"stored":0,"validated":0,"behind":98,"rejected":0,"gone":0,"not_found":0,"deadline_exceeded":0,"unavailable":0,"unreachable":0,"exhausted":0,"refused":0,"failed":0},"bound":{"draining":0.0,"breaker":0.0,"connection":0.0,"hold":0.0,"project":0.92,"queue":0.0,"concurrency":0.0,"tokens":0.08}}}"#;
    assert_eq!(status().json(), golden);
    assert_eq!(Status::read(golden.as_bytes()).unwrap(), status());
}

#[test]
fn a_status_of_another_version_is_read_and_what_it_lacks_is_nothing() {
    let other = r#"{"schema":"evenkeel.status/2","code":"APART","new":{"a":1},"facts":{"fresh":3,"older":[]}}"#;
    let status = Status::read(other.as_bytes()).unwrap();
    assert_eq!((status.code.as_str(), status.facts.fresh), ("APART", 3));
    for other in ["", "[]", "{}", r#"{"schema":"else"}"#, "{\"schema\":3}"] {
        assert!(Status::read(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn what_a_stranger_answers_obeys_no_terminal_and_stays_short() {
    let mut evil = status();
    let text = format!("\u{1b}[2J\u{202e}\n{}", "x".repeat(5_000));
    for field in [
        &mut evil.name,
        &mut evil.code,
        &mut evil.says,
        &mut evil.do_,
        &mut evil.version,
        &mut evil.settings,
    ] {
        field.clone_from(&text);
    }
    evil.beside = vec![text.clone(); 3];
    evil.outdated_because = vec![(text, 1)];
    let read = Status::read(evil.json().as_bytes()).unwrap();
    let fleet = Fleet::new([
        ("10.0.0.1:7402".to_owned(), Ok(read.clone())),
        ("10.0.0.2:7402".to_owned(), Err("no answer".to_owned())),
    ]);
    for shown in [screen(&read), fleet.screen(), fleet.json(), read.json()] {
        let obeyed = shown
            .chars()
            .find(|c| *c != '\n' && crate::printable::is_obeyed(*c));
        assert_eq!(obeyed, None, "{shown}");
        assert!(shown.len() < 6_000, "{}", shown.len());
    }
}

/// As large as each field can be in a sidecar: its flags are 0 or 1, its figures bounded.
fn longest(mut facts: Facts) -> String {
    let most = u32::MAX;
    let all = Landed {
        stored: most,
        validated: most,
        behind: most,
        rejected: most,
        gone: most,
        not_found: most,
        deadline_exceeded: most,
        unavailable: most,
        unreachable: most,
        exhausted: most,
        refused: most,
        failed: most,
    };
    let bound = PerGate {
        draining: 0.123,
        breaker: 0.123,
        connection: 0.123,
        hold: 0.123,
        project: 0.123,
        queue: 0.123,
        concurrency: 0.123,
        tokens: 0.123,
    };
    let figure = 123_456_789.123;
    (facts.landed, facts.bound) = (all, bound);
    facts = Facts {
        sidecars: 1,
        settings_bad: 1,
        rate: figure,
        concurrency: most,
        fresh: most,
        outdated: most,
        wanted_missing: most,
        wanted_outdated: most,
        in_flight: most,
        oldest_seconds: figure,
        done_in_seconds: Some(figure),
        window_seconds: 123.456,
        lookups: most,
        lookups_outdated: most,
        lookups_failed: most,
        returned: most,
        renders_per_second: figure,
        ..facts
    };
    let beside = Status {
        name: "n".repeat(64),
        instance: "0a1b2c3d4e5f".to_owned(),
        version: "100.100.100".to_owned(),
        up: u64::from(most),
        target: u64::MAX,
        raised: Some(u64::from(most)),
        settings: "758cf38ded23".to_owned(),
        pending: 99,
        burst: most,
        fleet_size: Some(most),
        outdated_because: vec![("CONCURRENCY_LIMITED".to_owned(), most); REASONS],
        ..Status::default()
    };
    Status::of(beside, facts).json()
}

#[test]
fn a_status_is_at_most_two_kibibytes_with_every_field_at_its_longest() {
    let most = u32::MAX;
    let figure = 123_456_789.123;
    let calm = Facts {
        sidecars: 1,
        rate: figure,
        rate_in_force: figure,
        wanted_outdated: most,
        median_seconds: 123_456.123,
        mean_seconds: 123_456.123,
        usual_seconds: 123_456.123,
        ..Facts::default()
    };
    let hit = [
        Facts {
            disconnected: 1,
            ..calm.clone()
        },
        Facts {
            pushed_back: 1,
            ..calm.clone()
        },
        Facts {
            broken: 1,
            ..calm.clone()
        },
        Facts {
            hanging: 1,
            ..calm.clone()
        },
        Facts {
            lookups_queue_full: most,
            evicted_wanted: most,
            ..calm.clone()
        },
        Facts {
            evicted_wanted: most,
            failing: most,
            failing_now: 1,
            ..calm.clone()
        },
        Facts {
            rate_in_force: 1_234_567.123,
            failing: most,
            ..calm.clone()
        },
        calm,
    ];
    for facts in hit {
        let json = longest(facts);
        assert!(json.len() <= 2_048, "{} bytes: {json}", json.len());
    }
}

#[test]
fn a_fleet_says_how_many_answered_who_differs_and_who_is_silent() {
    let of = |name: &str, change: fn(&mut Status)| {
        let mut facts = status().facts;
        facts.failing_now = 0;
        facts.failing = 0;
        facts.landed = Landed {
            stored: 40,
            ..Landed::default()
        };
        facts.bound = PerGate {
            tokens: 0.9,
            ..PerGate::default()
        };
        facts.fresh = 40;
        (facts.outdated, facts.wanted_outdated) = (20, 20);
        let mut one = Status::of(
            Status {
                name: name.to_owned(),
                instance: name.to_owned(),
                ..status()
            },
            facts,
        );
        change(&mut one);
        (format!("10.0.0.1:{}", 1000 + name.len()), Ok(one))
    };
    let fleet = Fleet::new([
        of("a", |_| {}),
        of("bb", |_| {}),
        of("bb", |_| {}),
        of("ccc", |other| {
            other.settings = "77ab0112".to_owned();
            other.target = 1;
        }),
        (
            "10.0.0.1:9".to_owned(),
            Err("no answer within 1s".to_owned()),
        ),
    ]);
    let shown = fleet.screen();
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[0], "3 of 4 sidecars answered");
    assert_eq!(lines[1], "silent   10.0.0.1:9: no answer within 1s");
    assert!(
        lines[2].starts_with("BUDGET   The rate stops renders 90 % of the time"),
        "{shown}"
    );
    for line in [
        "fresh    █████████████░░░░░░░  120 of 180   in all; 0 failing; 0 missing wanted",
        "rate     23.4/s rendered, 30/s in force of 30/s",
        "target   rollout 2 (2), rollout 1 (1)",
        "settings 758cf38ded23 (2), 77ab0112 (1)",
        "version  0.1.0 (3)",
        "differs  ccc (10.0.0.1:1003)  40 of 60 fresh  BUDGET  rollout 1; settings 77ab0112",
    ] {
        assert!(lines.contains(&line), "no `{line}` in\n{shown}");
    }
    let json: serde_json::Value = serde_json::from_str(&fleet.json()).unwrap();
    assert_eq!(json["schema"], "evenkeel.fleet/1");
    assert_eq!(
        (&json["asked"], &json["targets"]["2"]),
        (&4.into(), &2.into())
    );
    assert_eq!(json["silent"][0]["address"], "10.0.0.1:9");
}

#[test]
fn a_release_is_over_when_all_answer_have_the_target_and_want_nothing_outdated() {
    let done = |change: fn(&mut Status)| {
        let mut one = status();
        one.facts = Facts {
            sidecars: 1,
            fresh: 60,
            ..Facts::default()
        };
        change(&mut one);
        ("a".to_owned(), Ok(one))
    };
    let silent = || ("b".to_owned(), Err("no answer".to_owned()));
    for (case, fleet, is_over) in [
        ("done", vec![done(|_| {})], true),
        ("a higher target", vec![done(|one| one.target = 3)], true),
        ("the old target", vec![done(|one| one.target = 1)], false),
        ("not settled", vec![done(|one| one.settled = false)], false),
        (
            "outdated and wanted",
            vec![done(|one| one.facts.wanted_outdated = 1)],
            false,
        ),
        (
            "outdated and not wanted",
            vec![done(|one| one.facts.outdated = 1)],
            true,
        ),
        (
            "just raised, and nothing is looked up yet",
            vec![done(|one| (one.facts.outdated, one.raised) = (1, Some(9)))],
            false,
        ),
        ("one is silent", vec![done(|_| {}), silent()], false),
        ("none answered", vec![silent()], false),
        ("none asked", vec![], false),
    ] {
        assert_eq!(Fleet::new(fleet).has_released(2), is_over, "{case}");
    }
}
