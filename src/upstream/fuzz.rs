//! What the fuzz targets read of a renderer's bytes.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead as _, ReadBuf};

use super::wire::{Condition, Wire};

/// A stream of bytes, read in pieces of a given size.
pub(crate) fn frames(stream: &[u8], size: usize) {
    let (mut wire, vitals) = Wire::new(stream);
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
    assert_eq!(vitals.received(), stream.len() as u64);
    let found = frames_of(stream);
    let is_leaving = found.iter().any(|(kind, _)| *kind == 7);
    // SETTINGS count once all of them are there, as what they set is read.
    let has_settings = found.contains(&(4, true));
    let condition = match (is_leaving, has_settings) {
        (true, _) => Condition::Leaving,
        (false, true) => Condition::Well,
        (false, false) => Condition::Silent,
    };
    assert_eq!(*vitals.condition().borrow(), condition);
    assert_eq!(vitals.has_left(), is_leaving);
    if let Some(stranger) = vitals.stranger() {
        let shown = stranger.to_string();
        assert!(
            shown.len() <= 128 && !shown.chars().any(char::is_control),
            "{shown:?}"
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
