use std::pin::pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::Request;
use tokio::{io::duplex, task::JoinHandle, time::timeout};

use super::*;
use crate::{
    metrics::Metrics,
    proto::v1,
    serve::{
        Configs, Lookups, RoleState,
        fake::{self, Scripted, fresh},
        gathered::{Gathered, GatheringRoom},
        grpc_listener,
        lookup_listeners::service,
    },
};

const MIB: usize = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

fn revision(project: &str, bytes: usize) -> Arc<Revision> {
    fresh(project, 1, vec![b'x'; bytes]).revision
}

fn pin(stream: &Stream, revisions: &[&Arc<Revision>]) -> Option<Vec<Pin>> {
    stream.pin(0, revisions.iter().map(|revision| &***revision))
}

#[tokio::test]
async fn a_payload_counts_once_however_many_pin_it() {
    let unread = Unread::at_most(2 * MIB);
    let (one, other) = (revision("a", MIB), revision("b", MIB));
    let pins: Vec<_> = (0..1000)
        .map(|_| pin(&unread.open(None), &[&one, &one]).unwrap())
        .collect();
    assert_eq!(unread.bytes(), MIB + BESIDE);
    assert!(pin(&unread.open(None), &[&other]).is_none());
    drop(pins);
    assert_eq!(unread.bytes(), 0);
    assert!(pin(&unread.open(None), &[&other]).is_some());
}

#[tokio::test]
async fn a_single_answer_always_fits() {
    let unread = Unread::at_most(1);
    let stream = unread.open(None);
    let pins = stream.pin(100, [&*revision("a", MIB)].into_iter()).unwrap();
    assert_eq!((pins.len(), unread.bytes()), (2, MIB + BESIDE + 100));
    assert!(pin(&unread.open(None), &[&revision("b", 1)]).is_none());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_get_room_in_order_and_none_overtakes_them() {
    let unread = Unread::at_most(2 * MIB);
    let held = pin(&unread.open(None), &[&revision("a", MIB)]).unwrap();
    let large = unread.open(None);
    let mut waits = pin!(async {
        let mut turn = large.turn().await;
        let large = revision("b", 2 * MIB - BESIDE);
        loop {
            if let Some(pins) = turn.pin(0, [&*large].into_iter()) {
                return pins;
            }
            turn.wait_for_room().await;
        }
    });
    assert!(timeout(SECOND, waits.as_mut()).await.is_err());
    let small = revision("c", 1000);
    assert!(pin(&unread.open(None), &[&small]).is_none(), "it overtakes");
    drop(held);
    let pins = timeout(SECOND, waits).await.unwrap();
    assert_eq!(unread.bytes(), 2 * MIB);
    drop(pins);
    assert!(pin(&unread.open(None), &[&small]).is_some());
}

/// A sidecar's edge in memory with room for this many unread bytes. It holds `a` to `d`, of 1 MiB
/// each.
struct UnreadEdge {
    role_state: RoleState,
    lookups: Lookups<Scripted>,
    unread: Unread,
}

impl UnreadEdge {
    async fn new(most: usize) -> Self {
        let script = Scripted::new();
        for project in ["a", "b", "c", "d"] {
            script.answers(project, Ok(fresh(project, 1, vec![b'x'; MIB])));
        }
        script.publishes(Ok(fresh("a", 1, vec![b'x'; MIB])));
        let (role_state, unread) = (fake::role_state(), Unread::at_most(most));
        let closing = role_state.closing.clone();
        let configs = Configs::new(script, Metrics::new(), unread.clone(), closing);
        let health = crate::serve::health::Health::new().await;
        let lookups = service(configs, &health, &role_state);
        Self {
            role_state,
            lookups,
            unread,
        }
    }

    /// Connects a caller with these windows, whose connection runs until it is aborted.
    async fn connect(&self, window: u32) -> (SendRequest<Bytes>, JoinHandle<()>) {
        let (ours, theirs) = duplex(64 * 1024);
        let seat = self.role_state.connections.enter(&self.role_state.closing);
        tokio::spawn(grpc_listener::serve_connection(
            Gathered::new(theirs, GatheringRoom::default()),
            self.lookups.clone(),
            seat,
            self.role_state.max_streams,
        ));
        let (client, connection) = Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(window)
            .handshake(ours)
            .await
            .unwrap();
        (client, tokio::spawn(async { drop(connection.await) }))
    }
}

/// Makes a call, and returns its answer once it has begun.
async fn call(
    client: &SendRequest<Bytes>,
    method: &str,
    request: &impl prost::Message,
    deadline: &str,
) -> Result<RecvStream, h2::Error> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(request.encoded_len() as u32);
    request.encode(&mut framed).unwrap();
    let call = Request::post(format!(
        "http://in.memory/evenkeel.v1.ConfigService/{method}"
    ))
    .header("content-type", "application/grpc")
    .header("grpc-timeout", deadline)
    .body(())
    .unwrap();
    let (response, mut body) = client.clone().ready().await?.send_request(call, false)?;
    body.send_data(framed.freeze(), true)?;
    Ok(response.await?.into_body())
}

