//! The terms of a storm: the same for both ways, and printed before either begins.

use std::{num::NonZeroU32, num::NonZeroUsize, time::Duration};

use super::load::BREATH;
use crate::renderer::{Cost, Fault};

/// How many connections the callers share.
pub(super) const CONNECTIONS: usize = 8;

/// The budget of fetches of what the renderer has stored: fetches per second, and fetches at once.
pub(super) const FETCH: (u32, u32) = (1_000, 64);

/// The longest that a recovery may take, from the end of a fault on.
pub(super) const RECOVERY: Duration = Duration::from_secs(90);

/// How a release comes to those who look projects up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The target is raised on the running pod.
    Raise,
    /// The pod is replaced by a new one, which holds nothing.
    Replace,
}

/// What both ways are put through.
#[derive(Clone, Copy, Debug)]
pub struct StormTerms {
    /// How many projects there are.
    pub projects: NonZeroUsize,
    /// How many callers look them up, one project after the other.
    pub callers: NonZeroUsize,
    /// How long a caller pauses after an answer, in the mean.
    pub pause: Duration,
    /// The deadline of a lookup, and its patience when nothing is held.
    pub deadline: Duration,
    /// How long a lookup waits for a refresh when something is held.
    pub patience: Duration,
    /// The deadline of a render.
    pub render_deadline: Duration,
    /// How many renders the renderer does at once.
    pub workers: NonZeroUsize,
    /// How long a render takes.
    pub cost: Cost,
    /// The budget: renders per second.
    pub rate: f64,
    /// The budget: renders that may follow one another at once.
    pub burst: NonZeroU32,
    /// The budget: renders at once.
    pub concurrency: NonZeroU32,
    /// How long the lookups go on before the release.
    pub calm: Duration,
    /// How long they go on after it at least.
    pub after: Duration,
    /// How the release comes.
    pub release: Release,
    /// What is wrong with the renderer from one second after the release on, and for how long.
    pub fault: Option<(Fault, Duration)>,
}

impl Default for StormTerms {
    fn default() -> Self {
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let limit = |limit| NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        Self {
            projects: count(200),
            callers: count(64),
            pause: Duration::from_millis(100),
            deadline: Duration::from_millis(400),
            patience: Duration::from_millis(50),
            render_deadline: Duration::from_secs(5),
            workers: count(10),
            cost: Cost::range(Duration::from_millis(250), Duration::from_millis(350)),
            rate: 25.0,
            burst: limit(2),
            concurrency: limit(16),
            calm: Duration::from_secs(3),
            after: Duration::from_secs(15),
            release: Release::Raise,
            fault: None,
        }
    }
}

impl StormTerms {
    /// Those of storms of a few seconds over few projects: they show that the demo works, and
    /// nothing else.
    pub fn quick() -> Self {
        Self {
            projects: NonZeroUsize::new(50).unwrap_or(NonZeroUsize::MIN),
            cost: Cost::fixed(Duration::from_millis(50)),
            calm: Duration::from_millis(500),
            after: Duration::from_secs(3),
            ..Self::default()
        }
    }

    /// The least time in which every project can be rendered within the budget.
    pub fn ideal(&self) -> Duration {
        let permits = match self.concurrency.get() {
            1 => 1,
            limit => limit - (limit / 4).max(1),
        };
        let permitted = f64::from(permits) / self.cost.mean().as_secs_f64();
        Duration::from_secs_f64(self.projects.get() as f64 / self.rate.min(permitted))
    }

    /// The terms in a few lines, for people.
    pub fn describe(&self) -> Vec<String> {
        let Self {
            projects,
            callers,
            workers,
            rate,
            burst,
            concurrency,
            ..
        } = self;
        let show = |time: Duration| humantime::format_duration(time).to_string();
        let mut lines = vec![
            format!(
                "{callers} callers over {CONNECTIONS} connections look up {projects} projects again and again, with a mean pause of {}; \
                 a caller that gets no answer in time asks again at once, after another failure {} later",
                show(self.pause),
                show(BREATH)
            ),
            format!(
                "a lookup has a deadline of {} and a patience of {}, or up to its deadline if nothing is held; a render has a deadline of {}",
                show(self.deadline),
                show(self.patience),
                show(self.render_deadline)
            ),
            format!(
                "the renderer has {workers} workers; a render takes {} on average",
                show(self.cost.mean())
            ),
            format!(
                "evenkeel's budget is {rate} renders per second, {burst} at once after a quiet time, {concurrency} in flight; \
                 and {} fetches per second, {} in flight",
                FETCH.0, FETCH.1
            ),
        ];
        let release = match self.release {
            Release::Raise => "the release raises the target of the running pod",
            Release::Replace => "the release replaces the pod with one that holds nothing",
        };
        let lasts = format!(
            "a storm begins {} before the release and goes on for {} after it",
            show(self.calm),
            show(self.after)
        );
        match self.fault {
            None => lines.extend([release.to_owned(), lasts]),
            Some((fault, fault_lasts)) => lines.extend([
                format!(
                    "{release}; a second later the renderer is given the fault \"{fault}\" for {}",
                    show(fault_lasts)
                ),
                format!(
                    "{lasts}, and for the time of the fault; with evenkeel until all is fresh, at most {} after the fault",
                    show(RECOVERY)
                ),
            ]),
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ideal_follows_from_the_rate_or_from_the_permits_whichever_is_less() {
        let terms = StormTerms::default();
        assert_eq!(terms.ideal(), Duration::from_secs(8));
        let few = StormTerms {
            concurrency: NonZeroU32::new(4).unwrap(),
            ..terms
        };
        assert_eq!(
            few.ideal().as_secs_f64().round(),
            20.0,
            "3 permits for 300 ms"
        );
    }
}
