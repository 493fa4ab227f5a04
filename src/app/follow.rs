//! Tasks that carry facts from one room to another, for as long as the sidecar lives.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{Block, SidecarCore};
use crate::{
    admission::Link,
    upstream::{ChangedInput, ConnectionState, Heard},
};

/// Tells the core of the connection. The first contact, or the end of the grace, lifts the block on
/// readiness.
pub(super) async fn connection(
    core: Arc<SidecarCore>,
    mut connection: watch::Receiver<ConnectionState>,
    mut contact: Option<Block>,
    grace: Duration,
) {
    let grace = sleep(grace);
    tokio::pin!(grace);
    loop {
        let now = *connection.borrow_and_update();
        let link = match now {
            ConnectionState::Dialling => Link::Dialling,
            ConnectionState::Up { room, .. } => {
                core.refresh.set_room(room);
                Link::Up
            }
            ConnectionState::Down { retry_at } => Link::Down {
                retry_at: core.refresh.clock().moment(retry_at),
            },
        };
        core.refresh.set_link(link);
        core.is_connected.send_replace(link == Link::Up);
        if link == Link::Up {
            contact = None;
        }
        tokio::select! {
            changed = connection.changed() => if changed.is_err() { return },
            () = &mut grace, if contact.is_some() => {
                contact = None;
                tracing::warn!("renderer not reached yet; becoming ready without it");
            }
        }
    }
}

/// Tells health whether the renderer can be used. One task does, so that the last word is what is
/// true.
pub(super) async fn degraded(core: Arc<SidecarCore>) {
    let (mut is_connected, mut stops) = (core.is_connected.subscribe(), core.stops.clone());
    loop {
        core.health.set_degraded(core.is_degraded()).await;
        let changed = tokio::select! {
            changed = is_connected.changed() => changed,
            changed = stops.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Tells the core of inputs that changed, and of those whose change may have been missed.
pub(super) async fn changes(core: Arc<SidecarCore>, mut changes: mpsc::Receiver<Heard>) {
    while let Some(heard) = changes.recv().await {
        match heard {
            Heard::Change(ChangedInput { project, order }) => core.refresh.changed(&project, order),
            Heard::Resync { since } => core.refresh.resync(core.refresh.clock().moment(since)),
        }
    }
}

/// Tells health of readiness.
pub(super) async fn readiness(core: Arc<SidecarCore>) {
    loop {
        core.readiness.until_ready().await;
        core.health.set_ready(true).await;
        core.readiness.until_unready().await;
        core.health.set_ready(false).await;
    }
}
