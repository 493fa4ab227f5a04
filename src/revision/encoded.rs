//! What of an answer never changes beside the payload, encoded once: the field `revision` of the
//! contract's `GetConfigResponse`, and what the field `payload` begins with.
//!
//! Protobuf's fields may stand in any order, so the few that vary are put before these bytes, and a
//! lookup copies and encodes nothing. Written by hand (protobuf.dev/programming-guides/encoding),
//! so that the core needs no code of the contract; a test of the serving edge holds it against the
//! generated one. The payload stands alone: a few bytes before it would have an allocator take the
//! next larger size, which for most is a quarter more.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes};

use super::{Digest, Order, Project, varint};

/// Numbers of the fields of `GetConfigResponse`.
const REVISION: u32 = 1;
const PAYLOAD: u32 = 2;

/// An encoded revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EncodedRevision {
    /// The field `revision`, then the tag and the length of the field `payload`.
    bytes: Bytes,
    /// Where the field `payload` begins.
    revision_ends: usize,
}

impl EncodedRevision {
    pub(super) fn new(
        project: &Project,
        order: Order,
        rendered_at: Option<SystemTime>,
        digest: Digest,
        content_type: &str,
        payload: &[u8],
    ) -> Self {
        let mut revision = Vec::with_capacity(128 + project.as_str().len() + content_type.len());
        put_bytes(&mut revision, 1, project.as_str().as_bytes());
        put_number(&mut revision, 2, order.rollout);
        put_number(&mut revision, 3, order.number);
        if let Some(at) = rendered_at {
            let (seconds, nanoseconds) = timestamp(at);
            let mut inner = Vec::new();
            put_number(&mut inner, 1, seconds.cast_unsigned());
            put_number(&mut inner, 2, nanoseconds.into());
            put_bytes(&mut revision, 4, &inner);
        }
        put_bytes(&mut revision, 5, digest.to_string().as_bytes());
        put_bytes(&mut revision, 6, content_type.as_bytes());

        // Two tags and two lengths take 22 bytes at most.
        let mut bytes = Vec::with_capacity(22 + revision.len());
        put_head(&mut bytes, REVISION, revision.len());
        bytes.put_slice(&revision);
        let revision_ends = bytes.len();
        if !payload.is_empty() {
            put_head(&mut bytes, PAYLOAD, payload.len());
        }
        Self {
            bytes: bytes.into_boxed_slice().into(),
            revision_ends,
        }
    }

    /// The field `revision`.
    pub(super) fn revision(&self) -> Bytes {
        self.bytes.slice(..self.revision_ends)
    }

    /// The field `revision`, then the tag and the length of the field `payload`.
    pub(super) const fn with_payload_head(&self) -> &Bytes {
        &self.bytes
    }
}

/// Seconds since 1970, rounded down, and the nanoseconds above.
fn timestamp(at: SystemTime) -> (i64, u32) {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs().cast_signed(), since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = -before.as_secs().cast_signed();
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds - 1, 1_000_000_000 - nanoseconds),
            }
        }
    }
}

/// A number, unless it is 0, which is left out.
fn put_number(to: &mut impl BufMut, field: u32, number: u64) {
    if number != 0 {
        put_varint(to, u64::from(field << 3));
        put_varint(to, number);
    }
}

/// Bytes, a text or a message, unless empty, which is left out.
fn put_bytes(to: &mut impl BufMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_head(to, field, bytes.len());
        to.put_slice(bytes);
    }
}

/// What stands before a field of this many bytes: the tag and the length.
fn put_head(to: &mut impl BufMut, field: u32, length: usize) {
    put_varint(to, u64::from(field << 3 | 2));
    put_varint(to, length as u64);
}

fn put_varint(to: &mut impl BufMut, number: u64) {
    varint::write(number, |byte| to.put_u8(byte));
}
