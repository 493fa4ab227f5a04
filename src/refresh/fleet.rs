//! What a refresh tells the fleet, and what it takes in of it. Only a sidecar that shares a budget
//! has anybody to tell.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Refresh, RefreshShared, mark};
use crate::{
    admission::{
        Admission, AskId, CallFailure, Class, FleetMode, Landing, Lease, Pushback, PushbackScope,
        Reserved,
    },
    cache::{AnswerOrigin, Stored},
    fleet::{FleetEvent, FleetWish, RenderEnd},
    moment::Moment,
    render::Offer,
    revision::{Project, Revision},
    store::beat::LandingEntry,
};

/// Where a refresh tells the fleet what it asks for and what it rendered.
pub type FleetSender = mpsc::UnboundedSender<FleetEvent>;

/// Of how many projects at once it is seen whether they are wanted.
const STEP: usize = 256;

/// What came of a value of another sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// This was held, or is now.
    Held(Stored),
    /// It cannot be held.
    Rejected,
}

impl Refresh {
    /// Records whether the fleet's store is asked for every render.
    pub fn set_fleet(&self, mode: FleetMode) {
        self.shared
            .tell(|admission, now| admission.set_fleet(mode, now));
    }

    /// Takes the fleet's answers to an ask, one for each candidate.
    pub fn reserved(&self, ask: AskId, answers: Vec<Reserved>) {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        state.admission.reserved(ask, answers, now);
        self.shared.perform(&mut state);
    }

    /// Takes in what another sidecar had rendered, and the renderer vouched for so long ago. It is
    /// checked as what the renderer itself sends.
    pub fn pulled(&self, project: &Project, offer: Offer, validated_ago: Duration) -> Pulled {
        let shared = &self.shared;
        let max_payload = shared.options.max_payload;
        let revision = match offer.check(project, max_payload) {
            Ok(revision) => revision,
            Err(rejected) => {
                tracing::debug!(%project, %rejected, "a value of another sidecar is rejected");
                return Pulled::Rejected;
            }
        };
        let mut state = shared.lock();
        let now = shared.clock.now();
        let at = now.since_start().saturating_sub(validated_ago);
        let origin = AnswerOrigin {
            at: Moment::after_start(at),
            connection: None,
        };
        let Some((stored, held)) = shared.store(&mut state, revision, origin) else {
            return Pulled::Rejected;
        };
        shared.report_ahead(&mut state.troubles, &held, now);
        shared.forget(project);
        state.admission.pulled(project, mark(&held), now);
        shared.record_wanted(&mut state, project);
        shared.perform(&mut state);
        Pulled::Held(stored)
    }

    /// What would make a project fresh, if it is wanted.
    pub fn wish_of(&self, project: &Project) -> Option<FleetWish> {
        let state = self.shared.lock();
        wishes(&state.admission, vec![project.clone()]).pop()
    }

    /// The wanted projects that these landings are of, and the landings that are of none.
    pub fn wanted_of(&self, landings: &[LandingEntry]) -> (Vec<Project>, Vec<LandingEntry>) {
        let hashes: HashSet<_> = landings.iter().map(|landing| landing.project).collect();
        let (mut found, mut after) = (Vec::new(), None::<Project>);
        loop {
            let state = self.shared.lock();
            let mut seen = 0;
            let mut last = None;
            for (project, remembered) in state.admission.remembered_after(after.as_ref(), STEP) {
                (seen, last) = (seen + 1, Some(project.clone()));
                let is_wanted = remembered.wanted_since.is_some();
                if is_wanted && hashes.contains(&LandingEntry::hash(project)) {
                    found.push(project.clone());
                }
            }
            drop(state);
            after = last;
            if seen < STEP {
                break;
            }
        }
        let of_wanted: HashSet<_> = found.iter().map(LandingEntry::hash).collect();
        let others = landings.iter().copied();
        let others = others.filter(|landing| !of_wanted.contains(&landing.project));
        (found, others.collect())
    }

    /// What is held of a project, if it is of the target.
    pub fn of_target(&self, project: &Project) -> Option<Arc<Revision>> {
        let held = self.shared.parts.cache.get(project.as_str())?;
        let target = self.shared.parts.freshness.target();
        (held.revision.order.rollout >= target).then(|| Arc::clone(&held.revision))
    }

    /// How many grants of the fleet were given up because their render could not start in time.
    pub fn voided(&self) -> u64 {
        self.shared.lock().admission.voided()
    }
}

impl RefreshShared {
    pub(super) fn tell_fleet(&self, event: impl FnOnce() -> FleetEvent) {
        if let Some(fleet) = &self.parts.fleet {
            // It has ended: the process does.
            let _ = fleet.send(event());
        }
    }

    /// Asks the fleet whether renders may start.
    pub(super) fn ask_fleet(
        &self,
        admission: &Admission,
        ask: AskId,
        class: Class,
        candidates: Vec<Project>,
    ) {
        self.tell_fleet(|| FleetEvent::Ask {
            ask,
            class,
            wishes: wishes(admission, candidates),
        });
    }

    /// Tells the fleet how a render ended.
    pub(super) fn tell_of_landing(
        &self,
        project: &Project,
        lease: Option<Lease>,
        landing: Landing,
    ) {
        self.tell_fleet(|| FleetEvent::Ended {
            project: project.clone(),
            lease,
            end: self.end_of(project, landing),
        });
    }

    fn end_of(&self, project: &Project, landing: Landing) -> RenderEnd {
        match landing {
            Landing::Held(_) => match self.parts.cache.get(project.as_str()) {
                Some(held) => RenderEnd::Held(Arc::clone(&held.revision)),
                None => RenderEnd::Nothing,
            },
            Landing::Rejected => RenderEnd::Failed,
            Landing::NotFound | Landing::Gone => RenderEnd::Absent,
            Landing::Unreachable => RenderEnd::Nothing,
            Landing::Failed(failure) => match failure {
                CallFailure::Unavailable => RenderEnd::Unanswered,
                CallFailure::DeadlineExceeded | CallFailure::Aborted | CallFailure::Other => {
                    RenderEnd::Failed
                }
                CallFailure::Unauthenticated | CallFailure::Refused => RenderEnd::Nothing,
                CallFailure::Exhausted(Pushback { after: None, .. }) => RenderEnd::Nothing,
                CallFailure::Exhausted(Pushback {
                    after: Some(after),
                    scope,
                }) => match scope {
                    PushbackScope::Project => RenderEnd::PushedBack(after),
                    PushbackScope::Global => RenderEnd::AllPushedBack(after),
                },
            },
        }
    }
}

/// What would make projects fresh, of those that are wanted.
fn wishes(admission: &Admission, candidates: Vec<Project>) -> Vec<FleetWish> {
    let wish = |project: Project| {
        let (least, since) = admission.wish_of(&project)?;
        Some(FleetWish {
            project,
            least,
            since,
        })
    };
    candidates.into_iter().filter_map(wish).collect()
}
