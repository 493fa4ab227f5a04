//! `evenkeel projects`: which projects fail, are outdated or missing, asked of one sidecar's admin
//! listener.

mod screen;

use std::{process::ExitCode, time::Duration};

use super::{
    UNREACHABLE,
    reply::{refusal, with_root_cause, write_projects_as_json},
    terminal::{complain, print, show},
};
use crate::client::{
    LookupError, SidecarAddress,
    admin::{self, AskedFilter},
};

/// Where the manifests of `deploy/` have the admin listener.
pub(super) const ADMIN: &str = "unix:/run/evenkeel/admin/admin.sock";

/// How long a sidecar may take: a list out of 50,000 projects takes it a second at the most, unless
/// its machine is busy.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

const EXIT_CODES: &str = "\
Exit codes:
   0  listed, even if there are none
   1  failed
   2  wrong usage
  69  no sidecar serves operators at the address

The longest outdated come first. NEXT is when a refresh may be expected. With `--output json`, stdout gets
one object in one line (schema evenkeel.projects/1). Ignore fields that you do not know.";

/// Arguments of `evenkeel projects`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct ProjectsArgs {
    /// List those whose last render failed, was rejected or brought less than was asked for
    #[arg(long, group = "filter")]
    failing: bool,

    /// List those that are held and not fresh
    #[arg(long, group = "filter")]
    outdated: bool,

    /// List those that are wanted while nothing is held, or that the renderer does not know
    #[arg(long, group = "filter")]
    missing: bool,

    /// The most projects to list, 1 to 500
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,

    /// Where the sidecar serves operators (`admin.listen`): HOST:PORT or unix:/PATH
    #[arg(long, default_value = ADMIN)]
    address: SidecarAddress,

    /// What to print
    #[arg(long, value_enum, default_value_t = ProjectsOutput::Text)]
    output: ProjectsOutput,
}

/// What operators' questions about projects print.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum ProjectsOutput {
    /// A screen of text
    Text,
    /// One JSON object in one line
    Json,
}

/// Asks, prints the list, and returns the result as an exit code.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn run(args: &ProjectsArgs) -> anyhow::Result<ExitCode> {
    let filter = match (args.failing, args.outdated, args.missing) {
        (true, _, _) => AskedFilter::Failing,
        (_, true, _) => AskedFilter::Outdated,
        (_, _, true) => AskedFilter::Missing,
        (false, false, false) => AskedFilter::All,
    };
    let asked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(admin::projects(&args.address, filter, args.limit, TIMEOUT));
    let told = match asked {
        Ok(told) => told,
        Err(error) => return Ok(failed(error, &args.address, ExitCode::FAILURE)),
    };
    match args.output {
        ProjectsOutput::Text => show(screen::screen(&told, filter))?,
        ProjectsOutput::Json => print(|stdout| write_projects_as_json(&told, stdout))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Says why there is no answer; `not_found` is the code for what is not found.
pub(super) fn failed(
    error: LookupError,
    address: &SidecarAddress,
    not_found: ExitCode,
) -> ExitCode {
    let (message, code) = match error {
        LookupError::SidecarStatus(status) if status.code == tonic::Code::Unimplemented => (
            format!("what answers at {address} serves no operators: see `admin.listen`"),
            UNREACHABLE.into(),
        ),
        LookupError::SidecarStatus(status) if status.code == tonic::Code::NotFound => {
            (status.message, not_found)
        }
        LookupError::SidecarStatus(status) => (refusal(&status), ExitCode::FAILURE),
        unanswered @ (LookupError::Unreachable { .. }
        | LookupError::Broken { .. }
        | LookupError::Unanswered { .. }) => (with_root_cause(unanswered), UNREACHABLE.into()),
    };
    complain(format_args!("evenkeel: {message}"));
    code
}
