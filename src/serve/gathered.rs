//! Gathers what a connection writes, and hands it to the system in one piece.
//!
//! h2 writes and flushes each answer by itself, a system call for each. Here its writes are kept and its flushes ignored; whoever
//! polls the connection drains what was kept right afterwards, in the same task, so that there is one waker and nothing can be
//! forgotten. It knows bytes only.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes are kept before more are written only as fast as the other side takes them. Each write wakes the other side, so
/// that few large ones cost both less: with 64 KiB, lookups of 256 KiB cost 1.7 times as much. What waits for a slow reader is
/// bounded by the windows that it opened too.
const FULL: usize = 1024 * 1024;

/// Room for what is kept, lent to whichever connection of a thread writes. A connection seldom keeps anything for longer than a
/// poll takes: so there is one buffer, which stays in the processor's cache, instead of one for each connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Room(Arc<Mutex<Vec<u8>>>);

/// A socket whose writes are gathered. Clones are the same socket; all are polled by the same task, so that its lock is never
/// waited for.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    shared: Arc<Mutex<Socket<S>>>,
}

#[derive(Debug)]
struct Socket<S> {
    socket: S,
    kept: Vec<u8>,
    /// How many of the bytes kept were written.
    written: usize,
    room: Room,
}

impl Room {
    fn borrow(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.0))
    }

    fn give_back(&self, mut room: Vec<u8>) {
        room.clear();
        room.shrink_to(2 * FULL);
        *lock(&self.0) = room;
    }
}

impl<S> Gathered<S> {
    pub(super) fn new(socket: S, room: Room) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Socket {
                socket,
                kept: Vec::new(),
                written: 0,
                room,
            })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Socket<S>> {
        lock(&self.shared)
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Writes what was kept. To be called after every poll of what writes here.
    pub(super) fn poll_drain(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_drain(context)
    }
}

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.kept.len() {
            let rest = &self.kept[self.written..];
            match ready!(Pin::new(&mut self.socket).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        if self.written > 0 {
            self.room.give_back(std::mem::take(&mut self.kept));
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept.len() >= FULL {
            ready!(self.poll_drain(context))?;
        }
        if self.kept.is_empty() {
            self.kept = self.room.borrow();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.lock();
        ready!(socket.poll_room(context))?;
        socket.kept.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.lock();
        ready!(socket.poll_room(context))?;
        let before = socket.kept.len();
        for slice in slices {
            socket.kept.extend_from_slice(slice);
        }
        Poll::Ready(Ok(socket.kept.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.lock();
        ready!(socket.poll_drain(context))?;
        Pin::new(&mut socket.socket).poll_shutdown(context)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
