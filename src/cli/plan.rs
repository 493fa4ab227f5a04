//! `evenkeel plan`: what a release does with these limits, and what it would do with others.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;

use self::{
    report::Report,
    sides::{Known, Sides},
};
use super::{
    UNREACHABLE, WRONG_USAGE,
    arguments::duration,
    terminal::{complain, show},
};
use crate::{plan::Unfit, printable::printable, status::ask_names};

mod chart;
mod fit;
mod report;
mod sides;

const HELP: &str = "\
A VALUE is the change: the plan compares what the sidecars have now with it. Without ADDRESS, it is what
both have, and BEFORE:AFTER is a change, as in `--fleet-rate 20:40`.

What is planned: all projects are fresh, and the target is raised; the raise reaches all pods within 10 s.
The real admission runs in each simulated pod, in virtual time; figures are medians of three runs, and the
same plan always has the same result. A few projects are looked up often, most seldom. Cores are shared
evenly among the renders that run; the renderers turn no call away, and no render is fetched instead.

Exit codes:
   0  planned
   1  failed
   2  wrong usage, a value for which nothing can be planned, or a file that is no record
  69  no sidecar answered

With --fit, a record of `evenkeel serve --record` is replayed instead: with its limits, which shows how well
the replay fits, and with those of --rate, --burst and --concurrency. Figures are medians of five replays.

With `--output json`, stdout gets one object in one line (schema evenkeel.plan/1; with --fit
evenkeel.fit/1). Ignore fields that you
do not know: later versions add some.";

/// Arguments of `evenkeel plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct PlanArgs {
    /// Sidecars whose status the plan starts from, HOST or HOST:PORT; a name may have many
    /// addresses
    #[arg(value_name = "ADDRESS")]
    addresses: Vec<String>,

    /// Replay this record, with its limits and with those of --rate, --burst and --concurrency
    #[arg(long, value_name = "RECORD", conflicts_with_all = ["addresses", "fleet_rate", "pods", "projects", "renderers", "render_time", "outage", "lookups"])]
    fit: Option<PathBuf>,

    /// Renders per second of a sidecar [without ADDRESS: 5]
    #[arg(long, value_name = "VALUE", value_parser = number, allow_negative_numbers = true, conflicts_with = "fleet_rate")]
    rate: Option<Sides<f64>>,

    /// Renders per second of all sidecars together
    #[arg(long, value_name = "VALUE", value_parser = number, allow_negative_numbers = true)]
    fleet_rate: Option<Sides<f64>>,

    /// Renders that a sidecar may start at once after a quiet time [without ADDRESS: 10]
    #[arg(long, value_name = "VALUE", value_parser = count, allow_negative_numbers = true)]
    burst: Option<Sides<u32>>,

    /// Renders that a sidecar may have in flight [without ADDRESS: 4]
    #[arg(long, value_name = "VALUE", value_parser = count, allow_negative_numbers = true)]
    concurrency: Option<Sides<u32>>,

    /// Sidecars
    #[arg(long, value_name = "VALUE", value_parser = count, allow_negative_numbers = true)]
    pods: Option<Sides<u32>>,

    /// Projects that each sidecar holds, all of which are looked up
    #[arg(long, value_name = "VALUE", value_parser = count, allow_negative_numbers = true)]
    projects: Option<Sides<u32>>,

    /// Renders that all renderers together work on at full speed: their cores [default: enough]
    #[arg(long, value_name = "VALUE", value_parser = number, allow_negative_numbers = true)]
    renderers: Option<Sides<f64>>,

    /// The median time of a render on a core of its own
    #[arg(long, value_name = "VALUE", value_parser = time)]
    render_time: Option<Sides<Duration>>,

    /// For how long the renderers are away, from the raise on [default: 0s]
    #[arg(long, value_name = "VALUE", value_parser = time)]
    outage: Option<Sides<Duration>>,

    /// Lookups per second of a sidecar: they decide which projects come first [without ADDRESS: 1]
    #[arg(long, value_name = "VALUE", value_parser = number, allow_negative_numbers = true)]
    lookups: Option<Sides<f64>>,

    /// What to print
    #[arg(long, value_enum, default_value_t = PlanOutput::Text)]
    output: PlanOutput,

    /// Draw before and after as an SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum PlanOutput {
    /// A table
    Text,
    /// One JSON object in one line
    Json,
}

fn number(text: &str) -> Result<Sides<f64>, String> {
    let expected = || "expected a number, or BEFORE:AFTER".to_owned();
    Sides::read(text, |one| one.parse().map_err(|_| expected()))
}

fn count(text: &str) -> Result<Sides<u32>, String> {
    let expected = || "expected a whole number, or BEFORE:AFTER".to_owned();
    Sides::read(text, |one| one.parse().map_err(|_| expected()))
}

fn time(text: &str) -> Result<Sides<Duration>, String> {
    Sides::read(text, duration)
}

/// Plans, and shows the plan.
///
/// # Errors
/// If stdout or the picture cannot be written.
pub(super) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    if let Some(record) = &args.fit {
        return fit::run(args, record);
    }
    let known = match args.addresses.is_empty() {
        true => Known::Nothing,
        false => ask(&args.addresses)?,
    };
    if known == Known::Silence {
        complain("evenkeel: no sidecar answered: `evenkeel status` says why");
        return Ok(UNREACHABLE.into());
    }
    let cases = match sides::cases(args, &known) {
        Ok(cases) => cases,
        Err(unfit) => return Ok(refuse(&unfit)),
    };
    check_writable(args)?;
    let report = match Report::of(cases, &known) {
        Ok(report) => report,
        Err(unfit) => return Ok(refuse(&unfit)),
    };
    match args.output {
        PlanOutput::Text => show(report.text())?,
        PlanOutput::Json => show(report.json())?,
    }
    write_picture(args, || chart::draw(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// Better to find out now than after the plan.
fn check_writable(args: &PlanArgs) -> anyhow::Result<()> {
    if let Some(path) = &args.svg {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.with_context(|| unwritable(path))?;
    }
    Ok(())
}

fn write_picture(args: &PlanArgs, draw: impl FnOnce() -> String) -> anyhow::Result<()> {
    match &args.svg {
        Some(path) => fs::write(path, draw()).with_context(|| unwritable(path)),
        None => Ok(()),
    }
}

fn ask(addresses: &[String]) -> anyhow::Result<Known> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(Known::of(&runtime.block_on(ask_names(addresses))))
}

fn refuse(unfit: &Unfit) -> ExitCode {
    complain(format_args!("evenkeel: {unfit}"));
    WRONG_USAGE.into()
}

fn unwritable(path: &Path) -> String {
    format!("cannot write --svg {}", printable(path.display(), 300))
}
