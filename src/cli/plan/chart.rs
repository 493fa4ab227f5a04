//! The picture of a plan: before and after side by side over the same axes, as a self-contained
//! SVG.

use std::time::Duration;

use super::report::{Report, Side, by_step};
use crate::{
    charts::{Axes, Diagram, Picture, Steps},
    moment::spoken,
    plan::Prediction,
    verdict::figure,
};

const SIZE: (f64, f64) = (960.0, 612.0);
const LEFT: f64 = 56.0;
const TOP: f64 = 92.0;
const DIAGRAM: (f64, f64) = (412.0, 132.0);
const GAP: (f64, f64) = (48.0, 44.0);

const STYLE: &str = "\
.outdated { fill: #e3a008 } .renders { fill: #8065c9 } .cores { fill: #3b82c4 }";

/// A diagram's name, its class, its values, and a value that is not to be exceeded.
struct Row {
    name: fn(&Side) -> String,
    class: &'static str,
    values: fn(&Prediction) -> (Vec<f64>, Duration),
    limit: fn(&Side) -> Option<(f64, String)>,
    /// What one of its units is worth.
    unit: f64,
}

const ROWS: [Row; 3] = [
    Row {
        name: |(_, predicted)| match predicted.fresh_after {
            Some(after) => format!("answers outdated, %: none after {}", spoken(after)),
            None => format!(
                "answers outdated, %: some after {}",
                spoken(predicted.followed)
            ),
        },
        class: "outdated",
        values: |predicted| {
            let step = (predicted.step / 10).max(Duration::from_secs(1));
            (by_step(predicted, step), step)
        },
        limit: |_| None,
        unit: 100.0,
    },
    Row {
        name: |(_, predicted)| {
            let most = figure(predicted.most_renders);
            format!("renders per second: at most {most} in one second")
        },
        class: "renders",
        values: |predicted| (predicted.per_second.clone(), predicted.step),
        limit: |(case, _)| {
            Some((
                case.fleet_rate(),
                format!("rate: {}", figure(case.fleet_rate())),
            ))
        },
        unit: 1.0,
    },
    Row {
        name: |(_, predicted)| {
            format!(
                "cores that render: at most {:.1} for 10 s",
                predicted.most_busy
            )
        },
        class: "cores",
        values: |predicted| (predicted.cores.clone(), predicted.step),
        limit: |(case, _)| {
            case.renderers
                .map(|all| (all, format!("cores: {}", figure(all))))
        },
        unit: 1.0,
    },
];

/// Draws it.
pub(super) fn draw(report: &Report) -> String {
    let mut picture = head(report);
    let lasts = report.lasts().as_secs_f64().max(1.0);
    for (at, row) in (0_u8..).zip(&ROWS) {
        let tops = report.sides().map(|(_, side)| {
            let limit = (row.limit)(side).map_or(0.0, |(limit, _)| limit);
            let (values, _) = (row.values)(&side.1);
            values.into_iter().fold(limit, f64::max) * row.unit
        });
        let axes = Axes::new(0.0, lasts, tops.fold(0.01, f64::max));
        for (column, (_, side)) in (0_u8..).zip(report.sides()) {
            let diagram = Diagram {
                left: left(column),
                top: TOP + f64::from(at) * (DIAGRAM.1 + GAP.1),
                size: DIAGRAM,
                axes,
            };
            diagram.frame(&mut picture, &(row.name)(side), outage(side));
            let (values, step) = (row.values)(&side.1);
            let values: Vec<_> = values.iter().map(|value| value * row.unit).collect();
            let steps = Steps {
                from: 0.0,
                every: step.as_secs_f64(),
            };
            let none = vec![0.0; values.len()];
            diagram.area(&mut picture, row.class, steps, (&none, &values));
            if let Some((limit, name)) = (row.limit)(side) {
                diagram.budget(&mut picture, limit, &name);
            }
            if usize::from(at) + 1 == ROWS.len() {
                diagram.seconds(&mut picture, "release");
            }
        }
    }
    picture.finish()
}

fn left(column: u8) -> f64 {
    LEFT + f64::from(column) * (DIAGRAM.0 + GAP.0)
}

fn outage((case, _): &Side) -> Option<((f64, f64), &'static str)> {
    let lasts = case.outage.as_secs_f64();
    (lasts > 0.0).then_some(((0.0, lasts), "renderers away"))
}

fn head(report: &Report) -> Picture {
    let mut says = Vec::new();
    for (name, (case, predicted)) in report.sides() {
        let fresh = match predicted.fresh_after {
            Some(after) => format!("all fresh after {}", spoken(after)),
            None => format!("not all fresh after {}", spoken(predicted.followed)),
        };
        says.push(format!(
            "{name}: {} pods at {}/s, {fresh}",
            case.pods,
            figure(case.fleet_rate())
        ));
    }
    let mut picture = Picture::new(
        SIZE,
        "A planned release, before and after a change of limits",
        &says.join("; "),
        STYLE,
    );
    picture.text(
        "",
        (LEFT, 30.0),
        "A planned release: the raise of the target is at 0.",
    );
    for (column, says) in (0_u8..).zip(&says) {
        picture.text("head", (left(column), TOP - 28.0), says);
    }
    picture
}
