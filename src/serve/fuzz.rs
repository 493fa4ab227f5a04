//! What the fuzz targets read of a request.

use std::time::Duration;

use prost::Message as _;

use super::{arrival, get_config, request};
use crate::{proto::v1, revision::Project};

/// The longest `google.protobuf.Duration`.
const LONGEST: Duration = Duration::new(315_576_000_000, 999_999_999);

/// A `grpc-timeout`.
pub(crate) fn timeout(value: &[u8]) -> Option<Duration> {
    arrival::timeout(value)
}

/// A message of any method, read in each way.
pub(crate) fn request(message: &[u8]) {
    let decoded = v1::GetConfigRequest::decode(message);
    if let Some((project, known)) = get_config::plain(message) {
        let decoded = decoded.as_ref().expect("what is plain can be decoded");
        assert_eq!(
            (project, known),
            (&*decoded.project, &*decoded.known_digest)
        );
        assert_eq!((decoded.min_revision, decoded.max_outdated), (None, None));
        let is_accepted = request::get(decoded.clone(), None).is_ok();
        assert_eq!(is_accepted, Project::new(project).is_ok());
    }
    if let Ok(decoded) = decoded {
        let (project, digest) = (decoded.project.clone(), decoded.known_digest.clone());
        let watched = request::watch(&project, &digest);
        match request::get(decoded, None) {
            Ok(asked) => {
                assert_eq!(watched.as_ref(), Ok(&asked.query.project));
                assert!(asked.known_digest.len() <= request::MAX_DIGEST);
                let times = [asked.query.patience, asked.query.max_outdated];
                assert!(times.into_iter().flatten().all(|time| time <= LONGEST));
            }
            Err(invalid) => is_sayable(&invalid),
        }
    }
    if let Ok(decoded) = v1::BatchGetConfigsRequest::decode(message) {
        match request::batch(decoded) {
            Ok(asked) => assert!((1..=request::MAX_BATCH).contains(&asked.projects.len())),
            Err(invalid) => is_sayable(&invalid),
        }
    }
}

/// Fails when what is said about a bad request could not be a line of a log.
fn is_sayable(invalid: &request::InvalidRequest) {
    let said = invalid.to_string();
    assert!(!said.chars().any(char::is_control), "{said:?}");
    assert!(said.len() <= 2_048, "{} bytes", said.len());
}
