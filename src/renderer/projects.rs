//! The input: the settings of the projects in the folder, and of those derived from them.
//!
//! The **number** of a project is the version of its file. It is the time of the file's last
//! modification in milliseconds, or one more than the number before when that time did not go
//! forward. Thus it rises with each change of the content, and over restarts and replicas as far as
//! the folder keeps its times; what it cannot survive is a restart after a file's time was set
//! back, or files that all bear one time, as archives built reproducibly do. A file that is touched
//! keeps its number; deleting one is a change too. How the folder is read is known to `folder`
//! alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::revision::{Digest, Project};

mod folder;

pub(super) use self::folder::watch;
use self::folder::{FolderProjects, FoundProject, read};

/// What a project's file says.
pub(super) type ProjectSettings = Map<String, Value>;

/// The input of one project at one version.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// The version of the input.
    pub(super) number: u64,
    /// The settings, or what is wrong with them.
    pub(super) settings: Result<Arc<ProjectSettings>, Arc<str>>,
    /// The project that these are the settings of, when another one is derived from it.
    pub(super) derived_from: Option<Project>,
}

/// The input of all projects, at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Projects {
    files: BTreeMap<Project, ProjectFile>,
    /// How many projects are derived.
    generate: usize,
    /// How many reads brought a change.
    changes: u64,
}

/// A project's file; its number outlives it.
#[derive(Clone, Debug)]
struct ProjectFile {
    number: u64,
    content: Content,
    /// The count of changes with which this content came; 0 when it was there at the start.
    changed: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Gone,
    Is(Digest, Result<Arc<ProjectSettings>, Arc<str>>),
}

// === impl Input ===

impl Input {
    /// The settings of `project`: those of its own file, or derived ones, in which its own name
    /// takes the place of the other.
    pub(super) fn settings(&self, project: &Project) -> Result<Arc<ProjectSettings>, Arc<str>> {
        let settings = self.settings.clone()?;
        let Some(base) = &self.derived_from else {
            return Ok(settings);
        };
        let rename = |(key, value): (&String, &Value)| (key.clone(), renamed(value, base, project));
        Ok(Arc::new(settings.iter().map(rename).collect()))
    }
}

fn renamed(value: &Value, base: &Project, project: &Project) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => text.replace(base.as_str(), project.as_str()).into(),
        Value::Array(items) => items
            .iter()
            .map(|item| renamed(item, base, project))
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), renamed(value, base, project)))
            .collect(),
    }
}

// === impl Projects ===

impl Projects {
    /// Reads the folder, and derives `generate` more projects: `NAME-1`, `NAME-2` … of each in
    /// turn.
    pub(super) fn read(folder: &Path, generate: usize) -> io::Result<Self> {
        let mut projects = Self {
            generate,
            ..Self::default()
        };
        let read = read(folder)?;
        projects.take(&read, &read);
        for file in projects.files.values_mut() {
            file.changed = 0;
        }
        projects.changes = 0;
        Ok(projects)
    }

    /// The input of a project; none when there is no such project.
    pub(super) fn find(&self, project: &Project) -> Option<Input> {
        let (base, file) = match self.files.get_key_value(project) {
            Some((_, file)) => (None, file),
            None => {
                let (base, file) = self.base(project)?;
                (Some(base.clone()), file)
            }
        };
        match &file.content {
            Content::Gone => None,
            Content::Is(_, settings) => Some(Input {
                number: file.number,
                settings: settings.clone(),
                derived_from: base,
            }),
        }
    }

    /// The names of all projects.
    pub(super) fn names(&self) -> Vec<Project> {
        let is_there = |project: &Project| self.find(project).is_some();
        let names = self.files.keys().flat_map(|base| self.with_derived(base));
        names.filter(is_there).collect()
    }

    /// The projects whose input changed since there were `changes` changes, with their numbers.
    pub(super) fn changed_since(&self, changes: u64) -> Vec<(Project, u64)> {
        let files = self.files.iter();
        let changed = files.filter(|(_, file)| file.changed > changes);
        changed
            .flat_map(|(base, file)| {
                let projects = self.with_derived(base);
                projects.map(|project| (project, file.number))
            })
            .collect()
    }

    /// How many reads brought a change.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    fn with_derived(&self, base: &Project) -> impl Iterator<Item = Project> {
        let derived = (1..=self.derived(base)).filter_map(move |index| derive(base, index));
        let derived = derived.filter(|project| !self.files.contains_key(project));
        std::iter::once(base.clone()).chain(derived)
    }

    /// The file that a project is derived from.
    fn base(&self, project: &Project) -> Option<(&Project, &ProjectFile)> {
        let (base, index) = project.as_str().rsplit_once('-')?;
        let index = index.parse().ok()?;
        let (base, file) = self.files.get_key_value(base)?;
        let is_derived = (1..=self.derived(base)).contains(&index)
            && derive(base, index).as_ref() == Some(project);
        is_derived.then_some((base, file))
    }

    /// How many projects are derived from this one.
    fn derived(&self, base: &Project) -> usize {
        if self.generate == 0 {
            return 0;
        }
        let place = self.files.range(..base.clone()).count();
        self.generate / self.files.len() + usize::from(place < self.generate % self.files.len())
    }

    /// Takes what two reads, one after the other, agree on; true when that changes anything.
    fn take(&mut self, before: &FolderProjects, now: &FolderProjects) -> bool {
        let changes = self.changes + 1;
        let mut changed = false;
        let known: BTreeSet<_> = self.files.keys().chain(now.keys()).cloned().collect();
        for project in known {
            let found = now.get(&project);
            if before.get(&project) != found {
                continue;
            }
            let file = self.files.get(&project);
            let Some(next) = ProjectFile::next(&project, file, found, changes) else {
                continue;
            };
            self.files.insert(project, next);
            changed = true;
        }
        self.changes += u64::from(changed);
        changed
    }
}

impl ProjectFile {
    /// The file after a read; none when that changes nothing.
    fn next(
        project: &Project,
        file: Option<&Self>,
        found: Option<&FoundProject>,
        changed: u64,
    ) -> Option<Self> {
        let risen = file.map_or(1, |file| file.number + 1);
        let held = file.and_then(|file| match &file.content {
            Content::Gone => None,
            Content::Is(digest, _) => Some(*digest),
        });
        if held == found.map(|found| found.digest) {
            return None;
        }
        let Some(found) = found else {
            tracing::info!(%project, "project deleted");
            return Some(Self {
                number: risen,
                content: Content::Gone,
                changed,
            });
        };
        let number = found.modified.max(risen);
        let settings = found.settings(project);
        match &settings {
            Ok(_) => tracing::debug!(%project, number, "settings read"),
            Err(error) => tracing::warn!(%project, number, %error, "settings broken"),
        }
        Some(Self {
            number,
            content: Content::Is(found.digest, settings),
            changed,
        })
    }
}

fn derive(base: &Project, index: usize) -> Option<Project> {
    Project::new(&format!("{base}-{index}")).ok()
}

#[cfg(test)]
mod tests;
