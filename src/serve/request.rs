//! Reads the contract's requests: what is accepted, and what is said about what is not.

use std::{fmt, ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

use crate::{
    lookup::Query,
    operate::ProjectFilter,
    proto::v1,
    reason::FailureReason,
    revision::{Order, Project},
    trace::TraceContext,
};

/// The most projects of one batch.
pub(super) const MAX_BATCH: usize = 1000;

/// How many projects may be listed at once.
pub(super) const LISTABLE: RangeInclusive<u32> = 1..=500;

/// How many are listed if an operator does not say.
const LISTED: u32 = 50;

/// The bytes of a digest: SHA-256 in hexadecimal.
pub(super) const MAX_DIGEST: usize = 64;

/// The longest `google.protobuf.Duration`, as its definition has it: some 10,000 years.
const MAX_SECONDS: i64 = 315_576_000_000;

/// A request that was read.
#[derive(Debug)]
pub(super) struct LookupRequest {
    pub(super) query: Query,
    pub(super) known_digest: String,
}

/// A batch that was read.
#[derive(Debug)]
pub(super) struct BatchRequest {
    /// The names in the order asked.
    pub(super) names: Vec<String>,
    /// The projects of these names, or what is wrong with the name.
    pub(super) projects: Vec<Result<Project, InvalidRequest>>,
    pub(super) patience: Option<Duration>,
    /// The trace of the request's headers.
    pub(super) trace: Option<TraceContext>,
}

/// What is wrong with a request: at least one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InvalidRequest(Vec<Violation>);

/// What is wrong with a field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its name in the contract.
    pub(super) field: &'static str,
    /// What stands there, and what is accepted.
    pub(super) description: String,
}

type Checked<T> = Result<T, Violation>;

const PROJECT: &str = "project";

impl InvalidRequest {
    /// What the error's reason is: a bad name goes before all else.
    pub(super) fn reason(&self) -> FailureReason {
        if self.0.iter().any(|violation| violation.field == PROJECT) {
            FailureReason::InvalidProject
        } else {
            FailureReason::InvalidRequest
        }
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.0
    }
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Violation { field, description }) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {description}")?;
        }
        Ok(())
    }
}

impl From<Violation> for InvalidRequest {
    fn from(violation: Violation) -> Self {
        Self(vec![violation])
    }
}

/// Reads a lookup.
///
/// # Errors
/// Names every field that is not accepted.
pub(super) fn get(
    request: v1::GetConfigRequest,
    deadline: Option<Instant>,
) -> Result<LookupRequest, InvalidRequest> {
    match (
        name(&request.project),
        digest(&request.known_digest),
        duration("patience", request.patience),
        min_revision(request.min_revision),
        duration("max_outdated", request.max_outdated),
    ) {
        (Ok(project), Ok(()), Ok(patience), Ok(min_revision), Ok(max_outdated)) => {
            Ok(LookupRequest {
                query: Query {
                    project,
                    patience,
                    deadline,
                    min_revision,
                    max_outdated,
                    trace: None,
                },
                known_digest: request.known_digest,
            })
        }
        (project, digest, patience, min_revision, max_outdated) => Err(InvalidRequest(
            [
                project.err(),
                digest.err(),
                patience.err(),
                min_revision.err(),
                max_outdated.err(),
            ]
            .into_iter()
            .flatten()
            .collect(),
        )),
    }
}

/// Reads a batch. A name that is not accepted spoils only its own lookup.
///
/// # Errors
/// When it asks for nothing, for too much, or with a patience that is not accepted.
pub(super) fn batch(request: v1::BatchGetConfigsRequest) -> Result<BatchRequest, InvalidRequest> {
    let asked = request.projects.len();
    if !(1..=MAX_BATCH).contains(&asked) {
        return Err(InvalidRequest::from(Violation {
            field: "projects",
            description: format!("asks for {asked} projects: a batch is of 1 to {MAX_BATCH}"),
        }));
    }
    Ok(BatchRequest {
        patience: duration("patience", request.patience)?,
        projects: request.projects.iter().map(|name| project(name)).collect(),
        names: request.projects,
        trace: None,
    })
}

