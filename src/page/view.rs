//! What a page says: numbers and answers in, words out. Pure; what becomes HTML of it is another's business.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    cells::{Cells, part, path},
    clip::clip,
    curves::{self, Times},
    flow::{self, grouped, percent},
    history::{PageHistory, Point},
};
use crate::{
    moment::spoken,
    status::{Fleet, Status},
    verdict::{Code, Facts, TABLE, figure, judge, time},
};

/// The most that is listed of those that differ, of those that are silent, and of what is counted.
const LISTED: usize = 6;
/// The most that is shown of a name, in bytes.
const NAME: usize = 64;
/// The most that is shown of a sentence, in bytes.
const SENTENCE: usize = 900;
/// The most pieces of a sentence that are to be typed; one with more has none.
const TYPED: usize = 10;

/// Whom a page is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus<'a> {
    /// All that are asked.
    All,
    /// The sidecar at an address.
    Pod(&'a str),
}

/// What a page is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    /// What those that are asked are called.
    pub(super) name: &'a str,
    /// What they are asked by, as arguments of a command.
    pub(super) asked: &'a str,
    /// What they said; none if they were not asked yet.
    pub(super) fleet: Option<&'a Fleet>,
    pub(super) history: &'a PageHistory,
    /// Now, in the time of the history.
    pub(super) now: f64,
}

/// What a page says.
#[derive(Debug, Serialize)]
pub(super) struct View {
    /// What stands on the tab.
    pub(super) title: String,
    /// `good`, `wait` or `bad`.
    pub(super) severity: &'static str,
    /// The names of the code, the sentence and the action are those of `/status`.
    pub(super) code: String,
    pub(super) says: String,
    #[serde(rename = "do")]
    pub(super) do_: Vec<Span>,
    pub(super) beside: Vec<BesideVerdict>,
    /// Of a single sidecar: whose page it is.
    pub(super) pod: Option<SinglePod>,
    pub(super) name: String,
    pub(super) answered: usize,
    pub(super) asked: usize,
    /// The pictures, as SVG.
    pub(super) flow: String,
    pub(super) fresh: String,
    pub(super) renders: String,
    pub(super) tiles: Vec<Tile>,
    /// The grid, of several sidecars.
    pub(super) cells: Option<Cells>,
    pub(super) differing: Vec<Differing>,
    pub(super) more_differ: usize,
    pub(super) silent: Vec<Silent>,
    pub(super) more_silent: usize,
    pub(super) counts: Vec<CommonValues>,
    /// The command that says the same.
    pub(super) command: String,
}

/// A piece of a sentence, and whether it is to be typed as it stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Span {
    pub(super) is_code: bool,
    pub(super) text: String,
}

/// What is the case beside the verdict.
#[derive(Debug, Serialize)]
pub(super) struct BesideVerdict {
    pub(super) code: String,
    pub(super) says: Vec<Span>,
}

/// A figure with its name.
#[derive(Debug, Serialize)]
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) figure: String,
    pub(super) note: String,
}

/// Who the single sidecar of a page is.
#[derive(Debug, Serialize)]
pub(super) struct SinglePod {
    pub(super) address: String,
    pub(super) name: String,
    pub(super) is_of_fleet: bool,
}

/// A sidecar that differs from most.
#[derive(Debug, Serialize)]
pub(super) struct Differing {
    pub(super) href: String,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) part: String,
    pub(super) codes: String,
    pub(super) how: String,
}

/// A sidecar that did not answer.
#[derive(Debug, Serialize)]
pub(super) struct Silent {
    pub(super) address: String,
    pub(super) why: String,
}

/// What sidecars have in common, by count.
#[derive(Debug, Serialize)]
pub(super) struct CommonValues {
    pub(super) name: &'static str,
    pub(super) values: Vec<(String, usize)>,
    pub(super) more: usize,
}

/// What the verdict of a page is about.
struct Subject<'a> {
    code: String,
    says: String,
    do_: String,
    beside: Vec<BesideVerdict>,
    facts: Facts,
    raised: Option<u64>,
    points: Vec<Point>,
    status: Option<(&'a str, &'a Status)>,
}

