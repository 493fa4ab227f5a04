//! The upstream against a renderer and a network that misbehave on command, mostly over streams in
//! memory in paused time.

mod apart;
mod calls;
mod changes;
mod connections;
mod faults;
mod network;
mod refreshes;
mod refusals;
mod renderer;

use std::time::Duration;

use http::Uri;
use tokio::{sync::watch, time::timeout};

use self::network::{CONNECT_TIMEOUT, Network};
use crate::{
    admission::tests::{fetch_permit, permit},
    render::{Ask, Call, Fetch as _, Offer, Render as _, RenderError, RenderReason, Rendered},
    revision::Project,
    trace::{TraceContext, TraceSpan},
    upstream::{ConnectionState, Upstream, UpstreamOptions},
};

const MAX_PAYLOAD: usize = 100_000;
const DEADLINE: Duration = Duration::from_secs(30);

fn options(url: Uri) -> UpstreamOptions {
    UpstreamOptions {
        url,
        component: "identity".to_owned(),
        connect_timeout: CONNECT_TIMEOUT,
        max_payload: MAX_PAYLOAD,
        seed: 7,
    }
}

fn start(network: &Network) -> Upstream {
    let url = Uri::from_static("http://renderer");
    Upstream::start_over(network.clone(), options(url))
}

/// Waits for a condition; longer than anything here takes, to fail rather than hang.
async fn until<T: Clone>(follow: &mut watch::Receiver<T>, is_met: impl FnMut(&T) -> bool) -> T {
    let met = timeout(Duration::from_secs(3_600), follow.wait_for(is_met)).await;
    met.expect("it never came about").unwrap().clone()
}

async fn until_up(upstream: &Upstream) -> u64 {
    until_up_since(upstream, 1).await
}

async fn until_up_since(upstream: &Upstream, least: u64) -> u64 {
    let mut connection = upstream.connection_state();
    let is_up = |connection: &ConnectionState| matches!(connection, ConnectionState::Up { generation, .. } if *generation >= least);
    let ConnectionState::Up { generation, .. } = until(&mut connection, is_up).await else {
        panic!("not up");
    };
    generation
}

async fn until_down(upstream: &Upstream) {
    let mut connection = upstream.connection_state();
    let is_down = |connection: &ConnectionState| matches!(connection, ConnectionState::Down { .. });
    until(&mut connection, is_down).await;
}

fn shop() -> Project {
    Project::new("shop").unwrap()
}

fn render_within(
    upstream: &Upstream,
    deadline: Duration,
) -> impl Future<Output = Result<Rendered, RenderError>> + Send + use<> {
    let ask = Ask {
        project: shop(),
        rollout: 1,
        held: None,
        reason: RenderReason::Missing,
        span: TraceContext::fresh().span(),
    };
    let call = upstream.render(permit(), ask, deadline);
    async move { call.await.result }
}

fn render(
    upstream: &Upstream,
) -> impl Future<Output = Result<Rendered, RenderError>> + Send + use<> {
    render_within(upstream, DEADLINE)
}

fn fetch(upstream: &Upstream) -> impl Future<Output = Result<Offer, RenderError>> + Send + use<> {
    let call = fetch_answered(upstream);
    async move { call.await.result }
}

fn fetch_answered(upstream: &Upstream) -> Call<Offer> {
    upstream.fetch(
        fetch_permit(),
        shop(),
        TraceContext::fresh().span(),
        DEADLINE,
    )
}

/// Lets a render run into its deadline, as a flight does.
async fn time_out(upstream: &Upstream, deadline: Duration) {
    let render = render_within(upstream, deadline);
    assert!(timeout(deadline, render).await.is_err());
}
