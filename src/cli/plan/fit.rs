//! `evenkeel plan --fit RECORD`: what a recorded while would have been with other limits.

use std::{fs, num::NonZeroU32, path::Path, process::ExitCode};

use anyhow::Context as _;

use self::report::FitReport;
use super::{PlanArgs, PlanOutput, check_writable, refuse, sides::Sides, write_picture};
use crate::{
    cli::{
        WRONG_USAGE,
        terminal::{complain, show},
    },
    plan::Unfit,
    printable::printable,
    record::Record,
    replay::OtherLimits,
};

mod chart;
mod report;

/// The highest rate, and the most of another limit, as of any plan.
const MOST: u32 = 10_000;

/// Replays a record, and shows what would have been.
///
/// # Errors
/// If the record cannot be read, or stdout or the picture cannot be written.
pub(super) fn run(args: &PlanArgs, path: &Path) -> anyhow::Result<ExitCode> {
    let limits = match other_limits(args) {
        Ok(limits) => limits,
        Err(unfit) => return Ok(refuse(&unfit)),
    };
    let shown = printable(path.display(), 300);
    let text = fs::read_to_string(path).with_context(|| format!("cannot read --fit {shown}"))?;
    let record = match Record::read(&text) {
        Ok(record) => record,
        Err(unreadable) => {
            let (line, problem) = (unreadable.line, printable(unreadable.problem, 300));
            complain(format_args!("evenkeel: {shown}:{line}: {problem}"));
            return Ok(WRONG_USAGE.into());
        }
    };
    if record
        .interest
        .iter()
        .all(|interest| interest.lookups.is_empty())
    {
        complain(format_args!(
            "evenkeel: {shown}: nothing was looked up while it was recorded"
        ));
        return Ok(WRONG_USAGE.into());
    }
    check_writable(args)?;
    let report = FitReport::of(&record, limits);
    match args.output {
        PlanOutput::Text => show(report.text())?,
        PlanOutput::Json => show(report.json())?,
    }
    write_picture(args, || chart::draw(&report))?;
    Ok(ExitCode::SUCCESS)
}

/// The limits that are to be other than recorded.
fn other_limits(args: &PlanArgs) -> Result<OtherLimits, Unfit> {
    let rate = one("--rate", args.rate)?;
    if let Some(rate) = rate.filter(|rate| !(0.0..=f64::from(MOST)).contains(rate)) {
        return Err(unfit("--rate", &rate, format!("expected 0 to {MOST}")));
    }
    Ok(OtherLimits {
        rate,
        burst: count("--burst", args.burst)?,
        concurrency: count("--concurrency", args.concurrency)?,
    })
}

fn count(name: &'static str, flag: Option<Sides<u32>>) -> Result<Option<NonZeroU32>, Unfit> {
    let Some(value) = one(name, flag)? else {
        return Ok(None);
    };
    match NonZeroU32::new(value).filter(|value| value.get() <= MOST) {
        Some(value) => Ok(Some(value)),
        None => Err(unfit(name, &value, format!("expected 1 to {MOST}"))),
    }
}

fn one<T: Copy + ToString>(name: &'static str, flag: Option<Sides<T>>) -> Result<Option<T>, Unfit> {
    match flag {
        None => Ok(None),
        Some(Sides::One(value)) => Ok(Some(value)),
        Some(Sides::Both(_, after)) => Err(unfit(
            name,
            &after,
            "expected one value: the record says what it was before".to_owned(),
        )),
    }
}

fn unfit(name: &'static str, value: &impl ToString, accepted: String) -> Unfit {
    Unfit {
        name,
        value: value.to_string(),
        accepted,
    }
}
