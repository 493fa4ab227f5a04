//! Waits until settings that were invalid at start have been fixed.

use std::sync::Arc;

use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval},
};

use super::{FileWatch, PERIOD, ReadCause, read_again};
use crate::settings::{Invalid, Loaded, Repair, Sources, load::resolve};

impl Repair {
    /// Reads the files again and again, and at once on `demand`, until they are fit to run with;
    /// `unfit` has what is wrong with them meanwhile. Never ends when the runtime does.
    pub async fn done(
        self: Box<Self>,
        sources: &Sources,
        demand: Arc<Notify>,
        unfit: &watch::Sender<Invalid>,
    ) -> Loaded {
        let mut watch = FileWatch::new(self.readings);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let cause = tokio::select! {
                () = demand.notified() => ReadCause::Demand,
                _ = ticks.tick() => ReadCause::Poll,
            };
            let Some(readings) = read_again(sources, &watch).await else {
                return std::future::pending().await;
            };
            let Some(readings) = watch.see(readings, cause) else {
                continue;
            };
            match resolve(sources, readings) {
                Ok(loaded) => return loaded,
                Err(invalid) => {
                    unfit.send_if_modified(|known| {
                        let is_news = known.problems != invalid.problems;
                        *known = invalid;
                        is_news
                    });
                }
            }
        }
    }
}
