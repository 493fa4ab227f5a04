//! The name of a sidecar in the store.

use std::{fmt, sync::Arc};

/// The name of one life of a sidecar, `host~8 hex digits`: 1 to 128 bytes of `[A-Za-z0-9._~-]`.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SidecarId(Arc<str>);

/// A name that no sidecar can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sidecar id {0:?} is not accepted: an id is 1 to 128 bytes of [A-Za-z0-9._~-]")]
pub struct InvalidSidecarId(String);

impl SidecarId {
    /// Takes a name.
    ///
    /// # Errors
    /// When no sidecar can have that name.
    pub fn new(name: &str) -> Result<Self, InvalidSidecarId> {
        let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        if (1..=128).contains(&name.len()) && name.bytes().all(accepted) {
            Ok(Self(name.into()))
        } else {
            let shown = name.chars().take(128).collect();
            Err(InvalidSidecarId(shown))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SidecarId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SidecarId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
