//! Listens to changes over a connection of their own, beside one that takes few streams at once.
//!
//! A stream of changes never ends. A renderer that takes one stream at once (SETTINGS_MAX_CONCURRENT_STREAMS) could answer no
//! call beside it.

use std::{future::pending, sync::Arc};

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{
    changes::Listener, connect::Connect, connection::Dialler, dial::Backoff, link::Link,
    status::with_causes,
};

/// Listens for as long as `beside` is in use, and a little longer: until the stream that follows has settled. Dials anew when
/// the connection ends.
pub(super) async fn listen<C: Connect>(
    mut dialler: Dialler<C>,
    listener: Listener,
    beside: Arc<Link>,
    seed: u64,
) {
    let mut backoff = Backoff::new(seed.wrapping_add(beside.generation()));
    while !listener.is_done() {
        let dialled = tokio::select! {
            () = beside.retired() => return,
            dialled = dialler.dial() => dialled,
        };
        let delay = match dialled {
            Ok(link) => {
                let began = Instant::now();
                listen_over(&link, &listener, &beside, seed).await;
                backoff.after_end(link.was_of_use(began.elapsed()))
            }
            Err(error) => {
                debug!(error = with_causes(&error), "cannot connect for changes");
                listener.note_no_connection(&with_causes(&error));
                backoff.after_failure()
            }
        };
        // A replica that leaves sends the sidecars of a fleet away in the same instant.
        let delay = delay.max(backoff.jitter());
        tokio::select! {
            () = beside.retired() => return,
            () = sleep(delay) => {}
        }
    }
}

/// Listens over one connection, which retires together with `beside`.
async fn listen_over(link: &Arc<Link>, listener: &Listener, beside: &Link, seed: u64) {
    let backoff = Backoff::new(seed.wrapping_add(link.generation()));
    let retire = async {
        beside.retired().await;
        link.retire();
        pending::<()>().await;
    };
    tokio::select! {
        () = listener.clone().listen(Arc::clone(link), backoff) => {}
        () = retire => {}
    }
}
