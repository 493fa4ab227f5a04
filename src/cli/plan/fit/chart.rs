//! The picture of a replayed record: the replay with the recorded limits beside the one with other
//! limits, or beside the record, over the same axes.

use std::time::Duration;

use super::report::FitReport;
use crate::{
    charts::{Axes, Diagram, Picture, Steps},
    moment::spoken,
    replay::Course,
    verdict::figure,
};

const SIZE: (f64, f64) = (960.0, 436.0);
const LEFT: f64 = 56.0;
const TOP: f64 = 92.0;
const DIAGRAM: (f64, f64) = (412.0, 132.0);
const GAP: (f64, f64) = (48.0, 44.0);

const STYLE: &str = ".outdated { fill: #e3a008 } .renders { fill: #8065c9 }";

/// A diagram's class, its name, its values, and what one of its units is worth.
type FitRow = (
    &'static str,
    fn(&Course) -> String,
    fn(&Course) -> &Vec<f64>,
    f64,
);

const ROWS: [FitRow; 2] = [
    (
        "outdated",
        |course| format!("answers outdated, %: {:.1} of all", 100.0 * course.outdated),
        |course| &course.outdated_by_step,
        100.0,
    ),
    (
        "renders",
        |course| {
            let (all, most) = (figure(course.renders), figure(course.most_renders));
            format!("renders per second: {all}, at most {most} in one second")
        },
        |course| &course.renders_by_step,
        1.0,
    ),
];

/// Draws it.
pub(super) fn draw(report: &FitReport) -> String {
    let sides = match &report.changed {
        Some(changed) => [
            ("with the recorded limits".to_owned(), &report.replayed),
            (format!("with {}", report.change()), changed),
        ],
        None => [
            ("recorded".to_owned(), &report.recorded),
            ("replayed".to_owned(), &report.replayed),
        ],
    };
    let says = sides.each_ref().map(|(name, course)| says(name, course));
    let mut picture = Picture::new(SIZE, "A recorded while, replayed", &says.join("; "), STYLE);
    let title = "A recorded while, replayed: seconds since the raise of the target.";
    picture.text("", (LEFT, 30.0), title);
    let raised_at = report.recorded.raised_at.unwrap_or_default().as_secs_f64();
    let lasts = report.recorded.lasts.as_secs_f64().max(1.0);
    for (column, says) in (0_u8..).zip(&says) {
        picture.text("head", (left(column), TOP - 28.0), says);
    }
    for (at, (class, name, values, unit)) in (0_u8..).zip(ROWS) {
        let tops = sides.iter().map(|(_, course)| {
            let values = values(course).iter().copied();
            values.fold(0.0, f64::max) * unit
        });
        let axes = Axes::new(-raised_at, lasts - raised_at, tops.fold(0.01, f64::max));
        for (column, (_, course)) in (0_u8..).zip(&sides) {
            let diagram = Diagram {
                left: left(column),
                top: TOP + f64::from(at) * (DIAGRAM.1 + GAP.1),
                size: DIAGRAM,
                axes,
            };
            diagram.frame(&mut picture, &name(course), None);
            let values: Vec<_> = values(course).iter().map(|value| value * unit).collect();
            let steps = Steps {
                from: -raised_at,
                every: seconds(course.step),
            };
            let none = vec![0.0; values.len()];
            diagram.area(&mut picture, class, steps, (&none, &values));
            if usize::from(at) + 1 == ROWS.len() {
                let zero = if report.recorded.raised_at.is_some() {
                    "raise"
                } else {
                    "start"
                };
                diagram.seconds(&mut picture, zero);
            }
        }
    }
    picture.finish()
}

fn says(name: &str, course: &Course) -> String {
    match (course.raised_at, course.fresh_after) {
        (None, _) => name.to_owned(),
        (Some(_), Some(after)) => format!("{name}: all fresh after {}", spoken(after)),
        (Some(_), None) => format!("{name}: not all fresh"),
    }
}

fn left(column: u8) -> f64 {
    LEFT + f64::from(column) * (DIAGRAM.0 + GAP.0)
}

fn seconds(step: Duration) -> f64 {
    step.as_secs_f64().max(1.0)
}
