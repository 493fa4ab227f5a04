//! A few sidecars that share a model, each by the rules of a caller, while the store is flushed,
//! rolled back, cut off, and its clock stepped: what they start is within the budget, and each
//! project is rendered once but for what the faults explain.

use std::collections::VecDeque;

use fastrand::Rng;

use super::*;
use crate::store::{Born, beat::LandingEntry};

const TICK: u64 = 20_000;
const SECOND: u64 = 1_000_000;
const RATE: f64 = 20.0;
const PROJECTS: usize = 60;
const SIDECARS: usize = 6;
/// How long a render takes.
const RENDER: u64 = 200_000;
/// A sidecar that had no answer for three beats and 1.5 s renders by itself.
const APART_AFTER: u64 = 4_500_000;
/// A store that was born anew expects for three memberships as many sidecars as there are.
const EXPECTED_FOR: u64 = 9_000_000;

/// What happens to the store or to a sidecar.
#[derive(Clone, Copy, Debug)]
enum StoreFault {
    Flush,
    /// An older copy goes on as the primary.
    RollBack {
        tenths: usize,
    },
    ClockBack {
        seconds: u64,
    },
    /// By what a bucket notices, and less than what makes it forget the absent.
    ClockAhead {
        seconds: u64,
    },
    /// A sidecar dies.
    Crash {
        sidecar: usize,
    },
    /// A sidecar does not reach the store for a while.
    CutOff {
        sidecar: usize,
        seconds: u64,
    },
    LoseBucket,
    Release,
}

fn fault() -> impl Strategy<Value = StoreFault> {
    prop_oneof![
        Just(StoreFault::Flush),
        (0..20_usize).prop_map(|tenths| StoreFault::RollBack { tenths }),
        (1..4_000_u64).prop_map(|seconds| StoreFault::ClockBack { seconds }),
        (6..60_u64).prop_map(|seconds| StoreFault::ClockAhead { seconds }),
        (0..SIDECARS).prop_map(|sidecar| StoreFault::Crash { sidecar }),
        (0..SIDECARS, 1..15_u64)
            .prop_map(|(sidecar, seconds)| StoreFault::CutOff { sidecar, seconds }),
        Just(StoreFault::LoseBucket),
        Just(StoreFault::Release),
    ]
}

struct ModelPod {
    caller: StoreCaller,
    is_dead: bool,
    cut_until: u64,
    next_beat: u64,
    next_ask: u64,
    answered: u64,
    /// When it renders next by itself.
    alone: Option<u64>,
    /// What it wants and has not seen landed.
    wanted: Vec<bool>,
    /// Renders that were granted: when they start and under which lease.
    granted: Vec<(u64, usize, StoreLease)>,
    /// Renders in the air: when they land.
    flying: Vec<(u64, usize, Option<StoreLease>)>,
    /// What it rendered for the target, to be published again.
    authored: Vec<usize>,
}

struct ModelFleet {
    model: Model,
    copies: VecDeque<Model>,
    history: u64,
    now: u64,
    /// By how much the store's clock is off.
    offset: i64,
    rollout: u64,
    pods: Vec<ModelPod>,
    rng: Rng,
    starts: Vec<u64>,
    /// When the store lost what it knew.
    lost_at: u64,
    /// The store as it was seen last, and when it was seen first.
    born: Option<(Born, u64)>,
    /// How often a sidecar went apart: each has a phase of its own.
    parted: u32,
    /// How many renders the faults explain.
    excused: usize,
    renders: usize,
    releases: usize,
    refused: usize,
    seen: FleetSeen,
}

/// How often what was seen.
#[derive(Debug, Default)]
struct FleetSeen {
    beat_first: usize,
    born_again: usize,
    cut: usize,
    absent: usize,
}

