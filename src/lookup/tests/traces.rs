//! Which trace the calls to a renderer belong to.

use super::*;
use crate::{
    refresh::{Called, RenderResult},
    trace::TraceContext,
};

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

impl LookupCore {
    async fn looks_up_within(&self, project: &Project, trace: Option<TraceContext>) {
        let _answer = self
            .lookup
            .get(Query {
                patience: Some(secs(1)),
                trace,
                ..query(project)
            })
            .await;
        // What is held is answered with at once, and the flight that this causes goes on.
        sleep(secs(1)).await;
    }

    fn render_traces(&self) -> Vec<TraceContext> {
        let renders = self.renderer.renders();
        renders.iter().map(|ask| ask.span.context()).collect()
    }
}

fn traces<const N: usize>() -> [TraceContext; N] {
    [(); N].map(|()| TraceContext::fresh())
}

/// Guards against spans of the renderer that have no parent: a sidecar whose calls are unrelated
/// traces cuts each trace in two.
#[tokio::test(start_paused = true)]
async fn the_fetch_and_the_render_of_a_missing_project_belong_to_the_lookup_that_caused_them() {
    let core = LookupCore::new().await;
    let [caused, joined] = traces();
    let shop = project("shop");
    core.renderer.costs(millis(100));
    tokio::join!(
        core.looks_up_within(&shop, Some(caused)),
        core.looks_up_within(&shop, Some(joined)),
    );
    assert_eq!(core.renderer.fetch_traces(), [caused]);
    assert_eq!(core.render_traces(), [caused]);
}

#[tokio::test(start_paused = true)]
async fn each_release_belongs_to_the_first_lookup_after_it() {
    let core = LookupCore::new().await;
    core.renderer.offers_no_fetch();
    let shop = project("shop");
    let [first, second, late] = traces();
    core.looks_up_within(&shop, Some(first)).await;
    // Fresh: it causes nothing.
    core.looks_up_within(&shop, Some(late)).await;
    core.refresh.set_target(2);
    core.looks_up_within(&shop, Some(second)).await;
    assert_eq!(core.render_traces(), [first, second]);
}

#[tokio::test(start_paused = true)]
async fn what_no_traced_lookup_caused_is_a_new_trace_each_time_and_not_sampled() {
    let core = LookupCore::new().await;
    core.renderer.offers_no_fetch();
    for project in projects(2) {
        core.looks_up_within(&project, None).await;
    }
    let traces = core.render_traces();
    assert_eq!(traces.len(), 2);
    assert_ne!(traces[0], traces[1]);
    assert!(!traces[0].is_sampled());
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_is_over_lends_its_trace_to_no_later_one() {
    let core = LookupCore::new().await;
    core.renderer.offers_no_fetch();
    let shop = project("shop");
    let [first] = traces();
    core.looks_up_within(&shop, Some(first)).await;
    core.refresh.set_target(2);
    core.looks_up_within(&shop, None).await;
    let traces = core.render_traces();
    assert_eq!(traces.len(), 2);
    assert_ne!(traces[1], first);
}

#[tokio::test(start_paused = true)]
async fn the_projects_of_a_batch_belong_to_its_trace() {
    let core = LookupCore::new().await;
    core.renderer.offers_no_fetch();
    let [batch] = traces();
    let patience = Some(secs(1));
    core.lookup
        .get_many(&projects(3), patience, None, Some(batch))
        .await;
    assert_eq!(core.render_traces(), [batch; 3]);
}

/// Guards against an exporter that gets what no caller sampled, or spans that the renderer's own
/// have not as their parent.
#[tokio::test(start_paused = true)]
async fn flights_of_a_sampled_trace_are_told_with_the_span_that_the_renderer_knows() {
    let core = LookupCore::new().await;
    let sampled = TraceContext::parse(SAMPLED).unwrap();
    let shop = project("shop");
    core.renderer.costs(millis(100));
    core.looks_up_within(&shop, Some(sampled)).await;
    core.looks_up_within(&project("other"), Some(TraceContext::fresh()))
        .await;
    core.looks_up_within(&project("third"), None).await;

    let seen = core.seen.0.lock().unwrap().clone();
    let [fetch, render] = seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (fetch.1, fetch.2),
        (Called::Fetch, RenderResult::NotFound),
        "nothing is stored"
    );
    let call = Called::Render {
        rollout: 1,
        reason: RenderReason::Missing,
        attempt: 1,
    };
    assert_eq!((render.1, render.2), (call, RenderResult::Stored));
    assert!(
        (millis(100)..millis(110)).contains(&render.3),
        "it took {:?}",
        render.3
    );
    assert_eq!(render.0, core.renderer.renders()[0].span);
    assert_ne!(render.0.id(), fetch.0.id());
    for span in [fetch.0, render.0] {
        assert_eq!(span.context(), sampled, "its parent is the caller's span");
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_of_a_sampled_flight_is_told_with_its_number() {
    let core = LookupCore::new().await;
    core.renderer.offers_no_fetch();
    core.renderer.behaves(Behaviour::Fails(unavailable()));
    let shop = project("shop");
    let waiting = Query {
        patience: Some(secs(20)),
        trace: TraceContext::parse(SAMPLED),
        ..query(&shop)
    };
    core.lookup.get(waiting).await.unwrap_err();
    let seen = core.seen.0.lock().unwrap().clone();
    let attempts: Vec<_> = seen
        .iter()
        .filter_map(|(_, call, result, _)| match call {
            Called::Render { attempt, .. } => Some((*attempt, *result)),
            Called::Fetch => None,
        })
        .collect();
    let expected = [1, 2].map(|attempt| (attempt, RenderResult::Unavailable));
    assert_eq!(attempts, expected);
}
