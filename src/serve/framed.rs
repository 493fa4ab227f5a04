//! An answer as its bytes on the wire: a few that vary, then those of the revision, which were
//! encoded when it landed, and the payload.
//!
//! A gRPC frame is a flag, the length of the message, and the message (grpc.io, "gRPC over HTTP2").
//! Protobuf's fields may stand in any order, so what varies comes first.

use std::{io::IoSlice, time::Duration};

use bytes::{Buf, Bytes};

use super::response::{self, FIELDS};
use crate::{
    answer::{Answer, Outdated, Served},
    revision::varint,
};

/// What a gRPC frame begins with: whether it is compressed, and its length.
pub(super) const PREFIX: usize = 5;

/// Room for the prefix, four small numbers of two bytes, and two durations of at most 19.
const HEAD: usize = PREFIX + 4 * 2 + 2 * 19;

/// One frame of gRPC: what varies, then the revision, then the payload.
#[derive(Clone, Debug)]
pub(super) struct Framed {
    head: [u8; HEAD],
    /// How much of the head was taken, and how long it is.
    taken: u8,
    length: u8,
    revision: Bytes,
    payload: Bytes,
}

impl Framed {
    /// Frames an answer for a caller that has the payload of digest `known` already; empty is none.
    pub(super) fn new(answer: &Answer, known: &str) -> Self {
        let not_modified = answer.revision.has_digest(known);
        let mut head = Head {
            bytes: [0; HEAD],
            length: PREFIX,
        };
        head.put_number(FIELDS.served, response::served(answer.served) as u32);
        match answer.served {
            Served::Fresh | Served::Rendered => {}
            Served::Outdated(Outdated {
                refusal,
                outdated_for,
            }) => {
                let reason = response::not_refreshed(refusal.reason);
                head.put_number(FIELDS.not_refreshed, reason as u32);
                head.put_duration(FIELDS.outdated_for, outdated_for);
                head.put_duration(FIELDS.retry_after, refusal.retry_after);
            }
        }
        head.put_number(FIELDS.unconfirmed, answer.is_unconfirmed.into());
        let revision = &answer.revision;
        if not_modified {
            head.put_number(FIELDS.not_modified, 1);
            head.finish(revision.encoded(), Bytes::new())
        } else {
            let encoded = revision.encoded_with_payload_head().clone();
            head.finish(encoded, revision.payload.clone())
        }
    }

    /// The message alone, to be framed as a part of another.
    pub(super) fn without_prefix(mut self) -> Self {
        self.advance(PREFIX);
        self
    }

    fn head(&self) -> &[u8] {
        &self.head[usize::from(self.taken)..usize::from(self.length)]
    }
}

impl Buf for Framed {
    fn remaining(&self) -> usize {
        self.head().len() + self.revision.len() + self.payload.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.taken < self.length {
            self.head()
        } else if !self.revision.is_empty() {
            &self.revision
        } else {
            &self.payload
        }
    }

    fn advance(&mut self, count: usize) {
        let of_head = count.min(self.head().len());
        self.taken += u8::try_from(of_head).expect("BUG: a head is short");
        let of_revision = (count - of_head).min(self.revision.len());
        self.revision.advance(of_revision);
        self.payload.advance(count - of_head - of_revision);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let chunks = [self.head(), &self.revision, &self.payload];
        let chunks = chunks.into_iter().filter(|chunk| !chunk.is_empty());
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        count
    }
}

/// A head that is being written.
struct Head {
    bytes: [u8; HEAD],
    length: usize,
}

