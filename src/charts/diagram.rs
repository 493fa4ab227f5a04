//! One diagram of a picture: figures over time, as areas, lines and marks within a frame.

use super::picture::{Anchor, Picture, escaped, listed};

/// What diagrams that are compared have in common: their seconds, and how high they reach.
#[derive(Clone, Copy, Debug)]
pub struct Axes {
    from: f64,
    to: f64,
    most: f64,
}

/// When the values of a series were taken, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// Of the first value.
    pub from: f64,
    /// From one value to the next.
    pub every: f64,
}

/// A value of a series.
pub trait Value: Copy {
    /// How high it reaches.
    fn height(self) -> f64;
}

impl Value for usize {
    fn height(self) -> f64 {
        self as f64
    }
}

impl Value for f64 {
    fn height(self) -> f64 {
        self
    }
}

/// Where a diagram stands in its picture, in pixels, and what its points mean.
#[derive(Clone, Copy, Debug)]
pub struct Diagram {
    /// Its left edge.
    pub left: f64,
    /// Its upper edge.
    pub top: f64,
    /// Width and height.
    pub size: (f64, f64),
    /// Which seconds and values it shows.
    pub axes: Axes,
}

impl Axes {
    /// Axes over the seconds `from..to`, at least as high as `most`, and ending in a number that is
    /// pleasant to read.
    ///
    /// # Panics
    /// When `to` is not after `from`, or `most` is not above 0: such axes show nothing.
    pub fn new(from: f64, to: f64, most: f64) -> Self {
        assert!(from < to && most > 0.0, "axes of nothing");
        let most = round_up(most);
        Self { from, to, most }
    }
}

impl Steps {
    /// When the `index`-th value was taken.
    pub fn at(&self, index: usize) -> f64 {
        index as f64 * self.every + self.from
    }
}

impl Diagram {
    /// Draws what stands behind everything: the name above, a named range of seconds that is set
    /// off, and the grid with its numbers.
    pub fn frame(&self, picture: &mut Picture, name: &str, range: Option<((f64, f64), &str)>) {
        picture.text("", (self.left, self.top - 8.0), name);
        if let Some(((from, to), name)) = range {
            let (from, to) = (self.x(from), self.x(to));
            let (width, height, top) = (to - from, self.size.1, self.top);
            picture.write(format_args!(
                "<rect class=\"range\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>\n"
            ));
            picture.text("small", (from + 4.0, top + 12.0), name);
        }
        for part in [0.0, 0.5, 1.0] {
            let value = self.axes.most * part;
            let (y, right) = (self.y(value), self.left + self.size.0);
            picture.write(format_args!(
                "<path class=\"grid\" d=\"M{:.1} {y:.1}H{right:.1}\"/>\n",
                self.left
            ));
            picture.write(format_args!(
                "<text class=\"small\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{value}</text>\n",
                self.left - 6.0,
                y + 4.0
            ));
        }
    }

    /// Marks the second 0.
    pub fn mark(&self, picture: &mut Picture) {
        let (x, bottom) = (self.x(0.0), self.top + self.size.1);
        picture.write(format_args!(
            "<path class=\"mark\" d=\"M{x:.1} {:.1}V{bottom:.1}\"/>\n",
            self.top
        ));
    }

    /// Marks a value that is not to be exceeded, with its name.
    pub fn budget(&self, picture: &mut Picture, value: f64, name: &str) {
        let (y, right) = (self.y(value), self.left + self.size.0);
        let name = escaped(name);
        picture.write(format_args!(
            "<path class=\"mark budget\" d=\"M{:.1} {y:.1}H{right:.1}\"/>\n",
            self.left
        ));
        picture.write(format_args!(
            "<text class=\"halo\" text-anchor=\"end\" x=\"{right:.1}\" y=\"{:.1}\">{name}</text>\n",
            y - 5.0
        ));
    }

    /// Fills what lies between two series.
    pub fn area<V: Value>(
        &self,
        picture: &mut Picture,
        class: &str,
        steps: Steps,
        (below, above): (&[V], &[V]),
    ) {
        let there = above.iter().enumerate().map(|it| self.point(steps, it));
        let back = below.iter().enumerate().rev();
        let back = back.map(|it| self.point(steps, it));
        let points: Vec<_> = there.chain(back).collect();
        let points = points.join(" ");
        picture.write(format_args!(
            "<polygon class=\"{class}\" points=\"{points}\"/>\n"
        ));
    }

    /// Draws a series as a line.
    pub fn line<V: Value>(&self, picture: &mut Picture, class: &str, steps: Steps, values: &[V]) {
        let points = values.iter().enumerate().map(|it| self.point(steps, it));
        let points: Vec<_> = points.collect();
        let points = points.join(" ");
        picture.write(format_args!(
            "<polyline class=\"line {class}\" points=\"{points}\"/>\n"
        ));
    }

    /// Draws values of any seconds as a line.
    pub fn curve(&self, picture: &mut Picture, class: &str, values: &[(f64, f64)]) {
        let points: Vec<_> = values.iter().map(|value| self.place(*value)).collect();
        let points = listed(&points);
        picture.write(format_args!(
            "<polyline class=\"line {class}\" points=\"{points}\"/>\n"
        ));
    }

