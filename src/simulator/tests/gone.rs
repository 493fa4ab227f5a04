//! What a renderer said of held projects that it no longer knows, kept beside the machine: by these
//! facts a drop is rightful or is not.

use std::time::Duration;

use crate::{
    admission::{Landing, Tuning},
    moment::Moment,
    simulator::{ProjectId, SimulatedSidecar},
};

/// Over one connection a second NOT_FOUND counts after this long.
const ALONE: Duration = Duration::from_secs(15 * 60);
const TUNING: Tuning = Tuning::DEFAULT;

#[derive(Debug)]
pub(super) struct Gone {
    /// When each held project was first not found, and over which connection.
    first: Vec<Option<(Moment, u64)>>,
    /// Over which connection each was last launched.
    over: Vec<u64>,
    /// When projects were dropped.
    drops: Vec<Moment>,
}

impl Gone {
    pub(super) fn new(projects: usize) -> Self {
        Self {
            first: vec![None; projects],
            over: vec![0; projects],
            drops: Vec::new(),
        }
    }

    /// Takes a launch in.
    pub(super) fn launched(&mut self, sidecar: &SimulatedSidecar, project: ProjectId) {
        self.over[project] = sidecar.connection;
    }

    /// Takes in what a render brought.
    pub(super) fn landed(&mut self, project: ProjectId, landing: &Landing, now: Moment) {
        match landing {
            Landing::Gone => {
                self.first[project].get_or_insert((now, self.over[project]));
            }
            Landing::Held(_) | Landing::NotFound => self.first[project] = None,
            Landing::Rejected | Landing::Failed(_) | Landing::Unreachable => {}
        }
    }

    /// Whether a project may be dropped that is held still: another NOT_FOUND came before, long ago
    /// and over another connection, and few were dropped of late.
    pub(super) fn dropped(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        now: Moment,
    ) -> bool {
        let held = sidecar.count_held();
        let rule = TUNING.fault;
        let few = usize::try_from(rule.few).unwrap_or(usize::MAX);
        let after = [rule.dropped_after, rule.few_dropped_after][usize::from(held < few)];
        let is_confirmed = self.first[project].is_some_and(|(first, connection)| {
            let elapsed = now.since(first);
            elapsed >= ALONE || (connection != self.over[project] && elapsed >= after)
        });
        let is_of_late = |at: &&Moment| now.since(**at) <= rule.drop_window;
        let of_late = self.drops.iter().filter(is_of_late).count();
        self.drops.push(now);
        #[expect(clippy::cast_precision_loss, reason = "a few projects")]
        let most = (held as f64 * rule.drop_share).max(1.0);
        is_confirmed && of_late as f64 + 1.0 <= most
    }
}
