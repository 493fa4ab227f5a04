//! `evenkeel watch`: prints what a sidecar serves of some projects, and every change as it arrives.
//!
//! Lines about projects go to stdout, lines about the connection to stderr. It ends on a signal, or
//! when its reader has left; never because a sidecar restarts.

use std::process::ExitCode;

use tokio::{runtime, task::spawn_blocking};

use super::{
    UNREACHABLE,
    reply::{failure_line, summary, with_root_cause, write_failure_as_json, write_json},
    terminal::{complain, print, reader_left, say},
};
use crate::{
    client::{News, SidecarAddress, Watcher},
    drain::Signals,
    revision::Project,
};

const NOTES: &str = "\
Each line is an answer as `evenkeel get` shows it, or `FAILED PROJECT CODE (REASON): MESSAGE`. With
`--output json`, an answer is an object as of `evenkeel get --output json`, and a failure has the fields
project, code, reason, message and retry_after_seconds (null if asking again is useless). A payload that
did not change is left out.

If there is no sidecar, the command dials until there is one; stderr says once that it is missing, and once
that it is back.

Exit codes:
   0  stopped by SIGINT or SIGTERM, or the reader of stdout has left
   1  stdout cannot be written to
   2  wrong usage
  69  what answers is no sidecar";

/// Arguments of `evenkeel watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct WatchArgs {
    /// The projects to watch
    #[arg(value_parser = Project::new, required = true, value_name = "PROJECT")]
    projects: Vec<Project>,

    /// Where the sidecar listens: HOST:PORT or unix:/PATH
    #[arg(long, env = "EVENKEEL_ADDRESS", default_value = "127.0.0.1:7400")]
    address: SidecarAddress,

    /// What to print
    #[arg(long, value_enum, default_value_t = WatchOutput::Text)]
    output: WatchOutput,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum WatchOutput {
    /// One line for each change, without the payload
    Text,
    /// One JSON object a line for each change
    Json,
}

/// Prints changes until it is told to stop or its reader has left.
///
/// # Errors
/// When stdout cannot be written to, or signals cannot be taken over.
pub(super) fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(watch(args));
    // A line that is not read must not keep the process alive.
    runtime.shutdown_background();
    ended
}

async fn watch(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Signals::install()?;
    tokio::select! {
        biased;
        () = stop.next() => Ok(ExitCode::SUCCESS),
        () = reader_left() => Ok(ExitCode::SUCCESS),
        ended = print_news(args) => ended,
    }
}

async fn print_news(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let mut watcher = Watcher::new(args.address.clone(), args.projects);
    loop {
        match watcher.next().await {
            Ok(news) => {
                // On another thread: a full pipe blocks its writer, and signals must be heard all
                // the same.
                let address = args.address.clone();
                spawn_blocking(move || show(news, &address, args.output)).await??;
            }
            Err(no_sidecar) => {
                complain(format_args!("evenkeel: {no_sidecar}"));
                return Ok(ExitCode::from(UNREACHABLE));
            }
        }
    }
}

fn show(news: News, address: &SidecarAddress, output: WatchOutput) -> anyhow::Result<()> {
    match (news, output) {
        (News::Changed(reply), WatchOutput::Text) => say(summary(&reply)),
        (News::Changed(reply), WatchOutput::Json) => print(|stdout| write_json(&reply, stdout)),
        (News::Failed { project, status }, WatchOutput::Text) => {
            say(failure_line(&project, &status))
        }
        (News::Failed { project, status }, WatchOutput::Json) => {
            print(|stdout| write_failure_as_json(&project, &status, stdout))
        }
        (News::Broken(why), _) => {
            let why = with_root_cause(why);
            complain(format_args!("evenkeel: {why}; waiting for the sidecar"));
            Ok(())
        }
        (News::Healed, _) => {
            complain(format_args!("evenkeel: the sidecar at {address} answers"));
            Ok(())
        }
    }
}
