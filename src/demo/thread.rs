//! A thread with a runtime of its own, as if what runs there were another machine.
//!
//! It is measured how late it is: what happens in time may be seen late when the machine stands
//! still.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    time::{Instant, sleep},
};

/// How often the lateness is measured.
const BEAT: Duration = Duration::from_millis(10);

/// A thread; dropping it ends all that was started on it.
#[derive(Debug)]
pub(super) struct Thread {
    handle: Handle,
    late: Arc<AtomicU64>,
    _life: oneshot::Sender<()>,
}

impl Thread {
    /// Starts one.
    ///
    /// # Errors
    /// When the system has no thread or no runtime to give.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let late = Arc::new(AtomicU64::new(0));
        handle.spawn(measure(Arc::clone(&late)));
        let (life, death) = oneshot::channel::<()>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // It ends when the other half is dropped, which is no error here.
                drop(runtime.block_on(death));
            })?;
        Ok(Self {
            handle,
            late,
            _life: life,
        })
    }

    /// Takes the longest that it was late since this was called last.
    pub(super) fn take_late(&self) -> Duration {
        Duration::from_micros(self.late.swap(0, Relaxed))
    }

    /// Runs something there, and waits for what comes of it. What it spawns stays there.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let done = self.handle.spawn(future).await;
        done.expect("BUG: a thread of the demo ended early, or panicked")
    }
}

async fn measure(late: Arc<AtomicU64>) {
    loop {
        let before = Instant::now();
        sleep(BEAT).await;
        let by = before.elapsed().saturating_sub(BEAT).as_micros();
        late.fetch_max(u64::try_from(by).unwrap_or(u64::MAX), Relaxed);
    }
}
