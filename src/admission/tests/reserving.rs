//! Somebody outside of the process who is asked whether renders may start, and who is slow,
//! refuses, lies about time, or dies.

use super::*;

/// What is asked of somebody, who answers badly.
#[derive(Debug)]
pub(super) struct BadReserver {
    rng: fastrand::Rng,
    /// Answers under way, by when they arrive.
    answers: Vec<(Moment, AskId, Vec<Reserved>)>,
    leases: u64,
    /// Leases that were granted and are to be given back.
    out: HashSet<Lease>,
    pub(super) seen: ReserverSeen,
}

/// How often each kind of answer was given, and what became of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReserverSeen {
    pub(super) granted: u32,
    pub(super) later: u32,
    pub(super) elsewhere: u32,
    pub(super) denied: u32,
    pub(super) late: u32,
    pub(super) never: u32,
    pub(super) together: u32,
    pub(super) returned: u32,
}

impl BadReserver {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            answers: Vec::new(),
            leases: 0,
            out: HashSet::new(),
            seen: ReserverSeen::default(),
        }
    }

    /// Is asked; the answer comes later, if at all.
    pub(super) fn ask(&mut self, ask: AskId, candidates: &[Project], now: Moment) {
        let distinct: HashSet<_> = candidates.iter().collect();
        assert_eq!(distinct.len(), candidates.len(), "{candidates:?}");
        assert!((1..=TUNING.budget.asked_at_once).contains(&candidates.len()));
        self.seen.together += u32::from(candidates.len() > 1);
        let millis = match self.rng.u32(..10) {
            0 => {
                self.seen.never += 1;
                return;
            }
            1 => {
                self.seen.late += 1;
                self.rng.u64(250..3_000)
            }
            2..5 => self.rng.u64(1..250),
            _ => 0,
        };
        // Too few and too many answers, now and then.
        let count = match self.rng.u32(..20) {
            0 => candidates.len() - 1,
            1 => candidates.len() + 1,
            _ => candidates.len(),
        };
        let answers = (0..count).map(|_| self.answer(now)).collect();
        let arrives = now + Duration::from_millis(millis);
        self.answers.push((arrives, ask, answers));
    }

    fn answer(&mut self, now: Moment) -> Reserved {
        let soon = now + Duration::from_millis(self.rng.u64(..2_000));
        let moment = match self.rng.u32(..20) {
            0 => Moment::START,
            1 => now + Duration::from_secs(1_000_000),
            _ => soon,
        };
        match self.rng.u32(..10) {
            0 => {
                self.seen.elsewhere += 1;
                Reserved::Elsewhere { look_again: moment }
            }
            1 => {
                self.seen.denied += 1;
                Reserved::Denied { retry_at: moment }
            }
            2 => Reserved::Unavailable,
            number => {
                self.seen.granted += 1;
                self.seen.later += u32::from(number == 3);
                self.leases += 1;
                let lease = Lease(self.leases);
                self.out.insert(lease);
                Reserved::Granted {
                    starts_at: if number == 3 { moment } else { now },
                    lease: Some(lease),
                }
            }
        }
    }

    /// When the next answer arrives.
    pub(super) fn next(&self) -> Option<Moment> {
        self.answers.iter().map(|(at, ..)| *at).min()
    }

    /// An answer that has arrived.
    pub(super) fn arrived(&mut self, now: Moment) -> Option<(AskId, Vec<Reserved>)> {
        let place = self.answers.iter().position(|(at, ..)| *at <= now)?;
        let (_, ask, answers) = self.answers.swap_remove(place);
        Some((ask, answers))
    }

    /// A lease is given back: once, and only one that was granted.
    pub(super) fn returned(&mut self, lease: Lease) {
        assert!(self.out.remove(&lease), "{lease:?} was not out");
        self.seen.returned += 1;
    }

    /// Whether every lease that arrived came back.
    pub(super) fn is_settled(&self) -> bool {
        let arriving = self.answers.iter().flat_map(|(_, _, answers)| answers);
        let arriving = arriving.filter(|answer| matches!(answer, Reserved::Granted { .. }));
        self.out.len() == arriving.count()
    }
}

