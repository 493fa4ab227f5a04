//! Connections whose other side is slow, narrow, half gone or gone: no answer is lost or cut, and
//! nothing hangs.
//!
//! Each runs `EVENKEEL_ROUNDS` rounds, 20 by default.

use std::{
    pin::Pin,
    task::{Context, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{
    StreamExt as _,
    future::{join_all, try_join_all},
    stream,
};
use h2::{
    RecvStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{Request, Response};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf, duplex},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::*;
use crate::{
    metrics::Metrics,
    proto::v1,
    serve::{
        Configs, Connections, Lookups,
        accept::CLOSE_WITHIN,
        fake::{self, Scripted, fresh},
        get_config::Methods,
        listener::{Access, ListenAddress},
    },
};

const SOON: Duration = Duration::from_secs(20);
const KIB: usize = 1024;

/// A listener that serves a project with a payload of each size, named by it.
struct PayloadServer {
    address: std::net::SocketAddr,
    connections: Connections,
    closing: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl PayloadServer {
    fn start() -> Self {
        let script = Scripted::new().at_once();
        for size in [200, KIB, 256 * KIB, 1024 * KIB] {
            script.answers(
                &size.to_string(),
                Ok(fresh(&size.to_string(), 1, payload(size))),
            );
        }
        let role_state = fake::role_state();
        let configs = Configs::new(
            script,
            Metrics::new(),
            fake::unread(),
            role_state.closing.clone(),
        );
        let methods = Methods::new(Routes::default(), role_state.calls.clone());
        let lookups = Lookups::new(configs, methods);
        let any = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
        let listener = Listener::bind(&any, Access::Everyone).unwrap();
        let ListenAddress::Tcp(address) = *listener.address() else {
            panic!("{listener:?}")
        };
        Self {
            address,
            serving: tokio::spawn(serve(listener, lookups, role_state.clone())),
            connections: role_state.connections,
            closing: role_state.closing,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until no client is connected.
    async fn is_left(&self) {
        timeout(SOON, self.connections.idle(Duration::ZERO))
            .await
            .expect("the connection ends");
    }
}

/// Bytes that do not repeat soon, so that a piece lost or doubled shows.
fn payload(size: usize) -> Bytes {
    (0..size).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn rounds() -> usize {
    std::env::var("EVENKEEL_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap())
}

/// Starts HTTP/2 on a socket; the connection runs by itself.
async fn shake_hands<S>(builder: &Builder, socket: S) -> SendRequest<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = builder.handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client
}

fn asks(size: usize) -> Bytes {
    let request = v1::GetConfigRequest {
        project: size.to_string(),
        ..Default::default()
    };
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(request.encoded_len()).unwrap());
    request.encode(&mut body).unwrap();
    body.freeze()
}

/// Asks for the project of that size.
async fn ask(client: &SendRequest<Bytes>, size: usize) -> Result<ResponseFuture, h2::Error> {
    let request = Request::post("http://in.memory/evenkeel.v1.ConfigService/GetConfig")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut client = client.clone().ready().await?;
    let (response, mut body) = client.send_request(request, false)?;
    body.send_data(asks(size), true)?;
    Ok(response)
}

/// Asks for the project of that size, and reads the head of the answer.
async fn begin(
    client: &SendRequest<Bytes>,
    size: usize,
) -> Result<Response<RecvStream>, h2::Error> {
    ask(client, size).await?.await
}

/// Reads an answer to its end, and fails unless it is that of the project of that size, whole.
async fn read(begun: Response<RecvStream>, size: usize) -> Result<(), h2::Error> {
    let mut body = begun.into_body();
    let mut read = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        read.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.expect("a status");
    assert_eq!(trailers["grpc-status"], "0");
    let answer = v1::GetConfigResponse::decode(&read[5..]).unwrap();
    assert_eq!(answer.payload.len(), size);
    assert!(answer.payload == payload(size), "the payload is another");
    Ok(())
}

async fn ask_and_read(client: &SendRequest<Bytes>, size: usize) -> Result<(), h2::Error> {
    let begun = begin(client, size).await?;
    read(begun, size).await
}

/// Makes this many calls at once, and reads all answers.
async fn read_all(client: &SendRequest<Bytes>, count: usize, size: usize) {
    let reading = try_join_all((0..count).map(|_| ask_and_read(client, size)));
    timeout(SOON, reading)
        .await
        .expect("no answer hangs")
        .unwrap();
}

#[tokio::test]
async fn a_caller_of_nonsense_is_told_so_and_let_go_when_it_leaves_or_after_a_while() {
    let server = PayloadServer::start();
    for stays in [true, false] {
        let mut socket = server.connect().await;
        socket.write_all(&[b'x'; 100]).await.unwrap();
        let mut told = [0; 100];
        assert!(socket.read(&mut told).await.unwrap() > 0);
        assert_eq!(server.connections.open(), 1);
        let began = Instant::now();
        if stays {
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await.unwrap();
            assert!(began.elapsed() >= LINGER / 2, "{:?}", began.elapsed());
        }
        drop(socket);
        server.is_left().await;
    }
}

#[tokio::test]
async fn a_window_of_one_byte_gets_every_byte() {
    let server = PayloadServer::start();
    for _ in 0..rounds() {
        let client = shake_hands(
            Builder::new().initial_window_size(1),
            server.connect().await,
        )
        .await;
        read_all(&client, 2, 200).await;
    }
}

#[tokio::test]
async fn windows_of_64_kib_get_large_answers_whole() {
    let server = PayloadServer::start();
    for _ in 0..rounds() {
        let client = shake_hands(&Builder::new(), server.connect().await).await;
        read_all(&client, 8, 256 * KIB).await;
    }
}

#[tokio::test]
async fn large_frames_and_windows_get_large_answers_whole() {
    let server = PayloadServer::start();
    let mut builder = Builder::new();
    builder
        .max_frame_size((1 << 24) - 1)
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30);
    for _ in 0..rounds() {
        let client = shake_hands(&builder, server.connect().await).await;
        read_all(&client, 8, 1024 * KIB).await;
    }
}

#[tokio::test]
async fn a_slow_reader_gets_every_answer_whole() {
    let server = PayloadServer::start();
    let mut builder = Builder::new();
    builder
        .initial_window_size(1 << 24)
        .initial_connection_window_size(1 << 24);
    for _ in 0..rounds() {
        let socket = Slow {
            socket: server.connect().await,
            is_resting: false,
        };
        let client = shake_hands(&builder, socket).await;
        read_all(&client, 4, 256 * KIB).await;
    }
}

#[tokio::test]
async fn answers_under_way_arrive_whole_when_the_connection_is_told_to_go_away() {
    for _ in 0..rounds() {
        let server = PayloadServer::start();
        let client = shake_hands(&Builder::new(), server.connect().await).await;
        let sizes = [200, KIB, 256 * KIB, 200, KIB, 256 * KIB, 200, 1024 * KIB];
        let sizes = || sizes.into_iter().cycle().take(40);
        // An answer larger than the connection's window has only begun when its head is read.
        let heads = try_join_all(sizes().map(|size| begin(&client, size)));
        let begun = timeout(SOON, heads)
            .await
            .expect("no answer hangs")
            .unwrap();
        let reading = try_join_all(
            begun
                .into_iter()
                .zip(sizes())
                .map(|(begun, size)| read(begun, size)),
        );
        let asking = join_all(sizes().map(|size| asks_until_refused(&client, size)));
        server.closing.cancel();
        let (read, _) = timeout(SOON, async { tokio::join!(reading, asking) })
            .await
            .expect("no answer hangs");
        read.unwrap();
        drop(client);
        timeout(SOON, server.serving)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert_eq!(server.connections.open(), 0);
    }
}

/// Asks for the same again and again, until a call is refused. Each that is not is answered whole.
async fn asks_until_refused(client: &SendRequest<Bytes>, size: usize) {
    while let Ok(response) = ask(client, size).await
        && let Ok(begun) = response.await
    {
        read(begun, size).await.unwrap();
    }
}

#[tokio::test]
async fn calls_that_are_reset_leave_the_others_whole() {
    let server = PayloadServer::start();
    for _ in 0..rounds() {
        let client = shake_hands(&Builder::new(), server.connect().await).await;
        let staying = try_join_all((0..4).map(|_| ask_and_read(&client, 256 * KIB)));
        let leaving = async {
            for at in 0..20 {
                let response = ask(&client, 256 * KIB).await?;
                if at % 2 == 0 {
                    drop(response.await?);
                } else {
                    drop(response);
                }
            }
            Ok(())
        };
        let both = async { tokio::try_join!(staying, leaving) };
        timeout(SOON, both).await.expect("no answer hangs").unwrap();
    }
}

#[tokio::test]
async fn a_socket_that_its_peer_closed_ends_under_load() {
    let server = PayloadServer::start();
    for round in 0..rounds() {
        let mut socket = server.connect().await;
        let (client, connection) = Builder::new()
            .handshake::<_, Bytes>(&mut socket)
            .await
            .unwrap();
        let asking = async {
            for _ in 0..8 {
                drop(begin(&client, 1024 * KIB).await);
            }
        };
        tokio::select! {
            _ = connection => {}
            () = asking => {}
        }
        if round % 2 == 0 {
            // Half closed: nothing more is asked, and nothing is read.
            socket.shutdown().await.unwrap();
            server.is_left().await;
        } else {
            drop(socket);
            server.is_left().await;
        }
    }
}

/// h2 ends a connection whose peer has closed its sending half, and loses what it had not written
/// by then, as tonic does too. The caller sees an error, never a truncated answer.
#[tokio::test]
async fn a_half_closed_socket_gets_what_was_answered_and_no_answer_cut() {
    let server = PayloadServer::start();
    for _ in 0..rounds() {
        for answer in half_close(&server, KIB).await {
            answer.unwrap();
        }
        drop(half_close(&server, 1024 * KIB).await);
        server.is_left().await;
    }
}

/// Asks for 8 at once, closes the sending half once all are being answered, and reads what comes.
/// Fails if an answer ends without an error, but early.
async fn half_close(server: &PayloadServer, size: usize) -> Vec<Result<(), h2::Error>> {
    // Nothing that is read opens these windows again, which would take writing.
    let mut builder = Builder::new();
    builder
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30);
    let socket = server.connect().await.into_std().unwrap();
    let writing = socket.try_clone().unwrap();
    let client = shake_hands(&builder, TcpStream::from_std(socket).unwrap()).await;
    let heads = try_join_all((0..8).map(|_| begin(&client, size)));
    let begun = timeout(SOON, heads)
        .await
        .expect("no answer hangs")
        .unwrap();
    writing.shutdown(std::net::Shutdown::Write).unwrap();
    let reading = join_all(begun.into_iter().map(|begun| read(begun, size)));
    timeout(SOON, reading).await.expect("no answer hangs")
}

#[tokio::test]
async fn a_caller_that_stops_reading_does_not_keep_the_listener_from_closing() {
    // Each round waits as long as a connection may take to close: so they run side by side, but not
    // all, for want of memory.
    const AT_ONCE: usize = 20;
    stream::iter(0..rounds())
        .for_each_concurrent(AT_ONCE, |_| closes_though_no_client_reads())
        .await;
}

async fn closes_though_no_client_reads() {
    let server = PayloadServer::start();
    let mut builder = Builder::new();
    builder
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30);
    let mut socket = server.connect().await;
    let (client, connection) = builder.handshake::<_, Bytes>(&mut socket).await.unwrap();
    let mut connection = pin!(connection);
    // Once all heads were read, all are being answered; most of that does not fit into the buffers
    // of two sockets.
    let heads = try_join_all((0..64).map(|_| begin(&client, 1024 * KIB)));
    let answers = tokio::select! {
        _ = connection.as_mut() => panic!("it reads on"),
        answers = heads => answers.unwrap(),
    };
    let began = Instant::now();
    server.closing.cancel();
    timeout(SOON, server.serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(began.elapsed() >= CLOSE_WITHIN, "somebody has read");
    drop(answers);
}

/// hyper allows 200 unless told.
#[tokio::test(start_paused = true)]
async fn three_hundred_calls_of_one_connection_wait_at_once() {
    const TAKES: Duration = Duration::from_secs(2);
    let script = Scripted::new().takes(TAKES);
    script.answers("200", Ok(fresh("200", 1, payload(200))));
    let role_state = fake::role_state();
    let configs = Configs::new(
        script.clone(),
        Metrics::new(),
        fake::unread(),
        role_state.closing.clone(),
    );
    let methods = Methods::new(Routes::default(), role_state.calls.clone());
    let lookups = Lookups::new(configs, methods);
    let (ours, theirs) = duplex(64 * KIB);
    let theirs = Gathered::new(theirs, GatheringRoom::default());
    let seat = role_state.connections.enter(&role_state.closing);
    tokio::spawn(serve_connection(
        theirs,
        lookups,
        seat,
        role_state.max_streams,
    ));
    let client = shake_hands(&Builder::new(), ours).await;

    let mut calls = pin!(read_all(&client, 300, 200));
    // Time passes only once nothing else happens.
    assert!(timeout(TAKES / 2, calls.as_mut()).await.is_err());
    assert_eq!(script.asked().len(), 300);
    calls.await;
}

/// A socket that is read a kilobyte at a time, and rests after each.
struct Slow {
    socket: TcpStream,
    is_resting: bool,
}

impl AsyncRead for Slow {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_resting = !self.is_resting;
        if self.is_resting {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = buffer.remaining().min(KIB);
        let mut little = ReadBuf::new(buffer.initialize_unfilled_to(room));
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut little))?;
        let read = little.filled().len();
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
