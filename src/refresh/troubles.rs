//! Logs one line when something breaks and one when it heals, for any number of projects.
//!
//! While renders fail, the first few projects of a minute are named. What is remembered is bounded,
//! and the cost of an event does not depend on its size.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    time::Duration,
};

use crate::{
    admission::{Admission, Stops},
    moment::Moment,
    printable::printable,
    revision::Project,
};

/// How long a trouble of a project counts without later lookups.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// How many projects are remembered for each kind of trouble, at most; the one troubled longest ago
/// is forgotten first.
const MAX_STANDING: usize = 10_000;
/// How many failing projects are named within [`MINUTE`].
const NAMED: u32 = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// How many bytes are kept, at most, of the error of a failing project's last render.
const MAX_CAUSE: usize = 200;

/// What can go wrong with a project, and is logged once when it begins and once when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Failed,
    Behind,
    Rejected,
    Gone,
    Conflict,
    GivenUp,
    Ahead,
}

impl Trouble {
    const ALL: [Self; 7] = [
        Self::Failed,
        Self::Behind,
        Self::Rejected,
        Self::Gone,
        Self::Conflict,
        Self::GivenUp,
        Self::Ahead,
    ];

    fn broken(self) -> &'static str {
        match self {
            Self::Failed => "renders are failing; serving held revisions, will retry",
            Self::Behind => "renderer is behind: it renders older revisions than asked for",
            Self::Rejected => "renders are rejected: the answers cannot be served",
            Self::Gone => {
                "renderer answers NOT_FOUND for a held project; serving it until confirmed"
            }
            Self::Conflict => "renderer sent two payloads for the same revision; keeping the first",
            Self::Ahead => "renderer is ahead of the target; serving what it renders",
            Self::GivenUp => "renderer announced a change that no render has; giving the change up",
        }
    }

    /// What is logged of each further project, where the project may be the cause.
    fn another(self) -> Option<&'static str> {
        match self {
            Self::Failed => Some("renders of another project are failing"),
            Self::Rejected => Some("renders of another project are rejected"),
            Self::Conflict => {
                Some("renderer sent two payloads for the same revision of another project")
            }
            Self::Behind | Self::Gone | Self::GivenUp | Self::Ahead => None,
        }
    }

    /// Whether it means that a project is failing, so that its cause is kept for operators.
    const fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::Behind | Self::Rejected => true,
            Self::Gone | Self::Conflict | Self::GivenUp | Self::Ahead => false,
        }
    }

    fn over(self) -> &'static str {
        match self {
            Self::Failed => "renders succeed again",
            Self::Behind => "renderer is no longer behind",
            Self::Rejected => "renders are accepted again",
            Self::Gone => "renderer knows all held projects again",
            Self::Conflict => "renderer agrees with the held revisions again",
            Self::Ahead => "renderer is no longer ahead of the target",
            Self::GivenUp => "renders have the announced changes again",
        }
    }

    /// What is logged when the last project was forgotten rather than healed.
    fn forgotten(self) -> &'static str {
        match self {
            Self::Failed => "no render has failed for 15m",
            Self::Behind => "renderer has not been behind for 15m",
            Self::Rejected => "no render has been rejected for 15m",
            Self::Gone => "no held project has been NOT_FOUND for 15m",
            Self::Conflict => "renderer has not sent a second payload for 15m",
            Self::GivenUp => "no change has been given up for 15m",
            Self::Ahead => "renderer has not been ahead of the target for 15m",
        }
    }
}

/// The troubles that stand.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    kinds: [Affected; Trouble::ALL.len()],
    named: Named,
    stops: Stops,
    is_refused: bool,
    has_given_fetches_up: bool,
}

/// The projects that have a trouble, and when each last had it.
#[derive(Debug, Default)]
struct Affected {
    last: HashMap<Project, Befell>,
    by_age: BTreeSet<(Moment, Project)>,
}

/// The last trouble of a project.
#[derive(Debug)]
struct Befell {
    at: Moment,
    /// The cause, of a [failure](Trouble::is_failure).
    cause: Option<Box<str>>,
}

/// Picks the first few of a minute to be named, and counts the others.
#[derive(Debug, Default, PartialEq, Eq)]
struct Named {
    since: Option<Moment>,
    named: u32,
    left_out: u32,
}

// === impl Troubles ===

impl Troubles {
    /// Records a trouble. The first of its kind is logged with its cause, and so are the first few
    /// projects of a minute, but not while the breaker is open, which puts the blame on the
    /// renderer.
    pub(super) fn raise(
        &mut self,
        trouble: Trouble,
        project: &Project,
        cause: &dyn fmt::Display,
        now: Moment,
    ) {
        self.tick(now);
        let kept = trouble
            .is_failure()
            .then(|| printable(cause, MAX_CAUSE).into());
        let affected = &mut self.kinds[trouble as usize];
        let is_first = affected.is_empty();
        let is_new = affected.insert(project, kept, now);
        let another = trouble
            .another()
            .filter(|_| is_new && !self.stops.is_broken);
        if is_first {
            self.named.pick(now);
            tracing::warn!(%project, %cause, "{}", trouble.broken());
        } else if let Some(another) = another
            && self.named.pick(now)
        {
            tracing::warn!(%project, %cause, "{another}");
        } else {
            tracing::debug!(%project, %cause, "{}", trouble.broken());
        }
    }

