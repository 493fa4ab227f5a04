//! A status as a screen of text. The text may change; scripts read the JSON.

use std::time::Duration;

use super::Status;
use crate::{
    moment::spoken,
    verdict::{Facts, Landed, PerGate, figure, time},
};

/// How many characters a bar has.
const BAR: usize = 20;

/// The screen of one sidecar.
pub fn screen(status: &Status) -> String {
    let facts = &status.facts;
    let mut lines = vec![
        format!(
            "{}  evenkeel {}  up {}  {}",
            status.name,
            status.version,
            spoken(Duration::from_secs(status.up)),
            if status.ready { "ready" } else { "not ready" }
        ),
        said(&status.code, &status.says),
        said("do", &status.do_),
    ];
    for code in &status.beside {
        let advice = match code.as_str() {
            "SETTINGS_BAD" => crate::verdict::Code::SettingsBad.advice(),
            _ => "",
        };
        lines.push(said(code, advice));
    }
    lines.push(String::new());
    lines.push(fresh(facts, &rollout(status.target, status.raised)));
    lines.push(lookups(status));
    lines.push(stopped(facts));
    lines.push(renders(facts, status.burst));
    lines.push(renderer(facts));
    let pending = match status.pending {
        0 => "nothing pending".to_owned(),
        count => format!("{count} pending until a restart"),
    };
    let valid = if facts.settings_bad > 0 {
        "bad since then"
    } else {
        "valid"
    };
    lines.push(format!(
        "settings {} {valid}, {pending}; {}",
        status.settings,
        share(facts, status.fleet_size)
    ));
    lines.join("\n") + "\n"
}

/// A code, or another word, and what is to be said of it.
pub(super) fn said(code: &str, says: &str) -> String {
    format!("{code:<8} {says}")
}

fn rollout(target: u64, raised: Option<u64>) -> String {
    match raised {
        Some(ago) => format!("rollout {target} for {}", spoken(Duration::from_secs(ago))),
        None => format!("rollout {target}"),
    }
}

pub(super) fn fresh(facts: &Facts, rollout: &str) -> String {
    let held = facts.fresh.saturating_add(facts.outdated);
    format!(
        "fresh    {}  {} of {held}   {rollout}; {} failing; {} missing wanted",
        bar(facts.fresh, held),
        facts.fresh,
        facts.failing,
        facts.wanted_missing
    )
}

fn bar(part: u32, of: u32) -> String {
    let filled = if of == 0 {
        0
    } else {
        (u64::from(part) * BAR as u64 / u64::from(of)) as usize
    };
    "█".repeat(filled) + &"░".repeat(BAR - filled)
}

fn lookups(status: &Status) -> String {
    let facts = &status.facts;
    let seconds = facts.window_seconds.max(0.001);
    let because: Vec<_> = status
        .outdated_because
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let because = match because.is_empty() {
        true => String::new(),
        false => format!(": {}", because.join(", ")),
    };
    format!(
        "lookups  {}/s, {} failed; outdated {}{because}",
        figure(f64::from(facts.lookups) / seconds),
        facts.lookups_failed,
        percent(facts.lookups_outdated, facts.lookups)
    )
}

/// Which gates stop what is wanted, and for which part of the time in which something is.
pub(super) fn stopped(facts: &Facts) -> String {
    let names = PerGate::<f64>::NAMES;
    let mut gates: Vec<_> = names.into_iter().zip(facts.bound.all()).collect();
    gates.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let gates: Vec<_> = gates
        .into_iter()
        .map(|(name, bound)| (name, (100.0 * facts.part_bound(bound)).round()))
        .filter(|(_, part)| *part > 0.0)
        .map(|(name, part)| format!("{name} {part:.0} %"))
        .collect();
    match gates.is_empty() {
        true => "stopped  nothing".to_owned(),
        false => format!(
            "stopped  {} of the time in which something was wanted",
            gates.join(", ")
        ),
    }
}

fn renders(facts: &Facts, burst: u32) -> String {
    let all = facts.landed.sum();
    let mut results: Vec<_> = Landed::<u32>::NAMES
        .into_iter()
        .zip(facts.landed.all())
        .filter(|(name, count)| *count > 0 && *name != "stored")
        .collect();
    results.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let results: String = results
        .iter()
        .map(|(name, count)| format!("; {name} {}", percent(*count, all)))
        .collect();
    let (median, usual) = (facts.median_seconds, facts.usual_seconds);
    let median = if median > 0.0 {
        format!("; median {}", time(median))
    } else {
        String::new()
    };
    let usual = if usual > 0.0 {
        format!(", usually {}", time(usual))
    } else {
        String::new()
    };
    format!(
        "renders  {}/s of {}/s (burst {burst}, {} of {} in flight, oldest {}){results}{median}{usual}",
        figure(facts.renders_per_second),
        figure(facts.rate_in_force),
        facts.in_flight,
        facts.concurrency,
        time(facts.oldest_seconds)
    )
}

fn renderer(facts: &Facts) -> String {
    let (connected, breaker, pushback) = (
        if facts.disconnected > 0 {
            "not connected"
        } else {
            "connected"
        },
        if facts.broken > 0 {
            "breaker open"
        } else {
            "breaker closed"
        },
        if facts.pushed_back > 0 {
            "pushed back"
        } else {
            "no pushback"
        },
    );
    format!("renderer {connected}, {breaker}, {pushback}")
}

fn share(facts: &Facts, fleet_size: Option<u32>) -> String {
    let rate = figure(facts.rate);
    match fleet_size {
        Some(size) => format!(
            "{rate}/s in this sidecar, {}/s in {size}",
            figure(facts.rate * f64::from(size))
        ),
        None => format!("{rate}/s in this sidecar alone"),
    }
}

fn percent(part: u32, of: u32) -> String {
    let part = f64::from(part) / f64::from(of.max(1));
    format!("{:.0} %", 100.0 * part)
}