    /// Fills what lies below values of any seconds.
    pub fn ground(&self, picture: &mut Picture, class: &str, values: &[(f64, f64)]) {
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return;
        };
        let mut points = vec![self.place((first.0, 0.0))];
        points.extend(values.iter().map(|value| self.place(*value)));
        points.push(self.place((last.0, 0.0)));
        picture.polygon(class, &points);
    }

    /// Marks a value at a second with a disc.
    pub fn dot(&self, picture: &mut Picture, class: &str, value: (f64, f64)) {
        picture.disc(class, self.place(value), 4.5);
    }

    /// Marks a second from bottom to top, with a name beside the top.
    pub fn upright(&self, picture: &mut Picture, class: &str, second: f64, name: &str) {
        let (x, right) = (self.x(second), self.left + self.size.0);
        picture.stroke(class, (x, self.top), (x, self.top + self.size.1));
        let (anchor, beside) = if right - x < 60.0 {
            (Anchor::End, x - 4.0)
        } else {
            (Anchor::Start, x + 4.0)
        };
        picture.label("small halo", anchor, (beside, self.top + 11.0), name);
    }

    /// Writes names of seconds below.
    pub fn names(&self, picture: &mut Picture, names: &[(f64, String)]) {
        let y = self.top + self.size.1 + 16.0;
        for (second, name) in names {
            picture.label("small", Anchor::Middle, (self.x(*second), y), name);
        }
    }

    /// Writes the time below, in seconds, minutes or hours, with a name for the second 0.
    pub fn seconds(&self, picture: &mut Picture, zero: &str) {
        let y = self.top + self.size.1 + 18.0;
        let step = step(self.axes.to);
        let (unit, name) = match step {
            ..60 => (1, "s"),
            60..3600 => (60, "min"),
            3600.. => (3600, "h"),
        };
        for second in (0..)
            .step_by(step as usize)
            .take_while(|it| f64::from(*it) <= self.axes.to)
        {
            let x = self.x(f64::from(second));
            let shown = match second {
                0 => escaped(zero),
                second => format!("{} {name}", second / unit),
            };
            picture.write(format_args!(
                "<text class=\"small\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{shown}</text>\n"
            ));
        }
    }

    fn point<V: Value>(&self, steps: Steps, (index, value): (usize, &V)) -> String {
        let x = self.x(steps.at(index));
        format!("{x:.1},{:.1}", self.y(value.height()))
    }

    fn place(&self, (second, value): (f64, f64)) -> (f64, f64) {
        (self.x(second), self.y(value.clamp(0.0, self.axes.most)))
    }

    fn x(&self, seconds: f64) -> f64 {
        let Axes { from, to, .. } = self.axes;
        self.left + (seconds.clamp(from, to) - from) / (to - from) * self.size.0
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.size.1 * (1.0 - value / self.axes.most)
    }
}

/// The seconds between two of the times that are written below a diagram that ends at `to` seconds.
fn step(to: f64) -> u32 {
    let pleasant = [5, 20, 60, 120, 300, 600, 1200, 3600, 7200, 14_400];
    let mut fit = pleasant
        .into_iter()
        .filter(|step| to / f64::from(*step) <= 12.0);
    fit.next().unwrap_or(86_400)
}

/// Rounds up to a number that is pleasant to read, and of which the half is too.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fit = steps.into_iter().find(|step| step * power >= value);
    fit.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_in_numbers_that_are_pleasant_to_read() {
        for (most, end) in [
            (1.0, 1.0),
            (96.0, 100.0),
            (385.0, 400.0),
            (0.7, 0.8),
            (6100.0, 8000.0),
        ] {
            let axes = Axes::new(-1.0, 3.0, most);
            assert!((axes.most - end).abs() < 1e-9, "{most}: {axes:?}");
        }
    }

    #[test]
    fn times_below_a_diagram_stand_apart() {
        for (to, between) in [
            (3.0, 5),
            (60.0, 5),
            (61.0, 20),
            (240.0, 20),
            (600.0, 60),
            (7_200.0, 600),
            (86_400.0, 7_200),
            (1e9, 86_400),
        ] {
            assert_eq!(step(to), between, "{to}");
        }
    }

    #[test]
    fn what_lies_beyond_the_seconds_of_the_axes_is_drawn_at_their_ends() {
        let diagram = Diagram {
            left: 10.0,
            top: 0.0,
            size: (100.0, 50.0),
            axes: Axes::new(0.0, 10.0, 1.0),
        };
        let steps = Steps {
            from: -5.0,
            every: 10.0,
        };
        let mut picture = Picture::new((120.0, 60.0), "", "", "");
        diagram.line(&mut picture, "some", steps, &[0_usize, 1, 1]);
        let svg = picture.finish();
        assert!(
            svg.contains("points=\"10.0,50.0 60.0,0.0 110.0,0.0\""),
            "{svg}"
        );
    }
}
