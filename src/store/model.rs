//! What the scripts do, in Rust: state and the store's time go in, answers and state come out.
//!
//! `tests/store` calls the model and a real server with the same random sequences, and compares
//! every answer. Numbers are therefore those of Lua: 64-bit floats, rounded where a script writes
//! them down. Bytes that no sidecar wrote are compared as in the C locale.
//!
//! A [`Model`] is a server's data: cloned it is a copy, and [`promoted`](Model::promoted) a copy
//! that goes on as the primary.

mod acquire;
mod beat;
mod land;
mod lasting;
mod put;
mod ranked;

use std::{collections::BTreeMap, time::Duration};

use self::{lasting::Expiring, ranked::SortedSet};
use super::{SidecarId, StoreTime, head::RawHead, time::millis, value::StoredValue};
use crate::revision::Project;

/// A reservation starts at most so far ahead, in microseconds.
const HORIZON: f64 = 1e6;
/// A token may start so much early, in microseconds: the fleet's burst is what the rate gives in
/// it.
const TOLERANCE: f64 = 1e5;
/// A gap between calls, in microseconds, after which continuity is in doubt.
const GAP: f64 = 5e6;
/// The bytes of a segment of the journal.
const SEGMENT: u64 = 1_048_576;
/// The bytes of the journal that one beat reads at most.
const READ: u64 = 32_768;

/// All that a store holds of one fleet.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Which history of the data the server goes on with, as its replication id says.
    history: u64,
    bucket: Option<SharedBucket>,
    present: SortedSet,
    absent: SortedSet,
    /// Rates of 0 or more, whose bits compare as they do.
    claims: SortedSet,
    operator: Option<Expiring<Vec<u8>>>,
    journal: [Vec<u8>; 2],
    heads: BTreeMap<Project, Expiring<Vec<u8>>>,
    leases: BTreeMap<Project, Expiring<Vec<u8>>>,
    values: BTreeMap<Project, Expiring<Vec<u8>>>,
}

/// The fields of the hash, as a script reads them.
#[derive(Clone, Debug)]
struct SharedBucket {
    born: u64,
    history: u64,
    tick: u64,
    /// When the next token is due, in microseconds.
    tat: f64,
    /// The same of tokens for missing projects.
    mtat: f64,
    /// When a call was last sure of the time.
    last: f64,
    expect: u64,
    /// When it was born, by the clock as it was seen last, in microseconds.
    since: f64,
    rate: f64,
    /// Where the journal ends.
    pos: u64,
    throttle: FleetPace,
}

impl SharedBucket {
    /// Whether the clock jumped ahead, or there was no call for long.
    fn is_gap(&self, now: f64) -> bool {
        now > self.last + GAP
    }

    /// When it was born by the clock as it is now: a jump ahead makes it no older, and one back
    /// beyond its birth makes it young.
    fn since_seen(&self, now: f64) -> f64 {
        let jumped = if self.is_gap(now) {
            now - self.last
        } else {
            0.0
        };
        (self.since + jumped).min(now)
    }
}

/// How renders that go bad, or that the renderer pushes back, slow the fleet down.
#[derive(Clone, Debug)]
struct FleetPace {
    window: Option<f64>,
    good: u64,
    bad: u64,
    pace: f64,
    hold: f64,
    ramp: f64,
    pushed_by: Option<SidecarId>,
    pushed_at: f64,
    slowed: f64,
}

impl Default for FleetPace {
    fn default() -> Self {
        Self {
            window: None,
            good: 0,
            bad: 0,
            pace: 1.0,
            hold: 0.0,
            ramp: 0.0,
            pushed_by: None,
            pushed_at: 0.0,
            slowed: 0.0,
        }
    }
}

/// What may vanish by itself: evicted, deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKey {
    /// The bucket.
    Bucket,
    /// The sidecars that are present.
    Present,
    /// The sidecars that are absent.
    Absent,
    /// The rates that sidecars were told.
    Claims,
    /// The operator's rate.
    Operator,
    /// One segment of the journal: the first of two, or the second.
    Journal(Segment),
    /// What last landed of a project.
    Head(Project),
    /// Who renders a project.
    Lease(Project),
    /// The value of a project.
    Value(Project),
}

/// One of the two segments of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// That of even numbers.
    Even,
    /// That of odd numbers.
    Odd,
}

impl Model {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses everything, as by FLUSHALL.
    pub fn flush(&mut self) {
        let history = self.history;
        *self = Self {
            history,
            ..Self::default()
        };
    }

    /// A copy of what has not ended, which is all that is left here, too.
    pub fn copied(&mut self, now: StoreTime) -> Self {
        for kept in [&mut self.heads, &mut self.leases, &mut self.values] {
            kept.retain(|_, entry| !entry.is_over(now));
        }
        self.operator = self.operator.take().filter(|entry| !entry.is_over(now));
        self.clone()
    }

