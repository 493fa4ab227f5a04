//! Listens for changes: one stream for each connection, opened again when it ends.
//!
//! A connection that was replaced is listened to a little longer, so that a change that falls between two streams is not lost;
//! one that is heard twice does no harm.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tonic::{Code, Status};
use tracing::debug;

use super::{dial::Backoff, link::Link};
use crate::{
    proto::v1,
    revision::{Order, Project},
};

/// How much longer a connection is listened to when another is in use.
const OVERLAP: Duration = Duration::from_secs(5);

/// The input of a project changed: what is held below `order` is no longer fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose input.
    pub project: Project,
    /// The order of the first revision that has the change.
    pub order: Order,
}

/// Passes on what a renderer tells of changes.
#[derive(Clone, Debug)]
pub(super) struct Listener {
    pub(super) component: String,
    pub(super) heard: mpsc::Sender<Change>,
}

impl Listener {
    /// Listens over one connection until it is of no more use for that.
    pub(super) async fn listen(self, link: Arc<Link>, mut backoff: Backoff) {
        let replaced = async {
            link.retired().await;
            tokio::time::sleep(OVERLAP).await;
        };
        let streams = async {
            while link.is_open() {
                let began = Instant::now();
                let ended = self.stream(&link).await;
                debug!(generation = link.generation(), ?ended, "changes ended");
                if ended.is_err_and(|status| status.code() == Code::Unimplemented) {
                    return;
                }
                tokio::time::sleep(backoff.after_end(began.elapsed())).await;
            }
        };
        tokio::select! {
            () = replaced => {}
            () = streams => {}
            () = self.heard.closed() => {}
        }
    }

    /// Passes on one stream until it ends.
    async fn stream(&self, link: &Link) -> Result<(), Status> {
        let (mut client, _) = link.client();
        let request = v1::ChangesRequest {
            component: self.component.clone(),
        };
        let mut stream = client.changes(request).await?.into_inner();
        while let Some(change) = stream.message().await? {
            match Project::new(&change.project) {
                Ok(project) => {
                    let order = Order::new(change.rollout, change.number);
                    // Only fails when nobody listens any more, which ends the caller too.
                    let _ = self.heard.send(Change { project, order }).await;
                }
                Err(error) => debug!(%error, "change of a project that cannot be"),
            }
        }
        Ok(())
    }
}
