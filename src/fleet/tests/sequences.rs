//! Random sequences of what can happen to a few whole sidecars (their real admission and their real
//! membership) that share the model of a store, over a way that is slow and loses calls.

use std::{cell::RefCell, collections::HashMap, num::NonZeroU32};

use proptest::test_runner::TestRunner;

use super::*;
use crate::store::{acquire::Acquire, land::Land, model::StoreKey, put::Put};

const SIDECARS: usize = 4;
const PROJECTS: usize = 12;
const RATE: f64 = 20.0;
const STEP: Duration = Duration::from_millis(5);
/// Without an answer for so long, a call has failed.
const TIME_OUT: Duration = Duration::from_millis(100);
const RENDER: Duration = Duration::from_millis(40);

/// What happens.
#[derive(Clone, Copy, Debug)]
enum FleetFault {
    Release,
    /// Lookups of all projects at one sidecar.
    LookUp(usize),
    Flush,
    /// The store is gone for that many tenths of a second.
    Dead(u64),
    /// One sidecar does not reach it.
    CutOff(usize, u64),
    /// That many of 100 calls are lost, on either way.
    Lossy(u32),
    /// The next renders fail.
    Failing(usize),
    /// A value is evicted.
    Evict(usize),
    /// One sidecar does not reach the renderer.
    Unlinked(usize, u64),
    Wait(u64),
}

fn faults() -> impl Strategy<Value = Vec<FleetFault>> {
    let fault = prop_oneof![
        3 => Just(FleetFault::Release),
        6 => (0..SIDECARS).prop_map(FleetFault::LookUp),
        1 => Just(FleetFault::Flush),
        1 => (1_u64..120).prop_map(FleetFault::Dead),
        1 => (0..SIDECARS, 1_u64..120).prop_map(|(pod, tenths)| FleetFault::CutOff(pod, tenths)),
        1 => prop::sample::select(vec![0, 0, 5, 10]).prop_map(FleetFault::Lossy),
        1 => (1_usize..4).prop_map(FleetFault::Failing),
        2 => (0..PROJECTS).prop_map(FleetFault::Evict),
        2 => (0..SIDECARS, 1_u64..30).prop_map(|(pod, tenths)| FleetFault::Unlinked(pod, tenths)),
        6 => (1_u64..30).prop_map(FleetFault::Wait),
    ];
    prop::collection::vec(fault, 5..40)
}

/// What was reached in all sequences.
#[derive(Clone, Copy, Debug, Default)]
struct FleetReached {
    granted: u64,
    elsewhere: u64,
    landed: u64,
    left_alone: u64,
    waits: u64,
    stored: u64,
    missing: u64,
    lost: u64,
    apart: u64,
    rejoined: u64,
    alone: u64,
    healed: u64,
    timed_out: u64,
    returned: u64,
}

enum ToStore {
    Beat(Box<Beat>),
    Acquire(Box<AskedOf>),
    Publish(Box<Publication>, bool),
    Read(ToRead),
}

enum FromStore {
    Beaten(Box<Beaten>),
    Acquired(Acquired),
    Published(LandAnswer),
    Read(Option<Vec<u8>>),
}

/// A call on its way.
struct FleetCall {
    pod: usize,
    made_at: Moment,
    call: ToStore,
    /// When it reaches the store; none when it was lost.
    arrives: Option<Moment>,
    /// When the answer is back, and what it is.
    answer: Option<(Moment, FromStore)>,
}

struct FleetPod {
    admission: Admission,
    member: Member,
    mode: Option<FleetMode>,
    held: HashMap<Project, Arc<Revision>>,
    flying: Vec<(Moment, Project, u64, Option<Lease>)>,
    is_beating: bool,
    time_outs: u32,
    cut_until: Moment,
    /// Until when it does not reach the renderer; none when it does.
    unlinked_until: Option<Moment>,
}

struct FleetWorld {
    now: Moment,
    target: u64,
    model: Model,
    pods: Vec<FleetPod>,
    calls: Vec<FleetCall>,
    rng: fastrand::Rng,
    dead_until: Moment,
    lossy: u32,
    failing: usize,
    has_flushed: bool,
    /// When renders started, and whether by the word of the store.
    starts: Vec<(Moment, Option<Lease>)>,
    renders: HashMap<(Project, u64), u32>,
    reached: FleetReached,
}