async fn batch(client: &SendRequest<Bytes>, projects: &[&str]) -> Result<RecvStream, h2::Error> {
    let projects = projects.iter().map(ToString::to_string).collect();
    let request = v1::BatchGetConfigsRequest {
        projects,
        patience: None,
    };
    call(client, "BatchGetConfigs", &request, "1H").await
}

async fn watch(client: &SendRequest<Bytes>, deadline: &str) -> Result<RecvStream, h2::Error> {
    let request = v1::WatchConfigRequest {
        project: "a".to_owned(),
        ..Default::default()
    };
    call(client, "WatchConfig", &request, deadline).await
}

/// Reads on, a piece every `pause`, and returns how many bytes came.
async fn read(mut body: RecvStream, pause: Duration) -> Result<usize, h2::Error> {
    let mut read = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        sleep(pause).await;
        body.flow_control().release_capacity(data.len())?;
        read += data.len();
    }
    assert_eq!(body.trailers().await?.unwrap()["grpc-status"], "0");
    Ok(read)
}

/// Waits for a stream that its caller does not read to end, and returns how long that took.
async fn is_reset(mut body: RecvStream) -> Duration {
    let began = Instant::now();
    while let Some(data) = body.data().await {
        if data.is_err() {
            break;
        }
    }
    began.elapsed()
}

const NARROW: u32 = 65_535;
const WIDE: u32 = 1 << 30;

