use std::{num::NonZeroU32, time::Duration};

use super::*;
use crate::{
    admission::{
        CallFailure, FetchLimits, HeldMark, Landing, Limits, Link, Pushback, PushbackScope,
    },
    record::{
        tally::Counted,
        write::{Closed, RecordFile},
    },
    revision::Order,
};

const HEAD: &str = r#"{"schema":"evenkeel.record/1","version":"0.1.0","started":1795721113,"target":1,"limits":{"rate":5.0,"burst":10,"concurrency":4,"queue":512,"fetch_rate":50.0,"fetch_concurrency":16},"deadline":30.0,"patience":0.05,"cold_patience":2.0,"max_age":null}"#;
const PROJECT: &str = r#"{"at":0.5,"project":{"number":0,"hash":"00000000000000aa"}}"#;

fn at(milliseconds: u64) -> Moment {
    Moment::after_start(Duration::from_millis(milliseconds))
}

fn limits() -> Limits {
    let count = |count| NonZeroU32::new(count).unwrap();
    Limits {
        rate: 5.0,
        burst: count(10),
        concurrency: count(4),
        queue: count(512),
        fetch: FetchLimits {
            rate: 50.0,
            concurrency: count(16),
        },
    }
}

fn start() -> RecordStart {
    RecordStart {
        target: 1,
        limits: limits(),
        deadline: Duration::from_secs(30),
        patience: Duration::from_millis(50),
        cold_patience: Duration::from_secs(2),
        max_age: None,
    }
}

fn file(folder: &tempfile::TempDir, most: u64) -> RecordFile {
    RecordFile::create(folder.path(), most).unwrap()
}

fn read(lines: &[&str]) -> Result<Record, UnreadableRecord> {
    Record::read(&lines.join("\n"))
}

/// What is refused of a record that has this as its third line.
fn refused(line: &str) -> String {
    let unreadable = read(&[HEAD, PROJECT, line, ""]).unwrap_err();
    assert_eq!(unreadable.line, 3, "{unreadable}");
    unreadable.problem
}

const SHOP: u64 = 0xaa;
const KIOSK: u64 = 0xbb;

/// One fact of each kind.
fn facts() -> [(Moment, AdmissionFact<u64>); 12] {
    let held = HeldMark {
        order: Order::new(2, 7),
        validated_at: at(1_500),
    };
    let after = Some(Duration::from_secs(3));
    let scope = PushbackScope::Global;
    let took = Duration::from_millis(250);
    let fetched = |landing| AdmissionFact::Fetched {
        project: KIOSK,
        landing,
        took,
    };
    let rendered = |landing| AdmissionFact::Rendered {
        project: SHOP,
        asked: 2,
        landing,
        took,
    };
    let pushback = CallFailure::Exhausted(Pushback { after, scope });
    [
        (at(10), AdmissionFact::Link(Link::Dialling)),
        (at(500), fetched(FetchLanding::Nothing)),
        (at(1_000), AdmissionFact::Target(2)),
        (at(1_000), AdmissionFact::Room(NonZeroU32::new(100))),
        (at(1_500), rendered(Landing::Held(held))),
        (at(1_600), rendered(Landing::Failed(pushback))),
        (at(1_700), fetched(FetchLanding::Failed(CallFailure::Other))),
        (
            at(1_800),
            AdmissionFact::Link(Link::Down {
                retry_at: at(2_800),
            }),
        ),
        (at(1_900), AdmissionFact::Limits(limits())),
        (
            at(1_950),
            AdmissionFact::Changed {
                project: SHOP,
                number: 8,
            },
        ),
        (
            at(1_960),
            AdmissionFact::GaveUp {
                project: SHOP,
                number: 8,
            },
        ),
        (
            at(1_970),
            AdmissionFact::Confirmed {
                project: SHOP,
                held: HeldMark {
                    validated_at: at(1_970),
                    ..held
                },
            },
        ),
    ]
}

#[test]
fn what_was_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = file(&folder, 1 << 20);
    file.begin(&start(), at(0)).unwrap();
    for (at, fact) in facts() {
        assert_eq!(file.fact(fact, at).unwrap(), 0);
    }
    let counted = Counted {
        lookups: vec![(KIOSK, 3), (SHOP, 1)],
        outdated: 2,
        failed: 1,
        uncounted: 5,
    };
    assert_eq!(file.lookups(&counted, at(2_000)).unwrap(), 5);
    file.lost(5, at(2_000)).unwrap();
    file.flush().unwrap();

    let record = Record::read(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
    let number = |hash| Ok::<_, ()>(u32::from(hash == SHOP));
    let expected = facts().map(|(at, fact)| (at, fact.rename(number).unwrap()));
    assert_eq!(record.facts, expected);
    assert_eq!((record.start, record.projects), (start(), 2));
    assert_eq!((record.lost, record.end), (5, RecordEnd::Whole));
    assert_eq!(
        record.interest,
        [RecordedInterest {
            during: Moment::START..at(2_000),
            lookups: vec![(0, 3), (1, 1)],
            outdated: 2,
            failed: 1,
        }]
    );
    assert_eq!(record.ends_at(), at(2_000));
}

