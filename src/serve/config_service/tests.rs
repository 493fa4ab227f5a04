use tokio::time::{Duration, Instant, timeout};
use tonic::{Code, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use super::*;
use crate::{
    answer::Failure,
    metrics::{Exposition, Gauges},
    proto::v1::{
        config_result, config_service_client::ConfigServiceClient, watch_config_response::Event,
    },
    revision::Order,
    serve::{
        RoleState,
        fake::{self, Scripted, fresh, nothing_held, outdated},
        health::Health,
        lookup_listeners::service,
    },
};

/// A sidecar's edge in memory, and a client of it.
struct ServiceEdge {
    script: Scripted,
    metrics: Metrics,
    role_state: RoleState,
    client: ConfigServiceClient<Channel>,
}

async fn edge(script: Scripted) -> ServiceEdge {
    let (metrics, role_state) = (Metrics::new(), fake::role_state());
    let configs = Configs::new(
        script.clone(),
        metrics.clone(),
        fake::unread(),
        role_state.closing.clone(),
    );
    let lookups = service(configs, &Health::new().await, &role_state);
    let channel = fake::connect(lookups, &role_state).await;
    ServiceEdge {
        script,
        metrics,
        role_state,
        client: ConfigServiceClient::new(channel).max_decoding_message_size(usize::MAX),
    }
}

fn asks(project: &str) -> v1::GetConfigRequest {
    v1::GetConfigRequest {
        project: project.to_owned(),
        ..Default::default()
    }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn pushback(status: &Status) -> i32 {
    let value = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    value.to_str().unwrap().parse().unwrap()
}

impl ServiceEdge {
    async fn get(
        &mut self,
        request: v1::GetConfigRequest,
    ) -> Result<v1::GetConfigResponse, Status> {
        self.client
            .get_config(request)
            .await
            .map(Response::into_inner)
    }

    async fn batch(&mut self, names: &[&str]) -> Result<Vec<config_result::Result>, Status> {
        let request = v1::BatchGetConfigsRequest {
            projects: names.iter().map(ToString::to_string).collect(),
            patience: None,
        };
        let results = self
            .client
            .batch_get_configs(request)
            .await?
            .into_inner()
            .results;
        Ok(results
            .into_iter()
            .map(|result| result.result.unwrap())
            .collect())
    }

    async fn watch(&mut self, known_digest: &str) -> Streaming<v1::WatchConfigResponse> {
        let request = v1::WatchConfigRequest {
            project: "a".to_owned(),
            known_digest: known_digest.to_owned(),
        };
        self.client
            .watch_config(request)
            .await
            .unwrap()
            .into_inner()
    }
}

async fn answer(watch: &mut Streaming<v1::WatchConfigResponse>) -> v1::GetConfigResponse {
    match watch.message().await.unwrap().unwrap().event.unwrap() {
        Event::Answer(answer) => answer,
        Event::Failure(failure) => panic!("{failure:?}"),
    }
}

async fn failure(watch: &mut Streaming<v1::WatchConfigResponse>) -> v1::Failure {
    match watch.message().await.unwrap().unwrap().event.unwrap() {
        Event::Answer(answer) => panic!("{answer:?}"),
        Event::Failure(failure) => failure,
    }
}

#[tokio::test(start_paused = true)]
async fn answers_with_revision_payload_and_reason() {
    let mut edge = edge(Scripted::new()).await;
    edge.script.answers("a", Ok(fresh("a", 7, "{}")));
    edge.script.answers("b", Ok(outdated("b", 6, "[]")));

    let response = edge.get(asks("a")).await.unwrap();
    assert_eq!(response.payload, "{}");
    let revision = response.revision.clone().unwrap();
    assert_eq!(
        (revision.project.as_str(), revision.rollout, revision.number),
        ("a", 7, 1)
    );
    assert_eq!(response.served(), v1::Served::Fresh);

    let response = edge.get(asks("b")).await.unwrap();
    assert_eq!(response.served(), v1::Served::Outdated);
    assert_eq!(response.not_refreshed(), v1::NotRefreshed::Throttled);
    assert_eq!(response.outdated_for, Some(seconds(3)));
    assert_eq!(response.retry_after, Some(seconds(2)));

    let knows = v1::GetConfigRequest {
        known_digest: revision.digest,
        ..asks("a")
    };
    let response = edge.get(knows).await.unwrap();
    assert!(response.not_modified && response.payload.is_empty() && response.revision.is_some());
}

#[tokio::test(start_paused = true)]
async fn asks_the_core_what_it_was_asked() {
    let mut edge = edge(Scripted::new()).await;
    edge.script.answers("a", Ok(fresh("a", 7, "{}")));
    let mut request = Request::new(v1::GetConfigRequest {
        patience: Some(seconds(4)),
        min_revision: Some(v1::MinRevision {
            rollout: 6,
            number: 5,
        }),
        max_outdated: Some(seconds(60)),
        ..asks("a")
    });
    request.set_timeout(Duration::from_millis(60));
    let arrives = Instant::now();
    edge.client.get_config(request).await.unwrap();
    let asked = &edge.script.asked()[0];
    assert_eq!(asked.patience, Some(Duration::from_secs(4)));
    assert_eq!(asked.deadline, Some(arrives + Duration::from_millis(60)));
    assert_eq!(asked.min_revision, Some(Order::new(6, 5)));
    assert_eq!(asked.max_outdated, Some(Duration::from_secs(60)));

    edge.get(asks("a")).await.unwrap();
    let asked = &edge.script.asked()[1];
    assert!(asked.patience.is_none() && asked.deadline.is_none());
    assert!(asked.min_revision.is_none() && asked.max_outdated.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failure_carries_its_details_over_the_wire() {
    let mut edge = edge(Scripted::new()).await;
    edge.script.answers("a", Err(nothing_held()));
    let status = edge.get(asks("a")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.message(),
        "nothing is held: not refreshed: THROTTLED"
    );
    let later = pushback(&status);
    assert!((2000..=2400).contains(&later), "{later}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "THROTTLED");
    assert!(details.retry_info().unwrap().retry_delay.unwrap() >= Duration::from_secs(2));

    let status = edge.get(asks("nowhere")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(pushback(&status), -1);

    let status = edge.get(asks("no spaces")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "INVALID_PROJECT");
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "project"
    );
    assert_eq!(edge.script.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_batch_answers_each_in_its_place() {
    let mut edge = edge(Scripted::new()).await;
    edge.script.answers("a", Ok(fresh("a", 7, "{}")));
    edge.script.answers("b", Err(nothing_held()));
    let results = edge
        .batch(&["a", "no spaces", "b", "a", "nowhere"])
        .await
        .unwrap();
    let told: Vec<_> = results
        .into_iter()
        .map(|result| match result {
            config_result::Result::Answer(answer) => {
                let project = answer.revision.unwrap().project;
                (project, Code::Ok, String::new())
            }
            config_result::Result::Failure(failure) => {
                (failure.project, failure.code.into(), failure.reason)
            }
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(project, code, reason)| (project.as_str(), *code, reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("a", Code::Ok, ""),
            ("no spaces", Code::InvalidArgument, "INVALID_PROJECT"),
            ("b", Code::ResourceExhausted, "THROTTLED"),
            ("a", Code::Ok, ""),
            ("nowhere", Code::NotFound, "PROJECT_NOT_FOUND"),
        ]
    );
    let status = edge.batch(&[]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "INVALID_REQUEST"
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_32_mib_and_the_rest_is_to_be_asked_singly() {
    let mut edge = edge(Scripted::new()).await;
    edge.script
        .answers("large", Ok(fresh("large", 1, vec![b'x'; 15 << 20])));
    edge.script.answers("small", Ok(fresh("small", 1, "{}")));
    let results = edge
        .batch(&["large", "large", "large", "small"])
        .await
        .unwrap();
    assert!(
        matches!(&results[1], config_result::Result::Answer(answer) if answer.payload.len() == 15 << 20)
    );
    let config_result::Result::Failure(refused) = &results[2] else {
        panic!("{results:?}")
    };
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (Code::ResourceExhausted as i32, "BATCH_TOO_LARGE")
    );
    assert!(refused.message.contains("ask singly"));
    assert!(matches!(&results[3], config_result::Result::Answer(_)));
    assert_eq!(
        edge.get(asks("large")).await.unwrap().payload.len(),
        15 << 20
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_every_newer_and_no_payload_twice() {
    let mut edge = edge(Scripted::new()).await;
    edge.script.publishes(Ok(fresh("a", 1, "one")));
    let mut watch = edge.watch("").await;
    let first = answer(&mut watch).await;
    assert_eq!(first.payload, "one");

    edge.script.publishes(Ok(fresh("a", 2, "one")));
    let second = answer(&mut watch).await;
    assert!(second.not_modified && second.payload.is_empty());
    assert_eq!(second.revision.unwrap().rollout, 2);

    edge.script.publishes(Ok(fresh("a", 3, "two")));
    assert_eq!(answer(&mut watch).await.payload, "two");
    edge.script.publishes(Ok(fresh("a", 4, "one")));
    assert_eq!(answer(&mut watch).await.payload, "one");

    let mut knowing = edge.watch(&first.revision.unwrap().digest).await;
    assert!(answer(&mut knowing).await.not_modified);
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_end_a_watch() {
    let mut edge = edge(Scripted::new()).await;
    edge.script.publishes(Err(nothing_held()));
    let mut watch = edge.watch("").await;
    let told = failure(&mut watch).await;
    assert_eq!(
        (told.project.as_str(), told.reason.as_str()),
        ("a", "THROTTLED")
    );

    edge.script.publishes(Ok(fresh("a", 1, "one")));
    assert_eq!(answer(&mut watch).await.payload, "one");
    edge.script.publishes(Err(nothing_held()));
    failure(&mut watch).await;
    edge.script.publishes(Ok(fresh("a", 2, "one")));
    assert!(answer(&mut watch).await.not_modified);

    let retry_after = Duration::from_secs(30);
    edge.script
        .publishes(Err(Failure::ProjectNotFound { retry_after }));
    assert_eq!(failure(&mut watch).await.reason, "PROJECT_NOT_FOUND");
    edge.script.publishes(Ok(fresh("a", 3, "one")));
    assert_eq!(
        answer(&mut watch).await.payload,
        "one",
        "after a deletion it is sent anew"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_watcher_ends_on_the_newest() {
    let mut edge = edge(Scripted::new()).await;
    let payload = |rollout: u64| [vec![b'x'; 256 << 10], rollout.to_be_bytes().to_vec()].concat();
    edge.script.publishes(Ok(fresh("a", 1, payload(1))));
    let mut watch = edge.watch("").await;
    for rollout in 2..=60 {
        edge.script
            .publishes(Ok(fresh("a", rollout, payload(rollout))));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut messages = 0;
    loop {
        messages += 1;
        if answer(&mut watch).await.revision.unwrap().rollout == 60 {
            break;
        }
    }
    assert!(
        messages < 20,
        "{messages} messages of 256 KiB were kept for a reader that did not read"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_as_draining_when_the_sidecar_closes() {
    let mut edge = edge(Scripted::new()).await;
    edge.script.publishes(Ok(fresh("a", 1, "one")));
    let mut watch = edge.watch("").await;
    answer(&mut watch).await;
    edge.role_state.closing.cancel();
    let status = watch.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "DRAINING"
    );
    timeout(
        Duration::from_secs(5),
        edge.role_state.connections.idle(Duration::ZERO),
    )
    .await
    .unwrap();
}

/// Closing would else cut off who still waits, without an answer or a reason.
#[tokio::test(start_paused = true)]
async fn waiting_callers_are_answered_when_the_sidecar_closes() {
    let mut edge = edge(Scripted::new().takes(Duration::from_secs(60))).await;
    edge.script.answers("a", Ok(outdated("a", 7, "{}")));
    edge.script.answers("b", Err(nothing_held()));
    let (mut one, mut many) = (edge.client.clone(), edge.client.clone());
    let batch = v1::BatchGetConfigsRequest {
        projects: vec!["a".to_owned()],
        patience: None,
    };
    let (lookup, batch, nothing, ()) = tokio::join!(
        one.get_config(asks("a")),
        many.batch_get_configs(batch),
        edge.client.get_config(asks("b")),
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            edge.role_state.closing.cancel();
        },
    );
    assert_eq!(lookup.unwrap().into_inner().served(), v1::Served::Outdated);
    assert_eq!(batch.unwrap().into_inner().results.len(), 1);
    assert!(pushback(&nothing.unwrap_err()) > 0);
    let idle = edge.role_state.connections.idle(Duration::ZERO);
    timeout(Duration::from_secs(5), idle).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_is_not_read() {
    let mut edge = edge(Scripted::new()).await;
    let status = edge
        .get(asks(&"x".repeat(MAX_REQUEST_BYTES)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let names = vec!["x".repeat(253); 1000];
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(edge.batch(&names).await.unwrap().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn records_each_lookup_with_the_time_from_its_headers() {
    let mut edge = edge(Scripted::new().takes(Duration::from_millis(120))).await;
    edge.script.answers("a", Ok(outdated("a", 7, "{}")));
    edge.get(asks("a")).await.unwrap();
    edge.get(asks("no spaces")).await.unwrap_err();
    edge.batch(&["a", "nowhere"]).await.unwrap();
    let page = edge.metrics.text(Gauges::default(), Exposition::Classic);
    for line in [
        r#"evenkeel_lookups_total{served="outdated",reason="THROTTLED"} 2"#,
        r#"evenkeel_lookups_total{served="failed",reason="INVALID_PROJECT"} 1"#,
        r#"evenkeel_lookups_total{served="failed",reason="PROJECT_NOT_FOUND"} 1"#,
        r#"evenkeel_lookup_duration_seconds_bucket{le="0.1",served="outdated"} 0"#,
        r#"evenkeel_lookup_duration_seconds_bucket{le="0.15",served="outdated"} 2"#,
    ] {
        assert!(page.contains(line), "no {line} in\n{page}");
    }
}
