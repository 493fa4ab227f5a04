//! A settings file of a sidecar under test. It is JSON, which is YAML.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A settings file in a folder of its own.
pub(crate) struct Settings {
    folder: TempDir,
    value: Value,
}

impl Settings {
    /// As good as without limits, in front of that renderer, but for what `special` says.
    pub(crate) fn new(url: &str, special: Value) -> Self {
        let value = json!({
            "rollout": 1,
            "component": "identity",
            "upstream": { "url": url, "deadline": "10s" },
            "lookup": { "listen": ["127.0.0.1:0"] },
            "admission": { "rate": 1000, "burst": 1000, "concurrency": 64, "queue": 4000 },
            "telemetry": { "listen": "127.0.0.1:0" },
        });
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Self { folder, value };
        settings.edit(special);
        settings
    }

    /// Changes what is given.
    pub(crate) fn edit(&mut self, change: Value) {
        merge(&mut self.value, change);
        self.write(&self.value.to_string());
    }

    /// Replaces the file by a rename, as editors and deployments do.
    pub(crate) fn write(&self, text: &str) {
        let new = self.folder.path().join("settings.new");
        fs::write(&new, text).expect("the folder is ours");
        fs::rename(new, self.path()).expect("the folder is ours");
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join("settings.yaml")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (name, value) in change {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}
