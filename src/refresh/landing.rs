//! What a flight brought: stored, judged, logged, and told to admission.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    RefreshShared, RefreshState, Troubles, mark, observe::RenderResult, troubles::Trouble,
};
use crate::{
    admission::{AdmissionFact, CallFailure, Class, Dropping, FetchLanding, Landing, Lease},
    cache::{AnswerOrigin, Held, Stored},
    moment::Moment,
    render::{Answered, Confirmed, Rejected, RenderError},
    revision::{Order, Project, Revision},
};

/// The call of a render that landed.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallOfRender {
    pub(super) class: Class,
    pub(super) lease: Option<Lease>,
    /// When it was asked for, and with which rollout.
    pub(super) asked: Moment,
    pub(super) rollout: u64,
    pub(super) duration: Duration,
}

impl RefreshShared {
    /// Takes in what a render brought.
    pub(super) fn render_landed(
        self: &Arc<Self>,
        project: &Project,
        brought: Answered<Revision>,
        call: CallOfRender,
    ) -> RenderResult {
        let CallOfRender {
            class,
            lease,
            asked,
            rollout,
            duration,
        } = call;
        let state = &mut *self.lock();
        let now = self.clock.now();
        let Answered {
            connection,
            result: brought,
        } = brought;
        tracing::debug!(%project, connection, is_ok = brought.is_ok(), "a render landed");
        let origin = AnswerOrigin {
            at: now,
            connection,
        };
        let (landing, result) = match brought {
            Ok(revision) => self.land(state, revision, origin),
            Err(error) => self.land_failed(state, project, &error, origin),
        };
        if let Landing::Held(_) = landing {
            self.parts.cache.record_confirmed(project, asked);
        }
        self.forget(project);
        self.tell_of_landing(project, lease, landing);
        if let Some(connection) = connection {
            let admission = &mut state.admission;
            admission.came_over(project, connection, landing, now);
        }
        state.admission.landed(project, landing, now);
        state.troubles.record_refusals(&state.admission, now);
        state.notices.landed(result, now);
        if class == Class::Missing {
            state
                .notices
                .rendered_first(project, landing, &state.admission, now);
        }
        self.record_wanted(state, project);
        let fact = AdmissionFact::Rendered {
            project,
            asked: rollout,
            landing,
            took: duration,
        };
        self.parts.observe.told(fact, now);
        self.parts.observe.rendered(class, result, duration);
        self.perform(state);
        result
    }

    pub(super) fn fetch_landed(
        self: &Arc<Self>,
        project: &Project,
        brought: Answered<Revision>,
        asked: Moment,
        duration: Duration,
    ) -> RenderResult {
        let mut state = self.lock();
        let now = self.clock.now();
        let Answered {
            connection,
            result: brought,
        } = brought;
        let (landing, result) = match brought {
            Ok(revision) => match self.store(
                &mut state,
                revision,
                AnswerOrigin {
                    at: now,
                    connection,
                },
            ) {
                Some((stored, held)) => {
                    self.report_ahead(&mut state.troubles, &held, now);
                    (FetchLanding::Held(mark(&held)), result_of_store(stored))
                }
                None => (FetchLanding::Nothing, RenderResult::Rejected),
            },
            Err(error) => {
                tracing::debug!(%project, connection, %error, "a fetch brought nothing");
                (fetch_landing_of(&error), result_of(&error))
            }
        };
        if let FetchLanding::Held(_) = landing {
            self.parts.cache.record_confirmed(project, asked);
        }
        state.admission.fetched(project, landing, now);
        let RefreshState {
            admission,
            troubles,
            ..
        } = &mut *state;
        troubles.record_refusals(admission, now);
        self.record_wanted(&mut state, project);
        let fact = AdmissionFact::Fetched {
            project,
            landing,
            took: duration,
        };
        self.parts.observe.told(fact, now);
        self.parts.observe.fetched(result, duration);
        self.perform(&mut state);
        result
    }

