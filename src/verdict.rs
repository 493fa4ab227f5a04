//! What holds a sidecar or a fleet up, and what to do about it: one table, asked from top to
//! bottom.
//!
//! A pure function of numbers: two [`Sample`]s of a sidecar become [`Facts`], and the first row of
//! the table that holds is the verdict. It feeds `/status`, `evenkeel status` and the section of
//! `deploy/README.md`, so that they cannot disagree. It does not know where numbers come from, nor
//! how a verdict is shown.

use std::{fmt, time::Duration};

mod facts;
mod landed;
mod per_gate;
mod sample;

pub use self::{
    facts::Facts,
    landed::Landed,
    per_gate::PerGate,
    sample::{Sample, window},
};

use crate::moment::spoken;
use Code::{
    Apart, Behind, Budget, CacheTooSmall, Concurrency, Converging, Failing, Fresh, Hanging,
    Overloaded, Recovering, Rejected, SettingsBad, Slow, SomeFail, Stopped, UnknownNames,
    Unreachable,
};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the table says it")]
pub enum Code {
    SettingsBad,
    Stopped,
    Unreachable,
    Apart,
    Overloaded,
    Failing,
    Hanging,
    Behind,
    Rejected,
    UnknownNames,
    SomeFail,
    CacheTooSmall,
    Recovering,
    Slow,
    Concurrency,
    Budget,
    Converging,
    Fresh,
}

/// What holds things up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The first row of the table that holds.
    pub code: Code,
    /// What is the case, in a sentence.
    pub says: String,
    /// What to do about it.
    pub do_: String,
    /// What is the case beside it, whatever it is.
    pub beside: Vec<Code>,
}

/// The verdict on what became of a sidecar from one sample to a later one.
pub fn verdict(before: &Sample, now: &Sample) -> Verdict {
    judge(&Facts::between(before, now))
}

/// The verdict on the facts of a sidecar, or of a fleet.
pub fn judge(facts: &Facts) -> Verdict {
    let rules = TABLE.iter().filter(|rule| rule.code != SettingsBad);
    let mut held = rules.filter(|rule| (rule.holds)(facts));
    let rule = held.next().expect("BUG: the last row always holds");
    let code = rule.code;
    let beside = (facts.settings_bad > 0).then_some(SettingsBad);
    Verdict {
        code,
        says: (rule.says)(facts),
        do_: advice(code, facts),
        beside: beside.into_iter().collect(),
    }
}

/// A row as an operator reads it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name.
    pub code: Code,
    /// When it holds, in words.
    pub when: &'static str,
    /// What to do then.
    pub advice: &'static str,
    holds: fn(&Facts) -> bool,
    says: fn(&Facts) -> String,
}

/// The share of a fleet's sidecars from which their trouble counts as the fleet's.
const OF_A_FLEET: f64 = 0.2;
/// A gate stops renders often.
const OFTEN: f64 = 0.2;
/// A gate, or a result, is what it is mostly about.
const MOSTLY: f64 = 0.5;
/// The share of the landings that shows an overloaded renderer.
const OVERLOAD: f64 = 0.02;
/// The share of the landings, and the least number of them, that show a caller that asks for
/// unknown projects.
const UNKNOWN: (f64, u32) = (0.2, 5);
/// The share of the lookups that bring back an evicted project.
const RETURNS: f64 = 0.1;
/// The share of the projects up to which failures are those of the projects, not of the renderer.
const FEW: f64 = 0.1;
/// How many times longer than in the hour before a slow render takes.
const SLOWER: f64 = 3.0;

