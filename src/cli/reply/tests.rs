//! How replies and failures are shown.

use bytes::Bytes;

use super::*;
use crate::{client::OutdatedReply, revision::Order};

fn reply(payload: &'static [u8]) -> Reply {
    Reply {
        project: "demo/shop".into(),
        order: Order::new(2, 7),
        rendered_at: Some("1970-01-01T00:00:00.000Z".into()),
        digest: "9f31c0".repeat(10),
        content_type: "application/json".into(),
        payload: Some(Bytes::from_static(payload)),
        served: "FRESH".into(),
        outdated: None,
    }
}

fn outdated() -> Reply {
    Reply {
        served: "OUTDATED".into(),
        outdated: Some(OutdatedReply {
            reason: "THROTTLED".into(),
            outdated_for: Duration::from_millis(401_250),
            retry_after: Duration::from_millis(3_240),
        }),
        ..reply(b"{}")
    }
}

fn refused() -> SidecarStatus {
    SidecarStatus {
        code: tonic::Code::Unavailable,
        reason: "RENDER_FAILED".into(),
        message: "nothing is held".into(),
        retry_after: Some(Duration::from_millis(850)),
    }
}

fn project() -> Project {
    Project::new("demo/shop").expect("is a name")
}

fn json(reply: &Reply) -> serde_json::Value {
    serde_json::from_str(&json_line(reply)).expect("is JSON")
}

fn json_line(reply: &Reply) -> String {
    let mut line = Vec::new();
    write_json(reply, &mut line).unwrap();
    String::from_utf8(line).unwrap()
}

fn failure_json_line(refused: &SidecarStatus) -> String {
    let mut line = Vec::new();
    write_failure_as_json(&project(), refused, &mut line).unwrap();
    String::from_utf8(line).unwrap()
}

#[test]
fn says_in_one_line_how_a_fresh_answer_was_served() {
    assert_eq!(
        summary(&reply(b"{}")),
        "FRESH demo/shop rollout 2 number 7 digest 9f31c0…"
    );
}

#[test]
fn says_in_one_line_why_an_answer_is_outdated() {
    assert_eq!(
        summary(&outdated()),
        "OUTDATED demo/shop rollout 2 number 7 digest 9f31c0… outdated for 6m 41s: THROTTLED, retry after 3.2s"
    );
}

#[test]
fn says_in_one_line_what_the_sidecar_refused() {
    assert_eq!(
        refusal(&refused()),
        "UNAVAILABLE (RENDER_FAILED): nothing is held; retry after 850ms"
    );
    assert_eq!(
        failure_line(&project(), &refused()),
        "FAILED demo/shop UNAVAILABLE (RENDER_FAILED): nothing is held; retry after 850ms"
    );
}

#[test]
fn says_in_json_what_the_sidecar_refused() {
    assert_eq!(
        failure_json_line(&refused()),
        r#"{"project":"demo/shop","code":"UNAVAILABLE","reason":"RENDER_FAILED","message":"nothing is held","retry_after_seconds":0.85}"#.to_owned() + "\n"
    );
}

#[test]
fn embeds_a_json_payload_as_it_was_written() {
    let payload = br#"{"b":1.10,"a":18446744073709551616}"#;
    let reply = reply(payload);
    assert!(json_line(&reply).ends_with(
        "\"payload_encoding\":\"json\",\"payload\":{\"b\":1.10,\"a\":18446744073709551616}}\n"
    ));
}

#[test]
fn embeds_a_json_payload_of_many_lines_in_one() {
    let reply = reply(b"{\r\n  \"a\": \"1\\n2\",\n\t\"b\": [1.10,\n2]\n}\n");
    let text = json_line(&reply);
    let payload = "{    \"a\": \"1\\n2\", \t\"b\": [1.10, 2] }";
    assert!(
        text.ends_with(&format!(
            "\"payload_encoding\":\"json\",\"payload\":{payload}}}\n"
        )),
        "{text}"
    );
}

#[test]
fn encodes_a_payload_that_is_no_json() {
    let shown = json(&reply(b"\xff\x00"));
    assert_eq!(shown["payload_encoding"], "base64");
    assert_eq!(shown["payload"], "/wA=");
}

#[test]
fn says_in_json_why_an_answer_is_outdated() {
    let shown = json(&outdated());
    assert_eq!(shown["not_refreshed"], "THROTTLED");
    assert_eq!(shown["outdated_for_seconds"], 401.25);
    assert_eq!(shown["rendered_at"], "1970-01-01T00:00:00.000Z");
    assert_eq!(
        json(&reply(b"{}"))["not_refreshed"],
        serde_json::Value::Null
    );
}

