//! The messages of one watch.

use futures_util::stream::{self, Stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    answers::Watching,
    response,
    status::{Jitter, Refused},
};
use crate::{
    answer::{Answer, Failure},
    proto::v1::{self, watch_config_response::Event},
    revision::Project,
};

/// A watch, and what its caller has. It holds one digest and no payload, however slowly the caller reads.
struct Told<W> {
    watch: W,
    project: Project,
    /// The digest of the payload that the caller has; empty for none.
    known: String,
}

/// Every answer of a watch as a message, until `closing`; that ends it with a status.
pub(super) fn messages(
    watch: impl Watching,
    project: Project,
    known: String,
    closing: CancellationToken,
) -> impl Stream<Item = Result<v1::WatchConfigResponse, Status>> + Send {
    let told = Told {
        watch,
        project,
        known,
    };
    stream::unfold(Some((told, closing)), async |open| {
        let (mut told, closing) = open?;
        tokio::select! {
            biased;
            () = closing.cancelled() => {
                Some((Err(Refused::draining().status(Jitter::draw())), None))
            }
            next = told.watch.next() => {
                Some((Ok(told.message(next)), Some((told, closing))))
            }
        }
    })
}

impl<W> Told<W> {
    fn message(&mut self, next: Result<Answer, Failure>) -> v1::WatchConfigResponse {
        let event = match next {
            Ok(answer) => {
                let answer = response::answer(&answer, &self.known);
                if let Some(revision) = &answer.revision {
                    self.known.clone_from(&revision.digest);
                }
                Event::Answer(answer)
            }
            Err(failure) => {
                if matches!(failure, Failure::ProjectNotFound { .. }) {
                    // The caller may have thrown away what it had.
                    self.known.clear();
                }
                let refused = Refused::because_of(&failure);
                Event::Failure(refused.message(self.project.as_str(), Jitter::draw()))
            }
        };
        v1::WatchConfigResponse { event: Some(event) }
    }
}
