//! What predictions have to hold: known cases, the sample against all pods, and what is refused.

use std::time::Duration;

use super::{Case, Prediction, Sampled, Seen, doubts, predict, prediction::predict_by};

const SECOND: Duration = Duration::from_secs(1);

/// A release over 30 projects in 40 pods, each of which renders once a second.
const CASE: Case = Case {
    pods: 40,
    projects: 30,
    rate: 1.0,
    burst: 5,
    concurrency: 4,
    renderers: None,
    render_time: Duration::from_millis(100),
    outage: Duration::ZERO,
    lookups: 1.0,
};

fn fresh_after(predicted: &Prediction) -> f64 {
    let after = predicted.fresh_after.expect("it comes to an end");
    after.as_secs_f64()
}

#[test]
fn a_release_takes_what_the_rate_says() {
    let predicted = predict(&CASE).unwrap();
    // The last pod learns of it after 10 s; a burst is saved up.
    let after = fresh_after(&predicted);
    assert!((34.0..38.0).contains(&after), "{after}");
    assert_eq!(predicted.renders, 1200.0);
    assert_eq!(predicted.useless, 0.0);
    assert_eq!(predicted.fresh, 1.0);
    let most = predicted.most_renders;
    assert!((40.0..90.0).contains(&most), "{most}");
    // Each render takes 130 ms on average, whatever else is done.
    let busy = 1200.0 * 0.1 / 0.77 / after;
    assert!((predicted.busy / busy - 1.0).abs() < 0.1, "{predicted:?}");
    assert!(predicted.outdated[9] > 0.3, "{:?}", predicted.outdated);
    assert!(predicted.outdated[25] < predicted.outdated[12] / 2.0);
}

#[test]
fn the_same_case_has_the_same_prediction() {
    let [one, other] = [CASE; 2].map(|case| format!("{:?}", predict(&case)));
    assert_eq!(one, other);
}

#[test]
fn permits_bound_a_release_of_slow_renders() {
    let case = Case {
        rate: 100.0,
        render_time: 2 * SECOND,
        ..CASE
    };
    // Three of four permits are for refreshes: 30 renders of 2.6 s each, three at once.
    let after = fresh_after(&predict(&case).unwrap());
    assert!((26.0..48.0).contains(&after), "{after}");
}

#[test]
fn an_outage_delays_a_release_and_renderers_without_cores_bear_no_more() {
    let away = Case {
        outage: 60 * SECOND,
        ..CASE
    };
    let after = fresh_after(&predict(&away).unwrap());
    assert!((75.0..240.0).contains(&after), "{after}");
    let few = Case {
        renderers: Some(2.0),
        ..CASE
    };
    let predicted = predict(&few).unwrap();
    assert!(fresh_after(&predicted) > 70.0, "{predicted:?}");
    assert!(predicted.most_busy <= 2.000_1, "{predicted:?}");
    assert!(predicted.render_time > 5 * few.render_time, "{predicted:?}");
}

#[test]
fn a_release_that_comes_to_no_end_is_given_up() {
    let case = Case {
        renderers: Some(0.01),
        render_time: 20 * SECOND,
        lookups: 0.01,
        ..CASE
    };
    let predicted = predict(&case).unwrap();
    assert_eq!(predicted.fresh_after, None);
    assert!(predicted.fresh < 0.5, "{predicted:?}");
    let doubts = doubts(&case, &predicted, None).join("\n");
    assert!(doubts.contains("was not followed beyond"), "{doubts}");
}

