//! The log: text or JSON lines, written by a thread of its own.
//!
//! A log pipe that is not emptied must not stall a lookup: lines go through a bounded buffer, and
//! what finds it full is lost. What is logged is decided where it happens; no payload ever is.

mod lines;
#[cfg(any(test, feature = "otlp"))]
pub mod losses;

use std::{
    env,
    ffi::OsString,
    io::{self, IsTerminal as _, Write},
    str::FromStr,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{Registry, filter::Targets, layer::SubscriberExt as _, reload};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which log lines are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Level(Targets);

/// A level that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no level: a level is off, error, warn, info, debug, trace, or pairs of target and level such as \
     info,evenkeel::serve=debug"
)]
pub struct InvalidLevel(String);

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the process has a log already")]
pub struct AlreadyInstalled(#[from] tracing::subscriber::SetGlobalDefaultError);

/// Keeps the log's thread; dropping it writes out what is buffered, for at most about a second.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct Log {
    _worker: WorkerGuard,
    level: LevelHandle,
    dropped: DroppedLines,
}

/// Counts the lines that were lost because the log was not read. Clones count the same.
#[derive(Clone, Debug)]
pub struct DroppedLines(ErrorCounter);

/// Changes which lines of a log are written. Clones change the same log.
#[derive(Clone, Debug)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

/// Lines that wait for the writer: some 100 KiB of text at most in ordinary lines.
const BUFFERED_LINES: usize = 1024;

impl FromStr for Level {
    type Err = InvalidLevel;

    /// Takes a single level, which holds for this crate and lets libraries speak at `warn` at most,
    /// or a list of targets.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidLevel(text.to_owned());
        if text.trim().is_empty() {
            return Err(invalid());
        }
        if let Ok(level) = text.parse::<LevelFilter>() {
            return Ok(Self(
                Targets::new()
                    .with_default(level.min(LevelFilter::WARN))
                    .with_target(env!("CARGO_PKG_NAME"), level),
            ));
        }
        let is_pair = |part: &str| match part.split_once('=') {
            Some((_, level)) => level.parse::<LevelFilter>().is_ok(),
            None => part.parse::<LevelFilter>().is_ok(),
        };
        if !text.split(',').all(is_pair) {
            return Err(invalid());
        }
        text.parse().map(Self).map_err(|_| invalid())
    }
}

/// Sets the log of the process up, on its standard error. Text is in colours on a terminal, unless
/// `NO_COLOR` is set or the terminal is a dumb one.
///
/// # Errors
/// When the process has one already.
pub fn install(format: Format, level: Level) -> Result<Log, AlreadyInstalled> {
    let colours = if io::stderr().is_terminal() {
        Colours::allowed(|name| env::var_os(name))
    } else {
        Colours::Off
    };
    let (writer, worker) = lossy(io::stderr());
    let dropped = DroppedLines(writer.error_counter());
    let (subscriber, level) = subscriber(format, level, colours, writer);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(Log {
        _worker: worker,
        level,
        dropped,
    })
}

impl Log {
    /// What changes its level.
    pub fn level(&self) -> LevelHandle {
        self.level.clone()
    }

    /// What counts the lines that it loses.
    pub fn dropped(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl DroppedLines {
    /// How many were lost since the start.
    pub fn count(&self) -> u64 {
        self.0.dropped_lines() as u64
    }
}

impl LevelHandle {
    /// Writes the lines of this level from now on.
    pub fn set(&self, level: Level) {
        // It fails only once the log is gone, and then no line is written at any level.
        let _ = self.0.reload(level.0);
    }
}

/// Whether lines of text are in colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    On,
    Off,
}

impl Colours {
    /// What the environment allows: <https://no-color.org> says that any text but the empty one in
    /// `NO_COLOR` forbids colours.
    fn allowed(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_dumb = variable("TERM").is_some_and(|terminal| terminal == "dumb");
        if is_dumb || variable("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            Self::Off
        } else {
            Self::On
        }
    }
}

fn lossy(out: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(BUFFERED_LINES)
        .thread_name("log")
        .finish(out)
}

fn subscriber(
    format: Format,
    level: Level,
    colours: Colours,
    writer: NonBlocking,
) -> (Box<dyn Subscriber + Send + Sync>, LevelHandle) {
    let (level, handle) = reload::Layer::new(level.0);
    let registry = Registry::default().with(level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colours == Colours::On && format == Format::Text)
        .fmt_fields(lines::text_fields());
    let subscriber: Box<dyn Subscriber + Send + Sync> = match format {
        Format::Text => Box::new(registry.with(lines)),
        Format::Json => Box::new(registry.with(lines.event_format(lines::JsonLines))),
    };
    (subscriber, LevelHandle(handle))
}

#[cfg(test)]
mod tests;
