//! A replayed record as people and machines read it: how well the replay fits, and a table or one
//! JSON object.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    charts,
    moment::spoken,
    record::{Record, RecordEnd},
    replay::{Course, OtherLimits, RendererModel, Replay},
    verdict::figure,
};

/// The schema of the JSON. Readers ignore fields that they do not know; a change of what a field
/// means has another name.
const SCHEMA: &str = "evenkeel.fit/1";
/// A figure that differs by this part fits.
const PART: f64 = 0.1;
/// As many renders more or less are a fit.
const RENDERS: f64 = 2.0;
/// So is this part of all answers.
const SHARE: f64 = 0.02;
/// So is this much time, in seconds.
const SECONDS: f64 = 1.0;

/// What was recorded, and what the replays were.
#[derive(Debug)]
pub(super) struct FitReport {
    pub(super) recorded: Course,
    /// With the recorded limits.
    pub(super) replayed: Course,
    /// With other limits; none when none are asked for.
    pub(super) changed: Option<Course>,
    pub(super) limits: OtherLimits,
    in_force: [String; 2],
    model: RendererModel,
    misfits: Vec<String>,
    notes: Vec<String>,
}

impl FitReport {
    pub(super) fn of(record: &Record, limits: OtherLimits) -> Self {
        let replay = Replay::of(record);
        let (recorded, replayed) = (replay.recorded(), replay.with(OtherLimits::default()));
        let changed = (!limits.are_none()).then(|| replay.with(limits));
        let start = record.start.limits;
        let shown = |rate, burst, concurrency| format!("{}, {burst}, {concurrency}", figure(rate));
        let mut report = Self {
            in_force: [
                shown(start.rate, start.burst, start.concurrency),
                shown(
                    limits.rate.unwrap_or(start.rate),
                    limits.burst.unwrap_or(start.burst),
                    limits.concurrency.unwrap_or(start.concurrency),
                ),
            ],
            model: replay.model(),
            misfits: misfits(&recorded, &replayed),
            notes: Vec::new(),
            recorded,
            replayed,
            changed,
            limits,
        };
        report.notes = report.notes_on(record);
        report
    }

    /// What the last column is called.
    pub(super) fn change(&self) -> String {
        let rate = self.limits.rate.map(|it| format!("--rate {}", figure(it)));
        let burst = self.limits.burst.map(|it| format!("--burst {it}"));
        let concurrency = self.limits.concurrency;
        let concurrency = concurrency.map(|it| format!("--concurrency {it}"));
        let flags: Vec<_> = [rate, burst, concurrency].into_iter().flatten().collect();
        flags.join(" ")
    }

    /// How well the replay fits, the table, and what has to be known to trust it.
    pub(super) fn text(&self) -> String {
        let title = format!("a record of {}", spoken(self.recorded.lasts));
        let rows = self.rows();
        let table = if self.changed.is_some() {
            charts::table([&title, "recorded", "replayed", &self.change()], rows)
        } else {
            let rows = rows
                .into_iter()
                .map(|[name, recorded, replayed, _]| [name, recorded, replayed]);
            charts::table([&title, "recorded", "replayed"], rows)
        };
        let notes = self.notes.iter().map(|note| format!("\nnote  {note}"));
        format!("fit   {}\n{table}{}", self.fit(), notes.collect::<String>())
    }

