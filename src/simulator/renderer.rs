//! A renderer as a model: cores shared evenly among the renders that run, a bounded queue before
//! them, and a store of what was rendered. It pushes back what it cannot queue, and stops what its
//! caller gave up. It is told the time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet, VecDeque},
    time::Duration,
};

use super::crowd::Crowd;
use crate::{admission::PushbackScope, moment::Moment, revision::Order};

/// The number of a call in the world's books.
pub(super) type CallId = usize;

/// Units of work are millionths of a second of one core, counted so finely that sums stay exact
/// enough to be compared.
const UNIT: f64 = 1e9;

/// How a renderer takes calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mood {
    /// It takes calls as its cores and its queue allow.
    Working,
    /// Calls vanish.
    BlackHole,
    /// Every call is answered UNAVAILABLE at once.
    Unavailable,
    /// This part of the calls is answered UNAVAILABLE at once.
    Flaky(f64),
    /// Every render is answered so at once, and so is every fetch where it is the identity that is
    /// refused.
    Failing(AnsweredFailure),
    /// Every call is pushed back at once.
    PushingBack {
        /// When to come back.
        after: Duration,
        /// Whether it holds for every project.
        scope: PushbackScope,
    },
}

/// A failure that is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredFailure {
    /// INTERNAL.
    Internal,
    /// ABORTED.
    Aborted,
    /// An answer that is not fit to be held.
    Rejected,
    /// UNAUTHENTICATED.
    Unauthenticated,
}

/// What became of a call on its arrival.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Taken {
    /// It runs or waits in the queue.
    Accepted,
    /// The queue is full.
    Full { after: Duration },
}

/// The renderer's store, which answers fetches beside the cores.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// Fetches vanish.
    pub is_away: bool,
    /// By how long every fetch is pushed back, if it is.
    pub pushes_back: Option<Duration>,
    /// Fetches that are answered at once; others are plainly refused.
    pub slots: usize,
    /// How long an answer takes.
    pub takes: Duration,
    pub(super) busy: usize,
}

/// The renderer.
#[derive(Debug)]
pub struct SimulatedRenderer {
    /// How it takes calls.
    pub mood: Mood,
    /// Its store.
    pub store: Store,
    /// What it cannot queue it plainly refuses, without a word on when to come back.
    pub refuses_plainly: bool,
    /// Renders that run at once; more of them wait in the queue.
    pub slots: usize,
    /// Renders that wait at most.
    pub queue: usize,
    /// What a refusal costs, in seconds of a core.
    pub refusal: f64,
    /// The newest rollout that was rendered of each project.
    pub(super) stored: Vec<Option<Order>>,
    cores: f64,
    running: usize,
    /// By the progress at which they are done.
    ends: BinaryHeap<Reverse<(u64, CallId)>>,
    waiting: VecDeque<(CallId, f64)>,
    given_up: HashSet<CallId>,
    /// How much work each render that ran from the start on has had, in units.
    progress: f64,
    crowd: Crowd,
    at: Moment,
}

