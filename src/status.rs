//! What `/status` says of one sidecar, and what `evenkeel status` makes of many.
//!
//! A [`Status`] is the [verdict](crate::verdict) with the numbers that it follows from, as JSON
//! with a schema or as a screen of text. It names no project, so that it can be read by those who
//! may read metrics. Where the numbers come from is not known here.

use std::fmt;

use serde::{Deserialize, Serialize};

mod ask;
mod fleet;
mod screen;

pub use self::{
    ask::{NoAddress, ask, ask_names, members},
    fleet::{Fleet, Usual},
    screen::screen,
};
use crate::{
    printable::printable,
    verdict::{Code, Facts, Verdict, judge},
};

/// The schema of the JSON. Readers ignore fields and codes that they do not know; a change of what
/// a field means has another name.
pub const SCHEMA: &str = "evenkeel.status/1";

/// The longest name that is shown, in bytes: that of a host.
const LONGEST_NAME: usize = 64;
/// The longest sentence that is shown, in bytes.
const LONGEST_SENTENCE: usize = 600;
/// How many reasons for outdated answers are shown.
pub const REASONS: usize = 3;

/// What one sidecar says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: String,
    /// The name of its host, which in Kubernetes is the pod's.
    pub name: String,
    /// Differs between any two sidecars, and between two runs of one.
    pub instance: String,
    /// The version of the program.
    pub version: String,
    /// How long it has run, in seconds.
    pub up: u64,
    /// Whether lookups can be answered.
    pub ready: bool,
    /// The verdict's code.
    pub code: String,
    /// What is the case beside it.
    pub beside: Vec<String>,
    /// What is the case, in a sentence.
    pub says: String,
    /// What to do about it.
    #[serde(rename = "do")]
    pub do_: String,
    /// The target: the lowest rollout that is fresh.
    pub target: u64,
    /// For how many seconds it has been raised; none before the first raise.
    pub raised: Option<u64>,
    /// Whether all that was wanted is known to be wanted or not by the target.
    pub settled: bool,
    /// The hash of the settings in force.
    pub settings: String,
    /// How many fields wait for a restart.
    pub pending: u32,
    /// Renders that may start at once.
    pub burst: u32,
    /// How many sidecars the fleet has, as the settings say.
    pub fleet_size: Option<u32>,
    /// The most frequent reasons for outdated answers within the window, and how often.
    pub outdated_because: Vec<(String, u32)>,
    /// The numbers.
    pub facts: Facts,
}

impl Status {
    /// Adds the facts and their verdict to what is known beside them.
    #[must_use]
    pub fn of(beside: Self, facts: Facts) -> Self {
        let Verdict {
            code,
            says,
            do_,
            beside: also,
        } = judge(&facts);
        Self {
            schema: SCHEMA.to_owned(),
            code: code.to_string(),
            beside: also.iter().map(ToString::to_string).collect(),
            says,
            do_,
            facts,
            ..beside
        }
    }

    /// That of a sidecar which has not started yet, because its settings have to be corrected.
    pub fn of_bad_settings(problem: impl fmt::Display) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            code: Code::SettingsBad.to_string(),
            says: format!("It waits for its settings: {}", printable(problem, 300)),
            do_: Code::SettingsBad.advice().to_owned(),
            facts: Facts {
                sidecars: 1,
                settings_bad: 1,
                ..Facts::default()
            },
            ..Self::default()
        }
    }

    /// Writes it as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("BUG: its names are strings")
    }

    /// Reads it from JSON that came from elsewhere; what a terminal may obey is escaped.
    ///
    /// # Errors
    /// When it is no status.
    pub fn read(json: &[u8]) -> Result<Self, NoStatus> {
        let mut status: Self = serde_json::from_slice(json).map_err(NoStatus::Unreadable)?;
        if !status.schema.starts_with("evenkeel.status/") {
            return Err(NoStatus::OtherSchema(printable(
                status.schema,
                LONGEST_NAME,
            )));
        }
        for text in [&mut status.says, &mut status.do_] {
            *text = printable(&*text, LONGEST_SENTENCE);
        }
        let names = [
            &mut status.schema,
            &mut status.name,
            &mut status.instance,
            &mut status.version,
            &mut status.code,
            &mut status.settings,
        ];
        let because = status.outdated_because.iter_mut().map(|(text, _)| text);
        for name in names.into_iter().chain(&mut status.beside).chain(because) {
            *name = printable(&*name, LONGEST_NAME);
        }
        status.facts.sidecars = 1;
        Ok(status)
    }

    /// Whether the release of a rollout has come to its end here: the target is at least that, and
    /// nothing that is wanted is outdated. Held projects that are outdated and not wanted may yet
    /// be looked up; after ten seconds they are not waited for.
    pub fn has_released(&self, rollout: u64) -> bool {
        let is_looked_up = self.facts.outdated == 0 || self.raised.is_none_or(|ago| ago >= 10);
        self.target >= rollout && self.settled && self.facts.wanted_outdated == 0 && is_looked_up
    }
}

/// Why what came is no status.
#[derive(Debug, thiserror::Error)]
pub enum NoStatus {
    /// It cannot be read.
    #[error("it is no status: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// It is of something else.
    #[error("it is no status but `{0}`")]
    OtherSchema(String),
}

#[cfg(test)]
mod tests;
