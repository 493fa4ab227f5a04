//! The network before a renderer: in memory, and out of order when told.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    io::{
        AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, copy, copy_bidirectional, duplex,
        split,
    },
    sync::watch,
    time::sleep,
};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{service::Routes, transport::Server};

use super::{renderer::ScriptedRenderer, until};
use crate::{proto::v1::render_service_server::RenderServiceServer, upstream::Connect};

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Route {
    Serves,
    Refuses,
    Swallows,
    /// Connects to a peer that reads, and never says a word.
    Mute,
    /// Connects to a peer that sends the connection away (GOAWAY) as soon as a call arrives beside
    /// the stream of changes, and never looks at either.
    SendsAway,
    /// Connects to a peer that reads a little, says this and hangs up.
    Says(&'static [u8]),
    /// Connects to a peer that sends the connection away at once.
    Dismisses,
    /// Connects to a renderer whose answers come at 100 KiB a second.
    Trickles,
}

/// The network between a sidecar and renderers. Clones are the same one.
#[derive(Clone)]
pub(super) struct Network {
    routes: Routes,
    route: Arc<Mutex<Route>>,
    cables: Arc<Mutex<Vec<Cable>>>,
    streams: Arc<Mutex<Option<u32>>>,
    /// How many dials there were.
    pub(super) dials: watch::Sender<usize>,
    /// How many are under way.
    pub(super) dialling: Arc<AtomicUsize>,
    /// The most that ever were.
    pub(super) most_dialling: Arc<AtomicUsize>,
    /// How many connections were closed by the sidecar or cut.
    pub(super) closed: watch::Sender<usize>,
}

/// One connection, in the hands of a saboteur.
#[derive(Clone, Default)]
struct Cable {
    cut: CancellationToken,
    hold: CancellationToken,
    shutdown: CancellationToken,
}

impl Network {
    pub(super) fn before(renderer: &ScriptedRenderer) -> Self {
        Self::before_routes(Routes::new(
            RenderServiceServer::new(renderer.clone()).max_encoding_message_size(usize::MAX),
        ))
    }

    pub(super) fn before_routes(routes: Routes) -> Self {
        Self {
            routes,
            route: Arc::new(Mutex::new(Route::Serves)),
            cables: Arc::default(),
            streams: Arc::default(),
            dials: watch::Sender::new(0),
            dialling: Arc::default(),
            most_dialling: Arc::default(),
            closed: watch::Sender::new(0),
        }
    }

    pub(super) fn now(&self, route: Route) {
        *self.route.lock().unwrap() = route;
    }

    /// Sets how many calls renderers take at once over connections made from now on.
    pub(super) fn allow_streams(&self, streams: u32) {
        *self.streams.lock().unwrap() = Some(streams);
    }

    pub(super) fn dials(&self) -> usize {
        *self.dials.borrow()
    }

    pub(super) async fn until_closed(&self, count: usize) {
        let mut closed = self.closed.subscribe();
        until(&mut closed, |so_far| *so_far >= count).await;
    }

    /// Breaks all connections.
    pub(super) fn cut(&self) {
        for cable in self.cables.lock().unwrap().iter() {
            cable.cut.cancel();
        }
    }

    /// Breaks the connection that was made first.
    pub(super) fn cut_oldest(&self) {
        self.cables.lock().unwrap()[0].cut.cancel();
    }

    /// Breaks the connection that was made last.
    pub(super) fn cut_newest(&self) {
        self.cables.lock().unwrap().last().unwrap().cut.cancel();
    }

    /// Stops all bytes over the existing connections.
    pub(super) fn hold(&self) {
        for cable in self.cables.lock().unwrap().iter() {
            cable.hold.cancel();
        }
    }

    /// Has the renderers leave gracefully.
    pub(super) fn shut_down(&self) {
        for cable in self.cables.lock().unwrap().iter() {
            cable.shutdown.cancel();
        }
    }

    fn plug(&self, route: Route) -> DuplexStream {
        let (near, mut near_end) = duplex(64 * 1024);
        let (mut far_end, far) = duplex(64 * 1024);
        let cable = Cable::default();
        self.cables.lock().unwrap().push(cable.clone());

        let incoming = stream::once(async { Ok::<_, io::Error>(far) }).chain(stream::pending());
        let shutdown = cable.shutdown.cancelled_owned();
        let server = Server::builder()
            .max_concurrent_streams(*self.streams.lock().unwrap())
            .add_routes(self.routes.clone());
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, shutdown));

        let closed = self.closed.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cable.cut.cancelled() => {}
                () = cable.hold.cancelled() => cable.cut.cancelled().await,
                () = carry(&mut near_end, &mut far_end, route) => {}
            }
            closed.send_modify(|closed| *closed += 1);
        });
        near
    }
}