    /// What the last render of a project failed with, if that is remembered: at most [`MAX_CAUSE`]
    /// bytes, printable.
    pub(super) fn last_failure(&self, project: &Project) -> Option<&str> {
        let kinds = Trouble::ALL.into_iter().filter(|kind| kind.is_failure());
        let befell = kinds.filter_map(|kind| self.kinds[kind as usize].last.get(project));
        befell.max_by_key(|befell| befell.at)?.cause.as_deref()
    }

    /// Records that a project no longer has a trouble; logs the end of the last of its kind.
    pub(super) fn settle(&mut self, project: &Project, except: Option<Trouble>) {
        for trouble in Trouble::ALL
            .into_iter()
            .filter(|kind| Some(*kind) != except)
        {
            let affected = &mut self.kinds[trouble as usize];
            if affected.remove(project) && affected.is_empty() {
                tracing::info!(%project, "{}", trouble.over());
            }
        }
    }

    /// Records whether the renderer refused calls of late; what begins and what ends is logged.
    pub(super) fn record_refusals(&mut self, admission: &Admission, now: Moment) {
        let is_refused = admission.is_refused(now);
        match (
            std::mem::replace(&mut self.is_refused, is_refused),
            is_refused,
        ) {
            (false, true) => tracing::warn!("renderer refuses calls; making fewer at once"),
            (true, false) => tracing::info!("renderer has refused no call for a minute"),
            (false, false) | (true, true) => {}
        }
    }

    /// Records whether fetches as a whole fail; what begins and what ends is logged.
    pub(super) fn record_fetches(&mut self, admission: &Admission) {
        let has_given_up = admission.has_given_fetches_up();
        let had_given_up = std::mem::replace(&mut self.has_given_fetches_up, has_given_up);
        match (had_given_up, has_given_up) {
            (false, true) => {
                tracing::warn!("fetches are failing; rendering missing projects instead");
            }
            (true, false) => tracing::info!("fetches succeed again"),
            (false, false) | (true, true) => {}
        }
    }

    /// Records what stops every render; what begins and what ends is logged.
    pub(super) fn record_stops(&mut self, stops: Stops) {
        let before = std::mem::replace(&mut self.stops, stops);
        match (before.is_broken, stops.is_broken) {
            (false, true) if stops.is_identity_refused => tracing::warn!(
                "breaker is open: renderer refuses the identity of this sidecar (UNAUTHENTICATED); serving held revisions, will probe"
            ),
            (false, true) => tracing::warn!(
                "breaker is open: several projects failed in a row; serving held revisions, will probe"
            ),
            (true, false) => tracing::info!("breaker is closed: renders start again"),
            (false, false) | (true, true) => {}
        }
        match (before.is_held, stops.is_held) {
            (false, true) => tracing::warn!("renderer pushes back; no render starts for a while"),
            (true, false) => tracing::info!("pushback is over: renders start again"),
            (false, false) | (true, true) => {}
        }
    }

    /// Forgets what is due, and tells how many projects were not named.
    pub(super) fn tick(&mut self, now: Moment) {
        for trouble in Trouble::ALL {
            let affected = &mut self.kinds[trouble as usize];
            if affected.forget(now) && affected.is_empty() {
                tracing::info!("{}", trouble.forgotten());
            }
        }
        if let Some(more) = self.named.take_left_out(now) {
            tracing::warn!(more, "renders of further projects are failing");
        }
    }

    /// When to call [`Troubles::tick`].
    pub(super) fn next_wake(&self) -> Option<Moment> {
        let forgotten = self.kinds.iter().filter_map(Affected::forgotten_at).min();
        [forgotten, self.named.ends_at()]
            .into_iter()
            .flatten()
            .min()
    }
}

// === impl Affected ===

impl Affected {
    fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Records a trouble; true when it is new for that project.
    fn insert(&mut self, project: &Project, cause: Option<Box<str>>, now: Moment) -> bool {
        let is_new = !self.remove(project);
        if self.last.len() == MAX_STANDING
            && let Some((_, longest_untroubled)) = self.by_age.pop_first()
        {
            self.last.remove(&longest_untroubled);
        }
        self.last.insert(project.clone(), Befell { at: now, cause });
        self.by_age.insert((now, project.clone()));
        is_new
    }

    fn remove(&mut self, project: &Project) -> bool {
        self.last
            .remove_entry(project)
            .is_some_and(|(project, befell)| self.by_age.remove(&(befell.at, project)))
    }

    /// Forgets projects that have had none for long. Returns true if there was one.
    fn forget(&mut self, now: Moment) -> bool {
        let before = self.last.len();
        while self.forgotten_at().is_some_and(|at| at <= now)
            && let Some((_, project)) = self.by_age.pop_first()
        {
            self.last.remove(&project);
        }
        self.last.len() < before
    }

    /// When the first is to be forgotten.
    fn forgotten_at(&self) -> Option<Moment> {
        self.by_age.first().map(|&(at, _)| at + FORGOTTEN)
    }
}

// === impl Named ===

impl Named {
    /// Whether a project is among the first of its minute.
    fn pick(&mut self, now: Moment) -> bool {
        self.since.get_or_insert(now);
        let is_picked = self.named < NAMED;
        if is_picked {
            self.named += 1;
        } else {
            self.left_out += 1;
        }
        is_picked
    }

    /// Ends the minute when it is over, and tells how many were not picked, if any.
    fn take_left_out(&mut self, now: Moment) -> Option<u32> {
        self.ends_at().filter(|&at| at <= now)?;
        let ended = std::mem::take(self);
        (ended.left_out > 0).then_some(ended.left_out)
    }

    fn ends_at(&self) -> Option<Moment> {
        self.since.map(|since| since + MINUTE)
    }
}

#[cfg(test)]
mod tests;
