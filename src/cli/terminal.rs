//! The terminal: the one way to stdout and stderr, for every command.
//!
//! A reader that has left (`| head`) is no error. Lines that cannot be written to stderr are lost,
//! since there is no other place to report them.

use std::{
    fmt::Display,
    future,
    io::{self, ErrorKind, IsTerminal as _, StdoutLock, Write as _},
    os::fd::AsFd as _,
};

use anyhow::Context as _;
use tokio::{io::Interest, net::unix::pipe::Sender};

use crate::printable::printable;

/// The most bytes of a line.
const MAX_LINE: usize = 4096;

/// Has something written to stdout, and sees it through.
///
/// # Errors
/// If stdout cannot be written to, as on a full disk.
pub(super) fn print(
    write: impl FnOnce(&mut StdoutLock<'static>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

/// Says a line on stdout, which stays one whatever it holds.
///
/// # Errors
/// As [`print`].
pub(super) fn say(line: impl Display) -> anyhow::Result<()> {
    let line = printable(line, MAX_LINE);
    print(|stdout| writeln!(stdout, "{line}"))
}

/// Says a line on stderr, which stays one whatever it holds.
pub(super) fn complain(line: impl Display) {
    let line = printable(line, MAX_LINE);
    let _lost = writeln!(io::stderr(), "{line}");
}

/// Shows several lines of our own words on stdout.
///
/// # Errors
/// As [`print`].
pub(super) fn show(lines: impl Display) -> anyhow::Result<()> {
    print(|stdout| writeln!(stdout, "{lines}"))
}

/// Shows several lines of our own words on stderr.
pub(super) fn tell(lines: impl Display) {
    let _lost = writeln!(io::stderr(), "{lines}");
}

/// Whether people read stdout.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Waits until the reader of stdout has left, as with `| head`; forever if stdout is no pipe.
pub(super) async fn reader_left() {
    // Files cannot be waited for, and have no reader that leaves. Nothing is written here, so that
    // it may go on blocking.
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let Ok(stdout) = stdout.and_then(Sender::from_owned_fd_unchecked) else {
        return future::pending().await;
    };
    let _left = stdout.ready(Interest::ERROR).await;
}
