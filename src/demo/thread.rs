//! A thread with a runtime of its own, as if what runs there were another machine.

use std::{future::Future, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A thread; dropping it ends all that was started on it.
#[derive(Debug)]
pub(super) struct Thread {
    handle: Handle,
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
        let (life, death) = oneshot::channel::<()>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // It ends when the other half is dropped, which is no error here.
                drop(runtime.block_on(death));
            })?;
        Ok(Self {
            handle,
            _life: life,
        })
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