/// Cases in which each thing binds that may.
fn cases(pods: u32, projects: u32) -> [(&'static str, Case); 6] {
    let usual = Case {
        pods,
        projects,
        rate: 2.0,
        lookups: 0.1,
        ..CASE
    };
    let cores = usual.fleet_rate() * 0.1 / 0.77;
    let (mut low, mut busy, mut few) = (usual, usual, usual);
    low.rate = 0.01;
    busy.renderers = Some(cores / 0.8);
    few.renderers = Some(cores / 2.0);
    let (mut permits, mut away) = (usual, usual);
    (permits.rate, permits.render_time) = (50.0, 2 * SECOND);
    away.outage = 60 * SECOND;
    [
        ("the rate binds", usual),
        ("the rate is low", low),
        ("the cores are 80 % busy", busy),
        ("the cores are too few", few),
        ("permits bind", permits),
        ("an outage", away),
    ]
}

/// In which figures a prediction differs from that by all pods: by more than a part, or than this
/// many percentage points.
fn differences(all: &Prediction, some: &Prediction, part: f64, points: f64) -> Vec<String> {
    let outdated = |predicted: &Prediction, at: f64| {
        let at = (fresh_after(all) * at) as usize;
        100.0 * predicted.outdated.get(at).copied().unwrap_or(0.0)
    };
    let figures = |it: &Prediction| {
        [
            ("fresh after", fresh_after(it), 0.0),
            ("renders", it.renders, 0.0),
            ("most renders", it.most_renders, 0.0),
            ("busy", it.busy, 0.0),
            ("most busy", it.most_busy, 0.0),
            ("outdated at ¼", outdated(it, 0.25), points),
            ("outdated at ½", outdated(it, 0.5), points),
            ("outdated at ¾", outdated(it, 0.75), points),
        ]
    };
    let pairs = figures(all).into_iter().zip(figures(some));
    let differ = pairs.filter(|((_, all, least), (_, some, _))| {
        (all - some).abs() > f64::max(part * all, *least)
    });
    differ
        .map(|((name, all, _), (_, some, _))| format!("{name}: {all} of all, {some} of the sample"))
        .collect()
}

/// With `EVENKEEL_PLAN=1000x100`, as `tests/long/plan` has it; without, fewer pods are compared,
/// which differ by more.
#[test]
fn a_sample_of_pods_stands_for_all() {
    let given = std::env::var("EVENKEEL_PLAN").ok();
    let (part, points) = given.as_ref().map_or((0.15, 5.0), |_| (0.03, 2.0));
    let size = given.unwrap_or("100x20".to_owned());
    let (pods, projects) = size.split_once('x').expect("PODSxPROJECTS");
    let cases = cases(pods.parse().unwrap(), projects.parse().unwrap());
    let differ = cases.map(|(name, case)| {
        let all = predict_by(&case, Sampled::all(&case));
        let sample = Sampled {
            pods: Sampled::of(&case).pods.min(case.pods / 2),
            of: case.pods,
        };
        let some = predict_by(&case, sample);
        (name, differences(&all, &some, part, points))
    });
    let is_near = differ.iter().all(|(_, differ)| differ.is_empty());
    assert!(is_near, "{differ:#?}");
}

#[test]
fn what_cannot_be_planned_is_refused_by_flag_value_and_what_is_accepted() {
    are_refused(&[
        (Case { pods: 0, ..CASE }, "--pods 0: expected 1 to 1000000"),
        (
            Case {
                pods: 2_000_000,
                ..CASE
            },
            "--pods 2000000: expected 1 to 1000000",
        ),
        (
            Case {
                projects: 0,
                ..CASE
            },
            "--projects 0: expected 1 to 5000",
        ),
        (
            Case {
                projects: 5_001,
                ..CASE
            },
            "--projects 5001: expected 1 to 5000",
        ),
        (
            Case { rate: 0.0, ..CASE },
            "--rate 0: expected 0.000001 to 10000",
        ),
        (
            Case { rate: -1.0, ..CASE },
            "--rate -1: expected 0.000001 to 10000",
        ),
        (
            Case {
                rate: f64::NAN,
                ..CASE
            },
            "--rate NaN: expected 0.000001 to 10000",
        ),
        (
            Case {
                rate: f64::INFINITY,
                ..CASE
            },
            "--rate inf: expected 0.000001 to 10000",
        ),
        (Case { burst: 0, ..CASE }, "--burst 0: expected 1 to 10000"),
        (
            Case {
                concurrency: 0,
                ..CASE
            },
            "--concurrency 0: expected 1 to 10000",
        ),
    ]);
}

#[test]
fn times_and_combinations_that_cannot_be_planned_are_refused() {
    are_refused(&[
        (
            Case {
                renderers: Some(0.0),
                ..CASE
            },
            "--renderers 0: expected 0.01 to 1000000",
        ),
        (
            Case {
                render_time: Duration::ZERO,
                ..CASE
            },
            "--render-time 0s: expected at least 0.0001s and less than 30s, the deadline of a render",
        ),
        (
            Case {
                render_time: 30 * SECOND,
                ..CASE
            },
            "--render-time 30s: expected at least 0.0001s and less than 30s, the deadline of a render",
        ),
        (
            Case {
                outage: 86_400 * SECOND,
                ..CASE
            },
            "--outage 86400s: expected less than 86400s",
        ),
        (
            Case {
                lookups: 0.0,
                ..CASE
            },
            "--lookups 0: expected 0.001 to 1000000",
        ),
        (
            Case {
                rate: 0.0001,
                burst: 10,
                ..CASE
            },
            "--burst 10: expected such that it refills within a day: at 0.0001 renders/s of a sidecar at most 8",
        ),
    ]);
}

fn are_refused(cases: &[(Case, &str)]) {
    for (case, says) in cases {
        let refused = predict(case).expect_err(says);
        assert_eq!(refused.to_string(), *says);
    }
}

#[test]
fn a_prediction_says_where_it_goes_beyond_what_was_seen() {
    let predicted = predict(&CASE).unwrap();
    let seen = Seen {
        answered: 39,
        busy: 0.5,
        is_slow: true,
    };
    let said = doubts(&CASE, &predicted, Some(seen)).join("\n");
    for part in [
        "39 of 40 pods answered",
        "Renders are slower now than in the hour before: 100 ms",
        "0.5 cores were seen rendering",
        "Without --renderers no load makes renders slower",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let enough = Case {
        renderers: Some(100.0),
        ..CASE
    };
    let seen = Seen {
        answered: 40,
        busy: 90.0,
        is_slow: false,
    };
    let predicted = predict(&enough).unwrap();
    assert_eq!(doubts(&enough, &predicted, Some(seen)), [""; 0]);
    let busy = Case {
        renderers: Some(predicted.most_busy),
        ..CASE
    };
    let said = doubts(&busy, &predict(&busy).unwrap(), None).join("\n");
    assert!(
        said.contains("% busy: render times are then the model's"),
        "{said}"
    );
}
