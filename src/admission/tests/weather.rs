//! Weather: stretches of a random sequence in which the renderer answers everything in the same
//! way, so that states are reached which no row of independent answers reaches; which they were;
//! and the invariants of those states.

use super::*;

/// The number of rounds of lookups and answers, and the time between two of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    weather: Weather,
    rounds: u8,
    gap: Duration,
    /// How long callers wait.
    patience: Option<Duration>,
    /// What is held is outdated again in each round.
    changes: bool,
}

/// How the renderer answers in a stretch.
#[derive(Clone, Copy, Debug)]
enum Weather {
    Fine,
    Down,
    Late,
    Unreachable,
    Internal,
    Rejects,
    Refuses,
    RefusesIdentity,
    PushesBack(Pushback),
    Behind,
    KnowsNothing,
}

impl Weather {
    fn brings(self) -> Brought {
        match self {
            Self::Fine => Brought::WhatWasAsked,
            Self::Down => Brought::Failure(CallFailure::Unavailable),
            Self::Late => Brought::Failure(CallFailure::DeadlineExceeded),
            Self::Unreachable => Brought::Unreachable,
            Self::Internal => Brought::Failure(CallFailure::Other),
            Self::Rejects => Brought::Unimplemented,
            Self::Refuses => Brought::Failure(CallFailure::Refused),
            Self::RefusesIdentity => Brought::Failure(CallFailure::Unauthenticated),
            Self::PushesBack(pushback) => Brought::Failure(CallFailure::Exhausted(pushback)),
            Self::Behind => Brought::LessThanAsked,
            Self::KnowsNothing => Brought::Nothing,
        }
    }
}

pub(super) fn stretches() -> impl Strategy<Value = Stretch> {
    let scope = prop_oneof![Just(PushbackScope::Global), Just(PushbackScope::Project)];
    let pushback = (1_u64..5_000, scope).prop_map(|(after, scope)| Pushback {
        after: Some(Duration::from_millis(after)),
        scope,
    });
    let weather = prop_oneof![
        3 => Just(Weather::Fine),
        2 => Just(Weather::Down),
        1 => Just(Weather::Late),
        1 => Just(Weather::Unreachable),
        2 => Just(Weather::Internal),
        1 => Just(Weather::Rejects),
        1 => Just(Weather::Refuses),
        1 => Just(Weather::RefusesIdentity),
        2 => pushback.prop_map(Weather::PushesBack),
        1 => Just(Weather::Behind),
        2 => Just(Weather::KnowsNothing),
    ];
    let patience = prop::option::of((500_u64..8_000).prop_map(Duration::from_millis));
    let gap = (1_u64..4_000).prop_map(Duration::from_millis);
    (weather, 3_u8..30, gap, patience, any::<bool>()).prop_map(
        |(weather, rounds, gap, patience, changes)| Stretch {
            weather,
            rounds,
            gap,
            patience,
            changes,
        },
    )
}

/// How often states were reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reached {
    broken: u64,
    identity_refused: u64,
    probed: u64,
    ramped: u64,
    held: u64,
    hold_probed: u64,
    hold_ramped: u64,
    faults_of_many: u64,
    flooded: u64,
    advanced: u64,
    demoted: u64,
    eased: u64,
    overdue: u64,
    pub(super) retried: u64,
    pub(super) evicted: u64,
    turns: u64,
    refused: u64,
    learned: u64,
    refused_alone: u64,
    doubted: u64,
    pub(super) confirmed: u64,
}

