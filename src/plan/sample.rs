//! How many sidecars are simulated, and how those that are stand for the others.

use super::case::Case;

/// So many pairs of a sidecar and a project are simulated: few enough for two cases of three runs
/// each within half a minute, and enough to tell from them when the last of all sidecars is done.
const PAIRS: u32 = 40_000;
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
}
