//! One random sequence, on both sides.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    time::{Duration, SystemTime},
};

use evenkeel::{
    revision::{Digest, Order, Project},
    store::{
        KeyNames, SidecarId, StoreTime,
        acquire::{Acquire, AcquireCandidate, Acquired, CandidateAnswer, Urgency},
        beat::{Beat, BeatConnection, KnownStore},
        head::{RawHead, Stamp, StoredHead},
        land::{Land, LandAnswer, LandOutcome},
        lease::{Cause, StoreLease, Why},
        model::{Model, Segment, StoreKey},
        put::{Put, StoreVerdict},
        value::{Packing, Signature, StoredValue},
    },
};
use fastrand::Rng;

use super::server::{Copy, Server};

const START: u64 = 1_795_795_000_123_456;
const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
const MEMBERSHIP: Duration = Duration::from_secs(3);
const FORGET: Duration = Duration::from_secs(40);
const LEASE: Duration = Duration::from_secs(10);
const SEGMENT_ENTRIES: u64 = 131_072;

/// What a sidecar of the test remembers.
struct Sidecar {
    id: SidecarId,
    told: f64,
    known: KnownStore,
    connection: BeatConnection,
    leases: Vec<(Project, StoreLease)>,
}

/// A model, a server, and those who call both.
pub(crate) struct Sequence {
    model: Model,
    server: Server,
    names: KeyNames,
    now: u64,
    history: u64,
    rng: Rng,
    sidecars: Vec<Sidecar>,
    projects: Vec<Project>,
    copies: VecDeque<(Model, Copy)>,
    /// The last steps, to be read when the two differ.
    trail: VecDeque<String>,
    reached: BTreeMap<&'static str, usize>,
}

impl Sequence {
    pub(crate) fn new(server: Server, seed: u64) -> Self {
        let sidecar = |number: usize| Sidecar {
            id: SidecarId::new(&format!("pod-{number}~{number:08x}")).expect("an id"),
            told: 50.0,
            known: KnownStore::default(),
            connection: BeatConnection::New,
            leases: Vec::new(),
        };
        let project = |number: usize| Project::new(&format!("team/{number}")).expect("a project");
        let sequence = Self {
            model: Model::new(),
            server,
            names: KeyNames::new("prod", "identity").expect("names"),
            now: START,
            history: 0,
            rng: Rng::with_seed(seed),
            sidecars: (0..5).map(sidecar).collect(),
            projects: (0..4).map(project).collect(),
            copies: VecDeque::new(),
            trail: VecDeque::new(),
            reached: BTreeMap::new(),
        };
        sequence.server.set_clock(sequence.now());
        sequence
    }

