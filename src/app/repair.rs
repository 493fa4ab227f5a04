//! A sidecar that cannot start yet, since its hot settings are invalid: it says so to probes,
//! operators and lookups, renders nothing, and ends as soon as they have been fixed.

use std::{io, sync::Arc};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{OPERATORS_STREAMS, SidecarError, calls, ended_early, status, values};
use crate::{
    descriptors::ConnectionShares,
    metrics::{Gauges, Metrics, Role},
    serve::{
        self, Accepting, Connections, RoleState, UnfitLookups,
        health::Health,
        listener::{Access, ListenAddress, Listener},
    },
    settings::{Invalid, Loaded, Repair, Settings, Sources},
    status::Status,
};

/// Waits until the files are fit to run with; `demand` has them read at once. What it serves
/// meanwhile lives on the current runtime, connections included: drop that before a sidecar is
/// started, which listens on the same addresses.
///
/// # Errors
/// When an address cannot be listened on, or a listener fails.
pub async fn repaired(
    sources: &Sources,
    invalid: Invalid,
    repair: Box<Repair>,
    demand: Arc<Notify>,
) -> Result<Loaded, SidecarError> {
    let (unfit, mut problem) = watch::channel(invalid);
    let mut serving = serve(&repair.settings, &problem).await?;
    log(&problem.borrow_and_update());
    let done = repair.done(sources, demand, &unfit);
    tokio::pin!(done);
    loop {
        tokio::select! {
            loaded = &mut done => {
                tracing::info!(hash = %loaded.hash, "settings are valid now");
                return Ok(loaded);
            }
            Ok(()) = problem.changed() => log(&problem.borrow_and_update()),
            Some(failed) = serving.join_next() => {
                return Err(SidecarError::Operators(failed?.err().unwrap_or_else(ended_early)));
            }
        }
    }
}

fn log(invalid: &Invalid) {
    tracing::error!(
        "not ready until the settings are fixed: {}",
        invalid.in_one_line()
    );
}

/// Serves on every listener of the settings. Dropping the tasks closes the listeners.
async fn serve(
    settings: &Settings,
    problem: &watch::Receiver<Invalid>,
) -> Result<JoinSet<io::Result<()>>, SidecarError> {
    let words = {
        let problem = problem.clone();
        move || problem.borrow().in_one_line()
    };
    let (metrics, health) = (Metrics::new(), Health::new().await);
    health.set_degraded(true).await;
    let (shares, accepting) = (
        ConnectionShares::in_force(),
        Accepting::new(metrics.clone()),
    );
    let role_state = |role, most, max_streams| RoleState {
        connections: Connections::at_most(most),
        closing: CancellationToken::new(),
        accepting: accepting.of(role),
        max_streams,
        calls: calls(max_streams),
    };
    let mut serving = JoinSet::new();

    let telemetry = ListenAddress::Tcp(settings.telemetry.listen);
    let telemetry = Listener::bind(&telemetry, Access::Everyone)?;
    tracing::info!(address = %telemetry.address(), "probes and metrics are served");
    let page = {
        let metrics = metrics.clone();
        move |exposition| metrics.text(gauges(), exposition)
    };
    let pending = {
        let words = words.clone();
        move || vec![format!("settings: {}", words())]
    };
    let status = {
        let words = words.clone();
        move |form| status::written(&Status::of_bad_settings(words()), form)
    };
    let routes = serve::telemetry::routes(page, pending, status);
    let telemetry_state = role_state(Role::Telemetry, shares.telemetry, OPERATORS_STREAMS);
    serving.spawn(serve::telemetry::serve(telemetry, routes, telemetry_state));

    if let Some(admin) = &settings.admin.listen {
        let admin = Listener::bind(&values::address(admin), Access::Owner)?;
        let health = health.clone();
        let role_state = role_state(Role::Admin, shares.admin, OPERATORS_STREAMS);
        serving.spawn(async move { serve::admin::serve(admin, None, &health, role_state).await });
    }
    let role_state = role_state(Role::Lookup, shares.lookup, settings.lookup.max_streams);
    let lookups = settings.lookup.listen.iter().map(values::address);
    for lookup in Listener::bind_all(lookups, Access::Everyone)? {
        tracing::info!(address = %lookup.address(), "lookups are refused");
        let unfit = UnfitLookups::new(words.clone(), metrics.clone());
        let (health, role_state) = (health.clone(), role_state.clone());
        serving.spawn(async move { unfit.serve(lookup, &health, role_state).await });
    }
    Ok(serving)
}

/// There is no target, no limit and nothing held.
fn gauges() -> Gauges {
    Gauges {
        ready: false,
        degraded: true,
        settings_valid: false,
        ..Gauges::default()
    }
}
