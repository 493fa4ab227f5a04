use std::time::Duration;

use super::{
    buttons::{Button, Buttons, Pressed},
    history::PageHistory,
    html::{Html, ShownView},
    view::{Focus, Scene, View},
};
use crate::{
    status::{Fleet, Status},
    verdict::{Facts, PerGate, TABLE},
};

/// What a page may take, in bytes.
const MOST: usize = 60_000;

/// Text that would be markup if it were not escaped.
const EVIL: &str = "\"><script>alert(1)</script>' onmouseover='x`<img src=x>&lt;";

/// A sidecar with a part of its projects fresh that waits for the budget.
fn status(number: usize, fresh: u32) -> Status {
    let beside = Status {
        name: format!("application-7c9f-{number}"),
        instance: format!("{number:012x}"),
        version: "0.1.0".to_owned(),
        target: 2,
        raised: Some(41),
        settings: "758cf38ded23".to_owned(),
        ..Status::default()
    };
    let facts = Facts {
        sidecars: 1,
        rate: 2.0,
        rate_in_force: 2.0,
        concurrency: 4,
        fresh,
        outdated: 100 - fresh,
        wanted_outdated: 100 - fresh,
        done_in_seconds: Some(50.0),
        window_seconds: 10.0,
        lookups: 39_120,
        lookups_outdated: 9_780,
        median_seconds: 0.2,
        renders_per_second: 1.9,
        in_flight: 1,
        bound: PerGate {
            tokens: 0.93,
            ..PerGate::default()
        },
        ..Facts::default()
    };
    Status::of(beside, facts)
}

fn address(number: usize) -> String {
    format!(
        "10.{}.{}.{}:7402",
        number >> 16,
        number >> 8 & 255,
        number & 255
    )
}

fn fleet(statuses: impl IntoIterator<Item = Status>) -> Fleet {
    let statuses = statuses.into_iter().enumerate();
    Fleet::new(statuses.map(|(number, status)| (address(number), Ok(status))))
}

fn page_of(fleet: &Fleet, focus: Focus<'_>) -> String {
    let mut history = PageHistory::default();
    // What one of them did in half an hour is as long as what all did.
    let one = Fleet::new(
        fleet
            .answered()
            .iter()
            .take(1)
            .map(|(address, status)| (address.clone(), Ok(status.clone()))),
    );
    for second in 0..900 {
        history.saw(Duration::from_secs(2 * second), &one);
    }
    let scene = Scene {
        name: "evenkeel.shop.svc",
        asked: "evenkeel.shop.svc",
        fleet: Some(fleet),
        history: &history,
        now: 1_800.0,
    };
    page(View::of(&scene, focus), None)
}

fn page(view: View, buttons: Option<Pressed>) -> String {
    let html = Html::new();
    html.page(&html.sections(&ShownView { view, buttons }))
}

/// The text of the first element that a tag begins.
fn text<'a>(html: &'a str, tag: &str) -> &'a str {
    let (_, rest) = html.split_once(tag).expect("the tag");
    let (_, rest) = rest.split_once('>').expect("its end");
    rest.split_once('<').expect("another tag").0
}

#[test]
fn the_sentence_is_that_of_status_and_the_action_stands_below() {
    let one = status(0, 40);
    for html in [
        page_of(&fleet([one.clone()]), Focus::All),
        page_of(
            &fleet([one.clone(), status(1, 90)]),
            Focus::Pod(&address(0)),
        ),
    ] {
        assert_eq!(text(&html, "<h1"), one.says);
        assert_eq!(text(&html, "class=\"code\""), "BUDGET");
        assert!(html.contains("Done in about 50s at 2&#x2f;s."), "{html}");
        assert!(html.contains("<code>admission.rate</code>"), "{html}");
    }
}

#[test]
fn the_gate_that_binds_is_the_one_that_is_filled() {
    let html = page_of(&fleet([status(0, 40)]), Focus::All);
    assert_eq!(
        html.matches("\"gate binds\"").count(),
        4,
        "two jaws, wide and tall"
    );
    assert!(
        html.contains("name binds\" text-anchor=\"middle\" x=\"980.0\" y=\"38.0\">tokens<"),
        "{html}"
    );
    assert!(html.contains("class=\"mark\""), "the raise is marked");
    assert!(html.contains("class=\"goal\""), "the end is projected");
}

#[test]
fn a_cell_a_sidecar_shaded_with_an_edge_if_it_differs_and_hollow_if_silent() {
    let mut statuses: Vec<_> = (0..40).map(|number| status(number, 40)).collect();
    statuses[7].target = 3;
    let answered = statuses.into_iter().enumerate();
    let answered = answered.map(|(number, status)| (address(number), Ok(status)));
    let silent = (address(99), Err("no answer within 1s".to_owned()));
    let fleet = Fleet::new(answered.chain([silent]));
    let html = page_of(&fleet, Focus::All);
    assert_eq!(html.matches("class=\"s4\" href=").count(), 39);
    assert_eq!(
        html.matches("class=\"s4 differs\" href=\"&#x2f;pod&#x2f;10.0.0.7:7402\"")
            .count(),
        1
    );
    assert_eq!(
        html.matches("class=\"silent\" href=\"&#x2f;pod&#x2f;10.0.0.99:7402\"")
            .count(),
        1
    );
    assert!(
        html.contains("application-7c9f-7 (10.0.0.7:7402): 40 % fresh, BUDGET"),
        "{html}"
    );
    assert!(
        html.contains("rollout 3") && html.contains("no answer within 1s"),
        "{html}"
    );
    assert!(html.contains("40 of 41 sidecars answered"), "{html}");
}