impl ModelFleet {
    fn new(seed: u64) -> Self {
        let pod = |number: usize| ModelPod {
            caller: StoreCaller::of_fleet(number, RATE, SIDECARS),
            is_dead: false,
            cut_until: 0,
            next_beat: 100_000 * number as u64,
            next_ask: 0,
            answered: 0,
            alone: None,
            wanted: vec![true; PROJECTS],
            granted: Vec::new(),
            flying: Vec::new(),
            authored: Vec::new(),
        };
        Self {
            model: Model::new(),
            copies: VecDeque::new(),
            history: 0,
            now: 0,
            offset: 0,
            rollout: 1,
            pods: (0..SIDECARS).map(pod).collect(),
            rng: Rng::with_seed(seed),
            starts: Vec::new(),
            lost_at: 0,
            born: None,
            parted: 0,
            excused: 0,
            renders: 0,
            releases: 1,
            refused: 0,
            seen: FleetSeen::default(),
        }
    }

    fn clock(&self) -> StoreTime {
        let start = 1_795_795_000_000_000_u64;
        StoreTime::from_micros((start + self.now).saturating_add_signed(self.offset))
    }

    /// What may be lost of the store's knowledge of renders, now.
    fn in_the_air(&self) -> usize {
        let pods = self.pods.iter();
        pods.map(|pod| pod.granted.len() + pod.flying.len()).sum()
    }

    fn strike(&mut self, fault: StoreFault) {
        match fault {
            StoreFault::Flush => {
                self.excused += self.in_the_air() + self.orphans();
                self.lost_at = self.now;
                self.model.flush();
            }
            StoreFault::LoseBucket => self.model.forget(&StoreKey::Bucket),
            StoreFault::RollBack { tenths } => {
                let back = tenths.min(self.copies.len().saturating_sub(1));
                let Some(copy) = self.copies.iter().rev().nth(back) else {
                    return;
                };
                self.history += 1;
                self.lost_at = self.now;
                self.model = copy.promoted(self.history, self.clock());
                self.copies.clear();
                self.excused += self.in_the_air() + self.orphans();
                for pod in &mut self.pods {
                    pod.caller.connection = BeatConnection::New;
                }
            }
            StoreFault::ClockBack { seconds } => {
                self.offset -= (seconds * SECOND) as i64;
                self.excused += self.in_the_air();
            }
            StoreFault::ClockAhead { seconds } => {
                self.offset += (seconds * SECOND) as i64;
                self.excused += self.in_the_air();
            }
            StoreFault::Crash { sidecar } => {
                let is_last = self.pods.iter().filter(|pod| !pod.is_dead).count() < 3;
                let pod = &mut self.pods[sidecar];
                if !is_last && !pod.is_dead {
                    self.excused += pod.granted.len() + pod.flying.len();
                    if pod.answered <= self.lost_at {
                        self.excused += pod.authored.len(); // it was to publish them again
                    }
                    pod.is_dead = true;
                    pod.granted.clear();
                    pod.flying.clear();
                }
            }
            StoreFault::CutOff { sidecar, seconds } => {
                let pod = &mut self.pods[sidecar];
                pod.cut_until = self.now + seconds * SECOND;
                // Leases end after 10 s, and what it renders by itself is its own.
                self.excused += 2 * (pod.granted.len() + pod.flying.len() + PROJECTS / 4);
            }
            StoreFault::Release => {
                self.rollout += 1;
                self.releases += 1;
                self.excused += self.in_the_air();
                for pod in &mut self.pods {
                    pod.wanted = vec![true; PROJECTS];
                    pod.authored.clear();
                }
            }
        }
    }

    /// What only sidecars that died had rendered: it is not published again.
    fn orphans(&self) -> usize {
        let dead = self.pods.iter().filter(|pod| pod.is_dead);
        dead.map(|pod| pod.authored.len()).sum()
    }

    fn tick(&mut self) {
        self.now += TICK;
        for at in 0..self.pods.len() {
            if self.pods[at].is_dead {
                continue;
            }
            self.start(at);
            self.end(at);
            if self.pods[at].next_beat <= self.now {
                self.pods[at].next_beat = self.now + self.rng.u64(900_000..1_100_000);
                self.beat(at);
            }
            if self.pods[at].next_ask <= self.now {
                self.pods[at].next_ask = self.now + self.rng.u64(900_000..1_100_000);
                self.ask(at);
            }
            self.part(at);
        }
        if self.now.is_multiple_of(100_000) {
            let copy = self.model.copied(self.clock());
            self.copies.push_back(copy);
            if self.copies.len() > 20 {
                self.copies.pop_front();
            }
        }
    }