    /// The same as one line of JSON, with the series over time.
    pub(super) fn json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "fits": self.misfits.is_empty(),
            "recorded": course(&self.recorded),
            "replayed": course(&self.replayed),
            "changed": self.changed.as_ref().map(course),
            "workers": self.model.workers,
            "notes": self.notes,
        })
    }

    fn fit(&self) -> String {
        if self.misfits.is_empty() {
            return "Replayed with the recorded limits, the record comes out within 10 %."
                .to_owned();
        }
        format!(
            "Replayed with the recorded limits, the record does not come out: {}. Do not trust what other limits would do.",
            self.misfits.join(", ")
        )
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let mut rows = Vec::new();
        let changed = self.changed.as_ref();
        let mut row = |name: String, shown: &dyn Fn(&Course) -> String| {
            rows.push([
                name,
                shown(&self.recorded),
                shown(&self.replayed),
                changed.map(shown).unwrap_or_default(),
            ]);
        };
        row("renders".to_owned(), &|course| figure(course.renders));
        row("  of which brought nothing".to_owned(), &|it| {
            percent(it.useless)
        });
        row("  most in any second".to_owned(), &|it| {
            figure(it.most_renders)
        });
        row("  most in flight at once".to_owned(), &|it| {
            figure(it.most_at_once)
        });
        row("answers outdated".to_owned(), &|it| percent(it.outdated));
        if let Some(raised_at) = self.recorded.raised_at {
            for (name, part) in [("¼", 0.25), ("½", 0.5), ("¾", 0.75)] {
                let after = self.longest_release().mul_f64(part);
                let name = format!("  {} after the raise ({name})", spoken(after));
                row(name, &|course| percent(outdated(course, raised_at + after)));
            }
        }
        if self.courses().any(|course| course.failed > 0.0) {
            row("answers failed".to_owned(), &|it| percent(it.failed));
        }
        if self.recorded.raised_at.is_some() {
            row("all fresh after the raise".to_owned(), &fresh_after);
        }
        let [recorded, other] = self.in_force.clone();
        let limits = "renders/s, burst, concurrency".to_owned();
        rows.insert(0, [limits, recorded.clone(), recorded, other]);
        rows
    }

    pub(super) fn courses(&self) -> impl Iterator<Item = &Course> {
        [&self.recorded, &self.replayed]
            .into_iter()
            .chain(&self.changed)
    }

    /// How long the longest of the releases took, or was followed.
    fn longest_release(&self) -> Duration {
        let followed = |course: &Course| {
            let raised_at = course.raised_at?;
            Some(
                course
                    .fresh_after
                    .unwrap_or(course.lasts.saturating_sub(raised_at)),
            )
        };
        self.courses()
            .filter_map(followed)
            .max()
            .unwrap_or_default()
    }

    fn notes_on(&self, record: &Record) -> Vec<String> {
        let mut notes = Vec::new();
        let seen = self.model.seen_at_once;
        match self.model.workers {
            Some(workers) => notes.push(format!(
                "The renderer worked on {workers} renders at once; others waited for these."
            )),
            None => notes.push(format!(
                "No render was seen to wait for others, of up to {seen} in flight."
            )),
        }
        let most = self.changed.as_ref().map_or(0.0, |it| it.most_at_once);
        if self.model.workers.is_none() && most > seen as f64 {
            notes.push(format!(
                "Up to {} would be in flight: with so many the renderer was not observed, and may be slower.",
                figure(most)
            ));
        }
        notes.push("Other sidecars are taken to load the renderer as they did then.".to_owned());
        let stopped = |course: &Course| course.raised_at.is_some() && course.fresh_after.is_none();
        if self.courses().any(stopped) {
            notes.push(format!(
                "The record ends {} after the raise: a longer one would show when all is fresh.",
                spoken(self.longest_release())
            ));
        }
        if record.lost > 0 {
            notes.push(format!(
                "The record lacks {} facts or lookups that came too fast.",
                record.lost
            ));
        }
        let ended = match record.end {
            RecordEnd::Whole => None,
            RecordEnd::Full => Some("The record was full before its sidecar ended."),
            RecordEnd::Broken => Some("The last line of the record is cut off."),
        };
        notes.extend(ended.map(str::to_owned));
        notes
    }
}

/// The figures by which the replay differs from what was recorded.
fn misfits(recorded: &Course, replayed: &Course) -> Vec<String> {
    let is_far = |is: f64, was: f64, least: f64| (is - was).abs() > least.max(PART * was);
    let mut misfits = Vec::new();
    if is_far(replayed.renders, recorded.renders, RENDERS) {
        let (is, was) = (figure(replayed.renders), figure(recorded.renders));
        misfits.push(format!("{is} renders instead of {was}"));
    }
    if is_far(replayed.outdated, recorded.outdated, SHARE) {
        let (is, was) = (percent(replayed.outdated), percent(recorded.outdated));
        misfits.push(format!("{is} outdated instead of {was}"));
    }
    let seconds = |course: &Course| course.fresh_after.map(|after| after.as_secs_f64());
    let is_as_fresh = match (seconds(replayed), seconds(recorded)) {
        (Some(is), Some(was)) => !is_far(is, was, SECONDS),
        (is, was) => is == was,
    };
    if !is_as_fresh {
        let (is, was) = (fresh_after(replayed), fresh_after(recorded));
        misfits.push(format!("all fresh {is} after the raise instead of {was}"));
    }
    misfits
}

fn course(course: &Course) -> Value {
    let seconds = |time: Duration| time.as_secs_f64();
    json!({
        "seconds": seconds(course.lasts),
        "renders": course.renders,
        "useless_share": course.useless,
        "most_renders_in_a_second": course.most_renders,
        "most_renders_at_once": course.most_at_once,
        "outdated_share": course.outdated,
        "failed_share": course.failed,
        "raised_at_seconds": course.raised_at.map(seconds),
        "fresh_after_seconds": course.fresh_after.map(seconds),
        "step_seconds": seconds(course.step),
        "outdated_share_by_step": course.outdated_by_step,
        "renders_per_second_by_step": course.renders_by_step,
    })
}

/// The part of answers that is outdated in the step of a time.
fn outdated(course: &Course, at: Duration) -> f64 {
    let step = course.step.as_secs().max(1);
    let place = usize::try_from(at.as_secs() / step).unwrap_or(usize::MAX);
    course.outdated_by_step.get(place).copied().unwrap_or(0.0)
}

fn fresh_after(course: &Course) -> String {
    match course.fresh_after {
        Some(after) => spoken(after),
        None => "not seen".to_owned(),
    }
}

fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

#[cfg(test)]
mod tests;
