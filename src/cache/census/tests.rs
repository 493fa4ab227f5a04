use std::sync::Arc;

use proptest::prelude::*;

use crate::{
    cache::{AnswerOrigin, Cache, Stored},
    freshness::{Freshness, FreshnessCounts, TargetChange},
    moment::Moment,
    revision::{Order, Project, Revision},
};

use super::*;

/// What may happen to what is held.
#[derive(Clone, Debug)]
enum CacheEvent {
    Stores {
        project: u8,
        rollout: u64,
        number: u64,
        bytes: usize,
    },
    Changes {
        project: u8,
        number: u64,
    },
    Renders {
        project: u8,
        number: u64,
    },
    Confirms {
        project: u8,
    },
    IsGone {
        project: u8,
    },
    Removes {
        project: u8,
    },
    Evicts {
        project: u8,
    },
    Targets {
        rollout: u64,
    },
    Ages {
        seconds: Option<u64>,
    },
}

/// A cache and what says what is fresh of it.
struct CountedSidecar {
    cache: Cache,
    freshness: Freshness,
    now: Moment,
    connection: u64,
}

fn name(project: u8) -> Project {
    Project::new(&format!("demo/{project}")).unwrap()
}

fn revision(project: Project, rollout: u64, number: u64, bytes: usize) -> Revision {
    let payload = vec![b'a'; bytes];
    Revision::new(
        project,
        Order::new(rollout, number),
        None,
        "text/plain".into(),
        &payload,
    )
}

impl CountedSidecar {
    fn new(max_bytes: usize) -> Self {
        Self {
            cache: Cache::new(max_bytes),
            freshness: Freshness::new(1, None, Moment::START),
            now: Moment::START,
            connection: 0,
        }
    }

    /// As `Refresh::set_target` does.
    fn target(&self, rollout: u64) {
        if let TargetChange::Raised(_) = self.freshness.set_target(rollout, self.now) {
            self.cache.record_raise(self.now);
        }
    }

    /// As `Refresh::set_max_age` does.
    fn max_age(&self, max_age: Option<Duration>) {
        self.freshness.set_max_age(max_age);
        if self.cache.set_max_age(max_age) {
            self.cache.count_ages_again();
        }
    }

    fn happens(&mut self, event: &CacheEvent) {
        self.connection += 1;
        let origin = AnswerOrigin {
            at: self.now,
            connection: Some(self.connection),
        };
        match *event {
            CacheEvent::Stores {
                project,
                rollout,
                number,
                bytes,
            } => {
                let revision = revision(name(project), rollout, number, bytes);
                self.cache
                    .store_from(revision, origin, self.freshness.target());
            }
            CacheEvent::Changes { project, number } => {
                self.cache.record_change(&name(project), number, self.now);
            }
            CacheEvent::Renders { project, number } => {
                self.cache.record_rendered(&name(project), number);
            }
            CacheEvent::Confirms { project } => {
                self.cache.record_confirmed(&name(project), self.now);
            }
            CacheEvent::IsGone { project } => {
                self.cache.record_gone(&name(project), origin);
            }
            CacheEvent::Removes { project } => self.cache.remove(&name(project)),
            CacheEvent::Evicts { project } => self.cache.evict(&name(project)),
            CacheEvent::Targets { rollout } => self.target(rollout),
            CacheEvent::Ages { seconds } => self.max_age(seconds.map(Duration::from_secs)),
        }
    }

    fn counts(&self) -> FreshnessCounts {
        self.freshness.count(&self.cache.counted(self.now))
    }

    /// What a walk over everything held counts.
    fn walked(&self) -> FreshnessCounts {
        let mut counts = FreshnessCounts::default();
        for held in self.cache.iter() {
            let since = self.freshness.outdated_since(&held, self.now);
            assert_eq!(since.is_none(), self.freshness.is_fresh(&held, self.now));
            match since {
                None => counts.fresh += 1,
                Some(_) => counts.outdated += 1,
            }
            counts.outdated_since = [counts.outdated_since, since].into_iter().flatten().min();
        }
        counts
    }
}

