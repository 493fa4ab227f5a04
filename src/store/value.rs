//! How a rendered value is laid out in the store.
//!
//! The first 74 bytes are fixed for ever, so that versions of evenkeel can share a store, and so
//! that the script `put` can compare what it does not understand:
//!
//! ```text
//! 0   version             1 byte, 1
//! 1   flags               1 byte: 1 = packed with zstd, 2 = signed
//! 2   rollout, number     40 decimal digits
//! 42  digest              32 bytes, SHA-256 of the payload as it is served
//! 74  rendered at         u64, milliseconds since 1970 by the renderer's clock; 0 = not said
//! 82  content type        u8 bytes follow
//!     key id              u8 bytes follow       | only if signed
//!     signature           64 bytes, Ed25519     |
//!     payload             all that is left
//! ```
//!
//! Numbers are big-endian. This room neither packs nor verifies: the reader of a value checks its
//! digest and its signature.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;

use super::head::Stamp;

/// The version that this evenkeel writes, and the only one that it reads.
pub const VERSION: u8 = 1;
/// The bytes that are the same in all versions: version, flags, order, digest.
pub const PREFIX_BYTES: usize = 74;
const PACKED: u8 = 1;
const SIGNED: u8 = 2;

/// A rendered value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredValue {
    /// Its order, and the digest of its payload as it is served.
    pub stamp: Stamp,
    /// When it was rendered, by the renderer's clock, in whole milliseconds: to be shown only.
    pub rendered_at: Option<SystemTime>,
    /// The media type of the payload: at most 255 bytes.
    pub content_type: Arc<str>,
    /// The renderer's word that it made this.
    pub signature: Option<Signature>,
    /// How the payload is stored.
    pub packing: Packing,
    /// The payload as it is stored.
    pub payload: Bytes,
}

/// How a payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is served.
    Plain,
    /// As one zstd frame.
    Zstd,
}

/// The renderer's signature of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Which key: at most 255 bytes.
    pub key_id: Arc<str>,
    /// Ed25519.
    pub bytes: [u8; 64],
}

/// A value that this evenkeel does not read: it counts as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableValue {
    /// A newer evenkeel wrote it.
    #[error(
        "the value has version {version} and flags {flags}: version {VERSION} and flags 0 to 3 are understood"
    )]
    Unknown {
        /// Its version.
        version: u8,
        /// Its flags.
        flags: u8,
    },
    /// It is not laid out as its version says.
    #[error("the value has no valid {0}")]
    Malformed(&'static str),
}

impl StoredValue {
    /// The bytes in the store. A content type or key id that is longer than 255 bytes is cut.
    pub fn bytes(&self) -> Vec<u8> {
        let packed = match self.packing {
            Packing::Plain => 0,
            Packing::Zstd => PACKED,
        };
        let signed = self.signature.as_ref().map_or(0, |_| SIGNED);
        let mut bytes = vec![VERSION, packed | signed];
        bytes.extend(self.stamp.bytes());
        let since = self
            .rendered_at
            .map(|at| at.duration_since(SystemTime::UNIX_EPOCH));
        let millis = since.map_or(0, |since| since.unwrap_or_default().as_millis());
        bytes.extend(u64::try_from(millis).unwrap_or(0).to_be_bytes());
        push(&mut bytes, &self.content_type);
        if let Some(signature) = &self.signature {
            push(&mut bytes, &signature.key_id);
            bytes.extend(signature.bytes);
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Reads a value without copying its payload.
    ///
    /// # Errors
    /// When a newer evenkeel wrote it, or something else than evenkeel did.
    pub fn read(bytes: &Bytes) -> Result<Self, UnreadableValue> {
        let (prefix, mut rest) = bytes
            .split_at_checked(PREFIX_BYTES)
            .ok_or(UnreadableValue::Malformed("length"))?;
        let (version, flags) = (prefix[0], prefix[1]);
        if version != VERSION || flags & !(PACKED | SIGNED) != 0 {
            return Err(UnreadableValue::Unknown { version, flags });
        }
        let stamp = Stamp::read(&prefix[2..]).ok_or(UnreadableValue::Malformed("order"))?;
        let millis = take(&mut rest).ok_or(UnreadableValue::Malformed("time"))?;
        let rendered_at = match u64::from_be_bytes(millis) {
            0 => None,
            millis => {
                let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis));
                Some(at.ok_or(UnreadableValue::Malformed("time"))?)
            }
        };
        let content_type = text(&mut rest).ok_or(UnreadableValue::Malformed("content type"))?;
        let signature = if flags & SIGNED == 0 {
            None
        } else {
            Some(Signature {
                key_id: text(&mut rest).ok_or(UnreadableValue::Malformed("key id"))?,
                bytes: take(&mut rest).ok_or(UnreadableValue::Malformed("signature"))?,
            })
        };
        let packing = if flags & PACKED == 0 {
            Packing::Plain
        } else {
            Packing::Zstd
        };
        Ok(Self {
            stamp,
            rendered_at,
            content_type,
            signature,
            packing,
            payload: bytes.slice_ref(rest),
        })
    }

    /// The first bytes of a stored value, by which `put` is told that it does not verify; none of
    /// one that is shorter.
    pub fn prefix(bytes: &[u8]) -> Option<[u8; PREFIX_BYTES]> {
        bytes.first_chunk().copied()
    }
}

fn push(bytes: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    bytes.push(length);
    bytes.extend(&text.as_bytes()[..usize::from(length)]);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn text(rest: &mut &[u8]) -> Option<Arc<str>> {
    let [length] = take(rest)?;
    let (taken, after) = rest.split_at_checked(usize::from(length))?;
    *rest = after;
    std::str::from_utf8(taken).ok().map(Into::into)
}
