//! What a page says: numbers and answers in, words out. Pure; `html` makes the page of it.

mod fleet;
mod spans;
mod tiles;

use serde::Serialize;

use self::{
    fleet::{CommonValues, Differing, Silent, counts, differing},
    spans::{Span, spans},
    tiles::{Tile, tiles},
};
use super::{
    cells::Cells,
    clip::clip,
    curves::{self, Times},
    flow,
    history::{PageHistory, Point},
};
use crate::{
    status::{Fleet, Status},
    verdict::{Code, Facts, TABLE, judge},
};

/// The most that is listed of those that differ, of those that are silent, and of what is counted.
const LISTED: usize = 6;
/// The most that is shown of a name, in bytes.
const NAME: usize = 64;
/// The most that is shown of a sentence, in bytes.
const SENTENCE: usize = 900;

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

/// What is the case beside the verdict.
#[derive(Debug, Serialize)]
pub(super) struct BesideVerdict {
    pub(super) code: String,
    pub(super) says: Vec<Span>,
}

/// Who the single sidecar of a page is.
#[derive(Debug, Serialize)]
pub(super) struct SinglePod {
    pub(super) address: String,
    pub(super) name: String,
    pub(super) is_of_fleet: bool,
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
        | Code::Apart
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
    fn a_code_of_a_later_version_is_one_to_look_at() {
        assert_eq!(
            ["FRESH", "BUDGET", "FAILING", "FROM_LATER"].map(severity),
            ["good", "wait", "bad", "wait"]
        );
    }
}
