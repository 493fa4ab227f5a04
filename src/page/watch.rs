//! Asks the sidecars while a page is open: one round for all pages, and no round without one.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{PERIOD, history::PageHistory};
use crate::status::Fleet;

/// How long a page waits for the first answers.
const FIRST: Duration = Duration::from_secs(4);

/// How old answers may be that a new page shows.
const YOUNG: Duration = PERIOD.saturating_add(Duration::from_millis(500));

/// What the sidecars said last.
#[derive(Clone, Debug, Default)]
pub(super) struct SidecarsSeen {
    /// When they had; none if they were not asked yet.
    pub(super) at: Option<Instant>,
    /// What they said.
    pub(super) fleet: Arc<Fleet>,
}

/// What is seen of the sidecars, and how many look.
#[derive(Debug)]
pub(super) struct SidecarWatch {
    began: Instant,
    seen: watch::Sender<SidecarsSeen>,
    viewers: watch::Sender<usize>,
    history: Mutex<PageHistory>,
}

/// One who looks, until dropped.
#[derive(Debug)]
pub(super) struct Viewer(Arc<SidecarWatch>);

impl SidecarsSeen {
    /// Whether an address is among those that were asked.
    pub(super) fn knows(&self, address: &str) -> bool {
        let answered = self.fleet.answered().iter().map(|(it, _)| it);
        let mut asked = answered.chain(self.fleet.silent().iter().map(|(it, _)| it));
        asked.any(|it| it == address)
    }
}

impl SidecarWatch {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            seen: watch::Sender::default(),
            viewers: watch::Sender::default(),
            history: Mutex::default(),
        })
    }

    /// Asks again and again while someone looks. Never ends.
    pub(super) async fn ask<Asked: Future<Output = Fleet>>(&self, ask: impl Fn() -> Asked) {
        let mut viewers = self.viewers.subscribe();
        loop {
            let is_looked_at = viewers.wait_for(|count| *count > 0).await.is_ok();
            assert!(is_looked_at, "BUG: the sender is our own");
            let began = Instant::now();
            let fleet = ask().await;
            self.history().saw(self.began.elapsed(), &fleet);
            self.seen.send_replace(SidecarsSeen {
                at: Some(Instant::now()),
                fleet: Arc::new(fleet),
            });
            sleep_until(began + PERIOD).await;
        }
    }

    /// Looks, until the viewer is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Viewer {
        self.viewers.send_modify(|count| *count += 1);
        Viewer(Arc::clone(self))
    }

    /// What was seen a moment ago, or is seen now; what was seen before, if that takes too long.
    pub(super) async fn look(self: &Arc<Self>) -> SidecarsSeen {
        let _viewer = self.enter();
        let mut seen = self.seen.subscribe();
        let young = |seen: &SidecarsSeen| seen.at.is_some_and(|at| at.elapsed() <= YOUNG);
        let looked = timeout(FIRST, seen.wait_for(young)).await;
        match looked {
            Ok(Ok(now)) => now.clone(),
            Ok(Err(_)) | Err(_) => self.seen.borrow().clone(),
        }
    }

    /// What is seen from now on.
    pub(super) fn follow(&self) -> watch::Receiver<SidecarsSeen> {
        self.seen.subscribe()
    }

    /// What was seen lately.
    pub(super) fn history(&self) -> MutexGuard<'_, PageHistory> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the history.
    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.viewers.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::time::sleep;

    use super::*;

    /// A watch whose sidecars count how often they are asked.
    fn watched() -> (Arc<SidecarWatch>, Arc<AtomicUsize>) {
        let (watch, asked) = (SidecarWatch::new(), Arc::new(AtomicUsize::new(0)));
        let (asking, count) = (Arc::clone(&watch), Arc::clone(&asked));
        tokio::spawn(async move {
            let ask = || {
                count.fetch_add(1, Relaxed);
                async {
                    sleep(Duration::from_millis(10)).await;
                    Fleet::default()
                }
            };
            asking.ask(ask).await;
        });
        (watch, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn sidecars_are_asked_once_for_all_viewers_and_not_without_a_viewer() {
        let (watch, asked) = watched();
        sleep(60 * PERIOD).await;
        assert_eq!(asked.load(Relaxed), 0, "no page is open");
        let viewers: Vec<_> = (0..16).map(|_| watch.enter()).collect();
        sleep(10 * PERIOD).await;
        let count = asked.load(Relaxed);
        assert!((10..=11).contains(&count), "{count} rounds in ten periods");
        drop(viewers);
        sleep(PERIOD).await;
        let count = asked.load(Relaxed);
        sleep(60 * PERIOD).await;
        assert_eq!(asked.load(Relaxed), count, "after the last viewer left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_answered_with_what_was_seen_a_moment_ago() {
        let (watch, asked) = watched();
        let first = watch.look().await;
        let again = watch.look().await;
        assert_eq!((first.at, asked.load(Relaxed)), (again.at, 1));
        sleep(30 * PERIOD).await;
        let later = watch.look().await;
        assert!(later.at > first.at);
        assert_eq!(asked.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_does_not_wait_for_ever() {
        let watch = SidecarWatch::new();
        let began = Instant::now();
        assert_eq!(watch.look().await.at, None);
        assert_eq!(began.elapsed(), FIRST);
    }
}
