//! A record of what admission was told, from which a replay tells what other limits would have
//! done: who was looked up when, what renders brought and how long they took, which target and
//! limits were in force.
//!
//! It holds neither names nor payloads: projects are told apart by a keyed hash whose key is never
//! written. [`RecordFile`] is what `evenkeel serve --record` writes, on a thread of its own for
//! which nobody waits; [`Record`] is what was read back. What is made of it is decided elsewhere.

mod format;
mod reading;
mod recorder;
mod tally;
mod thread;
mod write;

use std::time::Duration;

pub use self::{
    reading::{Record, RecordEnd, RecordedInterest, UnreadableRecord},
    recorder::{Recorder, Recording},
    write::{RecordFile, Unwritable},
};
use crate::admission::Limits;

/// The schema that is written and read. A record of another one is refused.
pub const RECORD_SCHEMA: &str = "evenkeel.record/1";

/// What holds from the start of a record on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordStart {
    /// The target.
    pub target: u64,
    /// The limits.
    pub limits: Limits,
    /// How long a render may run.
    pub deadline: Duration,
    /// How long a lookup waits that does not say, when something is held.
    pub patience: Duration,
    /// How long a lookup waits that does not say, when nothing is held.
    pub cold_patience: Duration,
    /// The age at which a revision is outdated, whatever its rollout.
    pub max_age: Option<Duration>,
}