#[tokio::test(start_paused = true)]
async fn an_unread_batch_ends_after_30_s_but_only_when_another_waits() {
    let edge = UnreadEdge::new(MIB + MIB / 2).await;
    let (stuck, _running) = edge.connect(NARROW).await;
    let unread = batch(&stuck, &["a"]).await.unwrap();
    sleep(1000 * SECOND).await;
    assert_eq!(edge.unread.ended(), 0, "no stream waits");
    let (reads, _running) = edge.connect(WIDE).await;
    let began = Instant::now();
    let body = batch(&reads, &["b"]).await.unwrap();
    assert!(read(body, Duration::ZERO).await.unwrap() > MIB);
    assert!(
        began.elapsed() < SECOND,
        "its caller had read nothing for long"
    );
    assert_eq!(edge.unread.ended(), 1);
    assert!(is_reset(unread).await < SECOND);
    let body = batch(&stuck, &["c"]).await.unwrap();
    drop(body);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_30_s_for_one_that_has_just_stopped_reading() {
    let edge = UnreadEdge::new(MIB + MIB / 2).await;
    let (stuck, _running) = edge.connect(NARROW).await;
    let _unread = batch(&stuck, &["a"]).await.unwrap();
    let (reads, _running) = edge.connect(WIDE).await;
    let began = Instant::now();
    let body = batch(&reads, &["b"]).await.unwrap();
    assert!(read(body, Duration::ZERO).await.unwrap() > MIB);
    let waited = began.elapsed();
    assert!(
        (PATIENT..PATIENT + 2 * SECOND).contains(&waited),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_reads_slowly_is_never_ended() {
    let edge = UnreadEdge::new(MIB + MIB / 2).await;
    let (slow, _running) = edge.connect(NARROW).await;
    let body = batch(&slow, &["a"]).await.unwrap();
    let slowly = tokio::spawn(read(body, 20 * SECOND));
    let (waits, _running) = edge.connect(WIDE).await;
    let body = batch(&waits, &["b"]).await.unwrap();
    assert!(read(body, Duration::ZERO).await.unwrap() > MIB);
    assert_eq!(edge.unread.ended(), 0);
    assert!(slowly.await.unwrap().unwrap() > MIB);
}

/// The bytes that are gathered for its socket leave no trace in the stream.
#[tokio::test(start_paused = true)]
async fn a_caller_whose_socket_takes_nothing_loses_its_connection() {
    let edge = UnreadEdge::new(MIB + MIB / 2).await;
    let (stuck, running) = edge.connect(WIDE).await;
    let begun = batch(&stuck, &["a", "b", "c", "d"]).await;
    // From now on it reads no byte of its socket, which stays open.
    running.abort();
    let begun = begun.unwrap();
    let (waits, _running) = edge.connect(WIDE).await;
    let body = timeout(60 * SECOND, batch(&waits, &["a", "b", "c"]))
        .await
        .expect("it is not waited for")
        .unwrap();
    assert!(read(body, Duration::ZERO).await.unwrap() > 3 * MIB);
    drop(begun);
}

#[tokio::test(start_paused = true)]
async fn the_largest_ends_first() {
    let edge = UnreadEdge::new(4 * MIB).await;
    let (small, _running) = edge.connect(NARROW).await;
    let small = batch(&small, &["a"]).await.unwrap();
    let (large, _running) = edge.connect(NARROW).await;
    let large = batch(&large, &["b", "c"]).await.unwrap();
    let (waits, _running) = edge.connect(WIDE).await;
    let body = batch(&waits, &["d", "a"]).await.unwrap();
    assert!(read(body, Duration::ZERO).await.unwrap() > 2 * MIB);
    assert_eq!(edge.unread.ended(), 1);
    assert!(is_reset(large).await < SECOND);
    assert!(timeout(1000 * SECOND, is_reset(small)).await.is_err());
}

/// It lived on until its client read.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_not_read_ends_at_its_deadline() {
    let edge = UnreadEdge::new(4 * MIB).await;
    let (client, _running) = edge.connect(NARROW).await;
    let began = Instant::now();
    let unread = watch(&client, "3S").await.unwrap();
    is_reset(unread).await;
    let took = began.elapsed();
    assert!((3 * SECOND..4 * SECOND).contains(&took), "{took:?}");
    assert_eq!(edge.unread.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_read_ends_at_its_deadline_with_a_status() {
    let edge = UnreadEdge::new(4 * MIB).await;
    let (client, _running) = edge.connect(WIDE).await;
    let mut body = watch(&client, "3S").await.unwrap();
    while let Some(data) = body.data().await {
        data.unwrap();
    }
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_waits_for_room_brings_the_newest() {
    let edge = UnreadEdge::new(MIB + MIB / 2).await;
    let (slow, _running) = edge.connect(NARROW).await;
    let unread = batch(&slow, &["b"]).await.unwrap();
    let (client, _running) = edge.connect(WIDE).await;
    let mut body = watch(&client, "1H").await.unwrap();
    assert!(timeout(SECOND, body.data()).await.is_err(), "there is room");
    assert_eq!(edge.unread.bytes() / MIB, 1, "what waits pins nothing");
    drop(unread);
    let first = timeout(SECOND, body.data())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(!first.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_waits_for_room_is_refused_at_its_deadline() {
    let edge = UnreadEdge::new(MIB + MIB / 2).await;
    let (slow, _running) = edge.connect(NARROW).await;
    let _unread = batch(&slow, &["b"]).await.unwrap();
    let (client, _running) = edge.connect(WIDE).await;
    let request = v1::BatchGetConfigsRequest {
        projects: vec!["a".to_owned()],
        patience: None,
    };
    let began = Instant::now();
    let _body = call(&client, "BatchGetConfigs", &request, "3S")
        .await
        .unwrap();
    let took = began.elapsed();
    assert!((3 * SECOND..4 * SECOND).contains(&took), "{took:?}");
}
