//! The thread that writes a record: facts as they come, and lookups once a second. Nobody waits
//! for it; what it cannot take is lost, and counted.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use super::{
    RecordStart,
    recorder::{RecordNote, RecorderShared},
    write::{Closed, RecordFile},
};
use crate::moment::{Clock, Moment};

/// How often lookups are written.
const TICK: Duration = Duration::from_secs(1);

/// What the thread has.
#[derive(Debug)]
pub(super) struct RecordThread {
    file: RecordFile,
    start: RecordStart,
    began: Moment,
    clock: Clock,
    shared: Arc<RecorderShared>,
    /// What was lost, and is not yet written.
    lost: u64,
    has_lost: bool,
}

impl RecordThread {
    pub(super) fn new(
        file: RecordFile,
        start: RecordStart,
        clock: Clock,
        shared: Arc<RecorderShared>,
    ) -> Self {
        Self {
            file,
            start,
            began: clock.now(),
            clock,
            shared,
            lost: 0,
            has_lost: false,
        }
    }

    /// Writes until there is no recorder, the record is ended or full, or the disk refuses.
    pub(super) fn run(mut self, told: &Receiver<RecordNote>) {
        let path = self.file.path().display().to_string();
        let ended = self.write(told);
        self.shared.is_over.store(true, Relaxed);
        match ended {
            Ok(()) => {}
            Err(Closed::Full) => {
                let _ = self.file.end(self.clock.now());
                tracing::warn!(path, "record is full; recording stops");
            }
            Err(Closed::Refused(error)) => {
                tracing::warn!(path, %error, "record cannot be written; recording stops");
            }
        }
    }

    fn write(&mut self, told: &Receiver<RecordNote>) -> Result<(), Closed> {
        self.file.begin(&self.start, self.began)?;
        let mut next = self.clock.now() + TICK;
        loop {
            let heard = match told.recv_timeout(next.since(self.clock.now())) {
                Ok(heard) => self.take(heard)?,
                Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
                Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
            };
            let now = self.clock.now();
            if heard.is_break() {
                return self.tick(now);
            }
            if now >= next {
                // What was told before the lookups are taken out stands before them.
                while let Ok(heard) = told.try_recv() {
                    if self.take(heard)?.is_break() {
                        return self.tick(now);
                    }
                }
                self.tick(self.clock.now())?;
                next = next.max(now) + TICK;
            }
        }
    }

    fn take(&mut self, told: RecordNote) -> Result<ControlFlow<()>, Closed> {
        self.lost += match told {
            RecordNote::Fact(fact, at) => self.file.fact(fact, at)?,
            RecordNote::Lookups(counted, at) => self.file.lookups(&counted, at)?,
            RecordNote::End => return Ok(ControlFlow::Break(())),
        };
        Ok(ControlFlow::Continue(()))
    }

    fn tick(&mut self, now: Moment) -> Result<(), Closed> {
        let counted = self.shared.tally.take();
        self.lost += self.file.lookups(&counted, now)?;
        self.lost += self.shared.lost.swap(0, Relaxed);
        if self.lost > 0 {
            self.file.lost(self.lost, now)?;
            if !self.has_lost {
                let lost = self.lost;
                tracing::warn!(
                    lost,
                    "record lacks facts: the disk is too slow, or there are too many projects"
                );
            }
            (self.lost, self.has_lost) = (0, true);
        }
        self.file.flush()
    }
}
