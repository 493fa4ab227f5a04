//! One sidecar as a member of a fleet that shares one budget, and what it renders, through a store.
//!
//! A sans-IO state machine between admission and the scripts of [`store`](crate::store): what
//! admission asks for becomes calls, and what the store answers becomes words for admission. It
//! decides when to beat, and in which [`FleetMode`] the sidecar is. It knows no socket and no task:
//! `valkey` makes the calls. Durations that the store answers with are added to the sidecar's own
//! clock; no two clocks are compared.

mod asking;
mod landing;
mod numbers;
mod words;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

pub use self::{
    asking::{AskedOf, FleetAnswers, ToRead},
    landing::Publication,
    numbers::{CallResult, FleetNumbers, LeaseResult, PublishResult, PullResult, StoreCall},
    words::{FleetEvent, FleetWish, RenderEnd},
};
use crate::{
    admission::{FleetMode, Lease},
    moment::Moment,
    revision::Project,
    store::{
        Born, SidecarId, StoreTime,
        beat::{Beat, BeatConnection, Beaten, KnownStore, LandingEntry},
        head::RawHead,
        lease::StoreLease,
        value::PREFIX_BYTES,
    },
};

/// How often a sidecar says that it lives, where the fleet is not so large that this would be too
/// much for the store.
const BEAT: Duration = Duration::from_secs(1);
/// The beats of a second that a store is to serve.
const BEATS_PER_SECOND: f64 = 5_000.0;
/// After how many beats without one a sidecar is absent.
const MEMBERSHIP: u32 = 3;
/// When a beat is made again that was not answered.
const AGAIN: Duration = Duration::from_millis(100);
/// What was granted has started by then: a second ahead, and 100 ms of tolerance and of the way.
const GRANTED: Duration = Duration::from_millis(1_500);
/// After as many failed asks in a row, the sidecar falls silent, so that the store counts it as
/// absent before it renders by itself.
const FAILED_ASKS: u32 = 3;
/// For how long it is silent then, beyond the time in which it is counted as absent.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a sidecar that starts waits for the store: nothing was granted to it yet.
const START: Duration = Duration::from_secs(1);
/// How long a lease lasts unless a beat renews it.
const LEASE: Duration = Duration::from_secs(10);
/// How many landings of others, authored projects and lost values are remembered.
const REMEMBERED: usize = 65_536;

/// What a member goes by, fixed for a process.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// Its name in the store.
    pub id: SidecarId,
    /// How long an absent sidecar keeps its share of the budget.
    pub forget: Duration,
    /// How long a value stays in the store that nobody renews.
    pub ttl: Duration,
    /// The seed of all jitter.
    pub seed: u64,
}

/// The budget as the settings have it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FleetBudget {
    /// Renders per second of the whole fleet.
    pub rate: f64,
    /// The least number of sidecars, for a part of the rate.
    pub size: u32,
}

/// A member of a fleet.
#[derive(Debug)]
pub struct Member {
    options: MemberOptions,
    budget: FleetBudget,
    rng: fastrand::Rng,
    mode: FleetMode,
    known: KnownStore,
    connection: BeatConnection,
    /// When the last beat that was answered was made.
    beaten_at: Moment,
    next_beat: Moment,
    /// What the last beat told.
    last: Option<Beaten>,
    /// Asks that failed in a row.
    failed_asks: u32,
    /// Beats that failed in a row.
    failed_beats: u32,
    leases: BTreeMap<Lease, GrantedLease>,
    leased: u64,
    shared: SharedNews,
    numbers: FleetNumbers,
}

/// A lease of the store.
#[derive(Clone, Debug)]
struct GrantedLease {
    project: Project,
    lease: StoreLease,
    /// How often renders of the project had failed.
    count: u64,
}

