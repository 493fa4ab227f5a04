//! Listens to changes over a connection of their own, beside one that takes few streams at once.
//!
//! A stream of changes never ends. A renderer that takes one stream at once
//! (SETTINGS_MAX_CONCURRENT_STREAMS) could answer no call beside it.

use std::{future::pending, sync::Arc};

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{
    changes::ChangesListener, connect::Connect, connection::Connection, dial::Redial,
    keeper::Dialler, status::with_causes,
};

/// Listens for as long as `beside` is in use, and a little longer: until the stream that follows
/// has settled. Dials anew when the connection ends.
pub(super) async fn listen<C: Connect>(
    mut dialler: Dialler<C>,
    listener: ChangesListener,
    beside: Arc<Connection>,
    seed: u64,
) {
    let mut redial = Redial::new(seed.wrapping_add(beside.generation()));
    while !listener.is_done() {
        let dialled = tokio::select! {
            () = beside.retired() => return,
            dialled = dialler.dial() => dialled,
        };
        let delay = match dialled {
            Ok(connection) => {
                let began = Instant::now();
                listen_over(&connection, &listener, &beside, seed).await;
                redial.after_end(connection.was_of_use(began.elapsed()))
            }
            Err(error) => {
                debug!(error = with_causes(&error), "cannot connect for changes");
                listener.record_no_connection(&with_causes(&error));
                redial.after_failure()
            }
        };
        // A replica that leaves sends the sidecars of a fleet away in the same instant.
        let delay = delay.max(redial.jitter());
        tokio::select! {
            () = beside.retired() => return,
            () = sleep(delay) => {}
        }
    }
}

/// Listens over one connection, which retires together with `beside`.
async fn listen_over(
    connection: &Arc<Connection>,
    listener: &ChangesListener,
    beside: &Connection,
    seed: u64,
) {
    let redial = Redial::new(seed.wrapping_add(connection.generation()));
    let retire = async {
        beside.retired().await;
        connection.retire();
        pending::<()>().await;
    };
    tokio::select! {
        () = listener.clone().listen(Arc::clone(connection), redial) => {}
        () = retire => {}
    }
}