/// The table, in the order of asking. The first is shown beside any other.
pub const TABLE: &[Rule] = &[
    Rule {
        code: SettingsBad,
        when: "a settings file is bad (shown beside any other)",
        advice: "Correct the file: the log has file and line. Until then the limits and the rollout before it stay in force.",
        holds: |facts| facts.settings_bad > 0,
        says: |_| "A settings file is bad.".to_owned(),
    },
    Rule {
        code: Stopped,
        when: "the rate is 0",
        advice: "Set `admission.rate`, or `admission.fleet_rate`, when renders may go on.",
        holds: |facts| facts.rate <= 0.0,
        says: |facts| {
            format!(
                "The rate is 0: nothing is rendered, and {} wait.",
                Plural(facts.left(), "wanted project")
            )
        },
    },
    Rule {
        code: Unreachable,
        when: "there is no connection to the renderer, or the lack of one stopped renders for 20 % of the time",
        advice: "Check the renderer, `upstream.url`, the NetworkPolicy and DNS. Do not raise the rate.",
        holds: |facts| {
            facts.part(facts.disconnected) >= OF_A_FLEET
                || (facts.left() > 0 && facts.part_bound(facts.bound.connection) >= OFTEN)
        },
        says: |facts| match (facts.disconnected, facts.sidecars) {
            (0, _) => format!(
                "The connection to the renderer was missing {} of the time.",
                percent(facts.part_bound(facts.bound.connection))
            ),
            (_, 0 | 1) => "There is no connection to the renderer.".to_owned(),
            (count, all) => {
                format!("{count} of {all} sidecars have no connection to the renderer.")
            }
        },
    },
    Rule {
        code: Apart,
        when: "a fifth of the sidecars render without the store of their fleet",
        advice: "Check the store, `store.url` and the network to it: the log has the error. Until it is back each sidecar has its part of `admission.fleet_rate`, and renders are not shared. Do not raise the rate.",
        holds: |facts| facts.part(facts.apart) >= OF_A_FLEET,
        says: |facts| match facts.sidecars {
            0 | 1 => {
                "The store of the fleet is out of reach: this sidecar renders alone.".to_owned()
            }
            all => format!(
                "{} of {all} sidecars do not reach the store of the fleet, and render alone.",
                facts.apart
            ),
        },
    },
    Rule {
        code: Overloaded,
        when: "the renderer pushes back, or ended 2 % of the renders with RESOURCE_EXHAUSTED and a time to come back",
        advice: "Do not raise the rate. Add renderers, or lower the rate: if each release ends here, it is too high.",
        holds: |facts| {
            facts.part(facts.pushed_back) >= OF_A_FLEET
                || (facts.left() > 0 && facts.part_landed(facts.landed.exhausted) >= OVERLOAD)
        },
        says: |facts| {
            format!(
                "The renderer asks for a pause; of the last {} renders it turned {} away.",
                facts.landed.sum(),
                facts.landed.exhausted
            )
        },
    },
    Rule {
        code: Failing,
        when: "the breaker is open, or half of the renders fail, of more than a tenth of the projects",
        advice: "Check the renderer: the log has its message. Do not raise the rate, it only repeats what fails.",
        holds: |facts| {
            facts.part(facts.broken) >= OF_A_FLEET
                || (facts.mostly(facts.failures()) && !facts.few_fail())
        },
        says: |facts| {
            format!(
                "Of the last {} renders {} failed{}.",
                facts.landed.sum(),
                facts.failures(),
                if facts.broken > 0 {
                    ", and the breaker is open"
                } else {
                    ""
                }
            )
        },
    },
    Rule {
        code: Hanging,
        when: "the oldest render takes more than 5 s and ten times the median, and none was answered for as long",
        advice: "The renderer accepts renders and does not answer: restart it. Do not raise the concurrency.",
        holds: |facts| facts.part(facts.hanging) >= OF_A_FLEET,
        says: |facts| {
            format!(
                "The oldest render has run for {}{}, and no render has been answered.",
                time(facts.oldest_seconds),
                usually(facts)
            )
        },
    },
    Rule {
        code: Behind,
        when: "half of the renders brought an older rollout than the target",
        advice: "Finish the roll-out of the renderer, or set `rollout` back. A higher rate is of no use.",
        holds: |facts| facts.mostly(facts.landed.behind),
        says: |facts| {
            format!(
                "Of the last {} renders {} were of an older rollout than the target.",
                facts.landed.sum(),
                facts.landed.behind
            )
        },
    },
    Rule {
        code: Rejected,
        when: "half of the renders brought what cannot be served",
        advice: "The log says what is unfit: fix the renderer, or raise `upstream.max_payload` if it is too large. A higher rate is of no use.",
        holds: |facts| facts.mostly(facts.landed.rejected),
        says: |facts| {
            format!(
                "Of the last {} renders {} cannot be served.",
                facts.landed.sum(),
                facts.landed.rejected
            )
        },
    },
    Rule {
        code: UnknownNames,
        when: "a fifth of the renders found no such project, of what was never held, or lookups fail with QUEUE_FULL",
        advice: "A caller asks for projects that do not exist, or for too many at once: `evenkeel projects --missing` lists them. Do not raise a limit.",
        holds: |facts| {
            let (part, least) = UNKNOWN;
            let not_found = facts.landed.not_found;
            facts.lookups_queue_full > 0
                || (not_found >= least && facts.part_landed(not_found) >= part)
        },
        says: |facts| {
            format!(
                "Of the last {} renders {} found no such project; {} lookups failed because too many wait.",
                facts.landed.sum(),
                facts.landed.not_found,
                facts.lookups_queue_full
            )
        },
    },
    Rule {
        code: SomeFail,
        when: "renders fail, and what is not fresh is what fails",
        advice: "`evenkeel projects --failing` lists them with the renderer's messages: fix their input. The limits are innocent.",
        holds: |facts| facts.failing_now > 0 && facts.left() > 0 && facts.left() <= facts.failing,
        says: |facts| {
            format!(
                "{} fail, and all others that are wanted are fresh.",
                Plural(facts.failing, "project")
            )
        },
    },
    Rule {
        code: CacheTooSmall,
        when: "wanted projects are evicted, or one of ten lookups brings back what was evicted",
        advice: "Raise `cache.max_bytes`, and the memory limit to three times as much.",
        holds: |facts| {
            let returned = f64::from(facts.returned);
            facts.evicted_wanted > 0
                || (facts.returned > 0 && returned >= RETURNS * f64::from(facts.lookups))
        },
        says: |facts| {
            format!(
                "{} evicted while wanted, and {} stored again.",
                Plural(facts.evicted_wanted, "project"),
                facts.returned
            )
        },
    },
    Rule {
        code: Recovering,
        when: "the rate in force is below the rate, or all that is left cools down and nothing fails now",
        advice: "Nothing: the full rate is back within a minute, the last project within 5 minutes.",
        holds: |facts| {
            let cools = facts.left() > 0
                && facts.failing_now == 0
                && (facts.left() <= facts.failing
                    || facts.part_bound(facts.bound.project) >= MOSTLY);
            facts.rate_in_force < 0.99 * facts.rate || cools
        },
        says: |facts| {
            if facts.rate_in_force < 0.99 * facts.rate {
                let (now, set) = (figure(facts.rate_in_force), figure(facts.rate));
                return format!("Renders start again: {now} of {set} renders/s are in force.");
            }
            let left = Plural(facts.left(), "project");
            format!("{left} cool down after failures, and nothing fails now.")
        },
    },
    Rule {
        code: Slow,
        when: "`concurrency` stops renders half of the time, and renders take three times as long as in the hour before",
        advice: "Renders became slower: check the renderer's CPU. Do not raise a limit, it adds load.",
        holds: |facts| {
            facts.waits_for(facts.bound.concurrency)
                && facts.usual_seconds > 0.0
                && facts.mean_seconds / facts.usual_seconds >= SLOWER - 1e-9
        },
        says: |facts| {
            format!(
                "All permits are held {} of the time; renders take {}, usually {}.",
                percent(facts.part_bound(facts.bound.concurrency)),
                time(facts.mean_seconds),
                time(facts.usual_seconds)
            )
        },
    },
    Rule {
        code: Concurrency,
        when: "`concurrency` stops renders half of the time",
        advice: "Raise `admission.concurrency`, or make renders quicker: refreshes cannot exceed ¾ × `admission.concurrency` ÷ median render time.",
        holds: |facts| facts.waits_for(facts.bound.concurrency),
        says: |facts| {
            format!(
                "All permits are held {} of the time; the median render takes {}.",
                percent(facts.part_bound(facts.bound.concurrency)),
                time(facts.median_seconds)
            )
        },
    },
    Rule {
        code: Budget,
        when: "`tokens` stop renders half of the time",
        advice: "Wait: `/status` says for how long. If that is too long, and sidecars × rate × median render time is below ⅔ of the renderers' workers, raise `admission.rate` (or `admission.fleet_rate`), at most twofold.",
        holds: |facts| facts.waits_for(facts.bound.tokens),
        says: |facts| {
            format!(
                "The rate stops renders {} of the time; the median render takes {}.",
                percent(facts.part_bound(facts.bound.tokens)),
                time(facts.median_seconds)
            )
        },
    },
    Rule {
        code: Converging,
        when: "something that is wanted is not fresh",
        advice: "Nothing.",
        holds: |facts| facts.left() > 0,
        says: |facts| {
            format!(
                "{} to be refreshed{}.",
                Plural(facts.left(), "project"),
                done(facts)
            )
        },
    },
    Rule {
        code: Fresh,
        when: "all that is wanted is fresh",
        advice: "Nothing.",
        holds: |_| true,
        says: |facts| {
            format!(
                "All that is wanted is fresh: {} of {} held projects.",
                facts.fresh,
                facts.fresh.saturating_add(facts.outdated)
            )
        },
    },
];

