//! How replies and failures are shown.

use bytes::Bytes;

use super::*;
use crate::{client::Outdated, revision::Order};

fn reply(payload: &'static [u8]) -> Reply {
    Reply {
        project: "demo/shop".into(),
        order: Order::new(2, 7),
        rendered_at: Some(std::time::SystemTime::UNIX_EPOCH),
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
        outdated: Some(Outdated {
            reason: "THROTTLED".into(),
            outdated_for: Duration::from_millis(401_250),
            retry_after: Duration::from_millis(3_240),
        }),
        ..reply(b"{}")
    }
}

fn refused() -> Refused {
    Refused {
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
    serde_json::to_value(ReplyAsJson::from(reply)).expect("is JSON")
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
    let text = serde_json::to_string(&FailureAsJson::new(&project(), &refused()));
    assert_eq!(
        text.expect("is JSON"),
        r#"{"project":"demo/shop","code":"UNAVAILABLE","reason":"RENDER_FAILED","message":"nothing is held","retry_after_seconds":0.85}"#
    );
}

#[test]
fn embeds_a_json_payload_as_it_was_written() {
    let payload = br#"{"b":1.10,"a":18446744073709551616}"#;
    let reply = reply(payload);
    let text = serde_json::to_string(&ReplyAsJson::from(&reply)).expect("is JSON");
    assert!(
        text.ends_with(
            r#""payload_encoding":"json","payload":{"b":1.10,"a":18446744073709551616}}"#
        )
    );
}

#[test]
fn embeds_a_json_payload_of_many_lines_in_one() {
    let reply = reply(b"{\r\n  \"a\": \"1\\n2\",\n\t\"b\": [1.10,\n2]\n}\n");
    let text = serde_json::to_string(&ReplyAsJson::from(&reply)).expect("is JSON");
    let payload = "{    \"a\": \"1\\n2\", \t\"b\": [1.10, 2] }";
    assert!(
        text.ends_with(&format!(
            r#""payload_encoding":"json","payload":{payload}}}"#
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
    let refused = Refused {
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
}
