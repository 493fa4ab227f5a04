//! Gathers what a connection writes, and hands it to the system in one piece.
//!
//! h2 writes and flushes each answer by itself, a system call for each. Here its writes are kept
//! and its flushes ignored; the owner that polls the connection drains what was kept right
//! afterwards, in the same task, so that there is one waker and nothing can be forgotten. It knows
//! bytes only.

use std::{
    future::Future as _,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use super::{
    pace::{ReadPace, Slowed},
    reading::{PeerReading, Took},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take},
    task::yield_now,
};

/// How many bytes are kept before more are written only as fast as the other side takes them. Each
/// write wakes the other side, so that few large ones cost both less: with 64 KiB, lookups of 256
/// KiB cost 1.7 times as much.
const FULL: usize = 1024 * 1024;

/// How many bytes one connection keeps at most once all together keep [`MUCH`]: those who do not
/// read must not take much together.
const LITTLE: usize = 64 * 1024;

/// See [`LITTLE`].
const MUCH: usize = 8 * 1024 * 1024;

/// How many bytes of a connection are written before others have their turn: a caller that takes a
/// lot, and fast, would keep the thread for as long as that takes.
const WRITTEN_AT_ONCE: usize = 1024 * 1024;

/// How many bytes of a connection are read before others have their turn. Frames come in any
/// number, and some of them cost a lot for their size: a call is some fifty bytes and is answered
/// while it is read.
const READ_AT_ONCE: usize = 1024;

/// For how many turns in a row the answers to what was read may wait while there is more to read.
/// Calls that a client sends together are answered together: sixteen small ones are more than is
/// read at once, and took three writes.
const PUT_OFF: u32 = 3;

/// How many bytes of answers may wait so: any number of connections may have some.
const PUT_OFF_BYTES: usize = 16 * 1024;

/// Room for what is kept, lent to whichever connection of a thread writes. A connection seldom
/// keeps anything for longer than a poll takes: so there is one buffer, which stays in the
/// processor's cache, instead of one for each connection.
#[derive(Clone, Debug, Default)]
pub(super) struct GatheringRoom {
    lent: Arc<Mutex<Lent>>,
    slowed: Slowed,
}

#[derive(Debug, Default)]
struct Lent {
    spare: Vec<u8>,
    /// The bytes kept by connections whose other side takes none for now.
    unread: usize,
}

/// A socket whose writes are gathered. Clones are the same socket; all are polled by the same task,
/// so that its lock is never waited for.
#[derive(Debug)]
pub(super) struct Gathered<S> {
    shared: Arc<Mutex<GatheredSocket<S>>>,
}

#[derive(Debug)]
struct GatheredSocket<S> {
    /// Its limit is what may be read before others have their turn.
    socket: Take<S>,
    kept: Vec<u8>,
    /// How many of the bytes kept were written.
    written: usize,
    /// How many bytes are kept before more are written.
    full: usize,
    /// How many bytes may be written before others have their turn, beside what is kept then.
    writable: usize,
    /// Whether others have their turn now, and this connection reads on after them.
    reads_on: bool,
    /// For how many turns writing was put off.
    put_off: u32,
    reading: PeerReading,
    pace: ReadPace,
    /// Whether the other side ended what it sends, or the connection broke.
    is_read_to_its_end: bool,
    /// What of the kept counts as unread.
    unread: usize,
    room: GatheringRoom,
}

impl GatheringRoom {
    /// Lends the buffer, and says how much may be kept in it.
    fn borrow(&self) -> (Vec<u8>, usize) {
        let mut lent = lock(&self.lent);
        let full = if lent.unread < MUCH { FULL } else { LITTLE };
        (std::mem::take(&mut lent.spare), full)
    }

    fn give_back(&self, mut room: Vec<u8>) {
        room.clear();
        room.shrink_to(2 * FULL);
        lock(&self.lent).spare = room;
    }

    /// Counts what a connection keeps as `now` bytes unread instead of `before`.
    fn count(&self, before: usize, now: usize) {
        let mut lent = lock(&self.lent);
        lent.unread = lent.unread + now - before;
    }
}

impl<S: AsyncRead + Unpin> Gathered<S> {
    pub(super) fn new(socket: S, room: GatheringRoom) -> Self {
        Self {
            shared: Arc::new(Mutex::new(GatheredSocket {
                socket: socket.take(READ_AT_ONCE as u64),
                kept: Vec::new(),
                written: 0,
                full: FULL,
                writable: WRITTEN_AT_ONCE,
                reads_on: false,
                put_off: 0,
                reading: PeerReading::default(),
                pace: ReadPace::new(room.slowed.clone()),
                is_read_to_its_end: false,
                unread: 0,
                room,
            })),
        }
    }
}

impl<S> Gathered<S> {
    /// Whether the other side reads.
    pub(super) fn reading(&self) -> PeerReading {
        self.lock().reading.clone()
    }

    /// The other side began a call.
    pub(super) fn call_begins(&self) {
        self.lock().pace.call_begins();
    }

