//! The hand-written way answers every request as tonic's server and the generated code do, however
//! it is made and cut.

use std::{future::Future, io, time::Duration};

use bytes::{BufMut as _, BytesMut};
use h2::client::SendRequest;
use http::HeaderMap;
use proptest::prelude::*;
use tokio::{
    io::{DuplexStream, duplex},
    runtime::{self, Runtime},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, codec::CompressionEncoding, transport::Server};

use super::*;
use crate::{
    metrics::Metrics,
    proto::v1::config_service_server::{ConfigService, ConfigServiceServer},
    serve::{
        fake::{self, Scripted, fresh, outdated},
        gathered::{Gathered, GatheringRoom},
        grpc_listener::serve_connection,
        request,
    },
};

const SOON: Duration = Duration::from_secs(10);

/// A request as its parts on the wire.
#[derive(Clone, Debug)]
struct Made {
    method: Method,
    headers: Vec<Header>,
    /// The pieces of its body, each sent as a frame.
    pieces: Vec<Vec<u8>>,
    ending: StreamEnding,
}

type Header = (&'static str, &'static str);

/// What ends a request's stream.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StreamEnding {
    LastPiece,
    EmptyPiece,
    Trailers,
}

impl Made {
    /// A usual request.
    fn usual(request: &v1::GetConfigRequest) -> Self {
        let message = request.encode_to_vec();
        Self {
            method: Method::POST,
            headers: vec![("content-type", "application/grpc")],
            pieces: vec![framed(0, message.len() as u32, &message)],
            ending: StreamEnding::LastPiece,
        }
    }
}

/// A frame of gRPC.
fn framed(flag: u8, length: u32, message: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(length);
    frame.put_slice(message);
    frame.to_vec()
}

/// What the project `held` is answered.
fn held() -> Answer {
    fresh("held", 3, "payload")
}

/// What the project `old` is answered.
fn old() -> Answer {
    outdated("old", 2, vec![b'x'; 100_000])
}

/// Digests of what is held, as they are and in capitals, which are no digests.
fn digests() -> impl Strategy<Value = String> {
    let digests = [held(), old()].map(|answer| answer.revision.digest.to_string());
    (prop::sample::select(digests.to_vec()), any::<bool>()).prop_map(|(digest, is_capital)| {
        if is_capital {
            digest.to_uppercase()
        } else {
            digest
        }
    })
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["held", "old", "gone", ""]).prop_map(str::to_owned),
        1 => "[a-z/]{100,300}",
        1 => ".{0,20}",
    ]
}

fn durations() -> impl Strategy<Value = prost_types::Duration> {
    let seconds = prop_oneof![0_i64..3, any::<i64>()];
    let nanos = prop_oneof![0_i32..1_000_000_000, any::<i32>()];
    (seconds, nanos).prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos })
}

/// A message that the contract knows.
fn known() -> impl Strategy<Value = Vec<u8>> {
    (
        texts(),
        prop::option::weighted(0.4, prop_oneof![texts(), digests()]),
        prop::option::weighted(0.2, durations()),
        prop::option::weighted(0.1, any::<(u64, u64)>()),
        prop::option::weighted(0.1, durations()),
    )
        .prop_map(|(project, known, patience, min, max_outdated)| {
            let request = v1::GetConfigRequest {
                project,
                known_digest: known.unwrap_or_default(),
                patience,
                min_revision: min.map(|(rollout, number)| v1::MinRevision { rollout, number }),
                max_outdated,
            };
            request.encode_to_vec()
        })
}

/// Fields in any order, repeated, unknown or of the wrong type.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    let field = (0_u8..8, 0_u8..8, texts(), any::<u8>()).prop_map(|(number, kind, text, byte)| {
        let mut field = vec![number << 3 | kind];
        match kind {
            0 => field.extend([byte & 0x7f]),
            1 => field.extend([byte; 8]),
            2 => {
                prost::encoding::encode_varint(text.len() as u64, &mut field);
                field.extend(text.as_bytes());
            }
            5 => field.extend([byte; 4]),
            _ => field.extend(text.as_bytes()),
        }
        field
    });
    prop::collection::vec(field, 0..4).prop_map(|fields| fields.concat())
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let written = prop_oneof![4 => known(), 1 => unknown(), 1 => (known(), unknown()).prop_map(|(a, b)| [a, b].concat())];
    let spoiled = prop::option::weighted(
        0.2,
        (any::<prop::sample::Index>(), any::<u8>(), any::<bool>()),
    );
    (written, spoiled).prop_map(|(mut message, spoiled)| {
        if let Some((at, byte, cuts)) = spoiled
            && !message.is_empty()
        {
            let at = at.index(message.len());
            message[at] = byte;
            if cuts {
                message.truncate(at);
            }
        }
        message
    })
}