/// A sidecar passes a renderer's words on; they may hold what forges a line or commands a terminal.
#[test]
fn what_was_said_from_outside_stays_in_its_line_and_is_short() {
    let refused = SidecarStatus {
        message: format!("no\nevenkeel: all is well\x1b[2J{}", "!".repeat(9_000)),
        reason: "NO\u{202e}T".into(),
        ..refused()
    };
    let line = failure_line(&project(), &refused);
    assert!(
        line.contains(r"(NO\u{202e}T): no\nevenkeel: all is well\u{1b}[2J!!!"),
        "{line}"
    );
    assert!(line.len() < 400, "{line}");
    assert!(!line.chars().any(crate::printable::is_obeyed), "{line}");
    let reply = Reply {
        digest: "\n\x1b[31m!".into(),
        project: "x\ny".into(),
        ..outdated()
    };
    assert!(!summary(&reply).contains(char::is_control));
}

/// What a terminal obeys or hides, which JSON lets stand in a string: controls of C1, marks that
/// turn the direction of text.
const HOSTILE: &str =
    "\u{7f}\u{9b}2J\u{9d}0;owned\u{9c}\u{85}\u{202e}txt\u{2066}\u{200b}\u{2028}\u{feff}\u{e0041}";

fn assert_harmless(line: &str) {
    let obeyed = line.strip_suffix('\n').unwrap();
    assert!(!obeyed.contains(crate::printable::is_obeyed), "{line:?}");
}

#[test]
fn a_reply_as_json_holds_nothing_that_a_terminal_obeys_and_means_the_same() {
    let written = format!("{{\r\n\"a{HOSTILE}\": [\"{HOSTILE}é東🦀\\n\\u009b\"]}}");
    let hostile = Reply {
        project: HOSTILE.into(),
        content_type: format!("\x1b[31m{HOSTILE}"),
        digest: HOSTILE.into(),
        payload: Some(Bytes::from(written.clone())),
        served: HOSTILE.into(),
        ..outdated()
    };
    let line = json_line(&hostile);
    assert_harmless(&line);
    assert!(line.contains("é東🦀"), "{line}");
    let read = json(&hostile);
    assert_eq!(read["project"], HOSTILE);
    assert_eq!(read["content_type"], format!("\x1b[31m{HOSTILE}"));
    let payload: serde_json::Value = serde_json::from_str(&written).unwrap();
    assert_eq!(read["payload"], payload);
}

#[test]
fn a_failure_as_json_holds_nothing_that_a_terminal_obeys_and_means_the_same() {
    let line = failure_json_line(&SidecarStatus {
        message: format!("no\nevenkeel: all is well{HOSTILE}"),
        reason: HOSTILE.into(),
        ..refused()
    });
    assert_harmless(&line);
    let read: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        read["message"],
        format!("no\nevenkeel: all is well{HOSTILE}")
    );
    assert_eq!(read["reason"], HOSTILE);
}

mod conversions {
    use proptest::prelude::*;
    use prost::Message as _;
    use prost_types::{Any, Duration as WireDuration, Timestamp};

    use super::super::*;
    use crate::{
        cli::arguments::duration,
        client::LookupCall,
        proto::v1::{self, Failure, GetConfigRequest, GetConfigResponse, Revision},
        revision::Order,
    };

    /// Seconds and nanoseconds of any value, with those at the ends of what is valid more often.
    fn seconds() -> impl Strategy<Value = i64> {
        let ends = [
            i64::MIN,
            -62_135_596_801,
            -315_576_000_001,
            -1,
            0,
            253_402_300_800,
            315_576_000_001,
            i64::MAX,
        ];
        prop_oneof![any::<i64>(), prop::sample::select(ends.to_vec())]
    }

    fn nanos() -> impl Strategy<Value = i32> {
        let ends = [i32::MIN, -1_000_000_000, -1, 0, 999_999_999, i32::MAX];
        prop_oneof![any::<i32>(), prop::sample::select(ends.to_vec())]
    }

    prop_compose! {
        fn wire_duration()(seconds in seconds(), nanos in nanos()) -> WireDuration {
            WireDuration { seconds, nanos }
        }
    }

