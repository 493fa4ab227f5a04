//! The demo, in small: both storms over real sockets, for two seconds each.

use std::{collections::BTreeSet, time::Duration};

use evenkeel::{
    demo::{self, LiveNumbers, Release, StormTerms},
    renderer::{Cost, Fault},
};
use tokio::sync::watch;

fn short() -> StormTerms {
    let millis = Duration::from_millis;
    StormTerms {
        projects: 20.try_into().expect("it is not zero"),
        callers: 8.try_into().expect("it is not zero"),
        pause: millis(20),
        deadline: Duration::from_secs(5),
        patience: millis(20),
        cost: Cost::fixed(millis(50)),
        rate: 50.0,
        calm: millis(300),
        after: millis(1500),
        ..StormTerms::default()
    }
}

async fn run(terms: StormTerms) -> demo::DemoRun {
    let live = watch::Sender::new(LiveNumbers::default());
    demo::run(terms, live).await.expect("it comes to an end")
}

#[tokio::test]
async fn both_storms_are_measured_at_the_callers_and_at_the_renderer() {
    let demo = run(short()).await;
    let report = &demo.report;
    for measured in [&report.incident, &report.evenkeel] {
        assert!(measured.answered() > 20, "{measured:?}");
        assert_eq!(measured.not_fresh, 0, "{measured:?}");
    }
    let evenkeel = &report.evenkeel;
    assert_eq!(
        (evenkeel.asked, evenkeel.done),
        (20, 20),
        "each project is rendered once"
    );
    assert!(!evenkeel.outdated.is_empty(), "{evenkeel:?}");
    assert!(
        report.incident.outdated.is_empty(),
        "what is outdated is forgotten"
    );

    let document = report.document();
    let keys: BTreeSet<_> = document
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected = [
        "evenkeel", "incident", "kept", "promises", "schema", "terms",
    ];
    assert_eq!(keys, expected.into());
    assert_eq!(document["schema"], "evenkeel.demo.v1");
    assert_eq!(document["kept"], report.is_good());
    assert!(report.svg().starts_with("<svg"));
}

#[tokio::test]
async fn a_pod_that_takes_the_place_of_another_fetches_and_recovers_from_a_fault() {
    let demo = run(StormTerms {
        release: Release::Replace,
        after: Duration::from_millis(500),
        fault: Some((Fault::Slow, Duration::from_millis(100))),
        ..short()
    })
    .await;
    let measured = &demo.report.evenkeel;
    assert_eq!(
        (measured.failed, measured.not_fresh),
        (0, 0),
        "{measured:?}"
    );
    assert!(measured.fetched >= 20, "{measured:?}");
    assert!(measured.recovered_after.is_some(), "{measured:?}");
}
