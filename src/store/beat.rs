//! `beat`: a sidecar says that it lives, and learns of the fleet.

use std::time::Duration;

use super::{
    Born, KeyNames, Script, ScriptCall, ScriptReply, SidecarId, StoreTime, Unreadable,
    lease::StoreLease,
    reply::{Items, unreadable},
    time::millis,
};
use crate::revision::Project;

/// What a sidecar says.
#[derive(Clone, Debug, PartialEq)]
pub struct Beat {
    /// Who.
    pub id: SidecarId,
    /// The fleet's rate that it was told, in renders/s; taken as [`claim`] makes it.
    pub told: f64,
    /// After how long a silent sidecar is absent.
    pub membership: Duration,
    /// How long an absent sidecar keeps its share of the rate.
    pub forget: Duration,
    /// What it knows of the store.
    pub known: KnownStore,
    /// Whether this is the first call over its connection.
    pub connection: BeatConnection,
    /// The leases that it still needs, and for how long.
    pub renew: Vec<(Project, StoreLease)>,
    /// How long a renewed lease lasts from now.
    pub lease: Duration,
}

/// What a sidecar remembers of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownStore {
    /// The life that the rest belongs to; none before the first beat.
    pub born: Option<Born>,
    /// The highest tick that it was told.
    pub tick: u64,
    /// How far it has read the journal, in bytes.
    pub cursor: u64,
    /// How many sidecars the fleet had when it last knew.
    pub count: u64,
}

/// Over which connection a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeatConnection {
    /// One that carries its first call. The store checks then that no writes were lost.
    New,
    /// One that has carried a beat.
    Kept,
}

/// What a sidecar learns.
#[derive(Clone, Debug, PartialEq)]
pub struct Beaten {
    /// The store's clock, in whole milliseconds.
    pub at: StoreTime,
    /// The life of the shared state.
    pub born: Born,
    /// The tick of this beat.
    pub tick: u64,
    /// What has landed.
    pub journal: JournalNews,
    /// The sidecars that are present, this one among them.
    pub present: u64,
    /// The sidecars that fell silent, and keep their shares.
    pub absent: u64,
    /// Whether the state is so young that it does not know the fleet yet.
    pub is_learning: bool,
    /// The rates of the fleet.
    pub rates: Rates,
    /// In how many milliseconds the next token is due; below zero, how long ago it was.
    pub debt_millis: i64,
}

/// The rates of a fleet, in renders/s, to nine digits.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// What the operator says, else the lowest claim.
    pub told: f64,
    /// What is left of it without the shares of the absent.
    pub in_force: f64,
    /// By which factor renders that go bad slow the fleet down.
    pub pace: f64,
    /// The lowest rate that a present sidecar was told, and who that is.
    pub lowest: (SidecarId, f64),
}

/// What has landed since a place in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalNews {
    /// Where to read on, in bytes.
    pub cursor: u64,
    /// Where the journal ends, in bytes.
    pub end: u64,
    /// Whether landings were missed.
    pub is_cut: bool,
    /// What landed.
    pub landings: Vec<LandingEntry>,
}

/// One entry of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LandingEntry {
    /// The lower half of the project's [hash](Project::hash). Others may have the same.
    pub project: u32,
    /// The first four bytes of the payload's digest.
    pub digest: [u8; 4],
}

/// The bytes of one entry.
pub const ENTRY_BYTES: usize = 8;

impl LandingEntry {
    /// The entry of a project and a payload.
    pub fn new(project: &Project, digest: &crate::revision::Digest) -> Self {
        let [a, b, c, d, ..] = *digest.as_bytes();
        Self {
            project: Self::hash(project),
            digest: [a, b, c, d],
        }
    }

    /// What stands for a project in the journal.
    pub fn hash(project: &Project) -> u32 {
        let [.., a, b, c, d] = project.hash().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// The bytes in the journal.
    pub fn bytes(&self) -> [u8; ENTRY_BYTES] {
        let [a, b, c, d] = self.project.to_be_bytes();
        let [e, f, g, h] = self.digest;
        [a, b, c, d, e, f, g, h]
    }

    /// Reads entries; what is left over at the end is no entry.
    pub(super) fn read(bytes: &[u8]) -> Vec<Self> {
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let entry = |&[a, b, c, d, e, f, g, h]: &[u8; ENTRY_BYTES]| Self {
            project: u32::from_be_bytes([a, b, c, d]),
            digest: [e, f, g, h],
        };
        entries.iter().map(entry).collect()
    }
}

/// A rate as a claim on the fleet's: from 0 to 10⁹ renders/s; what is no number is 0.
pub fn claim(rate: f64) -> f64 {
    if rate > 0.0 { rate.min(1e9) } else { 0.0 }
}

impl Beat {
    /// The call of the script.
    pub fn call(&self, names: &KeyNames) -> ScriptCall {
        let [even, odd] = names.journal();
        let mut keys = vec![
            names.bucket(),
            names.present(),
            names.absent(),
            names.claims(),
            even,
            odd,
        ];
        keys.extend(self.renew.iter().map(|(project, _)| names.lease(project)));
        let born = self
            .known
            .born
            .map_or_else(String::new, |born| born.to_string());
        let connection = match self.connection {
            BeatConnection::New => "new",
            BeatConnection::Kept => "kept",
        };
        let call = ScriptCall::new(Script::Beat, keys)
            .with(&self.id)
            .with(&claim(self.told))
            .with(&millis(self.membership))
            .with(&millis(self.forget))
            .with(&born)
            .with(&self.known.tick)
            .with(&self.known.cursor)
            .with(&millis(self.lease))
            .with(&self.known.count)
            .with(&connection);
        let renew = self.renew.iter();
        renew.fold(call, |call, (_, lease)| call.with(&lease.written()))
    }

    /// Reads the reply.
    ///
    /// # Errors
    /// When the script does not reply like that.
    pub fn read(reply: ScriptReply) -> Result<Beaten, Unreadable> {
        let mut items = Items::of(Script::Beat, reply)?;
        let at = StoreTime::from_millis(items.whole("the time")?);
        let born = Born(items.written("born")?);
        let tick = items.whole("tick")?;
        let journal = JournalNews {
            cursor: items.whole("cursor")?,
            end: items.whole("the journal's end")?,
            is_cut: items.whole("whether landings were missed")? == 1,
            landings: LandingEntry::read(&items.bytes("the landings")?),
        };
        let (present, absent) = (items.whole("present")?, items.whole("absent")?);
        let is_learning = items.whole("whether it learns")? == 1;
        let (told, in_force) = (
            items.written("the rate")?,
            items.written("the rate in force")?,
        );
        let (pace, debt_millis) = (items.written("the pace")?, items.written("the debt")?);
        let lowest = items.bytes("whose claim is lowest")?;
        let lowest = std::str::from_utf8(&lowest).ok();
        let lowest = lowest.and_then(|id| SidecarId::new(id).ok());
        let lowest = lowest.ok_or_else(|| unreadable(Script::Beat, "whose claim is lowest"))?;
        let rates = Rates {
            told,
            in_force,
            pace,
            lowest: (lowest, items.written("the lowest claim")?),
        };
        Ok(Beaten {
            at,
            born,
            tick,
            journal,
            present,
            absent,
            is_learning,
            rates,
            debt_millis,
        })
    }
}
