//! The picture of a demo: both storms side by side over the same axes, as a self-contained SVG.
//!
//! It has a background of its own, light or dark as the reader's browser wishes, so that it can be read on any page.

mod panel;

use std::fmt::Write as _;

use self::panel::{Axes, Panel};
use super::{Measured, Report, Series};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 612.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 92.0;
const PANEL: (f64, f64) = (412.0, 132.0);
const GAP: (f64, f64) = (48.0, 44.0);

const STYLE: &str = "\
text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f }
.head { font-size: 16px; font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.page { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #d8dee4 } .mark { stroke: #57606a; stroke-dasharray: 4 3 }
.budget { stroke: #24292f } .halo { paint-order: stroke; stroke: #ffffff; stroke-width: 3px; stroke-linejoin: round }
.fault { fill: #57606a; opacity: .14 } .line { fill: none; stroke-width: 2 }
.fresh { fill: #3b82c4 } .outdated { fill: #e3a008 } .failed { fill: #d1393f } .renders { fill: #8065c9 }
.line.projects { stroke: #3b82c4; fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #2a313a } .mark { stroke: #9198a1 } .budget { stroke: #e6edf3 } .halo { stroke: #0d1117 }
.fault { fill: #9198a1 }
}";

/// Draws it.
pub(super) fn draw(report: &Report) -> String {
    let (incident, evenkeel) = (&report.incident, &report.evenkeel);
    let both = [&incident.series, &evenkeel.series];
    let axes = |series: fn(&Series) -> Vec<usize>, least: f64| Axes::over(both, series, least);
    let lookups = axes(|it| stacked(it).last().cloned().unwrap_or_default(), 1.0);
    let renders = axes(|it| it.renders.clone(), report.terms.rate);
    let projects = axes(
        |it| it.projects_fresh.clone(),
        report.terms.projects.get() as f64,
    );

    let mut svg = String::new();
    head(&mut svg, report);
    let ways = [
        ("the way of the incident", incident),
        ("with evenkeel", evenkeel),
    ];
    for (column, (name, measured)) in ways.into_iter().enumerate() {
        let left = LEFT + column as f64 * (PANEL.0 + GAP.0);
        text(&mut svg, "head", left, TOP - 28.0, name);
        let panel = |row: f64, axes| Panel {
            left,
            top: TOP + row * (PANEL.1 + GAP.1),
            size: PANEL,
            axes,
        };
        let series = &measured.series;
        draw_lookups(&mut svg, &panel(0.0, lookups), series);
        draw_renders(&mut svg, &panel(1.0, renders), measured, report.terms.rate);
        draw_projects(&mut svg, &panel(2.0, projects), measured);
    }
    svg.push_str("</svg>\n");
    svg
}

fn head(svg: &mut String, report: &Report) {
    let terms = report.terms;
    write(
        svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"title what\">\n\
         <title id=\"title\">A release over {} projects, the way of the incident and with evenkeel</title>\n\
         <desc id=\"what\">The way of the incident {} lookups fail and {} renders are asked for; with evenkeel {} fail and {} \
         are asked for.</desc>\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"page\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
            terms.projects,
            report.incident.failed,
            report.incident.asked,
            report.evenkeel.failed,
            report.evenkeel.asked,
            WIDTH - 1.0,
            HEIGHT - 1.0,
        ),
    );
    let what = format!(
        "A release over {} projects: the same {} callers, renderer and deadlines.",
        terms.projects, terms.callers
    );
    text(svg, "", LEFT, 30.0, &what);
    let legend = [
        ("fresh", "answered fresh"),
        ("outdated", "answered outdated"),
        ("failed", "failed"),
    ];
    for (index, (class, name)) in legend.into_iter().enumerate() {
        let left = 560.0 + [0.0, 122.0, 268.0][index];
        write(
            svg,
            format_args!(
                "<rect class=\"{class}\" x=\"{left}\" y=\"20\" width=\"11\" height=\"11\" rx=\"2\"/>\n"
            ),
        );
        text(svg, "", left + 17.0, 30.0, name);
    }
}

fn draw_lookups(svg: &mut String, panel: &Panel, series: &Series) {
    panel.frame(svg, series, "lookups per second");
    let layers = stacked(series);
    let mut below = vec![0; layers[0].len()];
    for (class, above) in ["fresh", "outdated", "failed"].into_iter().zip(layers) {
        panel.area(svg, class, series, &below, &above);
        below = above;
    }
    panel.release(svg);
}

fn draw_renders(svg: &mut String, panel: &Panel, measured: &Measured, rate: f64) {
    let series = &measured.series;
    let what = format!("renders asked for per second: {} in all", measured.asked);
    panel.frame(svg, series, &what);
    panel.area(
        svg,
        "renders",
        series,
        &vec![0; series.renders.len()],
        &series.renders,
    );
    panel.release(svg);
    panel.budget(svg, rate, &format!("budget: {rate}"));
}

fn draw_projects(svg: &mut String, panel: &Panel, measured: &Measured) {
    let series = &measured.series;
    let what = match measured.fresh_after {
        Some(after) => format!("projects fresh: all after {:.1} s", after.as_secs_f64()),
        None => format!("projects fresh: {} still outdated", measured.not_fresh),
    };
    panel.frame(svg, series, &what);
    panel.release(svg);
    panel.line(svg, "projects", series, &series.projects_fresh);
    panel.seconds(svg);
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

fn text(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    write(
        svg,
        format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n"),
    );
}

fn write(svg: &mut String, what: std::fmt::Arguments<'_>) {
    svg.write_fmt(what).expect("BUG: a string takes everything");
}

#[cfg(test)]
mod tests;
