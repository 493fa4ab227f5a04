use std::collections::VecDeque;

use super::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A sidecar that holds 60 fresh projects, a minute after its start.
fn start() -> Sample {
    Sample {
        at: secs(60),
        settings_valid: true,
        connected: true,
        rate: 10.0,
        rate_in_force: 10.0,
        concurrency: 4,
        fresh: 60,
        answered_ago: secs(50),
        succeeded_ago: Some(secs(50)),
        median_render: Duration::from_millis(100),
        usual_render: Duration::from_millis(100),
        lookups: 1000,
        landed: Landed {
            stored: 60,
            ..Landed::default()
        },
        render_time: secs(6),
        wanted_for: secs(3),
        ..Sample::default()
    }
}

/// The same ten seconds later, with 100 lookups more; something was wanted all the time.
fn later() -> Sample {
    Sample {
        at: secs(70),
        lookups: 1100,
        wanted_for: secs(13),
        ..start()
    }
}

/// Half of the projects of a release are left, after 100 renders of 100 ms.
fn releasing() -> Sample {
    Sample {
        render_time: secs(16),
        fresh: 30,
        outdated: 30,
        wanted_outdated: 30,
        answered_ago: Duration::ZERO,
        succeeded_ago: Some(Duration::ZERO),
        ..landed(|landed| landed.stored += 100)
    }
}

fn landed(change: impl Fn(&mut Landed<u64>)) -> Sample {
    let mut sample = later();
    change(&mut sample.landed);
    sample
}

/// A release of which `bad` of 100 renders came to a result, and the last did.
fn failing(bad: u64, result: fn(&mut Landed<u64>) -> &mut u64) -> Sample {
    let mut sample = Sample {
        failed_ago: Some(Duration::ZERO),
        failing: 30,
        ..releasing()
    };
    sample.landed.stored -= bad;
    *result(&mut sample.landed) += bad;
    sample
}

fn bound(millis: u64, gate: fn(&mut PerGate<Duration>) -> &mut Duration) -> Sample {
    let mut sample = releasing();
    *gate(&mut sample.bound) = Duration::from_millis(millis);
    sample
}

