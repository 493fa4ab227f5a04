//! The folder: one `PROJECT.yaml` for each project, read four times a second.
//!
//! Polling needs no watches of the kernel's and sees a swapped symlink like a rewritten file. A
//! change is taken when two reads agree on it, so that a half-written file is never rendered. What
//! a change means is known to `projects` alone.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

use super::{ProjectSettings, Projects};
use crate::revision::{Digest, Project};

/// How often the folder is read.
const PERIOD: Duration = Duration::from_millis(250);

/// What one read found of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FoundProject {
    /// When it was last modified, in milliseconds since the epoch.
    pub(super) modified: u64,
    /// The digest of what it says.
    pub(super) digest: Digest,
    text: Result<Vec<u8>, String>,
}

pub(super) type FolderProjects = BTreeMap<Project, FoundProject>;

// === impl FoundProject ===

impl FoundProject {
    /// Parses what the file says.
    pub(super) fn settings(&self, project: &Project) -> Result<Arc<ProjectSettings>, Arc<str>> {
        let text = self.text.as_ref().map_err(|error| Arc::from(&**error))?;
        let settings = serde_saphyr::from_slice(text);
        settings
            .map(Arc::new)
            .map_err(|error| format!("{project}.yaml: {error}").into())
    }
}

/// Reads every `PROJECT.yaml` of the folder. What cannot be read is found as such; only the folder
/// itself can fail.
pub(super) fn read(folder: &Path) -> io::Result<FolderProjects> {
    let mut found = FolderProjects::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some((project, file)) = project_of(&path).zip(read_file(&path)) else {
            continue;
        };
        found.insert(project, file);
    }
    Ok(found)
}

fn project_of(path: &Path) -> Option<Project> {
    let name = path.file_name()?.to_str()?.strip_suffix(".yaml")?;
    Project::new(name).ok()
}

/// Reads a file; none when it has gone.
fn read_file(path: &Path) -> Option<FoundProject> {
    let read = modified(path).and_then(|modified| Ok((modified, fs::read(path)?)));
    let (modified, text) = match read {
        Ok((modified, text)) => (modified, Ok(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => (0, Err(format!("{}: {error}", path.display()))),
    };
    let digest = match &text {
        Ok(text) => Digest::of(text),
        Err(error) => Digest::of(error.as_bytes()),
    };
    Some(FoundProject {
        modified,
        digest,
        text,
    })
}

fn modified(path: &Path) -> io::Result<u64> {
    let modified: SystemTime = fs::metadata(path)?.modified()?;
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Reads the folder for as long as it is polled, and publishes what changed.
pub(in crate::renderer) async fn watch(folder: PathBuf, projects: watch::Sender<Arc<Projects>>) {
    let mut seen = FolderProjects::new();
    let mut readable = true;
    loop {
        tokio::time::sleep(PERIOD).await;
        let path = folder.clone();
        let found = tokio::task::spawn_blocking(move || read(&path)).await;
        let found = match found.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
            Ok(found) => found,
            Err(error) => {
                if readable {
                    tracing::warn!(folder = %folder.display(), %error, "cannot read the projects");
                }
                readable = false;
                continue;
            }
        };
        if !readable {
            tracing::info!(folder = %folder.display(), "projects can be read again");
            readable = true;
        }
        let mut next = Projects::clone(&projects.borrow());
        if next.take(&seen, &found) {
            projects.send_replace(Arc::new(next));
        }
        seen = found;
    }
}