fn limits(rate: f64) -> Limits {
    let count = |n| NonZeroU32::new(n).unwrap();
    Limits {
        rate,
        burst: count(1),
        concurrency: count(4),
        queue: count(100),
        fetch: FetchLimits {
            rate: 0.0,
            concurrency: count(1),
        },
    }
}

impl FleetWorld {
    fn new(seed: u64) -> Self {
        let pod = |number: usize| {
            let seed = seed ^ number as u64;
            let mut admission = Admission::new(limits(RATE), 1, seed, at(0));
            admission.set_link(Link::Up, at(0));
            FleetPod {
                admission,
                member: member(number),
                mode: None,
                held: (0..PROJECTS)
                    .map(|project| (name(project), revision(project, 1)))
                    .collect(),
                flying: Vec::new(),
                is_beating: false,
                time_outs: 0,
                cut_until: at(0),
                unlinked_until: None,
            }
        };
        let mut world = Self {
            now: at(0),
            target: 1,
            model: Model::new(),
            pods: (0..SIDECARS).map(pod).collect(),
            calls: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            dead_until: at(0),
            lossy: 0,
            failing: 0,
            has_flushed: false,
            starts: Vec::new(),
            renders: HashMap::new(),
            reached: FleetReached::default(),
        };
        for number in 0..SIDECARS {
            world.set_mode(number);
        }
        world
    }

    /// The store's clock is another one.
    fn store_time(&self) -> StoreTime {
        let micros = u64::try_from(self.now.since_start().as_micros()).unwrap();
        StoreTime::from_micros(1_700_000_000_000_000 + micros)
    }

    fn take(&mut self, fault: FleetFault) {
        let tenths = |tenths| Duration::from_millis(100 * tenths);
        match fault {
            FleetFault::Release => {
                self.target += 1;
                for pod in &mut self.pods {
                    pod.admission.set_target(self.target, self.now);
                }
                (0..SIDECARS).for_each(|pod| self.look_up(pod));
            }
            FleetFault::LookUp(pod) => self.look_up(pod),
            FleetFault::Flush => {
                self.has_flushed = true;
                self.model.flush();
            }
            FleetFault::Dead(duration) => self.dead_until = self.now + tenths(duration),
            FleetFault::CutOff(pod, duration) => {
                self.pods[pod].cut_until = self.now + tenths(duration);
            }
            FleetFault::Lossy(lossy) => self.lossy = lossy,
            FleetFault::Failing(renders) => self.failing = renders,
            FleetFault::Evict(project) => self.model.forget(&StoreKey::Value(name(project))),
            FleetFault::Unlinked(pod, duration) => {
                let retry_at = self.now + tenths(duration);
                let pod = &mut self.pods[pod];
                pod.unlinked_until = Some(retry_at);
                pod.admission.set_link(Link::Down { retry_at }, self.now);
            }
            FleetFault::Wait(duration) => self.run(tenths(duration)),
        }
    }

