//! `evenkeel demo`: one storm, the way of the incident and then with evenkeel, and a verdict.
//!
//! Progress goes to stderr, the report to stdout.

use std::{
    env,
    fs::{self, OpenOptions},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{runtime, sync::watch};
use tokio_util::sync::CancellationToken;

use super::terminal::{complain, say, show as show_lines, tell};
use crate::{
    demo::{self, DemoReport, DemoRun, LiveNumbers, Release, Stay, StormTerms},
    drain::Signals,
    page::{self, Page},
    renderer::FaultOrder,
    serve::listener::{Access, ListenAddress, Listener},
};

mod progress;

/// How long a fault lasts by default.
const FAULT: Duration = Duration::from_secs(10);

/// Where the page is served by default: on loopback, since its buttons break things.
const PAGE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7403));

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
pub(super) struct DemoArgs {
    /// Give the renderer a fault a second after the release, for 10s: slow, dead, hang, flap,
    /// behind, garbage or busy
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
    /// Keep the sidecar, its renderer and callers running afterwards, until Ctrl-C, and serve a
    /// page with buttons that release and break the renderer
    #[arg(long)]
    stay: bool,
    /// Run short storms over few projects, which only show that the demo works
    #[arg(long, hide = true)]
    quick: bool,
}

/// Runs it.
pub(super) fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(until_interrupted(args));
    runtime.shutdown_background();
    ended
}

async fn until_interrupted(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Signals::install()?;
    let demo = tokio::select! {
        () = stop.next() => {
            complain("evenkeel: interrupted");
            return Ok(INTERRUPTED.into());
        }
        demo = show(&args) => demo?,
    };
    let code = match demo.report.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if args.stay {
        tokio::select! {
            () = stop.next() => {}
            ended = stay(demo) => ended?,
        }
    }
    Ok(code)
}

async fn show(args: &DemoArgs) -> anyhow::Result<DemoRun> {
    if let Some(path) = &args.svg {
        // Better to find out now than after the storms.
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.with_context(|| unwritable(path))?;
    }
    let terms = args.terms();
    for line in terms.describe() {
        complain(line);
    }
    let (tell, told) = watch::channel(LiveNumbers::default());
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

/// Goes on, and serves the page, at its usual address if that is free.
async fn stay(demo: DemoRun) -> anyhow::Result<()> {
    let stay = demo.stay().await?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bind = |address| Listener::bind(&ListenAddress::Tcp(address), Access::Everyone);
    let listener = bind(PAGE).or_else(|_| bind(any))?;
    tell_how_to_play(&stay, listener.address());
    let page = Page {
        names: vec![stay.telemetry().to_string()],
        buttons: Some(stay.buttons()),
        ..Page::default()
    };
    tokio::select! {
        served = page::serve(listener, page, CancellationToken::new()) => Ok(served?),
        never = stay.run() => match never {},
    }
}

fn tell_how_to_play(stay: &Stay, page: &ListenAddress) {
    let (lookup, telemetry, control) = (stay.address(), stay.telemetry(), stay.control());
    let settings = stay.settings().display();
    let program = env::current_exe().unwrap_or_else(|_| "evenkeel".into());
    let program = program.display();
    tell(format_args!(
        "
The sidecar and its renderer stay up until Ctrl-C, and callers go on. Break the renderer, and see lookups go on:
  look at    http://{page}/
  look up    {program} get paperboy --address {lookup}
  release    curl -d 3 http://{control}/rollout && sed -i 's/^rollout: .*/rollout: 3/' {settings}
  metrics    curl http://{telemetry}/metrics"
    ));
}

fn tell_people(report: &DemoReport) -> anyhow::Result<()> {
    show_lines(report.table())?;
    for promise in report.promises() {
        let kept = if promise.is_kept { "kept  " } else { "BROKEN" };
        say(format_args!("{kept} {}: {}", promise.name, promise.found))?;
    }
    Ok(())
}

impl DemoArgs {
    fn terms(&self) -> StormTerms {
        let fault = |order: FaultOrder| (order.fault, order.lasts.unwrap_or(FAULT));
        let terms = if self.quick {
            StormTerms::quick()
        } else {
            StormTerms::default()
        };
        StormTerms {
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