/// What is known of landings, here and elsewhere.
#[derive(Debug, Default)]
struct SharedNews {
    /// The highest rollout that was asked for.
    rollout: u64,
    /// Landings elsewhere of projects that were not wanted then.
    landed: HashSet<u32>,
    /// Values that are gone, or cannot be held.
    lost: BTreeMap<Project, LostValue>,
    /// What was rendered here.
    authored: BTreeSet<Project>,
    /// What of it the store does not know.
    unpublished: BTreeSet<Project>,
    /// What of it the store did not take since the last beat.
    refused: BTreeSet<Project>,
}

/// A value that should stand in the store, and is gone or cannot be held.
#[derive(Clone, Debug)]
struct LostValue {
    head: RawHead,
    /// What its bytes begin with, if there are any.
    prefix: Option<[u8; PREFIX_BYTES]>,
}

impl Member {
    /// Makes a member that has not spoken to the store yet.
    pub fn new(options: MemberOptions, budget: FleetBudget, now: Moment) -> Self {
        let rng = fastrand::Rng::with_seed(options.seed);
        Self {
            options,
            budget,
            rng,
            mode: FleetMode::Lost { until: now + START },
            known: KnownStore::default(),
            connection: BeatConnection::New,
            beaten_at: now,
            next_beat: now,
            last: None,
            failed_asks: 0,
            failed_beats: 0,
            leases: BTreeMap::new(),
            leased: 0,
            shared: SharedNews::default(),
            numbers: FleetNumbers::default(),
        }
    }

    /// In which mode the sidecar is.
    pub fn mode(&self) -> FleetMode {
        self.mode
    }

    /// How many sidecars share the rate when this one is apart.
    pub fn count(&self) -> u32 {
        let known = u32::try_from(self.known.count).unwrap_or(u32::MAX);
        self.budget.size.max(known)
    }

    /// The life of the store that it knows; none before the first beat.
    pub fn born(&self) -> Option<Born> {
        self.known.born
    }

    /// How many projects were rendered here that the store does not know.
    pub fn unpublished(&self) -> usize {
        self.shared.unpublished.len() + self.shared.refused.len()
    }

    /// What it counted, and what the store last told.
    pub fn numbers(&self) -> FleetNumbers {
        let mut numbers = self.numbers;
        numbers.set_mode(self.mode);
        if let Some(last) = &self.last {
            numbers.set_fleet(last);
        }
        numbers
    }

    /// Counts a call of the store.
    pub fn count_call(&mut self, call: StoreCall, result: CallResult) {
        self.numbers.calls[call as usize][result as usize] += 1;
    }

    /// Counts a pull.
    pub fn count_pull(&mut self, result: PullResult) {
        self.numbers.pulls[result as usize] += 1;
    }

    /// Puts another budget in force: the store hears of it at once.
    pub fn set_budget(&mut self, budget: FleetBudget, now: Moment) {
        if self.budget.rate != budget.rate {
            self.next_beat = self.next_beat.min(now);
        }
        self.budget = budget;
    }

    /// There is a connection to the store that has carried no call yet.
    pub fn connected(&mut self, now: Moment) {
        self.connection = BeatConnection::New;
        self.next_beat = self.next_beat.max(now);
    }

    /// A connection is gone, or a call that a member cannot do without failed.
    pub fn lost(&mut self, now: Moment) {
        if self.mode == FleetMode::Joined {
            let until = self.apart_at();
            // Joined → Lost
            self.mode = FleetMode::Lost { until };
        }
        self.tick(now);
    }

    /// Goes apart when it is time to.
    pub fn tick(&mut self, now: Moment) {
        if let FleetMode::Lost { until } = self.mode
            && until <= now
        {
            // Lost → Apart
            self.mode = FleetMode::Apart;
        }
    }

    /// When to call [`Member::tick`] and [`Member::beat`].
    pub fn wakes_at(&self) -> Moment {
        match self.mode {
            FleetMode::Lost { until } => until.min(self.next_beat),
            FleetMode::Joined | FleetMode::Apart => self.next_beat,
        }
    }

