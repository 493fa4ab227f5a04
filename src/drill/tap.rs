//! What stands between the drill's sidecar and the renderer: a TCP proxy that passes, delays, cuts
//! or holds.
//!
//! It counts connections, and renders as they pass or would have passed. What it holds back never
//! reaches the renderer: it is dropped, and the connection ends when the hold does.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Uri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::frames::RenderFrames;

/// The port of a URL that names none.
const HTTP: u16 = 80;
/// How long the renderer may take to accept a connection.
const CONNECTED: Duration = Duration::from_secs(5);
/// How many bytes are read at once.
const CHUNK: usize = 64 * 1024;

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They pass.
    Pass,
    /// They pass after this time, in each direction.
    Delay(Duration),
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections stay, and nothing passes.
    Hold,
}

/// The proxy; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Tap {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    shared: Arc<TapShared>,
    _task: AbortOnDropHandle<()>,
}

/// What has been counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TapCounts {
    /// Renders that the sidecar tried.
    pub(super) tried: u32,
    /// Those that were passed on to the renderer.
    pub(super) passed: u32,
    /// Connections that the renderer accepted.
    pub(super) reached: u32,
}

#[derive(Debug)]
struct TapShared {
    host: String,
    port: u16,
    /// What the names of projects begin with that are asked for.
    name: String,
    tried: AtomicU32,
    passed: AtomicU32,
    reached: AtomicU32,
    /// Why the renderer accepted no connection last.
    failed: Mutex<Option<io::Error>>,
}

impl Tap {
    /// Listens on loopback, before a renderer.
    ///
    /// # Errors
    /// When no port is to be had.
    pub(super) async fn start(renderer: &Uri, name: String) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let host = renderer.host().unwrap_or_default();
        let shared = Arc::new(TapShared {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: renderer.port_u16().unwrap_or(HTTP),
            name,
            tried: AtomicU32::new(0),
            passed: AtomicU32::new(0),
            reached: AtomicU32::new(0),
            failed: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, modes, Arc::clone(&shared)));
        Ok(Self {
            address,
            mode,
            shared,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Where the sidecar finds it.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what becomes of the bytes from now on.
    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub(super) fn counts(&self) -> TapCounts {
        TapCounts {
            tried: self.shared.tried.load(Relaxed),
            passed: self.shared.passed.load(Relaxed),
            reached: self.shared.reached.load(Relaxed),
        }
    }

    /// Why the renderer could never be reached, if so.
    pub(super) fn unreached(&self) -> Option<io::Error> {
        let failed = &self.shared.failed;
        let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.filter(|_| self.counts().reached == 0)
    }
}

async fn accept(listener: TcpListener, modes: watch::Receiver<Mode>, shared: Arc<TapShared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((sidecar, _)) => {
                    connections.spawn(connection(sidecar, modes.clone(), Arc::clone(&shared)));
                }
                // Descriptors may be short for a moment.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Carries one connection until an end closes it, or it is cut.
async fn connection(sidecar: TcpStream, mut modes: watch::Receiver<Mode>, shared: Arc<TapShared>) {
    if *modes.borrow_and_update() == Mode::Cut {
        return;
    }
    let renderer = match shared.connect().await {
        Ok(renderer) => renderer,
        Err(error) => {
            let mut failed = shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
            *failed = Some(error);
            return;
        }
    };
    shared.reached.fetch_add(1, Relaxed);
    // Small frames must not wait for one another.
    let _slower = sidecar.set_nodelay(true).and(renderer.set_nodelay(true));
    let (from_sidecar, to_sidecar) = sidecar.into_split();
    let (from_renderer, to_renderer) = renderer.into_split();
    let frames = RenderFrames::new(&shared.name);
    tokio::select! {
        () = carry(from_sidecar, to_renderer, modes.clone(), Some((frames, &shared))) => {}
        () = carry(from_renderer, to_sidecar, modes.clone(), None) => {}
        () = ended(modes) => {}
    }
}

/// Waits until connections of before are no longer of use: they are cut, or were held.
async fn ended(mut modes: watch::Receiver<Mode>) {
    loop {
        let before = *modes.borrow_and_update();
        if before == Mode::Cut || modes.changed().await.is_err() {
            return;
        }
        if before == Mode::Hold && *modes.borrow() != Mode::Hold {
            return;
        }
    }
}

/// Carries bytes in one direction until its end, and counts the renders in them.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    modes: watch::Receiver<Mode>,
    mut counted: Option<(RenderFrames, &TapShared)>,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(read) = from.read(&mut chunk).await {
        let bytes = &chunk[..read];
        if bytes.is_empty() {
            return;
        }
        let mode = *modes.borrow();
        let is_passed = matches!(mode, Mode::Pass | Mode::Delay(_));
        if let Some((frames, shared)) = &mut counted {
            let renders = frames.read(bytes);
            shared.tried.fetch_add(renders, Relaxed);
            let passed = if is_passed { renders } else { 0 };
            shared.passed.fetch_add(passed, Relaxed);
        }
        if let Mode::Delay(delay) = mode {
            sleep(delay).await;
        }
        if is_passed && to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

impl TapShared {
    async fn connect(&self) -> io::Result<TcpStream> {
        let connecting = TcpStream::connect((&*self.host, self.port));
        let late = || io::Error::new(io::ErrorKind::TimedOut, "it takes no connection");
        timeout(CONNECTED, connecting).await.map_err(|_| late())?
    }
}
