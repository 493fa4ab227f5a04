//! `evenkeel drill`: tries out, before the real renderer, that lookups are answered while it cannot
//! be used.
//!
//! A CronJob runs it; its exit code is the alert.

use std::{num::NonZeroU64, process::ExitCode, time::Duration};

use http::Uri;
use tokio::runtime;

use super::{
    BAD_SETTINGS, UNREACHABLE,
    arguments::duration,
    terminal::{complain, say, show},
};
use crate::{
    drill::{self, DrillError, DrillStep, DrillTerms},
    printable::printable,
    revision::Project,
    settings::{Flag, Settings, Sources, load},
};

const EXIT_CODES: &str = "\
A sidecar is started in this process, before a tap of its own: the renderer is delayed, cut off and held back
for this sidecar alone. It renders the project a few times, at most twice a second, and may be asked for
some of eight projects PROJECT-drill-N, which it does not know. No rollout is raised, and no pod that serves is
touched. A drill takes a minute or two.

Exit codes:
   0  every promise was kept
   1  a promise was broken, which stderr names, or the drill could not be run
   2  wrong usage
  69  the renderer cannot be reached
  78  the renderer does not know the project

With `--output json`, stdout gets one object in one line (schema evenkeel.drill/1). Ignore fields that you do
not know: later versions add some.";

/// The longest line about a step.
const LONGEST: usize = 600;

/// Arguments of `evenkeel drill`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct DrillArgs {
    /// The renderer, as in the setting upstream.url
    #[arg(long, value_name = "URL", value_parser = upstream)]
    upstream: Uri,

    /// A project that it knows: the canary
    #[arg(long, value_name = "PROJECT", value_parser = Project::new)]
    project: Project,

    /// The component, as in the setting component
    #[arg(long, value_name = "NAME", value_parser = component, default_value = "identity")]
    component: String,

    /// The rollout to ask for; the renderer may render a later one
    #[arg(long, value_name = "ROLLOUT", default_value = "1")]
    rollout: NonZeroU64,

    /// How long a render may take, at least 100ms
    #[arg(long, value_name = "DURATION", value_parser = deadline, default_value = "5s")]
    deadline: Duration,

    /// How long the first render may take, with all attempts at it
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    within: Duration,

    /// Fail if an answer has been outdated for longer, as your applications do
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_outdated: Option<Duration>,

    /// What to print
    #[arg(long, value_enum, default_value_t = DrillOutput::Text)]
    output: DrillOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DrillOutput {
    /// A line for each step
    Text,
    /// One JSON object in one line
    Json,
}

/// Runs it, and returns the result as an exit code.
///
/// # Errors
/// If it cannot be run, or stdout cannot be written to.
pub(super) fn run(args: DrillArgs) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(drill(args));
    runtime.shutdown_background();
    ended
}

async fn drill(args: DrillArgs) -> anyhow::Result<ExitCode> {
    let terms = DrillTerms {
        upstream: args.upstream,
        canary: args.project,
        component: args.component,
        rollout: args.rollout,
        deadline: args.deadline,
        within: args.within,
        max_outdated: args.max_outdated,
    };
    let mut tell = |step: &DrillStep| {
        if args.output == DrillOutput::Text {
            // The report has it as well, and a reader that has left needs none.
            let _unread = say(line(step));
        }
    };
    let report = match drill::run(&terms, &mut tell).await {
        Ok(report) => report,
        Err(error @ DrillError::Unreachable { .. }) => return Ok(ended(&error, UNREACHABLE)),
        Err(error @ DrillError::NoCanary(_)) => return Ok(ended(&error, BAD_SETTINGS)),
        Err(
            error @ (DrillError::Settings(_)
            | DrillError::Sidecar(_)
            | DrillError::Listen(_)
            | DrillError::Connect(_)
            | DrillError::NotRendered { .. }),
        ) => return Err(error.into()),
    };
    match args.output {
        DrillOutput::Text => say(format_args!(
            "asked the renderer for {} renders over {} connections, in {:.0}s",
            report.renders, report.connections, report.seconds
        ))?,
        DrillOutput::Json => show(report.json())?,
    }
    for step in &report.steps {
        for broken in &step.broken {
            let broken = printable(broken, LONGEST);
            complain(format_args!(
                "evenkeel: a promise was broken: {}: {broken}",
                step.name
            ));
        }
    }
    Ok(if report.is_kept() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn ended(error: &DrillError, code: u8) -> ExitCode {
    complain(format_args!("evenkeel: {error}"));
    code.into()
}

fn line(step: &DrillStep) -> String {
    let kept = if step.broken.is_empty() {
        "kept"
    } else {
        "BROKEN"
    };
    format!("{kept:<7} {:<9} {}", step.name, step.says)
}

/// Reads where a renderer is, as the setting does.
///
/// # Errors
/// When it is no such address.
fn upstream(text: &str) -> Result<Uri, String> {
    let settings = settings("--upstream", "upstream.url", text);
    let settings = settings.ok_or_else(|| {
        "expected http://HOST:PORT without a user, path, query or fragment".to_owned()
    })?;
    Ok(settings.upstream.url)
}

/// Reads a component, as the setting does.
///
/// # Errors
/// When it is none.
fn component(text: &str) -> Result<String, String> {
    let settings = settings("--component", "component", text);
    let settings = settings.ok_or_else(|| "expected the name of a component".to_owned())?;
    Ok(settings.component)
}

/// The settings with that field, if it accepts the value.
fn settings(name: &'static str, field: &'static str, value: &str) -> Option<Settings> {
    let value = value.to_owned();
    let sources = Sources {
        flags: vec![Flag { name, field, value }],
        ..Sources::default()
    };
    Some(load(&sources).ok()?.settings)
}

/// Reads how long a render may take.
///
/// # Errors
/// When it is no duration, or too short or long to try what happens without an answer.
fn deadline(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(60);
    let read = duration(text)?;
    let fits = read >= Duration::from_millis(100) && read <= most;
    fits.then_some(read)
        .ok_or_else(|| "expected 100ms to 1m".to_owned())
}
