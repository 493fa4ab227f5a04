//! The picture of a demo: both storms side by side over the same axes, as a self-contained SVG.

use super::{DemoReport, Measured, Series, measured::STEP};
use crate::charts::{Axes, Diagram, Picture, Steps};

const SIZE: (f64, f64) = (960.0, 612.0);
const LEFT: f64 = 56.0;
const TOP: f64 = 92.0;
const DIAGRAM: (f64, f64) = (412.0, 132.0);
const GAP: (f64, f64) = (48.0, 44.0);

const STYLE: &str = "\
.fresh { fill: #3b82c4 } .outdated { fill: #e3a008 } .failed { fill: #d1393f } .renders { fill: #8065c9 }
.line.projects { stroke: #3b82c4; fill: none }";

/// Draws it.
pub(super) fn draw(report: &DemoReport) -> String {
    let (incident, evenkeel) = (&report.incident, &report.evenkeel);
    let both = [&incident.series, &evenkeel.series];
    let lookups = axes(
        both,
        |it| stacked(it).last().cloned().unwrap_or_default(),
        1.0,
    );
    let renders = axes(both, |it| it.renders.clone(), report.terms.rate);
    let projects = report.terms.projects.get() as f64;
    let projects = axes(both, |it| it.projects_fresh.clone(), projects);

    let mut picture = head(report);
    let ways = [
        ("the way of the incident", incident),
        ("with evenkeel", evenkeel),
    ];
    for (column, (name, measured)) in ways.into_iter().enumerate() {
        let left = LEFT + column as f64 * (DIAGRAM.0 + GAP.0);
        picture.text("head", (left, TOP - 28.0), name);
        let diagram = |row: f64, axes| Diagram {
            left,
            top: TOP + row * (DIAGRAM.1 + GAP.1),
            size: DIAGRAM,
            axes,
        };
        let picture = &mut picture;
        draw_lookups(picture, &diagram(0.0, lookups), &measured.series);
        draw_renders(picture, &diagram(1.0, renders), measured, report.terms.rate);
        draw_projects(picture, &diagram(2.0, projects), measured);
    }
    picture.finish()
}

/// Axes wide enough for both series, and high enough for a least value too. Time counts from the
/// release.
fn axes(both: [&Series; 2], values: fn(&Series) -> Vec<usize>, least: f64) -> Axes {
    let end = |series: &Series| steps(series).at(series.projects_fresh.len().saturating_sub(1));
    let most = both.map(|it| values(it).into_iter().max().unwrap_or(0) as f64);
    Axes::new(
        -both[0].release.max(both[1].release),
        end(both[0]).max(end(both[1])),
        most[0].max(most[1]).max(least),
    )
}

fn steps(series: &Series) -> Steps {
    Steps {
        from: -series.release,
        every: STEP.as_secs_f64(),
    }
}

fn head(report: &DemoReport) -> Picture {
    let terms = report.terms;
    let title = format!(
        "A release over {} projects, the way of the incident and with evenkeel",
        terms.projects
    );
    let description = format!(
        "The way of the incident {} lookups fail and {} renders are asked for; with evenkeel {} fail and {} are asked for.",
        report.incident.failed,
        report.incident.asked,
        report.evenkeel.failed,
        report.evenkeel.asked,
    );
    let mut picture = Picture::new(SIZE, &title, &description, STYLE);
    let what = format!(
        "A release over {} projects: the same {} callers, renderer and deadlines.",
        terms.projects, terms.callers
    );
    picture.text("", (LEFT, 30.0), &what);
    for (class, left, name) in [
        ("fresh", 560.0, "answered fresh"),
        ("outdated", 682.0, "answered outdated"),
        ("failed", 828.0, "failed"),
    ] {
        picture.key(class, (left, 30.0), name);
    }
    picture
}

fn frame(picture: &mut Picture, diagram: &Diagram, series: &Series, name: &str) {
    let since_release = |(from, to)| (from - series.release, to - series.release);
    let fault = series.fault.map(|fault| (since_release(fault), "fault"));
    diagram.frame(picture, name, fault);
}

fn draw_lookups(picture: &mut Picture, diagram: &Diagram, series: &Series) {
    frame(picture, diagram, series, "lookups per second");
    let layers = stacked(series);
    let mut below = vec![0; layers[0].len()];
    for (class, above) in ["fresh", "outdated", "failed"].into_iter().zip(layers) {
        diagram.area(picture, class, steps(series), (&below, &above));
        below = above;
    }
    diagram.mark(picture);
}

fn draw_renders(picture: &mut Picture, diagram: &Diagram, measured: &Measured, rate: f64) {
    let series = &measured.series;
    let what = format!("renders asked for per second: {} in all", measured.asked);
    frame(picture, diagram, series, &what);
    let none = vec![0; series.renders.len()];
    diagram.area(picture, "renders", steps(series), (&none, &series.renders));
    diagram.mark(picture);
    diagram.budget(picture, rate, &format!("budget: {rate}"));
}

fn draw_projects(picture: &mut Picture, diagram: &Diagram, measured: &Measured) {
    let series = &measured.series;
    let what = match measured.fresh_after {
        Some(after) => format!("projects fresh: all after {:.1} s", after.as_secs_f64()),
        None => format!("projects fresh: {} still outdated", measured.not_fresh),
    };
    frame(picture, diagram, series, &what);
    diagram.mark(picture);
    diagram.line(picture, "projects", steps(series), &series.projects_fresh);
    diagram.seconds(picture, "release");
}

/// Answered fresh; and outdated on top; and failed on top of these.
fn stacked(series: &Series) -> [Vec<usize>; 3] {
    let add = |one: &[usize], other: &[usize]| -> Vec<usize> {
        one.iter()
            .zip(other)
            .map(|(one, other)| one + other)
            .collect()
    };
    let answered = add(&series.fresh, &series.outdated);
    let all = add(&answered, &series.failed);
    [series.fresh.clone(), answered, all]
}

#[cfg(test)]
mod tests;
