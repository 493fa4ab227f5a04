//! Writes answers as the contract's messages.

use std::time::Duration;

use crate::{answer::Served, proto::v1, reason::NotRefreshed, revision::Revision};

/// The numbers of those fields of `GetConfigResponse` that vary for the same revision.
pub(super) struct Fields {
    pub(super) served: u8,
    pub(super) not_refreshed: u8,
    pub(super) outdated_for: u8,
    pub(super) retry_after: u8,
    pub(super) not_modified: u8,
    pub(super) unconfirmed: u8,
}

/// As the contract has them.
pub(super) const FIELDS: Fields = Fields {
    served: 3,
    not_refreshed: 4,
    outdated_for: 5,
    retry_after: 6,
    not_modified: 7,
    unconfirmed: 8,
};

/// The contract's duration; one longer than it can say becomes the longest.
pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration {
        seconds: i64::MAX,
        nanos: 999_999_999,
    })
}

/// The contract's revision, without its payload.
pub(super) fn revision(revision: &Revision) -> v1::Revision {
    v1::Revision {
        project: revision.project.as_str().to_owned(),
        rollout: revision.order.rollout,
        number: revision.order.number,
        rendered_at: revision.rendered_at.map(Into::into),
        digest: revision.digest.to_string(),
        content_type: revision.content_type.as_ref().to_owned(),
    }
}

/// The contract's name of how an answer came about.
pub(super) const fn served(served: Served) -> v1::Served {
    match served {
        Served::Fresh => v1::Served::Fresh,
        Served::Rendered => v1::Served::Rendered,
        Served::Outdated(_) => v1::Served::Outdated,
    }
}

/// The contract's name of a reason.
pub(super) const fn not_refreshed(reason: NotRefreshed) -> v1::NotRefreshed {
    match reason {
        NotRefreshed::Scheduled => v1::NotRefreshed::Scheduled,
        NotRefreshed::Throttled => v1::NotRefreshed::Throttled,
        NotRefreshed::ConcurrencyLimited => v1::NotRefreshed::ConcurrencyLimited,
        NotRefreshed::QueueFull => v1::NotRefreshed::QueueFull,
        NotRefreshed::TimedOut => v1::NotRefreshed::TimedOut,
        NotRefreshed::RenderFailed => v1::NotRefreshed::RenderFailed,
        NotRefreshed::CoolingDown => v1::NotRefreshed::CoolingDown,
        NotRefreshed::BreakerOpen => v1::NotRefreshed::BreakerOpen,
        NotRefreshed::PushedBack => v1::NotRefreshed::PushedBack,
        NotRefreshed::Unreachable => v1::NotRefreshed::Unreachable,
        NotRefreshed::RendererBehind => v1::NotRefreshed::RendererBehind,
        NotRefreshed::Rejected => v1::NotRefreshed::Rejected,
        NotRefreshed::ProjectGone => v1::NotRefreshed::ProjectGone,
        NotRefreshed::Draining => v1::NotRefreshed::Draining,
        NotRefreshed::RenderingElsewhere => v1::NotRefreshed::RenderingElsewhere,
        NotRefreshed::FleetUnreachable => v1::NotRefreshed::FleetUnreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        answer::Outdated,
        reason::Refusal,
        serve::fake::{fresh, message as answer},
    };

    #[test]
    fn the_contracts_reasons_are_ours() {
        let ours = NotRefreshed::ALL.map(|reason| {
            let name = not_refreshed(reason).as_str_name();
            assert_eq!(name, format!("NOT_REFRESHED_{reason}"));
            not_refreshed(reason)
        });
        let theirs: Vec<_> = (1..100)
            .filter_map(|number| v1::NotRefreshed::try_from(number).ok())
            .collect();
        assert_eq!(ours.as_slice(), theirs);
    }

    #[test]
    fn says_why_exactly_when_outdated() {
        let mut held = fresh("a", 3, "payload");
        let response = answer(&held, "");
        assert_eq!(response.served(), v1::Served::Fresh);
        assert_eq!(response.payload, "payload");
        assert_eq!(response.not_refreshed, 0);
        assert!(response.outdated_for.is_none() && response.retry_after.is_none());

        held.served = Served::Outdated(Outdated {
            refusal: Refusal {
                reason: NotRefreshed::Throttled,
                retry_after: Duration::from_millis(1500),
            },
            outdated_for: Duration::MAX,
        });
        let response = answer(&held, "");
        assert_eq!(response.served(), v1::Served::Outdated);
        assert_eq!(response.not_refreshed(), v1::NotRefreshed::Throttled);
        let retry_after = response.retry_after.unwrap();
        assert_eq!((retry_after.seconds, retry_after.nanos), (1, 500_000_000));
        assert_eq!(response.outdated_for.unwrap().seconds, i64::MAX);
    }

    #[test]
    fn leaves_out_the_payload_that_the_caller_has() {
        let held = fresh("a", 3, "payload");
        let digest = answer(&held, "").revision.unwrap().digest;
        let response = answer(&held, &digest);
        assert!(response.not_modified && response.payload.is_empty());
        assert_eq!(response.revision.unwrap().rollout, 3);
        assert!(!answer(&held, &digest.to_uppercase()).not_modified);
    }
}
