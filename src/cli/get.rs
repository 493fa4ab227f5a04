//! `evenkeel get`: looks a project's configuration up, as an application would.
//!
//! The payload goes to stdout untouched, so that it can be piped; how it was served goes to stderr. What a script needs to
//! know is in the exit code.

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
    client::{self, Address, Lookup, LookupError, Refused},
    revision::{Order, Project},
};

/// Beyond the patience, how long a sidecar may take to answer: it answers from memory, so this only ends a hung one.
const TIMEOUT_BEYOND_PATIENCE: Duration = Duration::from_secs(10);

const FAILED: u8 = 1;
const NOT_FOUND: u8 = 3;
const NOT_NOW: u8 = 75;

const EXIT_CODES: &str = "\
Exit codes:
   0  answered, be it outdated (unless --fresh)
   1  failed, and asking again is of no use
   2  wrong usage
   3  the renderer knows no such project
  69  the sidecar is unreachable, or does not answer
  75  not now: failed, and may be retried; or --fresh, and the answer is outdated

With `--output json` stdout gets one object: project, rollout, number, digest, content_type, rendered_at, served
(FRESH, RENDERED, OUTDATED), not_refreshed (the reason), outdated_for_seconds, retry_after_seconds, not_modified,
payload_encoding and payload, in one line. A payload that is JSON is embedded as it is, but for its line breaks, which
become spaces (payload_encoding json); any other is a string of base64 (payload_encoding base64). What does not apply is null.";

/// Arguments of `evenkeel get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    /// Whose configuration
    #[arg(value_parser = Project::new)]
    project: Project,

    /// Where the sidecar listens: HOST:PORT or unix:/PATH
    #[arg(long, env = "EVENKEEL_ADDRESS", default_value = "127.0.0.1:7400")]
    address: Address,

    /// What to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,

    /// How long to wait for a refresh, 0 for not at all [default: the sidecar's setting]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    patience: Option<Duration>,

    /// How long to wait for the sidecar [default: 10s beyond the patience]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,

    /// Fail rather than answer with a lower rollout
    #[arg(long, value_name = "ROLLOUT")]
    min_rollout: Option<u64>,

    /// Within --min-rollout, fail rather than answer with a lower number
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "min_rollout",
        default_value_t = 0
    )]
    min_number: u64,

    /// Fail rather than answer with what has been outdated for longer
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_outdated: Option<Duration>,

    /// Leave the payload out when it has this digest
    #[arg(long, value_name = "SHA256")]
    known_digest: Option<String>,

    /// Print what is answered, but exit with 75 when it is outdated
    #[arg(long)]
    fresh: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    /// The payload to stdout, a line about it to stderr
    Text,
    /// One JSON object in one line to stdout
    Json,
}

/// Looks the project up, prints what became of it and says it by the exit code.
///
/// # Errors
/// When stdout cannot be written to.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let lookup = Lookup {
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
        Output::Text => {
            let left_out = match reply.payload {
                Some(_) => "",
                None => ", not modified: the payload is left out",
            };
            complain(format_args!("{}{left_out}", summary(&reply)));
            let payload = reply.payload.as_deref().unwrap_or_default();
            print(|stdout| write_payload(payload, stdout))?;
        }
        Output::Json => print(|stdout| write_json(&reply, stdout))?,
    }
    Ok(if args.fresh && reply.outdated.is_some() {
        ExitCode::from(NOT_NOW)
    } else {
        ExitCode::SUCCESS
    })
}

fn failed(error: LookupError, address: &Address) -> ExitCode {
    let (message, code) = match error {
        LookupError::Refused(refused) if refused.code == tonic::Code::Unimplemented => (
            format!("what answers at {address} is no sidecar"),
            UNREACHABLE,
        ),
        LookupError::Refused(refused) => (refusal(&refused), exit_code(&refused)),
        unanswered @ (LookupError::Unreachable { .. }
        | LookupError::Broken { .. }
        | LookupError::Unanswered { .. }) => (with_root_cause(unanswered), UNREACHABLE),
    };
    complain(format_args!("evenkeel: {message}"));
    ExitCode::from(code)
}

fn exit_code(refused: &Refused) -> u8 {
    if refused.code == tonic::Code::NotFound {
        NOT_FOUND
    } else if refused.retry_after.is_some() {
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
