//! Threads that serve: each has a `current_thread` runtime of its own, so that no work moves
//! between threads, and what one does does not stand in another's way.

use std::{future::Future, io, sync::Arc, thread};

use tokio::{
    runtime::{self, Runtime},
    sync::watch,
};

/// How many tasks of a thread run before it looks what came to its sockets. A connection's turn is
/// long where its caller sends call after call, so that tokio's 61 have a neighbour wait for that
/// many; looking costs little beside a turn.
const TURNS: u32 = 4;

/// Threads that were started together.
#[derive(Debug, Default)]
pub struct Threads {
    progress: Arc<watch::Sender<ThreadsProgress>>,
}

/// Why a thread serves no longer, though it was not told to end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a thread that serves {what} ended: {why}")]
pub struct ThreadFailed {
    what: &'static str,
    why: String,
}

#[derive(Debug, Default)]
struct ThreadsProgress {
    running: usize,
    failed: Option<ThreadFailed>,
}

/// A running thread's entry; tells how it ended when dropped, be it by a panic.
struct RunningThread {
    progress: Arc<watch::Sender<ThreadsProgress>>,
    what: &'static str,
    failed: Option<ThreadFailed>,
}

impl Threads {
    /// Starts with none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a thread of that name, which serves `what` until `serving` ends.
    ///
    /// # Errors
    /// When a thread or its runtime is not to be had.
    pub(super) fn spawn<T>(
        &self,
        name: String,
        what: &'static str,
        serving: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> io::Result<()> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(TURNS)
            .build()?;
        let running = RunningThread::new(&self.progress, what);
        thread::Builder::new()
            .name(name)
            .spawn(move || running.run(runtime, serving))?;
        Ok(())
    }

    /// Waits until all have ended and every connection is closed; returns early when one failed.
    /// May be called again.
    ///
    /// # Errors
    /// When a thread could not serve, or panicked.
    pub async fn ended(&self) -> Result<(), ThreadFailed> {
        let mut progress = self.progress.subscribe();
        let progress = progress
            .wait_for(|progress| progress.running == 0 || progress.failed.is_some())
            .await
            .expect("BUG: the threads' progress outlives those who wait for it");
        progress.failed.clone().map_or(Ok(()), Err)
    }
}

impl RunningThread {
    fn new(progress: &Arc<watch::Sender<ThreadsProgress>>, what: &'static str) -> Self {
        progress.send_modify(|progress| progress.running += 1);
        Self {
            progress: Arc::clone(progress),
            what,
            failed: Some(ThreadFailed {
                what,
                why: "it panicked".to_owned(),
            }),
        }
    }

    fn run<T>(mut self, runtime: Runtime, serving: impl Future<Output = io::Result<T>>) {
        let served = runtime.block_on(serving);
        // Closes what connections are left.
        drop(runtime);
        self.failed = served.err().map(|error| ThreadFailed {
            what: self.what,
            why: error.to_string(),
        });
    }
}

impl Drop for RunningThread {
    fn drop(&mut self) {
        self.progress.send_modify(|progress| {
            progress.running -= 1;
            progress.failed = progress.failed.take().or(self.failed.take());
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::Pin, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn tells_when_one_of_the_threads_failed_while_others_run() {
        type Serving = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;
        let fails: Serving = Box::pin(async { Err(io::Error::other("no listener")) });
        let panics: Serving = Box::pin(async { panic!("on purpose") });
        for (serving, told) in [(fails, "no listener"), (panics, "it panicked")] {
            let threads = Threads::new();
            let goes_on: Serving = Box::pin(pending());
            threads
                .spawn("lookup-0".to_owned(), "lookups", goes_on)
                .unwrap();
            threads
                .spawn("lookup-1".to_owned(), "lookups", serving)
                .unwrap();
            let failed = timeout(Duration::from_secs(10), threads.ended())
                .await
                .unwrap()
                .unwrap_err();
            assert!(
                failed
                    .to_string()
                    .starts_with("a thread that serves lookups")
            );
            assert!(failed.to_string().ends_with(told));
        }
    }
}
