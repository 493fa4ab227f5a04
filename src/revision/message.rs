//! What of an answer never changes, encoded once: the fields `revision` and `payload` of the contract's `GetConfigResponse`.
//!
//! Protobuf's fields may stand in any order, so the few that vary are put before these bytes, and a lookup copies and encodes
//! nothing. Written by hand (protobuf.dev/programming-guides/encoding), so that the core needs no code of the contract; a test
//! of the serving edge holds it against the generated one.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Digest, Order, Project};

/// Numbers of the fields of `GetConfigResponse`.
const REVISION: u32 = 1;
const PAYLOAD: u32 = 2;

/// An encoded revision with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The field `revision`, then the field `payload`.
    fields: Bytes,
    /// Where the field `payload` begins.
    stamp_ends: usize,
    /// Where the payload itself begins.
    payload_begins: usize,
}

impl Message {
    pub(super) fn new(
        project: &Project,
        order: Order,
        rendered_at: Option<SystemTime>,
        digest: Digest,
        content_type: &str,
        payload: &[u8],
    ) -> Self {
        let mut stamp = Vec::with_capacity(128 + project.as_str().len() + content_type.len());
        put_bytes(&mut stamp, 1, project.as_str().as_bytes());
        put_number(&mut stamp, 2, order.rollout);
        put_number(&mut stamp, 3, order.number);
        if let Some(at) = rendered_at {
            let (seconds, nanoseconds) = timestamp(at);
            let mut inner = Vec::new();
            put_number(&mut inner, 1, seconds.cast_unsigned());
            put_number(&mut inner, 2, nanoseconds.into());
            put_message(&mut stamp, 4, &inner);
        }
        put_bytes(&mut stamp, 5, digest.to_string().as_bytes());
        put_bytes(&mut stamp, 6, content_type.as_bytes());

        // Two tags and two lengths take 22 bytes at most.
        let mut fields = BytesMut::with_capacity(22 + stamp.len() + payload.len());
        put_message(&mut fields, REVISION, &stamp);
        let stamp_ends = fields.len();
        put_bytes(&mut fields, PAYLOAD, payload);
        Self {
            payload_begins: fields.len() - payload.len(),
            stamp_ends,
            fields: fields.freeze(),
        }
    }

    /// Both fields.
    pub(super) const fn fields(&self) -> &Bytes {
        &self.fields
    }

    /// The field `revision` alone.
    pub(super) fn stamp(&self) -> Bytes {
        self.fields.slice(..self.stamp_ends)
    }

    pub(super) fn payload(&self) -> Bytes {
        self.fields.slice(self.payload_begins..)
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

/// Bytes or a text, unless empty, which is left out.
fn put_bytes(to: &mut impl BufMut, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_message(to, field, bytes);
    }
}

/// A message, which is there even when empty.
fn put_message(to: &mut impl BufMut, field: u32, message: &[u8]) {
    put_varint(to, u64::from(field << 3 | 2));
    put_varint(to, message.len() as u64);
    to.put_slice(message);
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn put_varint(to: &mut impl BufMut, mut number: u64) {
    while number >= 0x80 {
        to.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    to.put_u8(number as u8);
}
