//! The command line: one subcommand a file, each turning its arguments into a call of a room.
//!
//! Printing to the terminal happens here and nowhere else. Exit codes: 0 done, 1 not so, 2 wrong usage, 69 sidecar or
//! renderer unreachable, 78 bad settings (those above 2 as in BSD's `sysexits.h`).
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line talks to a terminal"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check;
mod get;
mod renderer;
mod serve;

/// A sidecar that answers configuration lookups from memory and keeps the renders behind it within a budget.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar.
    Serve(serve::Args),
    /// Run the embedded renderer, for development and tests.
    Renderer(Box<renderer::Args>),
    /// Look a project's configuration up.
    Get(get::Args),
    /// Validate settings.
    Check(check::Args),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Renderer(args) => renderer::run(*args),
        Command::Get(args) => get::run(args),
        Command::Check(args) => check::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("evenkeel: {error:#}");
        ExitCode::FAILURE
    })
}
