//! Reads all layers into [`Settings`], or lists everything that is wrong with them.

use std::{fmt, path::PathBuf};

use super::{
    Field, Settings,
    document::Document,
    environment,
    layers::{self, Layers, untyped},
    problem::{Invalid, Problem, ValueOrigin},
    reading::{FileReading, Hash},
    repair,
};

/// Where settings come from. Files override defaults, the environment overrides files, and flags
/// override the environment.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The files; each section is in only one of them.
    pub files: Vec<PathBuf>,
    /// The variables of the environment, whatever their names.
    pub environment: Vec<(String, String)>,
    /// The flags that were given.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// The variables that are ignored although their names resemble a field: one line each, with
    /// what may be meant.
    pub fn hints(&self) -> Vec<String> {
        environment::hints(&self.environment)
    }
}

/// A flag that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name, with the dashes.
    pub name: &'static str,
    /// The path of its field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
}

/// A hot field that a file cannot change, since the environment or a flag sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The field.
    pub field: &'static str,
    /// What sets it: a variable or a flag.
    pub by: ValueOrigin,
    /// What the files say of it.
    pub ignored: Option<String>,
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is pinned by {}", self.field, self.by)?;
        match &self.ignored {
            Some(ignored) => write!(f, ": {ignored} in the file is ignored"),
            None => Ok(()),
        }
    }
}

/// Valid settings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Of which files.
    pub hash: Hash,
    /// The hot fields that the files cannot change.
    pub pinned: Vec<Pinned>,
    /// What the files were when they were read.
    pub(super) readings: Vec<FileReading>,
}

impl Loaded {
    /// What an operator should know at start, a line each: the budget of the fleet, what is pinned,
    /// what does not fit.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![budget(&self.settings)];
        let (payload, held) = (
            self.settings.upstream.max_payload,
            self.settings.cache.max_bytes,
        );
        if payload > held {
            notes.push(format!(
                "upstream.max_payload {payload} is above cache.max_bytes {held}: the largest renders cannot be held"
            ));
        }
        let kept = self.settings.disk.max_bytes;
        if self.settings.disk.dir.is_some() && kept.bytes() < held.bytes().saturating_mul(2) {
            notes.push(format!(
                "disk.max_bytes {kept} is below twice cache.max_bytes {held}: not all that is held may survive a restart"
            ));
        }
        notes.extend(self.pinned.iter().map(Pinned::to_string));
        notes
    }
}

/// Says what the limits of this sidecar mean for the whole fleet.
fn budget(settings: &Settings) -> String {
    let admission = &settings.admission;
    let rate = admission.rate();
    match (admission.fleet_rate(), admission.fleet_size) {
        (Some(fleet_rate), Some(fleet_size)) => format!(
            "admission: {rate} renders/s in this sidecar × fleet_size {fleet_size} = {fleet_rate} renders/s upstream"
        ),
        _ => format!(
            "admission: {rate} renders/s in this sidecar alone, as many times upstream as there are sidecars: set \
             admission.fleet_size to see the product, or admission.fleet_rate to set it"
        ),
    }
}

/// Reads settings from where they come from.
///
/// # Errors
/// If they are invalid: with every problem, except those after a structural one in the same file.
pub fn load(sources: &Sources) -> Result<Loaded, Invalid> {
    let readings = sources.files.iter().map(|path| FileReading::of(path));
    resolve(sources, readings.collect())
}

/// Makes settings of what was read.
pub(super) fn resolve(sources: &Sources, readings: Vec<FileReading>) -> Result<Loaded, Invalid> {
    let mut layers = Layers::default();
    read_files(&mut layers, &sources.files, &readings);
    environment::read(&mut layers, &sources.environment);
    for flag in &sources.flags {
        let entry = untyped(&flag.value, ValueOrigin::Flag(flag.name));
        layers.flags.insert(flag.field, entry);
    }
    let mut settings = Settings::read(&mut layers);
    layers.check(&mut settings);
    if !layers.problems.is_empty() {
        let problems = layers.problems;
        let repair = repair::promised(&sources.files, readings, &problems, settings);
        return Err(Invalid { problems, repair });
    }
    Ok(Loaded {
        settings,
        hash: Hash::of(&readings),
        pinned: pinned(&layers),
        readings,
    })
}

fn read_files(layers: &mut Layers, paths: &[PathBuf], readings: &[FileReading]) {
    let mut sections: Vec<(String, ValueOrigin)> = Vec::new();
    for (path, reading) in paths.iter().zip(readings) {
        let document = match &reading.content {
            Ok(bytes) => Document::parse(path, bytes),
            Err(why) => Err(Problem::Unreadable {
                path: path.clone(),
                why: why.clone(),
            }),
        };
        match document {
            Ok(document) => {
                for (section, place) in &document.sections {
                    if let Some((_, other)) = sections.iter().find(|(name, _)| name == section) {
                        layers.problems.push(Problem::Twice {
                            place: place.clone(),
                            section: section.clone(),
                            other: other.clone(),
                        });
                    }
                }
                sections.extend(document.sections);
                layers.problems.extend(document.problems);
                layers.files.extend(document.layer);
            }
            Err(problem) => layers.problems.push(problem),
        }
    }
}

/// Lists the hot fields that the environment or flags set.
fn pinned(layers: &Layers) -> Vec<Pinned> {
    let pins = |field: &&'static Field| {
        let ignored = layers.files.get(field.path);
        let by = layers.pin(field.path).or_else(|| {
            let alternative = layers::alternative(field.path)?;
            ignored.and_then(|_| layers.pin(alternative))
        })?;
        Some(Pinned {
            field: field.path,
            by: by.clone(),
            ignored: ignored.map(|entry| entry.shown.clone()),
        })
    };
    let fields = Settings::fields().into_iter();
    fields
        .filter(|field| field.is_hot)
        .filter_map(|field| pins(&field))
        .collect()
}
