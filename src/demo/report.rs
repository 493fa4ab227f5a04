//! The report of a demo: both ways side by side, as a table for people, as JSON for machines, and
//! as a picture.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{Measured, Promise, Release, StormTerms, chart, load::UNSAID, promises, terms::FETCH};
use crate::charts;

/// The layout of the JSON document; another one for each change that takes something away.
const SCHEMA: &str = "evenkeel.demo.v1";

/// What a demo came to.
#[derive(Clone, Debug)]
pub struct DemoReport {
    /// What both ways were put through.
    pub terms: StormTerms,
    /// The way of the incident.
    pub incident: Measured,
    /// With evenkeel.
    pub evenkeel: Measured,
}

impl DemoReport {
    /// What evenkeel promises, and whether it was kept.
    pub fn promises(&self) -> Vec<Promise> {
        promises(&self.evenkeel, &self.terms)
    }

    /// Whether every promise was kept.
    pub fn is_good(&self) -> bool {
        self.promises().iter().all(|promise| promise.is_kept)
    }

    /// A table with a column for each way.
    pub fn table(&self) -> String {
        let mut rows = Vec::new();
        let mut row = |name: &str, show: &dyn Fn(&Measured) -> String| {
            rows.push([name.to_owned(), show(&self.incident), show(&self.evenkeel)]);
        };
        row("counted for", &|it| in_seconds(it.lasted));
        row("lookups answered", &|it| it.answered().to_string());
        row("lookups failed", &|it| it.failed.to_string());
        row("lookups answered fresh", &|it| it.fresh.to_string());
        row("  fresh after a wait", &|it| it.rendered.to_string());
        for reason in self.reasons() {
            let name = match reason {
                UNSAID => "  outdated without saying so, or why".to_owned(),
                reason => format!("  outdated: {reason}"),
            };
            row(&name, &|it| {
                it.outdated.get(reason).copied().unwrap_or(0).to_string()
            });
        }
        row("a lookup takes: p50", &|it| milliseconds(it.latencies.p50));
        row("  p99", &|it| milliseconds(it.latencies.p99));
        row("  at most", &|it| milliseconds(it.latencies.max));
        row("renders asked of the renderer", &|it| it.asked.to_string());
        row("  done by it", &|it| it.done.to_string());
        let (rate, burst) = (self.terms.rate, self.terms.burst);
        let budget = format!("  most in any second, budget {rate} + {burst}");
        row(&budget, &|it| it.most_in_a_second.to_string());
        if self.terms.release == Release::Replace {
            row("stored revisions fetched", &|it| it.fetched.to_string());
        }
        let ideal = self.terms.ideal().as_secs_f64();
        row(
            &format!("every project fresh after, ideal {ideal:.1} s"),
            &fresh_after,
        );
        if self.terms.fault.is_some() {
            row("  after the end of the fault", &recovered_after);
        }
        let header = [
            "from the release on",
            "the way of the incident",
            "with evenkeel",
        ];
        charts::table(header, rows)
    }

    /// The table as a document.
    pub fn document(&self) -> Value {
        let terms = &self.terms;
        let promises = self.promises();
        let promises = promises.iter().map(|promise| {
            json!({ "name": promise.name, "kept": promise.is_kept, "found": promise.found })
        });
        json!({
            "schema": SCHEMA,
            "terms": {
                "projects": terms.projects,
                "callers": terms.callers,
                "pause_seconds": terms.pause.as_secs_f64(),
                "deadline_seconds": terms.deadline.as_secs_f64(),
                "patience_seconds": terms.patience.as_secs_f64(),
                "cold_patience_seconds": terms.deadline.as_secs_f64(),
                "render_deadline_seconds": terms.render_deadline.as_secs_f64(),
                "workers": terms.workers,
                "render_seconds": terms.cost.mean().as_secs_f64(),
                "rate": terms.rate,
                "burst": terms.burst,
                "concurrency": terms.concurrency,
                "fetch_rate": FETCH.0,
                "fetch_concurrency": FETCH.1,
                "calm_seconds": terms.calm.as_secs_f64(),
                "after_seconds": terms.after.as_secs_f64(),
                "cold": terms.release == Release::Replace,
                "fault": terms.fault.map(|(fault, _)| fault.name()),
                "fault_seconds": terms.fault.map(|(_, lasts)| lasts.as_secs_f64()),
                "ideal_seconds": terms.ideal().as_secs_f64(),
            },
            "incident": way(&self.incident),
            "evenkeel": way(&self.evenkeel),
            "promises": promises.collect::<Vec<_>>(),
            "kept": self.is_good(),
        })
    }

    /// Both storms over time, as an SVG.
    pub fn svg(&self) -> String {
        chart::draw(self)
    }

    fn reasons(&self) -> BTreeSet<&'static str> {
        let reasons = |measured: &Measured| measured.outdated.keys().copied().collect::<Vec<_>>();
        let both = [reasons(&self.incident), reasons(&self.evenkeel)];
        both.into_iter().flatten().collect()
    }
}

fn way(measured: &Measured) -> Value {
    let Measured {
        fresh,
        rendered,
        outdated,
        failed,
        failed_before,
        latencies,
        ..
    } = measured;
    let seconds = |time: Duration| time.as_secs_f64();
    json!({
        "counted_seconds": seconds(measured.lasted),
        "lookups": {
            "answered": measured.answered(),
            "fresh": fresh,
            "rendered": rendered,
            "outdated": outdated,
            "failed": failed,
            "failed_before_the_release": failed_before,
            "p50_seconds": seconds(latencies.p50),
            "p99_seconds": seconds(latencies.p99),
            "max_seconds": seconds(latencies.max),
            "max_of_held_seconds": seconds(measured.longest_of_held),
        },
        "renders": {
            "asked": measured.asked,
            "done": measured.done,
            "fetched": measured.fetched,
            "most_in_a_second": measured.most_in_a_second,
            "most_in_flight": measured.most_in_flight,
            "beyond_budget": measured.beyond_budget,
        },
        "fresh_after_seconds": measured.fresh_after.map(seconds),
        "not_fresh": measured.not_fresh,
        "recovered_after_seconds": measured.recovered_after.map(seconds),
        "machine_late_seconds": seconds(measured.late),
        "series": measured.series,
    })
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn fresh_after(measured: &Measured) -> String {
    match measured.fresh_after {
        Some(after) => in_seconds(after),
        None => format!("never ({} left)", measured.not_fresh),
    }
}

fn recovered_after(measured: &Measured) -> String {
    match measured.recovered_after {
        Some(after) => in_seconds(after),
        None => "never".to_owned(),
    }
}