/// Reads a watch: the project.
///
/// # Errors
/// Names every field that is not accepted.
pub(super) fn watch(project: &str, known_digest: &str) -> Result<Project, InvalidRequest> {
    match (name(project), digest(known_digest)) {
        (Ok(project), Ok(())) => Ok(project),
        (project, digest) => {
            let problems = [project.err(), digest.err()];
            Err(InvalidRequest(problems.into_iter().flatten().collect()))
        }
    }
}

/// Reads which projects an operator wants listed, and how many at the most.
///
/// # Errors
/// Names every field that is not accepted.
pub(super) fn list(
    request: v1::ListProjectsRequest,
) -> Result<(ProjectFilter, usize), InvalidRequest> {
    match (filter(request.filter), limit(request.limit)) {
        (Ok(filter), Ok(limit)) => Ok((filter, limit)),
        (filter, limit) => {
            let problems = [filter.err(), limit.err()];
            Err(InvalidRequest(problems.into_iter().flatten().collect()))
        }
    }
}

fn filter(asked: i32) -> Checked<ProjectFilter> {
    match v1::ProjectFilter::try_from(asked) {
        Ok(v1::ProjectFilter::Unspecified | v1::ProjectFilter::All) => Ok(ProjectFilter::All),
        Ok(v1::ProjectFilter::Failing) => Ok(ProjectFilter::Failing),
        Ok(v1::ProjectFilter::Outdated) => Ok(ProjectFilter::Outdated),
        Ok(v1::ProjectFilter::Missing) => Ok(ProjectFilter::Missing),
        Err(_) => Err(Violation {
            field: "filter",
            description: format!(
                "is {asked}: a filter is 1 (ALL), 2 (FAILING), 3 (OUTDATED) or 4 (MISSING)"
            ),
        }),
    }
}

fn limit(asked: Option<u32>) -> Checked<usize> {
    let asked = asked.unwrap_or(LISTED);
    if LISTABLE.contains(&asked) {
        return Ok(asked as usize);
    }
    let (least, most) = LISTABLE.into_inner();
    Err(Violation {
        field: "limit",
        description: format!("is {asked}: a limit is {least} to {most}"),
    })
}

/// Reads a project's name.
///
/// # Errors
/// When no project can have it.
pub(super) fn project(of: &str) -> Result<Project, InvalidRequest> {
    name(of).map_err(InvalidRequest::from)
}

fn name(of: &str) -> Checked<Project> {
    Project::new(of).map_err(|invalid| Violation {
        field: PROJECT,
        description: invalid.to_string(),
    })
}

fn digest(of: &str) -> Checked<()> {
    if of.len() <= MAX_DIGEST {
        return Ok(());
    }
    Err(Violation {
        field: "known_digest",
        description: format!(
            "is of {} bytes: a digest is of {MAX_DIGEST}, as an answer's revision has it",
            of.len()
        ),
    })
}

fn min_revision(asked: Option<v1::MinRevision>) -> Checked<Option<Order>> {
    match asked {
        Some(v1::MinRevision { rollout: 0, .. }) => Err(Violation {
            field: "min_revision.rollout",
            description: "is 0: rollouts start at 1".to_owned(),
        }),
        Some(v1::MinRevision { rollout, number }) => Ok(Some(Order::new(rollout, number))),
        None => Ok(None),
    }
}

