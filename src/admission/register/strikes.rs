//! Whether calls that are turned away are the fault of their project.

use crate::admission::{flights::RefusalTally, tuning::Learning};

/// How often calls for a project were turned away in a row although those for others were taken.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Strikes {
    count: u32,
    /// What had become of all calls at the last strike.
    tally: RefusalTally,
    /// The project's own refusals since.
    refused: u64,
}

impl Strikes {
    pub(super) const NONE: Self = Self {
        count: 0,
        tally: RefusalTally {
            answered: 0,
            refused: 0,
        },
        refused: 0,
    };

    /// Records a plain refusal, which `tally` counts. True when the project is at fault: it was
    /// refused again and again while others were answered.
    ///
    /// While it is learned how many calls the renderer takes, any project is refused now and then.
    /// A refusal is a strike only where, since the last strike, some calls of others were answered,
    /// and three for each that was refused.
    pub(in crate::admission) fn refuse(&mut self, tally: RefusalTally, tuning: &Learning) -> bool {
        self.refused += 1;
        self.strike(tally, tuning, tuning.strikes)
    }

    /// As [`Strikes::refuse`] of a call that failed by itself.
    pub(in crate::admission) fn fail(&mut self, tally: RefusalTally, tuning: &Learning) -> bool {
        self.strike(tally, tuning, tuning.failures)
    }

    fn strike(&mut self, tally: RefusalTally, tuning: &Learning, often: u32) -> bool {
        let answered = tally.answered - self.tally.answered;
        let refused = (tally.refused - self.tally.refused).saturating_sub(self.refused);
        let is_alone = answered >= tuning.answered && answered >= 3 * refused;
        if self.count == 0 || is_alone {
            *self = Self {
                count: self.count + 1,
                tally,
                refused: 0,
            };
        }
        let is_out = self.count >= often;
        if is_out {
            *self = Self::NONE;
        }
        is_out
    }

    pub(super) fn any(self) -> bool {
        self.count > 0
    }
}
