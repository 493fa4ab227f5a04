//! Faults of the renderer that are answers: whose they are held for, and how soon all is well after
//! them.

use std::collections::BTreeSet;

use super::*;

const FAULT: Moment = Moment::START;
const RENDER: Duration = Duration::from_millis(50);

/// What came of a fault.
#[derive(Debug)]
struct FaultSeen {
    /// Renders and fetches in the fault.
    attempts: usize,
    /// Renders and fetches in its last minute.
    last_minute: usize,
    /// From its end until all is fresh.
    fresh_after: Duration,
    told: BTreeSet<NotRefreshed>,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    projects: usize,
    lasts: Duration,
    /// Nothing is held at first.
    is_cold: bool,
    limits: Limits,
    seed: u64,
}

/// A machine and its callers before a renderer that answers everything in the same way until its
/// fault ends.
struct FaultWorld {
    admission: Admission,
    now: Moment,
    ends: Moment,
    held: Vec<Option<HeldMark>>,
    flights: Vec<(Moment, usize, bool)>,
    calls: u64,
    seen: FaultSeen,
}

impl FaultWorld {
    fn new(outage: Outage) -> Self {
        let now = FAULT + Duration::from_secs(100);
        let mut admission = Admission::new(outage.limits, 2, outage.seed, FAULT);
        admission.set_link(Link::Up, now);
        let held = (!outage.is_cold).then_some(HeldMark {
            order: Order::rollout(1),
            validated_at: FAULT,
        });
        Self {
            admission,
            now,
            ends: now + outage.lasts,
            held: vec![held; outage.projects],
            flights: Vec::new(),
            calls: 0,
            seen: FaultSeen {
                attempts: 0,
                last_minute: 0,
                fresh_after: Duration::ZERO,
                told: BTreeSet::new(),
            },
        }
    }

    fn outdated(&self) -> Vec<usize> {
        let is_outdated = |held: Option<HeldMark>| held.is_none_or(|held| held.order.rollout < 2);
        let projects = 0..self.held.len();
        projects
            .filter(|&project| is_outdated(self.held[project]))
            .collect()
    }

    fn look_up(&mut self) {
        for project in self.outdated() {
            let asked = wish(self.held[project], 2, None, self.now);
            let verdict = self.admission.want(&name(project), asked, self.now);
            if let WishVerdict::Refused(refused) = verdict {
                self.seen.told.insert(refused.refusal.reason);
            }
        }
    }

    fn land(&mut self, failure: &impl Fn(u64) -> Landing) {
        while let Some(place) = self.flights.iter().position(|(at, ..)| *at <= self.now) {
            let (_, project, is_fetch) = self.flights.swap_remove(place);
            self.calls += 1;
            let mut landing = failure(self.calls);
            if self.now >= self.ends {
                let held = HeldMark {
                    order: Order::rollout(2),
                    validated_at: self.now,
                };
                self.held[project] = Some(held);
                landing = Landing::Held(held);
            }
            let name = name(project);
            if !is_fetch {
                self.admission.landed(&name, landing, self.now);
                continue;
            }
            let landing = match landing {
                Landing::Held(held) => FetchLanding::Held(held),
                Landing::Failed(CallFailure::Unauthenticated) => {
                    FetchLanding::Failed(CallFailure::Unauthenticated)
                }
                Landing::Rejected
                | Landing::NotFound
                | Landing::Gone
                | Landing::Unreachable
                | Landing::Failed(_) => FetchLanding::Nothing,
            };
            self.admission.fetched(&name, landing, self.now);
        }
    }

    fn act(&mut self) {
        for action in self.admission.take_actions() {
            let (project, is_fetch) = match action {
                Action::Render { project, .. } => (project, false),
                Action::Fetch { project, .. } => (project, true),
                Action::Confirm { .. }
                | Action::Reserve { .. }
                | Action::Return { .. }
                | Action::Redial { .. }
                | Action::Resolve { .. } => continue,
            };
            let mut projects = 0..self.held.len();
            let project = projects.find(|number| name(*number) == project);
            self.flights
                .push((self.now + RENDER, project.unwrap(), is_fetch));
            let is_last_minute = self.now + minutes(1) >= self.ends;
            if self.now < self.ends {
                self.seen.attempts += 1;
                self.seen.last_minute += usize::from(is_last_minute);
            }
        }
    }
}

