//! Reads along in the bytes that a renderer sends, to learn what hyper does not report: how many
//! arrived, whether its HTTP/2 SETTINGS arrived, and whether it is leaving.
//!
//! hyper's handshake ends when our own half is written, so a black hole looks connected; and its
//! connection notices a GOAWAY only with the next request, which then fails. Both are frames of a
//! kind that stands in the clear in each frame's header (RFC 9113 §4.1), so counting through the
//! headers is enough; whether the frames are sound is hyper's to judge. Of the SETTINGS the number
//! of streams is read too, which hyper applies but does not tell.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
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
pub(super) enum Condition {
    /// Nothing was heard of the renderer yet.
    Silent,
    /// The renderer's SETTINGS arrived: the first contact.
    Well,
    /// A call ran into its deadline without a byte having arrived.
    Suspect,
    /// The renderer accepts no new calls (GOAWAY).
    Leaving,
    /// The connection has ended.
    Ended,
}

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Vitals {
    received: AtomicU64,
    has_left: AtomicBool,
    /// The first bytes, once they are known not to be of HTTP/2.
    stranger: OnceLock<Stranger>,
    /// How many streams the peer takes at once; none when it sets no limit.
    streams: OnceLock<u32>,
    condition: watch::Sender<Condition>,
}

impl Vitals {
    /// How many bytes have arrived.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Whether the renderer ended the connection in good order.
    pub(super) fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }

    /// How many streams the peer said first that it takes at once; none when it sets no limit.
    pub(super) fn streams(&self) -> Option<u32> {
        self.streams.get().copied()
    }

    /// Records one of the peer's SETTINGS.
    fn set(&self, id: u16, value: u32) {
        if id == MAX_CONCURRENT_STREAMS {
            // The first counts, as it is read once: when the connection is first used.
            let _ = self.streams.set(value);
        }
    }

    /// What the peer speaks, when that is not HTTP/2.
    pub(super) fn stranger(&self) -> Option<Stranger> {
        self.stranger.get().cloned()
    }

    /// Follows the condition.
    pub(super) fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// Records that the condition is `condition` or worse.
    pub(super) fn worsen_to(&self, condition: Condition) {
        self.condition.send_if_modified(|known| {
            let is_news = *known < condition;
            *known = condition.max(*known);
            is_news
        });
    }
}

/// A byte stream that is listened to.
#[derive(Debug)]
pub(super) struct Wire<T> {
    io: T,
    frames: FrameCounter,
    vitals: Arc<Vitals>,
}

impl<T> Wire<T> {
    /// Listens to `io` from its first byte.
    pub(super) fn new(io: T) -> (Self, Arc<Vitals>) {
        let vitals = Arc::new(Vitals {
            received: AtomicU64::new(0),
            has_left: AtomicBool::new(false),
            stranger: OnceLock::new(),
            streams: OnceLock::new(),
            condition: watch::Sender::new(Condition::Silent),
        });
        let wire = Self {
            io,
            frames: FrameCounter::default(),
            vitals: Arc::clone(&vitals),
        };
        (wire, vitals)
    }
}

/// What a peer speaks that does not speak HTTP/2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// HTTP/1: the version, and the number of the status.
    Http1 {
        /// As `HTTP/1.1`.
        version: String,
        /// As `400`; empty when there is none.
        status: String,
    },
    /// TLS.
    Tls,
    /// Anything else: the first bytes, printable.
    Other(String),
}

impl Stranger {
    /// Looks at the first bytes of a peer. HTTP/2 starts with a SETTINGS frame (RFC 9113 §3.4),
    /// which is all that is looked for when there are enough of them.
    fn of(bytes: &[u8]) -> Option<Self> {
        const SHOWN: usize = 16;
        const TLS_RECORDS: std::ops::RangeInclusive<u8> = 0x14..=0x17;
        match bytes {
            [kind, 3, ..] if TLS_RECORDS.contains(kind) => Some(Self::Tls),
            [b'H', b'T', b'T', b'P', b'/', ..] => {
                let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
                let mut words = line.split(|byte| *byte == b' ');
                let mut word = |longest: usize| {
                    let word = words.next().unwrap_or_default();
                    word[..word.len().min(longest)].escape_ascii().to_string()
                };
                Some(Self::Http1 {
                    version: word(8),
                    status: word(3),
                })
            }
            [_, _, _, SETTINGS, _, 0, 0, 0, 0, ..] => None,
            _ if bytes.len() < HEADER_BYTES => None,
            _ => {
                let shown = bytes[..SHOWN.min(bytes.len())].escape_ascii();
                Some(Self::Other(shown.to_string()))
            }
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http1 { version, status } if status.is_empty() => {
                write!(f, "answers {version}, not HTTP/2")
            }
            Self::Http1 { version, status } => {
                write!(f, "answers {version} with status {status}, not HTTP/2")
            }
            Self::Tls => write!(f, "speaks TLS, not plain HTTP/2"),
            Self::Other(bytes) => write!(f, "answers \"{bytes}\", not HTTP/2"),
        }
    }
}

