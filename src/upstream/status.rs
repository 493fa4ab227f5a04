//! What a failed call means: the one place where a gRPC status becomes a [`RenderError`].
//!
//! Decided by codes, metadata and sources alone; the message is for logs. Pushback as in gRFC A6.

use std::{error::Error, time::Duration};

use http::StatusCode;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::pb;

use super::exchange::BrokenExchange;
use crate::{
    proto::code_name,
    render::{Message, Pushback, PushbackScope, Rejected, RenderError},
};

const PUSHBACK: &str = "grpc-retry-pushback-ms";
const PUSHBACK_SCOPE: &str = "evenkeel-pushback-scope";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// What is known of a failed call beside its status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    /// The renderer said the status itself; else tonic concluded it.
    pub(super) is_from_renderer: bool,
    /// The deadline of the call has passed.
    pub(super) is_past_deadline: bool,
    /// The most bytes that a payload may have.
    pub(super) max_payload: usize,
}

/// Says what a status means.
pub(super) fn read(status: &Status, circumstances: Circumstances) -> RenderError {
    let message = Message::new(status.message());
    let failed = |code| RenderError::Failed {
        code: code_name(code),
        message: message.clone(),
    };
    if let Some(broken) = status
        .source()
        .and_then(|source| source.downcast_ref::<BrokenExchange>())
    {
        return read_broken(broken, circumstances);
    }
    // What these two mean does not depend on when the call might be repeated.
    let has_own_meaning = matches!(status.code(), Code::NotFound | Code::Unimplemented);
    let pushback = pushback(status).filter(|_| !has_own_meaning);
    let is_never = pushback.is_some_and(|pushback| pushback.after.is_none());
    if let Some(pushback) = pushback
        && (!is_never || status.code() == Code::ResourceExhausted)
    {
        return RenderError::Exhausted { pushback, message };
    }
    match status.code() {
        // A status that tonic concluded is a fault of the way: an answer that it cannot decompress,
        // say.
        Code::Unimplemented if !circumstances.is_from_renderer => RenderError::Unavailable(message),
        Code::Internal | Code::ResourceExhausted if !circumstances.is_from_renderer => {
            Rejected::Unreadable.into()
        }
        Code::ResourceExhausted => RenderError::Refused(message),
        // What is not to be repeated is no sign of a renderer that is away for a moment.
        code @ (Code::Unavailable | Code::Aborted) if is_never => failed(code),
        Code::Unavailable => RenderError::Unavailable(message),
        Code::Aborted => RenderError::Aborted(message),
        Code::NotFound => RenderError::NotFound,
        Code::Unimplemented => RenderError::Unimplemented,
        Code::DeadlineExceeded | Code::Cancelled if circumstances.is_past_deadline => {
            RenderError::DeadlineExceeded
        }
        Code::Unauthenticated if circumstances.is_from_renderer => {
            RenderError::Unauthenticated(message)
        }
        code @ (Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Internal
        | Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::DataLoss
        | Code::Unauthenticated) => failed(code),
    }
}

/// Whether the renderer has not begun to work on a call, as it says by REFUSED_STREAM or in a
/// GOAWAY (RFC 9113 §8.7), so that the call may be made again at once (gRFC A6, transparent
/// retries).
pub(super) fn is_unprocessed(status: &Status) -> bool {
    let source = status.source();
    let Some(BrokenExchange::Connection(error)) = source.and_then(|source| source.downcast_ref())
    else {
        return false;
    };
    was_not_sent(error) || reset(error) == Some(h2::Reason::REFUSED_STREAM)
}