    /// Takes in what the renderer, asked at `asked`, says about a held revision.
    pub(super) fn confirmed(
        self: &Arc<Self>,
        project: &Project,
        confirmation: Answered<Confirmed>,
        asked: Moment,
        duration: Duration,
    ) {
        let mut state = self.lock();
        let now = self.clock.now();
        let (landing, result) = match confirmation.result {
            Ok(Confirmed::Revision(revision)) => {
                let origin = AnswerOrigin {
                    at: now,
                    connection: confirmation.connection,
                };
                match self.store(&mut state, revision, origin) {
                    Some((stored, held)) => {
                        (FetchLanding::Held(mark(&held)), result_of_store(stored))
                    }
                    None => (FetchLanding::Nothing, RenderResult::Rejected),
                }
            }
            Ok(Confirmed::Changed(order)) => {
                let number = order.number;
                if self.parts.cache.record_change(project, number, now) {
                    let fact = AdmissionFact::Changed { project, number };
                    self.parts.observe.told(fact, now);
                    state.admission.changed(project, number, now);
                    self.epoch.fetch_add(1, Relaxed);
                }
                (FetchLanding::Nothing, RenderResult::Changed)
            }
            Err(error) => {
                tracing::debug!(%project, %error, "what is held is not confirmed");
                let landing = if let RenderError::Rejected(_) = error {
                    FetchLanding::Failed(CallFailure::Other)
                } else {
                    fetch_landing_of(&error)
                };
                (landing, result_of(&error))
            }
        };
        if let FetchLanding::Held(_) | FetchLanding::Nothing = landing {
            self.parts.cache.record_confirmed(project, asked);
        }
        if let FetchLanding::Held(held) = landing {
            let fact = AdmissionFact::Confirmed { project, held };
            self.parts.observe.told(fact, now);
        }
        state.admission.confirmed(project, landing, now);
        self.record_wanted(&mut state, project);
        self.parts.observe.fetched(result, duration);
        self.perform(&mut state);
    }

    /// Records that nothing was held to ask about after all.
    pub(super) fn nothing_to_confirm(self: &Arc<Self>, project: &Project) {
        let mut state = self.lock();
        let now = self.clock.now();
        state
            .admission
            .confirmed(project, FetchLanding::Nothing, now);
        self.perform(&mut state);
    }

    /// Stores a revision that a render brought.
    fn land(
        &self,
        state: &mut RefreshState,
        revision: Revision,
        origin: AnswerOrigin,
    ) -> (Landing, RenderResult) {
        let (order, now) = (revision.order, origin.at);
        match self.store(state, revision, origin) {
            Some((stored, held)) => {
                let (held, given_up) = self.give_up(state, held, order, now);
                let is_behind =
                    self.report_trouble(&mut state.troubles, stored, order, &held, given_up, now);
                let result = if is_behind {
                    RenderResult::Behind
                } else {
                    result_of_store(stored)
                };
                (Landing::Held(mark(&held)), result)
            }
            None => (Landing::Rejected, RenderResult::Rejected),
        }
    }

    /// Gives up a change that too many renders lacked, the last of which brought `order`. Returns
    /// what is held then, and the change.
    fn give_up(
        &self,
        state: &mut RefreshState,
        held: Arc<Held>,
        order: Order,
        now: Moment,
    ) -> (Arc<Held>, Option<u64>) {
        let project = &held.revision.project;
        let given_up = self.parts.cache.record_rendered(project, order.number);
        if given_up.is_none() {
            return (held, None);
        }
        let held = self.parts.cache.get(project.as_str()).unwrap_or(held);
        let number = held.changed.map_or(0, |changed| changed.number);
        let project = &held.revision.project;
        let fact = AdmissionFact::GaveUp { project, number };
        self.parts.observe.told(fact, now);
        state.admission.gave_up(project, number, now);
        (held, given_up)
    }

