//! `evenkeel get`: looks a project's configuration up, as an application would.
//!
//! The payload goes to stdout untouched, so that it can be piped; how it was served goes to stderr.
//! A script learns the outcome from the exit code.

use std::{
    io::{self, IsTerminal as _, StdoutLock, Write as _},
    process::ExitCode,
    time::Duration,
};

use super::{
    UNREACHABLE,
    arguments::duration,
    reply::{refusal, summary, with_root_cause, write_json},
    terminal::{complain, print},
};
use crate::{
    client::{self, LookupCall, LookupError, SidecarAddress, SidecarStatus},
    revision::{Order, Project},
};

/// How long a sidecar may take to answer beyond the patience. It answers from memory, so only a
/// hung sidecar takes longer.
const TIMEOUT_BEYOND_PATIENCE: Duration = Duration::from_secs(10);

const FAILED: u8 = 1;
const NOT_FOUND: u8 = 3;
const NOT_NOW: u8 = 75;

const EXIT_CODES: &str = "\
Exit codes:
   0  answered, even if outdated (unless --fresh)
   1  failed, and asking again is useless
   2  wrong usage
   3  the renderer does not know the project
  69  the sidecar is unreachable or does not answer
  75  failed, and may be retried; or the answer is outdated and --fresh was given

With `--output json`, stdout gets one object in one line, with the fields project, rollout, number, digest,
content_type, rendered_at, served (FRESH, RENDERED, OUTDATED), not_refreshed (the reason),
outdated_for_seconds, retry_after_seconds, not_modified, payload_encoding and payload. A JSON payload is
embedded as it is, except that line breaks become spaces and characters that a terminal may obey are escaped
(payload_encoding json); any other payload is a base64 string (payload_encoding base64). Fields that do not
apply are null.";

/// Arguments of `evenkeel get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct GetArgs {
    /// The project to look up
    #[arg(value_parser = Project::new)]
    project: Project,

    /// Where the sidecar listens: HOST:PORT or unix:/PATH
    #[arg(long, env = "EVENKEEL_ADDRESS", default_value = "127.0.0.1:7400")]
    address: SidecarAddress,

    /// What to print
    #[arg(long, value_enum, default_value_t = GetOutput::Text)]
    output: GetOutput,

    /// How long to wait for a refresh, 0 for not at all [default: the sidecar's setting]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    patience: Option<Duration>,

    /// How long to wait for the sidecar [default: 10s beyond the patience]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// Fail instead of answering with a lower rollout
    #[arg(long, value_name = "ROLLOUT")]
    min_rollout: Option<u64>,

    /// Within --min-rollout, fail instead of answering with a lower number
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "min_rollout",
        default_value_t = 0
    )]
    min_number: u64,

    /// Fail instead of answering with a revision that has been outdated for longer
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_outdated: Option<Duration>,

    /// Leave the payload out if it has this digest
    #[arg(long, value_name = "SHA256")]
    known_digest: Option<String>,

    /// Print the answer, but exit with 75 if it is outdated
    #[arg(long)]
    fresh: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum GetOutput {
    /// The payload to stdout, a line about it to stderr
    Text,
    /// One JSON object in one line to stdout
    Json,
}

/// Looks the project up, prints the result, and returns it as an exit code.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn run(args: GetArgs) -> anyhow::Result<ExitCode> {
    let lookup = LookupCall {
        project: args.project,
        known_digest: args.known_digest,
        patience: args.patience,
        min_revision: args
            .min_rollout
            .map(|rollout| Order::new(rollout, args.min_number)),
        max_outdated: args.max_outdated,
    };
    let timeout = args
        .timeout
        .unwrap_or_else(|| args.patience.unwrap_or_default() + TIMEOUT_BEYOND_PATIENCE);

    let became = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(client::lookup(&args.address, lookup, timeout));
    let reply = match became {
        Ok(reply) => reply,
        Err(error) => return Ok(failed(error, &args.address)),
    };
    match args.output {
        GetOutput::Text => {
            let left_out = match reply.payload {
                Some(_) => "",
                None => ", not modified: the payload is left out",
            };
            complain(format_args!("{}{left_out}", summary(&reply)));
            let payload = reply.payload.as_deref().unwrap_or_default();
            print(|stdout| write_payload(payload, stdout))?;
        }
        GetOutput::Json => print(|stdout| write_json(&reply, stdout))?,
    }
    Ok(if args.fresh && reply.outdated.is_some() {
        ExitCode::from(NOT_NOW)
    } else {
        ExitCode::SUCCESS
    })
}

fn failed(error: LookupError, address: &SidecarAddress) -> ExitCode {
    let (message, code) = match error {
        LookupError::SidecarStatus(status) if status.code == tonic::Code::Unimplemented => (
            format!("what answers at {address} is no sidecar"),
            UNREACHABLE,
        ),
        LookupError::SidecarStatus(status) => (refusal(&status), exit_code(&status)),
        unanswered @ (LookupError::Unreachable { .. }
        | LookupError::Broken { .. }
        | LookupError::Unanswered { .. }) => (with_root_cause(unanswered), UNREACHABLE),
    };
    complain(format_args!("evenkeel: {message}"));
    ExitCode::from(code)
}

fn exit_code(status: &SidecarStatus) -> u8 {
    if status.code == tonic::Code::NotFound {
        NOT_FOUND
    } else if status.retry_after.is_some() {
        NOT_NOW
    } else {
        FAILED
    }
}

fn write_payload(payload: &[u8], stdout: &mut StdoutLock<'_>) -> io::Result<()> {
    stdout.write_all(payload)?;
    if stdout.is_terminal() && !payload.is_empty() && !payload.ends_with(b"\n") {
        stdout.write_all(b"\n")?;
    }
    Ok(())
}
