//! The progress of a demo on stderr: a bar on a terminal, else a line every few seconds.

use std::{
    convert::Infallible,
    io::{self, IsTerminal as _},
    time::Duration,
};

use tokio::{
    sync::watch::Receiver,
    time::{MissedTickBehavior, interval},
};

use crate::{
    charts::Bar,
    cli::terminal::complain,
    demo::{DemoStage, LiveNumbers, StormTerms},
};

/// How often the bar moves, and how often a line is written.
const PERIODS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Shows it for ever.
pub(super) async fn show(told: Receiver<LiveNumbers>, terms: StormTerms) -> Infallible {
    let bar = io::stderr().is_terminal().then(Bar::default);
    let period = if bar.is_some() { PERIODS.0 } else { PERIODS.1 };
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let live = *told.borrow();
        let line = line(&live, &terms);
        match &bar {
            None => complain(line),
            Some(bar) => bar.show(part(&live, &terms), line),
        }
    }
}

/// Which part of the stage is done.
fn part(live: &LiveNumbers, terms: &StormTerms) -> f64 {
    match live.stage {
        DemoStage::WarmUp => live.fresh as f64 / terms.projects.get() as f64,
        DemoStage::Incident | DemoStage::Evenkeel => {
            live.elapsed.as_secs_f64() / live.expected.as_secs_f64()
        }
    }
}

fn line(live: &LiveNumbers, terms: &StormTerms) -> String {
    let projects = terms.projects;
    let fresh = live.fresh;
    let what = match live.stage {
        DemoStage::WarmUp => {
            return format!("both ways render each project once: {fresh} of {projects}");
        }
        DemoStage::Incident => "the way of the incident",
        DemoStage::Evenkeel => "with evenkeel",
    };
    format!(
        "{what}, {:.0} s: {} lookups answered, {} failed; {} renders; {fresh} of {projects} fresh",
        live.elapsed.as_secs_f64(),
        live.answered,
        live.failed,
        live.renders,
    )
}