/// One or more frames of gRPC, well made or not.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let flag = prop_oneof![12 => Just(0_u8), 1 => Just(1), 1 => any::<u8>()];
    let off = prop_oneof![12 => Just(0_i64), 1 => -3_i64..4, 1 => Just(2_000_000)];
    let frame = (flag, off, messages()).prop_map(|(flag, off, message)| {
        let length = (message.len() as i64 + off).max(0) as u32;
        framed(flag, length, &message)
    });
    let frame = frame.boxed();
    let count = prop_oneof![12 => Just(1_usize), 1 => Just(0), 1 => Just(2)];
    let frames = count.prop_flat_map(move |count| prop::collection::vec(frame.clone(), count));
    let trailing =
        prop_oneof![12 => Just(Vec::new()), 1 => prop::collection::vec(any::<u8>(), 1..8)];
    (frames, trailing).prop_map(|(frames, trailing)| [frames.concat(), trailing].concat())
}

/// A header that some requests have.
fn header(
    name: &'static str,
    of: f64,
    values: &[&'static str],
) -> impl Strategy<Value = Option<Header>> + use<> {
    let header = prop::sample::select(values.to_vec()).prop_map(move |value| (name, value));
    prop::option::weighted(of, header)
}

fn headers() -> impl Strategy<Value = Vec<Header>> {
    let usual = ["application/grpc"; 12];
    let usable = ["application/grpc+proto"; 4];
    let others = ["application/grpc+json", "text/plain"];
    let content_types = [usual.as_slice(), &usable, &others].concat();
    let encodings = ["identity", "gzip", "none such"];
    let accepted = ["identity", "gzip", "gzip,identity", "none such", ""];
    // Ample or malformed, since the two ways end a call that is late in different places.
    let timeouts = [
        "10S",
        "1H",
        "60000m",
        "99999999H",
        "+10S",
        "10",
        "S",
        "1.5S",
        "-1S",
        "100000000S",
        "10s",
        "",
    ];
    (
        header("content-type", 0.95, &content_types),
        header("grpc-encoding", 0.15, &encodings),
        header("grpc-accept-encoding", 0.3, &accepted),
        header("grpc-timeout", 0.3, &timeouts),
    )
        .prop_map(|(kind, encoding, accepted, timeout)| {
            let headers = [kind, encoding, accepted, timeout];
            headers.into_iter().flatten().collect()
        })
}

fn requests() -> impl Strategy<Value = Made> {
    let method =
        prop_oneof![20 => Just(Method::POST), 1 => Just(Method::GET), 1 => Just(Method::PUT)];
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..3);
    let cuts = prop_oneof![3 => Just(Vec::new()), 1 => cuts];
    let ending = prop_oneof![
        3 => Just(StreamEnding::LastPiece), 3 => Just(StreamEnding::EmptyPiece), 1 => Just(StreamEnding::Trailers)
    ];
    (method, headers(), bodies(), cuts, ending).prop_map(|(method, headers, body, cuts, ending)| {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|ends| body[ends[0]..ends[1]].to_vec());
        Made {
            method,
            headers,
            pieces: pieces.collect(),
            ending,
        }
    })
}

/// What a caller sees of an answer.
#[derive(Debug, PartialEq)]
struct SeenAnswer {
    status: http::StatusCode,
    headers: HeaderMap,
    answer: Option<v1::GetConfigResponse>,
    /// None when the headers end the stream.
    trailers: Option<HeaderMap>,
}

/// A client in memory.
struct MemoryClient {
    send: SendRequest<Bytes>,
}

impl MemoryClient {
    /// Of a service on our connections.
    async fn of(service: impl Service) -> Self {
        let (ours, theirs) = duplex(64 * 1024);
        let theirs = Gathered::new(theirs, GatheringRoom::default());
        let role_state = fake::role_state();
        let seat = role_state.connections.enter(&role_state.closing);
        tokio::spawn(serve_connection(
            theirs,
            service,
            seat,
            role_state.max_streams,
        ));
        Self::on(ours).await
    }

    /// Of generated services on tonic's own server.
    async fn of_tonic(routes: Routes) -> Self {
        let (ours, theirs) = duplex(64 * 1024);
        let incoming = tokio_stream::once(Ok::<_, io::Error>(theirs));
        let server = Server::builder().add_routes(routes);
        server.serve_with_incoming(incoming).await.unwrap();
        Self::on(ours).await
    }

