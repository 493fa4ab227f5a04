//! `evenkeel renderer`.

use std::process::ExitCode;

/// Arguments of `evenkeel renderer`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs it.
pub(super) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not there yet")
}
