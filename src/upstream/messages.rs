//! Between the contract's messages and the core's words.
//!
//! What comes in is taken as it is, checked only as far as it must be to be read at all: `render`
//! checks the rest.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

use crate::{
    proto::v1,
    render::{Ask, Confirmation, Offer, Rejected, RenderReason, Rendered},
    revision::{Digest, Order, Project},
};

/// The seconds that a Timestamp may have: the years 1 to 9999.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The request that asks for a render.
pub(super) fn render_request(ask: &Ask, component: &str) -> v1::RenderRequest {
    let reason = match ask.reason {
        RenderReason::Missing => v1::RenderReason::Missing,
        RenderReason::Outdated => v1::RenderReason::Outdated,
        RenderReason::Demanded => v1::RenderReason::Demanded,
    };
    v1::RenderRequest {
        project: ask.project.to_string(),
        component: component.to_owned(),
        rollout: ask.rollout,
        held: ask.held.map(held_revision),
        reason: reason.into(),
    }
}

/// The request that asks for what is stored, or whether what is held is still right.
pub(super) fn fetch_request(
    project: &Project,
    component: &str,
    held: Option<(Order, Digest)>,
) -> v1::FetchRequest {
    v1::FetchRequest {
        project: project.to_string(),
        component: component.to_owned(),
        held: held.map(held_revision),
    }
}

/// Reads the answer to a render.
pub(super) fn rendered(response: v1::RenderResponse) -> Result<Rendered, Rejected> {
    let revision = response.revision.ok_or(Rejected::Unreadable)?;
    if response.not_modified {
        return Ok(Rendered::NotModified {
            order: Order::new(revision.rollout, revision.number),
            project: revision.project,
        });
    }
    Ok(Rendered::Revision(offer(revision, response.payload)))
}

/// Reads the answer to a fetch.
pub(super) fn fetched(response: v1::FetchResponse) -> Result<Offer, Rejected> {
    let revision = response.revision.ok_or(Rejected::Unreadable)?;
    Ok(offer(revision, response.payload))
}

/// Reads the answer to a fetch that asked about what is held.
pub(super) fn confirmation(response: v1::FetchResponse) -> Result<Confirmation, Rejected> {
    let revision = response.revision.ok_or(Rejected::Unreadable)?;
    let order = Order::new(revision.rollout, revision.number);
    Ok(if response.not_modified {
        Confirmation::NotModified {
            project: revision.project,
            order,
        }
    } else if response.payload.is_empty() {
        Confirmation::Changed {
            project: revision.project,
            order,
        }
    } else {
        Confirmation::Stored(offer(revision, response.payload))
    })
}

fn held_revision((order, digest): (Order, Digest)) -> v1::HeldRevision {
    v1::HeldRevision {
        rollout: order.rollout,
        number: order.number,
        digest: digest.to_string(),
    }
}

fn offer(revision: v1::Revision, payload: bytes::Bytes) -> Offer {
    Offer {
        order: Order::new(revision.rollout, revision.number),
        project: revision.project,
        rendered_at: revision.rendered_at.and_then(system_time),
        digest: revision.digest,
        content_type: revision.content_type,
        payload,
    }
}

/// None when it is no valid Timestamp.
fn system_time(timestamp: Timestamp) -> Option<SystemTime> {
    let nanos = u32::try_from(timestamp.nanos).ok()?;
    if nanos > 999_999_999 || !TIMESTAMP_SECONDS.contains(&timestamp.seconds) {
        return None;
    }
    let seconds = Duration::from_secs(timestamp.seconds.unsigned_abs());
    let whole = if timestamp.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)?
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)?
    };
    whole.checked_add(Duration::new(0, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: i32) -> Option<SystemTime> {
        system_time(Timestamp { seconds, nanos })
    }

    #[test]
    fn a_timestamp_is_read_or_left_out_but_never_panics() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(at(1, 5), Some(epoch + Duration::new(1, 5)));
        assert_eq!(
            at(-1, 250_000_000),
            Some(epoch - Duration::from_millis(750))
        );
        for (seconds, nanos) in [
            (i64::MIN, 0),
            (i64::MAX, 999_999_999),
            (253_402_300_800, 0),
            (0, -1),
            (0, 1_000_000_000),
            (i64::MIN, i32::MIN),
        ] {
            assert_eq!(at(seconds, nanos), None);
        }
    }

    #[test]
    fn an_answer_without_a_revision_cannot_be_read() {
        let read = rendered(v1::RenderResponse::default());
        assert!(matches!(read, Err(Rejected::Unreadable)));
        let read = fetched(v1::FetchResponse::default());
        assert!(matches!(read, Err(Rejected::Unreadable)));
    }
}