impl Head {
    fn put(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn put_varint(&mut self, number: u64) {
        varint::write(number, |byte| self.put(byte));
    }

    /// A field with a small number; 0 is left out.
    fn put_number(&mut self, field: u8, number: u32) {
        if number != 0 {
            self.put(field << 3);
            self.put_varint(number.into());
        }
    }

    fn put_duration(&mut self, field: u8, duration: Duration) {
        let duration = response::duration(duration);
        self.put(field << 3 | 2);
        let length_at = self.length;
        self.put(0);
        if duration.seconds != 0 {
            self.put(1 << 3);
            self.put_varint(duration.seconds.cast_unsigned());
        }
        self.put_number(2, duration.nanos.cast_unsigned());
        let length = self.length - length_at - 1;
        self.bytes[length_at] = u8::try_from(length).expect("BUG: a duration is short");
    }

    fn finish(mut self, revision: Bytes, payload: Bytes) -> Framed {
        let message = self.length - PREFIX + revision.len() + payload.len();
        let message = u32::try_from(message).expect("BUG: a payload is far below 4 GiB");
        self.bytes[1..PREFIX].copy_from_slice(&message.to_be_bytes());
        Framed {
            head: self.bytes,
            taken: 0,
            length: u8::try_from(self.length).expect("BUG: a head is short"),
            revision,
            payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::{
        proto::v1,
        reason::{NotRefreshed, Refusal},
        revision::{Order, Project, Revision},
    };
    use std::{
        sync::Arc,
        time::{SystemTime, UNIX_EPOCH},
    };

    fn times() -> impl Strategy<Value = Option<SystemTime>> {
        let time = (any::<i32>(), 0_u32..1_000_000_000).prop_map(|(seconds, nanoseconds)| {
            let whole = Duration::from_secs(seconds.unsigned_abs().into());
            let rest = Duration::from_nanos(nanoseconds.into());
            if seconds < 0 {
                UNIX_EPOCH - whole + rest
            } else {
                UNIX_EPOCH + whole + rest
            }
        });
        prop::option::of(time)
    }

    fn durations() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            any::<Duration>(),
            (0_u64..100_000).prop_map(Duration::from_millis),
        ]
    }

    fn servings() -> impl Strategy<Value = Served> {
        let outdated = (
            prop::sample::select(NotRefreshed::ALL.as_slice()),
            durations(),
            durations(),
        )
            .prop_map(|(reason, retry_after, outdated_for)| {
                Served::Outdated(Outdated {
                    refusal: Refusal {
                        reason,
                        retry_after,
                    },
                    outdated_for,
                })
            });
        prop_oneof![Just(Served::Fresh), Just(Served::Rendered), outdated]
    }

    proptest! {
        /// The generated code reads what is written by hand as what it would have written itself,
        /// in whatever steps it is taken.
        #[test]
        fn is_what_the_generated_code_says(
            name in "[A-Za-z0-9._:/-]{1,253}",
            (rollout, number) in any::<(u64, u64)>(),
            rendered_at in times(),
            content_type in ".{0,40}",
            payload in prop::collection::vec(any::<u8>(), 1..500),
            served in servings(),
            knows in any::<bool>(),
            is_unconfirmed in any::<bool>(),
            steps in prop::collection::vec(1_usize..40, 1..20),
        ) {
            let project = Project::new(&name).unwrap();
            let order = Order::new(rollout, number);
            let revision = Revision::new(project, order, rendered_at, content_type.into(), &payload);
            let known = if knows { revision.digest.to_string() } else { String::new() };
            let answer = Answer { revision: Arc::new(revision), served, is_unconfirmed };
            let mut framed = Framed::new(&answer, &known);
            let expected = crate::serve::fake::message(&answer, &known);

            let mut slices = [IoSlice::new(&[]); 4];
            let count = framed.chunks_vectored(&mut slices);
            let gathered: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            let mut taken = Vec::new();
            let mut steps = steps.into_iter().cycle();
            while framed.has_remaining() {
                let step = steps.next().unwrap().min(framed.chunk().len());
                taken.extend_from_slice(&framed.chunk()[..step]);
                framed.advance(step);
            }
            prop_assert_eq!(&taken, &gathered);
            prop_assert_eq!(taken[0], 0);
            let length = u32::from_be_bytes(taken[1..5].try_into().unwrap());
            prop_assert_eq!(length as usize, taken.len() - PREFIX);
            let read = v1::GetConfigResponse::decode(&taken[PREFIX..]).unwrap();
            prop_assert_eq!(read, expected);
        }
    }
}
