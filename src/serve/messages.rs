//! The messages of a watch or a batch, framed from the bytes that are held, as a lookup's answer
//! is.
//!
//! They are handed on in chunks, and each chunk only once the one before was taken: so a slow
//! caller pins one message of a watch, and of a batch what it has not taken yet.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use futures_util::Stream;
use prost::{
    Message,
    encoding::{encode_varint, encoded_len_varint},
};
use tonic::Status;

use super::{
    framed::{Framed, PREFIX},
    unread,
};
use crate::proto::v1;

/// The field `answer` of a `ConfigResult` and of a `WatchConfigResponse`, and `results` of a batch:
/// of length-delimited kind.
const FIELD_1: u8 = 1 << 3 | 2;

/// How many bytes of small results of a batch are copied into one chunk: each by itself would be a
/// frame of HTTP/2.
const GATHERED: usize = 16 * 1024;

/// The largest result that is small.
const SMALL: usize = 4 * 1024;

/// Bytes on their way: some that were written for this call, then an answer from the held bytes.
#[derive(Debug)]
pub(super) struct Chunk {
    head: Bytes,
    framed: Option<Framed>,
    _pin: Option<unread::Pin>,
    stream: unread::Stream,
    /// Tells the messages that it was taken, once the body has handed it on.
    under_way: Option<ChunkUnderWay>,
}

/// One result of a batch.
#[derive(Debug)]
pub(super) enum BatchResult {
    /// What was found, and what it pins.
    Answer(Framed, Option<unread::Pin>),
    /// Why it was not.
    Failure(v1::Failure),
}

/// The chunks of a call's messages, one at a time.
pub(super) struct Messages {
    chunks: Pin<Box<dyn Stream<Item = Result<Chunk, Status>> + Send>>,
    taken: Arc<ChunkTaken>,
}

/// Whether the last chunk was taken, and who waits for that.
#[derive(Debug, Default)]
struct ChunkTaken {
    is_under_way: AtomicBool,
    waits: Mutex<Option<Waker>>,
}

/// Tells that a chunk was taken, or dropped, when it is dropped.
#[derive(Debug)]
struct ChunkUnderWay(Arc<ChunkTaken>);

impl Chunk {
    /// A message of a watch that brings an answer.
    pub(super) fn answer(framed: Framed, pin: Option<unread::Pin>, stream: unread::Stream) -> Self {
        let framed = framed.without_prefix();
        let length = framed.remaining();
        let mut head = BytesMut::with_capacity(PREFIX + FIELD);
        put_prefix(&mut head, field_len(length));
        put_field(&mut head, length);
        Self {
            head: head.freeze(),
            framed: Some(framed),
            _pin: pin,
            stream,
            under_way: None,
        }
    }

    /// A whole message.
    pub(super) fn message(message: &impl Message, stream: unread::Stream) -> Self {
        let mut head = BytesMut::with_capacity(PREFIX + message.encoded_len());
        put_prefix(&mut head, message.encoded_len());
        message
            .encode(&mut head)
            .expect("BUG: a buffer grows as needed");
        Self::of(head, stream)
    }

    fn of(head: BytesMut, stream: unread::Stream) -> Self {
        Self {
            head: head.freeze(),
            framed: None,
            _pin: None,
            stream,
            under_way: None,
        }
    }
}

/// The most bytes that a field takes before its value.
const FIELD: usize = 6;

fn put_prefix(to: &mut BytesMut, length: usize) {
    to.put_u8(0);
    to.put_u32(u32::try_from(length).expect("BUG: a message is far below 4 GiB"));
}

fn put_field(to: &mut BytesMut, length: usize) {
    to.put_u8(FIELD_1);
    encode_varint(length as u64, to);
}

/// The length of a field with a value of that length.
fn field_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

impl BatchResult {
    /// The length of the `ConfigResult`.
    fn len(&self) -> usize {
        match self {
            Self::Answer(framed, _) => field_len(framed.remaining()),
            Self::Failure(failure) => field_len(failure.encoded_len()),
        }
    }
}

/// The chunks of a batch's only message.
pub(super) fn batch(
    results: Vec<BatchResult>,
    own: Option<unread::Pin>,
    stream: unread::Stream,
) -> impl Iterator<Item = Chunk> + Send {
    let length = results.iter().map(|result| field_len(result.len())).sum();
    let mut head = BytesMut::with_capacity(PREFIX);
    put_prefix(&mut head, length);
    let (mut begun, mut results) = (Some(head), results.into_iter());
    std::iter::from_fn(move || {
        // What the results themselves take is let go of with the last of them.
        let _ = &own;
        let mut head = begun.take().unwrap_or_default();
        for result in results.by_ref() {
            put_field(&mut head, result.len());
            match result {
                BatchResult::Failure(failure) => {
                    let result = v1::config_result::Result::Failure(failure);
                    result.encode(&mut head);
                }
                BatchResult::Answer(framed, pin) => {
                    put_field(&mut head, framed.remaining());
                    if framed.remaining() > SMALL {
                        let (framed, stream) = (Some(framed), stream.clone());
                        return Some(Chunk {
                            framed,
                            _pin: pin,
                            ..Chunk::of(head, stream)
                        });
                    }
                    head.put(framed);
                }
            }
            if head.len() >= GATHERED {
                return Some(Chunk::of(head, stream.clone()));
            }
        }
        (!head.is_empty()).then(|| Chunk::of(head, stream.clone()))
    })
}

impl Messages {
    /// The messages of these chunks. An error is the status that the call ends with.
    pub(super) fn new(chunks: impl Stream<Item = Result<Chunk, Status>> + Send + 'static) -> Self {
        Self {
            chunks: Box::pin(chunks),
            taken: Arc::default(),
        }
    }

    /// The next chunk, once the one before was taken.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Chunk, Status>>> {
        if self.taken.poll_under_way(context) {
            return Poll::Pending;
        }
        self.chunks.as_mut().poll_next(context).map_ok(|mut chunk| {
            self.taken.is_under_way.store(true, Relaxed);
            chunk.under_way = Some(ChunkUnderWay(Arc::clone(&self.taken)));
            chunk
        })
    }

    /// Whether a chunk is under way that its caller has not taken.
    pub(super) fn are_unread(&self) -> bool {
        self.taken.is_under_way.load(Relaxed)
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

impl ChunkTaken {
    /// Whether a chunk is under way; if so, wakes the caller when it no longer is.
    fn poll_under_way(&self, context: &Context<'_>) -> bool {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let is_under_way = self.is_under_way.load(Relaxed);
        *waits = is_under_way.then(|| context.waker().clone());
        is_under_way
    }
}

impl Drop for ChunkUnderWay {
    fn drop(&mut self) {
        let mut waits = self.0.waits.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.is_under_way.store(false, Relaxed);
        if let Some(waker) = waits.take() {
            waker.wake();
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.head.len() + self.framed.as_ref().map_or(0, Buf::remaining)
    }

    fn chunk(&self) -> &[u8] {
        match &self.framed {
            Some(framed) if self.head.is_empty() => framed.chunk(),
            Some(_) | None => &self.head,
        }
    }

    fn advance(&mut self, count: usize) {
        self.stream.mark_taken();
        let of_head = count.min(self.head.len());
        self.head.advance(of_head);
        if let Some(framed) = &mut self.framed {
            framed.advance(count - of_head);
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [std::io::IoSlice<'a>]) -> usize {
        let of_head = self.head.chunks_vectored(slices);
        let rest = &mut slices[of_head..];
        of_head
            + self
                .framed
                .as_ref()
                .map_or(0, |framed| framed.chunks_vectored(rest))
    }
}
