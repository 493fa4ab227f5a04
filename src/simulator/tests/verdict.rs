//! What has to hold of every run.

use std::time::Duration;

use super::{
    oracle::Oracle,
    setup::{RECOVERY, Setup},
};
use crate::admission::Permits;

/// What was broken, in words; nothing when all holds.
pub(super) type Broken = Vec<String>;

/// A fault, from one second up to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct FaultSpan {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// For how long goodput is averaged, in seconds.
const WINDOW: u64 = 30;

/// The promises, the bound on what is offered, and the bound on retries.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(super) fn always(observed: &Oracle, plan: &Setup) -> Broken {
    let mut broken = Broken::new();
    let mut holds = |holds: bool, text: String| {
        if !holds {
            broken.push(text);
        }
    };
    let forgotten = observed.forgotten;
    holds(
        forgotten == 0,
        format!("P1: {forgotten} callers waited for what was forgotten"),
    );
    let excess = observed.largest_excess;
    holds(
        excess <= f64::from(plan.burst) + 1e-6,
        format!("P2: {excess} launched beyond the rate"),
    );
    let wasted = observed.wasted;
    holds(
        wasted == 0,
        format!("P2: {wasted} renders of what was fresh"),
    );
    let untrue = observed.untrue.len();
    holds(
        untrue == 0,
        format!("P3: {untrue} untrue reasons, {:?}", observed.untrue.first()),
    );
    let late = observed.unfresh;
    let patience = plan.recovery();
    holds(
        late == 0,
        format!(
            "P5: {late} projects are outdated that were looked up {patience:.0?} ago or earlier"
        ),
    );
    let (dropped, told) = (
        observed.wrongly_dropped,
        observed.dropped.sum(0, plan.seconds),
    );
    holds(
        dropped == 0,
        format!("drops: {dropped} of {told} held projects were dropped wrongly"),
    );
    let sidecars = plan.sidecars as f64;
    let share = observed.offered_share(sidecars * f64::from(plan.burst));
    holds(
        share <= 1.1,
        format!("offered: {share:.2} times the rates and the bursts in a second"),
    );
    let floor = sidecars * (plan.seconds as f64 / 300.0).ceil();
    let firsts = (observed.launches - observed.repeats) as f64;
    let retries = observed.retries as f64;
    holds(
        retries <= 0.1 * firsts + floor,
        format!("retries: {retries} for those who waited, of {firsts} first attempts"),
    );
    let repeats = observed.repeats as f64;
    holds(
        repeats <= plan.repeats * firsts + floor,
        format!("attempts: {repeats} beyond the first for the same wish, of {firsts} wishes"),
    );
    broken
}

/// P5: goodput is back to 95 % within 90 s of the fault's end.
pub(super) fn recovers(observed: &Oracle, fault: FaultSpan) -> Broken {
    let before = observed.useful.mean(fault.from - WINDOW, fault.from);
    let from = fault.to + RECOVERY.as_secs();
    let after = observed.useful.mean(from, from + WINDOW);
    if after >= 0.95 * before {
        return Broken::new();
    }
    vec![format!(
        "P5: goodput is {after:.1}/s, and was {before:.1}/s"
    )]
}

/// P4: after a release everything that is wanted becomes fresh as fast as the rate and the permits
/// allow, by one render each.
pub(super) fn converges(observed: &Oracle, plan: &Setup) -> Broken {
    let mut broken = converges_at(observed, plan, plan.rate, Duration::ZERO);
    broken.extend(renders_once(observed));
    broken
}

/// P4 at a rate, after a delay: whatever a sidecar's wishes and permits allow, and the last render.
pub(super) fn converges_at(observed: &Oracle, plan: &Setup, rate: f64, after: Duration) -> Broken {
    let mut broken = Broken::new();
    let permits = f64::from(Permits::of(plan.limits().concurrency, &plan.tuning.budget).outdated);
    for (sidecar, converged) in observed.converged.iter().enumerate() {
        let Some(converged) = converged else {
            broken.push(format!("P4: sidecar {sidecar} did not converge"));
            continue;
        };
        let by_rate = f64::from(converged.wishes) / rate;
        let by_permits = converged.rendering.as_secs_f64() / permits;
        let last = after + converged.longest;
        let allowed = 1.1 * by_rate.max(by_permits) + last.as_secs_f64();
        let took = converged.took.as_secs_f64();
        if took > allowed {
            broken.push(format!(
                "P4: sidecar {sidecar} took {took:.1} s for {} wishes, not {allowed:.1} s",
                converged.wishes
            ));
        }
    }
    broken.truncate(1);
    broken
}

/// Where no render fails, each project is rendered at most once for a release, or for another wish.
pub(super) fn renders_once(observed: &Oracle) -> Broken {
    let repeats = observed.repeats;
    if repeats == 0 {
        return Broken::new();
    }
    vec![format!(
        "P4: {repeats} renders were not the first for the same wish"
    )]
}
