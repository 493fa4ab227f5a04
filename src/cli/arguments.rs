//! How arguments are read that several commands take, and how wrong ones are shown.

use std::{process::ExitCode, time::Duration};

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{WRONG_USAGE, terminal::complain};
use crate::printable::printable;

/// The longest duration: beyond it nothing waits, and the sums and formats of durations stay within
/// what they can hold.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// The commands that a build without the feature `demo` lacks.
const OF_DEMO: [&str; 2] = ["demo", "renderer"];

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

/// Reads the command line. What is wrong with it is said in lines that end, without what could pass
/// for another line or a password.
///
/// # Errors
/// The exit code, when it is wrong, or asks for help or the version.
pub(super) fn parse<T: Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|mut error| {
        if let Some(command) = left_out(&error) {
            complain(missing(command));
            return WRONG_USAGE.into();
        }
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

/// The command that was asked for, if this build lacks it and others have it.
fn left_out(error: &clap::Error) -> Option<&'static str> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(asked)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    OF_DEMO.into_iter().find(|command| command == asked)
}

/// Says which builds have a command that this one lacks.
fn missing(command: &str) -> String {
    format!(
        "evenkeel: this build, as of the sidecar's image, has no command `{command}`; the image evenkeel-demo has it, \
         and every build with the feature `demo`, such as `cargo run --release -- {command}`"
    )
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

#[cfg(test)]
mod tests {
    use clap::Subcommand;

    use super::*;

    /// The command line of a build without the feature `demo`, in small.
    #[derive(Debug, Parser)]
    struct Without {
        #[command(subcommand)]
        _command: SampleCommand,
    }

    #[derive(Debug, Subcommand)]
    enum SampleCommand {
        Get,
        #[command(hide = true)]
        Render,
    }

    fn error(arguments: &[&str]) -> clap::Error {
        let arguments = ["evenkeel"].iter().chain(arguments);
        Without::try_parse_from(arguments).expect_err("it is wrong")
    }

    #[test]
    fn a_command_that_another_build_has_is_told_apart_from_a_mistyped_one() {
        for command in OF_DEMO {
            assert_eq!(
                left_out(&error(&[command, "--fault", "dead"])),
                Some(command)
            );
            assert_eq!(left_out(&error(&["help", command])), Some(command));
        }
        for mistyped in [&["dem"][..], &["get", "demo"], &["--demo"], &[]] {
            assert_eq!(left_out(&error(mistyped)), None, "{mistyped:?}");
        }
    }

    #[test]
    fn the_line_about_a_command_of_another_build_names_both() {
        let line = missing("renderer");
        for part in ["`renderer`", "image evenkeel-demo", "feature `demo`"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
