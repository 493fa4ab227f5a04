//! `land`: a render ended, well or not; the lease goes back.

use std::time::Duration;

use super::{
    Born, Call, Names, Reply, Script, SidecarId, Unreadable,
    beat::Landing,
    head::{RawHead, Stamp},
    lease::{Cause, Lease},
    put::Verdict,
    reply::{Items, unreadable},
    time::millis,
};
use crate::revision::Project;

/// What a sidecar says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Land {
    /// The life of the store that it knows.
    pub born: Born,
    /// Who.
    pub id: SidecarId,
    /// Of which project.
    pub project: Project,
    /// The lease under which it rendered, if any.
    pub lease: Option<Lease>,
    /// What landed; none when nothing did.
    pub landed: Option<Stamp>,
    /// How long a head stays that is not renewed.
    pub ttl: Duration,
    /// What it says of the renderer.
    pub outcome: Outcome,
    /// Why, and for how long, at most 300 s, the fleet leaves the project alone. It counts where the lease still stands.
    pub leave_alone: Option<(Duration, Cause)>,
    /// A head that no value bears out, and that gives way to any.
    pub disowned: Option<RawHead>,
}

/// What a render says of the renderer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answers.
    Good,
    /// It fails.
    Bad,
    /// It asks all to stay away for that long; believed when a second sidecar brings it within 5 s.
    PushedBack(Duration),
    /// Nothing: there was no render, or it was refused.
    Nothing,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Landed {
    /// The state was lost: beat first.
    BeatFirst,
    /// It is known to the fleet.
    Told {
        /// What came of the head; none when nothing had landed.
        verdict: Option<Verdict>,
        /// What stands there instead, where that is older or in conflict.
        found: Option<RawHead>,
        /// The tick of this call.
        tick: u64,
        /// Where the journal ends.
        end: u64,
    },
}

impl Land {
    /// The call of the script.
    pub fn call(&self, names: &Names) -> Call {
        let [even, odd] = names.journal();
        let (head, lease) = (names.head(&self.project), names.lease(&self.project));
        let keys = vec![names.bucket(), head, lease, even, odd];
        let entry = self
            .landed
            .map(|stamp| Landing::new(&self.project, &stamp.digest));
        let (outcome, pushback) = match self.outcome {
            Outcome::Good => ("good", Duration::ZERO),
            Outcome::Bad => ("bad", Duration::ZERO),
            Outcome::PushedBack(by) => ("pushed", by),
            Outcome::Nothing => ("none", Duration::ZERO),
        };
        let alone = self.leave_alone.map_or(0, |(alone, _)| millis(alone));
        let cause = self.leave_alone.map(|(_, cause)| cause.written());
        Call::new(Script::Land, keys)
            .with(&self.born)
            .with(&self.id)
            .with(&self.lease.as_ref().map_or_else(String::new, Lease::written))
            .with_bytes(&self.landed.map_or_else(Vec::new, |stamp| stamp.bytes()))
            .with(&millis(self.ttl))
            .with_bytes(&entry.map_or_else(Vec::new, |entry| entry.bytes().to_vec()))
            .with(&outcome)
            .with(&millis(pushback))
            .with(&alone)
            .with(&cause.unwrap_or_default())
            .with_bytes(self.disowned.as_ref().map_or(b"", |head| &head.0))
    }

    /// Reads the reply.
    ///
    /// # Errors
    /// When the script does not reply like that.
    pub fn read(reply: Reply) -> Result<Landed, Unreadable> {
        let mut items = Items::of(Script::Land, reply)?;
        let verdict = match &*items.bytes("the verdict")? {
            b"beat" => return Ok(Landed::BeatFirst),
            b"none" => None,
            word => Some(Verdict::of(word).ok_or(unreadable(Script::Land, "the verdict"))?),
        };
        let found = items.bytes("what stands there")?;
        Ok(Landed::Told {
            verdict,
            found: (!found.is_empty()).then_some(RawHead(found)),
            tick: items.whole("tick")?,
            end: items.whole("the journal's end")?,
        })
    }
}
