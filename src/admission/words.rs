//! The words of admission: what is wanted and held, what calls bring, and what callers are told.

use std::time::Duration;

use super::gates::Gate;
use crate::{moment::Moment, reason::Refusal, revision::Order};

/// Which projects go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing is held, and a caller waits.
    Missing,
    /// Something is held, or no lookup waits.
    Outdated,
}

impl Class {
    /// Every class, the first served first.
    pub const ALL: [Self; 2] = [Self::Missing, Self::Outdated];

    /// The class that metrics count a project in: by what is held alone, whether callers wait or
    /// not.
    pub const fn by_held<T>(held: Option<&T>) -> Self {
        match held {
            Some(_) => Self::Outdated,
            None => Self::Missing,
        }
    }

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Outdated => "outdated",
        }
    }
}

/// What admission needs to know of a held revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldMark {
    /// The order of what is held.
    pub order: Order,
    /// When the renderer last said that it is right.
    pub validated_at: Moment,
}

/// What makes a project fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// The least rollout.
    pub rollout: u64,
    /// The least number.
    pub number: u64,
    /// Validated at this moment or later.
    pub validated_since: Moment,
}

impl Want {
    /// Whether what is held is fresh.
    pub fn is_met_by(&self, held: Option<HeldMark>) -> bool {
        held.is_some_and(|held| {
            held.order.rollout >= self.rollout
                && held.order.number >= self.number
                && held.validated_at >= self.validated_since
        })
    }

    pub(super) fn raise_to(&mut self, other: Self) {
        self.rollout = self.rollout.max(other.rollout);
        self.number = self.number.max(other.number);
        self.validated_since = self.validated_since.max(other.validated_since);
    }
}

/// What became of a wish, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishVerdict {
    /// The caller is counted as waiting: a [`Action::Resolve`](super::Action::Resolve) will follow,
    /// or the caller tells that it [left](super::Admission::left).
    Wait,
    /// The caller is not to wait. The project stays wanted, unless the queue is full.
    Refused(Refused),
}

/// A refusal, with the class of the project and the gate that refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The class of the project, by what is held.
    pub class: Class,
    /// The gate that was shut; `None` if the project is in flight.
    pub gate: Option<Gate>,
    /// What the caller is told.
    pub refusal: Refusal,
}

/// A wish for a project, as a lookup brings it.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What is held.
    pub held: Option<HeldMark>,
    /// What would make it fresh.
    pub want: Want,
    /// The least order that the caller accepts, if the held revision does not satisfy it.
    pub demand: Option<Order>,
    /// Until when the caller waits; `None` if it does not wait.
    pub until: Option<Moment>,
}

/// What the lookups that wait for a project are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A revision landed; look again.
    Landed,
    /// The renderer knows no such project.
    NotFound,
    /// Nothing came of it.
    Refused(Refusal),
}

/// What a render brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// This is held now; it may be less than what was asked for.
    Held(HeldMark),
    /// It was not fit to be held.
    Rejected,
    /// The renderer knows no such project, and nothing of it is held.
    NotFound,
    /// The renderer no longer knows the project; the held revision stays, and is asked for again
    /// after a while.
    Gone,
    /// There was no connection after all.
    Unreachable,
    /// The call failed.
    Failed(CallFailure),
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The renderer was unavailable, or the connection broke.
    Unavailable,
    /// The renderer gave the render up.
    Aborted,
    /// The renderer does not accept the identity of this sidecar.
    Unauthenticated,
    /// It took longer than its deadline. The renderer may still be at it.
    DeadlineExceeded,
    /// The renderer is exhausted, and says when to come back.
    Exhausted(Pushback),
    /// The renderer refused the call without a word on when to come back: it wants fewer calls at
    /// once.
    Refused,
    /// Anything else.
    Other,
}

/// A renderer's word on when to call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushback {
    /// After how long; `None` means not to retry.
    pub after: Option<Duration>,
    /// Which projects it holds for.
    pub scope: PushbackScope,
}

/// Which projects a pushback holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushbackScope {
    /// The one that was asked for.
    Project,
    /// Every project.
    Global,
}

/// What a fetch brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchLanding {
    /// This is held now.
    Held(HeldMark),
    /// Nothing is stored, or what is stored is not fit to be held.
    Nothing,
    /// The call failed.
    Failed(CallFailure),
    /// There was no connection after all.
    Unreachable,
    /// The renderer does not offer it on this connection.
    Unimplemented,
}

/// The connection to the renderer, as the driver last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The first dial is under way.
    Dialling,
    /// There is one.
    Up,
    /// There is none; the next dial is at that moment.
    Down {
        /// When it is dialled again.
        retry_at: Moment,
    },
}

/// What stops every render until a probe succeeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    /// The breaker, after projects that failed in a row, or because the identity of this sidecar
    /// was refused.
    pub is_broken: bool,
    /// It was the identity.
    pub is_identity_refused: bool,
    /// The renderer's pushback.
    pub is_held: bool,
}
