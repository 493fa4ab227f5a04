//! `evenkeel serve`: runs the sidecar until it is told to stop.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use bytesize::ByteSize;
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, watch},
    task::spawn_blocking,
};

use super::{BAD_SETTINGS, terminal::tell};
use crate::{
    app::{self, Sidecar},
    descriptors,
    drain::Signals,
    log::{self, Format, InvalidLevel, Level, LevelHandle, Log},
    printable::printable,
    record::RecordFile,
    settings::{self, Flags, Invalid, Loaded, LogFormat, Settings, Sources, reload::InForce},
};

const SETTINGS: &str = "\
Every setting can be in a file, in an environment variable such as EVENKEEL_ADMISSION__RATE, or left at its
default; the common ones are flags. A flag overrides the environment, which overrides the files.
`evenkeel check --print-schema` and deploy/README.md list all settings.

A mistake in a hot field, such as the rollout, keeps the sidecar up but unready until the file is fixed. A
mistake in another field ends it with exit code 78.

SIGHUP reads the files at once; otherwise a change is seen within 2.5 s. SIGTERM and SIGINT drain; a second
one exits at once.";

/// Arguments of `evenkeel serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = SETTINGS)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: Flags,

    /// Write what `evenkeel plan --fit` replays to a file of its own in this folder: when projects,
    /// by a hash, are looked up, and what renders bring; no names, no payloads
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,

    /// The most that is recorded: there the record ends, and the sidecar goes on
    #[arg(long, value_name = "BYTES", default_value = "64MiB", requires = "record", value_parser = record_max)]
    record_max: ByteSize,
}

/// A record of less has no room for its first line and what follows.
const LEAST_RECORD: ByteSize = ByteSize::kib(4);

fn record_max(text: &str) -> Result<ByteSize, String> {
    let size = text.parse::<ByteSize>().ok();
    size.filter(|size| *size >= LEAST_RECORD)
        .ok_or_else(|| format!("expected a size, such as 64MiB, of {LEAST_RECORD} at least"))
}

/// How the preparation of the sidecar ended.
enum Prepared {
    /// The settings are valid, perhaps after a repair.
    Fit(Box<Loaded>, Log),
    /// The settings are invalid, and waiting is useless.
    Unfit(Invalid),
    /// A signal told it to stop.
    Stopped,
}

/// Runs it.
pub(super) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let sources = args.settings.sources();
    let runtime = runtime()?;
    // Take the signals over before anything can hang. They belong to the runtime that lives as long
    // as the process.
    let (mut stop, mut again, hangups) = {
        let _runtime = runtime.enter();
        let hangups = signal(SignalKind::hangup())?;
        (Signals::install()?, Signals::install()?, hangups)
    };
    let ended = match prepare(&sources, &mut stop)? {
        Prepared::Fit(loaded, log) => {
            let ended = create_record(args.record.as_deref(), args.record_max).and_then(|record| {
                let loaded = (*loaded, record);
                let serving = serve(sources, loaded, &log, stop, &mut again, hangups);
                runtime.block_on(serving)
            });
            if let Err(error) = &ended {
                tracing::error!("{error:#}");
            }
            ended.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
        }
        Prepared::Unfit(invalid) => {
            tell(invalid);
            BAD_SETTINGS.into()
        }
        Prepared::Stopped => ExitCode::SUCCESS,
    };
    // A settings reader that hangs on its file system must not keep the process alive.
    runtime.shutdown_background();
    Ok(ended)
}

fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread().enable_all().build()
}

/// Loads the settings, and waits for their repair if that can help. It has its own runtime, whose
/// end takes down everything that was served meanwhile.
fn prepare(sources: &Sources, stop: &mut Signals) -> anyhow::Result<Prepared> {
    let runtime = runtime()?;
    let prepared = runtime.block_on(async {
        tokio::select! {
            biased;
            () = stop.next() => Ok(Prepared::Stopped),
            prepared = fit(sources) => prepared,
        }
    });
    runtime.shutdown_background();
    prepared
}

async fn fit(sources: &Sources) -> anyhow::Result<Prepared> {
    let loading = {
        let sources = sources.clone();
        // On another thread: a read from a hanging file system or a pipe may never return.
        spawn_blocking(move || settings::load(&sources))
    };
    let (log, loaded) = match loading.await? {
        Ok(loaded) => (install_log(&loaded.settings, sources)?, loaded),
        Err(mut invalid) => {
            let Some(repair) = invalid.repair.take() else {
                return Ok(Prepared::Unfit(invalid));
            };
            let log = install_log(&repair.settings, sources)?;
            let demand = Arc::new(Notify::new());
            let mut hangups = signal(SignalKind::hangup())?;
            let repaired = app::repaired(sources, invalid, repair, Arc::clone(&demand));
            tokio::pin!(repaired);
            let repaired = loop {
                tokio::select! {
                    repaired = &mut repaired => break repaired,
                    _ = hangups.recv() => demand.notify_one(),
                }
            };
            let loaded = repaired.context("cannot wait for the repair of the settings")?;
            (log, loaded)
        }
    };
    Ok(Prepared::Fit(Box::new(loaded), log))
}

fn install_log(settings: &Settings, sources: &Sources) -> anyhow::Result<Log> {
    let format = match settings.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let log = log::install(format, level(settings)?)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "evenkeel starts");
    for hint in sources.hints() {
        tracing::warn!("{hint}");
    }
    if let Err(error) = descriptors::raise() {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    Ok(log)
}

fn level(settings: &Settings) -> Result<Level, InvalidLevel> {
    settings.log.level.as_str().parse()
}

/// Follows the level of the log in the settings.
async fn follow_level(mut in_force: watch::Receiver<Arc<InForce>>, handle: LevelHandle) {
    loop {
        let level = level(&in_force.borrow_and_update().settings);
        handle.set(level.expect("BUG: the settings accept levels only"));
        if in_force.changed().await.is_err() {
            return;
        }
    }
}

/// Makes the file of a record, if there is to be one.
fn create_record(folder: Option<&Path>, most: ByteSize) -> anyhow::Result<Option<RecordFile>> {
    let Some(folder) = folder else {
        return Ok(None);
    };
    let file = RecordFile::create(folder, most.as_u64());
    let file = file.with_context(|| format!("--record {}", printable(folder.display(), 300)))?;
    tracing::info!(path = %file.path().display(), max_bytes = most.as_u64(), "recording");
    Ok(Some(file))
}

async fn serve(
    sources: Sources,
    (loaded, record): (Loaded, Option<RecordFile>),
    log: &Log,
    mut stop: Signals,
    again: &mut Signals,
    mut hangups: Signal,
) -> anyhow::Result<()> {
    tracing::info!(hash = %loaded.hash, "settings loaded");
    loaded
        .notes()
        .iter()
        .for_each(|note| tracing::info!("{note}"));
    let sidecar = Sidecar::start_recording(sources, loaded, record)
        .await
        .context("cannot start")?;
    sidecar.show_dropped_lines(log.dropped());
    let addresses = sidecar.addresses();
    for lookup in &addresses.lookup {
        tracing::info!(address = %lookup, "lookups are answered");
    }
    if let Some(admin) = &addresses.admin {
        tracing::info!(address = %admin, "operators are served");
    }
    tracing::info!(address = %addresses.telemetry, "probes and metrics are served");

    tokio::spawn(follow_level(sidecar.settings(), log.level()));
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