fn duration(
    field: &'static str,
    asked: Option<prost_types::Duration>,
) -> Checked<Option<Duration>> {
    let Some(prost_types::Duration { seconds, nanos }) = asked else {
        return Ok(None);
    };
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(whole), Ok(nanos @ 0..1_000_000_000)) if seconds <= MAX_SECONDS => {
            Ok(Some(Duration::new(whole, nanos)))
        }
        _ => Err(Violation {
            field,
            description: format!(
                "is {seconds} s and {nanos} ns: a duration here is 0 to {MAX_SECONDS} s and 0 to 999999999 ns"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(project: &str) -> v1::GetConfigRequest {
        v1::GetConfigRequest {
            project: project.to_owned(),
            ..Default::default()
        }
    }

    fn of(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos })
    }

    #[test]
    fn reads_everything_that_is_asked() {
        let deadline = Some(Instant::now());
        let request = v1::GetConfigRequest {
            known_digest: "ab".to_owned(),
            patience: of(0, 0),
            min_revision: Some(v1::MinRevision {
                rollout: 2,
                number: 0,
            }),
            max_outdated: of(MAX_SECONDS, 999_999_999),
            ..asks("shop/eu-1")
        };
        let LookupRequest {
            query,
            known_digest,
        } = get(request, deadline).unwrap();
        assert_eq!(query.project.as_str(), "shop/eu-1");
        assert_eq!(query.patience, Some(Duration::ZERO));
        assert_eq!(query.deadline, deadline);
        assert_eq!(query.min_revision, Some(Order::rollout(2)));
        assert_eq!(
            query.max_outdated,
            Some(Duration::new(315_576_000_000, 999_999_999))
        );
        assert_eq!(known_digest, "ab");
    }

    #[test]
    fn names_every_field_that_is_not_accepted() {
        let request = v1::GetConfigRequest {
            patience: of(-1, 0),
            min_revision: Some(v1::MinRevision {
                rollout: 0,
                number: 3,
            }),
            max_outdated: of(MAX_SECONDS + 1, 0),
            known_digest: "a".repeat(MAX_DIGEST + 1),
            ..asks("no spaces")
        };
        let invalid = get(request, None).unwrap_err();
        let fields: Vec<_> = invalid.0.iter().map(|violation| violation.field).collect();
        assert_eq!(
            fields,
            [
                "project",
                "known_digest",
                "patience",
                "min_revision.rollout",
                "max_outdated"
            ]
        );
        assert_eq!(invalid.reason(), FailureReason::InvalidProject);
    }

    #[test]
    fn a_duration_is_within_the_range_of_its_definition() {
        for bad in [
            of(-1, 0),
            of(0, -1),
            of(1, -1),
            of(0, 1_000_000_000),
            of(i64::MAX, 0),
            of(i64::MIN, i32::MIN),
        ] {
            let invalid = get(
                v1::GetConfigRequest {
                    patience: bad,
                    ..asks("a")
                },
                None,
            )
            .unwrap_err();
            assert_eq!(invalid.reason(), FailureReason::InvalidRequest, "{bad:?}");
        }
    }

    #[test]
    fn a_batch_is_of_1_to_1000() {
        let of_size = |size| v1::BatchGetConfigsRequest {
            projects: vec!["a".to_owned(); size],
            patience: None,
        };
        assert_eq!(batch(of_size(0)).unwrap_err().0[0].field, "projects");
        assert!(batch(of_size(1001)).is_err());
        assert_eq!(batch(of_size(1000)).unwrap().projects.len(), 1000);
    }

    #[test]
    fn a_bad_name_spoils_only_its_own_lookup() {
        let request = v1::BatchGetConfigsRequest {
            projects: ["a", "", "b"].map(str::to_owned).into(),
            patience: of(1, 0),
        };
        let asked = batch(request).unwrap();
        assert!(
            asked.projects[0].is_ok() && asked.projects[1].is_err() && asked.projects[2].is_ok()
        );
        assert_eq!(asked.patience, Some(Duration::from_secs(1)));
    }

    #[test]
    fn an_operator_is_told_which_limits_and_filters_are_accepted() {
        let asks = |filter, limit| list(v1::ListProjectsRequest { filter, limit });
        assert_eq!(asks(0, None), Ok((ProjectFilter::All, 50)));
        assert_eq!(asks(2, Some(1)), Ok((ProjectFilter::Failing, 1)));
        assert_eq!(asks(4, Some(500)), Ok((ProjectFilter::Missing, 500)));
        for (filter, limit, said) in [
            (1, Some(0), "limit: is 0: a limit is 1 to 500"),
            (3, Some(501), "limit: is 501: a limit is 1 to 500"),
            (
                9,
                Some(u32::MAX),
                "filter: is 9: a filter is 1 (ALL), 2 (FAILING), 3 (OUTDATED) or 4 (MISSING); limit: is 4294967295: a limit is 1 to 500",
            ),
        ] {
            assert_eq!(asks(filter, limit).unwrap_err().to_string(), said);
        }
    }
}