/// Every row as a later sample, and its neighbours on both sides of its bounds.
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn rows() -> Vec<(&'static str, Code, Sample)> {
    let slow = |millis: u64, usual| Sample {
        render_time: start().render_time + Duration::from_millis(100 * millis),
        usual_render: Duration::from_millis(usual),
        ..bound(5_000, |bound| &mut bound.concurrency)
    };
    // A release that began 3 s ago, after almost a minute in which nothing was wanted.
    let calm = |millis, gate| Sample {
        at: secs(117),
        wanted_for: start().wanted_for + secs(3),
        ..bound(millis, gate)
    };
    let hanging = |oldest, answered, median| Sample {
        in_flight: 4,
        oldest_render: Duration::from_millis(oldest),
        answered_ago: Duration::from_millis(answered),
        median_render: Duration::from_millis(median),
        ..releasing()
    };
    let unknown = |unknown, others| Sample {
        wanted_missing: 9,
        ..landed(|landed| {
            landed.not_found += unknown;
            landed.stored += others;
        })
    };
    let poison = |left, failing, failed_ago, succeeded_ago| Sample {
        fresh: 60 - left,
        outdated: left,
        wanted_outdated: left,
        failing,
        failed_ago: Some(secs(failed_ago)),
        succeeded_ago: Some(secs(succeeded_ago)),
        ..landed(|landed| landed.failed += 4)
    };
    vec![
        ("nothing is wanted", Fresh, later()),
        (
            "outdated, and not wanted",
            Fresh,
            Sample {
                fresh: 10,
                outdated: 50,
                ..later()
            },
        ),
        ("a release", Converging, releasing()),
        (
            "a missing project",
            Converging,
            Sample {
                wanted_missing: 1,
                ..later()
            },
        ),
        (
            "rate 0",
            Stopped,
            Sample {
                rate: 0.0,
                rate_in_force: 0.0,
                ..releasing()
            },
        ),
        (
            "the least rate",
            Converging,
            Sample {
                rate: 1e-6,
                rate_in_force: 1e-6,
                ..releasing()
            },
        ),
        (
            "rate 0 and no connection",
            Stopped,
            Sample {
                rate: 0.0,
                connected: false,
                ..releasing()
            },
        ),
        (
            "no connection",
            Unreachable,
            Sample {
                connected: false,
                ..later()
            },
        ),
        (
            "connected again after 2 s of 10",
            Unreachable,
            bound(2_000, |bound| &mut bound.connection),
        ),
        (
            "connected again after less",
            Converging,
            bound(1_900, |bound| &mut bound.connection),
        ),
        (
            "connected again, and all is fresh",
            Fresh,
            Sample {
                fresh: 60,
                wanted_outdated: 0,
                ..bound(9_000, |bound| &mut bound.connection)
            },
        ),
        (
            "without the store of its fleet",
            Apart,
            Sample {
                apart: true,
                ..later()
            },
        ),
        (
            "pushed back",
            Overloaded,
            Sample {
                pushed_back: true,
                rate_in_force: 0.0,
                ..releasing()
            },
        ),
        (
            "2 of 100 exhausted",
            Overloaded,
            failing(2, |landed| &mut landed.exhausted),
        ),
        (
            "1 of 100 exhausted",
            Converging,
            Sample {
                failing: 0,
                ..failing(1, |landed| &mut landed.exhausted)
            },
        ),
        (
            "refused is ordinary",
            Converging,
            Sample {
                failing: 0,
                ..failing(90, |landed| &mut landed.refused)
            },
        ),
        (
            "pushed back, and the breaker is open",
            Overloaded,
            Sample {
                pushed_back: true,
                breaker_open: true,
                ..releasing()
            },
        ),
        (
            "the breaker is open",
            Failing,
            Sample {
                breaker_open: true,
                rate_in_force: 0.0,
                ..later()
            },
        ),
        (
            "half unavailable",
            Failing,
            failing(50, |landed| &mut landed.unavailable),
        ),
        (
            "half failed",
            Failing,
            failing(50, |landed| &mut landed.failed),
        ),
        (
            "half late",
            Failing,
            failing(50, |landed| &mut landed.deadline_exceeded),
        ),
        (
            "fewer failed, others are left",
            Converging,
            Sample {
                failing: 29,
                ..failing(49, |landed| &mut landed.failed)
            },
        ),
        (
            "fewer failed, and nothing else is left",
            SomeFail,
            failing(49, |landed| &mut landed.failed),
        ),
        (
            "half failed before the last success",
            Converging,
            Sample {
                failed_ago: Some(secs(11)),
                failing: 0,
                ..failing(50, |landed| &mut landed.failed)
            },
        ),
        (
            "half failed a moment ago",
            Failing,
            Sample {
                failed_ago: Some(secs(10)),
                ..failing(50, |landed| &mut landed.failed)
            },
        ),
        (
            "the oldest takes 5.1 s, none was answered for as long",
            Hanging,
            hanging(5_100, 5_100, 100),
        ),
        ("it takes 5 s", Converging, hanging(5_000, 5_100, 100)),
        (
            "one hangs, others are answered",
            Converging,
            hanging(9_000, 1_000, 100),
        ),
        (
            "less than ten medians",
            Converging,
            hanging(9_000, 9_000, 900),
        ),
        ("more than ten medians", Hanging, hanging(9_001, 9_001, 900)),
        (
            "half behind",
            Behind,
            failing(50, |landed| &mut landed.behind),
        ),
        (
            "fewer behind",
            Converging,
            Sample {
                failing: 20,
                ..failing(49, |landed| &mut landed.behind)
            },
        ),
        (
            "half rejected",
            Rejected,
            failing(50, |landed| &mut landed.rejected),
        ),
        (
            "fewer rejected",
            Converging,
            Sample {
                failing: 20,
                ..failing(49, |landed| &mut landed.rejected)
            },
        ),
        ("a fifth is unknown", UnknownNames, unknown(20, 80)),
        ("fewer are unknown", Converging, unknown(19, 81)),
        ("five are unknown", UnknownNames, unknown(5, 0)),
        ("four are unknown", Converging, unknown(4, 0)),
        (
            "the queue is full",
            UnknownNames,
            Sample {
                lookups_queue_full: 1,
                ..releasing()
            },
        ),
        ("two of 60 fail", SomeFail, poison(2, 2, 3, 8)),
        (
            "two of 60 failed long ago, and none since",
            SomeFail,
            poison(2, 2, 90, 300),
        ),
        (
            "two of 60 fail, and one is left",
            Converging,
            poison(3, 2, 3, 8),
        ),
        ("two cool down", Recovering, poison(2, 2, 11, 1)),
        (
            "one of the wanted was evicted",
            CacheTooSmall,
            Sample {
                evicted_wanted: 1,
                ..releasing()
            },
        ),
        (
            "10 of 100 lookups bring back what was evicted",
            CacheTooSmall,
            Sample {
                returned: 10,
                ..releasing()
            },
        ),
        (
            "9 of 100 do",
            Converging,
            Sample {
                returned: 9,
                ..releasing()
            },
        ),
        (
            "the rate in force is lower",
            Recovering,
            Sample {
                rate_in_force: 9.8,
                ..bound(9_000, |bound| &mut bound.tokens)
            },
        ),
        (
            "the rate in force is the rate",
            Budget,
            Sample {
                rate_in_force: 9.95,
                ..bound(9_000, |bound| &mut bound.tokens)
            },
        ),
        (
            "all cool down",
            Recovering,
            bound(5_000, |bound| &mut bound.project),
        ),
        (
            "some cool down",
            Converging,
            bound(4_900, |bound| &mut bound.project),
        ),
        ("permits, three times slower", Slow, slow(300, 100)),
        ("permits, less slow", Concurrency, slow(299, 100)),
        ("permits, and no hour before", Concurrency, slow(300, 0)),
        (
            "permits less than half of the time",
            Converging,
            bound(4_900, |bound| &mut bound.concurrency),
        ),
        (
            "tokens half of the time",
            Budget,
            bound(5_000, |bound| &mut bound.tokens),
        ),
        (
            "tokens less",
            Converging,
            bound(4_900, |bound| &mut bound.tokens),
        ),
        (
            "tokens half of 3 s, after a calm minute",
            Budget,
            calm(1_500, |bound| &mut bound.tokens),
        ),
        (
            "tokens less of 3 s, after a calm minute",
            Converging,
            calm(1_400, |bound| &mut bound.tokens),
        ),
        (
            "permits half of 3 s, after a calm minute",
            Concurrency,
            calm(1_500, |bound| &mut bound.concurrency),
        ),
        (
            "flapped for 1 s of 3, after a calm minute",
            Unreachable,
            calm(1_000, |bound| &mut bound.connection),
        ),
        (
            "tokens half of the second in which something was wanted",
            Converging,
            Sample {
                wanted_for: start().wanted_for + secs(1),
                ..bound(500, |bound| &mut bound.tokens)
            },
        ),
        (
            "few slow renders, after many quick ones",
            Slow,
            Sample {
                median_render: Duration::from_millis(100),
                ..slow(900, 100)
            },
        ),
    ]
}