    /// Whether the other side has ended what it sends, or the connection broke.
    pub(super) fn is_read_to_its_end(&self) -> bool {
        self.lock().is_read_to_its_end
    }

    fn lock(&self) -> MutexGuard<'_, GatheredSocket<S>> {
        lock(&self.shared)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gathered<S> {
    /// Whether what is kept, if it is little, waits for the next poll of what reads and writes
    /// here, which comes at once: there is more to read. Otherwise it is to be
    /// [drained](Self::poll_drain).
    pub(super) fn puts_writing_off(&self) -> bool {
        let mut socket = self.lock();
        let reads_on = std::mem::take(&mut socket.reads_on);
        if !reads_on || socket.put_off == PUT_OFF || socket.kept.len() > PUT_OFF_BYTES {
            socket.put_off = 0;
            return false;
        }
        socket.put_off += 1;
        socket.socket.set_limit(READ_AT_ONCE as u64);
        true
    }

    /// Writes what was kept. To be called after every poll of what reads and writes here, unless
    /// that is put off.
    pub(super) fn poll_drain(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.lock();
        socket.socket.set_limit(READ_AT_ONCE as u64);
        socket.writable = WRITTEN_AT_ONCE;
        socket.poll_drain(context)
    }
}

impl<S> Clone for Gathered<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> GatheredSocket<S> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.written;
        while self.written < self.kept.len() {
            let rest = &self.kept[self.written..];
            match Pin::new(self.socket.get_mut()).poll_write(context, rest)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => self.written += written,
                Poll::Pending => {
                    self.reading.falls_behind(if self.written > before {
                        Took::Some
                    } else {
                        Took::Nothing
                    });
                    self.stays_unread();
                    return Poll::Pending;
                }
            }
        }
        if self.written > 0 {
            self.room.give_back(std::mem::take(&mut self.kept));
            self.written = 0;
            if self.unread > 0 {
                self.reading.catches_up();
                self.counts_as_unread(0);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The other side takes no bytes for now: a little that is kept must not keep the large buffer
    /// from other connections.
    fn stays_unread(&mut self) {
        let rest = &self.kept[self.written..];
        if rest.len() <= self.kept.capacity() / 4 {
            let rest = rest.to_vec();
            self.room.give_back(std::mem::replace(&mut self.kept, rest));
            self.written = 0;
        }
        self.counts_as_unread(self.kept.capacity());
    }

    fn counts_as_unread(&mut self, now: usize) {
        if now != self.unread {
            self.room.count(self.unread, now);
            self.unread = now;
        }
    }

    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept.len() >= self.full {
            if self.writable == 0 {
                self.writable = WRITTEN_AT_ONCE;
                return pin!(yield_now()).poll(context).map(Ok);
            }
            self.writable = self.writable.saturating_sub(self.kept.len());
            ready!(self.poll_drain(context))?;
        }
        if self.kept.is_empty() {
            (self.kept, self.full) = self.room.borrow();
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps what there is room for of some bytes: a client may ask for frames of 16 MiB. Returns
    /// how many were kept.
    fn keep(&mut self, bytes: &[u8]) -> usize {
        let fit = bytes.len().min(self.full.saturating_sub(self.kept.len()));
        self.kept.extend_from_slice(&bytes[..fit]);
        fit
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut socket = self.lock();
        if socket.socket.limit() == 0 {
            // Not before the others that are ready, and those to whom something came meanwhile.
            socket.reads_on = true;
            return pin!(yield_now()).poll(context).map(Ok);
        }
        ready!(socket.pace.poll_ready(context));
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut socket.socket).poll_read(context, buffer));
        let read = buffer.filled().len() - before;
        socket.pace.record_read(read);
        socket.is_read_to_its_end = read == 0 && buffer.remaining() > 0;
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.lock();
        ready!(socket.poll_room(context))?;
        Poll::Ready(Ok(socket.keep(bytes)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.lock();
        ready!(socket.poll_room(context))?;
        let mut kept = 0;
        for slice in slices {
            let fit = socket.keep(slice);
            kept += fit;
            if fit < slice.len() {
                break;
            }
        }
        Poll::Ready(Ok(kept))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Writes what was kept. The socket's own end is its owner's to say, by dropping it.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_drain(context)
    }
}

impl<S> Drop for GatheredSocket<S> {
    fn drop(&mut self) {
        self.room.count(self.unread, 0);
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// A connection to a caller who does not read, as far as its socket takes nothing.
    fn connect(room: &GatheringRoom) -> (Gathered<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(1);
        (Gathered::new(theirs, room.clone()), ours)
    }

    /// Writes as long as it is taken, and returns how much was.
    fn write_all(to: &mut Gathered<DuplexStream>, piece: &[u8]) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        let mut taken = 0;
        while taken < 100 * FULL {
            let slices = [io::IoSlice::new(piece), io::IoSlice::new(piece)];
            match Pin::new(&mut *to).poll_write_vectored(&mut context, &slices) {
                Poll::Ready(written) => taken += written.unwrap(),
                Poll::Pending => break,
            }
            let _ = to.poll_drain(&mut context);
        }
        taken
    }

    #[test]
    fn a_frame_of_16_mib_is_not_kept_whole() {
        let (mut connection, _caller) = connect(&GatheringRoom::default());
        let taken = write_all(&mut connection, &vec![0; 15 * FULL]);
        assert!((FULL..=FULL + 1).contains(&taken), "{taken}");
    }

    #[test]
    fn those_who_do_not_read_are_bounded_together() {
        let room = GatheringRoom::default();
        let mut connections: Vec<_> = (0..100).map(|_| connect(&room)).collect();
        let taken: Vec<_> = connections
            .iter_mut()
            .map(|(connection, _)| write_all(connection, &vec![0; 15 * FULL]))
            .collect();
        let together: usize = taken.iter().sum();
        assert!(
            together <= MUCH + 2 * FULL + 100 * (LITTLE + 1),
            "{together}"
        );
        assert!(taken[99] <= LITTLE + 1);
        let unread = lock(&room.lent).unread;
        assert!(unread <= 2 * (MUCH + FULL) + 100 * 2 * LITTLE, "{unread}");
        drop(connections);
        assert_eq!(lock(&room.lent).unread, 0);
        let (mut connection, _caller) = connect(&room);
        assert!(
            write_all(&mut connection, &vec![0; FULL]) >= FULL,
            "there is room again"
        );
    }

    #[tokio::test]
    async fn one_that_has_much_to_say_lets_others_have_their_turn() {
        let (mut caller, theirs) = duplex(4 * READ_AT_ONCE);
        caller.write_all(&vec![0; 3 * READ_AT_ONCE]).await.unwrap();
        let mut connection = Gathered::new(theirs, GatheringRoom::default());
        let (mut turns, mut read) = (0, 0);
        std::future::poll_fn(|context| {
            turns += 1;
            let mut buffer = [0; 5000];
            loop {
                let mut buffer = ReadBuf::new(&mut buffer);
                if Pin::new(&mut connection)
                    .poll_read(context, &mut buffer)
                    .is_pending()
                {
                    break;
                }
                read += buffer.filled().len();
            }
            let _ = connection.poll_drain(context);
            if read < 3 * READ_AT_ONCE {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        assert_eq!(turns, 3);
    }

    /// Answers each KiB that is read with some bytes, and returns after how much each write came.
    async fn writes_after(sent: usize, answer: usize) -> Vec<usize> {
        let (mut caller, theirs) = duplex(100 * READ_AT_ONCE);
        caller.write_all(&vec![0; sent]).await.unwrap();
        let mut connection = Gathered::new(theirs, GatheringRoom::default());
        let (mut read, mut written) = (0, Vec::new());
        std::future::poll_fn(|context| {
            let mut buffer = [0; READ_AT_ONCE];
            loop {
                let mut buffer = ReadBuf::new(&mut buffer);
                let reading = Pin::new(&mut connection);
                if reading.poll_read(context, &mut buffer).is_pending() {
                    break;
                }
                read += buffer.filled().len();
                let answer = &vec![1; answer];
                let kept = Pin::new(&mut connection.clone()).poll_write(context, answer);
                assert!(kept.is_ready());
            }
            if !connection.puts_writing_off() {
                assert!(connection.poll_drain(context).is_ready());
                written.push(read);
            }
            if read < sent || written.last() != Some(&sent) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        written
    }

    /// Sixteen lookups of h2load took three writes.
    #[tokio::test]
    async fn answers_to_what_comes_together_are_written_together() {
        let kib = READ_AT_ONCE;
        assert_eq!(writes_after(kib / 2, 1000).await, [kib / 2]);
        assert_eq!(writes_after(3 * kib, 1000).await, [3 * kib]);
        let without_end = writes_after(12 * kib, 1000).await;
        assert_eq!(without_end, [4 * kib, 8 * kib, 12 * kib]);
        let large = writes_after(3 * kib, PUT_OFF_BYTES + 1).await;
        assert_eq!(large, [kib, 2 * kib, 3 * kib]);
    }

    #[tokio::test]
    async fn what_was_kept_in_pieces_arrives_whole() {
        let room = GatheringRoom::default();
        let (ours, theirs) = duplex(1000);
        let mut connection = Gathered::new(theirs, room.clone());
        let sent: Vec<u8> = (0..5 * FULL).map(|at| (at * 31 + at / 251) as u8).collect();
        let reading = tokio::spawn(async move {
            let (mut ours, mut read) = (ours, Vec::new());
            ours.read_to_end(&mut read).await.unwrap();
            read
        });
        let mut rest = sent.as_slice();
        std::future::poll_fn(|context| {
            while !rest.is_empty() {
                let written = ready!(Pin::new(&mut connection).poll_write(context, rest)).unwrap();
                rest = &rest[written..];
            }
            Pin::new(&mut connection).poll_shutdown(context)
        })
        .await
        .unwrap();
        drop(connection);
        assert!(reading.await.unwrap() == sent);
        assert_eq!(lock(&room.lent).unread, 0);
    }
}
