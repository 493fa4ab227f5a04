//! Whether a sidecar with invalid settings may wait for their repair instead of exiting.
//!
//! Mistakes in hot fields, above all in the rollout, happen while pods come and go. A new pod that
//! exited would be restarted with longer and longer pauses, and would stay away after the repair.
//! So it waits, unready. A mistake in a restart-only field ends the process: its repair needs a
//! restart anyway, and without these fields a sidecar does not know where to report what it waits
//! for. It never guesses what an unreadable file says.

use std::path::{Path, PathBuf};

use super::{
    Settings,
    problem::{Problem, ValueOrigin},
    reading::FileReading,
    section::Field,
};

/// What a sidecar knows while it waits for the repair of its hot settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Repair {
    /// The settings, of which only the restart-only fields mean anything.
    pub settings: Settings,
    /// What the files were when they were read.
    pub(super) readings: Vec<FileReading>,
}

/// How a sidecar can wait until the files are fixed, if waiting helps: all problems are in hot
/// fields, in files that can be repaired.
pub(super) fn promised(
    files: &[PathBuf],
    readings: Vec<FileReading>,
    problems: &[Problem],
    settings: Settings,
) -> Option<Box<Repair>> {
    let fields = Settings::fields();
    let read = files.iter().zip(&readings);
    let files = Files {
        read: read
            .map(|(path, reading)| SettingsFile::of(path, reading, &fields))
            .collect(),
        fields: &fields,
    };
    let is_hot = problems.iter().all(|problem| files.is_hot(problem));
    is_hot.then(|| Box::new(Repair { settings, readings }))
}

struct Files<'a> {
    read: Vec<SettingsFile<'a>>,
    fields: &'a [&'static Field],
}

/// What is known of a file, however broken it is.
struct SettingsFile<'a> {
    path: &'a Path,
    can_be_repaired: bool,
    /// Whether no name stands in it.
    is_silent: bool,
    /// Whether the name of a restart-only field, or of a section of such, stands in it.
    names_restart_only: bool,
}

impl<'a> SettingsFile<'a> {
    /// Looks at names only, without regard to structure.
    fn of(path: &'a Path, reading: &FileReading, fields: &[&'static Field]) -> Self {
        let text = String::from_utf8_lossy(reading.content.as_deref().unwrap_or_default());
        let is_restart_only = |name: &str| {
            let is_part = |field: &&&Field| field.path.split('.').any(|part| part == name);
            let mut parts = fields.iter().filter(is_part).peekable();
            parts.peek().is_some() && parts.all(|field| !field.is_hot)
        };
        Self {
            path,
            can_be_repaired: !reading.is_stream,
            is_silent: names(&text).next().is_none(),
            names_restart_only: names(&text).any(is_restart_only),
        }
    }
}

/// Which fields a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RepairKind {
    Hot,
    RestartOnly,
    /// A section of both, or nothing that is known.
    Either,
}

impl Files<'_> {
    fn is_hot(&self, problem: &Problem) -> bool {
        match problem {
            Problem::Refused { place, field, .. } => self.is_hot_at(place, field),
            Problem::Unknown {
                place,
                name,
                nearest,
            } => self.is_hot_at(place, nearest.unwrap_or(name)),
            Problem::Twice { place, section, .. } => self.is_hot_at(place, section),
            Problem::Unreadable { path, .. }
            | Problem::Empty { path }
            | Problem::Unparsable { path, .. } => self.is_of_hot_fields(path),
        }
    }

    fn is_hot_at(&self, place: &ValueOrigin, name: &str) -> bool {
        let kind = self.kind(name);
        match place {
            ValueOrigin::Environment(_) | ValueOrigin::Flag(_) => false,
            // A default that does not go together with what a file says.
            ValueOrigin::Default => kind == RepairKind::Hot && !self.read.is_empty(),
            ValueOrigin::File { path, .. } => match kind {
                RepairKind::Hot => self.file(path).is_some_and(|file| file.can_be_repaired),
                RepairKind::RestartOnly => false,
                RepairKind::Either => self
                    .file(path)
                    .is_some_and(|file| file.can_be_repaired && !file.names_restart_only),
            },
        }
    }

    fn kind(&self, name: &str) -> RepairKind {
        let within = format!("{name}.");
        let mut meant = self
            .fields
            .iter()
            .filter(|field| field.path == name || field.path.starts_with(&within))
            .map(|field| field.is_hot);
        match meant.next() {
            // An unknown part of a section.
            None => name
                .rsplit_once('.')
                .map_or(RepairKind::Either, |(section, _)| self.kind(section)),
            Some(first) if meant.any(|is_hot| is_hot != first) => RepairKind::Either,
            Some(true) => RepairKind::Hot,
            Some(false) => RepairKind::RestartOnly,
        }
    }

    /// Whether a file that cannot be read, or not as a whole, is one of hot fields: one that is
    /// broken says so by the names in it; one that says nothing is if another file has the
    /// restart-only fields.
    fn is_of_hot_fields(&self, path: &Path) -> bool {
        let Some(file) = self.file(path) else {
            return false;
        };
        let mut others = self.read.iter().filter(|other| other.path != path);
        file.can_be_repaired
            && !file.names_restart_only
            && (!file.is_silent || others.any(|other| other.names_restart_only))
    }

    fn file(&self, path: &Path) -> Option<&SettingsFile<'_>> {
        self.read.iter().find(|file| file.path == path)
    }
}

/// What stands before a colon in the lines that are no comments.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().map(|line| {
        let comment = line.find(" #").unwrap_or(line.len());
        if line.trim_start().starts_with('#') {
            ""
        } else {
            &line[..comment]
        }
    });
    let pieces = code.flat_map(|line| {
        let mut pieces: Vec<_> = line.split(':').collect();
        pieces.pop();
        pieces
    });
    pieces.filter_map(|piece| {
        let quoted = piece.trim_end().trim_end_matches(['"', '\'']);
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let name = quoted.rsplit(|letter| !is_letter(letter)).next();
        name.filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests;
