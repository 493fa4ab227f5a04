//! Which trace the flights of a project belong to: that of the lookup that caused them.

use std::collections::{BTreeMap, HashMap};

use crate::{revision::Project, trace::TraceContext};

/// How many traces are remembered at most, at some 100 bytes each; the oldest is forgotten first.
const MOST: usize = 4_096;

/// The traces of projects that are wanted.
#[derive(Debug, Default)]
pub(super) struct Traces {
    of: HashMap<Project, Caused>,
    by_age: BTreeMap<u64, Project>,
    noted: u64,
}

#[derive(Debug)]
struct Caused {
    by: TraceContext,
    age: u64,
    /// A render belongs to it: the next lookup causes the next one.
    is_rendered: bool,
}

impl Traces {
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Records a lookup that wants a project, unless an earlier lookup caused the coming flight.
    pub(super) fn note(&mut self, project: &Project, by: TraceContext) {
        let caused = self.of.get(project);
        if caused.is_some_and(|caused| !caused.is_rendered) {
            return;
        }
        self.forget(project);
        if self.of.len() == MOST
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.of.remove(&oldest);
        }
        self.noted += 1;
        self.by_age.insert(self.noted, project.clone());
        let caused = Caused {
            by,
            age: self.noted,
            is_rendered: false,
        };
        self.of.insert(project.clone(), caused);
    }

    /// The trace of a fetch of a project. The render that may follow has the same cause.
    pub(super) fn of_fetch(&self, project: &Project) -> TraceContext {
        let caused = self.of.get(project);
        caused.map_or_else(TraceContext::fresh, |caused| caused.by)
    }

    /// The trace of a render of a project.
    pub(super) fn of_render(&mut self, project: &Project) -> TraceContext {
        let caused = self.of.get_mut(project);
        caused.map_or_else(TraceContext::fresh, |caused| {
            caused.is_rendered = true;
            caused.by
        })
    }

    /// Forgets a project that is no longer wanted.
    pub(super) fn forget(&mut self, project: &Project) {
        if let Some(caused) = self.of.remove(project) {
            self.by_age.remove(&caused.age);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(name: impl std::fmt::Display) -> Project {
        Project::new(&name.to_string()).unwrap()
    }

    #[test]
    fn a_fetch_and_the_render_after_it_belong_to_the_first_lookup_and_the_next_render_to_the_next()
    {
        let mut traces = Traces::default();
        let [first, second, third] = [(); 3].map(|()| TraceContext::fresh());
        traces.note(&project("shop"), first);
        traces.note(&project("shop"), second);
        assert_eq!(traces.of_fetch(&project("shop")), first);
        assert_eq!(traces.of_render(&project("shop")), first);
        assert_eq!(traces.of_render(&project("shop")), first, "its retry");
        traces.note(&project("shop"), third);
        assert_eq!(traces.of_render(&project("shop")), third);
        traces.forget(&project("shop"));
        assert!(traces.is_empty() && traces.by_age.is_empty());
        assert_ne!(traces.of_render(&project("shop")), third);
    }

    #[test]
    fn remembers_at_most_the_limit() {
        let mut traces = Traces::default();
        let first = TraceContext::fresh();
        traces.note(&project("first"), first);
        for number in 0..MOST {
            traces.note(&project(number), TraceContext::fresh());
        }
        assert_eq!((traces.of.len(), traces.by_age.len()), (MOST, MOST));
        assert_ne!(traces.of_fetch(&project("first")), first);
    }
}
