//! What an operator is told while it happens: a hang, the end of a release, and what callers or the
//! cache suffer from.
//!
//! When a line is due is decided in the files below, from facts and the moment alone; here the
//! facts are gathered, each at the cost of a counter, and the lines are written. Each comes once
//! when it begins and once when it ends.

mod hang;
mod release;
mod spell;
mod unknown;

use std::{fmt, time::Duration};

use self::{hang::Hang, release::ReleaseWatch, spell::Spell, unknown::Unknown};
use super::RenderResult;
use crate::{
    admission::{Admission, Class, Landing},
    cache::Cache,
    moment::{Moment, spoken},
    revision::Project,
};

/// The window in which this many evicted and wanted projects show that the cache is too small.
const THROWN_OUT: (u64, Duration) = (10, Duration::from_secs(60));
/// After how long without one the cache is large enough again.
const LARGE_ENOUGH: Duration = Duration::from_secs(600);
/// After how long without a lookup that finds the queue full it has room again.
const ROOM: Duration = Duration::from_secs(10);

/// Every notice that may be due.
#[derive(Debug)]
pub(super) struct Notices {
    release: ReleaseWatch,
    hang: Hang,
    hang_facts: Option<hang::HangFacts>,
    /// When the renderer last answered a render, with whatever status.
    answered: Moment,
    /// When a render last brought a revision, and when one last failed.
    succeeded: Option<Moment>,
    failed: Option<Moment>,
    /// When the target was last raised.
    raised: Option<Moment>,
    unknown: Unknown,
    refused: Spell,
    thrown_out: Spell,
    /// How many evicted projects had been wanted again at the last look.
    returned: u64,
}

impl Notices {
    /// Starts with nothing to say.
    pub(super) fn new(now: Moment) -> Self {
        let (least, within) = THROWN_OUT;
        Self {
            release: ReleaseWatch::default(),
            hang: Hang::default(),
            hang_facts: None,
            answered: now,
            succeeded: None,
            failed: None,
            raised: None,
            unknown: Unknown::default(),
            refused: Spell::new(1, ROOM, ROOM),
            thrown_out: Spell::new(least, within, LARGE_ENOUGH),
            returned: 0,
        }
    }

    /// Records that the target was raised.
    pub(super) fn target_raised(&mut self, rollout: u64, now: Moment) {
        self.release.target_raised(rollout, now);
        self.raised = Some(now);
    }

    /// Records that the target was lowered.
    pub(super) fn target_lowered(&mut self) {
        self.release.target_lowered();
    }

    /// Records what a render came to.
    pub(super) fn landed(&mut self, result: RenderResult, now: Moment) {
        match result {
            RenderResult::Stored | RenderResult::Validated => {
                self.release.rendered();
                (self.answered, self.succeeded) = (now, Some(now));
            }
            RenderResult::DeadlineExceeded
            | RenderResult::Unavailable
            | RenderResult::Unreachable => self.failed = Some(now),
            RenderResult::Changed
            | RenderResult::NotFound
            | RenderResult::Exhausted
            | RenderResult::Refused => self.answered = now,
            RenderResult::Behind
            | RenderResult::Rejected
            | RenderResult::Unauthenticated
            | RenderResult::Unimplemented
            | RenderResult::Failed => (self.answered, self.failed) = (now, Some(now)),
        }
    }

    /// When the renderer last answered a render, with whatever status; the start if it never did.
    pub(super) fn answered(&self) -> Moment {
        self.answered
    }

    /// When a render last brought a revision.
    pub(super) fn succeeded(&self) -> Option<Moment> {
        self.succeeded
    }

    /// When a render last failed, was rejected, or brought less than was asked for.
    pub(super) fn failed(&self) -> Option<Moment> {
        self.failed
    }

    /// When the target was last raised.
    pub(super) fn raised(&self) -> Option<Moment> {
        self.raised
    }

    /// Records what the first render of a project brought.
    pub(super) fn rendered_first(
        &mut self,
        project: &Project,
        landing: Landing,
        admission: &Admission,
        now: Moment,
    ) {
        let notice = self.unknown.record(landing, admission.first_renders(), now);
        say_unknown(notice, Some(project));
    }

    /// Records that a lookup was refused because too many wait already.
    pub(super) fn refused(&mut self, waiting: fmt::Arguments<'_>, now: Moment) {
        if let Some(spell::SpellNotice::Begins(_)) = self.refused.record(1, now) {
            tracing::warn!("lookups are refused: {waiting} are already waiting");
        }
    }

