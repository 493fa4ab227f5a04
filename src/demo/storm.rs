//! One storm: lookups, a release in the middle, perhaps a fault, and what was seen of it.
//!
//! The same for both ways; what they have in common is [`Side`]. It only watches and writes down: what it means is computed
//! from [`Observed`] elsewhere.

use std::{net::SocketAddr, path::Path, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    Error, Evenkeel, Release, Site, Terms,
    incident::Incident,
    load::{Load, Sample},
    terms::RECOVERY,
};
use crate::renderer::{FaultOrder, Renders};

/// How often is looked at what goes on.
const TICK: Duration = Duration::from_millis(50);

/// How long after the release a fault begins.
const FAULT_AFTER: Duration = Duration::from_secs(1);

/// How long lookups go on when every project is fresh.
const AFTERMATH: Duration = Duration::from_secs(3);

/// What the demo is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Both ways render every project once.
    #[default]
    WarmUp,
    /// The storm, the way of the incident.
    Incident,
    /// The storm with evenkeel.
    Evenkeel,
}

/// The few numbers that matter while a storm goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    /// What is being done.
    pub stage: Stage,
    /// For how long it has been done.
    pub elapsed: Duration,
    /// How long it will take; longer perhaps.
    pub expected: Duration,
    /// Lookups that were answered.
    pub answered: usize,
    /// Lookups that failed.
    pub failed: usize,
    /// Renders that the renderer was asked for since the release.
    pub renders: u64,
    /// Projects that are fresh.
    pub fresh: usize,
}

/// One of the two ways, and a renderer of its own.
pub(super) struct Side {
    pub(super) site: Site,
    pub(super) way: Way,
    pub(super) projects: Vec<String>,
}

/// The two ways.
pub(super) enum Way {
    Incident(Incident),
    Evenkeel(Box<Evenkeel>),
}

/// What was seen of a storm; times since it began.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed {
    pub(super) length: Duration,
    /// When the release began.
    pub(super) release: Duration,
    /// When those who answer lookups had learned of it.
    pub(super) learned: Duration,
    /// When the fault began and ended.
    pub(super) fault: Option<(Duration, Duration)>,
    pub(super) samples: Vec<Sample>,
    /// How many projects were fresh.
    pub(super) fresh: Vec<(Duration, usize)>,
    /// What the renderer did, and when the storm began by its clock.
    pub(super) renders: Renders,
    pub(super) began: Duration,
    /// Renders truly done, calls of `Fetch`: before the release.
    pub(super) done_before: u64,
    pub(super) fetched_before: u64,
    /// The longest that the renderer's thread was late.
    pub(super) stall: Duration,
    /// Processes that had a budget of their own.
    pub(super) pods: u32,
}

impl Way {
    pub(super) async fn incident(terms: &Terms, folder: &Path) -> Result<Side, Error> {
        let site = Site::start(terms, folder).await?;
        let way = Self::Incident(Incident::start(terms, &site.url()).await?);
        Ok(Side::new(site, way, terms))
    }

    pub(super) async fn evenkeel(terms: &Terms, folder: &Path) -> Result<Side, Error> {
        let site = Site::start(terms, folder).await?;
        let evenkeel = Evenkeel::start(terms, &site.url(), folder).await?;
        Ok(Side::new(site, Self::Evenkeel(Box::new(evenkeel)), terms))
    }

    pub(super) fn sidecar(&self) -> Option<&Evenkeel> {
        match self {
            Self::Incident(_) => None,
            Self::Evenkeel(evenkeel) => Some(evenkeel),
        }
    }

    fn stage(&self) -> Stage {
        match self {
            Self::Incident(_) => Stage::Incident,
            Self::Evenkeel(_) => Stage::Evenkeel,
        }
    }
}

impl Side {
    fn new(site: Site, way: Way, terms: &Terms) -> Self {
        let mut projects = site.running().projects();
        projects.truncate(terms.projects.get());
        Self {
            site,
            way,
            projects,
        }
    }

    fn lookup(&self) -> SocketAddr {
        match &self.way {
            Way::Incident(incident) => incident.address(),
            Way::Evenkeel(evenkeel) => evenkeel.lookup(),
        }
    }

    fn fresh(&self) -> usize {
        match &self.way {
            Way::Incident(incident) => incident.fresh(),
            Way::Evenkeel(evenkeel) => evenkeel.fresh(),
        }
    }

    async fn release(&mut self, release: Release) -> Result<(), Error> {
        const ROLLOUT: u64 = 2;
        match &mut self.way {
            Way::Incident(incident) => {
                incident.release(ROLLOUT);
                if release == Release::Replace {
                    incident.forget();
                }
            }
            Way::Evenkeel(evenkeel) => evenkeel.release(ROLLOUT).await?,
        }
        Ok(())
    }