    /// A minute, with faults at their milliseconds.
    fn live_through(&mut self, mut faults: Vec<(u64, StoreFault)>) {
        faults.sort_by_key(|(at, _)| *at);
        let mut faults = VecDeque::from(faults);
        while self.now < 60 * SECOND {
            while faults.front().is_some_and(|(at, _)| at * 1_000 <= self.now) {
                let (_, fault) = faults.pop_front().unwrap();
                self.strike(fault);
            }
            self.tick();
        }
    }

    fn reaches(&self, at: usize) -> bool {
        self.pods[at].cut_until <= self.now
    }

    /// What was granted starts, also where the store is out of reach by now.
    fn start(&mut self, at: usize) {
        let (now, pod) = (self.now, &mut self.pods[at]);
        for (starts, project, lease) in std::mem::take(&mut pod.granted) {
            if starts > now {
                pod.granted.push((starts, project, lease));
            } else {
                self.starts.push(now);
                self.renders += 1;
                pod.flying.push((now + RENDER, project, Some(lease)));
            }
        }
    }

    fn end(&mut self, at: usize) {
        let (now, pod) = (self.now, &mut self.pods[at]);
        let landed: Vec<_> = pod
            .flying
            .extract_if(.., |flight| flight.0 <= now)
            .collect();
        for (_, project, lease) in landed {
            let is_current = lease
                .as_ref()
                .is_none_or(|lease| lease.order.rollout == self.rollout);
            if is_current {
                self.pods[at].wanted[project] = false;
                self.pods[at].authored.push(project);
            }
            if self.reaches(at) {
                let rollout = lease
                    .as_ref()
                    .map_or(self.rollout, |lease| lease.order.rollout);
                self.publish(at, project, lease, rollout);
            }
        }
    }

    fn publish(&mut self, at: usize, index: usize, lease: Option<StoreLease>, rollout: u64) {
        let (clock, caller) = (self.clock(), &self.pods[at].caller);
        let Some(born) = caller.known.born else {
            return;
        };
        let name = project(&format!("p{index}"));
        let stamp = Stamp {
            order: Order::rollout(rollout),
            digest: Digest::of(&rollout.to_be_bytes()),
        };
        let land = Land {
            born,
            id: caller.id.clone(),
            project: name,
            lease,
            landed: Some(stamp),
            ttl: Duration::from_secs(7 * 86_400),
            outcome: LandOutcome::Good,
            leave_alone: None,
            disowned: None,
        };
        if let LandAnswer::Told { tick, .. } = self.model.land(&land, clock) {
            let known = &mut self.pods[at].caller.known;
            known.tick = known.tick.max(tick);
        }
    }

    /// Sees in the journal that something landed.
    fn pull(&mut self, at: usize, index: usize) {
        let clock = self.clock();
        let head = self.model.head(&project(&format!("p{index}")), clock);
        let head = head.and_then(|head| head.read());
        if head.is_some_and(|head| head.stamp.order >= Order::rollout(self.rollout)) {
            self.pods[at].wanted[index] = false;
        }
    }

    /// A beat, and what follows from it.
    fn beat(&mut self, at: usize) {
        if !self.reaches(at) {
            self.pods[at].caller.connection = BeatConnection::New;
            return;
        }
        let clock = self.clock();
        let before = self.pods[at].caller.known.born;
        let beaten = self.pods[at].caller.beat(&mut self.model, clock);
        (self.pods[at].answered, self.pods[at].alone) = (self.now, None);
        if self.born.is_none_or(|(born, _)| born != beaten.born) {
            self.born = Some((beaten.born, self.now));
        }
        self.seen.cut += usize::from(beaten.journal.is_cut && before.is_some());
        self.seen.absent += usize::from(beaten.absent > 0);
        if before != Some(beaten.born) {
            self.seen.born_again += usize::from(before.is_some());
            for project in self.pods[at].authored.clone() {
                self.publish(at, project, None, self.rollout);
            }
        }
        for index in 0..PROJECTS {
            let hash = LandingEntry::hash(&project(&format!("p{index}")));
            if beaten
                .journal
                .landings
                .iter()
                .any(|landing| landing.project == hash)
            {
                self.pull(at, index);
            }
        }
    }