impl Reached {
    fn all(&self) -> [(&'static str, u64); 21] {
        [
            ("the breaker opened", self.broken),
            ("the identity was refused", self.identity_refused),
            ("the breaker probed", self.probed),
            ("the breaker ramped", self.ramped),
            ("a pushback held all", self.held),
            ("the hold probed", self.hold_probed),
            ("the hold ramped", self.hold_ramped),
            ("a fault was of many", self.faults_of_many),
            ("a flood was held back", self.flooded),
            ("the first token was given in advance", self.advanced),
            ("a missing project was demoted", self.demoted),
            ("the pace was eased", self.eased),
            ("permits were overdue", self.overdue),
            ("a render was retried", self.retried),
            ("a wanted project was evicted", self.evicted),
            ("the longest wanted had its turn", self.turns),
            ("a render or a fetch was plainly refused", self.refused),
            ("fewer calls at once were learned", self.learned),
            ("a call refused alone stopped others", self.refused_alone),
            ("what is held was to be confirmed", self.doubted),
            ("what is held was confirmed", self.confirmed),
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            broken,
            identity_refused,
            probed,
            ramped,
            held,
            hold_probed,
            hold_ramped,
            faults_of_many,
            flooded,
            advanced,
            demoted,
            eased,
            overdue,
            retried,
            evicted,
            turns,
            refused,
            learned,
            refused_alone,
            doubted,
            confirmed,
        } = other;
        self.broken += broken;
        self.identity_refused += identity_refused;
        self.probed += probed;
        self.ramped += ramped;
        self.held += held;
        self.hold_probed += hold_probed;
        self.hold_ramped += hold_ramped;
        self.faults_of_many += faults_of_many;
        self.flooded += flooded;
        self.advanced += advanced;
        self.demoted += demoted;
        self.eased += eased;
        self.overdue += overdue;
        self.retried += retried;
        self.evicted += evicted;
        self.turns += turns;
        self.refused += refused;
        self.learned += learned;
        self.refused_alone += refused_alone;
        self.doubted += doubted;
        self.confirmed += confirmed;
    }

    /// Sequences that never reach a state show nothing of it.
    pub(super) fn check(&self, cases: u32) {
        for (state, times) in self.all() {
            assert!(
                times > 0 || cases < 1_000,
                "never in {cases} sequences: {state}"
            );
        }
    }
}

impl CheckedWorld {
    /// Lets a stretch of weather pass.
    pub(super) fn pass(&mut self, stretch: Stretch) {
        let Stretch {
            weather,
            rounds,
            gap,
            patience,
            changes,
        } = stretch;
        for round in 0..usize::from(rounds) {
            if changes {
                self.take(&WorldStep::Change(round * 5 % PROJECTS));
            }
            if matches!(weather, Weather::KnowsNothing) {
                self.take(&WorldStep::Evict(round % PROJECTS));
            }
            for project in [0, round % PROJECTS, round * 7 % PROJECTS] {
                self.want(&name(project), patience, false);
                self.act();
                self.check();
            }
            for _ in 0..self.flights.len() {
                let flight = self.flights.remove(0);
                self.land(flight, weather.brings());
                self.act();
                self.check();
            }
            for _ in 0..self.confirms.len() {
                let project = self.confirms.remove(0);
                self.land_confirm(&project, weather.brings());
                self.act();
                self.check();
            }
            self.wait(self.now + gap);
        }
    }

    /// Notes which states the machine is in.
    pub(super) fn note_states(&mut self) {
        let (machine, now) = (&self.admission, self.now);
        let (breaker, hold) = (
            &machine.throttle.breaker.valve,
            &machine.throttle.hold.valve,
        );
        let stops = machine.stops();
        let permits = machine.permits_in_force(now);
        let overdue = machine.flights.overdue(
            permits,
            Candidate::next(Stage::Render, Class::Missing).lane(),
            now,
        );
        let rate = machine.budget.rate();
        let (learned, most) = (&machine.budget.learned, machine.limits().concurrency);
        let reached = &mut self.reached;
        reached.broken += u64::from(stops.is_broken);
        reached.identity_refused += u64::from(stops.is_identity_refused);
        reached.probed += u64::from(breaker.is_shut(now) == Some(None));
        reached.ramped += u64::from(breaker.share(now) < 1.0);
        reached.held += u64::from(stops.is_held);
        reached.hold_probed += u64::from(hold.is_shut(now) == Some(None));
        reached.hold_ramped += u64::from(hold.share(now) < 1.0);
        reached.faults_of_many += u64::from(machine.throttle.fault.is_of_many());
        reached.flooded += u64::from(machine.budget.flood.holds_until(rate, now).is_some());
        reached.advanced += u64::from(machine.budget.owed() > 0);
        reached.demoted += u64::from(machine.register.counts.demoted > 0);
        reached.eased += u64::from(machine.throttle.pace.multiplier(now) < 0.5);
        reached.overdue += u64::from(overdue.is_some());
        reached.refused += u64::from(machine.is_refused(now));
        reached.learned += u64::from(learned.limit(most, now) < most);
        reached.refused_alone += u64::from(learned.stopped_until(now).is_some());
        reached.doubted += u64::from(machine.left_to_confirm() > 0);
    }