    /// Stores a revision, and returns what is held then; `None` if it is larger than the whole
    /// cache.
    pub(super) fn store(
        &self,
        state: &mut RefreshState,
        revision: Revision,
        origin: AnswerOrigin,
    ) -> Option<(Stored, Arc<Held>)> {
        let project = revision.project.clone();
        let bytes = revision.payload.len();
        self.parts.freshness.record_landed(revision.order.rollout);
        let (order, target) = (revision.order, self.parts.freshness.target());
        let (stored, held) = self.parts.cache.store_from(revision, origin, target);
        if stored == Stored::Lower {
            tracing::info!(%project, %order, target, "replaced a revision that was ahead of the target");
        }
        if stored == Stored::TooLarge {
            let limit = self.options.max_payload;
            let cause = Rejected::OversizedPayload { bytes, limit };
            state
                .troubles
                .raise(Trouble::Rejected, &project, &cause, origin.at);
            return None;
        }
        held.map(|held| (stored, held))
    }

    /// Logs what is odd about a revision. Returns true if it is less than what was asked for.
    fn report_trouble(
        &self,
        troubles: &mut Troubles,
        stored: Stored,
        order: Order,
        held: &Held,
        given_up: Option<u64>,
        now: Moment,
    ) -> bool {
        let project = &held.revision.project;
        let target = self.parts.freshness.target();
        let is_behind = stored == Stored::Older || order.rollout < target || held.changed.is_some();
        let trouble = if let Some(change) = given_up {
            let cause = format!("a change to number {change}, while renders bring {order}");
            troubles.raise(Trouble::GivenUp, project, &cause, now);
            Some(Trouble::GivenUp)
        } else if stored == Stored::Conflict {
            let cause = format_args!("revision {order}").to_string();
            troubles.raise(Trouble::Conflict, project, &cause, now);
            Some(Trouble::Conflict)
        } else if is_behind {
            let cause = format!("revision {order} while the target is {target}");
            troubles.raise(Trouble::Behind, project, &cause, now);
            Some(Trouble::Behind)
        } else if self.report_ahead(troubles, held, now) {
            Some(Trouble::Ahead)
        } else {
            None
        };
        troubles.settle(project, trouble);
        is_behind
    }

    /// Logs that the held revision is of a rollout above the target. Returns true if it is.
    pub(super) fn report_ahead(&self, troubles: &mut Troubles, held: &Held, now: Moment) -> bool {
        let (order, target) = (held.revision.order, self.parts.freshness.target());
        let is_ahead = order.rollout > target;
        if is_ahead {
            let cause = format!("revision {order} while the target is {target}");
            troubles.raise(Trouble::Ahead, &held.revision.project, &cause, now);
        }
        is_ahead
    }

    fn land_failed(
        &self,
        state: &mut RefreshState,
        project: &Project,
        error: &RenderError,
        origin: AnswerOrigin,
    ) -> (Landing, RenderResult) {
        let now = origin.at;
        let landing = match error {
            RenderError::NotFound => self.land_not_found(state, project, origin),
            RenderError::Unreachable => Landing::Unreachable,
            RenderError::Rejected(_) => {
                state.troubles.raise(Trouble::Rejected, project, error, now);
                Landing::Rejected
            }
            // This says nothing about the project.
            RenderError::Refused(_) => {
                tracing::debug!(%project, %error, "a render is refused");
                Landing::Failed(CallFailure::Refused)
            }
            RenderError::Unavailable(_)
            | RenderError::Aborted(_)
            | RenderError::Unauthenticated(_)
            | RenderError::DeadlineExceeded
            | RenderError::Exhausted { .. }
            | RenderError::Unimplemented
            | RenderError::Failed { .. }
            | RenderError::Panicked => {
                state.troubles.raise(Trouble::Failed, project, error, now);
                Landing::Failed(failure_of(error))
            }
        };
        (landing, result_of(error))
    }