    fn look_up(&mut self, number: usize) {
        let (now, rollout) = (self.now, self.target);
        let pod = &mut self.pods[number];
        for project in (0..PROJECTS).map(name) {
            let held = pod.held.get(&project).map(|held| HeldMark {
                order: held.order,
                validated_at: at(0),
            });
            let want = Want {
                rollout,
                number: 0,
                validated_since: Moment::START,
            };
            if !want.is_met_by(held) {
                let wish = Wish {
                    held,
                    want,
                    demand: None,
                    until: None,
                };
                let _ = pod.admission.want(&project, wish, now);
            }
        }
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now = self.now + STEP;
            self.deliver();
            for number in 0..SIDECARS {
                self.land(number);
                self.drive(number);
            }
        }
    }

    /// Does what the driver of a sidecar does.
    fn drive(&mut self, number: usize) {
        let now = self.now;
        let pod = &mut self.pods[number];
        pod.member.tick(now);
        if !pod.is_beating
            && let Some(beat) = pod.member.beat(now)
        {
            pod.is_beating = true;
            self.call(number, ToStore::Beat(Box::new(beat)));
        }
        while let Some(project) = self.pods[number].member.next_unpublished() {
            let pod = &mut self.pods[number];
            let held = Arc::clone(&pod.held[&project]);
            if held.order.rollout < self.target {
                pod.member.disown(&project);
            } else if let Some(publication) = pod.member.publish(&held) {
                self.call(number, ToStore::Publish(Box::new(publication), true));
            }
        }
        self.set_mode(number);
        let pod = &mut self.pods[number];
        if pod.unlinked_until.take_if(|until| *until <= now).is_some() {
            pod.admission.set_link(Link::Up, now);
        }
        pod.admission.tick(now);
        self.act(number);
    }

    fn set_mode(&mut self, number: usize) {
        let pod = &mut self.pods[number];
        let mode = pod.member.mode();
        let before = pod.mode.replace(mode);
        if before == Some(mode) {
            return;
        }
        match mode {
            FleetMode::Joined => {
                self.reached.rejoined += u64::from(before == Some(FleetMode::Apart));
                pod.admission.set_fleet(mode, self.now);
                pod.admission.set_limits(limits(RATE), self.now);
            }
            FleetMode::Lost { .. } | FleetMode::Apart => {
                self.reached.lost += u64::from(before == Some(FleetMode::Joined));
                self.reached.apart += u64::from(mode == FleetMode::Apart);
                let share = RATE / f64::from(pod.member.count());
                pod.admission.set_limits(limits(share), self.now);
                pod.admission.set_fleet(mode, self.now);
            }
        }
    }

    /// Carries out what admission decides.
    fn act(&mut self, number: usize) {
        let now = self.now;
        for action in self.pods[number].admission.take_actions() {
            match action {
                Action::Render {
                    project,
                    rollout,
                    permit,
                    ..
                } => {
                    let lease = permit.lease();
                    self.starts.push((now, lease));
                    self.reached.alone += u64::from(lease.is_none());
                    let renders = self.renders.entry((project.clone(), rollout));
                    *renders.or_default() += 1;
                    let landing = (now + RENDER, project, rollout, lease);
                    self.pods[number].flying.push(landing);
                }
                Action::Reserve {
                    ask,
                    class,
                    candidates,
                } => self.ask(number, ask, class, &candidates),
                Action::Return { lease } => {
                    let publication = self.pods[number].member.gives_back(lease);
                    self.reached.returned += u64::from(publication.is_some());
                    self.publish(number, publication);
                }
                Action::Fetch { project, .. } => {
                    let landing = FetchLanding::Unimplemented;
                    self.pods[number].admission.fetched(&project, landing, now);
                }
                Action::Confirm { .. } | Action::Redial { .. } | Action::Resolve { .. } => {}
            }
        }
    }

    fn ask(&mut self, number: usize, ask: AskId, class: Class, candidates: &[Project]) {
        let now = self.now;
        let pod = &mut self.pods[number];
        let wish = |project: &Project| {
            let (least, since) = pod.admission.wish_of(project).expect("it is asked for");
            FleetWish {
                project: project.clone(),
                least,
                since,
            }
        };
        let wishes: Vec<_> = candidates.iter().map(wish).collect();
        let landed: Vec<_> = wishes
            .iter()
            .map(|wish| pod.member.has_landed(wish))
            .collect();
        if landed.contains(&true) {
            let mut reads = Vec::new();
            let mut answers = Vec::new();
            for (wish, has_landed) in wishes.iter().zip(landed) {
                answers.push(if has_landed {
                    reads.push(ToRead {
                        project: wish.project.clone(),
                        head: None,
                    });
                    Member::being_read(now)
                } else {
                    Reserved::Denied { retry_at: now }
                });
            }
            pod.admission.reserved(ask, answers, now);
            for read in reads {
                self.call(number, ToStore::Read(read));
            }
            self.act(number);
            return;
        }
        match pod.member.ask(ask, class, &wishes, now) {
            Some(asked) => self.call(number, ToStore::Acquire(Box::new(asked))),
            None => {
                let answers = pod.member.unasked(wishes.len(), now);
                pod.admission.reserved(ask, answers, now);
            }
        }
    }

    fn publish(&mut self, number: usize, publication: Option<Publication>) {
        if let Some(publication) = publication {
            self.call(number, ToStore::Publish(Box::new(publication), false));
        }
    }

    /// Sends a call, which may be lost.
    fn call(&mut self, pod: usize, call: ToStore) {
        let is_lost = self.rng.u32(..100) < self.lossy || self.pods[pod].cut_until > self.now;
        let way = Duration::from_micros(self.rng.u64(200..20_000));
        self.calls.push(FleetCall {
            pod,
            made_at: self.now,
            call,
            arrives: (!is_lost).then(|| self.now + way),
            answer: None,
        });
    }

    /// Lets calls reach the store, answers come back, and time run out.
    fn deliver(&mut self) {
        let now = self.now;
        let store_time = self.store_time();
        for call in &mut self.calls {
            if call.arrives.is_some_and(|at| at <= now) && call.answer.is_none() {
                call.arrives = None;
                if self.dead_until > now {
                    continue;
                }
                let answer = answer(&mut self.model, &call.call, store_time);
                let is_lost = self.rng.u32(..100) < self.lossy;
                let way = Duration::from_micros(self.rng.u64(200..20_000));
                call.answer = (!is_lost).then_some((now + way, answer));
            }
        }
        let (done, open) = std::mem::take(&mut self.calls)
            .into_iter()
            .partition::<Vec<_>, _>(|call| {
                let is_back = call.answer.as_ref().is_some_and(|(at, _)| *at <= now);
                is_back || call.made_at + TIME_OUT <= now
            });
        self.calls = open;
        for call in done {
            let answer = call.answer.filter(|(at, _)| *at <= now);
            self.done(
                call.pod,
                call.call,
                call.made_at,
                answer.map(|(_, answer)| answer),
            );
        }
    }

    fn done(&mut self, number: usize, call: ToStore, made_at: Moment, answer: Option<FromStore>) {
        let now = self.now;
        let pod = &mut self.pods[number];
        pod.time_outs = if answer.is_some() {
            0
        } else {
            pod.time_outs + 1
        };
        self.reached.timed_out += u64::from(answer.is_none());
        if pod.time_outs >= 3 {
            pod.time_outs = 0;
            pod.member.lost(now);
            pod.member.connected(now);
        }
        match (call, answer) {
            (ToStore::Beat(_), Some(FromStore::Beaten(beaten))) => {
                self.beaten(number, *beaten, made_at);
            }
            (ToStore::Beat(_), _) => {
                pod.is_beating = false;
                pod.member.beat_failed(now);
            }
            (ToStore::Acquire(asked), Some(FromStore::Acquired(acquired))) => {
                let told = pod.member.acquired(&asked, acquired, now);
                pod.admission.reserved(asked.ask, told.answers, now);
                for read in told.pulls {
                    self.call(number, ToStore::Read(read));
                }
                self.act(number);
            }
            (ToStore::Acquire(asked), _) => {
                let answers = pod.member.ask_failed(&asked, now);
                pod.admission.reserved(asked.ask, answers, now);
                self.act(number);
            }
            (ToStore::Publish(publication, is_healing), answer) => {
                let answer = if let Some(FromStore::Published(answer)) = answer {
                    Some(answer)
                } else {
                    None
                };
                self.reached.healed += u64::from(is_healing && answer.is_some());
                pod.member.published(&publication, answer.as_ref(), now);
            }
            (ToStore::Read(read), Some(FromStore::Read(Some(bytes)))) => {
                self.read(number, &read.project, bytes);
            }
            (ToStore::Read(read), Some(_)) => {
                pod.member.note_lost(&read, None);
                self.reached.missing += 1;
            }
            (ToStore::Read(_), None) => {}
        }
    }

    fn beaten(&mut self, number: usize, beaten: Beaten, made_at: Moment) {
        let pod = &mut self.pods[number];
        pod.is_beating = false;
        let landings = pod.member.beaten(beaten, made_at, self.now);
        let (mut wanted, mut others) = (Vec::new(), Vec::new());
        for landing in landings {
            let is_of = |project: &Project| LandingEntry::hash(project) == landing.project;
            let project = (0..PROJECTS).map(name).find(is_of).expect("one of ours");
            if pod.admission.wish_of(&project).is_some() {
                wanted.push(project);
            } else {
                others.push(landing);
            }
        }
        pod.member.note_landings(others);
        for project in wanted {
            let read = ToRead {
                project,
                head: None,
            };
            self.call(number, ToStore::Read(read));
        }
    }

    fn read(&mut self, number: usize, project: &Project, bytes: Vec<u8>) {
        let pod = &mut self.pods[number];
        let value = StoredValue::read(&bytes.into()).expect("a sidecar wrote it");
        let order = value.stamp.order;
        if order > pod.held[project].order {
            let new = revision(number_of(project), order.rollout);
            assert_eq!(new.digest, value.stamp.digest);
            pod.held.insert(project.clone(), new);
            self.reached.stored += 1;
        }
        let mark = HeldMark {
            order: pod.held[project].order,
            validated_at: at(0),
        };
        pod.admission.pulled(project, mark, self.now);
        self.act(number);
    }

    /// Lets renders land.
    fn land(&mut self, number: usize) {
        let now = self.now;
        let pod = &mut self.pods[number];
        let flying = std::mem::take(&mut pod.flying);
        let (landed, flying) = flying
            .into_iter()
            .partition::<Vec<_>, _>(|(at, ..)| *at <= now);
        pod.flying = flying;
        for (_, project, rollout, lease) in landed {
            let fails = self.failing > 0;
            self.failing = self.failing.saturating_sub(1);
            let pod = &mut self.pods[number];
            let (landing, end) = if fails {
                let failed = Landing::Failed(CallFailure::Other);
                (failed, RenderEnd::Failed)
            } else {
                let new = revision(number_of(&project), rollout);
                let held = pod.held.get_mut(&project).expect("all are held");
                if new.order > held.order {
                    *held = new;
                }
                let mark = HeldMark {
                    order: held.order,
                    validated_at: now,
                };
                (Landing::Held(mark), RenderEnd::Held(Arc::clone(held)))
            };
            let publication = pod.member.ended(&project, lease, &end);
            self.publish(number, publication);
            let pod = &mut self.pods[number];
            pod.admission.landed(&project, landing, now);
            self.act(number);
        }
    }

    /// All is well again: everything that is looked up becomes fresh, and no lease is left.
    fn converges(&mut self) {
        (self.lossy, self.failing) = (0, 0);
        for _ in 0..40 {
            (0..SIDECARS).for_each(|pod| self.look_up(pod));
            self.run(10 * SECOND);
            if self.is_fresh() && self.are_joined() {
                break;
            }
        }
        assert!(self.is_fresh(), "something is outdated for ever");
        self.run(2 * SECOND);
        for pod in &self.pods {
            assert_eq!(pod.member.mode(), FleetMode::Joined);
            assert!(pod.member.leases.is_empty(), "{:?}", pod.member.leases);
            assert_eq!(pod.member.unpublished(), 0);
        }
    }

    fn are_joined(&self) -> bool {
        let modes = self.pods.iter().map(|pod| pod.member.mode());
        modes.into_iter().all(|mode| mode == FleetMode::Joined)
    }

    fn is_fresh(&self) -> bool {
        let held = self.pods.iter().flat_map(|pod| pod.held.values());
        held.into_iter()
            .all(|held| held.order.rollout == self.target)
    }

    /// In no window starts more than the budget: the store's tokens, each of which may start 100 ms
    /// early, and be seen late by the way and by the time in which a grant is good; and of each
    /// sidecar that was alone one more than its part. A store that lost its state while a sidecar
    /// was cut off gives that one's part to the others after a while.
    fn check_budget(&self) {
        for window in [SECOND, 3 * SECOND, 10 * SECOND] {
            let mut first = 0;
            for (last, (end, _)) in self.starts.iter().enumerate() {
                while self.starts[first].0 + window < *end {
                    first += 1;
                }
                let seen = &self.starts[first..=last];
                let alone = seen.iter().filter(|(_, lease)| lease.is_none()).count();
                let leased = seen.len() - alone;
                let most = 1.0 + RATE * (window.as_secs_f64() + 0.1 + 0.1 + 0.1);
                let alone_most = SIDECARS as f64 + RATE * window.as_secs_f64();
                assert!(leased as f64 <= most, "{leased} within {window:?}");
                assert!(
                    alone as f64 <= alone_most,
                    "{alone} alone within {window:?}"
                );
                let all_most = most + alone.min(SIDECARS) as f64;
                assert!(
                    self.has_flushed || seen.len() as f64 <= all_most,
                    "{} starts within {window:?}, {alone} of them alone",
                    seen.len()
                );
            }
        }
    }

    fn count(&mut self) {
        for pod in &self.pods {
            let numbers = pod.member.numbers();
            let [granted, elsewhere, landed, left_alone, waits, _] = numbers.leases;
            self.reached.granted += granted;
            self.reached.elsewhere += elsewhere;
            self.reached.landed += landed;
            self.reached.left_alone += left_alone;
            self.reached.waits += waits;
        }
    }
}