const HEADER_BYTES: usize = 9;
/// An identifier and a value (RFC 9113 §6.5.1).
const SETTING_BYTES: usize = 6;
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const GOAWAY: u8 = 7;

/// What is of interest in the frames of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameEvent {
    /// One of its SETTINGS.
    Setting { id: u16, value: u32 },
    /// The end of a SETTINGS frame.
    Settings,
    /// The header of a GOAWAY.
    Goaway,
}

/// Counts through the frames of one direction of HTTP/2.
#[derive(Debug, Default)]
struct FrameCounter {
    header: [u8; HEADER_BYTES],
    filled: usize,
    kind: u8,
    payload_left: usize,
    setting: [u8; SETTING_BYTES],
    setting_filled: usize,
}

impl FrameCounter {
    /// Calls `found` with what is of interest within `bytes`.
    fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameEvent)) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let (payload, rest) = bytes.split_at(self.payload_left.min(bytes.len()));
                self.payload_left -= payload.len();
                bytes = rest;
                if self.kind == SETTINGS {
                    self.read_settings(payload, &mut found);
                }
                continue;
            }
            let taken = (HEADER_BYTES - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER_BYTES {
                let [high, middle, low, kind, ..] = self.header;
                self.payload_left = u32::from_be_bytes([0, high, middle, low]) as usize;
                (self.kind, self.filled, self.setting_filled) = (kind, 0, 0);
                match kind {
                    SETTINGS if self.payload_left == 0 => found(FrameEvent::Settings),
                    GOAWAY => found(FrameEvent::Goaway),
                    _ => {}
                }
            }
        }
    }

    /// Takes a piece of the payload of SETTINGS.
    fn read_settings(&mut self, payload: &[u8], found: &mut impl FnMut(FrameEvent)) {
        for byte in payload {
            self.setting[self.setting_filled] = *byte;
            self.setting_filled += 1;
            if self.setting_filled == SETTING_BYTES {
                self.setting_filled = 0;
                let [id_high, id_low, value @ ..] = self.setting;
                found(FrameEvent::Setting {
                    id: u16::from_be_bytes([id_high, id_low]),
                    value: u32::from_be_bytes(value),
                });
            }
        }
        if self.payload_left == 0 {
            found(FrameEvent::Settings);
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
        if this.vitals.received() == 0
            && let Some(stranger) = Stranger::of(bytes)
        {
            let _ = this.vitals.stranger.set(stranger);
        }
        this.vitals
            .received
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        this.frames.pass(bytes, |found| match found {
            FrameEvent::Setting { id, value } => this.vitals.set(id, value),
            FrameEvent::Settings => this.vitals.worsen_to(Condition::Well),
            FrameEvent::Goaway => {
                this.vitals.has_left.store(true, Ordering::Relaxed);
                this.vitals.worsen_to(Condition::Leaving);
            }
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
    fn frames_and_settings_are_found_however_their_bytes_are_cut() {
        let mut stream = frame(SETTINGS, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 1, 44]);
        stream.extend(frame(SETTINGS, &[]));
        stream.extend(frame(0, &[GOAWAY; 70_000]));
        stream.extend(frame(GOAWAY, &[4; 8]));
        let (window, streams) = (
            FrameEvent::Setting {
                id: 4,
                value: 65_536,
            },
            FrameEvent::Setting {
                id: MAX_CONCURRENT_STREAMS,
                value: 300,
            },
        );
        for size in [1, 2, 8, 9, 10, 4_096, stream.len()] {
            let mut frames = FrameCounter::default();
            let mut found = Vec::new();
            for piece in stream.chunks(size) {
                frames.pass(piece, |what| found.push(what));
            }
            let expected = [
                window,
                streams,
                FrameEvent::Settings,
                FrameEvent::Settings,
                FrameEvent::Goaway,
            ];
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_stranger_is_named_by_its_first_bytes() {
        let name = |bytes: &[u8]| Stranger::of(bytes).map(|stranger| stranger.to_string());
        assert_eq!(name(&frame(SETTINGS, &[0; 6])), None);
        assert_eq!(name(&frame(SETTINGS, &[])), None);
        for (bytes, said) in [
            (
                b"HTTP/1.1 400 Bad Request\r\n".as_slice(),
                "answers HTTP/1.1 with status 400, not HTTP/2",
            ),
            (b"HTTP/1.0", "answers HTTP/1.0, not HTTP/2"),
            (&[0x15, 3, 1, 0, 2, 2, 70], "speaks TLS, not plain HTTP/2"),
            (
                b"SSH-2.0-OpenSSH\r\n\x1b[31m",
                "answers \"SSH-2.0-OpenSSH\\r\", not HTTP/2",
            ),
            (
                b"<!DOCTYPE HTML PUBLIC",
                "answers \"<!DOCTYPE HTML P\", not HTTP/2",
            ),
        ] {
            assert_eq!(name(bytes).as_deref(), Some(said));
        }
    }

    #[test]
    fn health_never_gets_better() {
        let (_, vitals) = Wire::new(tokio::io::empty());
        vitals.worsen_to(Condition::Leaving);
        vitals.worsen_to(Condition::Well);
        assert_eq!(*vitals.condition().borrow(), Condition::Leaving);
    }
}
