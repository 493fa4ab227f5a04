//! Looks projects up over a socket, as an application does.

use std::{net::SocketAddr, time::Duration};

use tokio::time::{Instant, timeout};
use tonic::{Code, transport::Channel};

use crate::{
    client::SidecarStatus,
    proto::{
        code_name,
        v1::{GetConfigRequest, Served, config_service_client::ConfigServiceClient},
    },
};

/// How much longer than its patience a lookup may take before it is given up.
const HUNG: Duration = Duration::from_secs(5);

/// The largest answer, in bytes: the largest payload that the sidecar accepts, and what comes with
/// it.
const LARGEST: usize = 17 << 20;

/// A client of the drill's sidecar; clones share its connection.
#[derive(Clone, Debug)]
pub(super) struct DrillCaller {
    client: ConfigServiceClient<Channel>,
    max_outdated: Option<Duration>,
}

/// What came of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LookupAnswer {
    /// It was fresh, from memory or after a render.
    Fresh,
    /// It was outdated, for this reason.
    Outdated(String),
    /// There is no such project.
    NoSuchProject,
    /// It failed, or was not answered.
    Failed(String),
}

/// What came of a lookup, and how long that took.
#[derive(Clone, Debug)]
pub(super) struct TimedAnswer {
    pub(super) came: LookupAnswer,
    pub(super) took: Duration,
}

impl DrillCaller {
    /// Connects.
    ///
    /// # Errors
    /// When the sidecar accepts no connection.
    pub(super) async fn connect(
        sidecar: SocketAddr,
        max_outdated: Option<Duration>,
    ) -> Result<Self, tonic::transport::Error> {
        let client = ConfigServiceClient::connect(format!("http://{sidecar}")).await?;
        Ok(Self {
            client: client.max_decoding_message_size(LARGEST),
            max_outdated,
        })
    }

    /// Looks a project up.
    pub(super) async fn ask(&self, project: &str, patience: Duration) -> TimedAnswer {
        let request = GetConfigRequest {
            project: project.to_owned(),
            patience: patience.try_into().ok(),
            max_outdated: self.max_outdated.and_then(|most| most.try_into().ok()),
            ..GetConfigRequest::default()
        };
        let begun = Instant::now();
        let mut client = self.client.clone();
        let ended = timeout(patience + HUNG, client.get_config(request)).await;
        let took = begun.elapsed();
        let came = match ended {
            Err(_) => LookupAnswer::Failed(format!("no answer within {took:.1?}")),
            Ok(Err(status)) if status.code() == Code::NotFound => LookupAnswer::NoSuchProject,
            Ok(Err(status)) => {
                let SidecarStatus {
                    code,
                    reason,
                    message,
                    ..
                } = status.into();
                let code = code_name(code);
                LookupAnswer::Failed(format!("{code} ({reason}): {message}"))
            }
            Ok(Ok(answer)) => {
                let answer = answer.get_ref();
                match answer.served() {
                    Served::Fresh | Served::Rendered => LookupAnswer::Fresh,
                    Served::Outdated | Served::Unspecified => {
                        let reason = answer.not_refreshed().as_str_name();
                        let reason = reason.trim_start_matches("NOT_REFRESHED_");
                        LookupAnswer::Outdated(reason.to_owned())
                    }
                }
            }
        };
        TimedAnswer { came, took }
    }
}
