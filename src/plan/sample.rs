//! How many sidecars are simulated, and how those that are stand for the others.

use super::case::Case;

/// So many pairs of a sidecar and a project are simulated: few enough for two cases of three runs each within half a minute.
const PAIRS: u32 = 20_000;
/// The fewest sidecars that stand for more.
const FEWEST: u32 = 20;

/// How many sidecars are simulated, of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Those that are simulated.
    pub pods: u32,
    /// All.
    pub of: u32,
}

impl Sampled {
    /// The sample of a case: all of its sidecars if they are few.
    pub(super) fn of(case: &Case) -> Self {
        let pods = (PAIRS / case.projects).max(FEWEST).min(case.pods);
        Self {
            pods,
            of: case.pods,
        }
    }

    /// Every sidecar of a case.
    #[cfg(test)]
    pub(super) fn all(case: &Case) -> Self {
        Self {
            pods: case.pods,
            of: case.pods,
        }
    }

    /// Whether some stand for others.
    pub fn is_part(self) -> bool {
        self.pods < self.of
    }

    /// How many sidecars each stands for.
    pub(super) fn each(self) -> f64 {
        f64::from(self.of) / f64::from(self.pods)
    }

    /// How many sidecars one of them stands for, so that all of them stand for all.
    pub(super) fn stands_for(self, pod: u32) -> u32 {
        let share = |pods: u32| u64::from(self.of) * u64::from(pods) / u64::from(self.pods);
        u32::try_from(share(pod + 1) - share(pod)).unwrap_or(u32::MAX)
    }
}
