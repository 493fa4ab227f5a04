//! ConfigService: reads a request, looks up, writes the answer, records how long it took.

use std::time::Duration;

use futures_util::stream;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, codec::CompressionEncoding};

use super::{
    answers::Answers,
    arrival::Arrival,
    body::{BesideMessage, Framing},
    framed::Framed,
    messages::{self, BatchResult, Messages},
    reading::Lasting,
    request::{self, BatchRequest, LookupRequest},
    status::{FailedLookup, Jitter},
    trace::{self, LOOKUPS},
    unread::{self, Pin, Unread},
    watch,
};
use crate::{
    answer::{Answer, Failure, Served},
    lookup::Query,
    metrics::{LookupResult, Metrics},
    proto::v1::{
        self,
        config_service_server::{ConfigService, ConfigServiceServer},
    },
    revision::{Project, Revision},
    trace::TraceContext,
};

/// The most bytes of payloads in one batch.
const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// The most bytes of a request about one project: the longest name and all other fields take a
/// tenth of it.
pub(super) const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// The most bytes of a batch's request: the most and longest names take 250 KiB.
pub(super) const MAX_BATCH_REQUEST_BYTES: usize = 320 * 1024;

/// Serves the configurations that a core answers with. Clones serve the same.
#[derive(Clone, Debug)]
pub struct Configs<A> {
    answers: A,
    metrics: Metrics,
    unread: Unread,
    closing: CancellationToken,
}

impl<A: Answers> Configs<A> {
    /// Serves from `answers`; what unread answers pin counts in `unread`. When `closing` is
    /// cancelled, all watches and waits end.
    pub const fn new(
        answers: A,
        metrics: Metrics,
        unread: Unread,
        closing: CancellationToken,
    ) -> Self {
        Self {
            answers,
            metrics,
            unread,
            closing,
        }
    }

