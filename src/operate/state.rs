//! How one project stands.

use std::{sync::Arc, time::Duration};

use crate::{
    admission::Turn,
    cache::Held,
    moment::Moment,
    reason::Refusal,
    refresh::Inspected,
    revision::{Project, Revision},
};

/// How one project stands.
#[derive(Clone, Debug)]
pub struct ProjectState {
    /// The project.
    pub project: Project,
    /// What is held of it.
    pub held: Option<HeldState>,
    /// For how long it has been outdated or, if nothing is held, wanted.
    pub outdated_for: Option<Duration>,
    /// Whether a call is in flight.
    pub is_in_flight: bool,
    /// Why it is not refreshed, and when it may be; none when it is not wanted.
    pub refusal: Option<Refusal>,
    /// For how much longer it is taken to be absent, because the renderer knows no such project.
    pub absent_for: Option<Duration>,
    /// What its last render failed with, while it fails: at most 200 bytes, printable.
    pub last_failure: Option<String>,
    /// How many renders in a row failed, were rejected or brought less than was asked for.
    pub failures: u32,
    /// Its place among those that wait in turn.
    pub turn: Option<Turn>,
}

/// What is held of a project.
#[derive(Clone, Debug)]
pub struct HeldState {
    /// The revision, whose payload is not to be shown.
    pub revision: Arc<Revision>,
    /// How long ago the renderer last said that it is right.
    pub validated_ago: Duration,
}

/// What the cache knows of a project.
#[derive(Clone, Debug, Default)]
pub(super) struct HeldOrAbsent {
    pub(super) held: Option<Arc<Held>>,
    pub(super) absent_for: Option<Duration>,
}

impl ProjectState {
    pub(super) fn new(
        project: Project,
        known: HeldOrAbsent,
        inspected: Inspected,
        outdated_since: Option<Moment>,
    ) -> Self {
        let Inspected {
            at,
            remembered,
            explanation,
            turn,
            last_failure,
        } = inspected;
        Self {
            project,
            held: known.held.map(|held| HeldState {
                revision: Arc::clone(&held.revision),
                validated_ago: at.since(held.validated_at),
            }),
            outdated_for: outdated_since.map(|since| at.since(since)),
            is_in_flight: explanation.is_some_and(|it| it.is_in_flight),
            refusal: explanation.map(|it| it.refusal),
            absent_for: known.absent_for,
            last_failure,
            failures: remembered.map_or(0, |it| it.failures),
            turn,
        }
    }
}
