//! What goes on when a demo stays: callers look projects up, and the viewer of the page may release
//! and break the renderer.

use std::{
    convert::Infallible,
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};

use super::{DemoError, StormTerms, evenkeel::Evenkeel, load::Load, storm::StormSide};
use crate::{
    page::{Button, Buttons},
    renderer::{Fault, Faults},
};

/// How many callers look projects up: enough to see that lookups go on.
const CALLERS: NonZeroUsize = NonZeroUsize::new(16).expect("it is not zero");

/// How often what became of their lookups is counted.
const SECOND: Duration = Duration::from_secs(1);

/// How many buttons may be pressed before the first has done what it says.
const PRESSED: usize = 8;

const RELEASE: Button = Button {
    name: "release",
    label: "Release",
    says: "The renderer and the sidecar get the next rollout: all that is held is outdated at once",
    is_pressed: false,
};

const WELL: Button = Button {
    name: "well",
    label: "Renderer: well",
    says: "Nothing is wrong with the renderer",
    is_pressed: false,
};

/// A demo that stays.
pub struct Stay {
    side: StormSide<Evenkeel>,
    load: Load,
    told: Arc<Mutex<PanelFigures>>,
    orders: mpsc::Receiver<ReleaseOrder>,
    panel: Arc<Panel>,
    _folder: TempDir,
}

/// The buttons of its page.
#[derive(Debug)]
struct Panel {
    faults: Faults,
    told: Arc<Mutex<PanelFigures>>,
    orders: mpsc::Sender<ReleaseOrder>,
}

/// A release that is to be made; it is answered when the sidecar knows of it.
type ReleaseOrder = oneshot::Sender<Result<(), String>>;

/// What is said beside the buttons.
#[derive(Clone, Copy, Debug, Default)]
struct PanelFigures {
    rollout: u64,
    answered: usize,
    failed: usize,
}

impl Stay {
    pub(super) async fn start(
        side: StormSide<Evenkeel>,
        terms: &StormTerms,
        folder: TempDir,
    ) -> Result<Self, DemoError> {
        let terms = StormTerms {
            callers: CALLERS,
            ..*terms
        };
        let load = Load::start(&terms, side.address(), side.projects()).await?;
        let told = Arc::new(Mutex::new(PanelFigures {
            rollout: side.renderer().rollout(),
            ..PanelFigures::default()
        }));
        let (send, orders) = mpsc::channel(PRESSED);
        let panel = Arc::new(Panel {
            faults: side.renderer().faults().clone(),
            told: Arc::clone(&told),
            orders: send,
        });
        Ok(Self {
            side,
            load,
            told,
            orders,
            panel,
            _folder: folder,
        })
    }

    /// The buttons of its page.
    pub fn buttons(&self) -> Arc<dyn Buttons> {
        Arc::<Panel>::clone(&self.panel)
    }

    /// Where the sidecar answers lookups.
    pub fn address(&self) -> SocketAddr {
        self.side.address()
    }

    /// Where it shows its status and its metrics.
    pub fn telemetry(&self) -> SocketAddr {
        self.side.way.telemetry()
    }

    /// The settings file that it reads.
    pub fn settings(&self) -> &Path {
        self.side.way.settings()
    }

    /// Where its renderer takes commands over plain HTTP: `POST /rollout` with a number has it
    /// render that, `POST /fault` breaks it.
    pub fn control(&self) -> SocketAddr {
        self.side.control()
    }

    /// Goes on, and makes releases.
    pub async fn run(mut self) -> Infallible {
        let mut seconds = interval(SECOND);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = seconds.tick() => {
                    let (lookups, failed) = self.load.take_count();
                    let mut told = lock(&self.told);
                    (told.answered, told.failed) = (lookups - failed, failed);
                }
                Some(order) = self.orders.recv() => {
                    let released = self.release().await;
                    // A browser that left is not waited for.
                    let _left = order.send(released.map_err(|error| error.to_string()));
                }
            }
        }
    }

    /// As in any release, the renderer comes first.
    async fn release(&self) -> Result<(), DemoError> {
        let renderer = self.side.renderer();
        let next = renderer.rollout().max(self.side.way.target()) + 1;
        let rollout = NonZeroU64::MIN.saturating_add(next - 1);
        // Somebody else has raised it meanwhile: then the sidecar has to follow that.
        let _raised = renderer.raise_rollout(rollout);
        let rollout = renderer.rollout();
        self.side.way.raise(rollout).await?;
        self.load.expect(rollout);
        lock(&self.told).rollout = rollout;
        Ok(())
    }
}

impl Buttons for Panel {
    fn heading(&self) -> &'static str {
        "Release, break the renderer, and see lookups go on"
    }

    fn says(&self) -> String {
        let told = *lock(&self.told);
        let PanelFigures {
            rollout,
            answered,
            failed,
        } = told;
        format!(
            "Rollout {rollout}. In the last second {answered} lookups were answered, and {failed} failed."
        )
    }

    fn buttons(&self) -> Vec<Button> {
        let in_force = self.faults.in_force().map(|order| order.fault);
        let faults = Fault::ALL.map(|fault| Button {
            name: fault.name(),
            label: fault.name(),
            says: says(fault),
            is_pressed: in_force == Some(fault),
        });
        [RELEASE, WELL].into_iter().chain(faults).collect()
    }

    fn press(&self, name: &'static str) -> BoxFuture<'static, Result<(), String>> {
        if name == RELEASE.name {
            let orders = self.orders.clone();
            return Box::pin(async move {
                let (order, released) = oneshot::channel();
                let ordered = orders.try_send(order);
                ordered.map_err(|_| "too many releases at once".to_owned())?;
                released
                    .await
                    .map_err(|_| "the demo has ended".to_owned())?
            });
        }
        match Fault::ALL.into_iter().find(|fault| fault.name() == name) {
            Some(fault) => self.faults.set(fault),
            None => self.faults.clear(),
        }
        Box::pin(async { Ok(()) })
    }
}

/// What is wrong, in a line.
const fn says(fault: Fault) -> &'static str {
    match fault {
        Fault::Slow => "Each render takes ten times as long",
        Fault::Dead => "The renderer accepts no connection",
        Fault::Hang => "The renderer accepts renders and never answers",
        Fault::Flap => "The renderer is dead for two seconds, well for two, and so on",
        Fault::Behind => "The renderer renders the rollout before",
        Fault::Garbage => "The renderer answers with what cannot be served",
        Fault::Busy => "The renderer pushes all renders back",
    }
}

fn lock(told: &Mutex<PanelFigures>) -> MutexGuard<'_, PanelFigures> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}