    /// The gRPC service, for requests about one project.
    pub(super) fn into_service(self) -> ConfigServiceServer<Self> {
        ConfigServiceServer::new(self)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(MAX_REQUEST_BYTES)
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
        trace: Option<TraceContext>,
    ) -> Result<(Answer, String), FailedLookup> {
        let project = request.project.clone();
        let told = match request::get(request, arrival.deadline) {
            Ok(LookupRequest {
                query,
                known_digest,
            }) => match self.look_up(Query { trace, ..query }).await {
                Ok(answer) => Ok((answer, known_digest)),
                Err(failure) => Err(FailedLookup::because_of(&failure)),
            },
            Err(invalid) => Err(FailedLookup::invalid(invalid)),
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

    /// Looks up every project of a batch. What has to wait for room waits without its payloads, and
    /// is looked up anew.
    async fn look_up_batch(
        &self,
        request: v1::BatchGetConfigsRequest,
        arrival: Arrival,
        trace: Option<TraceContext>,
        lasting: Option<Lasting>,
    ) -> Result<Messages, FailedLookup> {
        let asked = request::batch(request).map_err(FailedLookup::invalid)?;
        let asked = BatchRequest { trace, ..asked };
        let stream = self.unread.open(lasting);
        let told = self.look_up_all(&asked, asked.patience, arrival).await;
        if let Some(pins) = stream.pin(own_bytes(&told), pinned(&told)) {
            return Ok(self.messages(asked, told, pins, arrival, stream));
        }
        drop(told);
        let in_turn = async {
            let mut turn = stream.turn().await;
            loop {
                let at_once = Some(Duration::ZERO);
                let told = self.look_up_all(&asked, at_once, arrival).await;
                if let Some(pins) = turn.pin(own_bytes(&told), pinned(&told)) {
                    return (told, pins);
                }
                drop(told);
                turn.wait_for_room().await;
            }
        };
        let late = async {
            match arrival.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let (told, pins) = tokio::select! {
            biased;
            in_turn = in_turn => in_turn,
            () = late => return Err(FailedLookup::late()),
            () = self.closing.cancelled() => return Err(FailedLookup::draining()),
        };
        Ok(self.messages(asked, told, pins, arrival, stream.clone()))
    }

    /// Looks up every project that was asked for, and takes as many answers as fit into a batch.
    async fn look_up_all(
        &self,
        asked: &BatchRequest,
        patience: Option<Duration>,
        arrival: Arrival,
    ) -> Vec<BatchAnswer> {
        let valid: Vec<Project> = asked.projects.iter().flatten().cloned().collect();
        let (answers, deadline) = (&self.answers, arrival.deadline);
        let results = tokio::select! {
            biased;
            results = answers.get_many(&valid, patience, deadline, asked.trace) => results,
            () = self.closing.cancelled() => answers.get_many(&valid, Some(Duration::ZERO), deadline, asked.trace).await,
        };
        let mut results = results.into_iter();
        let mut room = MAX_BATCH_BYTES;
        let told = asked.projects.iter().map(|project| match project {
            Ok(_) => results
                .next()
                .expect("BUG: one result for each project")
                .map_err(|failure| FailedLookup::because_of(&failure))
                .and_then(|answer| fit(answer, &mut room)),
            Err(invalid) => Err(FailedLookup::invalid(invalid.clone())),
        });
        told.collect()
    }

    /// Frames what a batch found, and records it.
    fn messages(
        &self,
        asked: BatchRequest,
        told: Vec<BatchAnswer>,
        pins: Vec<Pin>,
        arrival: Arrival,
        stream: unread::Stream,
    ) -> Messages {
        let mut pins = pins.into_iter();
        let own = pins.next();
        let results = asked.names.into_iter().zip(told).map(|(name, told)| {
            self.record(&name, told.as_ref(), arrival);
            match told {
                Ok(answer) => {
                    let framed = Framed::new(&answer, "").without_prefix();
                    BatchResult::Answer(framed, pins.next())
                }
                Err(failure) => BatchResult::Failure(failure.message(&name, Jitter::draw())),
            }
        });
        let chunks = messages::batch(results.collect(), own, stream);
        Messages::new(stream::iter(chunks.map(Ok)))
    }

    fn record(&self, project: &str, told: Result<&Answer, &FailedLookup>, arrival: Arrival) {
        let result = match told {
            Ok(answer) => match answer.served {
                Served::Fresh => LookupResult::Fresh,
                Served::Rendered => LookupResult::Rendered,
                Served::Outdated(outdated) => LookupResult::Outdated(outdated.refusal.reason),
            },
            Err(failure) => LookupResult::Failed(failure.reason()),
        };
        let took = arrival.at.elapsed();
        self.metrics.looked_up(result, took);
        if let Some(trace) = arrival.trace {
            tracing::debug!(target: LOOKUPS, %trace, project, outcome = ?result, ?took, "looked up");
        }
    }
}

/// Takes an answer's payload out of the room that is left, or refuses it.
fn fit(answer: Answer, room: &mut usize) -> Result<Answer, FailedLookup> {
    match room.checked_sub(answer.revision.payload.len()) {
        Some(left) => {
            *room = left;
            Ok(answer)
        }
        None => Err(FailedLookup::batch_too_large()),
    }
}

/// What became of one project of a batch.
type BatchAnswer = Result<Answer, FailedLookup>;

/// The bytes that the results of a batch take by themselves.
fn own_bytes(told: &[BatchAnswer]) -> usize {
    /// Of each failure, its name and its words.
    const FAILURE: usize = 512;
    let failures = told.iter().filter(|told| told.is_err()).count();
    size_of_val(told) + told.len() * size_of::<BatchResult>() + failures * FAILURE
}

/// What a batch pins.
fn pinned(told: &[BatchAnswer]) -> impl Iterator<Item = &Revision> + Clone {
    told.iter().flatten().map(|answer| &*answer.revision)
}

#[tonic::async_trait]
impl<A: Answers> ConfigService for Configs<A> {
    async fn get_config(
        &self,
        request: Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::GetConfigResponse>, Status> {
        let arrival = Arrival::of(request.extensions());
        let trace = trace::of(request.metadata().as_ref());
        match self.get(request.into_inner(), arrival, trace).await {
            Ok((answer, known)) => Ok(beside(Framing::Answer(Framed::new(&answer, &known)))),
            Err(failure) => Err(failure.status(Jitter::draw())),
        }
    }

    async fn batch_get_configs(
        &self,
        request: Request<v1::BatchGetConfigsRequest>,
    ) -> Result<Response<v1::BatchGetConfigsResponse>, Status> {
        let arrival = Arrival::of(request.extensions());
        let trace = trace::of(request.metadata().as_ref());
        let lasting = request.extensions().get().cloned();
        self.look_up_batch(request.into_inner(), arrival, trace, lasting)
            .await
            .map(|messages| beside(Framing::Messages(messages)))
            .map_err(|failure| failure.status(Jitter::draw()))
    }

    type WatchConfigStream = stream::Empty<Result<v1::WatchConfigResponse, Status>>;

    async fn watch_config(
        &self,
        request: Request<v1::WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        let lasting = request.extensions().get().cloned();
        let v1::WatchConfigRequest {
            project,
            known_digest,
        } = request.into_inner();
        let project = request::watch(&project, &known_digest)
            .map_err(|invalid| FailedLookup::invalid(invalid).status(Jitter::draw()))?;
        let watch = self.answers.watch(project.clone());
        let (stream, closing) = (self.unread.open(lasting), self.closing.clone());
        let chunks = watch::messages(watch, project, known_digest, stream, closing);
        let response = beside::<()>(Framing::Messages(Messages::new(chunks)));
        Ok(response.map(|()| stream::empty()))
    }
}

/// A response whose body is framed by hand: the message in it is not sent.
fn beside<M: Default>(framing: Framing) -> Response<M> {
    let mut response = Response::new(M::default());
    response
        .extensions_mut()
        .insert(BesideMessage::new(framing));
    response
}

#[cfg(test)]
mod tests;
