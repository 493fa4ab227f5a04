use std::time::Duration;

use super::*;
use crate::demo::StormTerms;

fn measured(failed: Vec<usize>, renders: Vec<usize>) -> Measured {
    let points = failed.len();
    Measured {
        asked: 4321,
        series: Series {
            release: 0.1,
            fault: Some((0.1, 0.2)),
            fresh: vec![10; points],
            outdated: vec![5; points],
            failed,
            renders,
            projects_fresh: vec![200; points],
        },
        ..Measured::default()
    }
}

#[test]
fn both_storms_stand_in_it_over_the_same_axes() {
    let report = DemoReport {
        terms: StormTerms::default(),
        incident: measured(vec![0, 385, 0], vec![0, 96, 3]),
        evenkeel: Measured {
            fresh_after: Some(Duration::from_millis(8400)),
            ..measured(vec![0; 3], vec![25; 3])
        },
    };
    let svg = report.svg();
    for shown in [
        "the way of the incident",
        "with evenkeel",
        "renders asked for per second: 4321 in all",
        "all after 8.4 s",
        "budget: 25",
    ] {
        assert!(svg.contains(shown), "{shown}\n{svg}");
    }
    for (series, drawn) in [
        ("class=\"failed\" points", 2),
        ("class=\"renders\" points", 2),
        ("class=\"line projects\"", 2),
        ("class=\"range\"", 6),
    ] {
        assert_eq!(svg.matches(series).count(), drawn, "{series}");
    }
    assert_eq!(
        svg.matches(">400</text>").count(),
        2,
        "400 lookups per second, for both"
    );
    assert_eq!(
        svg.matches(">100</text>").count(),
        4,
        "100 renders per second, and half of the projects"
    );
    // Nothing but names of its own is linked to.
    assert_eq!(svg.matches("http").count(), 1);
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}