    /// A missing project is absent for a while. A held one stays until a second NOT_FOUND over
    /// another connection, and even then while too many would go at once: one bad replica must not
    /// wipe a fleet.
    fn land_not_found(
        &self,
        state: &mut RefreshState,
        project: &Project,
        origin: AnswerOrigin,
    ) -> Landing {
        let now = origin.at;
        let Some(first) = self.parts.cache.record_gone(project, origin) else {
            self.parts
                .cache
                .record_absent(project, self.parts.freshness.target(), now);
            return Landing::NotFound;
        };
        state
            .troubles
            .raise(Trouble::Gone, project, &RenderError::NotFound, now);
        let held = self.parts.cache.len();
        if !first.is_confirmed_by(origin, state.drops.confirmed_after(held)) {
            return Landing::Gone;
        }
        match state.drops.decide(held, now) {
            Dropping::Allowed => {}
            Dropping::Suspended { attempted: dropped } => {
                tracing::warn!(%project, dropped, held, "too many held projects are NOT_FOUND at once; dropping is suspended");
                return Landing::Gone;
            }
        }
        tracing::info!(%project, "dropped a project that no longer exists");
        state.troubles.settle(project, None);
        self.parts.cache.remove(project);
        self.parts
            .cache
            .record_absent(project, self.parts.freshness.target(), now);
        Landing::NotFound
    }

    pub(super) fn record_wanted(&self, state: &mut RefreshState, project: &Project) {
        let is_wanted = state.admission.is_wanted(project);
        if let Some(held) = self.parts.cache.get(project.as_str()) {
            held.memo.set_wanted(is_wanted);
        }
        if !is_wanted {
            state.traces.forget(project);
        }
    }
}

fn result_of_store(stored: Stored) -> RenderResult {
    match stored {
        Stored::Newer | Stored::Lower => RenderResult::Stored,
        Stored::Validated | Stored::Conflict => RenderResult::Validated,
        Stored::Older => RenderResult::Behind,
        Stored::TooLarge => RenderResult::Rejected,
    }
}

fn fetch_landing_of(error: &RenderError) -> FetchLanding {
    match error {
        RenderError::NotFound | RenderError::Rejected(_) => FetchLanding::Nothing,
        RenderError::Unimplemented => FetchLanding::Unimplemented,
        RenderError::Unreachable => FetchLanding::Unreachable,
        RenderError::Unavailable(_)
        | RenderError::Aborted(_)
        | RenderError::Unauthenticated(_)
        | RenderError::DeadlineExceeded
        | RenderError::Exhausted { .. }
        | RenderError::Refused(_)
        | RenderError::Failed { .. }
        | RenderError::Panicked => FetchLanding::Failed(failure_of(error)),
    }
}

fn failure_of(error: &RenderError) -> CallFailure {
    match error {
        RenderError::Unavailable(_) => CallFailure::Unavailable,
        RenderError::Aborted(_) => CallFailure::Aborted,
        RenderError::Unauthenticated(_) => CallFailure::Unauthenticated,
        RenderError::DeadlineExceeded => CallFailure::DeadlineExceeded,
        RenderError::Exhausted { pushback, .. } => CallFailure::Exhausted(*pushback),
        RenderError::Refused(_) => CallFailure::Refused,
        RenderError::NotFound
        | RenderError::Unreachable
        | RenderError::Rejected(_)
        | RenderError::Unimplemented
        | RenderError::Failed { .. }
        | RenderError::Panicked => CallFailure::Other,
    }
}

fn result_of(error: &RenderError) -> RenderResult {
    match error {
        RenderError::Unreachable => RenderResult::Unreachable,
        RenderError::Unavailable(_) | RenderError::Aborted(_) => RenderResult::Unavailable,
        RenderError::DeadlineExceeded => RenderResult::DeadlineExceeded,
        RenderError::Exhausted { .. } => RenderResult::Exhausted,
        RenderError::Refused(_) => RenderResult::Refused,
        RenderError::NotFound => RenderResult::NotFound,
        RenderError::Unimplemented => RenderResult::Unimplemented,
        RenderError::Rejected(_) => RenderResult::Rejected,
        RenderError::Unauthenticated(_) => RenderResult::Unauthenticated,
        RenderError::Failed { .. } | RenderError::Panicked => RenderResult::Failed,
    }
}
