use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tower::service_fn;

use super::*;
use crate::{
    metrics::Metrics,
    proto::v1::{GetConfigRequest, config_service_client::ConfigServiceClient},
    serve::{
        Connections, accept,
        fake::{self, Scripted, fresh},
        health::DEGRADED,
        listener::{Access, ListenAddress},
    },
};

/// A sidecar's lookup threads on real sockets.
struct LookupSidecar {
    threads: Threads,
    connections: Connections,
    closing: CancellationToken,
}

async fn sidecar(script: &Scripted, listeners: Vec<Listener>) -> LookupSidecar {
    sidecar_on(fake::role_state(), script, listeners).await
}

async fn sidecar_on(
    role_state: RoleState,
    script: &Scripted,
    listeners: Vec<Listener>,
) -> LookupSidecar {
    let health = Health::new().await;
    let configs = Configs::new(
        script.clone(),
        Metrics::new(),
        fake::unread(),
        role_state.closing.clone(),
    );
    let lookups = service(configs, &health, &role_state);
    let two = NonZeroUsize::new(2).unwrap();
    LookupSidecar {
        threads: start(two, &listeners, || lookups.clone(), &role_state).unwrap(),
        connections: role_state.connections,
        closing: role_state.closing,
    }
}

fn loopback() -> (Listener, SocketAddr) {
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&any, Access::Everyone).unwrap();
    let ListenAddress::Tcp(address) = *listener.address() else {
        panic!("{listener:?}")
    };
    (listener, address)
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

fn asks() -> GetConfigRequest {
    GetConfigRequest {
        project: "a".to_owned(),
        ..Default::default()
    }
}

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn serves_tcp_and_unix_sockets_and_counts_who_is_connected() {
    let script = Scripted::new();
    script.answers("a", Ok(fresh("a", 1, vec![b'x'; 15 << 20])));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lookup.sock");
    let unix = Listener::bind(&ListenAddress::Unix(path.clone()), Access::Everyone).unwrap();
    let (tcp, address) = loopback();
    let sidecar = sidecar(&script, vec![tcp, unix]).await;

    let over_tcp = endpoint(address).connect().await.unwrap();
    let connector = {
        let path = path.clone();
        service_fn(move |_| {
            let path = path.clone();
            async { UnixStream::connect(path).await.map(TokioIo::new) }
        })
    };
    let unused = Endpoint::from_static("http://unused");
    let over_unix = unused.connect_with_connector(connector).await.unwrap();
    for channel in [&over_tcp, &over_unix] {
        let client = ConfigServiceClient::new(channel.clone());
        let mut client = client.max_decoding_message_size(usize::MAX);
        let response = client.get_config(asks()).await.unwrap();
        assert_eq!(response.into_inner().payload.len(), 15 << 20);
    }
    assert_eq!(sidecar.connections.open(), 2);
    drop((over_tcp, over_unix));
    timeout(SOON, sidecar.connections.idle(Duration::ZERO))
        .await
        .unwrap();
    sidecar.closing.cancel();
    timeout(SOON, sidecar.threads.ended())
        .await
        .unwrap()
        .unwrap();
    assert!(!path.exists());
}