    /// Logs what is due.
    pub(super) fn look(&mut self, admission: &Admission, cache: &Cache, now: Moment) {
        self.look_at_renders(admission, now);
        self.look_at_release(admission, cache, now);
        self.look_at_cache(cache, now);
        say_unknown(self.unknown.look(now), None);
        if let Some(spell::SpellNotice::Ends { count, lasted }) = self.refused.look(now) {
            let lasted = spoken(lasted);
            tracing::info!(refused = count, %lasted, "lookups are no longer refused");
        }
    }

    /// When to call [`Notices::look`] though nothing happens.
    pub(super) fn next_look(&self) -> Option<Moment> {
        let hang = self.hang_facts.and_then(|facts| self.hang.next_look(facts));
        let looks = [
            hang,
            self.release.next_look(),
            self.unknown.next_look(),
            self.refused.next_look(),
            self.thrown_out.next_look(),
        ];
        looks.into_iter().flatten().min()
    }

    fn look_at_renders(&mut self, admission: &Admission, now: Moment) {
        let oldest = admission.oldest_render();
        let facts = hang::HangFacts {
            oldest: oldest.map(|(since, _)| since),
            answered: self.answered,
            median: admission.median_render(),
        };
        self.hang_facts = Some(facts);
        match self.hang.look(facts, now) {
            Some(hang::HangNotice::Hangs { age }) => {
                let project = oldest.map(|(_, project)| tracing::field::display(project));
                let usually = if facts.median.is_zero() {
                    String::new()
                } else {
                    format!(", usually {}", spoken(facts.median))
                };
                tracing::warn!(project, "slow render: running for {}{usually}", spoken(age));
            }
            Some(hang::HangNotice::Heals) => tracing::info!("renders are answered again"),
            None => {}
        }
    }

    fn look_at_release(&mut self, admission: &Admission, cache: &Cache, now: Moment) {
        if !self.release.is_under_way() || !admission.is_settled() {
            return;
        }
        let facts = release::ReleaseFacts {
            held: cache.len(),
            below: cache.below(admission.target()),
            wanted: admission.below_target(),
            failing: admission.failing(),
            rate: if admission.is_connected() {
                admission.rate_in_force(now)
            } else {
                0.0
            },
            permits: admission.permits(Class::Outdated),
            median: admission.median_render(),
        };
        match self.release.look(&facts, now) {
            Some(release::ReleaseNotice::Over {
                rollout,
                after,
                renders,
            }) => {
                let after = spoken(after);
                tracing::info!(rollout, %after, renders, "all wanted projects are fresh");
            }
            Some(release::ReleaseNotice::GoesOn {
                rollout,
                after,
                left,
                done_in,
            }) => {
                let done = match done_in {
                    Some(done_in) => format!("done in about {}", spoken(done_in)),
                    None => "no end in sight".to_owned(),
                };
                let (held, failing, after) = (facts.held, facts.failing, spoken(after));
                tracing::warn!(rollout, %after, failing, "not fresh yet: {left} of {held} outdated, {done}");
            }
            None => {}
        }
    }

    fn look_at_cache(&mut self, cache: &Cache, now: Moment) {
        let returned = cache.returned();
        let times = returned - std::mem::replace(&mut self.returned, returned);
        if let Some(spell::SpellNotice::Begins(count)) = self.thrown_out.record(times, now) {
            let (held, max_bytes) = (cache.len(), cache.max_bytes());
            tracing::warn!(
                held,
                max_bytes,
                "cache is too small: {count} evicted projects were wanted again within a minute"
            );
        }
        if let Some(spell::SpellNotice::Ends { count, lasted }) = self.thrown_out.look(now) {
            let lasted = spoken(lasted);
            tracing::info!(evicted = count, %lasted, "cache is large enough again");
        }
    }
}

fn say_unknown(notice: Option<unknown::UnknownNotice>, project: Option<&Project>) {
    match notice {
        Some(unknown::UnknownNotice::Begins(of_late)) => {
            let project = project.map(tracing::field::display);
            let (unknown, seen) = (of_late.unknown, of_late.seen);
            tracing::warn!(
                project,
                "renderer does not know many projects: NOT_FOUND for {unknown} of the last {seen} first renders"
            );
        }
        Some(unknown::UnknownNotice::Ends) => {
            tracing::info!("renderer knows the projects again");
        }
        None => {}
    }
}