    /// P2 from the first token: only the first may be had in advance, and it is paid back before
    /// the next.
    pub(super) fn check_first_token(&self) {
        let launched = self.launches.len();
        if launched < 2 {
            return;
        }
        let mut allowed = 1.0 - self.admission.budget.phase;
        for (index, &(since, limits)) in self.history.iter().enumerate() {
            let ends = self.history.get(index + 1).map_or(self.now, |&(at, _)| at);
            allowed += limits.rate * ends.since(since).as_secs_f64();
        }
        assert!(
            launched as f64 <= allowed + 1e-3,
            "{launched} launched since the start, {allowed} allowed"
        );
    }

    /// While a valve is stopped nothing is launched but its probe.
    pub(super) fn check_probe(&self, project: &Project) {
        let flight = self.admission.register.entries[project].flight();
        let (breaker, hold) = flight.map_or((false, false), |flight| {
            (flight.probes.breaker, flight.probes.hold)
        });
        let stops = self.admission.stops();
        assert!(!stops.is_broken || breaker, "{project} is no probe");
        assert!(!stops.is_held || hold, "{project} is no probe of the hold");
    }

    /// A stop whose probe is out ends: the probe flies.
    pub(super) fn check_valves(&self) {
        let machine = &self.admission;
        let flights = machine
            .register
            .entries
            .values()
            .filter_map(|entry| entry.flight());
        let probes = flights.fold((0, 0), |(breaker, hold), flight| {
            (
                breaker + usize::from(flight.probes.breaker),
                hold + usize::from(flight.probes.hold),
            )
        });
        let out = [
            (machine.throttle.broken_until(self.now), probes.0),
            (machine.throttle.held_until(self.now), probes.1),
        ];
        for (until, probes) in out {
            assert!(
                until != Some(None) || probes > 0,
                "the probe never comes back"
            );
        }
    }

    /// None starves: every eighth outdated project that is launched is the longest wanted, or a
    /// failing one that is.
    pub(super) fn check_longest_wanted(&mut self, project: &Project, class: Class) {
        let machine = &self.admission;
        let launched = &machine.register.entries[project];
        if class == Class::Missing || launched.cool_down.is_cooling() {
            return;
        }
        let is_flooded = machine
            .budget
            .flood
            .holds_until(machine.budget.rate(), self.now)
            .is_some();
        let waits_longer = |entry: &Entry| {
            let could_go = match entry.seat.place {
                Place::Wanted(WantedKind::Held | WantedKind::PushedBack, _) => true,
                Place::Wanted(WantedKind::Unseen, _) => !is_flooded,
                Place::Wanted(WantedKind::Failing, _)
                | Place::InFlight
                | Place::Asked
                | Place::Granted(..)
                | Place::ToFetch
                | Place::Missing
                | Place::Cooling
                | Place::Resting => false,
            };
            could_go && entry.seat.standing.since < launched.seat.standing.since
        };
        let is_passed_over = machine.register.entries.values().any(waits_longer);
        self.reached.turns += u64::from(!is_passed_over);
        self.passed_over = if is_passed_over {
            self.passed_over + 1
        } else {
            0
        };
        assert!(self.passed_over < 8 * PROJECTS, "one starves");
    }

    /// What changed while it was wanted became fresh, whether somebody looked it up again or not.
    pub(super) fn check_changes(&self, began: Moment) {
        // An answer may put a project off for that long; its interest may end meanwhile.
        let put_off = match self.reserver {
            Some(_) => 2 * TUNING.budget.ask_horizon,
            None => Duration::ZERO,
        };
        let is_of_interest =
            |project: &&Project| self.looked_up[*project] + TUNING.interest.lasts > began + put_off;
        for project in self.changed.keys().filter(is_of_interest) {
            let number = self.changed[project];
            let held = self.held.get(project);
            // What is ahead of a lowered target does not give way to what has the change.
            let is_fresh = held.is_some_and(|held| {
                held.order.number >= number || held.order.rollout > self.target
            });
            assert!(is_fresh, "{project} is {held:?}, and changed to {number}");
        }
    }
}
