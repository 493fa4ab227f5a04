//! One storm: lookups, a release in the middle, perhaps a fault, and what was seen of it.
//!
//! The same for both ways. It only watches and writes down: what it means is computed from
//! [`StormObserved`] elsewhere.

use std::{net::SocketAddr, num::NonZeroU64, time::Duration};

use tokio::{
    sync::watch::Sender,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::{
    DemoError, DemoStage, LiveNumbers, Release, StormTerms, load::Load, observed::StormObserved,
    renderer::RendererSite, terms::RECOVERY, way::LookupWay,
};
use crate::renderer::{FaultOrder, RunningRenderer};

/// The rollout before the release is 1.
const ROLLOUT: NonZeroU64 = NonZeroU64::MIN.saturating_add(1);

/// How often is looked at what goes on.
const TICK: Duration = Duration::from_millis(50);

/// How long after the release a fault begins.
const FAULT_AFTER: Duration = Duration::from_secs(1);

/// How long lookups go on when every project is fresh after a fault.
const AFTERMATH: Duration = Duration::from_secs(3);

/// One of the two ways, and a renderer of its own.
pub(super) struct StormSide<W> {
    site: RendererSite,
    pub(super) way: W,
    projects: Vec<String>,
}

impl<W: LookupWay> StormSide<W> {
    pub(super) fn new(site: RendererSite, way: W, terms: &StormTerms) -> Self {
        let mut projects = site.running().projects();
        projects.truncate(terms.projects.get());
        Self {
            site,
            way,
            projects,
        }
    }

    /// Where its renderer takes commands.
    pub(super) fn control(&self) -> SocketAddr {
        self.site.control()
    }

    /// Where lookups are answered now.
    pub(super) fn address(&self) -> SocketAddr {
        self.way.lookup()
    }

    /// Its renderer.
    pub(super) fn renderer(&self) -> &RunningRenderer {
        self.site.running()
    }

    /// The projects that are looked up.
    pub(super) fn projects(&self) -> &[String] {
        &self.projects
    }

    async fn warm_up(&self) -> Result<(), DemoError> {
        Load::warm_up(self.way.lookup(), &self.projects).await
    }

    /// Goes through the storm.
    pub(super) async fn storm(
        &mut self,
        terms: &StormTerms,
        live: &Sender<LiveNumbers>,
    ) -> Result<StormObserved, DemoError> {
        let load = Load::start(terms, self.way.lookup(), &self.projects).await?;
        let renderer_ran = self.site.running().renders().now;
        // How late it was before is of no account.
        self.site.take_late();
        let mut storm = Storm {
            seen: StormObserved {
                began: renderer_ran.saturating_sub(load.began().elapsed()),
                ..StormObserved::default()
            },
            load,
            ticks: ticks(),
            terms,
            live,
        };
        storm.watch(self, |storm| storm.now() >= terms.calm).await;
        storm.release(self).await?;
        if let Some((fault, lasts)) = terms.fault {
            let at = storm.seen.learned + FAULT_AFTER;
            storm.watch(self, |storm| storm.now() >= at).await;
            let faults = self.site.running().faults();
            faults.set(FaultOrder {
                fault,
                lasts: Some(lasts),
            });
            storm.seen.fault = Some((storm.now(), storm.now() + lasts));
        }
        storm.watch(self, Storm::is_over::<W>).await;
        Ok(storm.end(self).await)
    }
}

/// A storm that goes on.
struct Storm<'a> {
    load: Load,
    seen: StormObserved,
    ticks: Interval,
    terms: &'a StormTerms,
    live: &'a Sender<LiveNumbers>,
}

impl Storm<'_> {
    fn now(&self) -> Duration {
        self.load.began().elapsed()
    }

    /// Writes down and tells what goes on, until something is the case.
    async fn watch<W: LookupWay>(&mut self, side: &StormSide<W>, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            self.ticks.tick().await;
            let fresh = side.way.fresh();
            self.seen.fresh.push((self.now(), fresh));
            let (lookups, failed) = self.load.count();
            let asked = side.site.running().renders().asked;
            self.live.send_replace(LiveNumbers {
                stage: W::STAGE,
                elapsed: self.now(),
                expected: expected(self.terms),
                answered: lookups - failed,
                failed,
                renders: asked - self.seen.asked_before.unwrap_or(asked),
                fresh,
            });
        }
    }

    async fn release<W: LookupWay>(&mut self, side: &mut StormSide<W>) -> Result<(), DemoError> {
        let before = side.site.running().renders();
        self.seen.asked_before = Some(before.asked);
        (self.seen.done_before, self.seen.fetched_before) = (before.rendered, before.fetched);
        self.seen.release = self.now();
        // As in any release, the renderer comes first.
        let raised = side.site.running().raise_rollout(ROLLOUT);
        raised.expect("BUG: it rendered the rollout before");
        side.way.release(ROLLOUT.get()).await?;
        if self.terms.release == Release::Replace {
            self.load.redirect(side.way.lookup()).await?;
        }
        self.load.expect(ROLLOUT.get());
        self.seen.learned = self.now();
        Ok(())
    }

    /// Whether all there was to see was seen; after a fault a way that recovers has the time for
    /// it.
    fn is_over<W: LookupWay>(&self) -> bool {
        let now = self.now();
        let recovered = self.seen.fresh_at(self.terms.projects.get());
        let is_recovered = match self.seen.fault {
            Some((_, ended)) if W::RECOVERS => {
                recovered.is_some_and(|at| now >= at + AFTERMATH) || now >= ended + RECOVERY
            }
            Some(_) | None => true,
        };
        now >= self.seen.release + after(self.terms) && is_recovered
    }

    async fn end<W: LookupWay>(self, side: &StormSide<W>) -> StormObserved {
        StormObserved {
            length: self.now(),
            samples: self.load.end().await,
            renders: side.site.running().renders(),
            late: side.site.take_late().max(self.load.take_late()),
            pods: side.way.pods(),
            ..self.seen
        }
    }
}

/// Has both ways render every project once, at the same time.
pub(super) async fn warm_up<V: LookupWay, W: LookupWay>(
    one: &StormSide<V>,
    other: &StormSide<W>,
    live: &Sender<LiveNumbers>,
) -> Result<(), DemoError> {
    let began = Instant::now();
    let tell = async {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            live.send_replace(LiveNumbers {
                stage: DemoStage::WarmUp,
                elapsed: began.elapsed(),
                fresh: one.way.fresh().min(other.way.fresh()),
                ..LiveNumbers::default()
            });
        }
    };
    tokio::select! {
        warm = async { tokio::try_join!(one.warm_up(), other.warm_up()) } => warm.map(drop),
        () = tell => Ok(()),
    }
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How long a storm takes.
fn expected(terms: &StormTerms) -> Duration {
    terms.calm + after(terms)
}

/// How long it goes on after the release, at least.
fn after(terms: &StormTerms) -> Duration {
    let fault = terms.fault.map(|(_, lasts)| FAULT_AFTER + lasts);
    terms.after + fault.unwrap_or_default()
}