/// Every invariant holds while a reserver is asked whether renders may start, however it answers;
/// every lease comes back.
#[test]
fn every_sequence_keeps_the_invariants_while_renders_are_reserved_elsewhere() {
    let mut runner = runner();
    let seen = std::cell::RefCell::new(ReserverSeen::default());
    runner
        .run(&(steps(), any::<u64>()), |(steps, seed)| {
            let mut world = CheckedWorld::new(seed).asking(seed);
            for step in &steps {
                world.take(step);
            }
            if seed % 2 == 0 {
                world.drains();
            } else {
                world.converges();
            }
            let reserver = world.reserver.as_ref().expect("it asks");
            assert!(reserver.is_settled(), "{reserver:?}");
            let mut seen = seen.borrow_mut();
            let now = reserver.seen;
            seen.granted += now.granted;
            seen.later += now.later;
            seen.elsewhere += now.elsewhere;
            seen.denied += now.denied;
            seen.late += now.late;
            seen.never += now.never;
            seen.together += now.together;
            seen.returned += now.returned;
            Ok(())
        })
        .unwrap();
    let seen = seen.into_inner();
    let ReserverSeen {
        granted,
        later,
        elsewhere,
        denied,
        late,
        never,
        together,
        returned,
    } = seen;
    for count in [
        granted, later, elsewhere, denied, late, never, together, returned,
    ] {
        assert!(count > 10, "{seen:?}");
    }
}

#[test]
fn an_ask_without_an_answer_ends_and_the_limits_of_this_process_decide() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let limits = limits(100.0, 10, 4, 100);
    let mut admission = Admission::new(limits, 1, 1, Moment::START).with_reserve(Box::new(Remote));
    admission.set_link(Link::Up, now);
    admission.fetched(&name(0), FetchLanding::Unimplemented, now);
    for project in 0..3 {
        let patient = Some(Duration::from_secs(100));
        admission.want(&name(project), wish(None, 1, patient, now), now);
    }
    let asked = now;
    let asks = admission.take_actions();
    assert!(
        matches!(&*asks, [Action::Reserve { candidates, .. }] if candidates.len() == 1),
        "{asks:?}"
    );
    let explained = admission.explain(&name(0), now).expect("it is wanted");
    assert_eq!(explained.refusal.reason, NotRefreshed::Throttled);
    assert_eq!(admission.in_flight(), 0, "nothing is held meanwhile");
    while launched(&mut admission).is_empty() {
        now = admission.next_wake().expect("it waits for ever");
        admission.tick(now);
    }
    assert_eq!(now, asked + TUNING.budget.ask_deadline);
}

const SECOND: Duration = Duration::from_secs(1);

/// A machine of a fleet that wants outdated projects.
fn member(wants: usize, limits: Limits, mode: FleetMode) -> (Admission, Moment) {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = Admission::new(limits, 2, 1, Moment::START);
    admission.set_fleet(mode, now);
    admission.set_link(Link::Up, now);
    for project in 0..wants {
        admission.want(&name(project), wish(Some(held(1)), 2, None, now), now);
    }
    (admission, now)
}

fn held(rollout: u64) -> HeldMark {
    HeldMark {
        order: Order::rollout(rollout),
        validated_at: Moment::after_start(Duration::from_secs(50)),
    }
}

/// The asks that are made, with how many projects each is for.
fn asks(admission: &mut Admission) -> Vec<(AskId, usize)> {
    let actions = admission.take_actions().into_iter();
    let ask = |action| match action {
        Action::Reserve {
            ask, candidates, ..
        } => Some((ask, candidates.len())),
        Action::Render { .. }
        | Action::Fetch { .. }
        | Action::Confirm { .. }
        | Action::Return { .. }
        | Action::Redial { .. }
        | Action::Resolve { .. } => None,
    };
    actions.filter_map(ask).collect()
}

