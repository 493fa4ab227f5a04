//! The drill: outdated serving, tried out before the real renderer, without a fault switch in any
//! pod that serves.
//!
//! A sidecar is started in this process, as [`crate::app`] wires it, before a [tap] that can delay,
//! cut and hold what passes to the renderer. A project, the canary, is looked up meanwhile through
//! a real socket. It becomes outdated by its age alone: no rollout is raised. The renderer sees a
//! few renders of the canary, and after the hold perhaps of some strangers, whom it does not know.
//! Nothing is printed here: each [`DrillStep`] is told as it ends, and a [`DrillReport`] comes out.

mod caller;
mod frames;
mod report;
mod tap;

use std::{io, num::NonZeroU64, time::Duration};

use http::Uri;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

pub use self::report::{DrillReport, DrillStep};
use self::{
    caller::{DrillCaller, LookupAnswer},
    report::{CanaryTally, Expected},
    tap::{Mode, Tap},
};
use crate::{
    app::{self, Sidecar},
    revision::Project,
    serve::listener::ListenAddress,
    settings::{self, Flag, Invalid, Sources},
};

/// How long lookups wait for a refresh.
const PATIENCE: Duration = Duration::from_millis(50);
/// How many lookups are made while the renderer cannot be used, at least.
const LOOKUPS: u32 = 200;
/// How many lookups that fail are enough to know that they do.
const ENOUGH: u32 = 20;
/// The age at which the canary becomes outdated: the least that the sidecar takes.
const MAX_AGE: Duration = Duration::from_secs(1);
/// The budget of the drill's sidecar: renders per second, renders that may follow one another at
/// once, renders at once.
const BUDGET: (u32, u32, u32) = (2, 8, 4);
/// How long a lookup waits for the first render of a project: the longest that the sidecar takes by
/// default.
const FIRST: Duration = Duration::from_secs(30);
/// How long a sidecar may take to notice that the renderer is gone.
const NOTICED: Duration = Duration::from_secs(10);
/// How long all may take to be fresh again.
const HEALED: Duration = Duration::from_secs(90);
/// What is added to the way to the renderer and back, each: more than lookups wait.
const DELAY: Duration = Duration::from_millis(150);
/// How often a lookup is made while something is waited for.
const PACE: Duration = Duration::from_millis(20);
/// How many bytes of the canary's name the names of strangers begin with. Strangers are projects
/// that are asked for while nothing reaches the renderer.
const PREFIX: usize = 200;

/// What is tried out, and before whom.
#[derive(Clone, Debug)]
pub struct DrillTerms {
    /// The renderer.
    pub upstream: Uri,
    /// A project that the renderer knows.
    pub canary: Project,
    /// The component whose configurations the sidecars look up.
    pub component: String,
    /// The rollout to ask for; the renderer may render a later one.
    pub rollout: NonZeroU64,
    /// How long a render may take.
    pub deadline: Duration,
    /// How long the first render of the canary may take, with all attempts.
    pub within: Duration,
    /// For how long an answer may have been outdated, as the applications demand it; for ever when
    /// none.
    pub max_outdated: Option<Duration>,
}

