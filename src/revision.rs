//! What is looked up: a [`Project`], its [`Revision`]s, and their [`Order`].
//!
//! Revisions are ordered by `(rollout, number)` alone, never by a clock or a digest. This room
//! knows nothing of how they are rendered, held or sent.

mod encoded;
mod origin;
pub mod varint;

use std::{borrow::Borrow, fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use self::encoded::EncodedRevision;
pub use self::origin::AnswerOrigin;

/// The name of a project: 1 to 253 bytes of `[A-Za-z0-9._:/-]`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Project(Arc<str>);

/// The longest name of a project, in bytes: that of a DNS name.
pub const MAX_PROJECT_BYTES: usize = 253;

/// A name that no project can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProject {
    /// The name is empty.
    #[error("project is empty: a project is 1 to {MAX_PROJECT_BYTES} bytes of [A-Za-z0-9._:/-]")]
    Empty,
    /// The name is too long.
    #[error(
        "project has {0} bytes: a project is 1 to {MAX_PROJECT_BYTES} bytes of [A-Za-z0-9._:/-]"
    )]
    TooLong(usize),
    /// The name has a byte that is not accepted.
    #[error(
        "project has {found:?} at byte {at}: a project is 1 to {MAX_PROJECT_BYTES} bytes of [A-Za-z0-9._:/-]"
    )]
    Character {
        /// What stands there.
        found: char,
        /// Where, counted from 0.
        at: usize,
    },
}

impl Project {
    /// Takes a name.
    ///
    /// # Errors
    /// When no project can have that name.
    pub fn new(name: &str) -> Result<Self, InvalidProject> {
        Self::check(name)?;
        Ok(Self(name.into()))
    }

    /// Checks a name without taking it.
    ///
    /// # Errors
    /// When no project can have that name.
    pub fn check(name: &str) -> Result<(), InvalidProject> {
        if name.is_empty() {
            return Err(InvalidProject::Empty);
        }
        if name.len() > MAX_PROJECT_BYTES {
            return Err(InvalidProject::TooLong(name.len()));
        }
        let accepted = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/-".contains(&byte);
        match name
            .char_indices()
            .find(|&(at, _)| !accepted(name.as_bytes()[at]))
        {
            Some((at, found)) => Err(InvalidProject::Character { found, at }),
            None => Ok(()),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number that is the same for the same name in every process.
    pub fn hash(&self) -> u64 {
        xxh3_64(self.0.as_bytes())
    }
}

impl Borrow<str> for Project {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The order of the revisions of one project: by rollout, then by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// The generation of the software.
    pub rollout: u64,
    /// The version of the project's input.
    pub number: u64,
}

impl Order {
    /// The order of that rollout and number.
    pub const fn new(rollout: u64, number: u64) -> Self {
        Self { rollout, number }
    }

    /// The lowest order of a rollout.
    pub const fn rollout(rollout: u64) -> Self {
        Self::new(rollout, 0)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.rollout, self.number)
    }
}

/// The SHA-256 of a payload; shown as lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Computes the digest of a payload.
    pub fn of(payload: &[u8]) -> Self {
        Self(Sha256::digest(payload).into())
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(2 * self.0.len());
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One rendered configuration of one project; immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Whose configuration.
    pub project: Project,
    /// Where it stands among the revisions of its project.
    pub order: Order,
    /// When it was rendered, by the renderer's clock: to be shown only.
    pub rendered_at: Option<SystemTime>,
    /// The digest of the payload.
    pub digest: Digest,
    /// The media type of the payload.
    pub content_type: Arc<str>,
    /// The configuration.
    pub payload: Bytes,
    encoded: EncodedRevision,
}

impl Revision {
    /// Copies a payload out of the buffer that it was received in, and computes its digest.
    pub fn new(
        project: Project,
        order: Order,
        rendered_at: Option<SystemTime>,
        content_type: Arc<str>,
        payload: &[u8],
    ) -> Self {
        let digest = Digest::of(payload);
        let encoded =
            EncodedRevision::new(&project, order, rendered_at, digest, &content_type, payload);
        Self {
            project,
            order,
            rendered_at,
            digest,
            content_type,
            payload: Bytes::copy_from_slice(payload),
            encoded,
        }
    }

    /// Whether the payload's digest is this one, as an answer has it.
    pub fn has_digest(&self, digest: &str) -> bool {
        !digest.is_empty() && self.digest.to_string() == digest
    }

    /// The same payload, stamped with another order.
    pub fn with_order(&self, order: Order) -> Self {
        let (project, content_type) = (self.project.clone(), Arc::clone(&self.content_type));
        Self::new(
            project,
            order,
            self.rendered_at,
            content_type,
            &self.payload,
        )
    }

    /// The field `revision` of the contract's `GetConfigResponse`, as it is sent.
    pub fn encoded(&self) -> Bytes {
        self.encoded.revision()
    }

    /// The same, and what the field `payload` begins with: the payload has to follow.
    pub const fn encoded_with_payload_head(&self) -> &Bytes {
        self.encoded.with_payload_head()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_1_to_253_bytes_of_the_accepted_characters() {
        assert!(Project::new("Team-1/shop_eu.v2:blue").is_ok());
        assert!(Project::new(&"a".repeat(253)).is_ok());
        assert_eq!(Project::new("").unwrap_err(), InvalidProject::Empty);
        assert_eq!(
            Project::new(&"a".repeat(254)).unwrap_err(),
            InvalidProject::TooLong(254)
        );
        for (name, found, at) in [
            ("a b", ' ', 1),
            ("käse", 'ä', 1),
            ("a\n", '\n', 1),
            ("a\\b", '\\', 1),
        ] {
            assert_eq!(
                Project::new(name).unwrap_err(),
                InvalidProject::Character { found, at }
            );
        }
    }

    #[test]
    fn revisions_are_ordered_by_rollout_then_number() {
        let mut orders = [
            Order::new(2, 1),
            Order::new(1, 9),
            Order::new(1, 2),
            Order::new(3, 0),
        ];
        orders.sort();
        assert_eq!(
            orders.map(|order| order.to_string()),
            ["1/2", "1/9", "2/1", "3/0"]
        );
    }

    /// The vector of FIPS 180-2.
    #[test]
    fn a_digest_is_the_sha256_in_lower_case_hexadecimal() {
        let digest = Digest::of(b"abc").to_string();
        assert_eq!(
            digest,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
