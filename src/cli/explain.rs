//! `evenkeel explain`: why a project is not refreshed, gate by gate, asked of one sidecar's admin
//! listener.

mod screen;

use std::process::ExitCode;

use super::{
    projects::{ADMIN, ProjectsOutput, TIMEOUT, failed},
    reply::write_explain_as_json,
    terminal::{print, show},
};
use crate::{
    client::{SidecarAddress, admin},
    revision::Project,
};

const NOT_FOUND: u8 = 3;

const EXIT_CODES: &str = "\
Exit codes:
   0  explained
   1  failed
   2  wrong usage
   3  the project is neither held nor wanted
  69  no sidecar serves operators at the address

The gates stand in the order in which they are asked: the first that says no is what stops the project. With
`--output json`, stdout gets one object in one line (schema evenkeel.explain/1). Ignore fields that you do
not know.";

/// Arguments of `evenkeel explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct ExplainArgs {
    /// The project to explain
    #[arg(value_parser = Project::new)]
    project: Project,

    /// Where the sidecar serves operators (`admin.listen`): HOST:PORT or unix:/PATH
    #[arg(long, default_value = ADMIN)]
    address: SidecarAddress,

    /// What to print
    #[arg(long, value_enum, default_value_t = ProjectsOutput::Text)]
    output: ProjectsOutput,
}

/// Asks, prints the explanation, and returns the result as an exit code.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let asked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(admin::explain(&args.address, &args.project, TIMEOUT));
    let told = match asked {
        Ok(told) => told,
        Err(error) => return Ok(failed(error, &args.address, NOT_FOUND.into())),
    };
    match args.output {
        ProjectsOutput::Text => show(screen::screen(&told))?,
        ProjectsOutput::Json => print(|stdout| write_explain_as_json(&told, stdout))?,
    }
    Ok(ExitCode::SUCCESS)
}