/// Why a drill could not begin.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// A setting of the sidecar is wrong.
    #[error("{0}")]
    Settings(Invalid),
    /// The sidecar does not start.
    #[error("the sidecar does not start")]
    Sidecar(#[from] app::SidecarError),
    /// A port cannot be listened on.
    #[error("cannot listen on loopback")]
    Listen(#[source] io::Error),
    /// The sidecar does not take a connection.
    #[error("no connection to the sidecar on loopback")]
    Connect(#[source] tonic::transport::Error),
    /// The renderer takes no connection.
    #[error("the renderer at {url} cannot be reached: {why}")]
    Unreachable {
        /// Where it was looked for.
        url: Uri,
        /// What went wrong last.
        why: String,
    },
    /// The renderer does not know the canary.
    #[error("the renderer knows no project {0}: name one that it does")]
    NoCanary(Project),
    /// The renderer does not render the canary.
    #[error("the canary is not rendered within {within:?}: {why}")]
    NotRendered {
        /// How long was waited for it.
        within: Duration,
        /// What went wrong last.
        why: String,
    },
}

struct Drill<'a> {
    terms: &'a DrillTerms,
    tap: Tap,
    caller: DrillCaller,
    start: Instant,
    /// Callers of projects of which nothing is held.
    strangers: JoinSet<()>,
    strangers_named: u32,
    steps: Vec<DrillStep>,
    tell: &'a mut dyn FnMut(&DrillStep),
}

/// Runs it, which takes a minute or two, and tells each step as it ends.
///
/// # Errors
/// When it cannot begin: the renderer cannot be reached, or does not know the canary.
pub async fn run(
    terms: &DrillTerms,
    tell: &mut dyn FnMut(&DrillStep),
) -> Result<DrillReport, DrillError> {
    let named = prefix(&terms.canary);
    let tap = Tap::start(&terms.upstream, named).await;
    let tap = tap.map_err(DrillError::Listen)?;
    let sources = sources(terms, &tap);
    let loaded = settings::load(&sources).map_err(DrillError::Settings)?;
    let sidecar = Sidecar::start(sources, loaded).await?;
    let lookup = sidecar
        .addresses()
        .lookup
        .iter()
        .find_map(|address| match address {
            ListenAddress::Tcp(address) => Some(*address),
            ListenAddress::Unix(_) => None,
        });
    let address = lookup.expect("BUG: the settings name a TCP address");
    let caller = DrillCaller::connect(address, terms.max_outdated).await;
    let mut drill = Drill {
        terms,
        tap,
        caller: caller.map_err(DrillError::Connect)?,
        start: Instant::now(),
        strangers: JoinSet::new(),
        strangers_named: 0,
        steps: Vec::new(),
        tell,
    };
    drill.render().await?;
    drill.delay().await;
    drill.cut().await;
    drill.heal().await;
    drill.hold().await;
    drill.heal().await;
    Ok(drill.report())
}

/// All of the sidecar's settings that matter here. Files and the environment are not read.
fn sources(terms: &DrillTerms, tap: &Tap) -> Sources {
    let (rate, burst, concurrency) = BUDGET;
    let millis = |time: Duration| format!("{}ms", time.as_millis());
    let fields = [
        ("rollout", terms.rollout.to_string()),
        ("component", terms.component.clone()),
        ("upstream.url", format!("http://{}", tap.address())),
        ("upstream.deadline", millis(terms.deadline)),
        ("upstream.fetch.rate", "0".to_owned()),
        ("lookup.listen", "127.0.0.1:0".to_owned()),
        ("lookup.patience", millis(PATIENCE)),
        ("lookup.max_age", millis(MAX_AGE)),
        ("admission.rate", rate.to_string()),
        ("admission.burst", burst.to_string()),
        ("admission.concurrency", concurrency.to_string()),
        ("telemetry.listen", "127.0.0.1:0".to_owned()),
    ];
    let flags = fields.map(|(field, value)| Flag {
        name: "evenkeel drill",
        field,
        value,
    });
    Sources {
        flags: flags.into(),
        ..Sources::default()
    }
}

/// What the names of the canary and of strangers begin with.
fn prefix(canary: &Project) -> String {
    canary.as_str().chars().take(PREFIX).collect()
}

impl Drill<'_> {
    /// Has the canary rendered.
    async fn render(&mut self) -> Result<(), DrillError> {
        let begun = self.begin();
        let within = self.terms.within;
        loop {
            let patience = within.min(FIRST);
            let answer = self.caller.ask(self.terms.canary.as_str(), patience).await;
            let why = match answer.came {
                LookupAnswer::Fresh => break,
                LookupAnswer::NoSuchProject => {
                    return Err(DrillError::NoCanary(self.terms.canary.clone()));
                }
                LookupAnswer::Outdated(reason) => reason,
                LookupAnswer::Failed(why) => why,
            };
            if begun.at.elapsed() >= within {
                return Err(match self.tap.unreached() {
                    Some(error) => DrillError::Unreachable {
                        url: self.terms.upstream.clone(),
                        why: error.to_string(),
                    },
                    None => DrillError::NotRendered { within, why },
                });
            }
            sleep(PACE).await;
        }
        let took = begun.at.elapsed();
        self.end(
            "rendered",
            begun,
            CanaryTally::default(),
            &Expected::default(),
            |_| format!("the canary is held, after {took:.1?}"),
        );
        Ok(())
    }

    /// The renderer becomes slower than lookups wait: they do not wait for it, and its late answer
    /// is used.
    async fn delay(&mut self) {
        let begun = self.begin();
        self.tap.set(Mode::Delay(DELAY));
        let mut tally = CanaryTally::default();
        let mut is_used = false;
        let limit = NOTICED + self.terms.deadline;
        while begun.at.elapsed() < limit && !is_used && tally.failed < ENOUGH {
            let came = self.ask(&mut tally).await;
            is_used = came == LookupAnswer::Fresh && tally.outdated.contains_key("TIMED_OUT");
            sleep(PACE).await;
        }
        self.tap.set(Mode::Pass);
        let mut expected = Expected {
            seen: &["TIMED_OUT"],
            ..Expected::default()
        };
        if !is_used {
            expected.unmet = Some("the late answer of the renderer was not used".to_owned());
        }
        self.end("delayed", begun, tally, &expected, |tally| match is_used {
            true => format!("{tally}; then fresh by the late answer"),
            false => tally.to_string(),
        });
    }

    /// The connection is gone.
    async fn cut(&mut self) {
        let begun = self.begin();
        self.tap.set(Mode::Cut);
        // Until the canary is outdated and the sidecar knows that the renderer is gone, any answer
        // is right.
        let mut tally = CanaryTally::default();
        while begun.at.elapsed() < NOTICED {
            let answer = self.ask(&mut tally).await;
            let is_known = answer == LookupAnswer::Outdated("UNREACHABLE".to_owned());
            if is_known || tally.failed >= ENOUGH {
                break;
            }
            sleep(PACE).await;
        }
        let mut tally = tally.without_answers();
        for _ in 0..LOOKUPS {
            self.ask(&mut tally).await;
        }
        let expected = Expected {
            lookups: LOOKUPS,
            allowed: Some(&["UNREACHABLE"]),
            is_fresh_wrong: true,
            most_renders: Some(0),
            ..Expected::default()
        };
        self.end("cut", begun, tally, &expected, CanaryTally::to_string);
    }

    /// Connections stay, and nothing passes. First strangers take all permits, then the canary's
    /// render takes one, and in the end the breaker opens.
    async fn hold(&mut self) {
        let begun = self.begin();
        self.tap.set(Mode::Hold);
        self.ask_for_strangers();
        let seen = ["CONCURRENCY_LIMITED", "TIMED_OUT", "BREAKER_OPEN"];
        let limit = NOTICED + 6 * self.terms.deadline;
        let (mut tally, mut is_outdated) = (CanaryTally::default(), false);
        while begun.at.elapsed() < limit {
            let timed_out = tally.outdated.contains_key("TIMED_OUT");
            let answer = self.ask(&mut tally).await;
            if answer == LookupAnswer::Fresh && !is_outdated {
                tally = tally.without_answers();
            }
            is_outdated |= matches!(answer, LookupAnswer::Outdated(_));
            if !timed_out && tally.outdated.contains_key("TIMED_OUT") {
                self.ask_for_strangers();
            }
            let all_seen = seen
                .iter()
                .all(|reason| tally.outdated.contains_key(*reason));
            if (all_seen || tally.failed >= ENOUGH) && tally.lookups >= LOOKUPS {
                break;
            }
            sleep(PACE / 4).await;
        }
        self.strangers.abort_all();
        let expected = Expected {
            lookups: LOOKUPS,
            seen: &seen,
            is_fresh_wrong: true,
            ..Expected::default()
        };
        self.end("held", begun, tally, &expected, CanaryTally::to_string);
    }

    /// All is well again.
    async fn heal(&mut self) {
        let begun = self.begin();
        self.tap.set(Mode::Pass);
        let (mut tally, mut is_fresh) = (CanaryTally::default(), false);
        while begun.at.elapsed() < HEALED && !is_fresh {
            is_fresh = self.ask(&mut tally).await == LookupAnswer::Fresh;
            sleep(PACE).await;
        }
        let took = begun.at.elapsed();
        let mut expected = Expected::default();
        if !is_fresh {
            expected.unmet = Some(format!("not fresh within {HEALED:?}"));
        }
        self.end("healed", begun, tally, &expected, |_| {
            format!("fresh after {took:.1?}, of {HEALED:?}")
        });
    }

    fn report(mut self) -> DrillReport {
        let (rate, burst, _) = BUDGET;
        let seconds = self.start.elapsed().as_secs_f64();
        let counts = self.tap.counts();
        let within = (f64::from(burst) + f64::from(rate) * seconds).floor();
        let begun = StepBegun {
            at: self.start,
            renders: 0,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of minutes"
        )]
        let expected = Expected {
            most_renders: Some(within as u32),
            ..Expected::default()
        };
        self.end("budget", begun, CanaryTally::default(), &expected, |_| {
            format!(
                "{} renders were tried, of {within} that the budget allows",
                counts.tried
            )
        });
        DrillReport {
            upstream: self.terms.upstream.to_string(),
            project: self.terms.canary.to_string(),
            steps: self.steps,
            renders: counts.passed,
            connections: counts.reached,
            seconds,
        }
    }

    async fn ask(&self, tally: &mut CanaryTally) -> LookupAnswer {
        let canary = self.terms.canary.as_str();
        let answer = self.caller.ask(canary, PATIENCE).await;
        tally.count(&answer);
        answer.came
    }

    /// Asks for as many projects as there are permits, of which nothing is held. Each is asked for
    /// once.
    fn ask_for_strangers(&mut self) {
        let (_, _, concurrency) = BUDGET;
        for _ in 0..concurrency {
            self.strangers_named += 1;
            let caller = self.caller.clone();
            let name = format!(
                "{}-drill-{}",
                prefix(&self.terms.canary),
                self.strangers_named
            );
            self.strangers.spawn(async move {
                // It fails, since nothing reaches the renderer.
                let _failed = caller.ask(&name, FIRST).await;
            });
        }
    }

    fn begin(&self) -> StepBegun {
        StepBegun {
            at: Instant::now(),
            renders: self.tap.counts().tried,
        }
    }

    fn end(
        &mut self,
        name: &'static str,
        begun: StepBegun,
        tally: CanaryTally,
        expected: &Expected<'_>,
        says: impl FnOnce(&CanaryTally) -> String,
    ) {
        let renders = self.tap.counts().tried - begun.renders;
        let step = DrillStep {
            name,
            broken: expected.broken(&tally, renders),
            says: says(&tally),
            seconds: begun.at.elapsed().as_secs_f64(),
            renders,
            lookups: tally.lookups,
            slowest_seconds: tally.slowest.as_secs_f64(),
            outdated: tally.outdated,
        };
        (self.tell)(&step);
        self.steps.push(step);
    }
}

/// When a step began, and how many renders had been tried by then.
#[derive(Clone, Copy, Debug)]
struct StepBegun {
    at: Instant,
    renders: u32,
}

#[cfg(test)]
mod tests;
