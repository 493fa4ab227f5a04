//! Which gate stops the wanted projects: the ladder as an operator sees it, not for one project.

use super::{
    Admission, Gate,
    gates::Candidate,
    register::{Stage, WantedKind},
    words::Class,
};
use crate::moment::Moment;

impl Admission {
    /// The first gate that stops the project whose turn it is; `None` if no project waits, or if it
    /// may go. If every wanted project cools down, this is [`Gate::Project`], unless an earlier
    /// gate stops every project.
    pub fn binding(&self, now: Moment) -> Option<Gate> {
        let register = &self.register;
        let wanted: usize = register.counts.wanted.iter().sum();
        if wanted <= (self.flights.renders + self.flights.fetches) as usize {
            return None;
        }
        let kind = WantedKind::ALL
            .into_iter()
            .find(|kind| register.wanted.has(*kind));
        let candidate = if !register.queues.missing.is_empty() {
            Candidate::next(Stage::Reserve, Class::Missing)
        } else if let Some(kind) = kind {
            Candidate {
                is_cooling: kind == WantedKind::Failing,
                is_unseen: kind == WantedKind::Unseen,
                ..Candidate::next(Stage::Reserve, Class::Outdated)
            }
        } else if !register.queues.to_fetch.is_empty() {
            Candidate::next(Stage::Fetch, Class::Missing)
        } else {
            let any = Candidate::next(Stage::Reserve, Class::Outdated);
            let mut of_all = Gate::ALL.into_iter().filter(|gate| gate.stops_all());
            let shut = of_all.find(|gate| self.ask(*gate, &any, now).is_some());
            return shut.or(Some(Gate::Project));
        };
        self.shut(&candidate, now).map(|shut| shut.gate)
    }
}