    /// How often what was seen.
    pub(crate) fn reached(&self) -> &BTreeMap<&'static str, usize> {
        &self.reached
    }

    /// Does something on both sides.
    pub(crate) fn step(&mut self) {
        self.pass();
        match self.rng.u32(..1_000) {
            0..300 => self.beat(),
            300..600 => self.acquire(),
            600..780 => self.land(),
            780..870 => self.put(),
            870..890 => self.read(),
            890..910 => self.lose_a_key(),
            910..930 => self.spoil(),
            930..940 => self.set_rate(),
            940..950 => self.leave(),
            950..975 => self.copy(),
            975..979 => self.roll_back(),
            979..982 => self.flush(),
            982..987 => self.lose_scripts(),
            _ => self.reconnect(),
        }
    }

    const fn now(&self) -> StoreTime {
        StoreTime::from_micros(self.now)
    }

    fn reach(&mut self, name: &'static str) {
        *self.reached.entry(name).or_default() += 1;
    }

    fn note(&mut self, step: &impl Debug) {
        self.trail.push_back(format!("{} {step:?}", self.now));
        if self.trail.len() > 30 {
            self.trail.pop_front();
        }
    }

    fn compare<T: PartialEq + Debug>(&self, model: &T, server: &T) {
        if model != server {
            for step in &self.trail {
                eprintln!("{step}");
            }
            panic!("the model answers\n{model:?}\nand the server\n{server:?}");
        }
    }

    /// Time passes, or the clock is stepped.
    fn pass(&mut self) {
        let before = self.now;
        let by = match self.rng.u32(..1_000) {
            0..600 => self.rng.u64(1..20_000),
            600..900 => self.rng.u64(1..400_000),
            900..980 => self.rng.u64(1..3 * SECOND),
            980..992 => self.rng.u64(1..15 * SECOND),
            992..996 => self.rng.u64(1..HOUR),
            _ => {
                let furthest = *self.rng.choice(&[SECOND, 10 * SECOND, HOUR]).expect("some");
                self.now = (self.now - self.rng.u64(1..furthest)).max(START / 2);
                0
            }
        };
        self.now += by;
        self.server.set_clock(self.now());
        self.note(&format_args!("the clock goes from {before}"));
    }

    fn project(&mut self) -> Project {
        self.rng.choice(&self.projects).expect("projects").clone()
    }

    fn order(&mut self) -> Order {
        if self.rng.u32(..4) > 0 {
            return Order::new(self.rng.u64(1..3), self.rng.u64(..2));
        }
        let some = [0, 3, 9, 10, u64::MAX];
        Order::new(
            *self.rng.choice(&some[..4]).expect("some"),
            *self.rng.choice(&some).expect("some"),
        )
    }

    fn stamp(&mut self) -> Stamp {
        Stamp {
            order: self.order(),
            digest: Digest::of(&[self.rng.u8(..2)]),
        }
    }

    fn ttl(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(1_000..600_000))
    }

    fn beat(&mut self) {
        let at = self.rng.usize(..self.sidecars.len());
        let mut known = self.sidecars[at].known;
        match self.rng.u32(..300) {
            0 => known.tick += 20_000_000,
            1 => known.tick += self.rng.u64(..50),
            2..5 => known.cursor = self.rng.u64(..5_000) * 8,
            5..8 => known = KnownStore::default(),
            _ => {}
        }
        if self.rng.u32(..30) == 0 {
            let some = [0.0, 0.1, 7.0, 50.0, 50.0, 50.0, 600.0, 600.0, 1e9, f64::NAN];
            self.sidecars[at].told = *self.rng.choice(&some).expect("some");
        }
        known.count = self.rng.u64(..8);
        let sidecar = &self.sidecars[at];
        let beat = Beat {
            id: sidecar.id.clone(),
            told: sidecar.told,
            membership: MEMBERSHIP,
            forget: FORGET,
            known,
            connection: sidecar.connection,
            renew: sidecar.leases.clone(),
            lease: LEASE,
        };
        self.note(&beat);
        let told = self.model.beat(&beat, self.now());
        let reply = self.server.call(&beat.call(&self.names));
        self.compare(&Ok(told.clone()), &Beat::read(reply));

        let is_other = told.rates.lowest.0 != beat.id;
        let is_slowed = told.rates.pace < 1.0;
        let is_word = told.rates.told < told.rates.lowest.1;
        let is_again = known.born.is_some_and(|born| born != told.born);
        let is_copy = is_again && beat.connection == BeatConnection::New;
        for (is_so, name) in [
            (known.born.is_none(), "beat: born"),
            (is_copy, "beat: born again of a copy"),
            (is_again && !is_copy, "beat: born again by a higher tick"),
            (!told.journal.landings.is_empty(), "beat: landings"),
            (told.journal.is_cut, "beat: cut"),
            (told.absent > 0, "beat: absent"),
            (is_slowed, "beat: slowed"),
            (is_other, "beat: another's claim is lowest"),
            (is_word, "beat: operator's rate"),
        ] {
            if is_so {
                self.reach(name);
            }
        }
        let sidecar = &mut self.sidecars[at];
        sidecar.connection = BeatConnection::Kept;
        sidecar.known = KnownStore {
            born: Some(told.born),
            tick: told.tick,
            cursor: told.journal.cursor,
            count: told.present + told.absent,
        };
    }

    fn acquire(&mut self) {
        let at = self.rng.usize(..self.sidecars.len());
        let Some(born) = self.sidecars[at].known.born else {
            return;
        };
        let candidates = (0..self.rng.usize(1..5)).map(|_| {
            let oldest = Duration::from_secs(self.rng.u64(..20));
            let project = self.project();
            AcquireCandidate {
                project,
                least: self.order(),
                oldest: self.rng.bool().then_some(oldest),
                lost: (self.rng.u32(..8) == 0).then(|| self.order()),
            }
        });
        let candidates = candidates.collect();
        let acquire = Acquire {
            id: self.sidecars[at].id.clone(),
            born,
            tick: self.sidecars[at].known.tick,
            urgency: *self
                .rng
                .choice(&[Urgency::Missing, Urgency::Outdated])
                .expect("some"),
            most: self.rng.u64(..4),
            horizon: Duration::from_millis(self.rng.u64(..1_200)),
            lease: LEASE,
            candidates,
        };
        self.note(&acquire);
        let acquired = self.model.acquire(&acquire, self.now());
        let reply = self.server.call(&acquire.call(&self.names));
        self.compare(&Ok(acquired.clone()), &Acquire::read(reply));
        let (tick, answers) = match acquired {
            Acquired::BeatFirst => return self.reach("acquire: beat first"),
            Acquired::Wait { .. } => return self.reach("acquire: wait"),
            Acquired::Answered { tick, answers, .. } => (tick, answers),
        };
        for (answer, candidate) in answers.into_iter().zip(acquire.candidates) {
            match answer {
                CandidateAnswer::Granted {
                    starts_in,
                    count,
                    lease,
                } => {
                    self.reach("acquire: granted");
                    if !starts_in.is_zero() {
                        self.reach("acquire: granted later");
                    }
                    if count > 0 {
                        self.reach("acquire: granted, had failed");
                    }
                    self.sidecars[at].leases.push((candidate.project, lease));
                }
                CandidateAnswer::Landed(_) => self.reach("acquire: landed"),
                CandidateAnswer::Elsewhere { .. } => self.reach("acquire: elsewhere"),
                CandidateAnswer::LeftAlone(_) => self.reach("acquire: left alone"),
                CandidateAnswer::Garbage => self.reach("acquire: garbage"),
            }
        }
        self.sidecars[at].known.tick = tick;
    }

    fn land(&mut self) {
        let at = self.rng.usize(..self.sidecars.len());
        let Some(born) = self.sidecars[at].known.born else {
            return;
        };
        let leases = &mut self.sidecars[at].leases;
        let held = (!leases.is_empty() && self.rng.u32(..5) > 0)
            .then(|| leases.swap_remove(self.rng.usize(..leases.len())));
        let (project, lease) = match held {
            Some((project, lease)) => (project, Some(lease)),
            None => (self.project(), None),
        };
        let mut landed = (self.rng.u32(..5) > 2).then(|| self.stamp());
        if let (Some(stamp), Some(lease)) = (&mut landed, &lease) {
            stamp.order = lease.order.max(stamp.order);
        }
        let pushback = Duration::from_millis(self.rng.u64(..150_000));
        let outcomes = [
            LandOutcome::Good,
            LandOutcome::Good,
            LandOutcome::Good,
            LandOutcome::Bad,
            LandOutcome::Bad,
            LandOutcome::Nothing,
            LandOutcome::PushedBack(pushback / if self.rng.bool() { 1 } else { 100 }),
        ];
        let longest = *self.rng.choice(&[3_000, 3_000, 400_000]).expect("some");
        let alone = Duration::from_millis(self.rng.u64(..longest));
        let cause = Cause {
            count: self.rng.u64(1..5),
            why: *self.rng.choice(&[Why::Failing, Why::Absent]).expect("some"),
        };
        let disowned = self.rng.u32(..8) == 0;
        let land = Land {
            born,
            id: self.sidecars[at].id.clone(),
            landed,
            ttl: self.ttl(),
            outcome: *self.rng.choice(&outcomes).expect("some"),
            leave_alone: landed.is_none().then_some((alone, cause)),
            disowned: disowned.then(|| self.raw_head(&project)).flatten(),
            project,
            lease,
        };
        self.send_land(at, &land);
    }

    fn send_land(&mut self, at: usize, land: &Land) {
        self.note(land);
        let landed = self.model.land(land, self.now());
        let reply = self.server.call(&land.call(&self.names));
        self.compare(&Ok(landed.clone()), &Land::read(reply));
        let LandAnswer::Told { verdict, tick, .. } = landed else {
            return self.reach("land: beat first");
        };
        self.sidecars[at].known.tick = tick.max(self.sidecars[at].known.tick);
        self.reach(match verdict {
            None => "land: nothing",
            Some(StoreVerdict::Newer) => "land: newer",
            Some(StoreVerdict::Validated) => "land: validated",
            Some(StoreVerdict::Older) => "land: older",
            Some(StoreVerdict::Conflict) => "land: conflict",
        });
    }

    fn put(&mut self) {
        let signature = Signature {
            key_id: "2026-11".into(),
            bytes: [7; 64],
        };
        let project = self.project();
        let before = self.model.value(&project, self.now());
        let disowned = before.filter(|_| self.rng.u32(..8) == 0);
        // Both sides have looked at it.
        self.get_value(&project);
        let put = Put {
            value: StoredValue {
                stamp: self.stamp(),
                rendered_at: self.rng.bool().then_some(SystemTime::UNIX_EPOCH + FORGET),
                content_type: "application/json".into(),
                signature: self.rng.bool().then_some(signature),
                packing: *self
                    .rng
                    .choice(&[Packing::Plain, Packing::Zstd])
                    .expect("some"),
                payload: vec![0, b'\r', b'\n', 255].into(),
            },
            ttl: self.ttl(),
            disowned: disowned.as_deref().and_then(StoredValue::prefix),
            project,
        };
        self.note(&put);
        let verdict = self.model.put(&put, self.now());
        let reply = self.server.call(&put.call(&self.names));
        self.compare(&Ok(verdict), &Put::read(reply));
        self.reach(match verdict {
            StoreVerdict::Newer => "put: newer",
            StoreVerdict::Validated => "put: validated",
            StoreVerdict::Older => "put: older",
            StoreVerdict::Conflict => "put: conflict",
        });
    }

    fn read(&mut self) {
        let project = self.project();
        let bytes = self.model.value(&project, self.now());
        let found = self.get_value(&project);
        self.compare(&bytes, &found);
        if self.model.read(&project, self.now()).is_some() {
            self.reach("value: read");
        }
    }

    fn get_value(&mut self, project: &Project) -> Option<Vec<u8>> {
        self.server.get(&self.names.value(project))
    }

    fn raw_head(&mut self, project: &Project) -> Option<RawHead> {
        let head = self.model.head(project, self.now());
        let found = self.server.get(&self.names.head(project)).map(RawHead);
        self.compare(&head, &found);
        found
    }

    fn lose_a_key(&mut self) {
        let project = self.project();
        let [even, odd] = self.names.journal();
        let (key, name) = match self.rng.u32(..9) {
            0 => (StoreKey::Bucket, self.names.bucket()),
            1 => (StoreKey::Present, self.names.present()),
            2 => (StoreKey::Absent, self.names.absent()),
            3 => (StoreKey::Claims, self.names.claims()),
            4 => (StoreKey::Operator, self.names.operator()),
            5 if self.rng.bool() => (StoreKey::Journal(Segment::Even), even),
            5 => (StoreKey::Journal(Segment::Odd), odd),
            6 => (StoreKey::Head(project.clone()), self.names.head(&project)),
            7 => (StoreKey::Lease(project.clone()), self.names.lease(&project)),
            _ => (StoreKey::Value(project.clone()), self.names.value(&project)),
        };
        self.note(&key);
        self.model.forget(&key);
        self.server.ask(&["DEL", &*name]);
    }

    fn spoil(&mut self) {
        let project = self.project();
        let head = StoredHead {
            at: self.now(),
            stamp: self.stamp(),
        };
        let garbage: [&[u8]; 5] = [b"", b"x", b"L", &[b'9'; 85], &[0xff; 200]];
        let mut bytes = self.rng.choice(garbage).expect("some").to_vec();
        let mut ttl = self.ttl();
        let (name, key) = match self.rng.u32(..3) {
            0 => {
                if self.rng.bool() {
                    bytes = head.raw().0;
                }
                (self.names.head(&project), StoreKey::Head(project))
            }
            1 => {
                bytes = format!("L{}{}", "9".repeat(40), "nobody's").into_bytes();
                ttl /= 40;
                (self.names.lease(&project), StoreKey::Lease(project))
            }
            _ => (self.names.value(&project), StoreKey::Value(project)),
        };
        self.note(&(&key, &bytes));
        self.model.spoil(&key, &bytes, ttl, self.now());
        let ttl = ttl.as_millis().to_string();
        self.server
            .ask(&[b"SET", name.as_bytes(), &bytes, b"PX", ttl.as_bytes()]);
    }

    fn set_rate(&mut self) {
        let some = ["0", "0.5", "20", "100", "nan", "-1", "fast", "1e9"];
        let rate = *self.rng.choice(&some).expect("some");
        let lasts = Duration::from_secs(self.rng.u64(1..120));
        self.note(&(rate, lasts));
        self.model.set_rate(rate, lasts, self.now());
        let lasts = lasts.as_secs().to_string();
        self.server
            .ask(&["SET", &self.names.operator(), rate, "EX", &lasts]);
    }

    fn leave(&mut self) {
        let id = self.rng.choice(&self.sidecars).expect("some").id.clone();
        self.note(&("leaves", &id));
        self.model.leave(&id);
        for key in [self.names.claims(), self.names.present()] {
            self.server.ask(&["ZREM", &key, id.as_str()]);
        }
    }

    fn copy(&mut self) {
        let now = self.now();
        self.note(&"a copy is made");
        // KEYS leaves what has ended where it is: it would be back after a step of the clock.
        let mut words = vec!["EXISTS".to_owned(), self.names.operator()];
        for project in &self.projects {
            let names = [self.names.head(project), self.names.lease(project)];
            words.extend(names.into_iter().chain([self.names.value(project)]));
        }
        self.server.ask(&words);
        let copy = (self.model.copied(now), self.server.copy());
        self.copies.push_back(copy);
        if self.copies.len() > 5 {
            self.copies.pop_front();
        }
    }

    /// An older copy goes on, mostly as another primary: then the connections are new.
    fn roll_back(&mut self) {
        if self.copies.is_empty() {
            return;
        }
        let is_promoted = self.rng.u32(..3) > 0;
        let (model, copy) = &self.copies[self.rng.usize(..self.copies.len())];
        if is_promoted {
            self.history += 1;
        }
        self.model = model.promoted(self.history, self.now());
        self.server.restore(copy);
        if is_promoted {
            self.server.promote();
            for sidecar in &mut self.sidecars {
                sidecar.connection = BeatConnection::New;
            }
        }
        self.note(&("an older copy goes on", is_promoted));
    }

    fn flush(&mut self) {
        self.note(&"all is flushed");
        self.model.flush();
        self.server.ask(&["FLUSHALL"]);
    }

    fn lose_scripts(&mut self) {
        self.server.ask(&["SCRIPT", "FLUSH"]);
        let before = self.server.lost_scripts;
        self.beat();
        assert!(
            self.server.lost_scripts > before,
            "the server still has the scripts"
        );
        self.reach("script: lost");
    }

    fn reconnect(&mut self) {
        let at = self.rng.usize(..self.sidecars.len());
        self.sidecars[at].connection = BeatConnection::New;
    }

    /// Two segments and some more, then one segment is lost.
    pub(crate) fn fill_the_journal(&mut self) {
        self.beat();
        let at = self
            .sidecars
            .iter()
            .position(|sidecar| sidecar.known.born.is_some());
        let at = at.expect("one that has beaten");
        let mut land = Land {
            born: self.sidecars[at].known.born.expect("a life"),
            id: self.sidecars[at].id.clone(),
            project: self.projects[0].clone(),
            lease: None,
            landed: None,
            ttl: Duration::from_secs(600),
            outcome: LandOutcome::Good,
            leave_alone: None,
            disowned: None,
        };
        let mut orders = 0;
        for rounds in [SEGMENT_ENTRIES - 2, 4, SEGMENT_ENTRIES, 3] {
            for _ in 0..rounds {
                orders += 1;
                self.now += 50;
                self.server.set_clock(self.now());
                let order = Order::new(1, orders);
                let digest = Digest::of(&orders.to_be_bytes());
                land.landed = Some(Stamp { order, digest });
                self.send_land(at, &land);
            }
            for _ in 0..40 {
                self.now += 100_000;
                self.server.set_clock(self.now());
                self.beat();
            }
        }
        let [even, odd] = self.names.journal();
        for (segment, name) in [(Segment::Even, even), (Segment::Odd, odd)] {
            self.model.forget(&StoreKey::Journal(segment));
            self.server.ask(&["DEL", &*name]);
            for _ in 0..20 {
                orders += 1;
                let order = Order::new(1, orders);
                let digest = Digest::of(&orders.to_be_bytes());
                land.landed = Some(Stamp { order, digest });
                self.send_land(at, &land);
                self.now += 200_000;
                self.server.set_clock(self.now());
                self.beat();
            }
        }
        assert!(self.reached.contains_key("beat: cut"));
    }
}
