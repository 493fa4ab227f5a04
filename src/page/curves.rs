//! The two curves: which part is fresh, with when all will be; and renders per second against their
//! limit.

use super::history::{Point, pieces};
use crate::{
    charts::{Axes, Diagram, Picture},
    verdict::figure,
};

const SIZE: (f64, f64) = (480.0, 172.0);
const LEFT: f64 = 44.0;
const TOP: f64 = 26.0;
const INNER: (f64, f64) = (424.0, 116.0);

/// The shortest time that is shown, in seconds.
const SHORTEST: f64 = 60.0;
/// The most points that are drawn of a curve.
const DRAWN: usize = 100;
/// The most names of moments below a curve.
const NAMES: f64 = 6.0;
/// Between which moments names may stand, in seconds.
const STEPS: [f64; 12] = [
    10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 7200.0, 21_600.0, 86_400.0, 604_800.0,
];

/// What the curves are about, in seconds from now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// Now, in seconds since the page began.
    pub(super) now: f64,
    /// How long ago the target was raised.
    pub(super) raised: Option<f64>,
    /// In how long all is fresh.
    pub(super) done_in: Option<f64>,
}

/// Which part is fresh over time, as part of a page.
pub(super) fn fresh(points: &[Point], times: Times) -> String {
    let (from, to) = span(points, times);
    let diagram = diagram(from, to, 100.0);
    let last = points.last().map_or(0.0, Point::percent);
    let done = times
        .done_in
        .map(|seconds| format!(", done in about {}", spoken(seconds)));
    let description = format!("{last:.0} % are fresh{}", done.unwrap_or_default());
    let title = "Fresh projects over time";
    let mut picture = Picture::inline(SIZE, ("fresh", "curve"), title, &description);
    diagram.frame(&mut picture, "fresh, %", None);
    for piece in pieces(points) {
        let values = thinned(piece, times.now, Point::percent);
        diagram.ground(&mut picture, "ground fresh", &values);
        diagram.curve(&mut picture, "fresh-line", &values);
    }
    if let Some(raised) = times.raised.filter(|raised| -raised >= from) {
        diagram.upright(&mut picture, "mark", -raised, "raised");
    }
    if let Some(done_in) = times.done_in.filter(|seconds| *seconds > 0.0) {
        let end = to.min(done_in);
        let reached = last + (100.0 - last) * end / done_in;
        diagram.curve(&mut picture, "projection", &[(0.0, last), (end, reached)]);
        if done_in <= to {
            diagram.dot(&mut picture, "goal", (done_in, 100.0));
        }
    }
    if !points.is_empty() {
        diagram.dot(&mut picture, "now", (0.0, last));
    }
    diagram.names(&mut picture, &names(from, to));
    picture.finish()
}

/// Renders per second over time against their limit, as part of a page.
pub(super) fn renders(points: &[Point], times: Times, limit: f64) -> String {
    let times = Times {
        done_in: None,
        ..times
    };
    let (from, to) = span(points, times);
    let rendered = |point: &Point| f64::from(point.rendered);
    let in_force = |point: &Point| f64::from(point.in_force);
    let most = points.iter().map(rendered).fold(limit, f64::max);
    let diagram = diagram(from, to, (1.15 * most).clamp(0.1, 1e9));
    let last = points.last().map_or(0.0, rendered);
    let description = format!(
        "{} renders per second of {} that are set",
        figure(last),
        figure(limit)
    );
    let title = "Renders per second over time";
    let mut picture = Picture::inline(SIZE, ("renders", "curve"), title, &description);
    diagram.frame(&mut picture, "renders/s", None);
    for piece in pieces(points) {
        let values = thinned(piece, times.now, rendered);
        diagram.ground(&mut picture, "ground renders", &values);
        diagram.curve(&mut picture, "renders-line", &values);
        diagram.curve(&mut picture, "force", &thinned(piece, times.now, in_force));
    }
    if let Some(raised) = times.raised.filter(|raised| -raised >= from) {
        diagram.upright(&mut picture, "mark", -raised, "raised");
    }
    diagram.budget(&mut picture, limit, &format!("limit {}/s", figure(limit)));
    diagram.names(&mut picture, &names(from, to));
    picture.finish()
}