#[test]
fn each_row_of_the_table_holds_within_its_bounds_and_not_beyond() {
    for (case, code, now) in rows() {
        let found = verdict(&start(), &now);
        assert_eq!(found.code, code, "{case}: {found:?}\n{now:?}");
        assert_eq!(found.beside, [], "{case}");
    }
    for rule in TABLE.iter().filter(|rule| rule.code != SettingsBad) {
        let is_tested = rows().iter().any(|(_, code, _)| *code == rule.code);
        assert!(is_tested, "{}", rule.code);
    }
}

#[test]
fn bad_settings_are_said_beside_any_other() {
    for (case, code, now) in rows() {
        let now = Sample {
            settings_valid: false,
            ..now
        };
        let found = verdict(&start(), &now);
        assert_eq!(found.code, code, "{case}");
        assert_eq!(found.beside, [SettingsBad], "{case}");
    }
}

#[test]
fn the_table_asks_in_the_order_of_the_codes_and_has_each_once() {
    let codes: Vec<_> = TABLE.iter().map(|rule| rule.code).collect();
    assert!(codes.is_sorted_by(|one, other| one < other), "{codes:?}");
    assert_eq!(codes.last(), Some(&Fresh));
}

#[test]
fn no_code_but_budget_and_concurrency_advises_to_raise_a_limit_of_admission() {
    let limits = ["rate", "burst", "concurrency", "queue", "limit"];
    let mut raised = Vec::new();
    let said = rows()
        .into_iter()
        .map(|(_, code, now)| (code, verdict(&start(), &now).do_));
    let table = TABLE.iter().map(|rule| (rule.code, rule.advice.to_owned()));
    for (code, text) in said.chain(table) {
        for sentence in text.split([':', ';', '.', ',', '?']) {
            let sentence = sentence.to_lowercase();
            let is_of_a_limit = limits.iter().any(|limit| {
                sentence
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|word| word == *limit || word == "fleet_rate" || word == "admission")
            });
            let raises = ["raise", "higher", "increase", "lift", "more"]
                .iter()
                .any(|word| sentence.contains(word));
            let denies = ["not raise", "no use", "lower"]
                .iter()
                .any(|word| sentence.contains(word));
            if is_of_a_limit && raises && !denies {
                raised.push(code);
            }
        }
    }
    raised.sort();
    raised.dedup();
    assert_eq!(raised, [Concurrency, Budget], "who advises to raise");
}