fn events() -> impl Strategy<Value = CacheEvent> {
    let project = || 0_u8..24;
    let rollout = || prop_oneof![4 => 1_u64..6, 1 => 18_u64..24];
    prop_oneof![
        12 => (project(), rollout(), 1_u64..4, 1_usize..2_000).prop_map(|(project, rollout, number, bytes)| {
            CacheEvent::Stores { project, rollout, number, bytes }
        }),
        3 => (project(), 1_u64..6).prop_map(|(project, number)| CacheEvent::Changes { project, number }),
        3 => (project(), 1_u64..6).prop_map(|(project, number)| CacheEvent::Renders { project, number }),
        1 => project().prop_map(|project| CacheEvent::Confirms { project }),
        1 => project().prop_map(|project| CacheEvent::IsGone { project }),
        1 => project().prop_map(|project| CacheEvent::Removes { project }),
        1 => project().prop_map(|project| CacheEvent::Evicts { project }),
        3 => (1_u64..6).prop_map(|rollout| CacheEvent::Targets { rollout }),
        1 => prop::option::of(5_u64..60).prop_map(|seconds| CacheEvent::Ages { seconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// A scrape of 50,000 held projects walked over all of them and took 46 ms, on the runtime of
    /// the flights.
    #[test]
    fn what_is_counted_without_a_walk_is_what_a_walk_counts(
        events in prop::collection::vec((events(), 1_u64..8_000), 1..120),
        max_bytes in prop_oneof![Just(1 << 20), Just(20_000)],
        looks_every in 1_usize..9,
    ) {
        let mut sidecar = CountedSidecar::new(max_bytes);
        for (step, (event, millis)) in events.into_iter().enumerate() {
            sidecar.now = sidecar.now + Duration::from_millis(millis);
            sidecar.happens(&event);
            if step % looks_every == 0 {
                prop_assert_eq!(sidecar.counts(), sidecar.walked(), "step {}: {:?}", step, event);
            }
        }
        sidecar.now = sidecar.now + Duration::from_secs(70);
        prop_assert_eq!(sidecar.counts(), sidecar.walked());
        for project in 0..24 {
            sidecar.cache.remove(&name(project));
        }
        prop_assert_eq!(sidecar.cache.counted(sidecar.now), HeldCounts::default());
    }
}

/// Projects of rollout 1, a few of which lack a change, during the release of rollout 2.
fn during_a_release(projects: usize) -> CountedSidecar {
    let mut sidecar = CountedSidecar::new(1 << 30);
    for n in 0..projects {
        sidecar.now = sidecar.now + Duration::from_millis(1);
        let project = Project::new(&format!("demo/{n}")).unwrap();
        let revision = revision(project.clone(), 1 + n as u64 % 2, 1, 8);
        assert_eq!(sidecar.cache.store(revision, sidecar.now).0, Stored::Newer);
        if n % 100 == 0 {
            sidecar.cache.record_change(&project, 2, sidecar.now);
        }
    }
    sidecar.target(2);
    sidecar
}

#[test]
fn a_scrape_looks_at_as_much_with_32_000_projects_held_as_with_1_000() {
    let looked_at = |projects| {
        let sidecar = during_a_release(projects);
        let counts = sidecar.counts();
        assert_eq!(counts.fresh + counts.outdated, projects);
        assert_eq!(counts, sidecar.walked());
        sidecar.cache.counted(sidecar.now).groups.len()
    };
    assert_eq!((looked_at(1_000), looked_at(32_000)), (3, 3));
}

#[test]
fn an_age_that_has_passed_is_counted_once_however_often_one_looks() {
    let mut sidecar = during_a_release(2_000);
    sidecar.max_age(Some(Duration::from_secs(60)));
    let census = &sidecar.cache.census;
    let pass_all = |now| {
        let passed = std::iter::from_fn(|| Some(census.pass(now)).filter(|&passed| passed > 0));
        passed
            .inspect(|&passed| assert!(passed <= PASSED_AT_ONCE))
            .sum::<usize>()
    };
    assert_eq!(pass_all(sidecar.now), 0, "all are younger");
    let later = sidecar.now + Duration::from_secs(90);
    assert_eq!((pass_all(later), pass_all(later)), (2_000, 0));
    sidecar.now = later;
    assert_eq!(sidecar.counts(), sidecar.walked());
}

#[test]
fn a_count_of_ages_beside_landings_and_evictions_counts_each_project_once() {
    let sidecar = Arc::new(during_a_release(4_000));
    let recounted = Arc::clone(&sidecar);
    let recounting = std::thread::spawn(move || {
        for seconds in 1..20 {
            recounted.max_age(Some(Duration::from_secs(seconds)));
        }
    });
    for n in 0..4_000_usize {
        let project = Project::new(&format!("demo/{n}")).unwrap();
        if n % 3 == 0 {
            sidecar.cache.remove(&project);
        } else {
            sidecar.cache.store(revision(project, 2, 1, 8), sidecar.now);
        }
    }
    recounting.join().unwrap();
    assert_eq!(sidecar.counts(), sidecar.walked());
}
