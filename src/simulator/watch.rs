//! What somebody who watches a world hears of, as it happens.

use super::{
    calls::RendererAnswer,
    fate::Fate,
    sidecar::{ProjectId, SimulatedSidecar},
};
use crate::{
    admission::{Class, Explanation, FetchLanding, HeldMark, Landing, Reserved},
    moment::Moment,
    reason::Refusal,
};

/// Hears of what happens in a world. It changes nothing; each sidecar is as it is at that moment.
#[expect(unused_variables, reason = "by default nothing is done")]
pub trait Observer: Sized {
    /// A sidecar starts, or a new process takes the place of the last.
    fn started(&mut self, sidecar: &SimulatedSidecar, now: Moment) {}

    /// A sidecar has learned of a higher target.
    fn target_raised(&mut self, sidecar: &SimulatedSidecar, now: Moment) {}

    /// A sidecar has other limits.
    fn limits_set(&mut self, sidecar: &SimulatedSidecar, now: Moment) {}

    /// A project is dropped from what a sidecar holds.
    fn evicted(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {}

    /// A held project that the renderer no longer knows is about to be dropped.
    fn dropped(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {}

    /// A project is looked up that is not fresh.
    fn looked_up(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {}

    /// The same lookup reaches admission, since no refusal of it is remembered.
    fn asked(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {}

    /// Admission has answered that a caller is not to wait.
    fn refused(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        refusal: Refusal,
        now: Moment,
    ) {
    }

    /// A caller who waited leaves; `explained` is what admission said of the project before.
    fn leaves(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        explained: Option<Explanation>,
        now: Moment,
    ) {
    }

    /// A caller is told why its project is not fresh.
    fn told(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        refusal: Refusal,
        now: Moment,
    ) {
    }

    /// A caller who waited is woken because something landed.
    fn woken(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {}

    /// A sidecar asks elsewhere whether renders may start.
    fn asks(&mut self, sidecar: &SimulatedSidecar, now: Moment) {}

    /// An answer has come, of which admission has not heard yet.
    fn reserved(&mut self, sidecar: &SimulatedSidecar, answers: &[Reserved], now: Moment) {}

    /// A render or a fetch is launched.
    fn launched(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        launch: Launch,
        now: Moment,
    ) {
    }

    /// A fetch has come back. What it brought is held already, and admission has not heard of it
    /// yet.
    fn fetched(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        landing: FetchLanding,
        now: Moment,
    ) {
    }

    /// A render has come back to a project of which `before` was held. What it brought is held
    /// already, and admission has not heard of it yet.
    fn landed(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        landing: Landing,
        before: Option<HeldMark>,
        now: Moment,
    ) {
    }

    /// What came back makes a project fresh.
    fn became_fresh(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {}

    /// A call has been answered, and all that followed from it at once is done.
    fn answered(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        answer: RendererAnswer,
        now: Moment,
    ) {
    }

    /// Whether enough was seen: the run is over before its last second.
    fn has_seen_enough(&mut self, now: Moment) -> bool {
        false
    }

    /// The run is over.
    fn ended(&mut self, sidecars: &[SimulatedSidecar], fate: &Fate, now: Moment) {}
}

/// What is launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// A render.
    Render {
        /// In which class.
        class: Class,
        /// Which attempt it is for callers who have waited since the first, from 1.
        attempt: u32,
    },
    /// A fetch.
    Fetch,
}

/// Hears of everything, and does nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Observer for Unwatched {}
