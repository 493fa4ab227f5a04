//! The command line: one subcommand a file, each turning its arguments into a call of a room.
//!
//! Only `terminal` prints to the terminal. Scripts learn what they need from the exit codes.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod arguments;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod disk;
mod drill;
mod explain;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod get;
mod page;
mod plan;
mod projects;
mod purge;
#[cfg(feature = "demo")]
mod renderer;
mod reply;
mod serve;
mod status;
mod terminal;
mod watch;

/// Exit code of wrong usage, as clap has it.
const WRONG_USAGE: u8 = 2;
/// Exit code when there is no sidecar: `EX_UNAVAILABLE` of BSD's `sysexits.h`.
const UNREACHABLE: u8 = 69;
/// Exit code for bad settings: `EX_CONFIG` of BSD's `sysexits.h`.
const BAD_SETTINGS: u8 = 78;

#[cfg(feature = "demo")]
const HAVE_MORE: &str =
    "`evenkeel demo`, `drill`, `explain`, `get`, `plan`, `projects`, `purge`, `status` and `watch`";
#[cfg(not(feature = "demo"))]
const HAVE_MORE: &str =
    "`evenkeel drill`, `explain`, `get`, `plan`, `projects`, `purge`, `status` and `watch`";

fn exit_codes() -> String {
    format!(
        "\
Exit codes:
   0  done
   1  failed
   2  wrong usage
  78  bad settings
{HAVE_MORE} have more: see their help."
    )
}

/// A sidecar that answers configuration lookups from memory and keeps the renders behind it within
/// a budget.
#[derive(Debug, Parser)]
#[command(version, about, after_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar.
    Serve(serve::ServeArgs),
    /// Show what a release does, without evenkeel and with it.
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Run the embedded renderer, for development and tests.
    #[cfg(feature = "demo")]
    Renderer(Box<renderer::RendererArgs>),
    /// Look up a project's configuration.
    Get(get::GetArgs),
    /// Print each change of the given projects' configurations as it arrives.
    Watch(watch::WatchArgs),
    /// Show what holds up a sidecar or a fleet, and what to do.
    Status(status::StatusArgs),
    /// List the projects of a sidecar that fail, are outdated or missing.
    Projects(projects::ProjectsArgs),
    /// Explain why a sidecar does not refresh a project, gate by gate.
    Explain(explain::ExplainArgs),
    /// Have a sidecar forget all that it knows of a project.
    Purge(purge::PurgeArgs),
    /// Read what a sidecar keeps on disk.
    Disk(disk::DiskArgs),
    /// Serve a web page that shows what holds up a sidecar or a fleet.
    Page(page::PageArgs),
    /// Tell what a release would do with other limits.
    Plan(Box<plan::PlanArgs>),
    /// Validate settings.
    Check(check::CheckArgs),
    /// Test, with the real renderer, that lookups are answered while it cannot be used.
    Drill(drill::DrillArgs),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli: Cli = match arguments::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let done = match cli.command {
        Command::Serve(args) => serve::run(args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args),
        #[cfg(feature = "demo")]
        Command::Renderer(args) => renderer::run(*args),
        Command::Get(args) => get::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Status(args) => status::run(args),
        Command::Projects(args) => projects::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Disk(args) => disk::run(&args),
        Command::Page(args) => page::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => check::run(args),
        Command::Drill(args) => drill::run(args),
    };
    done.unwrap_or_else(|error| {
        terminal::complain(format_args!("evenkeel: {error:#}"));
        ExitCode::FAILURE
    })
}
