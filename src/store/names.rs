//! How the keys of a fleet are named.
//!
//! What the scripts decide by lies in one hash slot of a cluster, by the tag in braces; values
//! spread over all of them.

use crate::revision::Project;

/// Names the keys of one fleet: the sidecars that share a namespace and a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyNames {
    control: String,
    values: String,
}

/// A namespace or a component that no key can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {value:?} is not accepted: it is 1 to 128 bytes of [A-Za-z0-9._/-]")]
pub struct InvalidName {
    field: &'static str,
    value: String,
}

impl KeyNames {
    /// The names of a fleet's keys.
    ///
    /// # Errors
    /// When a part has another length or other characters than the error says.
    pub fn new(namespace: &str, component: &str) -> Result<Self, InvalidName> {
        for (field, value) in [("namespace", namespace), ("component", component)] {
            let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
            if !(1..=128).contains(&value.len()) || !value.bytes().all(accepted) {
                let value = value.chars().take(128).collect();
                return Err(InvalidName { field, value });
            }
        }
        Ok(Self {
            control: format!("{{ek:{namespace}:{component}}}:"),
            values: format!("ek:{namespace}:{component}:v:"),
        })
    }

    /// The bucket and the clock of the fleet: a hash.
    pub fn bucket(&self) -> String {
        self.of("b")
    }

    /// The sidecars that are present, by their last beat: a sorted set.
    pub fn present(&self) -> String {
        self.of("m")
    }

    /// The sidecars that fell silent without leaving, by when that was seen: a sorted set.
    pub fn absent(&self) -> String {
        self.of("a")
    }

    /// The rate that each present sidecar was told: a sorted set.
    pub fn claims(&self) -> String {
        self.of("c")
    }

    /// The operator's rate, above all claims. Scripts read it undeclared: its name is the bucket's,
    /// `o` in place of `b`.
    pub fn operator(&self) -> String {
        self.of("o")
    }

    /// The two segments of the journal, which take turns.
    pub fn journal(&self) -> [String; 2] {
        [self.of("j0"), self.of("j1")]
    }

    /// What last landed of a project: a [`StoredHead`](super::head::StoredHead).
    pub fn head(&self, project: &Project) -> String {
        self.of("r:") + project.as_str()
    }

    /// Who renders a project, or until when it is left alone: see [`lease`](super::lease).
    pub fn lease(&self, project: &Project) -> String {
        self.of("l:") + project.as_str()
    }

    /// The rendered [`StoredValue`](super::value::StoredValue) of a project.
    pub fn value(&self, project: &Project) -> String {
        format!("{}{project}", self.values)
    }

    fn of(&self, key: &str) -> String {
        format!("{}{key}", self.control)
    }
}
