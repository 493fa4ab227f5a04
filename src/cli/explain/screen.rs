//! The explanation of a project as people read it.

use crate::{
    charts::columns,
    client::admin::{ExplainReply, GateReply, HeldReply, ProjectReply},
    moment::spoken,
    printable::printable,
};

/// The most bytes that are shown of a text that another process sent.
const MAX_SAID: usize = 300;

/// Lays an explanation out.
pub(super) fn screen(told: &ExplainReply) -> String {
    let state = &told.state;
    let mut lines = vec![
        ["held".to_owned(), held(state)],
        ["wanted".to_owned(), wanted(state)],
    ];
    if let Some(failure) = &state.last_failure {
        let failure = printable(failure, MAX_SAID);
        let times = format!("{} in a row: {failure}", state.failures_in_a_row);
        lines.push(["failures".to_owned(), times]);
    }
    let gates = columns(told.gates.iter().map(gate));
    for (at, gate) in gates.lines().enumerate() {
        let name = if at == 0 { "gates" } else { "" };
        lines.push([name.to_owned(), gate.to_owned()]);
    }
    columns(lines)
}

fn held(state: &ProjectReply) -> String {
    let Some(held) = &state.held else {
        return "nothing".to_owned();
    };
    let HeldReply {
        order,
        rendered_at,
        bytes,
        validated_ago,
    } = held;
    let rendered = rendered_at
        .as_ref()
        .map_or_else(String::new, |at| format!(", rendered {at}"));
    let outdated = state.outdated_for.map_or_else(
        || ", fresh".to_owned(),
        |outdated_for| format!(", outdated for {}", spoken(outdated_for)),
    );
    format!(
        "rollout {}, number {}, {}{rendered}, confirmed {} ago{outdated}",
        order.rollout,
        order.number,
        size(*bytes),
        spoken(*validated_ago)
    )
}

fn wanted(state: &ProjectReply) -> String {
    let again = state.retry_after.map(spoken);
    let Some(reason) = &state.not_refreshed else {
        return match (&state.held, again) {
            (None, Some(again)) => {
                format!("no: the renderer does not know it, and may be asked again in {again}")
            }
            _ => "no".to_owned(),
        };
    };
    let mut said = match state.held {
        Some(_) => "outdated".to_owned(),
        None => "missing".to_owned(),
    };
    if let (None, Some(wanted_for)) = (&state.held, state.outdated_for) {
        said += &format!(" for {}", spoken(wanted_for));
    }
    if state.in_flight {
        said += "; in flight, past all gates";
    } else {
        said += &format!("; {}", printable(reason, MAX_SAID));
    }
    if let Some((place, of)) = state.turn {
        said += &format!("; place {place} of {of}");
    }
    if let Some(again) = again {
        said += &format!("; in about {again}");
    }
    said
}

fn gate(gate: &GateReply) -> [String; 3] {
    let name = printable(&gate.gate, MAX_SAID);
    let says = printable(&gate.says, MAX_SAID);
    if gate.passes {
        return [name, "ok".to_owned(), says];
    }
    let opens = gate
        .opens_in
        .map_or_else(String::new, |after| format!(", opens in {}", spoken(after)));
    [
        name.to_uppercase(),
        "NO".to_owned(),
        format!("{says}{opens}"),
    ]
}

fn size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let of = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        ..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{:.1} KiB", of(KIB)),
        MIB.. => format!("{:.1} MiB", of(MIB)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::revision::Order;

    fn throttled() -> ExplainReply {
        let gates = [
            ("draining", true, "not draining"),
            ("project", true, "not left alone"),
            ("concurrency", true, "1 of 3 renders in flight"),
            ("tokens", false, "0.11 tokens, at 0.07/s"),
        ];
        let gates = gates.map(|(gate, passes, says)| GateReply {
            gate: gate.to_owned(),
            passes,
            says: says.to_owned(),
            opens_in: (!passes).then_some(Duration::from_millis(14_800)),
        });
        ExplainReply {
            state: ProjectReply {
                project: "trailhead".to_owned(),
                held: Some(HeldReply {
                    order: Order::new(1, 1_795_721_113_905),
                    rendered_at: Some("2026-11-26T14:02:11.000Z".to_owned()),
                    bytes: 3_174,
                    validated_ago: Duration::from_secs(401),
                }),
                outdated_for: Some(Duration::from_secs(41)),
                in_flight: false,
                not_refreshed: Some("THROTTLED".to_owned()),
                retry_after: Some(Duration::from_secs(232)),
                last_failure: None,
                failures_in_a_row: 0,
                turn: Some((14, 31)),
            },
            gates: gates.into(),
        }
    }

    #[test]
    fn the_screen_of_an_explanation_stays_as_operators_know_it() {
        assert_eq!(
            screen(&throttled()),
            "
held    rollout 1, number 1795721113905, 3.1 KiB, rendered 2026-11-26T14:02:11.000Z, confirmed 401s ago, outdated for 41s
wanted  outdated; THROTTLED; place 14 of 31; in about 232s
gates   draining     ok  not draining
        project      ok  not left alone
        concurrency  ok  1 of 3 renders in flight
        TOKENS       NO  0.11 tokens, at 0.07/s, opens in 15s"
                .trim_start()
        );
    }

    #[test]
    fn a_project_that_fails_in_flight_and_one_that_is_unknown_are_said_to_be_so() {
        let mut told = throttled();
        told.gates.clear();
        told.state.in_flight = true;
        told.state.turn = None;
        told.state.last_failure = Some("one\ntwo\x1b[31m".to_owned());
        told.state.failures_in_a_row = 2;
        let shown = screen(&told);
        assert!(
            shown.contains("wanted    outdated; in flight, past all gates; in about"),
            "{shown}"
        );
        assert!(
            shown.contains(r"failures  2 in a row: one\ntwo\u{1b}[31m"),
            "{shown}"
        );

        told.state.held = None;
        told.state.not_refreshed = None;
        told.state.in_flight = false;
        let shown = screen(&told);
        assert!(shown.starts_with("held      nothing\n"), "{shown}");
        assert!(shown.contains("the renderer does not know it"), "{shown}");
    }
}