    /// Asks for grants, after a beat over the same connection.
    fn ask(&mut self, at: usize) {
        let (is_reached, clock) = (self.reaches(at), self.clock());
        let pod = &mut self.pods[at];
        let Some(born) = pod.caller.known.born else {
            return;
        };
        if !is_reached || pod.caller.connection == BeatConnection::New {
            return;
        }
        let is_under_way = |project: &usize| {
            let granted = pod.granted.iter().map(|grant| &grant.1);
            granted
                .chain(pod.flying.iter().map(|flight| &flight.1))
                .any(|under| under == project)
        };
        let wanted = (0..PROJECTS).filter(|project| pod.wanted[*project] && !is_under_way(project));
        let mut wanted: Vec<_> = wanted.collect();
        self.rng.shuffle(&mut wanted);
        wanted.truncate(8);
        let candidate = |index: &usize| AcquireCandidate {
            project: project(&format!("p{index}")),
            least: Order::rollout(self.rollout),
            oldest: None,
            lost: None,
        };
        let acquire = Acquire {
            id: pod.caller.id.clone(),
            born,
            tick: pod.caller.known.tick,
            urgency: *self
                .rng
                .choice(&[Urgency::Missing, Urgency::Outdated])
                .unwrap(),
            most: 8,
            horizon: Duration::from_millis(900),
            lease: Duration::from_secs(10),
            candidates: wanted.iter().map(candidate).collect(),
        };
        match self.model.acquire(&acquire, clock) {
            Acquired::BeatFirst => {
                (pod.next_beat, pod.next_ask) = (self.now, self.now + TICK);
                self.seen.beat_first += 1;
            }
            Acquired::Wait { tick, .. } => {
                pod.caller.known.tick = tick;
                self.refused += 1;
            }
            Acquired::Answered { tick, answers, .. } => {
                pod.caller.known.tick = tick;
                for (project, answer) in wanted.into_iter().zip(answers) {
                    match answer {
                        CandidateAnswer::Granted {
                            starts_in, lease, ..
                        } => {
                            let starts = self.now + starts_in.as_micros() as u64;
                            pod.granted.push((starts, project, lease));
                        }
                        CandidateAnswer::Landed(_) => pod.wanted[project] = false,
                        CandidateAnswer::Elsewhere { .. }
                        | CandidateAnswer::LeftAlone(_)
                        | CandidateAnswer::Garbage => {}
                    }
                }
            }
        }
    }

    /// Renders by itself, by its share, while the store is out of reach.
    fn part(&mut self, at: usize) {
        let interval = (1e6 * SIDECARS as f64 / RATE) as u64;
        let pod = &mut self.pods[at];
        if pod.answered + APART_AFTER > self.now || pod.cut_until <= self.now {
            return;
        }
        let next = *pod.alone.get_or_insert_with(|| {
            self.parted += 1;
            self.now + self.rng.u64(..interval)
        });
        let wanted = pod.wanted.iter().position(|is_wanted| *is_wanted);
        if let (true, Some(project)) = (next <= self.now, wanted) {
            pod.alone = Some(self.now + interval);
            pod.wanted[project] = false;
            pod.flying.push((self.now + RENDER, project, None));
            // A store that was born while a sidecar was cut off does not know that there is one.
            let is_forgotten = self
                .born
                .is_some_and(|(_, at)| pod.answered < at && self.now >= at + EXPECTED_FOR);
            if !is_forgotten {
                self.starts.push(self.now);
            }
            self.renders += 1;
            self.excused += 1;
        }
    }

