//! What the sidecars of a fleet say together, and which of them differ.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Display,
};

use serde::Serialize;

use super::{
    Status,
    screen::{fresh, said, screen, stopped},
};
use crate::verdict::{Facts, Verdict, figure, judge};

/// How many sidecars are listed that differ from the others, or are silent.
const LISTED: usize = 5;

/// Those that were asked, by address, and what they answered.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    answered: Vec<(String, Status)>,
    silent: Vec<(String, String)>,
}

/// What most sidecars of a fleet say. A sidecar that says something else differs.
#[derive(Clone, Debug)]
pub struct Usual {
    target: String,
    settings: String,
    version: String,
    code: String,
}

/// A fleet as JSON.
#[derive(Debug, Serialize)]
struct FleetJson<'a> {
    schema: &'static str,
    asked: usize,
    code: String,
    says: String,
    #[serde(rename = "do")]
    do_: String,
    beside: Vec<String>,
    facts: &'a Facts,
    targets: BTreeMap<String, usize>,
    versions: BTreeMap<String, usize>,
    settings: BTreeMap<String, usize>,
    silent: Vec<SilentSidecar<'a>>,
    sidecars: Vec<SidecarAnswer<'a>>,
}

#[derive(Debug, Serialize)]
struct SilentSidecar<'a> {
    address: &'a str,
    why: &'a str,
}

#[derive(Debug, Serialize)]
struct SidecarAnswer<'a> {
    address: &'a str,
    status: &'a Status,
}

impl Fleet {
    /// Takes what each said. A sidecar that answers at several addresses counts once.
    pub fn new(asked: impl IntoIterator<Item = (String, Result<Status, String>)>) -> Self {
        let mut fleet = Self::default();
        let mut instances = HashSet::new();
        for (member, said) in asked {
            match said {
                Ok(status) => {
                    if status.instance.is_empty() || instances.insert(status.instance.clone()) {
                        fleet.answered.push((member, status));
                    }
                }
                Err(why) => fleet.silent.push((member, why)),
            }
        }
        fleet
    }

    /// Whether none answered.
    pub fn is_silent(&self) -> bool {
        self.answered.is_empty()
    }

    /// Whether all answered, and a release has come to its end in each.
    pub fn has_released(&self, rollout: u64) -> bool {
        let mut all = self.answered.iter();
        self.silent.is_empty()
            && !self.answered.is_empty()
            && all.all(|(_, status)| status.has_released(rollout))
    }

    /// Those that answered, and what.
    pub fn answered(&self) -> &[(String, Status)] {
        &self.answered
    }

    /// Those that did not, and why.
    pub fn silent(&self) -> &[(String, String)] {
        &self.silent
    }

    /// How many were asked.
    pub fn asked(&self) -> usize {
        self.answered.len() + self.silent.len()
    }

    /// What those that answered said.
    pub fn statuses(&self) -> impl Iterator<Item = &Status> {
        self.answered.iter().map(|(_, status)| status)
    }

    /// The facts of all that answered, together.
    pub fn facts(&self) -> Facts {
        Facts::sum(self.answered.iter().map(|(_, status)| &status.facts))
    }

    /// Writes it as JSON; that of a single sidecar is what it answered.
    pub fn json(&self) -> String {
        if let (1, [(_, status)]) = (self.asked(), &*self.answered) {
            return status.json();
        }
        let facts = self.facts();
        let verdict = judge(&facts);
        let json = FleetJson {
            schema: "evenkeel.fleet/1",
            asked: self.asked(),
            code: verdict.code.to_string(),
            says: verdict.says,
            do_: verdict.do_,
            beside: verdict.beside.iter().map(ToString::to_string).collect(),
            facts: &facts,
            targets: self.by(|status| status.target),
            versions: self.by(|status| &status.version),
            settings: self.by(|status| &status.settings),
            silent: self
                .silent
                .iter()
                .map(|(member, why)| SilentSidecar {
                    address: member,
                    why,
                })
                .collect(),
            sidecars: self
                .answered
                .iter()
                .map(|(member, status)| SidecarAnswer {
                    address: member,
                    status,
                })
                .collect(),
        };
        serde_json::to_string(&json).expect("BUG: its names are strings")
    }

    /// What most sidecars say. The verdict on all of them may follow from one, which then differs.
    pub fn usual(&self) -> Usual {
        Usual {
            target: most(self.by(|status| status.target)),
            settings: most(self.by(|status| &status.settings)),
            version: most(self.by(|status| &status.version)),
            code: most(self.by(|status| &status.code)),
        }
    }

