//! One diagram of the picture: a frame, and areas, lines and marks within it.

use super::{Series, text, write};
use crate::demo::measured::STEP;

/// What both diagrams of a row have in common. Time counts from the release, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Axes {
    from: f64,
    to: f64,
    most: f64,
}

/// Where a diagram stands.
pub(super) struct Panel {
    pub(super) left: f64,
    pub(super) top: f64,
    /// Width and height.
    pub(super) size: (f64, f64),
    pub(super) axes: Axes,
}

impl Axes {
    /// Wide enough for both series, and high enough for a least value too.
    pub(super) fn over(both: [&Series; 2], values: fn(&Series) -> Vec<usize>, least: f64) -> Self {
        let end = |series: &Series| {
            let steps = series.projects_fresh.len().saturating_sub(1);
            steps as f64 * STEP.as_secs_f64() - series.release
        };
        let most = both.map(|it| values(it).into_iter().max().unwrap_or(0) as f64);
        Self {
            from: -both[0].release.max(both[1].release),
            to: end(both[0]).max(end(both[1])),
            most: round_up(most[0].max(most[1]).max(least)),
        }
    }
}

impl Panel {
    /// Draws what stands behind everything: the grid, its numbers, and a fault.
    pub(super) fn frame(&self, svg: &mut String, series: &Series, name: &str) {
        text(svg, "", self.left, self.top - 8.0, name);
        if let Some((from, to)) = series.fault {
            let (from, to) = (self.x(from - series.release), self.x(to - series.release));
            let (width, height, top) = (to - from, self.size.1, self.top);
            write(
                svg,
                format_args!(
                    "<rect class=\"fault\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>\n"
                ),
            );
            text(svg, "small", from + 4.0, top + 12.0, "fault");
        }
        for part in [0.0, 0.5, 1.0] {
            let value = self.axes.most * part;
            let (y, right) = (self.y(value), self.left + self.size.0);
            write(
                svg,
                format_args!(
                    "<path class=\"grid\" d=\"M{:.1} {y:.1}H{right:.1}\"/>\n",
                    self.left
                ),
            );
            write(
                svg,
                format_args!(
                    "<text class=\"small\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{value}</text>\n",
                    self.left - 6.0,
                    y + 4.0
                ),
            );
        }
    }

    /// Draws what stands before everything: the release.
    pub(super) fn release(&self, svg: &mut String) {
        let (x, bottom) = (self.x(0.0), self.top + self.size.1);
        write(
            svg,
            format_args!(
                "<path class=\"mark\" d=\"M{x:.1} {:.1}V{bottom:.1}\"/>\n",
                self.top
            ),
        );
    }

    /// Draws the budget, with its name.
    pub(super) fn budget(&self, svg: &mut String, value: f64, name: &str) {
        let (y, right) = (self.y(value), self.left + self.size.0);
        write(
            svg,
            format_args!(
                "<path class=\"mark budget\" d=\"M{:.1} {y:.1}H{right:.1}\"/>\n",
                self.left
            ),
        );
        write(
            svg,
            format_args!(
                "<text class=\"halo\" text-anchor=\"end\" x=\"{right:.1}\" y=\"{:.1}\">{name}</text>\n",
                y - 5.0
            ),
        );
    }

    /// Fills what lies between two series.
    pub(super) fn area(
        &self,
        svg: &mut String,
        class: &str,
        series: &Series,
        below: &[usize],
        above: &[usize],
    ) {
        let there = above.iter().enumerate().map(|it| self.point(series, it));
        let back = below
            .iter()
            .enumerate()
            .rev()
            .map(|it| self.point(series, it));
        let points: Vec<_> = there.chain(back).collect();
        write(
            svg,
            format_args!(
                "<polygon class=\"{class}\" points=\"{}\"/>\n",
                points.join(" ")
            ),
        );
    }

    /// Draws a series as a line.
    pub(super) fn line(&self, svg: &mut String, class: &str, series: &Series, values: &[usize]) {
        let points: Vec<_> = values
            .iter()
            .enumerate()
            .map(|it| self.point(series, it))
            .collect();
        write(
            svg,
            format_args!(
                "<polyline class=\"line {class}\" points=\"{}\"/>\n",
                points.join(" ")
            ),
        );
    }

    /// Writes the seconds below.
    pub(super) fn seconds(&self, svg: &mut String) {
        let y = self.top + self.size.1 + 18.0;
        let step = if self.axes.to > 60.0 { 20 } else { 5 };
        for second in (0..)
            .step_by(step)
            .take_while(|it| f64::from(*it) <= self.axes.to)
        {
            let x = self.x(f64::from(second));
            let shown = if second == 0 {
                "release".to_owned()
            } else {
                format!("{second} s")
            };
            write(
                svg,
                format_args!(
                    "<text class=\"small\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{shown}</text>\n"
                ),
            );
        }
    }

    fn point(&self, series: &Series, (index, value): (usize, &usize)) -> String {
        let x = self.x(index as f64 * STEP.as_secs_f64() - series.release);
        format!("{x:.1},{:.1}", self.y(*value as f64))
    }

    fn x(&self, seconds: f64) -> f64 {
        let Axes { from, to, .. } = self.axes;
        self.left + (seconds.clamp(from, to) - from) / (to - from) * self.size.0
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.size.1 * (1.0 - value / self.axes.most)
    }
}

/// Rounds up to a number that is pleasant to read, and of which the half is too.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fit = steps.into_iter().find(|step| step * power >= value);
    fit.unwrap_or(10.0) * power
}
