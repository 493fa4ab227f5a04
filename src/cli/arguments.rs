//! How arguments are read that several commands take, and how wrong ones are shown.

use std::{fmt::Display, process::ExitCode, str::FromStr, time::Duration};

use clap::{Parser, error::ContextValue};

use super::terminal::complain;
use crate::printable::printable;

/// The longest duration: beyond it nothing waits, and the sums and formats of durations stay within what they can hold.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// The most bytes of a line about an argument.
const LONGEST_LINE: usize = 400;

/// Reads a duration.
///
/// # Errors
/// When it is none, or longer than any wait.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let read = humantime::parse_duration(text).ok();
    read.filter(|read| *read <= LONGEST).ok_or_else(|| {
        "expected a duration with its unit, such as 250ms or 30s, of 365 days at most".to_owned()
    })
}

/// Reads a number within bounds.
///
/// # Errors
/// When it is none, or beyond them.
pub(super) fn within<T>(text: &str, low: T, high: T) -> Result<T, String>
where
    T: Copy + FromStr + PartialOrd + Display,
{
    let read = text.parse().ok();
    read.filter(|read| (&low..=&high).contains(&read))
        .ok_or_else(|| format!("expected {low} to {high}"))
}

/// Reads the command line. What is wrong with it is said in lines that end, without what could pass for another line or a
/// password.
///
/// # Errors
/// The exit code, when it is wrong, or asks for help or the version.
pub(super) fn parse<T: Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|mut error| {
        let written: Vec<_> = error
            .context()
            .filter_map(|(kind, value)| shown(value).map(|shown| (kind, shown)))
            .collect();
        for (kind, shown) in written {
            error.insert(kind, shown);
        }
        let said = error.render().to_string();
        if said.lines().any(|line| line.len() > LONGEST_LINE) {
            let lines = said.lines().map(|line| printable(line, LONGEST_LINE));
            lines.for_each(complain);
        } else {
            // A reader that has left needs no message.
            let _unread = error.print();
        }
        u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
    })
}

/// What is shown of what was written.
fn shown(value: &ContextValue) -> Option<ContextValue> {
    let shown = |text: &String| crate::settings::shown(text);
    if let ContextValue::String(text) = value {
        return Some(ContextValue::String(shown(text)));
    }
    if let ContextValue::Strings(texts) = value {
        let texts = texts.iter().map(shown);
        return Some(ContextValue::Strings(texts.collect()));
    }
    None
}
