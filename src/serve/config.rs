//! ConfigService: reads a request, looks up, writes the answer, records how long it took.

use std::{pin::Pin, time::Duration};

use futures_util::Stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, codec::CompressionEncoding};

use super::{
    answers::Answers,
    arrival::Arrival,
    request::{self, Asked, AskedBatch},
    response,
    status::{Jitter, Refused},
    trace::LOOKUPS,
    watch,
};
use crate::{
    answer::{Answer, Failure, Served},
    lookup::Query,
    metrics::{Metrics, Outcome},
    proto::v1::{
        self, config_result,
        config_service_server::{ConfigService, ConfigServiceServer},
    },
    revision::Project,
};

/// The most bytes of payloads in one batch.
const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// The most bytes of a request about one project: the longest name and all other fields take a tenth of it.
pub(super) const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// The most bytes of a batch's request: the most and longest names take 250 KiB.
pub(super) const MAX_BATCH_REQUEST_BYTES: usize = 320 * 1024;

/// Serves the configurations that a core answers with. Clones serve the same.
#[derive(Clone, Debug)]
pub struct Configs<A> {
    answers: A,
    metrics: Metrics,
    closing: CancellationToken,
}

impl<A: Answers> Configs<A> {
    /// Serves from `answers`; the watches end when `closing` is cancelled, and nothing waits any more.
    pub const fn new(answers: A, metrics: Metrics, closing: CancellationToken) -> Self {
        Self {
            answers,
            metrics,
            closing,
        }
    }

    /// The gRPC service, for requests about one project.
    pub(super) fn into_service(self) -> ConfigServiceServer<Self> {
        ConfigServiceServer::new(self)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
            .max_encoding_message_size(usize::MAX)
    }

    /// The gRPC service, for batches.
    pub(super) fn into_batches(self) -> ConfigServiceServer<Self> {
        self.into_service()
            .max_decoding_message_size(MAX_BATCH_REQUEST_BYTES)
    }

    /// Answers from memory, if that is all there is to do.
    pub(super) fn at_once(&self, project: &str, arrival: Arrival) -> Option<Answer> {
        let answer = self.answers.at_once(project)?;
        self.record(project, Ok(&answer), arrival);
        Some(answer)
    }

    /// Looks up: the answer, and the digest of what the caller has.
    pub(super) async fn get(
        &self,
        request: v1::GetConfigRequest,
        arrival: Arrival,
    ) -> Result<(Answer, String), Refused> {
        let project = request.project.clone();
        let told = match request::get(request, arrival.deadline) {
            Ok(Asked {
                query,
                known_digest,
            }) => match self.look_up(query).await {
                Ok(answer) => Ok((answer, known_digest)),
                Err(failure) => Err(Refused::because_of(&failure)),
            },
            Err(invalid) => Err(Refused::invalid(invalid)),
        };
        let answer = told.as_ref().map(|(answer, _)| answer);
        self.record(&project, answer, arrival);
        told
    }

    /// Asks the core, and waits no longer once the sidecar closes.
    async fn look_up(&self, query: Query) -> Result<Answer, Failure> {
        let at_once = Query {
            patience: Some(Duration::ZERO),
            ..query.clone()
        };
        tokio::select! {
            biased;
            told = self.answers.get(query) => told,
            () = self.closing.cancelled() => self.answers.get(at_once).await,
        }
    }

    /// Looks up every project of a batch: beside the name asked, what became of it.
    async fn look_up_all(
        &self,
        request: v1::BatchGetConfigsRequest,
        deadline: Option<Instant>,
    ) -> Result<Vec<(String, Result<Answer, Refused>)>, Refused> {
        let AskedBatch {
            names,
            projects,
            patience,
        } = request::batch(request).map_err(Refused::invalid)?;
        let valid: Vec<Project> = projects.iter().flatten().cloned().collect();
        let answers = &self.answers;
        let results = tokio::select! {
            biased;
            results = answers.get_many(&valid, patience, deadline) => results,
            () = self.closing.cancelled() => answers.get_many(&valid, Some(Duration::ZERO), deadline).await,
        };
        let mut results = results.into_iter();
        let mut room = MAX_BATCH_BYTES;
        let told = projects.into_iter().map(|project| match project {
            Ok(_) => results
                .next()
                .expect("BUG: one result for each project")
                .map_err(|failure| Refused::because_of(&failure))
                .and_then(|answer| fit(answer, &mut room)),
            Err(invalid) => Err(Refused::invalid(invalid)),
        });
        Ok(names.into_iter().zip(told).collect())
    }

    fn record(&self, project: &str, told: Result<&Answer, &Refused>, arrival: Arrival) {
        let outcome = match told {
            Ok(answer) => match answer.served {
                Served::Fresh => Outcome::Fresh,
                Served::Rendered => Outcome::Rendered,
                Served::Outdated(outdated) => Outcome::Outdated(outdated.refusal.reason),
            },
            Err(refused) => Outcome::Failed(refused.reason()),
        };
        let took = arrival.at.elapsed();
        self.metrics.looked_up(outcome, took);
        if let Some(trace) = arrival.trace {
            tracing::debug!(target: LOOKUPS, %trace, project, ?outcome, ?took, "looked up");
        }
    }
}

/// Takes an answer's payload out of the room that is left, or refuses it.
fn fit(answer: Answer, room: &mut usize) -> Result<Answer, Refused> {
    match room.checked_sub(answer.revision.payload.len()) {
        Some(left) => {
            *room = left;
            Ok(answer)
        }
        None => Err(Refused::batch_too_large()),
    }
}

fn result(name: &str, told: Result<Answer, Refused>) -> v1::ConfigResult {
    let result = match told {
        Ok(answer) => config_result::Result::Answer(response::answer(&answer, "")),
        Err(refused) => config_result::Result::Failure(refused.message(name, Jitter::draw())),
    };
    v1::ConfigResult {
        result: Some(result),
    }
}

#[tonic::async_trait]
impl<A: Answers> ConfigService for Configs<A> {
    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::GetConfigResponse>, Status> {
        let arrival = Arrival::of(request.extensions());
        match self.get(request.into_inner(), arrival).await {
            Ok((answer, known)) => Ok(Response::new(response::answer(&answer, &known))),
            Err(refused) => Err(refused.status(Jitter::draw())),
        }
    }

    async fn batch_get_configs(
        &self,
        request: Request<v1::BatchGetConfigsRequest>,
    ) -> Result<Response<v1::BatchGetConfigsResponse>, Status> {
        let arrival = Arrival::of(request.extensions());
        let told = self
            .look_up_all(request.into_inner(), arrival.deadline)
            .await
            .map_err(|refused| refused.status(Jitter::draw()))?;
        let results = told.into_iter().map(|(name, told)| {
            self.record(&name, told.as_ref(), arrival);
            result(&name, told)
        });
        Ok(Response::new(v1::BatchGetConfigsResponse {
            results: results.collect(),
        }))
    }

    type WatchConfigStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchConfigResponse, Status>> + Send>>;

    async fn watch_config(
        &self,
        request: Request<v1::WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        let v1::WatchConfigRequest {
            project,
            known_digest,
        } = request.into_inner();
        let project = request::watch(&project, &known_digest)
            .map_err(|invalid| Refused::invalid(invalid).status(Jitter::draw()))?;
        let watch = self.answers.watch(project.clone());
        let messages = watch::messages(watch, project, known_digest, self.closing.clone());
        Ok(Response::new(Box::pin(messages)))
    }
}

#[cfg(test)]
mod tests;
