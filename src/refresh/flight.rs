//! The flights: one task for each render or fetch, from the permit to the landing.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    RefreshShared,
    landing::CallOfRender,
    observe::{Called, Flown},
};
use crate::{
    admission::{Class, FetchPermit, Permit},
    moment,
    render::{Answered, Ask, Confirmation, Offer, RenderError, RenderReason, Rendered},
    revision::Project,
    trace::TraceContext,
};

/// What a render is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct RenderAsked {
    pub(super) rollout: u64,
    /// Whether a caller asked for more than freshness.
    pub(super) is_demand: bool,
    /// Which attempt it is for callers who have waited since the first, from 1.
    pub(super) attempt: u32,
    pub(super) trace: TraceContext,
}

/// Renders a project, and lands.
pub(super) async fn render(
    shared: Arc<RefreshShared>,
    project: Project,
    RenderAsked {
        rollout,
        is_demand,
        attempt,
        trace,
    }: RenderAsked,
    permit: Permit,
) {
    let (asked, lease) = (shared.clock.now(), permit.lease());
    let held = shared.parts.cache.get(project.as_str());
    let reason = match &held {
        None => RenderReason::Missing,
        Some(_) if is_demand => RenderReason::Demanded,
        Some(_) => RenderReason::Outdated,
    };
    let span = trace.span();
    let ask = Ask {
        project: project.clone(),
        rollout,
        held: held
            .as_ref()
            .map(|held| (held.revision.order, held.revision.digest)),
        reason,
        span,
    };
    let deadline = shared.options.deadline;
    let started = Instant::now();
    let call = {
        let render = Arc::clone(&shared.parts.render);
        async move { within(deadline, render.render(permit, ask, deadline)).await }
    };
    let brought: Answered<Rendered> = uncrashed(call).await;
    let brought = brought.and_then(|rendered| {
        let held = held.as_deref().map(|held| &*held.revision);
        Ok(rendered.check(&project, held, shared.options.max_payload)?)
    });
    let class = Class::by_held(held.as_deref());
    let duration = started.elapsed();
    let call = CallOfRender {
        class,
        lease,
        asked,
        rollout,
        duration,
    };
    let result = shared.render_landed(&project, brought, call);
    let call = Called::Render {
        rollout,
        reason,
        attempt,
    };
    shared.tell_flown(&Flown {
        project: &project,
        span,
        call,
        result,
        duration,
    });
}

/// Fetches a project, and lands.
pub(super) async fn fetch(
    shared: Arc<RefreshShared>,
    project: Project,
    trace: TraceContext,
    permit: FetchPermit,
) {
    let asked = shared.clock.now();
    let deadline = shared.options.fetch_deadline;
    let started = Instant::now();
    let span = trace.span();
    let call = {
        let stored = Arc::clone(&shared.parts.stored);
        let project = project.clone();
        async move { within(deadline, stored.fetch(permit, project, span, deadline)).await }
    };
    let brought: Answered<Offer> = uncrashed(call).await;
    let brought = brought.and_then(|offer| Ok(offer.check(&project, shared.options.max_payload)?));
    let duration = started.elapsed();
    let result = shared.fetch_landed(&project, brought, asked, duration);
    shared.tell_flown(&Flown {
        project: &project,
        span,
        call: Called::Fetch,
        result,
        duration,
    });
}

/// Asks whether what is held of a project is still right, and lands.
pub(super) async fn confirm(shared: Arc<RefreshShared>, project: Project, permit: FetchPermit) {
    let asked = shared.clock.now();
    let held = shared.parts.cache.get(project.as_str());
    let held = held.filter(|held| !shared.parts.freshness.is_confirmed(held));
    let Some(held) = held else {
        // It was evicted, or is known to be right by now.
        shared.nothing_to_confirm(&project);
        return;
    };
    let deadline = shared.options.fetch_deadline;
    let started = Instant::now();
    let call = {
        let stored = Arc::clone(&shared.parts.stored);
        let known = (held.revision.order, held.revision.digest);
        let project = project.clone();
        async move { within(deadline, stored.confirm(permit, project, known, deadline)).await }
    };
    let confirmation: Answered<Confirmation> = uncrashed(call).await;
    let max_payload = shared.options.max_payload;
    let confirmation = confirmation
        .and_then(|confirmation| Ok(confirmation.check(&project, &held.revision, max_payload)?));
    shared.confirmed(&project, confirmation, asked, started.elapsed());
}

impl RefreshShared {
    /// Tells of a call whose trace its caller sampled, after those who waited for it are woken.
    fn tell_flown(&self, flown: &Flown<'_>) {
        if flown.span.context().is_sampled() {
            self.parts.observe.flown(flown);
        }
    }
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Answered<T>>) -> Answered<T> {
    moment::within(deadline, call)
        .await
        .unwrap_or_else(|| Answered::failed(RenderError::DeadlineExceeded))
}

/// Runs a call in a task of its own, so that its panic is only its failure.
async fn uncrashed<T: Send + 'static>(
    call: impl Future<Output = Answered<T>> + Send + 'static,
) -> Answered<T> {
    tokio::spawn(call)
        .await
        .unwrap_or_else(|_| Answered::failed(RenderError::Panicked))
}
