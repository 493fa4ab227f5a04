//! `evenkeel check`: validates settings files without running a sidecar.
//!
//! It reads the files only, not the environment, so that the verdict is the same on a desk, in CI
//! and in a pod.

use std::{num::NonZeroU32, path::PathBuf, process::ExitCode};

use super::{
    BAD_SETTINGS,
    terminal::{complain, say, show, tell},
};
use crate::settings::{self, Settings, Sources};

/// Arguments of `evenkeel check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The files of one sidecar; each section stands in one of them.
    #[arg(value_name = "FILE", required_unless_present = "print_schema")]
    files: Vec<PathBuf>,
    /// Print what this number of sidecars may render together with these settings.
    #[arg(long, value_name = "N", conflicts_with = "print_schema")]
    fleet: Option<NonZeroU32>,
    /// Fail if that is more than RATE renders per second.
    #[arg(long, value_name = "RATE", requires = "fleet", value_parser = rate)]
    at_most: Option<f64>,
    /// Print the JSON Schema of a file of settings.
    #[arg(long, conflicts_with = "files")]
    print_schema: bool,
}

/// Runs it.
pub(super) fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    if args.print_schema {
        show(format_args!("{:#}", settings::schema()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let sources = Sources {
        files: args.files,
        ..Sources::default()
    };
    Ok(match settings::load(&sources) {
        Ok(loaded) => {
            say(format_args!("ok  hash {}", loaded.hash))?;
            loaded.notes().iter().try_for_each(say)?;
            match args.fleet {
                Some(size) => in_fleet(&loaded.settings, size, args.at_most)?,
                None => ExitCode::SUCCESS,
            }
        }
        Err(invalid) => {
            tell(invalid);
            BAD_SETTINGS.into()
        }
    })
}

/// Says what a fleet of that size renders, and whether that is too much.
fn in_fleet(settings: &Settings, size: NonZeroU32, most: Option<f64>) -> anyhow::Result<ExitCode> {
    let rate = settings.admission.rate();
    // A fleet's rate divided by its size, times the same size, may be off by the last bit.
    let product = (rate * f64::from(size.get()) * 1e9).round() / 1e9;
    say(format_args!(
        "fleet: {rate} renders/s in each of {size} sidecars = {product} renders/s upstream"
    ))?;
    let Some(most) = most.filter(|most| product > *most) else {
        return Ok(ExitCode::SUCCESS);
    };
    let remedy = match (settings.admission.fleet_rate, settings.admission.fleet_size) {
        (Some(_), Some(set)) if set != size => {
            format!("admission.fleet_size is {set}: set {size}")
        }
        (Some(_), _) => "lower admission.fleet_rate".to_owned(),
        (None, _) => format!("set admission.fleet_rate, with admission.fleet_size {size}"),
    };
    complain(format_args!(
        "evenkeel: {size} sidecars may render {product}/s together, above --at-most {most}: {remedy}"
    ));
    Ok(BAD_SETTINGS.into())
}

/// Reads a rate.
///
/// # Errors
/// When it is none.
fn rate(text: &str) -> Result<f64, String> {
    let read = text.parse().ok();
    read.filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)
        .ok_or_else(|| "expected renders per second, such as 20 or 0.5".to_owned())
}
