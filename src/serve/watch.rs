//! The messages of one watch.

use futures_util::stream::{self, Stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    answers::Watching,
    framed::Framed,
    messages::Chunk,
    status::{FailedLookup, Jitter},
    unread::{self, Pin},
};
use crate::{
    answer::{Answer, Failure},
    proto::v1::{self, watch_config_response::Event},
    revision::{Project, Revision},
};

/// A watch, and what its caller has. Between two messages it holds one digest and no payload.
struct WatchedProject<W> {
    watch: W,
    project: Project,
    /// The digest of the payload that the caller has; empty for none.
    known: String,
    unread: unread::Stream,
}

/// Every answer of a watch as a message, until `closing`; that ends it with a status.
pub(super) fn messages(
    watch: impl Watching,
    project: Project,
    known: String,
    unread: unread::Stream,
    closing: CancellationToken,
) -> impl Stream<Item = Result<Chunk, Status>> + Send {
    let told = WatchedProject {
        watch,
        project,
        known,
        unread,
    };
    stream::unfold(Some((told, closing)), async |open| {
        let (mut told, closing) = open?;
        tokio::select! {
            biased;
            () = closing.cancelled() => {
                Some((Err(FailedLookup::draining().status(Jitter::draw())), None))
            }
            chunk = told.next() => Some((Ok(chunk), Some((told, closing)))),
        }
    })
}

impl<W: Watching> WatchedProject<W> {
    /// The next message. One that has to wait for room waits without its payload, and is then what
    /// is newest.
    async fn next(&mut self) -> Chunk {
        loop {
            let next = self.watch.next().await;
            if let Some(pins) = self.unread.pin(0, self.pinned(&next)) {
                return self.message(next, pins);
            }
            drop(next);
            let unread = self.unread.clone();
            let mut turn = unread.turn().await;
            while let Some(next) = self.watch.again().await {
                if let Some(pins) = turn.pin(0, self.pinned(&next)) {
                    return self.message(next, pins);
                }
                drop(next);
                turn.wait_for_room().await;
            }
        }
    }

    /// What a message pins.
    fn pinned<'a>(
        &self,
        next: &'a Result<Answer, Failure>,
    ) -> impl Iterator<Item = &'a Revision> + Clone + use<'a, W> {
        let answer = next.as_ref().ok();
        let brings = answer.filter(|answer| !answer.revision.has_digest(&self.known));
        brings.map(|answer| &*answer.revision).into_iter()
    }

    fn message(&mut self, next: Result<Answer, Failure>, mut pins: Vec<Pin>) -> Chunk {
        match next {
            Ok(answer) => {
                let framed = Framed::new(&answer, &self.known);
                self.known = answer.revision.digest.to_string();
                Chunk::answer(framed, pins.pop(), self.unread.clone())
            }
            Err(failure) => {
                if matches!(failure, Failure::ProjectNotFound { .. }) {
                    // The caller may have thrown away what it had.
                    self.known.clear();
                }
                let failed = FailedLookup::because_of(&failure);
                let failure = failed.message(self.project.as_str(), Jitter::draw());
                let event = Some(Event::Failure(failure));
                Chunk::message(&v1::WatchConfigResponse { event }, self.unread.clone())
            }
        }
    }
}