#[test]
fn markup_in_an_answer_is_escaped() {
    let mut evil = status(1, 40);
    for field in [
        &mut evil.name,
        &mut evil.code,
        &mut evil.says,
        &mut evil.do_,
        &mut evil.version,
        &mut evil.settings,
    ] {
        EVIL.clone_into(field);
    }
    evil.beside = vec![EVIL.to_owned()];
    let silent = (format!("{EVIL}:7402"), Err(EVIL.to_owned()));
    let answered = [(address(0), Ok(status(0, 40))), (address(1), Ok(evil))];
    let fleet = Fleet::new(answered.into_iter().chain([silent]));
    let evil_one = format!("{EVIL}:7402");
    for focus in [
        Focus::All,
        Focus::Pod("10.0.0.1:7402"),
        Focus::Pod(&evil_one),
    ] {
        let html = page_of(&fleet, focus);
        assert_eq!(
            html.matches("<script").count(),
            1,
            "that of the page: {html}"
        );
        assert!(
            !html.contains("<img") && !html.contains("' onmouseover"),
            "{html}"
        );
        assert!(!html.contains("javascript:"), "{html}");
    }
}

/// A page of a large fleet once took a megabyte elsewhere.
#[test]
fn a_page_stays_small_whatever_the_fleet_and_whatever_it_says() {
    let evil = |number: usize| {
        let mut status = status(number, (number % 101) as u32);
        let long = "<".repeat(64);
        for field in [
            &mut status.name,
            &mut status.code,
            &mut status.settings,
            &mut status.version,
        ] {
            field.clone_from(&long);
        }
        status.settings = format!("{number}{long}");
        status.says = "\"".repeat(600);
        status.do_ = "`a".repeat(300);
        status.beside = vec![long; 500];
        status
    };
    for of in [0, 1, 2, 24, 25, 150, 151, 1_000, 1_001, 10_000] {
        let usual = fleet((0..of).map(|number| status(number, (number % 101) as u32)));
        let worst = fleet((0..of).map(evil));
        let silent = Fleet::new((0..of).map(|number| (address(number), Err("<".repeat(200)))));
        for fleet in [usual, worst, silent] {
            for focus in [Focus::All, Focus::Pod("10.0.0.0:7402")] {
                let html = page_of(&fleet, focus);
                assert!(
                    html.len() <= MOST,
                    "{of} sidecars, {focus:?}: {}",
                    html.len()
                );
            }
        }
    }
}

#[test]
fn a_thousand_sidecars_have_a_cell_each_and_those_that_stand_out_are_links() {
    let fleet = fleet((0..1_000).map(|number| Status {
        target: if number == 700 { 3 } else { 2 },
        ..status(number, 40)
    }));
    let html = page_of(&fleet, Focus::All);
    assert_eq!(html.matches("<i class=\"s4\"></i>").count(), 999);
    assert!(
        html.contains("href=\"&#x2f;pod&#x2f;10.0.2.188:7402\" title="),
        "{html}"
    );
}

#[test]
fn a_fleet_of_which_nothing_is_known_says_so() {
    let history = PageHistory::default();
    let of = |fleet: Option<&Fleet>| {
        let scene = Scene {
            name: "shop",
            asked: "shop",
            fleet,
            history: &history,
            now: 1.0,
        };
        page(View::of(&scene, Focus::All), None)
    };
    assert_eq!(text(&of(None), "<h1"), "No answer yet.");
    assert_eq!(
        text(&of(Some(&Fleet::default())), "<h1"),
        "No sidecar answers."
    );
    let silent = Fleet::new([(address(0), Err("no answer within 1s".to_owned()))]);
    let html = page_of(&silent, Focus::Pod(&address(0)));
    assert_eq!(
        text(&html, "<h1"),
        "This sidecar does not answer: no answer within 1s."
    );
    let html = page_of(&silent, Focus::Pod(&address(1)));
    assert_eq!(
        text(&html, "<h1"),
        "This sidecar is no longer among those that are asked."
    );
}

#[test]
fn every_verdict_has_its_page() {
    for rule in TABLE {
        let status = Status {
            code: rule.code.to_string(),
            says: rule.when.to_owned(),
            do_: rule.advice.to_owned(),
            ..status(0, 40)
        };
        let html = page_of(&fleet([status]), Focus::All);
        assert_eq!(text(&html, "class=\"code\""), rule.code.as_str());
    }
}

#[derive(Debug)]
struct FakeButtons;

impl Buttons for FakeButtons {
    fn heading(&self) -> &'static str {
        "Break it"
    }

    fn says(&self) -> String {
        "nothing is wrong".to_owned()
    }

    fn buttons(&self) -> Vec<Button> {
        let button = |name, is_pressed| Button {
            name,
            label: name,
            says: "breaks it",
            is_pressed,
        };
        vec![button("slow", false), button("dead", true)]
    }

    fn press(
        &self,
        _: &'static str,
    ) -> futures_util::future::BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn a_button_says_whether_it_is_pressed() {
    let history = PageHistory::default();
    let scene = Scene {
        name: "shop",
        asked: "shop",
        fleet: None,
        history: &history,
        now: 1.0,
    };
    let html = page(
        View::of(&scene, Focus::All),
        Some(Pressed::now(&FakeButtons)),
    );
    assert!(
        html.contains("value=\"dead\" aria-pressed=\"true\""),
        "{html}"
    );
    assert!(html.contains("value=\"slow\" title="), "{html}");
    assert!(html.contains("nothing is wrong"), "{html}");
}