    prop_compose! {
        fn response()(
            seconds in seconds(),
            nanos in nanos(),
            served in any::<i32>(),
            reason in any::<i32>(),
            outdated_for in prop::option::of(wire_duration()),
            retry_after in prop::option::of(wire_duration()),
            text in ".{0,20}",
            payload in prop::collection::vec(any::<u8>(), 0..20),
        ) -> GetConfigResponse {
            GetConfigResponse {
                revision: Some(Revision {
                    project: text.clone(),
                    digest: text,
                    rendered_at: Some(Timestamp { seconds, nanos }),
                    ..Revision::default()
                }),
                payload: payload.into(),
                served: if served % 2 == 0 { v1::Served::Outdated.into() } else { served },
                not_refreshed: reason,
                outdated_for,
                retry_after,
                ..GetConfigResponse::default()
            }
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(response in response()) {
            let reply = Reply::from(response);
            let line = summary(&reply);
            prop_assert!(!line.contains(char::is_control), "{line:?}");
            write_json(&reply, &mut Vec::new()).unwrap();
        }

        #[test]
        fn no_failure_makes_it_panic(
            code in any::<i32>(),
            message in ".{0,400}",
            retry_after in prop::option::of(wire_duration()),
        ) {
            let refused = SidecarStatus::from(Failure { code, message, retry_after, ..Failure::default() });
            let line = refusal(&refused);
            prop_assert!(!line.contains(char::is_control), "{line:?}");
            let project = Project::new("demo/shop").unwrap();
            write_failure_as_json(&project, &refused, &mut Vec::new()).unwrap();
        }

        #[test]
        fn no_details_of_a_status_make_it_panic(delay in wire_duration(), spoiled in any::<Vec<u8>>()) {
            let info = tonic_types::pb::RetryInfo { retry_delay: Some(delay) };
            let info = Any {
                type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
                value: info.encode_to_vec(),
            };
            let status = tonic_types::Status { details: vec![info], ..tonic_types::Status::default() };
            for details in [status.encode_to_vec(), spoiled] {
                let status = tonic::Status::with_details(tonic::Code::Unavailable, "", details.into());
                let refused = SidecarStatus::from(status);
                prop_assert!(delay.seconds >= 0 || refused.retry_after.is_none());
                refusal(&refused);
            }
        }

        #[test]
        fn no_duration_of_a_flag_makes_it_panic(
            number in any::<u64>(),
            unit in prop::sample::select(vec!["ns", "us", "ms", "s", "m", "h", "d", "w", "M", "y", ""]),
            rest in ".{0,10}",
        ) {
            for text in [format!("{number}{unit}"), format!("{number}{unit}{rest}"), rest] {
                let Ok(length) = duration(&text) else { continue };
                let lookup = LookupCall {
                    project: Project::new("demo/shop").unwrap(),
                    known_digest: None,
                    patience: Some(length),
                    min_revision: Some(Order::new(number, number)),
                    max_outdated: Some(length),
                };
                let asked = GetConfigRequest::from(lookup);
                prop_assert!(asked.patience.is_some() && asked.max_outdated.is_some());
                tonic::Request::new(asked).set_timeout(length + Duration::from_secs(10));
            }
        }
    }

    #[test]
    fn a_time_before_1970_is_written_and_one_that_cannot_be_is_null() {
        let rendered_at = |seconds, nanos| {
            let revision = Revision {
                rendered_at: Some(Timestamp { seconds, nanos }),
                ..Revision::default()
            };
            let reply = Reply::from(GetConfigResponse {
                revision: Some(revision),
                ..GetConfigResponse::default()
            });
            reply.rendered_at
        };
        let written = |seconds, nanos| rendered_at(seconds, nanos).unwrap();
        assert_eq!(written(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(-1, 500_000_000), "1969-12-31T23:59:59.500Z");
        assert_eq!(written(-62_135_596_800, 0), "0001-01-01T00:00:00Z");
        assert_eq!(written(253_402_300_799, 0), "9999-12-31T23:59:59.000Z");
        assert_eq!(rendered_at(253_402_300_800, 0), None);
        assert_eq!(rendered_at(i64::MIN, i32::MIN), None);
    }

    #[test]
    fn a_duration_that_no_sidecar_can_wait_is_refused() {
        for text in ["18446744073709551615s", "366d", "-1s", "5", ""] {
            assert_eq!(
                duration(text).unwrap_err(),
                "expected a duration with its unit, such as 250ms or 30s, of 365 days at most"
            );
        }
        assert_eq!(duration("365d").unwrap(), Duration::from_secs(365 * 86_400));
    }
}
