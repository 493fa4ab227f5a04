//! The renderer over real sockets, as a sidecar sees it.

use std::{collections::HashSet, fs, time::Duration};

use tokio::time::{Instant, sleep};
use tonic::{Code, Request, transport::Channel};

use super::*;
use crate::{
    proto::v1::{
        ChangesRequest, FetchRequest, HeldRevision, RenderRequest, RenderResponse,
        render_service_client::RenderServiceClient,
    },
    revision::Digest,
};

mod drains;
mod faults;

type RendererClient = RenderServiceClient<Channel>;

/// The sample input, and renders that take no time.
fn quick() -> RendererOptions {
    RendererOptions {
        cost: Cost::fixed(Duration::ZERO),
        ..RendererOptions::default()
    }
}

async fn start(options: RendererOptions) -> (RunningRenderer, RendererClient) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let running = Renderer::new(options).unwrap().serve([listener]).unwrap();
    let client = connect(&running).await;
    (running, client)
}

fn address(running: &RunningRenderer) -> SocketAddr {
    running.addresses()[0]
}

async fn connect(running: &RunningRenderer) -> RendererClient {
    RendererClient::connect(format!("http://{}", address(running)))
        .await
        .unwrap()
        .max_decoding_message_size(usize::MAX)
}

fn ask(project: &str, rollout: u64) -> RenderRequest {
    RenderRequest {
        project: project.to_owned(),
        component: "identity".to_owned(),
        rollout,
        ..RenderRequest::default()
    }
}

fn raise(running: &RunningRenderer, rollout: u64) {
    let rollout = NonZeroU64::new(rollout).unwrap();
    running.raise_rollout(rollout).unwrap();
}

fn fetch(project: &str) -> FetchRequest {
    FetchRequest {
        project: project.to_owned(),
        component: "identity".to_owned(),
        held: None,
    }
}

async fn render(client: &mut RendererClient, project: &str, rollout: u64) -> RenderResponse {
    let response = client.render(ask(project, rollout)).await;
    response.unwrap().into_inner()
}

