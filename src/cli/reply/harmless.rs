//! JSON of which a terminal obeys nothing and a reader hides nothing.
//!
//! JSON escapes the controls of C0 alone. What [`printable`](crate::printable) escapes beside them
//! is escaped here, as `\uXXXX`: the same string for a program.

use std::io;

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

use crate::printable::is_obeyed;

/// Writes a value as a line of JSON.
pub(super) fn write_line(value: &impl Serialize, writer: &mut impl io::Write) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *writer, Harmless))?;
    writer.write_all(b"\n")
}

struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        write_harmless(fragment, writer)
    }

    /// Outside of its strings, JSON that was written elsewhere holds no other of these characters
    /// than white space.
    fn write_raw_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        write_harmless(fragment, writer)
    }
}

/// Writes a piece of JSON with spaces for its line breaks.
fn write_harmless<W: ?Sized + io::Write>(text: &str, writer: &mut W) -> io::Result<()> {
    let mut written = 0;
    for (at, harmful) in text.match_indices(|it| is_obeyed(it) && it != '\t') {
        writer.write_all(&text.as_bytes()[written..at])?;
        written = at + harmful.len();
        if matches!(harmful, "\n" | "\r") {
            writer.write_all(b" ")?;
            continue;
        }
        for unit in harmful.encode_utf16() {
            write!(writer, "\\u{unit:04x}")?;
        }
    }
    writer.write_all(&text.as_bytes()[written..])
}
