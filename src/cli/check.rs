//! `evenkeel check`: validates settings files without running a sidecar.
//!
//! It reads the files only, not the environment, so that the verdict is the same on a desk, in CI and in a pod.

use std::{path::PathBuf, process::ExitCode};

use super::{
    BAD_SETTINGS,
    terminal::{say, show, tell},
};
use crate::settings::{self, Sources};

/// Arguments of `evenkeel check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The files of one sidecar; each section stands in one of them.
    #[arg(value_name = "FILE", required_unless_present = "print_schema")]
    files: Vec<PathBuf>,
    /// Print the JSON Schema of a file of settings.
    #[arg(long, conflicts_with = "files")]
    print_schema: bool,
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.print_schema {
        show(format_args!("{:#}", settings::schema()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let sources = Sources {
        files: args.files,
        ..Sources::default()
    };
    Ok(match settings::load(&sources) {
        Ok(loaded) => {
            say(format_args!("ok  hash {}", loaded.hash))?;
            loaded.notes().iter().try_for_each(say)?;
            ExitCode::SUCCESS
        }
        Err(invalid) => {
            tell(invalid);
            BAD_SETTINGS.into()
        }
    })
}
