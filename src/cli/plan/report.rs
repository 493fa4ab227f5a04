//! A plan as people and machines read it: a table with before and after, or one JSON object.

use std::time::Duration;

use serde_json::{Value, json};

use super::sides::Known;
use crate::{
    charts,
    moment::spoken,
    plan::{Case, Prediction, Unfit, doubts, predict},
    verdict::{figure, time},
};

/// The schema of the JSON. Readers ignore fields that they do not know; a change of what a field
/// means has another name.
const SCHEMA: &str = "evenkeel.plan/1";

/// A case, and what is predicted of it.
pub(super) type Side = (Case, Prediction);

/// A plan.
#[derive(Debug)]
pub(super) struct Report {
    /// As it is.
    pub(super) before: Side,
    /// As it would be; none when nothing is changed.
    pub(super) after: Option<Side>,
    notes: Vec<String>,
}

impl Report {
    /// Predicts both cases, once if they are the same.
    ///
    /// # Errors
    /// When a case is not fit.
    pub(super) fn of(cases: [Case; 2], known: &Known) -> Result<Self, Unfit> {
        let [before, after] = cases;
        let side = |case: Case| predict(&case).map(|predicted| (case, predicted));
        let mut report = Self {
            before: side(before)?,
            after: (before != after).then(|| side(after)).transpose()?,
            notes: known.note(&cases).into_iter().collect(),
        };
        let doubts = report
            .sides()
            .map(|(name, (case, predicted))| (name, doubts(case, predicted, known.seen())));
        let doubts: Vec<_> = doubts.collect();
        let is_of_all = |doubt: &String| doubts.iter().all(|(_, all)| all.contains(doubt));
        for (name, all) in &doubts {
            for doubt in all {
                let note = match is_of_all(doubt) {
                    true => doubt.clone(),
                    false => format!("{name}: {doubt}"),
                };
                if !report.notes.contains(&note) {
                    report.notes.push(note);
                }
            }
        }
        Ok(report)
    }

    /// Both sides, with their names.
    pub(super) fn sides(&self) -> impl Iterator<Item = (&'static str, &Side)> {
        let after = self.after.iter().map(|side| ("after", side));
        [("before", &self.before)].into_iter().chain(after)
    }

    /// How long the longer of both is followed.
    pub(super) fn lasts(&self) -> Duration {
        let followed = self.sides().map(|(_, (_, predicted))| predicted.followed);
        followed.max().unwrap_or_default()
    }

    /// The table, and what has to be known to trust it.
    pub(super) fn text(&self) -> String {
        let rows = self.rows();
        let table = match &self.after {
            None => charts::table(
                ["a release", "as it is"],
                rows.into_iter().map(|(name, before, _)| [name, before]),
            ),
            Some(_) => charts::table(
                ["a release", "before", "after"],
                rows.into_iter()
                    .map(|(name, before, after)| [name, before, after]),
            ),
        };
        let notes = self.notes.iter().map(|note| format!("\nnote  {note}"));
        table + &notes.collect::<String>()
    }

