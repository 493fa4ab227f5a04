//! `acquire`: for some of the candidates, the lease and a token, both or neither.

use std::time::Duration;

use super::{
    Born, KeyNames, Script, ScriptCall, ScriptReply, SidecarId, StoreTime, Unreadable,
    head::{RawHead, written},
    lease::{Marker, StoreLease, owner_of},
    reply::{Items, number, unreadable},
    time::millis,
};
use crate::revision::{Order, Project};

/// What a sidecar asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// Who.
    pub id: SidecarId,
    /// The life of the store that it knows.
    pub born: Born,
    /// The highest tick that it was told in that life.
    pub tick: u64,
    /// For whom the renders are.
    pub urgency: Urgency,
    /// The most grants to give: never more than there are free permits.
    pub most: u64,
    /// A render may start so much later; at most a second.
    pub horizon: Duration,
    /// How long a lease lasts unless it is renewed.
    pub lease: Duration,
    /// What it would render, in the order of want.
    pub candidates: Vec<AcquireCandidate>,
}

/// For whom renders are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Nothing is held of the projects, and somebody waits. These get at most nine tenths of the
    /// tokens.
    Missing,
    /// Older revisions are held.
    Outdated,
}

/// One project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcquireCandidate {
    /// Which.
    pub project: Project,
    /// The least order that does.
    pub least: Order,
    /// What landed longer ago than this does not do; none where age is no matter.
    pub oldest: Option<Duration>,
    /// An order that landed, and whose value is gone or does not verify.
    pub lost: Option<Order>,
}

/// What a sidecar gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The state was lost, or lacks what the caller has seen: it has to beat first.
    BeatFirst,
    /// No token is free.
    Wait {
        /// The store's clock, in whole milliseconds.
        at: StoreTime,
        /// The tick of the store.
        tick: u64,
        /// When to ask again.
        retry: Duration,
    },
    /// Candidates were looked at.
    Answered {
        /// The store's clock, in whole milliseconds.
        at: StoreTime,
        /// The tick of the store.
        tick: u64,
        /// When to ask again for the candidates without an answer.
        retry: Duration,
        /// One answer for each of the first candidates.
        answers: Vec<CandidateAnswer>,
    },
}

/// What is said of one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidateAnswer {
    /// It may be rendered.
    Granted {
        /// In how long.
        starts_in: Duration,
        /// How often its renders had failed when it was last left alone.
        count: u64,
        /// The lease, which goes into `land`.
        lease: StoreLease,
    },
    /// It has landed already.
    Landed(RawHead),
    /// Another sidecar renders it.
    Elsewhere {
        /// When that one's lease ends, unless it is renewed.
        ends_in: Duration,
        /// Who.
        holder: SidecarId,
    },
    /// The fleet leaves it alone.
    LeftAlone(Marker),
    /// What stands there is not of a sidecar's making.
    Garbage,
}

impl Acquire {
    /// The call of the script.
    pub fn call(&self, names: &KeyNames) -> ScriptCall {
        let mut keys = vec![names.bucket()];
        for candidate in &self.candidates {
            keys.push(names.head(&candidate.project));
            keys.push(names.lease(&candidate.project));
        }
        let urgency = match self.urgency {
            Urgency::Missing => "missing",
            Urgency::Outdated => "outdated",
        };
        let mut call = ScriptCall::new(Script::Acquire, keys)
            .with(&self.id)
            .with(&self.born)
            .with(&self.tick)
            .with(&urgency)
            .with(&self.most)
            .with(&millis(self.horizon))
            .with(&millis(self.lease));
        for candidate in &self.candidates {
            call = call
                .with(&written(candidate.least))
                .with(&candidate.oldest.map_or(0, millis))
                .with(&candidate.lost.map_or_else(String::new, written));
        }
        call
    }

    /// Reads the reply.
    ///
    /// # Errors
    /// When the script does not reply like that.
    pub fn read(reply: ScriptReply) -> Result<Acquired, Unreadable> {
        let mut items = Items::of(Script::Acquire, reply)?;
        let verdict = items.bytes("the verdict")?;
        if verdict == b"beat" {
            return Ok(Acquired::BeatFirst);
        }
        let at = StoreTime::from_millis(items.whole("the time")?);
        let tick = items.whole("tick")?;
        let retry = Duration::from_millis(items.whole("when to ask again")?);
        match &*verdict {
            b"wait" => Ok(Acquired::Wait { at, tick, retry }),
            b"ok" => Ok(Acquired::Answered {
                at,
                tick,
                retry,
                answers: items
                    .rest()
                    .map(CandidateAnswer::read)
                    .collect::<Result<_, _>>()?,
            }),
            _ => Err(unreadable(Script::Acquire, "the verdict")),
        }
    }
}

impl CandidateAnswer {
    fn read(reply: ScriptReply) -> Result<Self, Unreadable> {
        let wrong = unreadable(Script::Acquire, "an answer");
        let ScriptReply::Bytes(bytes) = reply else {
            return Err(wrong);
        };
        let (kind, rest) = bytes.split_first().ok_or(wrong)?;
        match kind {
            b'L' => Ok(Self::Landed(RawHead(rest.to_vec()))),
            b'C' => Ok(Marker::read(rest).map_or(Self::Garbage, Self::LeftAlone)),
            b'E' => {
                let (ends_in, owner) = field(rest).ok_or(wrong)?;
                // A lease without an end is not of a sidecar's making.
                let ends_in = number(ends_in).map(Duration::from_millis);
                let elsewhere = ends_in.zip(owner_of(owner));
                let of = |(ends_in, (holder, _))| Self::Elsewhere { ends_in, holder };
                Ok(elsewhere.map_or(Self::Garbage, of))
            }
            b'G' => {
                let (starts_in, rest) = field(rest).ok_or(wrong)?;
                let (count, lease) = field(rest).ok_or(wrong)?;
                Ok(Self::Granted {
                    starts_in: Duration::from_millis(number(starts_in).ok_or(wrong)?),
                    count: number(count).ok_or(wrong)?,
                    lease: StoreLease::read(lease).ok_or(wrong)?,
                })
            }
            _ => Err(wrong),
        }
    }
}

/// What stands before the first colon, and after it.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b':')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}