/// h2 answers more than 20 calls that are reset before they were accepted with GOAWAY, unless told
/// otherwise.
#[tokio::test]
async fn applications_that_cancel_by_the_hundred_keep_their_connection() {
    let script = Scripted::new().takes(Duration::from_millis(50));
    script.answers("a", Ok(fresh("a", 1, "{}")));
    let (tcp, address) = loopback();
    let _sidecar = sidecar(&script, vec![tcp]).await;
    let connects = Arc::new(AtomicUsize::new(0));
    let connector = {
        let connects = Arc::clone(&connects);
        service_fn(move |_| {
            connects.fetch_add(1, Ordering::Relaxed);
            async move { TcpStream::connect(address).await.map(TokioIo::new) }
        })
    };
    let channel = endpoint(address)
        .connect_with_connector(connector)
        .await
        .unwrap();
    let client = ConfigServiceClient::new(channel);
    for round in 0..10 {
        let lookups = (0..200).map(|lookup| {
            let mut client = client.clone();
            // From calls that are given up before they are sent to calls that are given up while
            // they are answered.
            let patience = Duration::from_millis((round + lookup) % 13);
            async move { timeout(patience, client.get_config(asks())).await }
        });
        join_all(lookups).await;
    }
    let mut client = client.clone();
    timeout(SOON, client.get_config(asks()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(connects.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_caller_that_does_not_read_cannot_keep_the_sidecar_open() {
    let script = Scripted::new();
    let (tcp, address) = loopback();
    let sidecar = sidecar(&script, vec![tcp]).await;
    let mut mute = TcpStream::connect(address).await.unwrap();
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    mute.read_u8().await.unwrap();
    assert_eq!(sidecar.connections.open(), 1);

    let began = Instant::now();
    sidecar.closing.cancel();
    timeout(SOON, sidecar.threads.ended())
        .await
        .unwrap()
        .unwrap();
    assert!(began.elapsed() >= accept::CLOSE_WITHIN);
    assert_eq!(sidecar.connections.open(), 0);
}

#[tokio::test]
async fn a_lookup_under_way_is_answered_while_the_sidecar_closes() {
    let script = Scripted::new().takes(Duration::from_millis(300));
    script.answers("a", Ok(fresh("a", 1, "{}")));
    let (tcp, address) = loopback();
    let sidecar = sidecar(&script, vec![tcp]).await;
    let mut client = ConfigServiceClient::connect(format!("http://{address}"))
        .await
        .unwrap();
    let looking = tokio::spawn(async move { client.get_config(asks()).await });
    while script.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    sidecar.closing.cancel();
    looking.await.unwrap().unwrap();
    timeout(SOON, sidecar.threads.ended())
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// A connection whose seat is needed is told to go away, and its client asks again over another.
#[tokio::test]
async fn where_all_seats_are_taken_the_new_connection_is_served() {
    let script = Scripted::new();
    script.answers("a", Ok(fresh("a", 1, "{}")));
    let (tcp, address) = loopback();
    let two = NonZeroUsize::new(2).unwrap();
    let role_state = RoleState {
        connections: Connections::at_most(two),
        ..fake::role_state()
    };
    let sidecar = sidecar_on(role_state, &script, vec![tcp]).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let channel = endpoint(address).connect().await.unwrap();
        clients.push(ConfigServiceClient::new(channel));
        for client in &mut clients {
            // Which connection had to leave may show only when it is used.
            let mut asked = client.get_config(asks()).await;
            if asked.is_err() {
                asked = client.get_config(asks()).await;
            }
            asked.unwrap();
        }
    }
    while sidecar.connections.open() > 2 {
        tokio::task::yield_now().await;
    }
}

async fn in_memory() -> (Channel, Health, CancellationToken) {
    let (health, role_state) = (Health::new().await, fake::role_state());
    let configs = Configs::new(
        Scripted::new(),
        Metrics::new(),
        fake::unread(),
        role_state.closing.clone(),
    );
    let lookups = service(configs, &health, &role_state);
    let channel = fake::connect(lookups, &role_state).await;
    (channel, health, role_state.closing)
}

async fn check(channel: &Channel, service: &str) -> ServingStatus {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let response = HealthClient::new(channel.clone()).check(request).await;
    response.unwrap().into_inner().status()
}

#[tokio::test(start_paused = true)]
async fn health_tells_ready_and_degraded_apart() {
    let (channel, health, _closing) = in_memory().await;
    for (ready, degraded) in [(false, false), (true, false), (true, true), (false, true)] {
        health.set_ready(ready).await;
        health.set_degraded(degraded).await;
        let serving = |is| {
            if is {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            }
        };
        assert_eq!(check(&channel, "").await, serving(ready));
        assert_eq!(check(&channel, SERVICE_NAME).await, serving(ready));
        assert_eq!(check(&channel, DEGRADED).await, serving(!degraded));
    }
    let unknown = HealthCheckRequest {
        service: "unknown".to_owned(),
    };
    let status = HealthClient::new(channel).check(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_health_sees_changes_and_ends_when_closed() {
    let (channel, health, _closing) = in_memory().await;
    let request = HealthCheckRequest::default();
    let watch = HealthClient::new(channel).watch(request).await.unwrap();
    let mut watch = watch.into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    health.set_ready(true).await;
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    health.close().await;
    assert_eq!(watch.message().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn reflection_lists_what_the_listener_serves() {
    let (channel, _health, _closing) = in_memory().await;
    let ask = |message_request| {
        let asked = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let mut client = ServerReflectionClient::new(channel.clone());
        async move {
            let asked = futures_util::stream::iter([asked]);
            let answers = client.server_reflection_info(Request::new(asked)).await;
            let answer = answers.unwrap().into_inner().next().await;
            answer.unwrap().unwrap().message_response.unwrap()
        }
    };
    let MessageResponse::ListServicesResponse(list) =
        ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list")
    };
    let names: Vec<_> = list
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert!(names.contains(&"evenkeel.v1.ConfigService"), "{names:?}");
    assert!(names.contains(&"grpc.health.v1.Health"), "{names:?}");
    assert!(!names.contains(&"evenkeel.v1.RenderService"), "{names:?}");

    let symbol = "evenkeel.v1.GetConfigResponse".to_owned();
    let answer = ask(MessageRequest::FileContainingSymbol(symbol)).await;
    assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)));
}