fn number_of(project: &Project) -> usize {
    project
        .as_str()
        .rsplit('/')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

fn answer(model: &mut Model, call: &ToStore, now: StoreTime) -> FromStore {
    match call {
        ToStore::Beat(beat) => FromStore::Beaten(Box::new(model.beat(beat, now))),
        ToStore::Acquire(asked) => {
            let acquire: &Acquire = &asked.acquire;
            FromStore::Acquired(model.acquire(acquire, now))
        }
        ToStore::Publish(publication, _) => {
            let (put, land): (&Option<Put>, &Land) = (&publication.put, &publication.land);
            if let Some(put) = put {
                model.put(put, now);
            }
            FromStore::Published(model.land(land, now))
        }
        ToStore::Read(read) => FromStore::Read(model.value(&read.project, now)),
    }
}

fn runner() -> TestRunner {
    let set = std::env::var("PROPTEST_CASES").ok();
    let cases = set.map_or(100, |cases| cases.parse().expect("a number"));
    TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    })
}

#[test]
fn a_fleet_keeps_its_budget_and_ends_fresh_whatever_becomes_of_the_store() {
    let all = RefCell::new(FleetReached::default());
    let sequences = (faults(), any::<u64>());
    let run = runner().run(&sequences, |(faults, seed)| {
        let mut world = FleetWorld::new(seed);
        world.run(3 * SECOND);
        for fault in faults {
            world.take(fault);
        }
        world.converges();
        world.check_budget();
        world.count();
        let (mut all, one) = (all.borrow_mut(), world.reached);
        for (sum, one) in all.counts().into_iter().zip({ one }.counts()) {
            *sum += *one;
        }
        Ok(())
    });
    run.unwrap();
    let mut reached = all.into_inner();
    let shown = format!("{reached:?}");
    assert!(reached.counts().iter().all(|count| **count > 0), "{shown}");
}

/// While nothing goes wrong, each project is rendered once for each release, by the store's word.
#[test]
fn a_fleet_renders_each_project_once_for_each_release() {
    for seed in 0..5 {
        let mut world = FleetWorld::new(seed);
        world.run(3 * SECOND);
        for _ in 0..3 {
            world.take(FleetFault::Release);
            world.run(5 * SECOND);
            assert!(world.is_fresh());
        }
        let renders: Vec<_> = world.renders.values().copied().collect();
        assert_eq!(renders, vec![1; 3 * PROJECTS]);
        assert!(world.starts.iter().all(|(_, lease)| lease.is_some()));
        world.check_budget();
    }
}

impl FleetReached {
    fn counts(&mut self) -> [&mut u64; 14] {
        [
            &mut self.granted,
            &mut self.elsewhere,
            &mut self.landed,
            &mut self.left_alone,
            &mut self.waits,
            &mut self.stored,
            &mut self.missing,
            &mut self.lost,
            &mut self.apart,
            &mut self.rejoined,
            &mut self.alone,
            &mut self.healed,
            &mut self.timed_out,
            &mut self.returned,
        ]
    }
}
