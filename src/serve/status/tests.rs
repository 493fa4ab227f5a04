use super::*;
use crate::{proto::v1::GetConfigRequest, revision::Order, serve::request};

const PLAIN: Jitter = Jitter(1.0);

fn not_refreshed(reason: NotRefreshed) -> Failure {
    Failure::NotRefreshed {
        refusal: Refusal {
            reason,
            retry_after: Duration::from_millis(1500),
        },
        held: false,
        deadline_exceeded: false,
    }
}

fn pushback_of(status: &Status) -> &str {
    status.metadata().get(PUSHBACK).unwrap().to_str().unwrap()
}

#[test]
fn every_reason_may_be_asked_again_and_says_when() {
    for reason in NotRefreshed::ALL {
        let status = FailedLookup::because_of(&not_refreshed(reason)).status(PLAIN);
        let is_limit = [
            "THROTTLED",
            "CONCURRENCY_LIMITED",
            "QUEUE_FULL",
            "PUSHED_BACK",
            "FLEET_UNREACHABLE",
        ]
        .contains(&reason.as_str());
        let code = if is_limit {
            Code::ResourceExhausted
        } else {
            Code::Unavailable
        };
        assert_eq!(status.code(), code, "{reason}");
        assert_eq!(pushback_of(&status), "1500");
        let details = status.get_error_details();
        let error_info = details.error_info().unwrap();
        assert_eq!(
            (error_info.reason.as_str(), error_info.domain.as_str()),
            (reason.as_str(), "evenkeel")
        );
        let retry_info = details.retry_info().unwrap();
        assert_eq!(retry_info.retry_delay, Some(Duration::from_millis(1500)));
    }
}

#[test]
fn a_deadline_that_was_the_callers_own_says_so() {
    let failure = Failure::NotRefreshed {
        refusal: Refusal {
            reason: NotRefreshed::TimedOut,
            retry_after: Duration::from_micros(1),
        },
        held: false,
        deadline_exceeded: true,
    };
    let status = FailedLookup::because_of(&failure).status(PLAIN);
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.get_error_details().error_info().unwrap().reason,
        "TIMED_OUT"
    );
    assert_eq!(pushback_of(&status), "1");
}

#[test]
fn what_is_of_no_use_to_ask_again_says_so() {
    let newest = Order::new(3, 1);
    let outdated_for = Duration::from_secs(9);
    let reason = NotRefreshed::Throttled;
    let retry_after = Duration::from_secs(30);
    for (failure, code, reason) in [
        (
            Failure::ProjectNotFound { retry_after },
            Code::NotFound,
            "PROJECT_NOT_FOUND",
        ),
        (
            Failure::BelowMinRevision {
                newest,
                retry_after: None,
            },
            Code::FailedPrecondition,
            "DEMAND_NOT_MET",
        ),
        (
            Failure::BeyondReach {
                demanded: u64::MAX,
                target: 3,
                reach: 19,
            },
            Code::FailedPrecondition,
            "DEMAND_NOT_MET",
        ),
        (
            Failure::BeyondMaxOutdated {
                outdated_for,
                reason,
            },
            Code::FailedPrecondition,
            "DEMAND_NOT_MET",
        ),
    ] {
        let status = FailedLookup::because_of(&failure).status(PLAIN);
        assert_eq!(status.code(), code);
        assert_eq!(pushback_of(&status), "-1");
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, reason);
        assert!(details.retry_info().is_none());

        let message = FailedLookup::because_of(&failure).message("a", PLAIN);
        assert_eq!(
            (message.code, message.reason.as_str()),
            (code as i32, reason)
        );
        assert!(message.retry_after.is_none());
    }
}

#[test]
fn a_bad_request_names_its_fields() {
    let asks = GetConfigRequest {
        project: "no spaces".to_owned(),
        patience: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
        ..Default::default()
    };
    let invalid = request::get(asks, None).unwrap_err();
    let status = FailedLookup::invalid(invalid).status(PLAIN);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(pushback_of(&status), "-1");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "INVALID_PROJECT");
    let fields: Vec<_> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert_eq!(fields, ["project", "patience"]);
}

#[test]
fn a_message_among_others_is_the_same_failure() {
    let message =
        FailedLookup::because_of(&not_refreshed(NotRefreshed::Throttled)).message("a", PLAIN);
    assert_eq!(message.project, "a");
    assert_eq!(message.code, Code::ResourceExhausted as i32);
    assert_eq!(message.reason, "THROTTLED");
    assert_eq!(message.retry_after.unwrap().seconds, 1);
    assert_eq!(
        FailedLookup::batch_too_large()
            .message("a", PLAIN)
            .retry_after
            .unwrap(),
        duration(Duration::ZERO)
    );
}

#[test]
fn jitter_only_ever_makes_it_later_by_up_to_a_fifth() {
    let after = Duration::from_secs(10);
    for _ in 0..1000 {
        let stretched = Jitter::draw().stretch(after);
        assert!(stretched >= after && stretched <= after.mul_f64(1.2));
    }
    assert_eq!(pushback(Some(Jitter(1.2).stretch(Duration::MAX))), i32::MAX);
}

#[test]
fn a_demand_that_a_release_may_soon_meet_says_when_to_ask_again() {
    let failure = Failure::BelowMinRevision {
        newest: Order::new(3, 1),
        retry_after: Some(Duration::from_secs(2)),
    };
    let status = FailedLookup::because_of(&failure).status(PLAIN);
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(pushback_of(&status), "2000");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "DEMAND_NOT_MET");
    assert!(details.retry_info().is_some());
}
