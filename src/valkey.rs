//! The store of a fleet as a server: a Valkey or Redis that this sidecar dials, and the task that
//! carries out what a [`Member`] decides.
//!
//! Only this room names the crate `redis`. Every call has a time limit of ours, and none is sent
//! again: a call that is sent twice may take two tokens. There is no TLS: the way to the store is
//! as safe as the network between them. Without `store.url` nothing of this room runs.

mod driver;
mod link;

use std::{path::PathBuf, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::driver::FleetDriver;
use crate::{
    admission::FleetMode,
    fleet::{FleetBudget, FleetEvent, FleetNumbers, Member, MemberOptions},
    refresh::Refresh,
    store::KeyNames,
};

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where the store is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct ValkeyOptions {
    /// The name or address of its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// As whom to log in; the server's default user where there is none.
    pub username: Option<String>,
    /// The file with the password, read at each dial.
    pub password_file: Option<PathBuf>,
    /// How long a call may take.
    pub timeout: Duration,
    /// The keys of this fleet.
    pub names: KeyNames,
    /// What the member goes by.
    pub member: MemberOptions,
}

/// What a sidecar renders by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FleetState {
    /// Whether the store is asked.
    pub mode: FleetMode,
    /// How many sidecars share the rate when this one is apart.
    pub count: u32,
}

/// A sidecar's membership. Dropping it ends the task, without a farewell.
#[derive(Debug)]
pub struct Valkey {
    budget: watch::Sender<FleetBudget>,
    state: watch::Receiver<FleetState>,
    numbers: watch::Receiver<FleetNumbers>,
    leaving: CancellationToken,
    /// Is cancelled when the task has ended.
    left: CancellationToken,
    task: JoinHandle<()>,
}

impl Valkey {
    /// Starts to dial the store, on the current runtime.
    pub fn start(
        options: ValkeyOptions,
        budget: FleetBudget,
        refresh: Refresh,
        events: mpsc::UnboundedReceiver<FleetEvent>,
    ) -> Self {
        let member = Member::new(options.member.clone(), budget, refresh.clock().now());
        let (state, states) = watch::channel(FleetState {
            mode: member.mode(),
            count: member.count(),
        });
        let (numbers, seen) = watch::channel(member.numbers());
        let (budget, budgets) = watch::channel(budget);
        let (leaving, left) = (CancellationToken::new(), CancellationToken::new());
        let driver = FleetDriver::new(options, member, refresh, state, numbers);
        let task = {
            let (leaving, left) = (leaving.clone(), left.clone().drop_guard());
            tokio::spawn(async move {
                driver.run(events, budgets, leaving).await;
                drop(left);
            })
        };
        Self {
            budget,
            state: states,
            numbers: seen,
            leaving,
            left,
            task,
        }
    }

    /// Follows what the sidecar renders by.
    pub fn state(&self) -> watch::Receiver<FleetState> {
        self.state.clone()
    }

    /// What was counted, and what the store last told.
    pub fn numbers(&self) -> FleetNumbers {
        *self.numbers.borrow()
    }

    /// Puts another budget in force.
    pub fn set_budget(&self, budget: FleetBudget) {
        self.budget.send_if_modified(|before| {
            let is_modified = *before != budget;
            *before = budget;
            is_modified
        });
    }

    /// Says goodbye to the store, so that the others have this sidecar's share at once.
    pub async fn leave(&self) {
        self.leaving.cancel();
        // It waits for calls, each of which ends in time.
        let ended = timeout(FAREWELL, self.left.cancelled()).await;
        if ended.is_err() {
            tracing::debug!("the store heard no farewell in time");
        }
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        self.task.abort();
    }
}