impl View {
    /// What is to be said of those in focus.
    pub(super) fn of(scene: &Scene<'_>, focus: Focus<'_>) -> Self {
        let none = Fleet::default();
        let fleet = scene.fleet.unwrap_or(&none);
        let subject = Subject::of(scene, fleet, focus);
        let facts = &subject.facts;
        let times = Times {
            now: scene.now,
            raised: subject.raised.map(|seconds| seconds as f64),
            done_in: facts.done_in_seconds.filter(|_| facts.left() > 0),
        };
        let is_grid = focus == Focus::All && fleet.asked() > 1;
        let usual = fleet.usual();
        let (differing, more_differ) = match is_grid {
            true => differing(fleet),
            false => (Vec::new(), 0),
        };
        let silent: Vec<_> = match focus {
            Focus::All => fleet.silent().iter().map(Silent::of).collect(),
            Focus::Pod(_) => Vec::new(),
        };
        let address = match focus {
            Focus::Pod(address) => Some(address),
            Focus::All => subject.status.map(|(address, _)| address),
        };
        let pod = address.map(|address| SinglePod {
            address: clip(address, NAME),
            name: subject
                .status
                .map_or_else(String::new, |(_, it)| clip(&it.name, NAME)),
            is_of_fleet: fleet.asked() > 1,
        });
        Self {
            title: format!(
                "{} · {}",
                subject.code,
                pod.as_ref().map_or(scene.name, SinglePod::shown)
            ),
            severity: severity(&subject.code),
            do_: spans(&subject.do_),
            pod,
            name: scene.name.to_owned(),
            answered: fleet.answered().len(),
            asked: fleet.asked(),
            flow: flow::draw(facts),
            fresh: curves::fresh(&subject.points, times),
            renders: curves::renders(&subject.points, times, facts.rate),
            tiles: tiles(&subject),
            cells: is_grid.then(|| Cells::of(fleet, &usual)),
            more_silent: silent.len().saturating_sub(LISTED),
            silent: silent.into_iter().take(LISTED).collect(),
            differing,
            more_differ,
            counts: counts(fleet, focus),
            command: format!("evenkeel status {}", address.unwrap_or(scene.asked)),
            code: subject.code,
            says: subject.says,
            beside: subject.beside,
        }
    }
}

impl<'a> Subject<'a> {
    fn of(scene: &Scene<'_>, fleet: &'a Fleet, focus: Focus<'_>) -> Self {
        let pod = match focus {
            Focus::Pod(address) => fleet.answered().iter().find(|(it, _)| it == address),
            Focus::All => fleet.answered().first().filter(|_| fleet.asked() == 1),
        };
        if let Some((address, status)) = pod {
            return Self::of_one(scene, address, status);
        }
        if scene.fleet.is_none() {
            return Self::silent(
                "ASKING",
                "No answer yet.",
                "Wait: this page shows the first answer that comes.",
            );
        }
        match focus {
            Focus::Pod(address) => {
                let silence = fleet.silent().iter().find(|(it, _)| it == address);
                match silence {
                    Some((_, why)) => {
                        let says = format!("This sidecar does not answer: {why}.");
                        Self::silent(
                            "SILENT",
                            &says,
                            "Check that the pod runs, and that its port of telemetry can be reached from here.",
                        )
                    }
                    None => Self::silent(
                        "GONE",
                        "This sidecar is no longer among those that are asked.",
                        "Go back to all of them: the pod was replaced, or its name leads elsewhere.",
                    ),
                }
            }
            Focus::All if fleet.is_silent() => Self::silent(
                "SILENT",
                "No sidecar answers.",
                "Check the address, and that the port of telemetry can be reached from here.",
            ),
            Focus::All => Self::of_all(scene, fleet),
        }
    }

