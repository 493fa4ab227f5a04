//! The folders that a field may name.

use std::path::{Path, PathBuf};

use super::setting::{JsonType, Setting, Written};

/// A folder, by its absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFolder(PathBuf);

impl KeptFolder {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Setting for KeptFolder {
    const ACCEPTED: &'static str = "an absolute path such as /var/lib/evenkeel";
    const JSON: JsonType = JsonType::Text;

    fn read(written: &Written) -> Option<Self> {
        /// What is not too long for a path, with the name of a file.
        const LONGEST: usize = 3_800;
        let text = written.text()?;
        let path = Path::new(text);
        let is_fit =
            path.is_absolute() && text.len() <= LONGEST && !text.contains(char::is_control);
        is_fit.then(|| Self(path.to_owned()))
    }

    fn show(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}
