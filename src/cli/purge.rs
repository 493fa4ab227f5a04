//! `evenkeel purge`: has one sidecar forget all that it knows of a project, asked on its admin
//! listener.

use std::process::ExitCode;

use super::{
    projects::{ADMIN, TIMEOUT, failed},
    terminal::say,
};
use crate::{
    client::{SidecarAddress, admin},
    revision::Project,
};

const NOT_FOUND: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes:
   0  forgotten
   1  failed
   2  wrong usage
   3  nothing was held of the project; what else was known of it is forgotten
  69  no sidecar serves operators at the address

What is held in memory and on disk is forgotten, and that the project does not exist. The next lookup renders
it anew. It is what helps when a renderer once sent a revision of an absurd order, which nothing can replace.";

/// Arguments of `evenkeel purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct PurgeArgs {
    /// The project to forget
    #[arg(value_parser = Project::new)]
    project: Project,

    /// Where the sidecar serves operators (`admin.listen`): HOST:PORT or unix:/PATH
    #[arg(long, default_value = ADMIN)]
    address: SidecarAddress,
}

/// Asks, says what was forgotten, and returns the result as an exit code.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn run(args: &PurgeArgs) -> anyhow::Result<ExitCode> {
    let asked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(admin::purge(&args.address, &args.project, TIMEOUT));
    let project = &args.project;
    match asked {
        Ok(Some(order)) => {
            say(format_args!("{project}: forgot revision {order}"))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(None) => {
            say(format_args!("{project}: nothing was held"))?;
            Ok(NOT_FOUND.into())
        }
        Err(error) => Ok(failed(error, &args.address, ExitCode::FAILURE)),
    }
}
