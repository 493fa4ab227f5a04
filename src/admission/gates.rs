//! The ladder: every gate that stands between a project and its render, once, in the order of
//! asking.
//!
//! [`Admission::shut`] answers which gate is shut for a candidate, and until when, from the state
//! alone. What launches, what explains, what tells whether waiting is of use and what is shown ask
//! it; nothing else knows the order. It goes from cheap to dear and from what can be given back to
//! what cannot: the token is last.

use std::time::Duration;

use self::questions::ask_project;
use super::{Admission, budget::Lane, register::Stage, words::Class};
use crate::{
    moment::Moment,
    reason::{NotRefreshed, Refusal},
};

mod questions;

/// What can stand between a project and its render.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// The sidecar is shutting down.
    Draining,
    /// Several projects failed in a row, or the renderer refused the identity of this sidecar;
    /// nothing is rendered for a while.
    Breaker,
    /// There is no connection.
    Connection,
    /// The renderer asked to be left alone.
    Hold,
    /// The project cools down.
    Project,
    /// The queue of missing projects is full.
    Queue,
    /// All permits are held: as many as are set, or fewer after refused calls.
    Concurrency,
    /// The bucket is empty.
    Tokens,
}

impl Gate {
    /// Every gate, in the order of asking.
    pub const ALL: [Self; 8] = [
        Self::Draining,
        Self::Breaker,
        Self::Connection,
        Self::Hold,
        Self::Project,
        Self::Queue,
        Self::Concurrency,
        Self::Tokens,
    ];

    /// Whether it stops every project alike, whatever became of it.
    pub(super) const fn stops_all(self) -> bool {
        match self {
            Self::Draining | Self::Breaker | Self::Connection | Self::Hold => true,
            Self::Project | Self::Queue | Self::Concurrency | Self::Tokens => false,
        }
    }

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Breaker => "breaker",
            Self::Connection => "connection",
            Self::Hold => "hold",
            Self::Project => "project",
            Self::Queue => "queue",
            Self::Concurrency => "concurrency",
            Self::Tokens => "tokens",
        }
    }
}

/// A gate that is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shut {
    /// The gate.
    pub gate: Gate,
    /// What a caller is told.
    pub reason: NotRefreshed,
    /// For how long it is expected to be shut for this project.
    pub wait: Duration,
    /// When it is to be asked again, if time alone opens it.
    pub(super) opens_at: Option<Moment>,
}

impl Shut {
    pub(super) fn refusal(self, least: Duration) -> Refusal {
        Refusal {
            reason: self.reason,
            retry_after: self.wait.max(least),
        }
    }
}

/// What gates ask of a project.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) stage: Stage,
    pub(super) class: Class,
    /// Its last render failed.
    pub(super) is_cooling: bool,
    /// Nothing is held of it.
    pub(super) is_unseen: bool,
    /// Until when it cools down, and why.
    pub(super) alone: (Moment, NotRefreshed),
    pub(super) room: QueueRoom,
    /// How many projects are served before it.
    pub(super) ahead: usize,
}

/// Whether the queue has room for a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueRoom {
    Some,
    None,
}

impl Candidate {
    /// The next of its kind.
    pub(super) fn next(stage: Stage, class: Class) -> Self {
        Self {
            stage,
            class,
            is_cooling: false,
            is_unseen: class == Class::Missing,
            alone: (Moment::START, NotRefreshed::CoolingDown),
            room: QueueRoom::Some,
            ahead: 0,
        }
    }

    /// The permits that its render competes for.
    pub(super) fn lane(&self) -> Lane {
        Lane {
            class: self.class,
            is_cooling: self.is_cooling,
        }
    }

    fn is_render(&self) -> bool {
        match self.stage {
            Stage::Reserve | Stage::Render => true,
            Stage::Fetch | Stage::Confirm => false,
        }
    }
}

impl Admission {
    /// The first gate that is shut for a candidate; `None` if it may go.
    pub(super) fn shut(&self, candidate: &Candidate, now: Moment) -> Option<Shut> {
        Gate::ALL
            .into_iter()
            .find_map(|gate| self.ask(gate, candidate, now))
    }

    /// Whether one gate is shut for a candidate.
    pub(super) fn ask(&self, gate: Gate, candidate: &Candidate, now: Moment) -> Option<Shut> {
        let (reason, opens_at, wait) = match gate {
            Gate::Draining => self.ask_draining(),
            Gate::Breaker => self.ask_breaker(candidate, now),
            Gate::Connection => self.ask_connection(now),
            Gate::Hold => self.ask_hold(candidate, now),
            Gate::Project => ask_project(candidate, now),
            Gate::Queue => self.ask_queue(candidate, now),
            Gate::Concurrency => self.ask_concurrency(candidate, now),
            Gate::Tokens => self.ask_tokens(candidate, now),
        }?;
        Some(Shut {
            gate,
            reason,
            wait,
            opens_at,
        })
    }
}
