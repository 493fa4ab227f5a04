//! The ladder of a sidecar or a fleet, from its facts.

use crate::{
    charts::{AskedPart, Direction, GatePart, LadderPicture},
    verdict::{Facts, figure, time},
};

/// Gates as people call them, in the order of [`NAMES`](crate::verdict::PerGate::NAMES).
const GATES: [&str; 8] = [
    "draining",
    "breaker",
    "connection",
    "hold",
    "cool-down",
    "queue",
    "permits",
    "tokens",
];

/// The ladder as part of a page, wide and tall: the style sheet shows one of them.
pub(super) fn draw(facts: &Facts) -> String {
    let bound: [f64; 8] = facts.bound.all();
    let gates: Vec<_> = GATES
        .into_iter()
        .zip(bound)
        .map(|(name, bound)| GatePart {
            name,
            part: facts.part_bound(bound).clamp(0.0, 1.0),
        })
        .collect();
    let seconds = facts.window_seconds.max(0.001);
    let asked = format!("{}/s", grouped(f64::from(facts.lookups) / seconds));
    let fresh = facts
        .lookups
        .saturating_sub(facts.lookups_outdated)
        .saturating_sub(facts.lookups_failed);
    let share = |class, name: &str, count: u32| {
        let part = f64::from(count) / f64::from(facts.lookups.max(1));
        (class, format!("{name} {}", percent(part)), part)
    };
    let shares = [
        share("fresh", "fresh", fresh),
        share("outdated", "outdated", facts.lookups_outdated),
        share("failed", "failed", facts.lookups_failed),
    ];
    let shares: Vec<_> = shares
        .iter()
        .map(|(class, name, part)| AskedPart {
            class,
            name,
            part: *part,
        })
        .collect();
    let wanted = grouped(f64::from(facts.left()));
    let through = format!("{}/s", figure(facts.renders_per_second));
    let takes = match facts.median_seconds {
        0.0 => "no render yet".to_owned(),
        seconds => format!("{} a render", time(seconds)),
    };
    let ladder = LadderPicture {
        asked: (&asked, "lookups"),
        shares: &shares,
        wanted: (&wanted, "wanted"),
        gates: &gates,
        through: &through,
        busy: (facts.in_flight, facts.concurrency),
        worker: ("renderer", &takes),
        waits: facts.left() > 0,
        flows: facts.in_flight > 0 || facts.landed.stored > 0,
    };
    ladder.draw(Direction::Wide, "wide") + &ladder.draw(Direction::Tall, "tall")
}

/// A part as people say it: what there is of a little is not nothing.
pub(super) fn percent(part: f64) -> String {
    match 100.0 * part {
        percent if percent > 0.0 && percent < 1.0 => "<1 %".to_owned(),
        percent if percent > 99.0 && percent < 100.0 => ">99 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

/// A figure with its thousands apart.
pub(super) fn grouped(value: f64) -> String {
    if value < 1000.0 {
        return figure(value);
    }
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::PerGate;

    #[test]
    fn the_gates_are_those_of_the_facts() {
        let same =
            |(name, ours): (&str, &str)| name == ours || (name, ours) == ("concurrency", "permits");
        assert!(PerGate::<f64>::NAMES.into_iter().zip(GATES).all(same));
    }

    #[test]
    fn figures_are_read_at_a_glance() {
        let shown = [0.0, 7.25, 999.0, 1_959.0, 3_912_345.0].map(grouped);
        assert_eq!(shown, ["0", "7.2", "999", "1,959", "3,912,345"]);
        assert_eq!(
            [0.0, 0.001, 0.5, 0.9999, 1.0].map(percent),
            ["0 %", "<1 %", "50 %", ">99 %", "100 %"]
        );
    }
}