    async fn on(socket: DuplexStream) -> Self {
        let (send, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        Self { send }
    }

    async fn asks(&self, made: &Made) -> Result<SeenAnswer, h2::Error> {
        let mut request = Request::builder()
            .method(made.method.clone())
            .uri(format!("http://in.memory{GET_CONFIG}"));
        for (name, value) in &made.headers {
            request = request.header(*name, *value);
        }
        let mut send = self.send.clone().ready().await?;
        let (response, mut body) = send.send_request(request.body(()).unwrap(), false)?;
        let last = made.pieces.len() - 1;
        for (at, piece) in made.pieces.iter().enumerate() {
            let ends = at == last && made.ending == StreamEnding::LastPiece;
            // A service may have answered already, and read nothing further.
            drop(body.send_data(Bytes::copy_from_slice(piece), ends));
            tokio::task::yield_now().await;
        }
        match made.ending {
            StreamEnding::LastPiece => {}
            StreamEnding::EmptyPiece => drop(body.send_data(Bytes::new(), true)),
            StreamEnding::Trailers => {
                let name = HeaderName::from_static("x-checksum");
                let trailers = HeaderMap::from_iter([(name, HeaderValue::from_static("1"))]);
                drop(body.send_trailers(trailers));
            }
        }
        let (mut parts, mut body) = response.await?.into_parts();
        // Of no use to gRPC, so that it is switched off here.
        parts.headers.remove(http::header::DATE);
        let mut read = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            read.extend_from_slice(&data);
        }
        let read = read.freeze();
        let message = (!read.is_empty()).then(|| {
            let (prefix, message) = read.split_at(PREFIX);
            let length = u32::from_be_bytes(prefix[1..].try_into().unwrap());
            assert_eq!(length as usize, message.len(), "one whole frame");
            message
        });
        Ok(SeenAnswer {
            status: parts.status,
            headers: parts.headers,
            answer: message.map(|message| v1::GetConfigResponse::decode(message).unwrap()),
            trailers: body.trailers().await?,
        })
    }
}

/// The same lookups, served by hand and by tonic.
async fn both() -> (MemoryClient, MemoryClient) {
    let script = Scripted::new().at_once();
    script.answers("held", Ok(held()));
    script.answers("old", Ok(old()));
    let configs = Configs::new(
        script,
        Metrics::new(),
        fake::unread(),
        CancellationToken::new(),
    );
    let routes = Routes::new(configs.clone().into_service());
    let generated = ConfigServiceServer::new(Generated(configs.clone()))
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let lookups = Lookups::new(configs, Methods::new(routes, fake::role_state().calls));
    let generated = MemoryClient::of_tonic(Routes::new(generated)).await;
    (MemoryClient::of(lookups).await, generated)
}

/// `GetConfig` whose answers the generated code writes too.
struct Generated(Configs<Scripted>);

#[tonic::async_trait]
impl ConfigService for Generated {
    async fn get_config(
        &self,
        request: tonic::Request<v1::GetConfigRequest>,
    ) -> Result<tonic::Response<v1::GetConfigResponse>, Status> {
        let arrival = Arrival::of(request.extensions());
        match self.0.get(request.into_inner(), arrival, None).await {
            Ok((answer, known)) => Ok(tonic::Response::new(fake::message(&answer, &known))),
            Err(refused) => Err(refused.status(Jitter::draw())),
        }
    }

    async fn batch_get_configs(
        &self,
        _: tonic::Request<v1::BatchGetConfigsRequest>,
    ) -> Result<tonic::Response<v1::BatchGetConfigsResponse>, Status> {
        Err(Status::unimplemented("only lookups are compared"))
    }

    type WatchConfigStream = futures_util::stream::Empty<Result<v1::WatchConfigResponse, Status>>;

    async fn watch_config(
        &self,
        _: tonic::Request<v1::WatchConfigRequest>,
    ) -> Result<tonic::Response<Self::WatchConfigStream>, Status> {
        Err(Status::unimplemented("only lookups are compared"))
    }
}

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn soon<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    runtime.block_on(async { timeout(SOON, future).await.expect("nothing hangs") })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_ways_accept_and_refuse_the_same(requests in prop::collection::vec(requests(), 1..6)) {
        let runtime = runtime();
        let (ours, theirs) = soon(&runtime, both());
        for made in requests {
            let (ours, theirs) = soon(&runtime, async {
                (ours.asks(&made).await, theirs.asks(&made).await)
            });
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{:?}", made),
                (ours, theirs) => prop_assert!(false, "{:?}: {:?} {:?}", made, ours, theirs),
            }
        }
    }

    /// What is read by hand is what the generated code reads.
    #[test]
    fn a_plain_request_is_read_as_the_generated_code_reads_it(message in messages()) {
        if let Some((project, known_digest)) = plain(&message) {
            let read = v1::GetConfigRequest::decode(message.as_slice()).unwrap();
            let expected = v1::GetConfigRequest {
                project: project.to_owned(),
                known_digest: known_digest.to_owned(),
                patience: read.patience,
                ..Default::default()
            };
            prop_assert_eq!(&read, &expected);
            let held = v1::GetConfigRequest { project: "held".to_owned(), ..read };
            prop_assert!(request::get(held, None).is_ok(), "the patience is accepted");
        }
    }
}

