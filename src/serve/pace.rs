//! How fast a connection is read whose caller sends much and asks little.
//!
//! Frames that belong to no new call (pings, settings, data of a call that does not end) cost as
//! much processor time as calls, and a pod has little of it. What a caller sends for a call is
//! therefore read at full speed, and more than that in small steps with a pause before each; TCP
//! then slows the caller down. All connections of a listener's thread that are read slowly share
//! one rate, so that many of them cost as little as one.

use std::{
    future::Future as _,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::config_service::MAX_BATCH_REQUEST_BYTES;

/// What is read at full speed before the first call: a client starts with some hundred bytes.
const BEFORE_CALLS: usize = 64 * 1024;

/// What is read at full speed from one call to the next: the largest request, and the frames around
/// it.
const PER_CALL: usize = MAX_BATCH_REQUEST_BYTES + BEFORE_CALLS;

/// What is read after each pause.
const STEP: usize = 8 * 1024;

/// The pause before each step, where one connection is read slowly. With [`STEP`], all of them are
/// read at 1.6 MB/s together.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many connections are read slowly at the moment. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Slowed {
    connections: Arc<AtomicU32>,
}

/// How fast one connection is read.
#[derive(Debug)]
pub(super) struct ReadPace {
    /// The bytes that are read before a pause.
    left: usize,
    pause: Option<Pause>,
    slowed: Slowed,
}

/// A pause, which counts its connection among those that are read slowly.
#[derive(Debug)]
struct Pause {
    end: Pin<Box<Sleep>>,
    slowed: Slowed,
}

impl ReadPace {
    pub(super) fn new(slowed: Slowed) -> Self {
        Self {
            left: BEFORE_CALLS,
            pause: None,
            slowed,
        }
    }

    /// The caller began a call.
    pub(super) fn call_begins(&mut self) {
        self.left = PER_CALL;
    }

    /// Bytes were read.
    pub(super) fn record_read(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// Waits until more may be read.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.left > 0 && self.pause.is_none() {
            return Poll::Ready(());
        }
        let pause = self
            .pause
            .get_or_insert_with(|| Pause::begin(self.slowed.clone()));
        ready!(pause.end.as_mut().poll(context));
        self.pause = None;
        self.left = self.left.max(STEP);
        Poll::Ready(())
    }
}

impl Pause {
    fn begin(slowed: Slowed) -> Self {
        let connections = slowed.connections.fetch_add(1, Relaxed) + 1;
        let pause = PAUSE.saturating_mul(connections).min(LONGEST_PAUSE);
        Self {
            end: Box::pin(sleep(pause)),
            slowed,
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.slowed.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Waker};

    use tokio::time::{Instant, advance};

    use super::*;

    /// Reads that many bytes, in pieces, and returns how long it took.
    async fn read(pace: &mut ReadPace, bytes: usize) -> Duration {
        const PIECE: usize = 1024;
        let began = Instant::now();
        for _ in 0..bytes / PIECE {
            poll_fn(|context| pace.poll_ready(context)).await;
            pace.record_read(PIECE);
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn what_belongs_to_calls_is_read_at_full_speed() {
        let mut pace = ReadPace::new(Slowed::default());
        assert_eq!(read(&mut pace, BEFORE_CALLS).await, Duration::ZERO);
        for _ in 0..100 {
            pace.call_begins();
            let took = read(&mut pace, MAX_BATCH_REQUEST_BYTES).await;
            assert_eq!(took, Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_belongs_to_no_call_is_read_slowly() {
        let mut pace = ReadPace::new(Slowed::default());
        read(&mut pace, BEFORE_CALLS).await;
        let took = read(&mut pace, 100 * STEP).await;
        assert!((100 * PAUSE..120 * PAUSE).contains(&took), "{took:?}");
        pace.call_begins();
        assert_eq!(read(&mut pace, PER_CALL).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_read_slowly_share_one_rate() {
        let slowed = Slowed::default();
        let mut paces: Vec<_> = (0..10).map(|_| ReadPace::new(slowed.clone())).collect();
        let mut context = Context::from_waker(Waker::noop());
        for pace in &mut paces {
            pace.record_read(BEFORE_CALLS);
            assert!(pace.poll_ready(&mut context).is_pending());
        }
        advance(PAUSE * 9).await;
        assert!(paces[9].poll_ready(&mut context).is_pending());
        advance(PAUSE * 2).await;
        assert!(paces[9].poll_ready(&mut context).is_ready());
        drop(paces);
        assert_eq!(slowed.connections.load(Relaxed), 0);
    }
}
