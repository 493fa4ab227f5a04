//! `evenkeel disk`: what the folder of `disk.dir` holds, read without a sidecar.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Subcommand;

use super::terminal::{complain, show};
use crate::{
    charts::columns,
    disk::{InspectedFile, InspectedRow, Whose, inspect},
    moment::spoken,
};

const EXIT_CODES: &str = "\
Exit codes:
   0  done, and nothing is damaged
   1  failed, or something is damaged
   2  wrong usage

The folder is that of `disk.dir`, and is left as it is. While a sidecar writes it, what it wrote within the
last `disk.sync` is not seen.";

/// Arguments of `evenkeel disk`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct DiskArgs {
    #[command(subcommand)]
    command: DiskCommand,
}

#[derive(Debug, Subcommand)]
enum DiskCommand {
    /// List what is kept: a line for each project.
    Ls {
        /// The folder of `disk.dir`
        dir: PathBuf,
    },
    /// Read everything, and say what cannot be believed.
    Verify {
        /// The folder of `disk.dir`
        dir: PathBuf,
    },
    /// Copy what can be believed to another folder, for sidecars to begin with.
    Export {
        /// The folder of `disk.dir`
        dir: PathBuf,
        /// The folder to write to; it is made where there is none
        to: PathBuf,
    },
}

/// What is done with each file; returns whether all of it is right.
type FileWork<'a> = &'a dyn Fn(&InspectedFile) -> anyhow::Result<bool>;

/// Reads the folder, prints what was asked for, and returns whether all of it is right.
///
/// # Errors
/// When the folder cannot be read, or stdout cannot be written to.
pub(super) fn run(args: &DiskArgs) -> anyhow::Result<ExitCode> {
    let (dir, work): (_, FileWork<'_>) = match &args.command {
        DiskCommand::Ls { dir } => (dir, &ls),
        DiskCommand::Verify { dir } => (dir, &verify),
        DiskCommand::Export { dir, to } => (dir, &|file| export(file, to)),
    };
    let files = inspect(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut is_right = true;
    if files.is_empty() {
        complain(format_args!("evenkeel: {} keeps nothing", dir.display()));
    }
    for (path, file) in files {
        match file {
            Ok(file) => is_right &= work(&file)?,
            Err(error) => {
                complain(format_args!("evenkeel: {}: {error}", path.display()));
                is_right = false;
            }
        }
    }
    Ok(if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn ls(file: &InspectedFile) -> anyhow::Result<bool> {
    let header = ["PROJECT", "HELD", "BYTES", "VALIDATED", "DIGEST"].map(str::to_owned);
    let rows = file.rows.iter().map(row);
    show(format_args!(
        "{}\n{}",
        columns([header].into_iter().chain(rows)),
        sum(file)
    ))?;
    Ok(is_whole(file))
}

fn row(row: &InspectedRow) -> [String; 5] {
    [
        row.project().to_string(),
        row.order().to_string(),
        row.size().to_string(),
        format!("{} ago", spoken(row.validated_ago)),
        format!("{:.12}", row.digest()),
    ]
}

fn verify(file: &InspectedFile) -> anyhow::Result<bool> {
    let wrong: Vec<_> = file.rows.iter().filter(|row| !file.is_right(row)).collect();
    for row in &wrong {
        let (project, order) = (row.project(), row.order());
        show(format_args!(
            "{project} {order}: the payload is not the one that was written"
        ))?;
    }
    show(format_args!(
        "{}, {} payloads wrong",
        sum(file),
        wrong.len()
    ))?;
    Ok(wrong.is_empty() && is_whole(file))
}

fn export(file: &InspectedFile, to: &Path) -> anyhow::Result<bool> {
    let count = file
        .export(to)
        .with_context(|| format!("cannot export to {}", to.display()))?;
    show(format_args!("{count} projects of {}", sum(file)))?;
    Ok(is_whole(file) && count == file.rows.len())
}

fn is_whole(file: &InspectedFile) -> bool {
    !file.is_damaged && file.spoilt == 0
}

fn sum(file: &InspectedFile) -> String {
    let whose = file
        .whose
        .as_ref()
        .map(|Whose { component, realm }| format!(" of component {component} in realm {realm}"));
    let mut sum = format!(
        "{}: {} projects{}, {} rows spoilt",
        file.path.display(),
        file.rows.len(),
        whose.unwrap_or_default(),
        file.spoilt
    );
    if file.is_damaged {
        sum.push_str(", damaged: there may have been more");
    }
    if file.is_in_use {
        sum.push_str(", in use: what is not durable yet is not seen");
    }
    sum
}
