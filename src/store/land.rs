//! `land`: a render ended, well or not; the lease goes back.

use std::time::Duration;

use super::{
    Born, KeyNames, Script, ScriptCall, ScriptReply, SidecarId, Unreadable,
    beat::LandingEntry,
    head::{RawHead, Stamp},
    lease::{Cause, StoreLease},
    put::StoreVerdict,
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
    pub lease: Option<StoreLease>,
    /// What landed; none when nothing did.
    pub landed: Option<Stamp>,
    /// How long a head stays that is not renewed.
    pub ttl: Duration,
    /// What it says of the renderer.
    pub outcome: LandOutcome,
    /// Why, and for how long, at most 300 s, the fleet leaves the project alone. It counts where
    /// the lease still stands.
    pub leave_alone: Option<(Duration, Cause)>,
    /// A head that no value bears out, and that gives way to any.
    pub disowned: Option<RawHead>,
}

/// What a render says of the renderer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LandOutcome {
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
pub enum LandAnswer {
    /// The state was lost: beat first.
    BeatFirst,
    /// It is known to the fleet.
    Told {
        /// What came of the head; none when nothing had landed.
        verdict: Option<StoreVerdict>,
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
    pub fn call(&self, names: &KeyNames) -> ScriptCall {
        let [even, odd] = names.journal();
        let (head, lease) = (names.head(&self.project), names.lease(&self.project));
        let keys = vec![names.bucket(), head, lease, even, odd];
        let entry = self
            .landed
            .map(|stamp| LandingEntry::new(&self.project, &stamp.digest));
        let (outcome, pushback) = match self.outcome {
            LandOutcome::Good => ("good", Duration::ZERO),
            LandOutcome::Bad => ("bad", Duration::ZERO),
            LandOutcome::PushedBack(by) => ("pushed", by),
            LandOutcome::Nothing => ("none", Duration::ZERO),
        };
        let alone = self.leave_alone.map_or(0, |(alone, _)| millis(alone));
        let cause = self.leave_alone.map(|(_, cause)| cause.written());
        ScriptCall::new(Script::Land, keys)
            .with(&self.born)
            .with(&self.id)
            .with(
                &self
                    .lease
                    .as_ref()
                    .map_or_else(String::new, StoreLease::written),
            )
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
    pub fn read(reply: ScriptReply) -> Result<LandAnswer, Unreadable> {
        let mut items = Items::of(Script::Land, reply)?;
        let verdict = match &*items.bytes("the verdict")? {
            b"beat" => return Ok(LandAnswer::BeatFirst),
            b"none" => None,
            word => Some(StoreVerdict::of(word).ok_or(unreadable(Script::Land, "the verdict"))?),
        };
        let found = items.bytes("what stands there")?;
        Ok(LandAnswer::Told {
            verdict,
            found: (!found.is_empty()).then_some(RawHead(found)),
            tick: items.whole("tick")?,
            end: items.whole("the journal's end")?,
        })
    }
}