fn read_broken(broken: &BrokenExchange, circumstances: Circumstances) -> RenderError {
    match broken {
        BrokenExchange::Oversized(bytes) => Rejected::OversizedPayload {
            bytes: *bytes,
            limit: circumstances.max_payload,
        }
        .into(),
        // Some servers reset the stream when `grpc-timeout` passes.
        BrokenExchange::Connection(_) | BrokenExchange::CutShort
            if circumstances.is_past_deadline =>
        {
            RenderError::DeadlineExceeded
        }
        BrokenExchange::Connection(error) if was_not_sent(error) => RenderError::Unreachable,
        BrokenExchange::Connection(error) => match reset(error) {
            Some(reason) => read_reset(reason),
            None => RenderError::Unavailable(Message::new(&with_causes(broken))),
        },
        BrokenExchange::CutShort | BrokenExchange::SeveralMessages => RenderError::Failed {
            code: "INTERNAL",
            message: Message::new(&broken.to_string()),
        },
        BrokenExchange::Page { status, .. } => {
            read_page(*status, Message::new(&broken.to_string()))
        }
    }
}

/// A page is a fault of the way, whatever it says of what was asked for; only who may not come in
/// is told so by its number.
fn read_page(status: StatusCode, message: Message) -> RenderError {
    match status {
        StatusCode::UNAUTHORIZED => RenderError::Failed {
            code: "UNAUTHENTICATED",
            message,
        },
        StatusCode::FORBIDDEN => RenderError::Failed {
            code: "PERMISSION_DENIED",
            message,
        },
        _ => RenderError::Unavailable(message),
    }
}

/// A stream that breaks while its connection stands is a failure of its call alone. Codes as in
/// gRPC over HTTP2, Errors.
fn read_reset(reason: h2::Reason) -> RenderError {
    let message = Message::new(&format!("the stream was reset: {reason}"));
    let code = match reason {
        h2::Reason::REFUSED_STREAM | h2::Reason::ENHANCE_YOUR_CALM => {
            return RenderError::Refused(message);
        }
        h2::Reason::CANCEL => Code::Cancelled,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    };
    RenderError::Failed {
        code: code_name(code),
        message,
    }
}

/// Why a stream was reset; none when it was the connection that broke.
fn reset(error: &hyper::Error) -> Option<h2::Reason> {
    h2_error(error)
        .filter(|error| error.is_reset())
        .and_then(h2::Error::reason)
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// Whether the renderer has not seen, and will not see, the call: hyper cancels what it had not
/// sent yet, and a GOAWAY names the last call that is still worked on (RFC 9113 §6.8).
fn was_not_sent(error: &hyper::Error) -> bool {
    let is_past_the_last = |error: &h2::Error| error.is_go_away() && error.is_remote();
    error.is_canceled() || h2_error(error).is_some_and(is_past_the_last)
}

/// An error and its causes, in one line.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// When the renderer wants to be called again, if it says so. A pushback of nothing is no such
/// word.
fn pushback(status: &Status) -> Option<Pushback> {
    let metadata = status.metadata();
    let after = match metadata.get(PUSHBACK) {
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|value| value.parse().ok())
            .map(Duration::from_millis),
        None => retry_delay(status)?,
    };
    if after == Some(Duration::ZERO) {
        return None;
    }
    let scope = match metadata.get(PUSHBACK_SCOPE) {
        Some(scope) if scope == "global" => PushbackScope::Global,
        Some(_) | None => PushbackScope::Project,
    };
    Some(Pushback { after, scope })
}

