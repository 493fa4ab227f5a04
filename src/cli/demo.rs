//! `evenkeel demo`: one storm, the way of the incident and then with evenkeel, and a verdict.
//!
//! Progress goes to stderr, the report to stdout.

use std::{
    env,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{runtime, sync::watch};

use super::terminal::{complain, say, show as show_lines, tell};
use crate::{
    demo::{self, Demo, Live, Release, Report, Terms},
    drain::Signals,
    renderer::FaultOrder,
};

mod progress;

/// How long a fault lasts by default.
const FAULT: Duration = Duration::from_secs(10);

/// By convention 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

const EXIT_CODES: &str = "\
A demo takes less than a minute without a fault, and at most two and a half minutes with a fault of 10s; a
longer fault makes both storms longer. Everything runs in this process, on free loopback ports. Ctrl-C or
SIGTERM ends it.

Exit codes:
   0  evenkeel kept its promises
   1  evenkeel broke a promise, or the demo could not run
   2  wrong usage
 130  interrupted by SIGINT or SIGTERM";

/// Arguments of `evenkeel demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Args {
    /// Give the renderer a fault a second after the release, for 10s: slow, dead, hang, flap, behind, garbage or busy
    #[arg(long, value_name = "NAME[,for=TIME]")]
    fault: Option<FaultOrder>,
    /// Release by replacing the pod with one that holds nothing, instead of raising the target
    #[arg(long)]
    cold: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Draw both storms as an SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Keep the sidecar and its renderer running afterwards, until Ctrl-C
    #[arg(long)]
    stay: bool,
    /// Run short storms over few projects: they show only that the demo works
    #[arg(long, hide = true)]
    quick: bool,
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(until_interrupted(args));
    runtime.shutdown_background();
    ended
}

async fn until_interrupted(args: Args) -> anyhow::Result<ExitCode> {
    let mut stop = Signals::install()?;
    let demo = tokio::select! {
        () = stop.next() => {
            complain("evenkeel: interrupted");
            return Ok(INTERRUPTED.into());
        }
        demo = show(&args) => demo?,
    };
    if args.stay {
        tell_how_to_play(&demo);
        stop.next().await;
    }
    Ok(if demo.report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn show(args: &Args) -> anyhow::Result<Demo> {
    if let Some(path) = &args.svg {
        // Better to find out now than after the storms.
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.with_context(|| unwritable(path))?;
    }
    let terms = args.terms();
    for line in terms.describe() {
        complain(line);
    }
    let (tell, told) = watch::channel(Live::default());
    let demo = tokio::select! {
        demo = demo::run(terms, tell) => demo?,
        never = progress::show(told, terms) => match never {},
    };
    if args.json {
        show_lines(demo.report.document())?;
    } else {
        tell_people(&demo.report)?;
    }
    if let Some(path) = &args.svg {
        fs::write(path, demo.report.svg()).with_context(|| unwritable(path))?;
    }
    Ok(demo)
}

fn unwritable(path: &Path) -> String {
    format!("cannot write --svg {}", path.display())
}

fn tell_how_to_play(demo: &Demo) {
    let (evenkeel, control) = (demo.evenkeel(), demo.control());
    let (lookup, telemetry) = (evenkeel.address(), evenkeel.telemetry());
    let settings = evenkeel.settings().display();
    let program = env::current_exe().unwrap_or_else(|_| "evenkeel".into());
    let program = program.display();
    tell(format_args!(
        "
The sidecar and its renderer stay up until Ctrl-C.
  look up    {program} get paperboy --address {lookup}
  release    curl -d 3 http://{control}/rollout && sed -i 's/^rollout: .*/rollout: 3/' {settings}
  metrics    curl http://{telemetry}/metrics"
    ));
}

fn tell_people(report: &Report) -> anyhow::Result<()> {
    show_lines(report.table())?;
    for promise in report.promises() {
        let kept = if promise.is_kept { "kept  " } else { "BROKEN" };
        say(format_args!("{kept} {}: {}", promise.name, promise.found))?;
    }
    Ok(())
}

impl Args {
    fn terms(&self) -> Terms {
        let fault = |order: FaultOrder| (order.fault, order.lasts.unwrap_or(FAULT));
        let terms = if self.quick {
            Terms::quick()
        } else {
            Terms::default()
        };
        Terms {
            release: if self.cold {
                Release::Replace
            } else {
                Release::Raise
            },
            fault: self.fault.map(fault),
            ..terms
        }
    }
}