    /// How many sidecars say the same.
    pub fn by<'a, T: Display + 'a>(
        &'a self,
        what: impl Fn(&'a Status) -> T,
    ) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, status) in &self.answered {
            *counts.entry(what(status).to_string()).or_default() += 1;
        }
        counts
    }

    /// The screen: of one sidecar its own, of more their sum and who differs.
    pub fn screen(&self) -> String {
        if let (1, [(_, status)]) = (self.asked(), &*self.answered) {
            return screen(status);
        }
        let mut lines = vec![self.answers()];
        lines.extend(self.unanswered());
        if self.answered.is_empty() {
            return lines.join("\n") + "\n";
        }
        let facts = self.facts();
        let Verdict {
            code,
            says,
            do_,
            beside,
        } = judge(&facts);
        lines.push(said(code.as_str(), &says));
        lines.push(said("do", &do_));
        lines.extend(beside.iter().map(|code| {
            let bad = facts.settings_bad;
            let advice = format!("In {bad} of {}. {}", facts.sidecars, code.advice());
            said(code.as_str(), &advice)
        }));
        lines.push(String::new());
        lines.push(fresh(&facts, "in all"));
        lines.push(stopped(&facts));
        lines.push(self.rate(&facts));
        lines.push(format!(
            "target   {}",
            counted(self.by(|status| status.target), "rollout ")
        ));
        lines.push(format!(
            "settings {}",
            counted(self.by(|status| &status.settings), "")
        ));
        lines.push(format!(
            "version  {}",
            counted(self.by(|status| &status.version), "")
        ));
        lines.extend(self.worst());
        lines.join("\n") + "\n"
    }

    fn answers(&self) -> String {
        format!(
            "{} of {} sidecars answered",
            self.answered.len(),
            self.asked()
        )
    }

    fn unanswered(&self) -> impl Iterator<Item = String> {
        let rest = self.silent.len().saturating_sub(LISTED);
        let listed = self.silent.iter().take(LISTED);
        let listed = listed.map(|(member, why)| format!("silent   {member}: {why}"));
        listed.chain((rest > 0).then(|| format!("         and {rest} more")))
    }

    fn rate(&self, facts: &Facts) -> String {
        let sizes = self.answered.iter().filter_map(|(_, one)| one.fleet_size);
        let answered = self.answered.len();
        let size = sizes.max().map_or_else(String::new, |size| {
            format!("; fleet_size says {size}, {answered} answered")
        });
        format!(
            "rate     {}/s rendered, {}/s in force of {}/s{size}",
            figure(facts.renders_per_second),
            figure(facts.rate_in_force),
            figure(facts.rate)
        )
    }

    /// Those whose target, settings, version or verdict differ from those of most, the least fresh
    /// first.
    fn worst(&self) -> Vec<String> {
        let usual = self.usual();
        let mut worst: Vec<_> = self
            .answered
            .iter()
            .filter_map(|(member, status)| Some((member, status, usual.differs(status)?)))
            .collect();
        worst.sort_by_key(|(_, status, _)| {
            let held = status.facts.fresh.saturating_add(status.facts.outdated);
            (
                u64::from(status.facts.fresh) * 1000 / u64::from(held.max(1)),
                status.name.clone(),
            )
        });
        let rest = worst.len().saturating_sub(LISTED);
        let mut lines: Vec<_> = worst
            .into_iter()
            .take(LISTED)
            .map(|(member, status, how)| {
                let facts = &status.facts;
                let held = facts.fresh.saturating_add(facts.outdated);
                let codes: Vec<_> = [&status.code].into_iter().chain(&status.beside).collect();
                let codes: Vec<_> = codes.into_iter().map(String::as_str).collect();
                format!(
                    "differs  {} ({member})  {} of {held} fresh  {}  {}",
                    status.name,
                    facts.fresh,
                    codes.join(", "),
                    how.join("; ")
                )
            })
            .collect();
        if rest > 0 {
            lines.push(format!("         and {rest} more"));
        }
        lines
    }
}

impl Usual {
    /// How a sidecar differs; none if it does not.
    pub fn differs(&self, status: &Status) -> Option<Vec<String>> {
        let mut how = Vec::new();
        if status.target.to_string() != self.target {
            how.push(format!("rollout {}", status.target));
        }
        if status.settings != self.settings {
            how.push(format!("settings {}", status.settings));
        }
        if status.version != self.version {
            how.push(format!("version {}", status.version));
        }
        let needs_nothing = ["FRESH", "CONVERGING"].contains(&status.code.as_str());
        if status.code != self.code && !needs_nothing {
            how.push(status.says.clone());
        }
        (!how.is_empty() || !status.beside.is_empty()).then_some(how)
    }
}

/// Values with how many have them, the most frequent first.
fn counted(counts: BTreeMap<String, usize>, what: &str) -> String {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let rest = counts.len().saturating_sub(LISTED);
    let mut shown: Vec<_> = counts
        .into_iter()
        .take(LISTED)
        .map(|(value, count)| format!("{what}{value} ({count})"))
        .collect();
    if rest > 0 {
        shown.push(format!("and {rest} others"));
    }
    shown.join(", ")
}

/// The value that most have.
fn most(counts: BTreeMap<String, usize>) -> String {
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(value, _)| value).unwrap_or_default()
}