/// Has projects wanted while each call is answered as `failure` says, and rightly when the fault is
/// over; their callers look them up every 10 s.
fn outlasts(outage: Outage, failure: impl Fn(u64) -> Landing) -> FaultSeen {
    let mut world = FaultWorld::new(outage);
    let mut looks_up = world.now;
    loop {
        if looks_up <= world.now {
            looks_up = world.now + Duration::from_secs(10);
            world.look_up();
        }
        world.admission.tick(world.now);
        world.land(&failure);
        world.act();
        if world.now >= world.ends && world.outdated().is_empty() {
            world.seen.fresh_after = world.now.since(world.ends);
            return world.seen;
        }
        let lands = world.flights.iter().map(|(at, ..)| *at).min();
        let next = [Some(looks_up), lands, world.admission.next_wake()];
        world.now = next.into_iter().flatten().min().unwrap().max(world.now);
        assert!(world.now < world.ends + minutes(15), "{:?}", world.seen);
    }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// P5: 100 projects were fresh up to 299 s after such a fault.
#[test]
fn all_is_fresh_within_90_s_of_a_fault_of_every_project_whatever_its_code() {
    let codes = [
        Landing::Rejected,
        Landing::Failed(CallFailure::Other),
        Landing::Failed(CallFailure::Aborted),
        Landing::Failed(CallFailure::Exhausted(Pushback {
            after: None,
            scope: PushbackScope::Project,
        })),
    ];
    let mixed = |calls: u64| match calls % 3 {
        0 => Landing::Failed(CallFailure::Unavailable),
        call => codes[call as usize],
    };
    for projects in [1, 3, 5, 100] {
        for lasts in [minutes(5), minutes(15)] {
            for seed in 0..4 {
                let outage = Outage {
                    projects,
                    lasts,
                    is_cold: false,
                    limits: limits(5.0, 10, 4, 512),
                    seed,
                };
                let mut all: Vec<_> = codes.map(|code| outlasts(outage, |_| code)).into();
                all.push(outlasts(outage, mixed));
                for seen in all {
                    assert!(
                        seen.fresh_after <= minutes(1) * 3 / 2,
                        "{outage:?} {seen:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_rate_eases_while_every_render_is_answered_with_an_error() {
    let outage = Outage {
        projects: 1_000,
        lasts: minutes(5),
        is_cold: false,
        limits: limits(5.0, 10, 4, 512),
        seed: 1,
    };
    let seen = outlasts(outage, |_| Landing::Failed(CallFailure::Other));
    // A third of 5 renders/s.
    assert!(seen.last_minute <= 60 * 5 / 2, "{seen:?}");
}

/// P5: 60 projects were asked for 236 times in a minute, and fresh 89 s after it.
#[test]
fn a_refused_identity_is_a_fault_of_no_project_and_costs_few_attempts() {
    for (projects, is_cold) in [
        (1, false),
        (3, false),
        (60, false),
        (60, true),
        (1_000, false),
    ] {
        for seed in 0..20 {
            let mut limits = limits(50.0, 10, 4, 512);
            limits.fetch.concurrency = count(4);
            let outage = Outage {
                projects,
                lasts: minutes(1),
                is_cold,
                limits,
                seed,
            };
            let seen = outlasts(outage, |_| Landing::Failed(CallFailure::Unauthenticated));
            // What flew when the breaker opened, and one probe each time.
            assert!(seen.attempts <= 4 + 6, "{outage:?} {seen:?}");
            let work = Duration::from_secs(projects as u64 / 50);
            assert!(
                seen.fresh_after <= Duration::from_secs(45) + work,
                "{outage:?} {seen:?}"
            );
            assert!(seen.told.contains(&NotRefreshed::BreakerOpen), "{seen:?}");
            assert!(!seen.told.contains(&NotRefreshed::CoolingDown), "{seen:?}");
        }
    }
}

/// Those who waited were forgotten.
#[test]
fn who_waits_for_what_a_lowered_target_made_fresh_is_told_though_the_render_is_refused() {
    let now = FAULT + Duration::from_secs(100);
    let mut admission = Admission::new(limits(5.0, 10, 4, 512), 2, 1, FAULT);
    admission.set_link(Link::Up, now);
    let held = Some(HeldMark {
        order: Order::rollout(1),
        validated_at: FAULT,
    });
    admission.want(&name(0), wish(held, 2, None, now), now);
    let waits = wish(held, 2, Some(minutes(1)), now);
    assert_eq!(admission.want(&name(0), waits, now), WishVerdict::Wait);
    admission.set_target(1, now);
    assert_eq!(launched(&mut admission).len(), 1);
    let refused = Landing::Failed(CallFailure::Refused);
    admission.landed(&name(0), refused, now);
    let told = admission.take_actions();
    assert!(
        matches!(
            *told,
            [Action::Resolve {
                outcome: Outcome::Landed,
                ..
            }]
        ),
        "{told:?}"
    );
}

#[test]
fn one_project_whose_identity_is_refused_again_and_again_does_not_keep_stopping_the_others() {
    let mut now = FAULT + Duration::from_secs(100);
    let end = now + minutes(10);
    let mut admission = Admission::new(limits(5.0, 10, 4, 512), 1, 1, FAULT);
    admission.set_link(Link::Up, now);
    let (mut rendered, mut refused, mut stops) = (0, 0, 0);
    let mut was_broken = false;
    while now < end {
        // Another project is wanted each second.
        for project in [0, 1 + now.since(FAULT).as_secs() as usize] {
            let held = Some(HeldMark {
                order: Order::rollout(1),
                validated_at: FAULT,
            });
            let mut asked = wish(held, 1, None, now);
            asked.want.validated_since = now;
            admission.want(&name(project), asked, now);
        }
        let step = now + Duration::from_secs(1);
        while now < step {
            for (project, _) in launched(&mut admission) {
                let landing = if project == name(0) {
                    refused += 1;
                    Landing::Failed(CallFailure::Unauthenticated)
                } else {
                    rendered += 1;
                    Landing::Held(HeldMark {
                        order: Order::rollout(1),
                        validated_at: now,
                    })
                };
                admission.landed(&project, landing, now);
            }
            let is_broken = admission.stops().is_identity_refused;
            stops += usize::from(is_broken && !was_broken);
            was_broken = is_broken;
            now = admission
                .next_wake()
                .unwrap_or(step)
                .min(step)
                .max(now + Duration::from_millis(1));
            admission.tick(now);
        }
    }
    assert!(stops <= 1, "{stops} stops");
    assert!(rendered >= 590, "{rendered} of 600 were rendered");
    assert!(refused <= 20, "{refused} attempts");
}