#[test]
fn the_budget_says_when_it_is_done_and_what_twice_the_rate_takes() {
    let mut now = bound(9_300, |bound| &mut bound.tokens);
    (now.wanted_outdated, now.outdated) = (1_200, 1_200);
    let found = verdict(&start(), &now);
    assert_eq!(
        found.says,
        "The rate stops renders 93 % of the time; the median render takes 100ms."
    );
    assert!(
        found.do_.contains("Done in about 120s at 10/s."),
        "{found:?}"
    );
    assert!(found.do_.contains("sidecars × 1 workers"), "{found:?}");
    assert!(
        found.do_.ends_with("in about 60s. Else nothing."),
        "{found:?}"
    );
}

#[test]
fn a_fleet_is_judged_by_its_sum_and_a_fifth_of_its_sidecars() {
    let well = Facts::between(&start(), &bound(9_000, |bound| &mut bound.tokens));
    let lost = Facts::between(
        &start(),
        &Sample {
            connected: false,
            ..later()
        },
    );
    let judged = |lost_ones: usize| {
        let all = std::iter::repeat_n(&well, 10 - lost_ones);
        judge(&Facts::sum(
            all.chain(std::iter::repeat_n(&lost, lost_ones)),
        ))
    };
    assert_eq!(judged(0).code, Budget);
    assert_eq!(judged(1).code, Budget);
    assert_eq!(judged(2).code, Unreachable);
    assert_eq!(
        judged(2).says,
        "2 of 10 sidecars have no connection to the renderer."
    );
    let sum = Facts::sum([&well, &well]);
    assert_eq!((sum.sidecars, sum.rate, sum.left()), (2, 20.0, 60));
    assert_eq!(sum.done_in_seconds, well.done_in_seconds);
    assert_eq!(sum.median_seconds, 0.1);
}

fn kept(samples: impl IntoIterator<Item = Sample>) -> VecDeque<Sample> {
    samples.into_iter().collect()
}

/// A sample at some second, with this many landings since the start.
fn at(second: u64, stored: u64) -> Sample {
    Sample {
        at: secs(second),
        landed: Landed {
            stored,
            ..Landed::default()
        },
        wanted_outdated: 5,
        ..Sample::default()
    }
}

#[test]
fn the_window_is_twenty_landings_or_a_minute() {
    let samples = kept((0..=60).map(|second| at(second, second)));
    let begin = window(&samples, &at(60, 60)).unwrap();
    assert_eq!(begin.at, secs(40), "twenty landings");
    let begin = window(&samples, &at(60, 600)).unwrap();
    assert_eq!(begin.at, secs(58), "not less than two seconds");
    let slow = kept((0..=90).map(|second| at(second, second / 10)));
    let begin = window(&slow, &at(90, 9)).unwrap();
    assert_eq!(begin.at, secs(30), "a minute");
}

#[test]
fn what_was_before_ten_quiet_seconds_is_over() {
    let quiet = |second| Sample {
        wanted_outdated: 0,
        ..at(second, 9)
    };
    let busy = (0..=50).map(|second| at(second, 9));
    let samples = kept(busy.chain((51..=61).map(quiet)));
    assert_eq!(window(&samples, &quiet(61)).unwrap().at, secs(51));
    assert_eq!(window(&samples, &quiet(60)).unwrap().at, secs(0));
    assert_eq!(window(&samples, &at(61, 9)).unwrap().at, secs(1));
    assert_eq!(window(&kept([]), &quiet(1)), None);
}
