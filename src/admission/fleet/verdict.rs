//! What has to hold of every run.

use super::{observed::Observed, sim::Plan};

/// What was broken, in words; nothing when all holds.
pub(super) type Broken = Vec<String>;

/// A fault, from one second up to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// How long a sidecar may take to be back to normal, in seconds.
const RECOVERY: u64 = 90;
/// For how long goodput is averaged, in seconds.
const WINDOW: u64 = 30;

/// The promises, the bound on what is offered, and the bound on retries.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(super) fn always(observed: &Observed, plan: &Plan) -> Broken {
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
    let untrue = observed.untrue.len();
    holds(
        untrue == 0,
        format!("P3: {untrue} untrue reasons, {:?}", observed.untrue.first()),
    );
    let fleet = plan.sidecars as f64;
    let bound = 1.1 * fleet * (plan.rate + f64::from(plan.burst));
    let peak = f64::from(observed.peak(0, plan.seconds));
    holds(
        peak <= bound,
        format!("offered: {peak} in a second, at most {bound}"),
    );
    let floor = fleet * (plan.seconds as f64 / 300.0).ceil();
    let firsts = (observed.launches - observed.retries) as f64;
    let retries = observed.retries as f64;
    holds(
        retries <= 0.1 * firsts + floor,
        format!("retries: {retries} of {firsts} first attempts"),
    );
    broken
}

/// P5: goodput is back to 95 % within 90 s of the fault's end.
pub(super) fn recovers(observed: &Observed, fault: Fault) -> Broken {
    let before = observed.useful.mean(fault.from - WINDOW, fault.from);
    let from = fault.to + RECOVERY;
    let after = observed.useful.mean(from, from + WINDOW);
    if after >= 0.95 * before {
        return Broken::new();
    }
    vec![format!(
        "P5: goodput is {after:.1}/s, and was {before:.1}/s"
    )]
}

/// P4: after a release everything that is wanted becomes fresh as fast as the rate allows.
pub(super) fn converges(observed: &Observed, plan: &Plan) -> Broken {
    let mut broken = Broken::new();
    for (sidecar, converged) in observed.converged.iter().enumerate() {
        match converged {
            None => broken.push(format!("P4: sidecar {sidecar} did not converge")),
            Some((took, launched)) => {
                let allowed = 1.1 * f64::from(*launched) / plan.rate + 2.0;
                if *took > allowed {
                    broken.push(format!(
                        "P4: sidecar {sidecar} took {took:.1} s, not {allowed:.1} s"
                    ));
                }
            }
        }
    }
    broken.truncate(1);
    broken
}