/// Denies the first ask, which was made when only one project was wanted, for no time.
fn ask_for_all(admission: &mut Admission, now: Moment) -> (AskId, usize) {
    let [(first, 1)] = *asks(admission) else {
        panic!("the first ask is for one project");
    };
    admission.reserved(first, vec![Reserved::Denied { retry_at: now }], now);
    let [asked] = *asks(admission) else {
        panic!("they are asked for together");
    };
    asked
}

fn granted(starts_at: Moment, lease: u64) -> Reserved {
    Reserved::Granted {
        starts_at,
        lease: Some(Lease(lease)),
    }
}

/// What a caller is told of a project.
fn told(admission: &Admission, project: usize, now: Moment) -> (NotRefreshed, Duration) {
    let explained = admission.explain(&name(project), now).expect("wanted");
    (explained.refusal.reason, explained.refusal.retry_after)
}

#[test]
fn nothing_starts_without_the_word_of_the_fleet() {
    let (mut admission, start) = member(1, limits(100.0, 10, 4, 100), FleetMode::Joined);
    assert_eq!(asks(&mut admission).len(), 1);
    let mut asked = 1;
    let mut now = start;
    while now < start + 10 * SECOND {
        now = admission.next_wake().expect("it asks again").max(now);
        admission.tick(now);
        let actions = admission.take_actions();
        assert!(
            actions
                .iter()
                .all(|action| matches!(action, Action::Reserve { .. })),
            "{actions:?}"
        );
        asked += actions.len();
    }
    assert!((10..50).contains(&asked), "{asked} asks");
}

#[test]
fn nothing_is_asked_while_the_store_is_lost_and_callers_are_told_for_how_long() {
    let limits = limits(100.0, 10, 4, 100);
    let (mut admission, now) = member(1, limits, FleetMode::Apart);
    let until = now + 4 * SECOND;
    admission.set_fleet(FleetMode::Lost { until }, now);
    let _ = admission.take_actions();
    admission.want(&name(7), wish(Some(held(1)), 2, None, now), now);
    admission.tick(now + SECOND);
    assert!(admission.take_actions().is_empty());
    let told = told(&admission, 7, now + SECOND);
    assert_eq!(told, (NotRefreshed::FleetUnreachable, 3 * SECOND));
}

#[test]
fn a_sidecar_that_goes_apart_starts_with_an_empty_bucket_and_asks_nobody() {
    let limits = limits(1.0, 10, 4, 100);
    let (mut admission, now) = member(
        5,
        limits,
        FleetMode::Lost {
            until: Moment::START,
        },
    );
    assert!(admission.take_actions().is_empty());
    admission.set_fleet(FleetMode::Apart, now);
    assert!(launched(&mut admission).is_empty());
    admission.tick(now + SECOND);
    assert_eq!(launched(&mut admission).len(), 1);
}

#[test]
fn no_more_is_asked_for_than_permits_are_free_and_a_grant_holds_none() {
    let (mut admission, now) = member(9, limits(100.0, 10, 4, 100), FleetMode::Joined);
    // One of four permits is kept for missing projects.
    let (ask, count) = ask_for_all(&mut admission, now);
    assert_eq!(count, 3);
    let starts_at = now + SECOND;
    let answers = (1..=3).map(|lease| granted(starts_at, lease)).collect();
    admission.reserved(ask, answers, now);
    assert!(
        asks(&mut admission).is_empty(),
        "all permits are spoken for"
    );
    assert_eq!(admission.in_flight(), 0, "and none is held");
    let of_all = (0..9).map(|project| told(&admission, project, now));
    let granted = of_all.filter(|told| *told == (NotRefreshed::Throttled, SECOND));
    assert_eq!(granted.count(), 3);
    admission.tick(starts_at);
    assert_eq!(launched(&mut admission).len(), 3);
}

