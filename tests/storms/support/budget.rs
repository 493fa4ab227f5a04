//! What the limits allow to arrive at a renderer (P2 of the design), and what arrived beyond.

use std::time::Duration;

use evenkeel::renderer::RenderCounts;

/// How much later than it was launched a render may arrive on a busy machine: windows count as so
/// much longer.
const TRAVEL: Duration = Duration::from_millis(50);

/// The limits in force over time, by the clock of the renderer's journal.
#[derive(Clone, Debug)]
pub(crate) struct LaunchBudget {
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    from: Duration,
    rate: f64,
    /// Less than the rate while another one comes in force.
    least_rate: f64,
    burst: f64,
}

impl LaunchBudget {
    /// These limits have been in force all the time.
    pub(crate) fn new(rate: f64, burst: f64) -> Self {
        let step = Step {
            from: Duration::ZERO,
            rate,
            least_rate: rate,
            burst,
        };
        Self { steps: vec![step] }
    }

    /// Other limits came in force between two moments; meanwhile either may have been.
    pub(crate) fn changes(&mut self, between: [Duration; 2], rate: f64, burst: f64) {
        let before = self.steps[self.steps.len() - 1];
        self.steps.push(Step {
            from: between[0],
            rate: rate.max(before.rate),
            least_rate: rate.min(before.rate),
            burst: burst.max(before.burst),
        });
        self.steps.push(Step {
            from: between[1],
            rate,
            least_rate: rate,
            burst,
        });
    }

    /// How many tokens are refilled at least between two moments.
    pub(crate) fn surely_refilled(&self, from: Duration, to: Duration) -> f64 {
        self.integral(from, to, |step| step.least_rate)
    }

    fn integral(&self, from: Duration, to: Duration, rate: impl Fn(&Step) -> f64) -> f64 {
        let ends = self.steps.iter().skip(1).map(|step| step.from);
        let steps = self.steps.iter().zip(ends.chain([Duration::MAX]));
        let parts = steps.map(|(step, end)| {
            let (from, to) = (step.from.max(from), end.min(to));
            rate(step) * to.saturating_sub(from).as_secs_f64()
        });
        parts.sum()
    }

    fn largest_burst(&self, from: Duration, to: Duration) -> f64 {
        let first = self.steps.partition_point(|step| step.from <= from) - 1;
        let steps = self.steps[first..].iter();
        let in_force = steps.take_while(|step| step.from <= to);
        in_force.map(|step| step.burst).fold(0.0, f64::max)
    }

    /// Checks every window between two calls that arrived at `since` or later.
    pub(crate) fn assert_kept(&self, renders: &RenderCounts, since: Duration) {
        let arrivals = renders.calls.iter().map(|call| call.arrived);
        let arrivals: Vec<_> = arrivals.filter(|&arrived| arrived >= since).collect();
        for (first, &from) in arrivals.iter().enumerate() {
            let launched = from.saturating_sub(TRAVEL);
            for (more, &to) in arrivals[first..].iter().enumerate() {
                let allowed = self.largest_burst(launched, to)
                    + self.integral(launched, to, |step| step.rate);
                let arrived = more + 1;
                assert!(
                    arrived as f64 <= allowed,
                    "{arrived} renders arrived from {from:?} to {to:?}, {allowed:.1} are allowed"
                );
            }
        }
    }
}