    fn rows(&self) -> Vec<(String, String, String)> {
        let mut rows = Vec::new();
        let mut row = |name: &str, shown: &dyn Fn(&Side) -> String| {
            let after = self.after.as_ref().map(shown).unwrap_or_default();
            rows.push((name.to_owned(), shown(&self.before), after));
        };
        row("pods × projects", &|(case, _)| {
            format!("{} × {}", case.pods, case.projects)
        });
        row("renders/s of a pod, of all", &|(case, _)| {
            format!("{}, {}", figure(case.rate), figure(case.fleet_rate()))
        });
        row("burst, concurrency of a pod", &|(case, _)| {
            format!("{}, {}", case.burst, case.concurrency)
        });
        row("the renderers' cores", &|(case, _)| {
            case.renderers.map_or("enough".to_owned(), figure)
        });
        row("median render on its own core", &|(case, _)| {
            time(case.render_time.as_secs_f64())
        });
        if self.sides().any(|(_, (case, _))| !case.outage.is_zero()) {
            row("renderers away for", &|(case, _)| spoken(case.outage));
        }
        row("all fresh after", &fresh_after);
        for (name, part) in [("¼", 0.25), ("½", 0.5), ("¾", 0.75)] {
            let at = self.lasts().mul_f64(part);
            let name = format!("outdated answers after {} ({name})", spoken(at));
            row(&name, &|(_, predicted)| percent(outdated(predicted, at)));
        }
        row("renders", &|(_, predicted)| figure(predicted.renders));
        row("  of which brought nothing", &|(_, predicted)| {
            percent(predicted.useless)
        });
        row("  most in any second", &|(_, predicted)| {
            figure(predicted.most_renders)
        });
        row("  median time", &|(_, predicted)| {
            time(predicted.render_time.as_secs_f64())
        });
        row("cores busy on average", &|(case, predicted)| {
            cores(case, predicted.busy)
        });
        row("  in the busiest 10 s", &|(case, predicted)| {
            cores(case, predicted.most_busy)
        });
        rows
    }

    /// The table as one line of JSON, with the series over time.
    pub(super) fn json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "before": side(&self.before),
            "after": self.after.as_ref().map(side),
            "notes": self.notes,
        })
    }
}

fn side((case, predicted): &Side) -> Value {
    json!({
        "pods": case.pods,
        "projects": case.projects,
        "rate": case.rate,
        "fleet_rate": case.fleet_rate(),
        "burst": case.burst,
        "concurrency": case.concurrency,
        "renderers": case.renderers,
        "render_seconds": case.render_time.as_secs_f64(),
        "outage_seconds": case.outage.as_secs_f64(),
        "lookups_per_second": case.lookups,
        "pods_simulated": predicted.sampled.pods,
        "fresh_after_seconds": predicted.fresh_after.map(|after| after.as_secs_f64()),
        "followed_seconds": predicted.followed.as_secs_f64(),
        "fresh_share": predicted.fresh,
        "renders": predicted.renders,
        "useless_share": predicted.useless,
        "most_renders_in_a_second": predicted.most_renders,
        "median_render_seconds": predicted.render_time.as_secs_f64(),
        "busy_cores": predicted.busy,
        "most_busy_cores": predicted.most_busy,
        "busy_share": case.renderers.map(|all| predicted.busy / all),
        "most_busy_share": case.renderers.map(|all| predicted.most_busy / all),
        "step_seconds": predicted.step.as_secs(),
        "outdated_share": by_step(predicted, predicted.step),
        "renders_per_second": predicted.per_second,
        "cores": predicted.cores,
    })
}

/// The part of the answers that is outdated at the end of each step.
pub(super) fn by_step(predicted: &Prediction, step: Duration) -> Vec<f64> {
    let step = usize::try_from(step.as_secs()).unwrap_or(usize::MAX).max(1);
    let chunks = predicted.outdated.chunks(step);
    chunks.filter_map(|chunk| chunk.last().copied()).collect()
}

/// The part of the answers that is outdated at a time.
fn outdated(predicted: &Prediction, at: Duration) -> f64 {
    let second = usize::try_from(at.as_secs()).unwrap_or(usize::MAX);
    let last = match predicted.fresh_after {
        Some(_) => 0.0,
        None => predicted.outdated.last().copied().unwrap_or_default(),
    };
    predicted.outdated.get(second).copied().unwrap_or(last)
}

fn fresh_after((_, predicted): &Side) -> String {
    match predicted.fresh_after {
        Some(after) => spoken(after),
        None => format!("not within {}", spoken(predicted.followed)),
    }
}

fn cores(case: &Case, busy: f64) -> String {
    let cores = format!("{busy:.1}");
    match case.renderers {
        Some(all) => format!("{cores} ({})", percent(busy / all)),
        None => cores,
    }
}

fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}
