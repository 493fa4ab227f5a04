//! A picture: a self-contained SVG with a page of its own, light or dark as the reader's browser
//! wishes, so that it can be read on any page.

use std::fmt::{Arguments, Write as _};

/// How everything looks that is not a series: text, page, grid, marks, and the ranges that are set
/// off.
const STYLE: &str = "\
text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f }
.head { font-size: 16px; font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.page { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #d8dee4 } .mark { stroke: #57606a; stroke-dasharray: 4 3 }
.budget { stroke: #24292f } .halo { paint-order: stroke; stroke: #ffffff; stroke-width: 3px; stroke-linejoin: round }
.range { fill: #57606a; opacity: .14 } .line { fill: none; stroke-width: 2 }
";
const DARK: &str = "\
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9198a1 } .page { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #2a313a } .mark { stroke: #9198a1 } .budget { stroke: #e6edf3 } .halo { stroke: #0d1117 }
.range { fill: #9198a1 }
}";

/// An SVG that is being drawn. All names of classes are the caller's own words, never text from
/// outside.
#[derive(Debug)]
pub struct Picture {
    svg: String,
}

impl Picture {
    /// Begins a picture of a width and a height, in pixels.
    ///
    /// `title` and `description` are what a screen reader says; `series` has the CSS rules of the
    /// classes that the caller draws with, such as `.fresh { fill: #3b82c4 }`.
    pub fn new((width, height): (f64, f64), title: &str, description: &str, series: &str) -> Self {
        let (title, description) = (escaped(title), escaped(description));
        let mut picture = Self { svg: String::new() };
        picture.write(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title what\">\n\
             <title id=\"title\">{title}</title>\n\
             <desc id=\"what\">{description}</desc>\n<style>\n{STYLE}{series}\n{DARK}\n</style>\n\
             <rect class=\"page\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
            width - 1.0,
            height - 1.0,
        ));
        picture
    }

    /// Begins a picture that is part of a web page, whose style sheet has the rules of all classes.
    ///
    /// `id` differs from that of any other picture of the page, and `class` is that of the whole.
    pub fn inline(
        (width, height): (f64, f64),
        (id, class): (&str, &str),
        title: &str,
        description: &str,
    ) -> Self {
        let (title, description) = (escaped(title), escaped(description));
        let mut picture = Self { svg: String::new() };
        picture.write(format_args!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{id}-title {id}-what\">\
             <title id=\"{id}-title\">{title}</title><desc id=\"{id}-what\">{description}</desc>\n",
        ));
        picture
    }

    /// Writes a text that begins at a point, ends there, or has it in its middle.
    pub fn label(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let (text, anchor) = (escaped(text), anchor.as_str());
        self.write(format_args!(
            "<text class=\"{class}\"{anchor} x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n"
        ));
    }

    /// Draws a rectangle with round corners: its left upper corner, its size, and the radius.
    pub fn rect(
        &mut self,
        class: &str,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        radius: f64,
    ) {
        let (width, height) = (width.max(0.0), height.max(0.0));
        self.write(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{radius}\"/>\n"
        ));
    }

    /// Draws a straight line.
    pub fn stroke(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.write(format_args!(
            "<path class=\"{class}\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>\n",
            from.0, from.1, to.0, to.1
        ));
    }

    /// Draws a disc.
    pub fn disc(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        self.write(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>\n"
        ));
    }

    /// Fills what lies between some points.
    pub fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let points = listed(points);
        self.write(format_args!(
            "<polygon class=\"{class}\" points=\"{points}\"/>\n"
        ));
    }

    /// Writes a text that begins at a point.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        let text = escaped(text);
        self.write(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n"
        ));
    }

    /// Explains the colour of a class, from a point on: a small square and its name.
    pub fn key(&mut self, class: &str, (x, y): (f64, f64), name: &str) {
        let top = y - 10.0;
        self.write(format_args!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{top}\" width=\"11\" height=\"11\" rx=\"2\"/>\n"
        ));
        self.text("", (x + 17.0, y), name);
    }

    /// Ends it.
    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }

    pub(super) fn write(&mut self, element: Arguments<'_>) {
        let written = self.svg.write_fmt(element);
        written.expect("BUG: a string takes everything");
    }
}

/// Where a text stands, of the point that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It has it in its middle.
    Middle,
    /// It ends there.
    End,
}

impl Anchor {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "",
            Self::Middle => " text-anchor=\"middle\"",
            Self::End => " text-anchor=\"end\"",
        }
    }
}

/// Points as SVG lists them.
pub(super) fn listed(points: &[(f64, f64)]) -> String {
    let points: Vec<_> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    points.join(" ")
}

/// A text as it may stand between two tags.
pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_an_element() {
        let mut picture = Picture::new((10.0, 10.0), "a < b", "", "");
        picture.text("", (1.0, 2.0), "<script>&amp;</script>");
        let svg = picture.finish();
        assert!(
            !svg.contains("<script>") && svg.contains("a &lt; b"),
            "{svg}"
        );
        assert!(svg.contains("&lt;script&gt;&amp;amp;"), "{svg}");
    }

    /// What the last rule for one of these classes gives a property.
    fn styled(rules: &str, classes: &[&str], property: &str) -> String {
        let rules = rules.split('}').filter_map(|rule| rule.split_once(" { "));
        let given = rules
            .filter(|(selector, _)| classes.contains(&selector.trim()))
            .flat_map(|(_, declarations)| declarations.split(';'))
            .filter_map(|declaration| declaration.trim().split_once(": "));
        let mut given = given.filter(|(name, _)| *name == property);
        let (_, last) = given.next_back().expect("it is styled");
        last.trim().to_owned()
    }

    #[test]
    fn the_budget_and_its_name_can_be_read_in_the_light_and_in_the_dark() {
        let dark = DARK.split_once("{\n").expect("the rules").1;
        let dark = format!("{STYLE}{dark}");
        for rules in [STYLE, dark.as_str()] {
            let budget = styled(rules, &[".mark", ".budget"], "stroke");
            assert_eq!(budget, styled(rules, &["text"], "fill"));
            let halo = styled(rules, &[".halo"], "stroke");
            assert_eq!(halo, styled(rules, &[".page"], "fill"));
        }
    }
}
