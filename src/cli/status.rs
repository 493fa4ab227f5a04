//! `evenkeel status`: what holds a sidecar or a whole fleet up, and what to do about it.
//!
//! It asks `/status` of the telemetry listeners. With `--wait` it is the gate of a pipeline after a
//! release.

use std::{process::ExitCode, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    UNREACHABLE,
    arguments::duration,
    terminal::{complain, is_terminal, show},
};
use crate::status::{Fleet, ask_names};

/// How often a screen is drawn anew, and a release is looked at.
const PERIOD: Duration = Duration::from_secs(2);

/// Clears a terminal, and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

const NOT_WITHIN: u8 = 75;

const EXIT_CODES: &str = "\
Exit codes:
   0  shown; with --wait, every sidecar has released the rollout
   1  failed
   2  wrong usage
  69  no sidecar answered
  75  with --wait, not within that time

With `--output json`, stdout gets one object in one line: of one sidecar what it answers (schema
evenkeel.status/1), of more their sum, what differs by count, who is silent, and every answer (schema
evenkeel.fleet/1). Ignore fields and codes that you do not know: later versions add some.";

/// Arguments of `evenkeel status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct StatusArgs {
    /// Where sidecars serve telemetry, HOST or HOST:PORT; a name may have many addresses
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:7402")]
    addresses: Vec<String>,

    /// What to print
    #[arg(long, value_enum, default_value_t = StatusOutput::Text)]
    output: StatusOutput,

    /// Show it again every 2 s
    #[arg(long, conflicts_with = "wait")]
    watch: bool,

    /// Wait until every sidecar has released a rollout: all addresses answer, their target is at
    /// least --rollout, and nothing that is wanted is outdated
    #[arg(long, requires = "rollout")]
    wait: bool,

    /// The rollout that --wait waits for
    #[arg(long, value_name = "ROLLOUT", requires = "wait")]
    rollout: Option<u64>,

    /// How long --wait waits
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = duration, default_value = "15m")]
    within: Duration,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StatusOutput {
    /// A screen of text
    Text,
    /// One JSON object in one line
    Json,
}

/// Asks, shows, and returns the result as an exit code.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(status(args))
}

async fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    match args.rollout {
        Some(rollout) if args.wait => wait(&args, rollout).await,
        _ if args.watch => watch(&args).await,
        _ => {
            let fleet = ask_names(&args.addresses).await;
            shown(&fleet, args.output)
        }
    }
}

/// Shows it anew until the process is interrupted.
async fn watch(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    loop {
        let fleet = ask_names(&args.addresses).await;
        let text = print(&fleet, args.output);
        match args.output {
            StatusOutput::Text if is_terminal() => show(format_args!("{CLEAR}{text}"))?,
            StatusOutput::Text | StatusOutput::Json => show(text)?,
        }
        tokio::select! {
            () = sleep(PERIOD) => {}
            () = super::terminal::reader_left() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Asks until every sidecar has released the rollout.
async fn wait(args: &StatusArgs, rollout: u64) -> anyhow::Result<ExitCode> {
    let ends = Instant::now() + args.within;
    loop {
        let fleet = ask_names(&args.addresses).await;
        let is_over = Instant::now() >= ends;
        let has_released = fleet.has_released(rollout);
        if has_released || is_over {
            let shown = shown(&fleet, args.output)?;
            if has_released || fleet.is_silent() {
                return Ok(shown);
            }
            complain(format_args!(
                "evenkeel: rollout {rollout} is not released in every sidecar within {:?}",
                args.within
            ));
            return Ok(NOT_WITHIN.into());
        }
        sleep_until(ends.min(Instant::now() + PERIOD)).await;
    }
}

fn shown(fleet: &Fleet, output: StatusOutput) -> anyhow::Result<ExitCode> {
    show(print(fleet, output))?;
    Ok(match fleet.is_silent() {
        true => UNREACHABLE.into(),
        false => ExitCode::SUCCESS,
    })
}

fn print(fleet: &Fleet, output: StatusOutput) -> String {
    match output {
        StatusOutput::Text => fleet.screen().trim_end().to_owned(),
        StatusOutput::Json => fleet.json(),
    }
}