    /// Whether it is silent, so that no connection is needed either.
    pub fn is_silent(&self, now: Moment) -> bool {
        self.failed_asks >= FAILED_ASKS && self.next_beat > now
    }

    /// The beat that is due.
    pub fn beat(&mut self, now: Moment) -> Option<Beat> {
        if self.next_beat > now {
            return None;
        }
        let period = self.period();
        self.next_beat = now + period.mul_f64(0.9 + 0.2 * self.rng.f64());
        let leases = self.leases.values();
        Some(Beat {
            id: self.options.id.clone(),
            told: self.budget.rate,
            membership: period * MEMBERSHIP,
            forget: self.options.forget,
            known: KnownStore {
                count: self.count().into(),
                ..self.known
            },
            connection: self.connection,
            renew: leases
                .map(|granted| (granted.project.clone(), granted.lease.clone()))
                .collect(),
            lease: LEASE,
        })
    }

    /// Takes the answer to a beat that was made at a moment. Returns what has landed.
    pub fn beaten(&mut self, beaten: Beaten, made_at: Moment, now: Moment) -> Vec<LandingEntry> {
        let is_same = self.known.born == Some(beaten.born);
        if !is_same {
            let authored = self.shared.authored.iter().cloned();
            self.shared.unpublished.extend(authored);
            self.shared.landed.clear();
            self.shared.lost.clear();
        }
        self.shared.unpublished.append(&mut self.shared.refused);
        let tick = if is_same { self.known.tick } else { 0 };
        self.known = KnownStore {
            born: Some(beaten.born),
            tick: tick.max(beaten.tick),
            cursor: beaten.journal.cursor,
            count: beaten.present + beaten.absent,
        };
        if beaten.journal.cursor < beaten.journal.end {
            self.next_beat = now;
        }
        self.failed_beats = 0;
        if self.failed_asks >= FAILED_ASKS {
            self.failed_asks = 0;
        }
        (self.connection, self.beaten_at) = (BeatConnection::Kept, made_at.max(self.beaten_at));
        // Any → Joined
        self.mode = FleetMode::Joined;
        let landings = beaten.journal.landings.clone();
        self.last = Some(beaten);
        landings
    }

    /// A beat was not answered. One may be late by accident.
    pub fn beat_failed(&mut self, now: Moment) {
        self.failed_beats += 1;
        if self.failed_beats > 1 {
            self.lost(now);
        } else {
            self.next_beat = self.next_beat.min(now + AGAIN);
        }
    }

    /// Notes landings elsewhere, of projects that are not wanted now.
    pub fn note_landings(&mut self, landings: impl IntoIterator<Item = LandingEntry>) {
        if self.shared.landed.len() >= REMEMBERED {
            self.shared.landed.clear();
        }
        let landings = landings.into_iter().map(|landing| landing.project);
        self.shared.landed.extend(landings);
    }

    /// What the store said, if it is the life of it that is known.
    fn learn(&mut self, born: Born, tick: u64) {
        if self.known.born == Some(born) {
            self.known.tick = self.known.tick.max(tick);
        }
    }

    /// The store's time, as far as is known.
    pub fn store_time(&self, now: Moment) -> Option<StoreTime> {
        let at = self.last.as_ref()?.at.as_micros();
        let since = u64::try_from(now.since(self.beaten_at).as_micros()).unwrap_or(u64::MAX);
        Some(StoreTime::from_micros(at.saturating_add(since)))
    }

    /// When the sidecar goes on by itself: the store counts it as absent by then.
    fn apart_at(&self) -> Moment {
        self.beaten_at + self.period() * MEMBERSHIP + GRANTED
    }

    fn period(&self) -> Duration {
        let seconds = f64::from(self.count()) / BEATS_PER_SECOND;
        BEAT.max(Duration::from_secs_f64(seconds))
    }
}
