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
