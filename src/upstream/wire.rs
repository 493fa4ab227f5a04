//! Listens in on the bytes that a renderer sends, to know what hyper does not tell: how many arrived, that its HTTP/2 SETTINGS
//! did, and that it is leaving.
//!
//! hyper's handshake ends when our own half is written, so a black hole looks connected; and its connection notices a GOAWAY
//! only with the next request, which then fails. Both are frames of a kind that stands in the clear in each frame's header
//! (RFC 9113 §4.1), so counting through the headers is enough; whether the frames are sound is hyper's to judge.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

/// How a connection fares. It only ever gets worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// Nothing was heard of the renderer yet.
    Silent,
    /// The renderer's SETTINGS arrived: the first contact.
    Well,
    /// A call ran into its deadline without a byte having arrived.
    Suspect,
    /// The renderer takes no more calls (GOAWAY).
    Leaving,
    /// The connection has ended.
    Ended,
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    received: AtomicU64,
    has_left: AtomicBool,
    health: watch::Sender<Health>,
}

impl Pulse {
    /// How many bytes have arrived.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the renderer ended the connection in good order.
    pub(super) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }

    /// Follows the health.
    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Notes that the health is `health`, or worse.
    pub(super) fn note(&self, health: Health) {
        self.health.send_if_modified(|known| {
            let is_news = *known < health;
            *known = health.max(*known);
            is_news
        });
    }
}

/// A byte stream that is listened to.
#[derive(Debug)]
pub(super) struct Wire<T> {
    io: T,
    frames: Frames,
    pulse: Arc<Pulse>,
}

impl<T> Wire<T> {
    /// Listens to `io` from its first byte.
    pub(super) fn new(io: T) -> (Self, Arc<Pulse>) {
        let pulse = Arc::new(Pulse {
            received: AtomicU64::new(0),
            has_left: AtomicBool::new(false),
            health: watch::Sender::new(Health::Silent),
        });
        let wire = Self {
            io,
            frames: Frames::default(),
            pulse: Arc::clone(&pulse),
        };
        (wire, pulse)
    }
}

const HEADER_BYTES: usize = 9;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Counts through the frames of one direction of HTTP/2.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    filled: usize,
    payload_left: usize,
}

impl Frames {
    /// Calls `found` with the kind of each frame whose header ends within `bytes`.
    fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(u8)) {
        while !bytes.is_empty() {
            let skipped = self.payload_left.min(bytes.len());
            self.payload_left -= skipped;
            bytes = &bytes[skipped..];

            let taken = (HEADER_BYTES - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];

            if self.filled == HEADER_BYTES {
                let [high, middle, low, kind, ..] = self.header;
                self.payload_left = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.filled = 0;
                found(kind);
            }
        }
    }
}

// === impl AsyncRead, AsyncWrite for Wire ===

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        let bytes = &buffer.filled()[before..];
        this.pulse
            .received
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        this.frames.pass(bytes, |kind| match kind {
            SETTINGS => this.pulse.note(Health::Well),
            GOAWAY => {
                this.pulse.has_left.store(true, Ordering::Relaxed);
                this.pulse.note(Health::Leaving);
            }
            _ => {}
        });
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 0];
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_are_found_however_their_bytes_are_cut() {
        let mut stream = frame(SETTINGS, &[7; 12]);
        stream.extend(frame(SETTINGS, &[]));
        stream.extend(frame(0, &[GOAWAY; 70_000]));
        stream.extend(frame(GOAWAY, &[4; 8]));
        for size in [1, 2, 8, 9, 10, 4_096, stream.len()] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                frames.pass(piece, |kind| found.push(kind));
            }
            assert_eq!(found, [SETTINGS, SETTINGS, 0, GOAWAY], "pieces of {size}");
        }
    }

    #[test]
    fn health_never_gets_better() {
        let (_, pulse) = Wire::new(tokio::io::empty());
        pulse.note(Health::Leaving);
        pulse.note(Health::Well);
        assert_eq!(*pulse.health().borrow(), Health::Leaving);
    }
}