    /// This copy, whatever it lacks, as another server goes on with it at a time: after a failover,
    /// or a restart from a snapshot. What has ended by then is gone.
    #[must_use]
    pub fn promoted(&self, history: u64, now: StoreTime) -> Self {
        let mut copy = Self {
            history,
            ..self.clone()
        };
        for kept in [&mut copy.heads, &mut copy.leases, &mut copy.values] {
            kept.retain(|_, entry| entry.is_restored(now));
        }
        copy.operator = copy.operator.filter(|entry| entry.is_restored(now));
        copy
    }

    /// Loses one key.
    pub fn forget(&mut self, key: &StoreKey) {
        match key {
            StoreKey::Bucket => self.bucket = None,
            StoreKey::Present => self.present = SortedSet::default(),
            StoreKey::Absent => self.absent = SortedSet::default(),
            StoreKey::Claims => self.claims = SortedSet::default(),
            StoreKey::Operator => self.operator = None,
            StoreKey::Journal(Segment::Even) => self.journal[0].clear(),
            StoreKey::Journal(Segment::Odd) => self.journal[1].clear(),
            StoreKey::Head(project) => _ = self.heads.remove(project),
            StoreKey::Lease(project) => _ = self.leases.remove(project),
            StoreKey::Value(project) => _ = self.values.remove(project),
        }
    }

    /// An operator sets the rate of the whole fleet, in renders/s, for a time.
    pub fn set_rate(&mut self, rate: &str, lasts: Duration, now: StoreTime) {
        let lasting = Expiring::new(rate.as_bytes().to_vec(), millis(lasts), now);
        self.operator = Some(lasting);
    }

    /// A sidecar leaves: its claim first, so that one whose second step is lost is only absent.
    pub fn leave(&mut self, id: &SidecarId) {
        self.claims.remove(id);
        self.present.remove(id);
    }

    /// Writes a head, a lease or a value as somebody with the password may; another key stays as it
    /// is.
    pub fn spoil(&mut self, key: &StoreKey, bytes: &[u8], ttl: Duration, now: StoreTime) {
        let (entries, project) = match key {
            StoreKey::Head(project) => (&mut self.heads, project),
            StoreKey::Lease(project) => (&mut self.leases, project),
            StoreKey::Value(project) => (&mut self.values, project),
            StoreKey::Bucket
            | StoreKey::Present
            | StoreKey::Absent
            | StoreKey::Claims
            | StoreKey::Operator
            | StoreKey::Journal(_) => return,
        };
        let lasting = Expiring::new(bytes.to_vec(), millis(ttl), now);
        entries.insert(project.clone(), lasting);
    }

    /// What last landed of a project.
    pub fn head(&mut self, project: &Project, now: StoreTime) -> Option<RawHead> {
        lasting::get(&mut self.heads, project, now)
            .cloned()
            .map(RawHead)
    }

    /// The bytes of a project's value.
    pub fn value(&mut self, project: &Project, now: StoreTime) -> Option<Vec<u8>> {
        lasting::get(&mut self.values, project, now).cloned()
    }

    /// Reads a project's value; none where there is none that this evenkeel reads.
    pub fn read(&mut self, project: &Project, now: StoreTime) -> Option<StoredValue> {
        let bytes = self.value(project, now)?;
        StoredValue::read(&bytes.into()).ok()
    }
}

impl SharedBucket {
    /// After a step of the clock back, the next token is due as late as a reservation can be, and
    /// no later.
    fn bound(&mut self, interval: f64, now: f64) {
        self.tat = self.tat.min(now + HORIZON + TOLERANCE + interval);
        self.mtat = self.mtat.min(now + HORIZON + TOLERANCE + 2.0 * interval);
    }
}

/// As a script writes a whole number down.
fn whole(x: f64) -> f64 {
    x.round_ties_even()
}

/// As a script writes any other number down: nine digits.
fn short(x: f64) -> f64 {
    format!("{x:.8e}").parse().unwrap_or(x)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since 1970 are exact below 2^53"
)]
fn micros(time: StoreTime) -> f64 {
    time.as_micros() as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "durations of seconds, in whole milliseconds"
)]
fn whole_millis(micros: f64) -> Duration {
    Duration::from_millis((micros / 1e3).ceil().max(0.0) as u64)
}

/// A part of a string as Lua has it: what lies beyond its end is empty.
fn part(bytes: &[u8], from: usize, to: usize) -> &[u8] {
    let to = to.min(bytes.len());
    &bytes[from.min(to)..to]
}