/// Waits until the journal is like that.
async fn until(running: &RunningRenderer, is_so: impl Fn(&RenderCounts) -> bool) {
    let waited = async {
        while !is_so(&running.renders()) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = timeout(Duration::from_secs(10), waited).await;
    assert!(waited.is_ok(), "{:?}", running.renders());
}

#[tokio::test]
async fn every_project_of_the_sample_renders_to_a_configuration_of_its_own() {
    let (running, mut client) = start(RendererOptions {
        generate: 30,
        ..quick()
    })
    .await;
    let projects = running.projects();
    assert!(projects.len() >= 20 + 30, "{}", projects.len());
    let mut digests = HashSet::new();
    for rollout in [1, 2] {
        raise(&running, rollout);
        for project in &projects {
            let response = render(&mut client, project, rollout).await;
            let revision = response.revision.unwrap();
            assert_eq!((&revision.project, revision.rollout), (project, rollout));
            assert!(revision.number > 0);
            assert_eq!(revision.content_type, "application/json");
            assert_eq!(revision.digest, Digest::of(&response.payload).to_string());
            let json: serde_json::Value = serde_json::from_slice(&response.payload).unwrap();
            assert_eq!(json["project"], **project);
            assert!(digests.insert(revision.digest));
        }
    }
    assert_eq!(running.renders().rendered, 2 * projects.len() as u64);
}

#[tokio::test]
async fn equal_requests_share_one_render_and_a_kept_one_costs_nothing() {
    let (running, client) = start(RendererOptions {
        cost: Cost::fixed(Duration::from_millis(200)),
        ..quick()
    })
    .await;
    let calls = (0..20).map(|_| {
        let mut client = client.clone();
        async move { render(&mut client, "brewbird", 1).await }
    });
    let answers = join_all(calls).await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    render(&mut client.clone(), "brewbird", 1).await;

    let renders = running.renders();
    assert_eq!((renders.asked, renders.rendered), (21, 1));
    assert_eq!(renders.most_in_flight, 20);
    assert_eq!(renders.count(CallState::Rendered), 1);
    assert_eq!(renders.count(CallState::Joined), 19);
    assert_eq!(renders.count(CallState::Memoised), 1);

    raise(&running, 2);
    render(&mut client.clone(), "brewbird", 2).await;
    assert_eq!(running.renders().rendered, 2);
}

#[tokio::test]
async fn a_render_without_waiting_callers_is_broken_off() {
    let (running, client) = start(RendererOptions {
        workers: NonZeroUsize::MIN,
        cost: Cost::fixed(Duration::from_secs(600)),
        ..quick()
    })
    .await;
    let mut asking = client.clone();
    let call = tokio::spawn(async move { asking.render(ask("brewbird", 1)).await });
    until(&running, |renders| renders.in_flight == 1).await;
    call.abort();
    until(&running, |renders| renders.count(CallState::Abandoned) == 1).await;

    let mut request = Request::new(ask("brewbird", 1));
    request.set_timeout(Duration::from_millis(50));
    let status = client.clone().render(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Cancelled);
    until(&running, |renders| renders.count(CallState::Abandoned) == 2).await;
    assert_eq!(running.renders().rendered, 0);
}

#[tokio::test]
async fn a_joined_render_outlives_the_caller_that_started_it() {
    let (running, client) = start(RendererOptions {
        cost: Cost::fixed(Duration::from_millis(300)),
        ..quick()
    })
    .await;
    let mut first = client.clone();
    let first = tokio::spawn(async move { first.render(ask("brewbird", 1)).await });
    until(&running, |renders| renders.asked == 1).await;
    let mut second = client.clone();
    let second = tokio::spawn(async move { render(&mut second, "brewbird", 1).await });
    until(&running, |renders| renders.asked == 2).await;
    first.abort();
    assert!(!second.await.unwrap().payload.is_empty());
    assert_eq!(running.renders().count(CallState::Abandoned), 1);
    assert_eq!(running.renders().count(CallState::Joined), 1);
}

#[tokio::test]
async fn a_full_queue_pushes_back() {
    let (running, client) = start(RendererOptions {
        workers: NonZeroUsize::MIN,
        queue: 1,
        cost: Cost::fixed(Duration::from_secs(60)),
        ..quick()
    })
    .await;
    for (waiting, project) in ["brewbird", "trailhead"].into_iter().enumerate() {
        let mut client = client.clone();
        tokio::spawn(async move { client.render(ask(project, 1)).await });
        until(&running, |renders| renders.in_flight == waiting as u64 + 1).await;
    }
    let status = client.clone().render(ask("paperboy", 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "120000"
    );
    assert_eq!(running.renders().count(CallState::Refused), 1);
}

#[tokio::test]
async fn fetch_serves_what_was_rendered_and_never_renders() {
    let (running, mut client) = start(quick()).await;
    let status = client.fetch(fetch("brewbird")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    raise(&running, 3);
    render(&mut client, "brewbird", 3).await;
    raise(&running, 4);
    let newest = render(&mut client, "brewbird", 4).await;
    let fetched = client.fetch(fetch("brewbird")).await.unwrap().into_inner();
    assert_eq!(fetched.revision, newest.revision);
    assert_eq!(fetched.payload, newest.payload);
    let renders = running.renders();
    assert_eq!((renders.rendered, renders.fetched), (2, 2));

    let (_running, mut client) = start(RendererOptions {
        stores: false,
        ..quick()
    })
    .await;
    let status = client.fetch(fetch("brewbird")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn what_cannot_be_rendered_says_why() {
    let (_running, mut client) = start(quick()).await;
    for (project, rollout, code) in [
        ("no-such-project", 1, Code::NotFound),
        ("", 1, Code::InvalidArgument),
        ("white space", 1, Code::InvalidArgument),
        ("brewbird", 0, Code::InvalidArgument),
    ] {
        let status = client.render(ask(project, rollout)).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
}

#[tokio::test]
async fn a_payload_that_is_held_is_vouched_for() {
    let (_running, mut client) = start(quick()).await;
    let first = render(&mut client, "brewbird", 1).await;
    let mut request = ask("brewbird", 1);
    request.held = Some(HeldRevision {
        rollout: 1,
        number: 1,
        digest: first.revision.as_ref().unwrap().digest.clone(),
    });
    let second = client.render(request).await.unwrap().into_inner();
    assert!(second.not_modified && second.payload.is_empty());
    assert_eq!(second.revision, first.revision);
}

#[tokio::test]
async fn it_renders_its_own_rollout_whatever_it_is_asked_for_and_that_only_rises() {
    let (running, mut client) = start(quick()).await;
    for (raised, asked) in [(1, 1), (1, 20_261_126), (3, 1), (3, u64::MAX)] {
        raise(&running, raised);
        let response = render(&mut client, "brewbird", asked).await;
        assert_eq!(response.revision.unwrap().rollout, raised);
    }
    let lower = running.raise_rollout(NonZeroU64::new(2).unwrap());
    let (wanted, current) = (2, 3);
    assert_eq!(lower, Err(LowerRollout { wanted, current }));
    assert_eq!(running.rollout(), 3);
}

#[tokio::test]
async fn a_payload_of_more_than_sixteen_mebibytes_passes() {
    let pad = 17 * 1024 * 1024;
    let (_running, mut client) = start(RendererOptions { pad, ..quick() }).await;
    let response = render(&mut client, "brewbird", 1).await;
    assert_eq!(response.payload.len(), pad);
    serde_json::from_slice::<serde_json::Value>(&response.payload).unwrap();
}

#[tokio::test]
async fn a_changed_file_is_told_of_and_rendered_anew() {
    let folder = tempfile::tempdir().unwrap();
    let write = |project: &str, text: &str| {
        fs::write(folder.path().join(format!("{project}.yaml")), text).unwrap();
    };
    write("ada", "name: Ada\ndomain: ada.example");
    write("bob", "name: Bob\ndomain: bob.example");
    let (_running, mut client) = start(RendererOptions {
        projects: folder.path().to_owned(),
        rollout: NonZeroU64::new(7).unwrap(),
        ..quick()
    })
    .await;
    let before = render(&mut client, "ada", 7).await.revision.unwrap();
    let mut changes = client.changes(ChangesRequest::default()).await.unwrap();
    let stands = changes.get_mut().message().await.unwrap().unwrap();
    assert_eq!((&*stands.project, stands.resync), ("", false));
    assert!(stands.position.ends_with("/0"), "{stands:?}");

    write("ada", "name: Ada Bank\ndomain: ada.example");
    let change = changes.get_mut().message().await.unwrap().unwrap();
    assert_eq!((&*change.project, change.rollout), ("ada", 7));
    assert!(change.number > before.number);
    let after = render(&mut client, "ada", 7).await.revision.unwrap();
    assert_eq!(after.number, change.number);

    write("ada", "name: [broken");
    let change = changes.get_mut().message().await.unwrap().unwrap();
    assert!(change.number > after.number);
    let status = client.render(ask("ada", 7)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("ada.yaml"), "{status}");
    render(&mut client, "bob", 7).await;

    let mut late = client.changes(ChangesRequest::default()).await.unwrap();
    let stands = late.get_mut().message().await.unwrap().unwrap();
    assert_eq!(stands.project, "");
    let missed = late.get_mut().message().await.unwrap().unwrap();
    assert_eq!(missed, change);

    // One that comes back is told what it has not seen, and one with a position of another process
    // that this cannot be told.
    for (after, resync) in [
        (change.position.clone(), false),
        ("other/2".to_owned(), true),
    ] {
        let request = ChangesRequest {
            after,
            ..ChangesRequest::default()
        };
        let mut stream = client.changes(request).await.unwrap();
        let stands = stream.get_mut().message().await.unwrap().unwrap();
        assert_eq!(stands.resync, resync);
        assert_eq!(stands.position == change.position, !resync);
    }
}

#[tokio::test]
async fn what_is_held_is_confirmed_by_the_input_though_nothing_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ada.yaml");
    fs::write(&path, "name: Ada\ndomain: ada.example").unwrap();
    let options = || RendererOptions {
        projects: folder.path().to_owned(),
        ..quick()
    };
    let (running, mut client) = start(options()).await;
    let held = render(&mut client, "ada", 7).await.revision.unwrap();
    let held = HeldRevision {
        rollout: held.rollout,
        number: held.number,
        digest: held.digest,
    };
    let confirm = || FetchRequest {
        held: Some(held.clone()),
        ..fetch("ada")
    };
    let same = client.fetch(confirm()).await.unwrap().into_inner();
    assert!(same.not_modified && same.payload.is_empty());

    // Restarted: the store is empty.
    running.stop().await;
    let (running, mut client) = start(options()).await;
    let same = client.fetch(confirm()).await.unwrap().into_inner();
    assert!(same.not_modified);
    assert_eq!(
        client.fetch(fetch("ada")).await.unwrap_err().code(),
        Code::NotFound
    );
    running.stop().await;

    // Changed while it was away.
    fs::write(&path, "name: Ada Bank\ndomain: ada.example").unwrap();
    let (_running, mut client) = start(options()).await;
    let changed = client.fetch(confirm()).await.unwrap().into_inner();
    assert!(!changed.not_modified && changed.payload.is_empty());
    let number = changed.revision.unwrap().number;
    assert!(number > held.number);
    render(&mut client, "ada", 7).await;
    let newer = client.fetch(confirm()).await.unwrap().into_inner();
    assert!(!newer.not_modified && !newer.payload.is_empty());
    assert_eq!(newer.revision.unwrap().number, number);
}

#[tokio::test]
async fn a_component_whose_name_no_sidecar_can_have_is_refused() {
    let (_running, mut client) = start(quick()).await;
    let component = "x".repeat(50_000);
    let mut asked = ask("paperboy", 1);
    asked.component = component.clone();
    let refused = client.render(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut asked = fetch("paperboy");
    asked.component = component;
    let refused = client.fetch(asked).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("at most 253"), "{refused:?}");
}
