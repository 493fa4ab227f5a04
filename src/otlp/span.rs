//! A flight as OpenTelemetry has it: a span of a client, with what was asked and what came of it.

use std::time::SystemTime;

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::{
    refresh::{Called, Flown, RenderResult},
    render::RenderReason,
};

/// The span of a flight that has just ended.
pub(super) fn of(flown: &Flown<'_>) -> SpanData {
    let ended = SystemTime::now();
    let context = flown.span.context();
    let mut attributes = vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("evenkeel.project", flown.project.as_str().to_owned()),
        KeyValue::new("evenkeel.outcome", flown.result.as_str()),
    ];
    let name = match flown.call {
        Called::Render {
            rollout,
            reason,
            attempt,
        } => {
            attributes.extend([
                KeyValue::new("evenkeel.reason", name_of(reason)),
                KeyValue::new("evenkeel.attempt", i64::from(attempt)),
                KeyValue::new(
                    "evenkeel.rollout",
                    i64::try_from(rollout).unwrap_or(i64::MAX),
                ),
            ]);
            "evenkeel.v1.RenderService/Render"
        }
        Called::Fetch => "evenkeel.v1.RenderService/Fetch",
    };
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(context.trace()),
            SpanId::from(flown.span.id().get()),
            TraceFlags::new(context.flags()),
            false,
            TraceState::NONE,
        ),
        parent_span_id: context
            .parent()
            .map_or(SpanId::INVALID, |parent| SpanId::from(parent.get())),
        parent_span_is_remote: true,
        span_kind: SpanKind::Client,
        name: name.into(),
        start_time: ended.checked_sub(flown.duration).unwrap_or(ended),
        end_time: ended,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status_of(flown.result),
        instrumentation_scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn name_of(reason: RenderReason) -> &'static str {
    match reason {
        RenderReason::Missing => "missing",
        RenderReason::Outdated => "outdated",
        RenderReason::Demanded => "demanded",
    }
}

/// An error is what brought nothing that can be held, although there should have been something.
fn status_of(result: RenderResult) -> Status {
    match result {
        RenderResult::Stored
        | RenderResult::Validated
        | RenderResult::Changed
        | RenderResult::NotFound => Status::Unset,
        RenderResult::Behind
        | RenderResult::Rejected
        | RenderResult::DeadlineExceeded
        | RenderResult::Unavailable
        | RenderResult::Unreachable
        | RenderResult::Exhausted
        | RenderResult::Refused
        | RenderResult::Unauthenticated
        | RenderResult::Unimplemented
        | RenderResult::Failed => Status::error(result.as_str()),
    }
}
