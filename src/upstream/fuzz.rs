//! What the fuzz targets read of a renderer's bytes.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead as _, ReadBuf};

use super::wire::{Health, Wire};

/// A stream of bytes, read in pieces of so many.
pub(crate) fn frames(stream: &[u8], size: usize) {
    let (mut wire, pulse) = Wire::new(stream);
    let mut context = Context::from_waker(Waker::noop());
    let mut piece = vec![0; size];
    loop {
        let mut buffer = ReadBuf::new(&mut piece);
        let read = Pin::new(&mut wire).poll_read(&mut context, &mut buffer);
        assert!(
            matches!(read, Poll::Ready(Ok(()))),
            "a slice is always ready"
        );
        if buffer.filled().is_empty() {
            break;
        }
    }
    assert_eq!(pulse.received(), stream.len() as u64);
    let found = frames_of(stream);
    let is_leaving = found.iter().any(|(kind, _)| *kind == 7);
    // SETTINGS count once all of them are there, as what they set is read.
    let has_settings = found.contains(&(4, true));
    let health = match (is_leaving, has_settings) {
        (true, _) => Health::Leaving,
        (false, true) => Health::Well,
        (false, false) => Health::Silent,
    };
    assert_eq!(*pulse.health().borrow(), health);
    assert_eq!(pulse.has_left(), is_leaving);
    if let Some(stranger) = pulse.stranger() {
        let said = stranger.to_string();
        assert!(
            said.len() <= 128 && !said.chars().any(char::is_control),
            "{said:?}"
        );
    }
}

/// The kind of each frame whose header is there, and whether its payload is, too (RFC 9113 §4.1).
fn frames_of(mut stream: &[u8]) -> Vec<(u8, bool)> {
    let mut frames = Vec::new();
    while let Some((&[high, middle, low, kind, ..], rest)) = stream.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        frames.push((kind, rest.len() >= length));
        stream = rest.get(length..).unwrap_or_default();
    }
    frames
}
