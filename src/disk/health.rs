//! Whether the disk can be used: when it is tried again, and what the log says, once when it breaks
//! and once when it heals.

use std::time::Duration;

use tokio::time::Instant;

use super::file::FileError;
use crate::back_off::{BackOff, Ceilings};

/// Between attempts at a disk that fails. It is alone, so that no part of it is left to chance.
const ATTEMPTS: Ceilings = Ceilings {
    first: Duration::from_secs(1),
    growth: 2.0,
    longest: Duration::from_secs(60),
};

/// The kinds of errors, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// Something cannot be read: it is damaged.
    Read,
    /// Something cannot be written.
    Write,
    /// What was written cannot be made durable.
    Sync,
    /// There is no room.
    Full,
}

impl DiskErrorKind {
    /// All, in the order of their index.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Sync, Self::Full];

    /// Its name, as a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Full => "full",
        }
    }
}

/// Whether all that is held finds room within the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoomLeft {
    /// It does.
    Enough,
    /// Some of it does not.
    Short,
}

/// Whether the disk can be written to, and whether the log says so.
#[derive(Debug)]
pub(super) struct DiskHealth {
    is_failing: bool,
    room: RoomLeft,
    back_off: BackOff,
    away_until: Option<Instant>,
}

impl DiskHealth {
    pub(super) const fn new() -> Self {
        Self {
            is_failing: false,
            room: RoomLeft::Enough,
            back_off: BackOff::new(ATTEMPTS),
            away_until: None,
        }
    }

    /// Records that something failed; it is tried again later.
    pub(super) fn failed(&mut self, error: &FileError) {
        let wait = self.back_off.after_failure(1.0);
        self.away_until = Some(Instant::now() + wait);
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(%error, "cannot write the disk store: what lands is served, and will not survive a restart");
        }
    }

    /// Records that something was written.
    pub(super) fn succeeded(&mut self) {
        self.back_off.succeeded();
        self.away_until = None;
        if std::mem::replace(&mut self.is_failing, false) {
            tracing::info!("the disk store is written again");
        }
    }

    /// Records whether all found room within the bound.
    pub(super) fn record_room(&mut self, room: RoomLeft, max_bytes: u64) {
        match (std::mem::replace(&mut self.room, room), room) {
            (RoomLeft::Enough, RoomLeft::Short) => tracing::warn!(
                max_bytes,
                "the disk store is full of what is held: some of it will not survive a restart"
            ),
            (RoomLeft::Short, RoomLeft::Enough) => tracing::info!("the disk store has room again"),
            (RoomLeft::Enough, RoomLeft::Enough) | (RoomLeft::Short, RoomLeft::Short) => {}
        }
    }

    /// Whether the disk failed and has not been well since.
    pub(super) const fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Whether it is time to try again.
    pub(super) fn is_due(&self) -> bool {
        self.away_until.is_some_and(|at| at <= Instant::now())
    }

    /// Tries again.
    pub(super) const fn come_back(&mut self) {
        self.away_until = None;
    }

    /// When it is tried again; none while it is well.
    pub(super) const fn away_until(&self) -> Option<Instant> {
        self.away_until
    }
}
