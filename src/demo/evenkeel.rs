//! With evenkeel: the sidecar, whole and as `serve` runs it, with a settings file that the demo
//! edits.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{DemoError, DemoStage, Release, StormTerms, terms::FETCH, way::LookupWay};
use crate::{
    app::Sidecar,
    serve::listener::ListenAddress,
    settings::{self, Sources},
};

/// How often is looked whether the sidecar has learned of a release.
const LEARNING: Duration = Duration::from_millis(1);

/// How long that may take.
const LEARNED: Duration = Duration::from_secs(10);

/// A pod that evenkeel runs in, and those before it that are on their way out.
#[derive(Debug)]
pub struct Evenkeel {
    pod: DemoPod,
    leaving: JoinSet<()>,
    pods: u32,
    terms: StormTerms,
    renderer: String,
    folder: PathBuf,
}

#[derive(Debug)]
struct DemoPod {
    sidecar: Sidecar,
    settings: PathBuf,
    lookup: SocketAddr,
    telemetry: SocketAddr,
}

impl Evenkeel {
    /// Starts a pod before a renderer.
    ///
    /// # Errors
    /// When its settings cannot be written, or it does not start.
    pub(super) async fn start(
        terms: &StormTerms,
        renderer: &str,
        folder: &Path,
    ) -> Result<Self, DemoError> {
        Ok(Self {
            pod: DemoPod::start(terms, renderer, folder, 1).await?,
            leaving: JoinSet::new(),
            pods: 1,
            terms: *terms,
            renderer: renderer.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// Where it answers lookups now.
    pub fn address(&self) -> SocketAddr {
        self.pod.lookup
    }

    /// Where it shows its metrics now.
    pub fn telemetry(&self) -> SocketAddr {
        self.pod.telemetry
    }

    /// The settings file that it reads.
    pub fn settings(&self) -> &Path {
        &self.pod.settings
    }

    /// The lowest rollout that is fresh.
    pub(super) fn target(&self) -> u64 {
        self.pod.sidecar.snapshot().target
    }

    /// Raises the target on the running pod, and returns when that has learned of it.
    pub(super) async fn raise(&self, rollout: u64) -> Result<(), DemoError> {
        let text = text(&self.terms, &self.renderer, rollout);
        write(&self.pod.settings, &text).map_err(DemoError::Folder)?;
        self.pod.sidecar.reload()();
        let learned = async {
            while self.target() < rollout {
                sleep(LEARNING).await;
            }
        };
        let learned = timeout(LEARNED, learned).await;
        learned.map_err(|_| DemoError::Unlearned(LEARNED))
    }
}

impl LookupWay for Evenkeel {
    const STAGE: DemoStage = DemoStage::Evenkeel;
    const RECOVERS: bool = true;

    fn lookup(&self) -> SocketAddr {
        self.pod.lookup
    }

    fn fresh(&self) -> usize {
        self.pod.sidecar.snapshot().fresh
    }

    fn pods(&self) -> u32 {
        self.pods
    }

    async fn release(&mut self, rollout: u64) -> Result<(), DemoError> {
        match self.terms.release {
            Release::Raise => self.raise(rollout).await?,
            Release::Replace => {
                let new =
                    DemoPod::start(&self.terms, &self.renderer, &self.folder, rollout).await?;
                let old = std::mem::replace(&mut self.pod, new);
                self.pods += 1;
                self.leaving.spawn(async move {
                    // What it still has to say is said to its callers.
                    let _ended = old
                        .sidecar
                        .run(std::future::ready(()), std::future::pending())
                        .await;
                });
            }
        }
        Ok(())
    }
}

impl DemoPod {
    async fn start(
        terms: &StormTerms,
        renderer: &str,
        folder: &Path,
        rollout: u64,
    ) -> Result<Self, DemoError> {
        let settings = folder.join(format!("evenkeel-{rollout}.yaml"));
        write(&settings, &text(terms, renderer, rollout)).map_err(DemoError::Folder)?;
        let sources = Sources {
            files: vec![settings.clone()],
            ..Sources::default()
        };
        let loaded = settings::load(&sources)?;
        let sidecar = Sidecar::start(sources, loaded).await?;
        let addresses = sidecar.addresses().clone();
        let lookup = addresses.lookup.iter().find_map(tcp);
        let telemetry = tcp(&addresses.telemetry);
        let (lookup, telemetry) = lookup
            .zip(telemetry)
            .expect("BUG: the settings name TCP addresses");
        sidecar.ready().await;
        Ok(Self {
            sidecar,
            settings,
            lookup,
            telemetry,
        })
    }
}

fn tcp(address: &ListenAddress) -> Option<SocketAddr> {
    match address {
        ListenAddress::Tcp(address) => Some(*address),
        ListenAddress::Unix(_) => None,
    }
}

/// Replaces the file by a rename, so that no half of it is ever read.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, path)
}

fn text(terms: &StormTerms, renderer: &str, rollout: u64) -> String {
    let StormTerms {
        rate,
        burst,
        concurrency,
        patience,
        deadline,
        render_deadline,
        ..
    } = terms;
    format!(
        "rollout: {rollout}
upstream:
  url: {renderer}
  deadline: {render_deadline:?}
  fetch: {{ rate: {}, concurrency: {} }}
lookup:
  listen: [\"127.0.0.1:0\"]
  patience: {patience:?}
  cold_patience: {deadline:?}
admission:
  rate: {rate}
  burst: {burst}
  concurrency: {concurrency}
telemetry:
  listen: 127.0.0.1:0
",
        FETCH.0, FETCH.1
    )
}