impl Facts {
    /// Whether a result is that of most renders while something is left to do.
    fn mostly(&self, landed: u32) -> bool {
        self.failing_now > 0 && self.left() > 0 && self.part_landed(landed) >= MOSTLY
    }

    /// Whether a gate is what stops renders.
    fn waits_for(&self, bound: f64) -> bool {
        self.left() > 0 && self.part_bound(bound) >= MOSTLY
    }

    /// Whether most projects are well.
    fn few_fail(&self) -> bool {
        let held = f64::from(self.fresh.saturating_add(self.outdated));
        f64::from(self.failing) <= FEW * (held + f64::from(self.wanted_missing))
    }
}

/// What to do, with the numbers that it takes.
fn advice(code: Code, facts: &Facts) -> String {
    match code {
        Budget => {
            let Some(seconds) = facts.done_in_seconds else {
                return code.advice().to_owned();
            };
            let rate = facts.rate;
            let busy = rate * facts.median_seconds;
            let workers = match facts.sidecars {
                1 => format!("sidecars × {} workers are busy", figure(busy)),
                _ => format!("{} workers are busy", figure(busy)),
            };
            format!(
                "Done in about {} at {}/s. Too long? If {workers} and that is below ⅔ of the renderers', raise \
                 `admission.rate` or `admission.fleet_rate`, at most twofold: done in about {}. Else nothing.",
                time(seconds),
                figure(rate),
                time(seconds / 2.0)
            )
        }
        Concurrency if facts.median_seconds > 0.0 => format!(
            "Raise `admission.concurrency`, or make renders quicker: ¾ × {} permits ÷ {} = {}/s is the most there is.",
            facts.concurrency,
            time(facts.median_seconds),
            figure(0.75 * f64::from(facts.concurrency) / facts.median_seconds)
        ),
        SettingsBad | Stopped | Unreachable | Apart | Overloaded | Failing | Hanging | Behind
        | Rejected | UnknownNames | SomeFail | CacheTooSmall | Recovering | Slow | Concurrency
        | Converging | Fresh => code.advice().to_owned(),
    }
}