/// When `RetryInfo` says to come back; a time that has been means never, as a pushback below zero
/// does. None when nothing is said of it.
fn retry_delay(status: &Status) -> Option<Option<Duration>> {
    let details = pb::Status::decode(status.details()).ok()?.details;
    let info = details
        .iter()
        .find(|detail| detail.type_url == RETRY_INFO)
        .and_then(|detail| pb::RetryInfo::decode(detail.value.as_slice()).ok())?;
    let prost_types::Duration { seconds, nanos } = info.retry_delay?;
    let whole = u64::try_from(seconds).ok().map(Duration::from_secs);
    let part = u64::try_from(nanos).ok().map(Duration::from_nanos);
    Some(
        whole
            .zip(part)
            .and_then(|(whole, part)| whole.checked_add(part)),
    )
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    const SAID: Circumstances = Circumstances {
        is_from_renderer: true,
        is_past_deadline: false,
        max_payload: 100,
    };
    const LATE: Circumstances = Circumstances {
        is_past_deadline: true,
        ..SAID
    };

    fn exhausted(metadata: &[(&'static str, &str)]) -> Option<Pushback> {
        let mut status = Status::resource_exhausted("busy");
        for (name, value) in metadata {
            status.metadata_mut().insert(*name, value.parse().unwrap());
        }
        exhausted_status(&status)
    }

    /// What the renderer's word on when is taken for; none when the call is plainly refused.
    fn exhausted_status(status: &Status) -> Option<Pushback> {
        let error = read(status, SAID);
        if let RenderError::Exhausted { pushback, .. } = error {
            return Some(pushback);
        }
        assert!(matches!(error, RenderError::Refused(_)), "{error}");
        None
    }

    fn pushed_back(after: Option<u64>) -> Pushback {
        Pushback {
            after: after.map(Duration::from_millis),
            scope: PushbackScope::Project,
        }
    }

    #[test]
    fn pushback_is_read_from_the_trailer() {
        assert_eq!(exhausted(&[]), None);
        let asked = |value| exhausted(&[(PUSHBACK, value)]);
        assert_eq!(asked("3000"), Some(pushed_back(Some(3_000))));
        assert_eq!(asked("1"), Some(pushed_back(Some(1))));
        assert_eq!(asked("0"), None, "nothing to wait for");
        for never in ["-1", "", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(asked(never), Some(pushed_back(None)), "{never}");
        }
    }

    #[test]
    fn pushback_is_read_from_the_details_when_there_is_no_trailer() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        let mut status = Status::with_error_details(Code::ResourceExhausted, "busy", details);
        assert_eq!(exhausted_status(&status), Some(pushed_back(Some(7_000))));
        status
            .metadata_mut()
            .insert(PUSHBACK, "-1".parse().unwrap());
        assert_eq!(exhausted_status(&status), Some(pushed_back(None)));
    }

    /// Servers, this one among them, say UNAVAILABLE together with when to come back.
    #[test]
    fn pushback_is_obeyed_whatever_code_carries_it() {
        for number in 1..17 {
            let code = Code::from_i32(number);
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(20)));
            let detailed = Status::with_error_details(code, "busy", details);
            let mut trailed = Status::new(code, "busy");
            let after = "20000".parse().unwrap();
            trailed.metadata_mut().insert(PUSHBACK, after);
            for status in [detailed, trailed] {
                let error = read(&status, SAID);
                let says_more = matches!(code, Code::NotFound | Code::Unimplemented);
                let is_obeyed = matches!(error, RenderError::Exhausted { pushback, .. }
                    if pushback == pushed_back(Some(20_000)));
                assert_eq!(is_obeyed, !says_more, "{code:?}: {error}");
            }
        }
    }

    #[test]
    fn what_is_not_to_be_repeated_is_a_failure_of_its_project() {
        for code in [Code::Unavailable, Code::Aborted, Code::Internal] {
            let mut status = Status::new(code, "broken for good");
            let never = "-1".parse().unwrap();
            status.metadata_mut().insert(PUSHBACK, never);
            let error = read(&status, SAID);
            assert!(matches!(error, RenderError::Failed { .. }), "{error}");
        }
    }

    #[test]
    fn a_retry_info_below_zero_or_out_of_range_means_never() {
        for (seconds, nanos) in [(-1, 0), (0, -1), (-5, -500_000_000), (i64::MIN, 0)] {
            let retry_delay = Some(prost_types::Duration { seconds, nanos });
            let info = pb::RetryInfo { retry_delay }.encode_to_vec();
            let detail = prost_types::Any {
                type_url: RETRY_INFO.to_owned(),
                value: info,
            };
            let details = pb::Status {
                code: Code::ResourceExhausted.into(),
                details: vec![detail],
                ..pb::Status::default()
            };
            let details = details.encode_to_vec().into();
            let status = Status::with_details(Code::ResourceExhausted, "busy", details);
            let expected = pushed_back(None);
            assert_eq!(
                exhausted_status(&status),
                Some(expected),
                "{seconds} s {nanos} ns"
            );
        }
    }

    #[test]
    fn what_tonic_concluded_is_no_word_of_the_renderer() {
        let concluded = Circumstances {
            is_from_renderer: false,
            ..SAID
        };
        let status = Status::unimplemented("Content is compressed with `br`");
        let error = read(&status, concluded);
        assert!(matches!(error, RenderError::Unavailable(_)), "{error:?}");
        assert!(matches!(read(&status, SAID), RenderError::Unimplemented));
        let status = Status::resource_exhausted("size limit exceeded while decompressing");
        let error = read(&status, concluded);
        assert!(matches!(error, RenderError::Rejected(Rejected::Unreadable)));
    }

    #[test]
    fn a_stream_that_breaks_is_no_outage() {
        for (reason, expected) in [
            (h2::Reason::PROTOCOL_ERROR, "INTERNAL"),
            (h2::Reason::INTERNAL_ERROR, "INTERNAL"),
            (h2::Reason::CANCEL, "CANCELLED"),
        ] {
            let error = read_reset(reason);
            assert!(matches!(error, RenderError::Failed { code, .. } if code == expected));
        }
        let calm = read_reset(h2::Reason::ENHANCE_YOUR_CALM);
        assert!(matches!(calm, RenderError::Refused(_)));
    }

    #[test]
    fn pushback_is_global_only_when_it_says_so() {
        let scoped = |scope| exhausted(&[(PUSHBACK, "5"), (PUSHBACK_SCOPE, scope)]);
        assert_eq!(scoped("global").unwrap().scope, PushbackScope::Global);
        assert_eq!(scoped("project").unwrap().scope, PushbackScope::Project);
    }

    /// Guards against an upstream's error page that contains "403" being taken for a refusal.
    #[test]
    fn nothing_is_parsed_out_of_a_message() {
        let status = Status::unavailable("<html>403 Forbidden: NOT_FOUND</html>");
        assert!(matches!(read(&status, SAID), RenderError::Unavailable(_)));
    }

    #[test]
    fn a_timeout_is_ours_only_when_the_deadline_has_passed() {
        for code in [Code::DeadlineExceeded, Code::Cancelled] {
            let status = Status::new(code, "Timeout expired");
            assert!(matches!(read(&status, LATE), RenderError::DeadlineExceeded));
            assert!(matches!(read(&status, SAID), RenderError::Failed { .. }));
        }
    }

    #[test]
    fn every_other_code_is_a_failure_under_its_own_name() {
        for number in 0..17 {
            let code = Code::from_i32(number);
            let concluded = Circumstances {
                is_from_renderer: false,
                ..SAID
            };
            let status = Status::new(code, "");
            if let RenderError::Failed { code: name, .. } = read(&status, concluded) {
                let words = name.to_lowercase().replace('_', "");
                assert_eq!(words, format!("{code:?}").to_lowercase());
            }
        }
    }

    #[test]
    fn a_refused_identity_is_told_from_a_refused_project() {
        let read = |code| read(&Status::new(code, ""), SAID);
        let refused = read(Code::Unauthenticated);
        assert!(matches!(refused, RenderError::Unauthenticated(_)));
        let denied = read(Code::PermissionDenied);
        assert!(matches!(denied, RenderError::Failed { .. }));
    }

    #[test]
    fn an_internal_error_is_a_garbled_answer_only_when_the_renderer_did_not_say_it() {
        let status = Status::internal("failed to decode");
        let concluded = Circumstances {
            is_from_renderer: false,
            ..SAID
        };
        let unreadable = RenderError::Rejected(Rejected::Unreadable);
        assert_eq!(read(&status, concluded).to_string(), unreadable.to_string());
        assert!(matches!(read(&status, SAID), RenderError::Failed { .. }));
    }
}
