//! One replay: events in virtual time, from the start of the record to its end.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

use super::{
    OtherLimits, Replay,
    calls::RecordedProject,
    course::{Course, Happenings, ReplayedRelease},
    interest::{ReplayedLookup, spread},
    queue::{ReplayedCall, WorkQueue},
    sidecar::ReplayedSidecar,
    weather::RendererWeather,
};
use crate::{
    admission::{AdmissionFact, FetchLanding, HeldMark, Landing},
    moment::Moment,
    record::Record,
};

/// What happens at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReplayedEvent {
    /// Admission is told a fact of the record.
    Fact(usize),
    /// The lookups of a while of the record begin.
    Interest(usize),
    Lookup(ReplayedLookup),
    Leaves(u64),
    Wake,
    /// A worker is done with a call.
    Worked(usize),
    Deadline(usize),
    Lands(usize, Landing),
    Fetched(RecordedProject, FetchLanding),
}

/// An event, and when it is.
#[derive(Debug)]
struct Due {
    at: Moment,
    sequence: u64,
    event: ReplayedEvent,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// A replay that goes on.
#[derive(Debug)]
pub(super) struct ReplayRun<'a> {
    record: &'a Record,
    limits: OtherLimits,
    pub(super) weather: &'a RendererWeather,
    pub(super) sidecar: ReplayedSidecar,
    pub(super) queue: WorkQueue,
    pub(super) calls: Vec<ReplayedCall>,
    pub(super) seen: Happenings,
    pub(super) now: Moment,
    pub(super) waiters: u64,
    /// Renders.
    pub(super) in_flight: usize,
    wakes_at: Option<Moment>,
    rng: fastrand::Rng,
    due: BinaryHeap<Reverse<Due>>,
    sequence: u64,
}

impl<'a> ReplayRun<'a> {
    pub(super) fn new(replay: &'a Replay<'_>, limits: OtherLimits, seed: u64) -> Self {
        let record = replay.record;
        let mut rng = fastrand::Rng::with_seed(seed);
        let in_force = limits.instead_of(record.start.limits);
        let sidecar = ReplayedSidecar::new(&record.start, in_force, record.projects, rng.u64(..));
        let mut run = Self {
            record,
            limits,
            weather: &replay.weather,
            sidecar,
            queue: WorkQueue::new(replay.model.workers),
            calls: Vec::new(),
            seen: Happenings::default(),
            now: Moment::START,
            waiters: 0,
            in_flight: 0,
            wakes_at: None,
            rng,
            due: BinaryHeap::new(),
            sequence: 0,
        };
        if let Some(&(at, _)) = record.facts.first() {
            run.at(at, ReplayedEvent::Fact(0));
        }
        if let Some(first) = record.interest.first() {
            run.at(first.during.start, ReplayedEvent::Interest(0));
        }
        run.settle();
        run
    }

    /// Goes on until the record ends, and tells what happened.
    pub(super) fn finish(mut self) -> Course {
        let end = self.record.ends_at();
        while let Some(Reverse(due)) = self.due.pop()
            && due.at <= end
        {
            self.now = due.at;
            self.happen(due.event);
        }
        self.seen.course(end)
    }

    pub(super) fn after(&mut self, time: Duration, event: ReplayedEvent) {
        self.at(self.now + time, event);
    }

    pub(super) fn at(&mut self, at: Moment, event: ReplayedEvent) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.due.push(Reverse(Due {
            at,
            sequence,
            event,
        }));
    }

    fn happen(&mut self, event: ReplayedEvent) {
        match event {
            ReplayedEvent::Fact(place) => {
                let (_, fact) = self.record.facts[place];
                if let Some(&(at, _)) = self.record.facts.get(place + 1) {
                    self.at(at, ReplayedEvent::Fact(place + 1));
                }
                self.tell(fact);
            }
            ReplayedEvent::Interest(place) => self.interest(place),
            ReplayedEvent::Lookup(lookup) => self.look_up(lookup),
            ReplayedEvent::Leaves(waiter) => self.leave(waiter),
            ReplayedEvent::Wake => {
                if self.wakes_at.is_some_and(|at| at <= self.now) {
                    self.wakes_at = None;
                    self.sidecar.admission.tick(self.now);
                    self.settle();
                }
            }
            ReplayedEvent::Worked(call) => self.worked(call),
            ReplayedEvent::Deadline(call) => self.deadline(call),
            ReplayedEvent::Lands(call, landing) => self.land(call, landing),
            ReplayedEvent::Fetched(project, landing) => self.fetched(project, landing),
        }
    }

    fn interest(&mut self, place: usize) {
        let interest = &self.record.interest[place];
        if let Some(next) = self.record.interest.get(place + 1) {
            self.at(next.during.start, ReplayedEvent::Interest(place + 1));
        }
        let lookups: Vec<_> = spread(interest, &mut self.rng).collect();
        for lookup in lookups {
            self.at(lookup.at, ReplayedEvent::Lookup(lookup));
        }
    }

    /// Tells admission what it was told, but for what calls brought: that follows from the replay.
    fn tell(&mut self, fact: AdmissionFact<RecordedProject>) {
        let (now, sidecar) = (self.now, &mut self.sidecar);
        match fact {
            AdmissionFact::Limits(limits) => {
                let limits = self.limits.instead_of(limits);
                sidecar.admission.set_limits(limits, now);
            }
            AdmissionFact::Target(target) => self.set_target(target),
            AdmissionFact::Link(link) => sidecar.admission.set_link(link, now),
            AdmissionFact::Room(room) => sidecar.admission.set_room(room, now),
            AdmissionFact::Changed { project, number } => {
                sidecar.slot(project).changed = number;
                sidecar.slot(project).quiet = None;
                let name = sidecar.name(project);
                sidecar.admission.changed(&name, number, now);
            }
            AdmissionFact::GaveUp { project, number } => {
                sidecar.slot(project).changed = number;
                let name = sidecar.name(project);
                sidecar.admission.gave_up(&name, number, now);
            }
            AdmissionFact::Confirmed { project, held } => {
                if sidecar.held(project).is_some() {
                    self.hold(project, held.order);
                }
                return;
            }
            AdmissionFact::Rendered { .. } | AdmissionFact::Fetched { .. } => return,
        }
        self.sidecar.epoch += 1;
        self.settle();
    }

    /// A lowered target drops what was wanted because of the higher one alone.
    fn set_target(&mut self, target: u64) {
        let (now, before) = (self.now, self.sidecar.target);
        self.sidecar.target = target;
        self.sidecar.admission.set_target(target, now);
        if target != before {
            let raise = (target > before).then(|| ReplayedRelease::new(target, now));
            self.seen.release = raise;
        }
    }

    /// How long a render may run.
    pub(super) fn deadline_of_renders(&self) -> Duration {
        self.record.start.deadline
    }

    /// How long a lookup waits.
    pub(super) fn patience(&self, held: Option<HeldMark>) -> Duration {
        let start = &self.record.start;
        held.map_or(start.cold_patience, |_| start.patience)
    }

    /// Has admission wake when it asks for it.
    pub(super) fn wake_in_time(&mut self) {
        if let Some(next) = self.sidecar.admission.next_wake()
            && self.wakes_at.is_none_or(|at| next < at)
        {
            // A step that follows at once leaves others a turn, as the driver does.
            let next = next.max(self.now);
            self.wakes_at = Some(next);
            self.at(next, ReplayedEvent::Wake);
        }
    }
}
