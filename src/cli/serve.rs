//! `evenkeel serve`: runs the sidecar until it is told to stop.

use std::process::ExitCode;

use anyhow::Context;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use super::{BAD_SETTINGS, terminal::complain};
use crate::{
    app::Sidecar,
    drain::Signals,
    settings::{self, Flags, Loaded, LogFormat, Sources},
    telemetry::{self, Format},
};

const SETTINGS: &str = "\
Every field of the settings can stand in a file, in an environment variable such as EVENKEEL_ADMISSION__RATE, or be left at
its default; the common ones are flags. A flag is above the environment, which is above the files. For all fields see
`evenkeel check --print-schema`, or the README.

SIGHUP reads the files at once; without it a change is seen within 2.5 s. SIGTERM and SIGINT drain, a second one exits at once.";

/// Arguments of `evenkeel serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = SETTINGS)]
pub(super) struct Args {
    #[command(flatten)]
    settings: Flags,
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let sources = args.settings.sources();
    let loaded = match settings::load(&sources) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            invalid.problems.iter().for_each(complain);
            return Ok(BAD_SETTINGS.into());
        }
    };
    let log = &loaded.settings.log;
    let format = match log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let _log = telemetry::install(format, log.level.as_str().parse()?)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(sources, loaded));
    // A reader of settings that hangs on its file system does not keep the process.
    runtime.shutdown_background();
    Ok(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

async fn serve(sources: Sources, loaded: Loaded) -> anyhow::Result<()> {
    let mut stop = Signals::install()?;
    let mut again = Signals::install()?;
    let mut hangups = signal(SignalKind::hangup())?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), hash = %loaded.hash, "evenkeel starts");
    loaded
        .notes()
        .iter()
        .for_each(|note| tracing::info!("{note}"));
    let sidecar = Sidecar::start(sources, loaded)
        .await
        .context("cannot start")?;
    let addresses = sidecar.addresses();
    for lookup in &addresses.lookup {
        tracing::info!(address = %lookup, "lookups are answered");
    }
    if let Some(admin) = &addresses.admin {
        tracing::info!(address = %admin, "operators are served");
    }
    tracing::info!(address = %addresses.telemetry, "probes and metrics are served");

    let reload = sidecar.reload();
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            reload();
        }
    });
    let again = async {
        again.next().await;
        again.next().await;
    };
    sidecar.run(stop.next(), again).await?;
    Ok(())
}