#[test]
fn a_grant_is_void_whose_render_cannot_start_within_100_ms() {
    let (mut admission, now) = member(2, limits(100.0, 10, 4, 100), FleetMode::Joined);
    let (ask, count) = ask_for_all(&mut admission, now);
    assert_eq!(count, 2);
    let answers = vec![granted(now + SECOND, 1), granted(now + SECOND, 2)];
    admission.reserved(ask, answers, now);
    admission.set_link(
        Link::Down {
            retry_at: now + 9 * SECOND,
        },
        now,
    );
    let void_at = now + SECOND + TUNING.budget.grant_lasts;
    admission.tick(now + SECOND + Duration::from_millis(99));
    assert!(admission.take_actions().is_empty());
    assert!(admission.next_wake().is_some_and(|at| at <= void_at));
    admission.tick(void_at);
    let leases: HashSet<_> = admission
        .take_actions()
        .into_iter()
        .map(|action| {
            let Action::Return { lease } = action else {
                panic!("{action:?}");
            };
            lease
        })
        .collect();
    assert_eq!(leases, HashSet::from([Lease(1), Lease(2)]));
    assert_eq!(admission.voided(), 2);
    // They are wanted as before.
    admission.set_link(Link::Up, void_at);
    assert_eq!(asks(&mut admission).len(), 1);
}

#[test]
fn what_another_renders_is_waited_for_and_ends_the_wait_when_it_is_here() {
    let (mut admission, now) = member(1, limits(100.0, 10, 4, 100), FleetMode::Joined);
    let asked = asks(&mut admission);
    let look_again = now + 2 * SECOND;
    admission.reserved(asked[0].0, vec![Reserved::Elsewhere { look_again }], now);
    assert_eq!(
        told(&admission, 0, now),
        (NotRefreshed::RenderingElsewhere, 2 * SECOND)
    );
    // Another is asked for meanwhile.
    admission.want(&name(1), wish(Some(held(1)), 2, None, now), now);
    assert_eq!(asks(&mut admission).len(), 1);
    admission.pulled(&name(0), held(2), now + SECOND);
    assert_eq!(admission.explain(&name(0), now + SECOND), None);
    // What does not come is asked for again.
    let (mut admission, now) = member(1, limits(100.0, 10, 4, 100), FleetMode::Joined);
    let asked = asks(&mut admission);
    admission.reserved(asked[0].0, vec![Reserved::Elsewhere { look_again }], now);
    admission.tick(look_again);
    assert_eq!(asks(&mut admission).len(), 1);
}

#[test]
fn lookups_that_wait_are_woken_by_what_another_rendered() {
    let (mut admission, now) = member(0, limits(100.0, 10, 4, 100), FleetMode::Joined);
    admission.fetched(&name(0), FetchLanding::Unimplemented, now);
    admission.want(&name(0), wish(None, 2, Some(5 * SECOND), now), now);
    let asked = asks(&mut admission);
    let look_again = now + SECOND;
    admission.reserved(asked[0].0, vec![Reserved::Elsewhere { look_again }], now);
    assert!(admission.take_actions().is_empty(), "it waits on");
    admission.pulled(&name(0), held(1), now);
    assert_eq!(asks(&mut admission).len(), 1, "that is outdated");
    admission.pulled(&name(0), held(2), now);
    let actions = admission.take_actions();
    assert!(
        matches!(
            &*actions,
            [Action::Resolve {
                outcome: Outcome::Landed,
                ..
            }]
        ),
        "{actions:?}"
    );
}

#[test]
fn what_the_fleet_leaves_alone_cools_down_here_too() {
    let (mut admission, now) = member(1, limits(100.0, 10, 4, 100), FleetMode::Joined);
    let asked = asks(&mut admission);
    let until = now + 200 * SECOND;
    admission.reserved(asked[0].0, vec![Reserved::LeftAlone { until }], now);
    assert_eq!(
        told(&admission, 0, now),
        (NotRefreshed::CoolingDown, 200 * SECOND)
    );
}