#[test]
fn a_record_ends_within_its_size_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = file(&folder, 4_096);
    // The clock of a process may have a past.
    let ten_years = 315_360_000_000;
    file.begin(&start(), at(ten_years)).unwrap();
    let written = (0..).find_map(|target| {
        file.fact(AdmissionFact::Target(target), at(ten_years + 1))
            .err()
    });
    assert!(matches!(written, Some(Closed::Full)));
    file.end(at(ten_years + 1)).unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert!((4_000..=4_096).contains(&text.len()), "{}", text.len());
    let record = Record::read(&text).unwrap();
    assert_eq!(record.end, RecordEnd::Full);
    assert_eq!(record.ends_at(), at(1));
    assert!(record.facts.len() > 50);
}

#[test]
fn the_last_line_may_be_cut_off_and_no_other() {
    let record = read(&[HEAD, PROJECT, r#"{"at":1.0,"tar"#]).unwrap();
    assert_eq!((record.end, record.projects), (RecordEnd::Broken, 1));
    let problem = refused(r#"{"at":1.0,"tar"#);
    assert!(problem.starts_with("not a line of a record"), "{problem}");
}

#[test]
fn a_record_of_another_version_is_refused_and_so_is_what_is_none() {
    let other = HEAD.replace("record/1", "record/2");
    let unreadable = read(&[&other, ""]).unwrap_err();
    assert_eq!(
        unreadable.to_string(),
        "1: a record of the schema `evenkeel.record/2`: this evenkeel reads `evenkeel.record/1`"
    );
    for text in ["", "a letter\n", r#"{"schema":"evenkeel.record/1"}"#] {
        let unreadable = Record::read(text).unwrap_err();
        assert_eq!(unreadable.line, 1, "{unreadable}");
    }
}

#[test]
fn values_that_cannot_have_been_are_refused() {
    for (line, said) in [
        (r#"{"at":-1.0,"target":2}"#, "-1 is no time"),
        (r#"{"at":1e30,"target":2}"#, "no time"),
        (r#"{"at":1.0,"target":-2}"#, "not a line"),
        (r#"{"at":1.0,"targets":2}"#, "not a line"),
        (r#"{"at":1.0,"room":0}"#, "not a line"),
        (
            r#"{"at":1.0,"changed":{"project":1,"number":3}}"#,
            "project 1 was not said before",
        ),
        (
            r#"{"at":1.0,"project":{"number":2,"hash":"00"}}"#,
            "not the next new one",
        ),
        (
            r#"{"at":1.0,"project":{"number":1,"hash":"00000000000000aa"}}"#,
            "not the next new one",
        ),
        (
            r#"{"at":1.0,"rendered":{"project":0,"asked":1,"took":2.0,"got":"failed"}}"#,
            "began before the record",
        ),
        (
            r#"{"at":9.0,"rendered":{"project":0,"asked":1,"took":2.0,"got":"nothing"}}"#,
            "no render brings Nothing",
        ),
        (
            r#"{"at":9.0,"fetched":{"project":0,"took":2.0,"got":"gone"}}"#,
            "no fetch brings Gone",
        ),
        (
            r#"{"at":9.0,"confirmed":{"project":0,"got":"nothing"}}"#,
            "confirms nothing",
        ),
        (
            r#"{"at":1.0,"lookups":{"of":[0],"outdated":0,"failed":0}}"#,
            "cannot be",
        ),
        (
            r#"{"at":1.0,"lookups":{"of":[0,0],"outdated":0,"failed":0}}"#,
            "cannot be",
        ),
        (
            r#"{"at":1.0,"lookups":{"of":[1,1],"outdated":0,"failed":0}}"#,
            "cannot be",
        ),
    ] {
        let problem = refused(line);
        assert!(problem.contains(said), "{line}: {problem}");
    }
    let bad = HEAD.replace("5.0", "-5.0");
    assert_eq!(
        read(&[&bad, ""]).unwrap_err().to_string(),
        "1: -5 is no rate"
    );
}