    /// Goes through the storm.
    pub(super) async fn storm(
        &mut self,
        terms: &Terms,
        live: &watch::Sender<Live>,
    ) -> Result<Observed, Error> {
        let load = Load::start(terms, self.lookup(), &self.projects).await?;
        let mut seen = Observed {
            began: self
                .site
                .running()
                .renders()
                .now
                .saturating_sub(load.began().elapsed()),
            ..Observed::default()
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_released, mut asked_before) = (false, 0);
        loop {
            ticks.tick().await;
            let now = load.began().elapsed();
            if !is_released && now >= terms.calm {
                let before = self.site.running().renders();
                (seen.done_before, seen.fetched_before) = (before.rendered, before.fetched);
                asked_before = before.asked;
                seen.release = load.began().elapsed();
                self.release(terms.release).await?;
                if terms.release == Release::Replace {
                    load.redirect(self.lookup()).await?;
                }
                seen.learned = load.began().elapsed();
                is_released = true;
            }
            if is_released && seen.fault.is_none() && now >= seen.learned + FAULT_AFTER {
                seen.fault = self.strike(terms, load.began().elapsed());
            }
            let fresh = self.fresh();
            seen.fresh.push((load.began().elapsed(), fresh));
            self.tell(terms, live, &load, fresh, asked_before, is_released);
            if is_released && self.is_over(terms, now, &seen) {
                break;
            }
        }
        seen.length = load.began().elapsed();
        seen.samples = load.samples();
        seen.renders = self.site.running().renders();
        seen.stall = self.site.stall();
        seen.pods = match &self.way {
            Way::Incident(_) => 1,
            Way::Evenkeel(evenkeel) => evenkeel.pods(),
        };
        Ok(seen)
    }

    /// Gives the renderer its fault, if there is to be one.
    fn strike(&self, terms: &Terms, now: Duration) -> Option<(Duration, Duration)> {
        let (fault, lasts) = terms.fault?;
        self.site.running().faults().set(FaultOrder {
            fault,
            lasts: Some(lasts),
        });
        Some((now, now + lasts))
    }

    /// The way of the incident has a fixed time; evenkeel has until all is fresh, or until a recovery has taken too long.
    fn is_over(&self, terms: &Terms, now: Duration, seen: &Observed) -> bool {
        let least = expected(terms);
        match (&self.way, seen.fault) {
            (Way::Incident(_), _) | (_, None) => now >= least,
            (Way::Evenkeel(_), Some((_, ended))) => {
                let fresh_at = seen.fresh_at(self.projects.len());
                let is_done = fresh_at.is_some_and(|at| now >= at + AFTERMATH);
                now >= least && (is_done || now >= ended + RECOVERY)
            }
        }
    }

    fn tell(
        &self,
        terms: &Terms,
        live: &watch::Sender<Live>,
        load: &Load,
        fresh: usize,
        asked_before: u64,
        is_released: bool,
    ) {
        let (all, failed) = load.count();
        let asked = self.site.running().renders().asked;
        live.send_replace(Live {
            stage: self.way.stage(),
            elapsed: load.began().elapsed(),
            expected: expected(terms),
            answered: all - failed,
            failed,
            renders: if is_released { asked - asked_before } else { 0 },
            fresh,
        });
    }
}

/// Has both ways render every project once, at the same time.
pub(super) async fn warm_up(sides: [&Side; 2], live: &watch::Sender<Live>) -> Result<(), Error> {
    let began = Instant::now();
    let tell = async {
        let mut ticks = interval(TICK);
        loop {
            ticks.tick().await;
            live.send_replace(Live {
                elapsed: began.elapsed(),
                fresh: sides.map(Side::fresh).into_iter().min().unwrap_or(0),
                ..Live::default()
            });
        }
    };
    let [one, other] = sides.map(|side| Load::warm_up(side.lookup(), &side.projects));
    tokio::select! {
        warm = async { tokio::try_join!(one, other) } => warm.map(drop),
        () = tell => Ok(()),
    }
}

/// How long a storm takes.
fn expected(terms: &Terms) -> Duration {
    let fault = terms
        .fault
        .map_or(Duration::ZERO, |(_, lasts)| FAULT_AFTER + lasts);
    terms.calm + terms.after + fault
}

impl Observed {
    /// When so many projects were fresh for the first time after the release.
    pub(super) fn fresh_at(&self, projects: usize) -> Option<Duration> {
        let after = self.fresh.iter().filter(|(at, _)| *at > self.learned);
        let mut after = after.skip_while(|(_, fresh)| *fresh < projects);
        after.next().map(|(at, _)| *at)
    }
}