    /// The renders that started in any window are within the budget.
    fn is_within_the_budget(&self) -> Result<(), String> {
        // A step of the test is the way of an answer: what starts may be seen so late.
        let slack = 1.0 + RATE * (0.2 + TICK as f64 / 1e6) + f64::from(self.parted);
        // Of all windows that end at a start, the worst is the one where starts - rate × time rose
        // most.
        let mut least = f64::INFINITY;
        for (count, at) in self.starts.iter().enumerate() {
            let level = count as f64 - RATE * (*at as f64 / 1e6);
            least = least.min(level);
            if level - least + 1.0 > slack + 1e-6 {
                return Err(format!(
                    "{} renders too many by {at} µs",
                    level - least + 1.0 - slack
                ));
            }
        }
        Ok(())
    }
}

/// 32 sequences where nothing else is set: each is a minute of a fleet.
fn config() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(32),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_fleet_keeps_its_budget_and_renders_once(
        seed: u64, faults in proptest::collection::vec((0..25_000_u64, fault()), 0..8),
    ) {
        let mut fleet = ModelFleet::new(seed);
        fleet.live_through(faults);
        prop_assert_eq!(fleet.is_within_the_budget(), Ok(()));
        let allowed = fleet.releases * PROJECTS + fleet.excused;
        prop_assert!(fleet.renders <= allowed, "{} renders, {} allowed", fleet.renders, allowed);
    }
}

/// What the sequences above are about does happen in them.
#[test]
fn a_fleet_feels_every_fault_and_keeps_its_budget() {
    let mut fleet = ModelFleet::new(7);
    fleet.live_through(vec![
        (1_500, StoreFault::Flush),
        (4_000, StoreFault::RollBack { tenths: 7 }),
        (8_000, StoreFault::Release),
        (
            9_000,
            StoreFault::CutOff {
                sidecar: 1,
                seconds: 14,
            },
        ),
        (10_000, StoreFault::ClockBack { seconds: 3_600 }),
        (13_000, StoreFault::ClockAhead { seconds: 30 }),
        (15_000, StoreFault::Crash { sidecar: 2 }),
        (16_000, StoreFault::LoseBucket),
        (20_000, StoreFault::Release),
    ]);
    assert_eq!(fleet.is_within_the_budget(), Ok(()));
    let seen = &fleet.seen;
    assert!(fleet.parted > 0 && fleet.refused > 0, "{seen:?}");
    let least = [seen.beat_first, seen.born_again, seen.cut, seen.absent];
    assert!(least.into_iter().all(|times| times > 0), "{seen:?}");
}

/// What agreement of the fleets above means: without a fault every project is rendered once, and
/// tokens are what binds.
#[test]
fn without_a_fault_each_project_is_rendered_once_and_in_time() {
    let mut fleet = ModelFleet::new(7);
    while fleet.starts.len() < PROJECTS {
        fleet.tick();
        assert!(fleet.now < 20 * SECOND, "{} renders", fleet.starts.len());
    }
    for _ in 0..100 {
        fleet.tick();
    }
    assert_eq!(fleet.renders, PROJECTS);
    assert!(fleet.refused > 0, "the budget never bound");
    assert!(
        fleet
            .pods
            .iter()
            .all(|pod| pod.wanted.iter().all(|is_wanted| !is_wanted))
    );
    assert_eq!(fleet.is_within_the_budget(), Ok(()));
}

/// Guards against a grant, by a clock that jumps, before authors have told again what an older copy
/// lacks.
#[test]
fn a_clock_that_jumps_soon_after_a_failover_has_nothing_rendered_twice() {
    for jump in [
        StoreFault::ClockBack { seconds: 12 },
        StoreFault::ClockAhead { seconds: 9 },
    ] {
        let mut fleet = ModelFleet::new(5_593_535_884_314_834_862);
        fleet.live_through(vec![
            (1_481, StoreFault::LoseBucket),
            (5_761, StoreFault::RollBack { tenths: 0 }),
            (5_881, jump),
        ]);
        assert_eq!(fleet.renders, PROJECTS, "{jump:?}");
    }
}