impl SimulatedRenderer {
    pub(super) fn new(cores: f64, projects: usize) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few cores"
        )]
        let cores_up = cores.ceil() as usize;
        Self {
            mood: Mood::Working,
            store: Store {
                is_away: false,
                pushes_back: None,
                slots: usize::MAX,
                takes: Duration::ZERO,
                busy: 0,
            },
            refuses_plainly: false,
            slots: cores_up * 2,
            queue: cores_up * 8,
            refusal: 0.0,
            stored: vec![None; projects],
            cores,
            running: 0,
            ends: BinaryHeap::new(),
            waiting: VecDeque::new(),
            given_up: HashSet::new(),
            progress: 0.0,
            crowd: Crowd::new(),
            at: Moment::START,
        }
    }

    /// Takes whatever comes, however long it takes.
    pub fn shed_nothing(&mut self) {
        self.slots = usize::MAX;
    }

    /// Takes as many calls at once, and plainly refuses others.
    pub fn take_at_once(&mut self, calls: usize) {
        (self.slots, self.queue, self.refuses_plainly) = (calls, 0, true);
    }

    /// Has each render stand for this many (at least 1) of as many more sidecars, which render as
    /// these do on average. Its cores are those of all; its slots and queue are not scaled, so that
    /// it has to [shed nothing](Self::shed_nothing).
    pub fn stand_for(&mut self, each: f64) {
        self.crowd.each = each.max(1.0);
    }

    /// Seconds of a core that renders took until now, in each step.
    pub(super) fn worked(&mut self, now: Moment) -> Vec<f64> {
        self.advance(now);
        self.crowd.take_worked()
    }

    pub(super) fn set_cores(&mut self, cores: f64, now: Moment) {
        self.advance(now);
        self.cores = cores;
    }

    /// Takes a render of `work` seconds of a core.
    pub(super) fn take(&mut self, call: CallId, work: f64, now: Moment) -> Taken {
        self.advance(now);
        self.crowd.took(now);
        if self.running < self.slots {
            self.run(call, work);
        } else if self.waiting.len() < self.queue {
            self.waiting.push_back((call, work));
        } else {
            #[expect(clippy::cast_precision_loss, reason = "queues are short")]
            let backlog = self.queue as f64 * work / self.cores.max(1e-3);
            let after = Duration::from_secs_f64(backlog.clamp(1.0, 10.0));
            #[expect(clippy::cast_precision_loss, reason = "slots are few")]
            let lost = self.refusal / self.running as f64;
            self.progress -= lost * UNIT;
            return Taken::Full { after };
        }
        Taken::Accepted
    }

    /// Stops a render whose caller gave it up.
    pub(super) fn give_up(&mut self, call: CallId, now: Moment) {
        self.advance(now);
        if let Some(place) = self
            .waiting
            .iter()
            .position(|&(waiting, _)| waiting == call)
        {
            self.waiting.remove(place);
            return;
        }
        if self
            .ends
            .iter()
            .any(|Reverse((_, running))| *running == call)
        {
            self.given_up.insert(call);
            self.running -= 1;
            self.refill();
        }
    }

    /// When the next render is done, unless something happens before.
    pub(super) fn next_end(&mut self) -> Option<Moment> {
        while let Some(Reverse((_, call))) = self.ends.peek() {
            if !self.given_up.remove(call) {
                break;
            }
            self.ends.pop();
        }
        let Reverse((end, _)) = self.ends.peek()?;
        let speed = self.speed();
        if speed <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "progress is small")]
        let left = (*end as f64 - self.progress).max(0.0) / UNIT / speed;
        Some(self.at + Duration::from_secs_f64(left) + Duration::from_nanos(1))
    }

    /// The renders that are done by now.
    pub(super) fn ended(&mut self, now: Moment) -> Vec<CallId> {
        self.advance(now);
        let mut ended = Vec::new();
        #[expect(clippy::cast_precision_loss, reason = "progress is small")]
        while let Some(&Reverse((end, call))) = self.ends.peek() {
            if self.given_up.remove(&call) {
                self.ends.pop();
            } else if end as f64 <= self.progress + 1.0 {
                self.ends.pop();
                self.running -= 1;
                ended.push(call);
            } else {
                break;
            }
        }
        self.refill();
        ended
    }

    fn refill(&mut self) {
        while self.running < self.slots
            && let Some((call, work)) = self.waiting.pop_front()
        {
            self.run(call, work);
        }
    }

    fn run(&mut self, call: CallId, work: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "work is positive"
        )]
        let end = (self.progress + work * UNIT) as u64;
        self.running += 1;
        self.ends.push(Reverse((end, call)));
    }

    #[expect(clippy::cast_precision_loss, reason = "slots are few")]
    fn advance(&mut self, now: Moment) {
        let speed = self.speed();
        self.progress += now.since(self.at).as_secs_f64() * speed * UNIT;
        self.crowd.passes(self.running as f64, speed, self.at, now);
        self.at = self.at.max(now);
    }

    /// Seconds of a core that each running render gets per second.
    #[expect(clippy::cast_precision_loss, reason = "slots are few")]
    fn speed(&self) -> f64 {
        if self.running == 0 {
            return 1.0;
        }
        let all = self.crowd.all(self.running as f64, self.cores);
        (self.cores / all).min(1.0)
    }
}
