//! What a drill found, step by step, and which promises were broken.
//!
//! Pure: counts in, sentences out.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;

use super::{
    PATIENCE,
    caller::{LookupAnswer, TimedAnswer},
};

/// How much longer than its patience a lookup may take: what a busy node adds.
const MARGIN: Duration = Duration::from_millis(250);

/// What one step found.
#[derive(Clone, Debug, Serialize)]
pub struct DrillStep {
    /// What was done: rendered, delayed, cut, healed, held, healed, and in the end the budget.
    pub name: &'static str,
    /// What was found, in a sentence.
    pub says: String,
    /// The promises that were broken, a sentence each.
    pub broken: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// Renders that the sidecar tried, counted at the tap.
    pub renders: u32,
    /// Lookups that were judged.
    pub lookups: u32,
    /// How long the slowest of them took.
    pub slowest_seconds: f64,
    /// Outdated answers, by reason.
    pub outdated: BTreeMap<String, u32>,
}

/// What a drill found.
#[derive(Clone, Debug, Serialize)]
pub struct DrillReport {
    /// The renderer.
    pub upstream: String,
    /// The canary.
    pub project: String,
    /// What each step found, in their order.
    pub steps: Vec<DrillStep>,
    /// Renders that the renderer was asked for.
    pub renders: u32,
    /// Connections that were opened to it.
    pub connections: u32,
    /// How long it took.
    pub seconds: f64,
}

impl DrillReport {
    /// Whether every promise was kept.
    pub fn is_kept(&self) -> bool {
        self.steps.iter().all(|step| step.broken.is_empty())
    }

    /// Writes it as JSON.
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Json<'a> {
            schema: &'static str,
            kept: bool,
            #[serde(flatten)]
            report: &'a DrillReport,
        }
        serde_json::to_string(&Json {
            schema: "evenkeel.drill/1",
            kept: self.is_kept(),
            report: self,
        })
        .expect("BUG: its names are strings")
    }
}

/// Lookups of the canary, counted by what they were answered with.
#[derive(Clone, Debug, Default)]
pub(super) struct CanaryTally {
    pub(super) lookups: u32,
    pub(super) outdated: BTreeMap<String, u32>,
    pub(super) slowest: Duration,
    fresh: u32,
    pub(super) failed: u32,
    /// What the first failed with.
    first: Option<String>,
}

/// What is promised of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected<'a> {
    /// At least this many lookups.
    pub(super) lookups: u32,
    /// Outdated answers have one of these reasons.
    pub(super) allowed: Option<&'a [&'a str]>,
    /// Each of these reasons occurs.
    pub(super) seen: &'a [&'a str],
    /// No answer is fresh.
    pub(super) is_fresh_wrong: bool,
    /// At most this many renders are tried.
    pub(super) most_renders: Option<u32>,
    /// What else was promised, and is not so.
    pub(super) unmet: Option<String>,
}

impl CanaryTally {
    pub(super) fn count(&mut self, answered: &TimedAnswer) {
        self.lookups += 1;
        self.slowest = self.slowest.max(answered.took);
        let failed = match &answered.came {
            LookupAnswer::Fresh => {
                self.fresh += 1;
                return;
            }
            LookupAnswer::Outdated(reason) => {
                *self.outdated.entry(reason.clone()).or_default() += 1;
                return;
            }
            LookupAnswer::NoSuchProject => "the renderer knows the canary no longer",
            LookupAnswer::Failed(why) => why,
        };
        self.failed += 1;
        self.first.get_or_insert_with(|| failed.to_owned());
    }

    /// Keeps what may never be: lookups that failed, or took too long.
    pub(super) fn without_answers(self) -> Self {
        Self {
            lookups: self.failed,
            outdated: BTreeMap::new(),
            fresh: 0,
            ..self
        }
    }
}

impl fmt::Display for CanaryTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<_> = self
            .outdated
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let reasons = match reasons.is_empty() {
            true => String::new(),
            false => format!(" ({})", reasons.join(", ")),
        };
        let outdated: u32 = self.outdated.values().sum();
        write!(
            f,
            "{outdated} of {} lookups answered outdated{}, the slowest after {:.1?} with a patience of {PATIENCE:?}",
            self.lookups, reasons, self.slowest
        )
    }
}

impl Expected<'_> {
    /// The promises that were broken, a sentence each.
    pub(super) fn broken(&self, tally: &CanaryTally, renders: u32) -> Vec<String> {
        let mut broken = Vec::new();
        let all = tally.lookups;
        if let Some(first) = &tally.first {
            broken.push(format!(
                "{} of {all} lookups failed, the first with {first}",
                tally.failed
            ));
        }
        if tally.slowest > PATIENCE + MARGIN {
            broken.push(format!(
                "a lookup took {:.1?}, with a patience of {PATIENCE:?} and {MARGIN:?} for a busy node",
                tally.slowest
            ));
        }
        if all < self.lookups {
            broken.push(format!(
                "only {all} of {} lookups could be made",
                self.lookups
            ));
        }
        if self.is_fresh_wrong && tally.fresh > 0 {
            broken.push(format!(
                "{} of {all} answers claimed to be fresh",
                tally.fresh
            ));
        }
        for (reason, count) in &tally.outdated {
            if let Some(allowed) = self.allowed.filter(|allowed| !allowed.contains(&&**reason)) {
                let allowed = allowed.join(" or ");
                broken.push(format!(
                    "{count} of {all} answers said {reason}, not {allowed}"
                ));
            }
        }
        for reason in self.seen {
            if !tally.outdated.contains_key(*reason) {
                broken.push(format!("no answer said {reason}"));
            }
        }
        if let Some(most) = self.most_renders.filter(|most| renders > *most) {
            broken.push(format!("renders tried: {renders}, of {most} at most"));
        }
        broken.extend(self.unmet.clone());
        broken
    }
}