/// Carries bytes both ways until an end closes.
async fn carry(near: &mut DuplexStream, far: &mut DuplexStream, route: Route) {
    if route != Route::Trickles {
        let _ = copy_bidirectional(near, far).await;
        return;
    }
    let (mut from_near, mut to_near) = split(near);
    let (mut from_far, mut to_far) = split(far);
    let trickle = async {
        let mut chunk = [0; 1024];
        while let Ok(length @ 1..) = from_far.read(&mut chunk).await {
            sleep(Duration::from_millis(10)).await;
            if to_near.write_all(&chunk[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = copy(&mut from_near, &mut to_far) => {}
        () = trickle => {}
    }
}

impl Connect for Network {
    type Io = DuplexStream;

    async fn connect(&mut self) -> io::Result<DuplexStream> {
        self.dials.send_modify(|dials| *dials += 1);
        let now = self.dialling.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_dialling.fetch_max(now, Ordering::Relaxed);
        let _under_way = RelayUnderWay(Arc::clone(&self.dialling));
        let route = *self.route.lock().unwrap();
        match route {
            Route::Serves | Route::Trickles => Ok(self.plug(route)),
            Route::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
            Route::Swallows => std::future::pending().await,
            Route::SendsAway | Route::Dismisses => {
                let (near, far) = duplex(64 * 1024);
                let streams = if route == Route::SendsAway { 2 } else { 0 };
                tokio::spawn(send_away(far, streams));
                Ok(near)
            }
            Route::Says(words) => {
                let (near, mut far) = duplex(64 * 1024);
                tokio::spawn(async move {
                    far.read_exact(&mut [0; 24]).await.unwrap();
                    far.write_all(words).await.unwrap();
                });
                Ok(near)
            }
            Route::Mute => {
                let (near, mut far) = duplex(64 * 1024);
                let closed = self.closed.clone();
                tokio::spawn(async move {
                    copy(&mut far, &mut tokio::io::sink()).await.unwrap();
                    closed.send_modify(|closed| *closed += 1);
                });
                Ok(near)
            }
        }
    }
}

/// A hand-written peer: it sends SETTINGS and, after `streams` HEADERS frames, GOAWAY without an
/// error and with 0 as the last stream. Then it only reads.
async fn send_away(mut far: DuplexStream, mut streams: usize) {
    const PREFACE_BYTES: usize = 24;
    const HEADERS: u8 = 1;
    let _ = far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let _ = far.read_exact(&mut [0; PREFACE_BYTES]).await;
    let mut header = [0; 9];
    while streams > 0 && far.read_exact(&mut header).await.is_ok() {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let _ = far.read_exact(&mut vec![0; length as usize]).await;
        streams -= usize::from(header[3] == HEADERS);
    }
    let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let _ = far.write_all(&goaway).await;
    let _ = copy(&mut far, &mut tokio::io::sink()).await;
}

struct RelayUnderWay(Arc<AtomicUsize>);

impl Drop for RelayUnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time that a dial has in tests.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a renderer on a real port of the loopback.
pub(super) async fn on_loopback(renderer: &ScriptedRenderer) -> (http::Uri, DropGuard) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let end = CancellationToken::new();
    let server = Server::builder()
        .add_service(RenderServiceServer::new(renderer.clone()))
        .serve_with_incoming_shutdown(
            TcpListenerStream::new(listener),
            end.clone().cancelled_owned(),
        );
    tokio::spawn(server);
    (url.parse().unwrap(), end.drop_guard())
}
