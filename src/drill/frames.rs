//! Counts the renders in what a sidecar sends to its renderer: DATA frames of HTTP/2 (RFC 9113,
//! section 4.1) that name the canary.
//!
//! Pure: bytes in, a count out. Of a frame it keeps only what it needs to find a name that is split
//! between two reads.

/// What a client sends first (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// The bytes before the payload of a frame.
const HEAD: usize = 9;
/// The type of a DATA frame.
const DATA: u8 = 0;

/// Reads one direction of one connection.
#[derive(Debug)]
pub(super) struct RenderFrames {
    name: Vec<u8>,
    /// Bytes of the preface, or of a payload, that are still to come.
    left: usize,
    head: Vec<u8>,
    /// The end of what came of a DATA frame, while the name has not been seen in it.
    tail: Option<Vec<u8>>,
}

impl RenderFrames {
    /// Starts with the preface of a connection.
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.as_bytes().to_vec(),
            left: PREFACE,
            head: Vec::new(),
            tail: None,
        }
    }

    /// Reads on, and tells how many frames named the canary.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> u32 {
        let mut named = 0;
        while !bytes.is_empty() {
            if self.left == 0 {
                let (head, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if let [high, middle, low, kind, ..] = *self.head
                    && self.head.len() == HEAD
                {
                    self.left =
                        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                    self.tail = (kind == DATA).then(Vec::new);
                    self.head.clear();
                }
                continue;
            }
            let (payload, rest) = bytes.split_at(bytes.len().min(self.left));
            self.left -= payload.len();
            bytes = rest;
            if let Some(tail) = &mut self.tail {
                tail.extend_from_slice(payload);
                if tail.windows(self.name.len()).any(|part| part == self.name) {
                    named += 1;
                    self.tail = None;
                } else {
                    let known = tail.len().saturating_sub(self.name.len());
                    tail.drain(..known);
                }
            }
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        [&head, payload].concat()
    }

    fn sent() -> Vec<u8> {
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, &[0; 18]),
            frame(1, b"/evenkeel.v1.RenderService/Render of canary"),
            frame(DATA, b"\0\0\0\0\x0c\x12\x06canary\x18\x01"),
            frame(DATA, b""),
            frame(8, &[0; 4]),
            frame(DATA, b"\0\0\0\0\x0c\x12\x06parrot\x18\x01"),
            frame(DATA, b"\0\0\0\0\x0ecanary-drill-1 canary"),
        ]
        .concat()
    }

    #[test]
    fn data_that_names_the_canary_is_counted_once_a_frame_however_it_is_split() {
        for size in 1..=sent().len() {
            let mut frames = RenderFrames::new("canary");
            let named: u32 = sent().chunks(size).map(|part| frames.read(part)).sum();
            assert_eq!(named, 2, "{size} bytes at a time");
        }
    }

    #[test]
    fn no_bytes_make_it_fail_or_keep_more_than_a_name() {
        let mut frames = RenderFrames::new("canary");
        for round in 0..1_000_u32 {
            let noise: Vec<_> = (0..997).map(|at| (at * round % 251) as u8).collect();
            frames.read(&noise);
            assert!(frames.head.len() < HEAD);
            assert!(frames.tail.as_ref().is_none_or(|tail| tail.len() <= 6));
        }
    }
}