fn diagram(from: f64, to: f64, most: f64) -> Diagram {
    Diagram {
        left: LEFT,
        top: TOP,
        size: INNER,
        axes: Axes::new(from, to, most),
    }
}

/// From when to when is shown, in seconds from now.
fn span(points: &[Point], times: Times) -> (f64, f64) {
    let oldest = points.first().map_or(0.0, |point| times.now - point.at);
    let from = oldest.max(SHORTEST);
    let ahead = times.done_in.unwrap_or(0.0).min(1.5 * from);
    (-from, (1.08 * ahead).max(0.02 * from))
}

/// Few enough points that all can be told apart, in seconds from now.
fn thinned(points: &[Point], now: f64, value: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(DRAWN).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.iter().enumerate();
    let kept = kept.filter(|(index, _)| (last - index).is_multiple_of(every));
    kept.map(|(_, point)| (point.at - now, value(point)))
        .collect()
}

/// Names of moments that are pleasant to read.
fn names(from: f64, to: f64) -> Vec<(f64, String)> {
    let fits = STEPS.into_iter().find(|step| (to - from) / step <= NAMES);
    let step = fits.unwrap_or(to - from);
    let ago = (0..)
        .map(|number| -step * f64::from(number))
        .take_while(|at| *at >= from);
    let ahead = (1..)
        .map(|number| step * f64::from(number))
        .take_while(|at| *at <= to);
    ago.chain(ahead)
        .map(|at| match at {
            0.0 => (at, "now".to_owned()),
            at if at < 0.0 => (at, format!("−{}", spoken(-at))),
            at => (at, format!("+{}", spoken(at))),
        })
        .collect()
}

/// A time of whole units.
fn spoken(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 119.5 => format!("{seconds:.0} s"),
        seconds if seconds < 7199.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.0} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: u32) -> Vec<Point> {
        (0..count)
            .map(|number| Point {
                at: 2.0 * f64::from(number),
                fresh: number.min(100),
                held: 100,
                rendered: 3.0,
                in_force: 4.0,
            })
            .collect()
    }

    #[test]
    fn half_an_hour_is_drawn_with_few_points_and_the_last_one() {
        let points = points(900);
        let drawn = thinned(&points, 1798.0, Point::percent);
        assert!(drawn.len() <= DRAWN, "{}", drawn.len());
        assert_eq!(drawn.last(), Some(&(0.0, 100.0)));
        let times = Times {
            now: 1798.0,
            raised: Some(60.0),
            done_in: Some(600.0),
        };
        assert!(fresh(&points, times).len() < 8_000);
        assert!(renders(&points, times, 4.0).len() < 8_000);
    }

    #[test]
    fn the_projection_ends_when_all_is_fresh_and_leaves_the_picture_if_that_is_far() {
        let points = points(50);
        let times = |done_in| Times {
            now: 98.0,
            raised: None,
            done_in: Some(done_in),
        };
        assert!(fresh(&points, times(60.0)).contains("goal"));
        let far = fresh(&points, times(90_000.0));
        assert!(far.contains("projection") && !far.contains("goal"), "{far}");
        assert!(far.contains("done in about 25 h"), "{far}");
    }

    #[test]
    fn nothing_seen_yet_is_an_empty_frame() {
        for svg in [
            fresh(&[], Times::default()),
            renders(&[], Times::default(), 0.0),
        ] {
            assert!(svg.contains("grid") && !svg.contains("NaN"), "{svg}");
        }
    }

    #[test]
    fn moments_below_a_curve_are_few_and_round() {
        let shown: Vec<_> = names(-240.0, 250.0)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(shown, ["now", "−2 min", "−4 min", "+2 min", "+4 min"]);
        assert!(names(-1.0e7, 1.0).len() < 9);
    }
}
