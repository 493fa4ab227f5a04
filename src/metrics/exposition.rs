//! The two texts that metrics can be written as, and which of them a scraper accepts.
//!
//! OpenMetrics 1.0 is what Prometheus asks for. The classic text 0.0.4 is for all others: older
//! parsers, and `promtool check metrics`, refuse what only OpenMetrics has.

use std::fmt::Write as _;

use super::table::{ALL, Metric, MetricKind};

/// The text that metrics are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

/// How much a scraper wants one of the texts: the quality in thousandths, and how closely it named
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct TextPreference {
    closeness: Closeness,
    quality: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    #[default]
    NotNamed,
    Anything,
    Type,
    Named,
}

impl Exposition {
    /// The text that the values of `Accept` want most (RFC 9110, section 12.5.1). One that wants
    /// neither, or does not say, gets the classic one, as Prometheus' own clients do.
    pub fn accepted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let ranges = accept.into_iter().flat_map(|value| value.split(','));
        let (mut open_metrics, mut classic) =
            (TextPreference::default(), TextPreference::default());
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1000, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = thousandths(value),
                    "version" => version = Some(value),
                    _ => {}
                }
            }
            let (closeness, is_open_metrics, is_classic) = match (media.as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => {
                    (Closeness::Named, true, false)
                }
                ("text/plain", None | Some("0.0.4")) => (Closeness::Named, false, true),
                ("application/*", _) => (Closeness::Type, true, false),
                ("text/*", _) => (Closeness::Type, false, true),
                ("*/*", _) => (Closeness::Anything, true, true),
                _ => continue,
            };
            let wanted = TextPreference { closeness, quality };
            if is_open_metrics {
                open_metrics = open_metrics.max(wanted);
            }
            if is_classic {
                classic = classic.max(wanted);
            }
        }
        let is_named = open_metrics.closeness > Closeness::Anything;
        if open_metrics.quality > classic.quality
            || (is_named && open_metrics.quality == classic.quality && open_metrics.quality > 0)
        {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Makes this text of one of OpenMetrics.
    pub(super) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Classic => classic(&open_metrics),
        }
    }
}

/// A quality of RFC 9110, from 0 to 1; what is none counts as 1, as if it were not there.
fn thousandths(quality: &str) -> u16 {
    let quality: f64 = quality.parse().unwrap_or(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1000; NaN becomes 0"
    )]
    let thousandths = (quality.clamp(0.0, 1.0) * 1000.0) as u16;
    thousandths
}

/// The samples are the same. A family is named as its samples are, there is no type `info`, and no
/// end.
fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 512);
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let comment = line.strip_prefix("# ").and_then(|line| {
            let (word, rest) = line.split_once(' ')?;
            let (family, said) = rest.split_once(' ')?;
            Some((word, family, said))
        });
        let written = match comment {
            Some((word, family, said)) => {
                let metric = ALL.iter().find(|metric| metric.family() == family);
                let name = metric.map_or_else(|| family.to_owned(), Metric::sample);
                let is_info = metric.is_some_and(|metric| metric.kind == MetricKind::Info);
                let said = match word {
                    "TYPE" if is_info => MetricKind::Gauge.as_str(),
                    _ => said,
                };
                writeln!(text, "# {word} {name} {said}")
            }
            None => writeln!(text, "{line}"),
        };
        written.expect("BUG: a string takes what is written to it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use Exposition::{Classic, OpenMetrics};

    #[test]
    fn a_scraper_gets_the_text_that_it_wants_most() {
        for (accept, wanted) in [
            ("", Classic),
            ("*/*", Classic),
            ("text/plain;version=0.0.4", Classic),
            ("text/plain; version=0.0.4; charset=utf-8", Classic),
            ("text/plain", Classic),
            ("text/*", Classic),
            ("text/html, */*;q=0.1", Classic),
            ("application/json", Classic),
            ("application/openmetrics-text", OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0", OpenMetrics),
            (
                "application/openmetrics-text; version=\"1.0.0\"; charset=utf-8",
                OpenMetrics,
            ),
            ("application/openmetrics-text; version=2.0.0", Classic),
            ("application/*", OpenMetrics),
            // Prometheus 2.42, and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.9,application/openmetrics-text;q=0.1",
                Classic,
            ),
            (
                "application/openmetrics-text;q=0.1,text/plain;version=0.0.4;q=0.9",
                Classic,
            ),
            (
                "application/openmetrics-text;q=0.2,text/plain;q=0.1,*/*;q=0.9",
                OpenMetrics,
            ),
            ("application/openmetrics-text;q=0, */*", Classic),
            ("text/plain;q=0, */*", OpenMetrics),
            ("text/plain;q=0, application/openmetrics-text;q=0", Classic),
            ("text/plain, application/openmetrics-text", OpenMetrics),
            (
                "application/openmetrics-text;q=nan, text/plain;q=0.1",
                Classic,
            ),
            (
                "application/openmetrics-text;q=, text/plain;q=0.1",
                OpenMetrics,
            ),
            (";;;,,,=;q", Classic),
        ] {
            assert_eq!(Exposition::accepted([accept]), wanted, "{accept}");
        }
        assert_eq!(Exposition::accepted([]), Classic);
        assert_eq!(
            Exposition::accepted(["text/plain;q=0.5", "application/openmetrics-text"]),
            OpenMetrics,
            "several lines are one list"
        );
    }
}
