//! What was rendered: the memo that spares equal renders, and the store that `Fetch` reads.
//!
//! Of each project and component the newest revisions are kept, by their order. It lives in memory
//! and ends with the process. What is rendered for one component too many is not kept: this
//! renderer is for development, which knows few.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::revision::{Order, Project, Revision};

/// How many revisions are kept of each project and component.
const KEPT: usize = 3;

/// How many components anything is kept of.
const COMPONENTS: usize = 64;

/// A component of the software, by its name.
pub(super) type Component = Arc<str>;

type Revisions = BTreeMap<Order, Arc<Revision>>;

/// The newest revisions of each project and component.
#[derive(Debug, Default)]
pub(super) struct RevisionStore {
    kept: Mutex<KeptRevisions>,
}

#[derive(Debug, Default)]
struct KeptRevisions {
    components: HashSet<Component>,
    revisions: HashMap<(Project, Component), Revisions>,
}

impl RevisionStore {
    /// The revision of exactly that order, if it is kept.
    pub(super) fn get(
        &self,
        project: &Project,
        component: &Component,
        order: Order,
    ) -> Option<Arc<Revision>> {
        let key = (project.clone(), Arc::clone(component));
        self.lock().revisions.get(&key)?.get(&order).map(Arc::clone)
    }

    /// The newest revision, if any is kept.
    pub(super) fn newest(&self, project: &Project, component: &Component) -> Option<Arc<Revision>> {
        let key = (project.clone(), Arc::clone(component));
        let kept = self.lock();
        let (_, newest) = kept.revisions.get(&key)?.last_key_value()?;
        Some(Arc::clone(newest))
    }

    /// Keeps a revision, and drops the oldest when those are too many.
    pub(super) fn keep(&self, component: &Component, revision: &Arc<Revision>) {
        let key = (revision.project.clone(), Arc::clone(component));
        let mut kept = self.lock();
        if !kept.components.contains(component) {
            if kept.components.len() == COMPONENTS {
                return;
            }
            kept.components.insert(Arc::clone(component));
        }
        let revisions = kept.revisions.entry(key).or_default();
        revisions.insert(revision.order, Arc::clone(revision));
        if revisions.len() > KEPT {
            revisions.pop_first();
        }
    }

    fn lock(&self) -> MutexGuard<'_, KeptRevisions> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_by_order_are_kept_and_fetched() {
        let store = RevisionStore::default();
        let component = Component::from("identity");
        let project = Project::new("ada").unwrap();
        for order in [
            Order::new(2, 7),
            Order::new(1, 9),
            Order::new(3, 1),
            Order::new(2, 8),
        ] {
            store.keep(
                &component,
                &Arc::new(Revision::new(
                    project.clone(),
                    order,
                    None,
                    "application/json".into(),
                    b"{}",
                )),
            );
        }
        let newest = store.newest(&project, &component).unwrap();
        assert_eq!(newest.order, Order::new(3, 1));
        assert!(store.get(&project, &component, Order::new(2, 7)).is_some());
        assert!(store.get(&project, &component, Order::new(1, 9)).is_none());
        assert!(store.newest(&project, &"other".into()).is_none());
    }

    /// 1,500 renders of components with names of 50 kB held 174 MiB.
    #[test]
    fn what_is_kept_of_ever_other_components_is_bounded() {
        let store = RevisionStore::default();
        let project = Project::new("ada").unwrap();
        let component = |number: usize| Component::from(number.to_string());
        let revision = Arc::new(Revision::new(
            project.clone(),
            Order::new(1, 1),
            None,
            "application/json".into(),
            b"{}",
        ));
        for number in 0..1_500 {
            store.keep(&component(number), &revision);
        }
        assert_eq!(store.lock().revisions.len(), COMPONENTS);
        assert!(store.newest(&project, &component(0)).is_some());
        assert!(store.newest(&project, &component(1_499)).is_none());
    }
}
