//! One log line when something breaks and one when it heals, however many projects it befalls.

use std::collections::HashMap;
use std::time::Duration;

use crate::{admission::Stops, moment::Moment, revision::Project};

/// How long a complaint of a project counts that nobody has asked for since.
const FORGOTTEN: Duration = Duration::from_secs(900);

/// What a project can complain of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Complaint {
    Failed,
    Behind,
    Rejected,
    Gone,
    Conflict,
    GivenUp,
}

impl Complaint {
    const ALL: [Self; 6] = [
        Self::Failed,
        Self::Behind,
        Self::Rejected,
        Self::Gone,
        Self::Conflict,
        Self::GivenUp,
    ];

    fn broken(self) -> &'static str {
        match self {
            Self::Failed => {
                "renders fail: what is held is served, and asked for again after a while"
            }
            Self::Behind => {
                "the renderer is behind: it answers with older revisions than asked for"
            }
            Self::Rejected => "renders are rejected: what they bring is not fit to be held",
            Self::Gone => {
                "the renderer knows a held project no more: it is served until it says so again"
            }
            Self::Conflict => "the renderer renders the same order differently: the first is kept",
            Self::GivenUp => {
                "the renderer tells of a change that no render has: it is given up, and what is held is fresh"
            }
        }
    }

    fn healed(self) -> &'static str {
        match self {
            Self::Failed => "renders succeed again",
            Self::Behind => "the renderer is no longer behind",
            Self::Rejected => "renders are fit to be held again",
            Self::Gone => "no held project is missing at the renderer any more",
            Self::Conflict => "the renderer agrees with what is held again",
            Self::GivenUp => "renders have the changes that the renderer tells of again",
        }
    }
}

/// The complaints that stand.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    standing: HashMap<Complaint, HashMap<Project, Moment>>,
    stops: Stops,
}

impl Complaints {
    /// Notes a complaint; the first of its kind is logged, with its cause.
    pub(super) fn raise(
        &mut self,
        complaint: Complaint,
        project: &Project,
        cause: &dyn std::fmt::Display,
        now: Moment,
    ) {
        let standing = self.standing.entry(complaint).or_default();
        standing.retain(|_, at| now.since(*at) < FORGOTTEN);
        if standing.is_empty() {
            tracing::warn!(%project, %cause, "{}", complaint.broken());
        } else {
            tracing::debug!(%project, %cause, "{}", complaint.broken());
        }
        standing.insert(project.clone(), now);
    }

    /// Notes that a project has no complaint any more; the last of its kind is logged.
    pub(super) fn settle(&mut self, project: &Project, except: Option<Complaint>) {
        for complaint in Complaint::ALL
            .into_iter()
            .filter(|kind| Some(*kind) != except)
        {
            if let Some(standing) = self.standing.get_mut(&complaint)
                && standing.remove(project).is_some()
                && standing.is_empty()
            {
                tracing::info!(%project, "{}", complaint.healed());
            }
        }
    }

    /// Notes what stops every render; what begins and what ends is logged.
    pub(super) fn note_stops(&mut self, stops: Stops) {
        let before = std::mem::replace(&mut self.stops, stops);
        match (before.is_broken, stops.is_broken) {
            (false, true) if stops.is_identity_refused => tracing::warn!(
                "the breaker is open: the renderer refuses the identity of this sidecar (UNAUTHENTICATED); held revisions are served, and a probe goes out now and then"
            ),
            (false, true) => tracing::warn!(
                "the breaker is open: several projects failed in a row, and none is rendered for a while"
            ),
            (true, false) => tracing::info!("the breaker is closed: renders are launched again"),
            (false, false) | (true, true) => {}
        }
        match (before.is_held, stops.is_held) {
            (false, true) => tracing::warn!(
                "the renderer pushes everything back: no render is launched for a while"
            ),
            (true, false) => tracing::info!("the pushback is over: renders are launched again"),
            (false, false) | (true, true) => {}
        }
    }
}
