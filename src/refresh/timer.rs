//! The timer: ticks admission and the notices, in steps that leave the lock to lookups.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{self, Instant},
};

use super::RefreshShared;
use crate::moment::Moment;

/// How long lookups have the lock to themselves between two steps that follow each other at once:
/// the lock is not fair, and on a busy core a step that follows without a pause always takes it
/// before those who wait.
const PAUSE: Duration = Duration::from_millis(1);

/// Ticks admission whenever it asks to be woken, until the refresh is dropped.
pub(super) async fn keep_time(shared: Weak<RefreshShared>, rearm: Arc<Notify>) {
    let mut pauses_until = Moment::START;
    loop {
        let deadline = {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            let mut state = shared.lock();
            let now = shared.clock.now();
            let is_due = |at: Moment| at.max(pauses_until) <= now;
            if state.wakes_at.is_some_and(is_due) {
                state.admission.tick(now);
                state.troubles.tick(now);
                shared.perform(&mut state);
                pauses_until = now + PAUSE;
            }
            let wakes_at = state.wakes_at.map(|at| at.max(pauses_until));
            wakes_at.map(|at| shared.clock.instant(at))
        };
        tokio::select! {
            () = rearm.notified() => {}
            () = sleep_until(deadline) => {}
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
