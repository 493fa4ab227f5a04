//! The words for what each gate answers. Their order is admission's.

use std::time::Duration;

use crate::admission::{Gate, Ladder, Shut};

/// What one gate answers to a project.
#[derive(Clone, Debug, PartialEq)]
pub struct GateAnswer {
    /// Its name in metrics.
    pub gate: &'static str,
    /// What it goes by, for people.
    pub says: String,
    /// When it is expected to open; none when it is open.
    pub opens_in: Option<Duration>,
}

/// What the gates answer, in the order of asking.
pub(super) fn answers(ladder: &Ladder) -> Vec<GateAnswer> {
    let answers = ladder.gates.iter().map(|&(gate, shut)| GateAnswer {
        gate: gate.as_str(),
        says: says(gate, shut, ladder),
        opens_in: shut.map(|shut| shut.wait),
    });
    answers.collect()
}

fn says(gate: Gate, shut: Option<Shut>, ladder: &Ladder) -> String {
    let either = |open: &str, closed: &str| match shut {
        None => open.to_owned(),
        Some(_) => closed.to_owned(),
    };
    match gate {
        Gate::Draining => either("not draining", "the sidecar is shutting down"),
        Gate::Breaker => either("closed", "open: nothing is rendered for a while"),
        Gate::Connection => either("connected", "not connected to the renderer"),
        Gate::Hold => either("no pushback", "the renderer asked for a pause"),
        Gate::Project => shut.map_or_else(
            || "not left alone".to_owned(),
            |shut| shut.reason.to_string(),
        ),
        Gate::Queue => format!(
            "{} of {} missing projects wait",
            ladder.waiting, ladder.queue
        ),
        Gate::Concurrency => {
            let calls = if ladder.is_fetch {
                "fetches"
            } else {
                "renders"
            };
            format!(
                "{} of {} {calls} in flight",
                ladder.in_flight, ladder.permits
            )
        }
        Gate::Tokens if ladder.is_fetch => either("fetches have tokens", "fetches have no token"),
        Gate::Tokens => format!("{:.2} tokens, at {:.2}/s", ladder.tokens, ladder.rate),
    }
}