#[test]
fn both_ways_leave_out_the_payload_whose_digest_is_known() {
    let runtime = runtime();
    let (ours, theirs) = soon(&runtime, both());
    for answer in [held(), old()] {
        let digest = answer.revision.digest.to_string();
        for (known_digest, not_modified) in [(digest.to_uppercase(), false), (digest, true)] {
            let made = Made::usual(&v1::GetConfigRequest {
                project: answer.revision.project.to_string(),
                known_digest,
                ..Default::default()
            });
            for client in [&ours, &theirs] {
                let seen = soon(&runtime, client.asks(&made)).unwrap();
                let told = seen.answer.unwrap();
                assert_eq!(told.not_modified, not_modified);
                assert_eq!(told.payload.is_empty(), not_modified);
            }
        }
    }
}

/// The usual requests go the short way; else the test above would compare the generated code with
/// itself.
#[test]
fn usual_requests_are_plain() {
    let long = "x".repeat(127);
    let digest = "ab".repeat(32);
    for (project, known_digest, patience) in [
        ("held", "", None),
        ("held", &*digest, Some((0, 0))),
        (&*long, "", Some((30, 0))),
        ("held", "", Some((0, 999_999_999))),
        ("held", &*digest, Some((2_000_000, 500_000_000))),
    ] {
        let request = v1::GetConfigRequest {
            project: project.to_owned(),
            known_digest: known_digest.to_owned(),
            patience: patience.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }),
            ..Default::default()
        };
        assert_eq!(
            plain(&request.encode_to_vec()),
            Some((project, known_digest))
        );
    }
    let request = Request::post(GET_CONFIG).header(CONTENT_TYPE, "application/grpc");
    assert!(is_get_config(&request.body(()).unwrap()));
    assert_eq!(
        unframed(&Bytes::from_static(b"\0\0\0\0\x02ab")),
        Some(b"ab".as_slice())
    );
}

impl MemoryClient {
    /// What is answered to a request that never ends.
    async fn asks_without_end(&self, path: &str, timeout: &str, body: &'static [u8]) -> HeaderMap {
        let request = Request::post(format!("http://in.memory{path}"))
            .header(CONTENT_TYPE, GRPC)
            .header("grpc-timeout", timeout);
        let mut send = self.send.clone().ready().await.unwrap();
        let (response, mut rest) = send.send_request(request.body(()).unwrap(), false).unwrap();
        rest.send_data(Bytes::from_static(body), false).unwrap();
        let mut headers = response.await.unwrap().headers().clone();
        headers.remove("date");
        headers
    }
}

#[test]
fn what_cannot_be_read_is_refused_before_its_stream_ends() {
    soon(&runtime(), async {
        let (ours, theirs) = both().await;
        for body in [
            b"\x07\0\0\0\0".as_slice(),
            b"\x01\0\0\0\0",
            b"\0\0\x7f\0\0",
            b"\0\0\0\0\x01\xff",
        ] {
            let ours = ours.asks_without_end(GET_CONFIG, "10S", body).await;
            let theirs = theirs.asks_without_end(GET_CONFIG, "10S", body).await;
            assert_ne!(ours["grpc-status"], "0");
            assert_eq!(ours, theirs, "{body:?}");
        }
    });
}

#[test]
fn a_request_that_does_not_come_to_its_end_is_given_up_at_its_deadline() {
    let batch = "/evenkeel.v1.ConfigService/BatchGetConfigs";
    soon(&runtime(), async {
        let (client, _) = both().await;
        for (path, body) in [
            (GET_CONFIG, b"".as_slice()),
            (GET_CONFIG, b"\0\0\0\0\x06\x0a\x04held"),
            (GET_CONFIG, b"\0\0\0\0\x06\x0a\x04"),
            (batch, b""),
            (batch, b"\0\0\0\0\x06\x0a\x04held"),
        ] {
            let told = client.asks_without_end(path, "20m", body).await;
            assert_eq!(told["grpc-status"], "4", "{path} {body:?}: {told:?}");
        }
    });
}