    fn of_one(scene: &Scene<'_>, address: &'a str, status: &'a Status) -> Self {
        let beside = status.beside.iter().take(LISTED).map(|code| BesideVerdict {
            code: clip(code, NAME),
            says: spans(rule(code).map_or("", Code::advice)),
        });
        Self {
            code: clip(&status.code, NAME),
            says: clip(&status.says, SENTENCE),
            do_: clip(&status.do_, SENTENCE),
            beside: beside.collect(),
            facts: status.facts.clone(),
            raised: status.raised,
            points: scene.history.of_sidecar(address),
            status: Some((address, status)),
        }
    }

    fn of_all(scene: &Scene<'_>, fleet: &'a Fleet) -> Self {
        let facts = fleet.facts();
        let verdict = judge(&facts);
        let beside = verdict.beside.iter().map(|code| {
            let of = format!(
                "In {} of {}. {}",
                facts.settings_bad,
                facts.sidecars,
                code.advice()
            );
            BesideVerdict {
                code: code.to_string(),
                says: spans(&of),
            }
        });
        let raised = fleet
            .answered()
            .iter()
            .filter_map(|(_, status)| status.raised);
        Self {
            code: verdict.code.to_string(),
            says: verdict.says,
            do_: verdict.do_,
            beside: beside.collect(),
            raised: raised.min(),
            points: scene.history.of_fleet(),
            status: None,
            facts,
        }
    }

    /// When there is no verdict.
    fn silent(code: &str, says: &str, do_: &str) -> Self {
        Self {
            code: code.to_owned(),
            says: says.to_owned(),
            do_: do_.to_owned(),
            beside: Vec::new(),
            facts: Facts::default(),
            raised: None,
            points: Vec::new(),
            status: None,
        }
    }
}

impl SinglePod {
    fn shown(&self) -> &str {
        match self.name.is_empty() {
            true => &self.address,
            false => &self.name,
        }
    }
}

impl Silent {
    fn of((address, why): &(String, String)) -> Self {
        Self {
            address: clip(address, NAME),
            why: clip(why, 120),
        }
    }
}

/// Those that differ, the least fresh first, and how many others there are.
fn differing(fleet: &Fleet) -> (Vec<Differing>, usize) {
    let usual = fleet.usual();
    let mut all: Vec<_> = fleet
        .answered()
        .iter()
        .filter_map(|(address, status)| Some((address, status, usual.differs(status)?)))
        .collect();
    all.sort_by(|(_, one, _), (_, other, _)| part(&one.facts).total_cmp(&part(&other.facts)));
    let more = all.len().saturating_sub(LISTED);
    let listed = all.into_iter().take(LISTED);
    let listed = listed.map(|(address, status, how)| {
        let codes = [&status.code].into_iter().chain(&status.beside);
        let codes: Vec<_> = codes.map(String::as_str).collect();
        Differing {
            href: path(address),
            name: clip(&status.name, NAME),
            address: clip(address, NAME),
            part: percent(part(&status.facts)),
            codes: clip(&codes.join(", "), NAME),
            how: clip(&how.join("; "), 200),
        }
    });
    (listed.collect(), more)
}

/// The figures below the pictures.
fn tiles(subject: &Subject<'_>) -> Vec<Tile> {
    let facts = &subject.facts;
    if facts.sidecars == 0 {
        return Vec::new();
    }
    let held = facts.fresh.saturating_add(facts.outdated);
    let count = |count: u32| grouped(f64::from(count));
    let mut tiles = vec![
        Tile {
            name: "fresh",
            figure: percent(part(facts)),
            note: format!("{} of {} held", count(facts.fresh), count(held)),
        },
        Tile {
            name: "done in",
            figure: match (facts.left(), facts.done_in_seconds) {
                (0, _) => "done".to_owned(),
                (_, Some(seconds)) => time(seconds),
                (_, None) => "unknown".to_owned(),
            },
            note: match subject.raised {
                Some(seconds) => format!("raised {} ago", spoken(Duration::from_secs(seconds))),
                None => "no release yet".to_owned(),
            },
        },
        Tile {
            name: "renders",
            figure: format!("{}/s", figure(facts.renders_per_second)),
            note: format!(
                "of {}/s, {} in force",
                figure(facts.rate),
                figure(facts.rate_in_force)
            ),
        },
        Tile {
            name: "a render takes",
            figure: match facts.median_seconds {
                0.0 => "–".to_owned(),
                seconds => time(seconds),
            },
            note: format!("oldest {}", time(facts.oldest_seconds)),
        },
        Tile {
            name: "failing",
            figure: count(facts.failing),
            note: "projects".to_owned(),
        },
        Tile {
            name: "missing",
            figure: count(facts.wanted_missing),
            note: "wanted, nothing held".to_owned(),
        },
    ];
    if let Some((_, status)) = subject.status {
        tiles.push(Tile {
            name: "up",
            figure: spoken(Duration::from_secs(status.up)),
            note: if status.ready { "ready" } else { "not ready" }.to_owned(),
        });
    }
    tiles
}

