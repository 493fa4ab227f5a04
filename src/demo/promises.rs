//! The verdict: which of its promises evenkeel kept, as far as a storm can tell.

use std::time::Duration;

use super::{Measured, StormTerms, terms::RECOVERY};

/// How much longer than the ideal every project may take to be fresh.
const CONVERGENCE: f64 = 1.1;

/// A promise, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Its name.
    pub name: &'static str,
    /// Whether it was kept.
    pub is_kept: bool,
    /// What was measured, against what was promised.
    pub found: String,
}

/// Judges a storm with evenkeel.
pub fn promises(measured: &Measured, terms: &StormTerms) -> Vec<Promise> {
    let convergence = match terms.fault {
        None => fresh_in_time(measured, terms),
        Some(_) => recovery(measured),
    };
    vec![
        answers(measured),
        patience(measured, terms),
        reasons(measured),
        budget(measured, terms),
        convergence,
    ]
}

fn answers(measured: &Measured) -> Promise {
    let failed = measured.failed + measured.failed_before;
    let lookups = measured.answered() + failed;
    Promise {
        name: "answers",
        is_kept: failed == 0 && lookups > 0,
        found: format!("{failed} of {lookups} lookups failed"),
    }
}

fn patience(measured: &Measured, terms: &StormTerms) -> Promise {
    let (took, late) = (measured.longest_of_held, measured.tolerance());
    Promise {
        name: "patience",
        is_kept: took <= terms.patience + late,
        found: format!(
            "slowest lookup of a held project: {:.1} ms (limit: {} ms patience + {} ms measuring error)",
            took.as_secs_f64() * 1e3,
            terms.patience.as_millis(),
            late.as_millis()
        ),
    }
}

fn reasons(measured: &Measured) -> Promise {
    let (unsaid, answered) = (measured.unsaid(), measured.answered());
    Promise {
        name: "reasons",
        is_kept: unsaid == 0,
        found: format!("{unsaid} of {answered} answers were outdated without saying so, or why"),
    }
}

fn budget(measured: &Measured, terms: &StormTerms) -> Promise {
    let in_flight = (measured.most_in_flight, u64::from(terms.concurrency.get()));
    let (burst, rate) = (terms.burst, terms.rate);
    let found = match measured.beyond_budget {
        Some(beyond) => format!("{beyond:.1} renders above {burst} + {rate}/s"),
        None => format!("never more renders than {burst} + {rate}/s"),
    };
    let late = measured.tolerance().as_millis();
    Promise {
        name: "budget",
        is_kept: measured.beyond_budget.is_none() && in_flight.0 <= in_flight.1,
        found: format!(
            "{found} (measuring error: {late} ms); at most {} of {} in flight",
            in_flight.0, in_flight.1
        ),
    }
}

fn fresh_in_time(measured: &Measured, terms: &StormTerms) -> Promise {
    let limit = terms.ideal().mul_f64(CONVERGENCE);
    judged(
        "convergence",
        "every project fresh after",
        measured.fresh_after,
        limit,
        measured,
    )
}

fn recovery(measured: &Measured) -> Promise {
    let what = "every project fresh, counted from the end of the fault, after";
    judged(
        "recovery",
        what,
        measured.recovered_after,
        RECOVERY,
        measured,
    )
}

fn judged(
    name: &'static str,
    what: &str,
    found: Option<Duration>,
    limit: Duration,
    measured: &Measured,
) -> Promise {
    let limited = format!("(limit: {:.1} s)", limit.as_secs_f64());
    Promise {
        name,
        is_kept: found.is_some_and(|found| found <= limit),
        found: match found {
            Some(found) => format!("{what} {:.1} s {limited}", found.as_secs_f64()),
            None => format!(
                "{} projects are still outdated {limited}",
                measured.not_fresh
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{demo::load::UNSAID, renderer::Fault};

    fn good() -> Measured {
        Measured {
            fresh: 1000,
            most_in_flight: 12,
            longest_of_held: Duration::from_millis(150),
            late: Duration::from_millis(50),
            fresh_after: Some(Duration::from_millis(8700)),
            recovered_after: Some(Duration::from_secs(90)),
            ..Measured::default()
        }
    }

    fn broken(measured: &Measured, terms: &StormTerms) -> Vec<&'static str> {
        let promises = promises(measured, terms).into_iter();
        promises
            .filter(|it| !it.is_kept)
            .map(|it| it.name)
            .collect()
    }

    #[test]
    fn each_promise_can_be_broken() {
        let terms = StormTerms::default();
        assert_eq!(broken(&good(), &terms), [""; 0]);
        let bad = |spoil: fn(&mut Measured)| {
            let mut measured = good();
            spoil(&mut measured);
            broken(&measured, &terms)
        };
        assert_eq!(bad(|it| it.failed = 1), ["answers"]);
        assert_eq!(bad(|it| it.failed_before = 1), ["answers"]);
        assert_eq!(bad(|it| it.fresh = 0), ["answers"], "no caller asked");
        let slow: fn(&mut Measured) = |it| it.longest_of_held = Duration::from_millis(151);
        assert_eq!(bad(slow), ["patience"]);
        let unsaid: fn(&mut Measured) = |it| *it.outdated.entry(UNSAID).or_default() += 1;
        assert_eq!(bad(unsaid), ["reasons"]);
        assert_eq!(bad(|it| it.beyond_budget = Some(0.5)), ["budget"]);
        assert_eq!(bad(|it| it.most_in_flight = 17), ["budget"]);
        assert_eq!(bad(|it| it.fresh_after = None), ["convergence"]);
        assert_eq!(
            bad(|it| it.fresh_after = Some(Duration::from_millis(8801))),
            ["convergence"]
        );
    }

    #[test]
    fn with_a_fault_the_recovery_counts_instead_of_the_convergence() {
        let terms = StormTerms {
            fault: Some((Fault::Dead, Duration::from_secs(10))),
            ..StormTerms::default()
        };
        let late = Measured {
            fresh_after: Some(Duration::from_secs(60)),
            ..good()
        };
        assert_eq!(broken(&late, &terms), [""; 0]);
        for recovered_after in [None, Some(Duration::from_millis(90_001))] {
            let never = Measured {
                recovered_after,
                ..good()
            };
            assert_eq!(broken(&never, &terms), ["recovery"]);
        }
    }
}
