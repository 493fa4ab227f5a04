//! From how renders ended to the calls of `put` and `land`.

use std::{sync::Arc, time::Duration};

use super::{Member, PublishResult, REMEMBERED, RenderEnd};
use crate::{
    admission::{FleetMode, Lease},
    moment::Moment,
    revision::{Project, Revision},
    store::{
        head::Stamp,
        land::{Land, LandAnswer, LandOutcome},
        lease::{Cause, Why},
        put::{Put, StoreVerdict},
        value::{Packing, StoredValue},
    },
};

/// How long the fleet leaves a project alone that fails: doubling.
const FAILING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// … that a renderer which is behind rendered: doubling.
const BEHIND: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// … that the renderer does not know.
const ABSENT: Duration = Duration::from_secs(30);

/// What the store is told of a render: the value first, so that no head stands without one.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The value, if one landed.
    pub put: Option<Put>,
    /// How it ended.
    pub land: Land,
}

impl Member {
    /// What the store is told of a render that ended; none where it cannot be told, or need not be.
    pub fn ended(
        &mut self,
        project: &Project,
        lease: Option<Lease>,
        end: &RenderEnd,
    ) -> Option<Publication> {
        let granted = lease.and_then(|lease| self.leases.remove(&lease));
        let mut landed = None;
        if let RenderEnd::Held(revision) = end {
            self.author(project);
            landed = Some(Arc::clone(revision));
        }
        let born = self.known.born?;
        if self.mode != FleetMode::Joined {
            if landed.is_some() {
                self.shared.unpublished.insert(project.clone());
            }
            return None;
        }
        if granted.is_none() && landed.is_none() {
            return None;
        }
        let count = granted.as_ref().map_or(0, |granted| granted.count);
        let failing = |count| Cause {
            count,
            why: Why::Failing,
        };
        let (outcome, leave_alone) = match end {
            RenderEnd::Held(revision) => {
                let least = granted.as_ref().map(|granted| granted.lease.order);
                let is_behind = least.is_some_and(|least| revision.order < least);
                let alone = (doubled(BEHIND, count), failing(count + 1));
                (LandOutcome::Good, is_behind.then_some(alone))
            }
            RenderEnd::Failed => {
                let alone = (doubled(FAILING, count), failing(count + 1));
                (LandOutcome::Bad, Some(alone))
            }
            RenderEnd::Absent => {
                let why = Why::Absent;
                (LandOutcome::Good, Some((ABSENT, Cause { count, why })))
            }
            RenderEnd::Unanswered => (LandOutcome::Bad, None),
            RenderEnd::PushedBack(after) => (LandOutcome::Nothing, Some((*after, failing(count)))),
            RenderEnd::AllPushedBack(after) => (LandOutcome::PushedBack(*after), None),
            RenderEnd::Nothing => (LandOutcome::Nothing, None),
        };
        let ttl = self.ttl(project);
        let lost = landed
            .as_ref()
            .and_then(|_| self.shared.lost.remove(project));
        let mut put = landed.as_deref().map(|revision| put(revision, ttl));
        if let Some(put) = &mut put {
            put.disowned = lost.as_ref().and_then(|lost| lost.prefix);
        }
        let land = Land {
            born,
            id: self.options.id.clone(),
            project: project.clone(),
            lease: granted.map(|granted| granted.lease),
            landed: put.as_ref().map(|put| put.value.stamp),
            ttl,
            outcome,
            leave_alone,
            disowned: lost.map(|lost| lost.head),
        };
        Some(Publication { put, land })
    }

    /// A lease that is not needed: its render will not start.
    pub fn gives_back(&mut self, lease: Lease) -> Option<Publication> {
        let project = self.leases.get(&lease)?.project.clone();
        self.ended(&project, Some(lease), &RenderEnd::Nothing)
    }

    /// The next project that was rendered here and that the store does not know.
    pub fn next_unpublished(&mut self) -> Option<Project> {
        if self.mode != FleetMode::Joined {
            return None;
        }
        self.shared.unpublished.pop_first()
    }

    /// What the store is told of a project again, or for the first time: what of it is held.
    pub fn publish(&mut self, revision: &Arc<Revision>) -> Option<Publication> {
        let mut publication = self.ended(
            &revision.project,
            None,
            &RenderEnd::Held(Arc::clone(revision)),
        )?;
        // That was told, or is of no time now.
        publication.land.outcome = LandOutcome::Nothing;
        Some(publication)
    }

    /// What was rendered here is not to be published again.
    pub fn disown(&mut self, project: &Project) {
        self.shared.authored.remove(project);
    }

    /// The store took a value, and knows how a render ended; or it did not.
    pub fn published(
        &mut self,
        publication: &Publication,
        answer: Option<&LandAnswer>,
        now: Moment,
    ) {
        let result = match answer {
            Some(LandAnswer::Told { verdict, tick, .. }) => {
                self.learn(publication.land.born, *tick);
                match verdict {
                    None => return,
                    Some(StoreVerdict::Newer) => PublishResult::Newer,
                    Some(StoreVerdict::Validated) => PublishResult::Validated,
                    Some(StoreVerdict::Older) => PublishResult::Older,
                    Some(StoreVerdict::Conflict) => PublishResult::Conflict,
                }
            }
            Some(LandAnswer::BeatFirst) => {
                self.next_beat = now;
                PublishResult::Failed
            }
            None => PublishResult::Failed,
        };
        if publication.put.is_none() {
            return;
        }
        if result == PublishResult::Failed {
            // Again after the next beat, so that a store that takes nothing is not besieged.
            let project = publication.land.project.clone();
            self.shared.refused.insert(project);
        }
        self.numbers.published[result as usize] += 1;
    }

    fn author(&mut self, project: &Project) {
        if self.shared.authored.len() >= REMEMBERED {
            self.shared.authored.pop_first();
        }
        self.shared.authored.insert(project.clone());
    }

    /// ± 10 % by the project, so that what was rendered together does not end together.
    fn ttl(&self, project: &Project) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a fraction")]
        let part = project.hash() as f64 / u64::MAX as f64;
        self.options.ttl.mul_f64(0.9 + 0.2 * part)
    }
}

fn put(revision: &Revision, ttl: Duration) -> Put {
    let value = StoredValue {
        stamp: Stamp {
            order: revision.order,
            digest: revision.digest,
        },
        rendered_at: revision.rendered_at,
        content_type: Arc::clone(&revision.content_type),
        signature: None,
        packing: Packing::Plain,
        payload: revision.payload.clone(),
    };
    Put {
        project: revision.project.clone(),
        value,
        ttl,
        disowned: None,
    }
}

fn doubled((first, most): (Duration, Duration), count: u64) -> Duration {
    let factor = 1_u32 << count.min(16);
    first.saturating_mul(factor).min(most)
}