fn done(facts: &Facts) -> String {
    let done = facts.done_in_seconds;
    done.map_or_else(String::new, |seconds| {
        format!(", done in about {}", time(seconds))
    })
}

fn usually(facts: &Facts) -> String {
    match facts.median_seconds {
        0.0 => String::new(),
        median => format!(", usually {}", time(median)),
    }
}

/// A time to the precision that an operator cares for.
pub fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{:.0}ms", 1000.0 * seconds);
    }
    spoken(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

/// A figure to the precision that an operator cares for.
pub fn figure(figure: f64) -> String {
    let decimals = match figure {
        0.0 => 0,
        figure if figure < 0.01 => 6,
        figure if figure < 1.0 => 2,
        figure if figure < 100.0 => 1,
        _ => 0,
    };
    let shown = format!("{figure:.decimals$}");
    match shown.contains('.') {
        true => shown.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => shown,
    }
}

struct Plural(u32, &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

impl Code {
    /// Its name, as `/status` has it. Readers tolerate names that they do not know.
    pub const fn as_str(self) -> &'static str {
        match self {
            SettingsBad => "SETTINGS_BAD",
            Stopped => "STOPPED",
            Unreachable => "UNREACHABLE",
            Apart => "APART",
            Overloaded => "OVERLOADED",
            Failing => "FAILING",
            Hanging => "HANGING",
            Behind => "BEHIND",
            Rejected => "REJECTED",
            UnknownNames => "UNKNOWN_NAMES",
            SomeFail => "SOME_FAIL",
            CacheTooSmall => "CACHE_TOO_SMALL",
            Recovering => "RECOVERING",
            Slow => "SLOW",
            Concurrency => "CONCURRENCY",
            Budget => "BUDGET",
            Converging => "CONVERGING",
            Fresh => "FRESH",
        }
    }

    /// What to do about it, without numbers.
    pub fn advice(self) -> &'static str {
        let rule = TABLE.iter().find(|rule| rule.code == self);
        rule.map_or("", |rule| rule.advice)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
