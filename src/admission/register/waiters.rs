//! Those who wait for a project.

use std::collections::BTreeMap;

use crate::moment::Moment;

/// How many wait until when.
#[derive(Debug, Default)]
pub(in crate::admission) struct Waiters(pub(in crate::admission) BTreeMap<Moment, u32>);

impl Waiters {
    pub(in crate::admission) fn add(&mut self, until: Moment) {
        *self.0.entry(until).or_default() += 1;
    }

    pub(in crate::admission) fn remove(&mut self, until: Moment) {
        if let Some(count) = self.0.get_mut(&until) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&until);
            }
        }
    }

    /// Forgets all of them; true when there were any.
    pub(in crate::admission) fn clear(&mut self) -> bool {
        let any = !self.is_empty();
        self.0.clear();
        any
    }

    pub(in crate::admission) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latest moment until which one of them waits.
    pub(in crate::admission) fn latest(&self) -> Option<Moment> {
        self.0.last_key_value().map(|(&until, _)| until)
    }
}