/// What they have in common, by count.
fn counts(fleet: &Fleet, focus: Focus<'_>) -> Vec<CommonValues> {
    let only = |address: &str| match focus {
        Focus::All => true,
        Focus::Pod(pod) => pod == address,
    };
    let by = |name, what: fn(&Status) -> String| {
        let mut counts = BTreeMap::<_, usize>::new();
        for (_, status) in fleet.answered().iter().filter(|(address, _)| only(address)) {
            *counts.entry(clip(&what(status), NAME)).or_default() += 1;
        }
        let mut values: Vec<_> = counts.into_iter().collect();
        values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let more = values.len().saturating_sub(LISTED);
        values.truncate(LISTED);
        CommonValues { name, values, more }
    };
    let all = [
        by("rollout", |status| status.target.to_string()),
        by("settings", |status| status.settings.clone()),
        by("version", |status| status.version.clone()),
    ];
    all.into_iter()
        .filter(|counts| !counts.values.is_empty())
        .collect()
}

/// A sentence in pieces: what stands between backticks is to be typed.
fn spans(sentence: &str) -> Vec<Span> {
    let pieces: Vec<_> = sentence.split('`').collect();
    if pieces.len().is_multiple_of(2) || pieces.len() > 2 * TYPED + 1 {
        // A backtick that is not closed is one.
        return vec![Span {
            is_code: false,
            text: sentence.to_owned(),
        }];
    }
    let pieces = pieces
        .into_iter()
        .enumerate()
        .filter(|(_, text)| !text.is_empty());
    pieces
        .map(|(index, text)| Span {
            is_code: !index.is_multiple_of(2),
            text: text.to_owned(),
        })
        .collect()
}

fn rule(code: &str) -> Option<Code> {
    let mut codes = TABLE.iter().map(|rule| rule.code);
    codes.find(|known| known.as_str() == code)
}

/// How bad it is. A code that is not known is one to look at.
fn severity(code: &str) -> &'static str {
    let Some(code) = rule(code) else {
        return match code {
            "SILENT" => "bad",
            _ => "wait",
        };
    };
    match code {
        Code::Recovering | Code::Converging | Code::Fresh => "good",
        Code::UnknownNames
        | Code::SomeFail
        | Code::CacheTooSmall
        | Code::Slow
        | Code::Concurrency
        | Code::Budget => "wait",
        Code::SettingsBad
        | Code::Stopped
        | Code::Unreachable
        | Code::Overloaded
        | Code::Failing
        | Code::Hanging
        | Code::Behind
        | Code::Rejected => "bad",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_typed_stands_between_backticks() {
        let span = |is_code, text: &str| Span {
            is_code,
            text: text.to_owned(),
        };
        assert_eq!(
            spans("Raise `admission.rate`, or not."),
            [
                span(false, "Raise "),
                span(true, "admission.rate"),
                span(false, ", or not.")
            ]
        );
        assert_eq!(spans("a ` b"), [span(false, "a ` b")]);
        assert_eq!(spans(""), []);
    }

    #[test]
    fn a_code_of_a_later_version_is_one_to_look_at() {
        assert_eq!(
            ["FRESH", "BUDGET", "FAILING", "APART"].map(severity),
            ["good", "wait", "bad", "wait"]
        );
    }
}
