use std::time::Duration;

use super::*;
use crate::demo::Terms;

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
    let report = Report {
        terms: Terms::default(),
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
        ("class=\"fault\"", 6),
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

/// What the last rule for one of these classes gives a property.
fn styled(rules: &str, classes: &[&str], property: &str) -> String {
    let rules = rules.split('}').filter_map(|rule| rule.split_once(" { "));
    let given = rules
        .filter(|(selector, _)| classes.contains(&selector.trim()))
        .flat_map(|(_, declarations)| declarations.split(';'))
        .filter_map(|declaration| declaration.trim().split_once(": "));
    let mut given = given.filter(|(name, _)| *name == property);
    let (_, last) = given.next_back().expect("it is styled");
    last.trim().to_owned()
}

#[test]
fn the_budget_and_its_name_can_be_read_in_the_light_and_in_the_dark() {
    let (light, dark) = STYLE
        .split_once("@media (prefers-color-scheme: dark) {")
        .expect("there is a dark side");
    let dark = format!("{light}{dark}");
    for rules in [light, dark.as_str()] {
        let budget = styled(rules, &[".mark", ".budget"], "stroke");
        assert_eq!(budget, styled(rules, &["text"], "fill"));
        let halo = styled(rules, &[".halo"], "stroke");
        assert_eq!(halo, styled(rules, &[".page"], "fill"));
    }
}
