use clap::Parser;

use super::*;
use crate::{
    cli::plan::{count, number, time},
    status::Status,
    verdict::Facts,
};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: PlanArgs,
}

fn planned(flags: &str, known: &Known) -> Result<[Case; 2], String> {
    let words = ["plan"].into_iter().chain(flags.split_whitespace());
    let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
    cases(&line.args, known).map_err(|unfit| unfit.to_string())
}

/// Three sidecars of ten, each with 5 renders/s and 60 projects.
fn fleet(fleet_size: Option<u32>, sidecars: u32) -> Known {
    let status = |name: u32| {
        let beside = Status {
            instance: name.to_string(),
            burst: 7,
            fleet_size,
            ..Status::default()
        };
        let facts = Facts {
            sidecars: 1,
            rate: 5.0,
            concurrency: 3,
            fresh: 50,
            outdated: 10,
            lookups: 120,
            window_seconds: 60.0,
            median_seconds: 0.2,
            usual_seconds: 0.1,
            renders_per_second: 2.0,
            ..Facts::default()
        };
        Status::of(beside, facts)
    };
    let answers = (0..sidecars).map(|name| (name.to_string(), Ok(status(name))));
    Known::of(&Fleet::new(answers))
}

const FLAGS: &str = "--pods 10 --projects 60 --render-time 200ms";

#[test]
fn flags_alone_hold_for_both_sides_and_a_colon_is_a_change() {
    let [before, after] = planned(FLAGS, &Known::Nothing).unwrap();
    assert_eq!(before, after);
    assert_eq!(
        (before.rate, before.burst, before.concurrency),
        (RATE, BURST, CONCURRENCY)
    );
    let changed = format!("{FLAGS} --rate 5:8 --outage 0s:2m --renderers 4 --burst 1:2");
    let [before, after] = planned(&changed, &Known::Nothing).unwrap();
    assert_eq!((before.rate, after.rate), (5.0, 8.0));
    assert_eq!((before.burst, after.burst), (1, 2));
    assert_eq!((before.renderers, after.renderers), (Some(4.0), Some(4.0)));
    assert_eq!(before.outage, Duration::ZERO);
    assert_eq!(after.outage, Duration::from_secs(120));
}

#[test]
fn a_flag_changes_what_sidecars_say_of_themselves() {
    let known = fleet(None, 3);
    let [before, after] = planned("--rate 8 --concurrency 6 --outage 2m", &known).unwrap();
    assert_eq!((before.pods, before.projects, before.burst), (3, 60, 7));
    assert_eq!((before.rate, after.rate), (5.0, 8.0));
    assert_eq!((before.concurrency, after.concurrency), (3, 6));
    assert_eq!(
        (before.outage, after.outage),
        (Duration::ZERO, Duration::from_secs(120))
    );
    assert_eq!(before.render_time, Duration::from_millis(200));
    assert_eq!((before.lookups, after.lookups), (2.0, 2.0));
    let seen = known.seen().unwrap();
    assert!(seen.is_slow && seen.answered == 3, "{seen:?}");
    assert!((seen.busy - 1.2).abs() < 1e-9, "{seen:?}");
}

#[test]
fn the_rate_of_a_fleet_is_divided_by_its_pods() {
    let known = fleet(None, 10);
    let [before, after] = planned("--fleet-rate 100", &known).unwrap();
    assert_eq!((before.rate, after.rate), (5.0, 10.0));
    // Without a fleet's rate in the settings each pod has its own.
    let [before, after] = planned("--pods 20", &known).unwrap();
    assert_eq!((before.pods, after.pods, after.rate), (10, 20, 5.0));
    assert_eq!(known.note(&[before, after]), None);
    // With one, a sidecar stands for all of them, and more pods share it.
    let known = fleet(Some(10), 1);
    let cases = planned("--pods 20", &known).unwrap();
    let [before, after] = cases;
    assert_eq!((before.pods, after.pods), (10, 20));
    assert_eq!((before.rate, after.rate), (5.0, 2.5));
    let note = known.note(&cases).unwrap();
    assert!(note.contains("`fleet_size`: set it to 20"), "{note}");
}

#[test]
fn what_is_missing_or_does_not_fit_is_refused_by_name() {
    for (flags, says) in [
        ("", "--pods is missing: neither flags nor a sidecar say it"),
        (
            "--pods 3 --projects 5",
            "--render-time is missing: neither flags nor a sidecar say it",
        ),
        (
            "--pods 10 --projects 60 --render-time 200ms --rate 0",
            "--rate 0: expected more than 0 before and after",
        ),
        (
            "--pods 10 --projects 60 --render-time 200ms --fleet-rate 20:-1",
            "--fleet-rate -1: expected more than 0",
        ),
        (
            "--pods 0 --projects 60 --render-time 200ms",
            "--pods 0: expected 1 to 1000000",
        ),
        ("--rate many", "expected a number, or BEFORE:AFTER"),
        ("--pods 1.5", "expected a whole number, or BEFORE:AFTER"),
        ("--outage 2", "expected a duration with its unit"),
        ("--rate 1 --fleet-rate 2", "cannot be used with"),
    ] {
        let refused = planned(flags, &Known::Nothing).expect_err(says);
        assert!(refused.contains(says), "{flags}: {refused}");
    }
}

#[test]
fn a_fleet_whose_renders_are_stopped_has_no_before() {
    let Known::Fleet(mut now) = fleet(None, 3) else {
        panic!("they answered")
    };
    now.rate = 0.0;
    let known = Known::Fleet(now);
    let refused = planned("--rate 5", &known).expect_err("before");
    assert!(
        refused.contains("--rate 0: expected more than 0 before and after"),
        "{refused}"
    );
    assert!(planned("--rate 3:5", &known).is_ok());
}

#[test]
fn values_are_read_with_or_without_a_side() {
    assert_eq!(number("0.2:0.4"), Ok(Sides::Both(0.2, 0.4)));
    assert_eq!(number("20"), Ok(Sides::One(20.0)));
    assert_eq!(count("3:4"), Ok(Sides::Both(3, 4)));
    assert!(count("3:").is_err() && count("1:2:3").is_err());
    let (before, after) = (Duration::from_millis(200), Duration::from_secs(1));
    assert_eq!(time("200ms:1s"), Ok(Sides::Both(before, after)));
}
