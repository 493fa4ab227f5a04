//! What can be wrong with settings. Each problem names the place, the value, and what is accepted.

use std::{fmt, path::PathBuf};

use super::{
    Field,
    repair::Repair,
    shown::{self, sentence, shown},
};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// Nothing else was set.
    Default,
    /// A file.
    File {
        /// Its path, as it was given.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column in characters, from 1.
        column: u64,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", shown::path(path)),
            Self::Environment(name) => f.write_str(&shown(name)),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A file cannot be read.
    #[error("{}  cannot be read: {}", shown::path(path), sentence(why))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A file is empty. This counts as an accident, not as all defaults.
    #[error(
        "{}  is empty: a file of settings has at least one field, or is {{}}",
        shown::path(path)
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file is not YAML of the right structure; what follows in it was not looked at.
    #[error("{}{}  {}", shown::path(path), position_of(*position), sentence(why))]
    Unparsable {
        /// The file.
        path: PathBuf,
        /// The line and column, from 1, where reading ended.
        position: Option<(u64, u64)>,
        /// What the parser says.
        why: String,
    },
    /// There is no such field.
    #[error("{place}  {}: there is no such field{}", shown(name), hint(place, name, *nearest))]
    Unknown {
        /// Where it stands.
        place: ValueOrigin,
        /// What stands there.
        name: String,
        /// The field whose name is most like it.
        nearest: Option<&'static str>,
    },
    /// A section stands in two files.
    #[error(
        "{place}  {}: stands in {other} too: a section stands in one file only",
        shown(section)
    )]
    Twice {
        /// Where it stands.
        place: ValueOrigin,
        /// The section, or a field outside of them.
        section: String,
        /// Where it stands too.
        other: ValueOrigin,
    },
    /// A value is not accepted.
    #[error("{place}  {field} = {value}: must be {accepted}")]
    Refused {
        /// Where it stands.
        place: ValueOrigin,
        /// The field.
        field: String,
        /// What stands there.
        value: String,
        /// What is accepted instead.
        accepted: String,
    },
}

/// The sections that only builds with the cargo feature of the same name have, when this is not
/// such a build.
const NOT_BUILT: &[&str] = if cfg!(feature = "otlp") {
    &[]
} else {
    &["otlp"]
};

fn position_of(position: Option<(u64, u64)>) -> String {
    position.map_or_else(String::new, |(line, column)| format!(":{line}:{column}"))
}

fn hint(place: &ValueOrigin, name: &str, nearest: Option<&str>) -> String {
    let section = name.split('.').next().unwrap_or_default();
    if let Some(feature) = NOT_BUILT.iter().find(|feature| **feature == section) {
        return format!(
            " in this build: build evenkeel with the cargo feature `{feature}` to have it"
        );
    }
    let Some(nearest) = nearest else {
        return String::new();
    };
    match place {
        ValueOrigin::Environment(_) => {
            format!("; did you mean {}?", super::section::variable(nearest))
        }
        ValueOrigin::Default | ValueOrigin::File { .. } | ValueOrigin::Flag(_) => {
            format!("; is it {nearest}?")
        }
    }
}

/// The most problems that are listed, one a line.
const MOST_LINES: usize = 50;
/// The most problems that are listed in one line: they pass in the headers of an answer.
const MOST_IN_A_LINE: usize = 3;

/// Invalid settings, shown as one problem per line.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", listed(problems, MOST_LINES, "\n"))]
pub struct Invalid {
    /// All that is wrong: at least one.
    pub problems: Vec<Problem>,
    /// How a sidecar can wait until the files are fixed; only if nothing but hot fields is wrong.
    pub repair: Option<Box<Repair>>,
}

impl Invalid {
    /// What is wrong, in one line.
    pub fn in_one_line(&self) -> String {
        listed(&self.problems, MOST_IN_A_LINE, "; ")
    }
}

fn listed(problems: &[Problem], most: usize, between: &str) -> String {
    let mut lines: Vec<String> = problems.iter().take(most).map(Problem::to_string).collect();
    if problems.len() > most {
        lines.push(format!("and {} more problems", problems.len() - most));
    }
    lines.join(between)
}

/// The field or section whose name takes the fewest edits to become `name`, when those are few.
///
/// A name that is longer than any of theirs by more than those few is like none, and is not looked
/// at.
pub(super) fn nearest(name: &str, fields: &[&'static Field]) -> Option<&'static str> {
    let paths = fields.iter().map(|field| field.path);
    let sections = paths.clone().flat_map(|path| {
        let dots = path.match_indices('.');
        dots.map(|(end, _)| &path[..end])
    });
    let is_near = |known: &&str| name.len().abs_diff(known.len()) <= allowed(known);
    paths
        .chain(sections)
        .filter(is_near)
        .map(|known| (edits(name, known), known))
        .min()
        .filter(|(edits, known)| *edits <= allowed(known))
        .map(|(_, known)| known)
}

/// How many edits a name may be away from a known one.
fn allowed(known: &str) -> usize {
    1 + known.len() / 6
}

/// The Levenshtein distance, one row of its table at a time.
pub(super) fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, removed) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (left, added) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(removed != added);
            diagonal = row[left + 1];
            row[left + 1] = replaced.min(diagonal + 1).min(row[left] + 1);
        }
    }
    row[to.chars().count()]
}
