//! The life of a pod: it starts, learns of releases and other limits, is suspended, and is
//! replaced.

use std::time::Duration;

use super::{
    applications::TRIES,
    sidecar::SimulatedSidecar,
    watch::Observer,
    world::{Event, World},
};
use crate::{
    admission::{FleetRate, HeldMark},
    revision::Order,
};

/// How soon after each other an application that starts looks its projects up.
const LOOKED_UP_EVERY: Duration = Duration::from_millis(25);

/// How often a rising share is put in force, as in the product.
const RISES_EVERY: Duration = Duration::from_secs(1);

impl<W: Observer> World<W> {
    /// Leaves the renderer that part of its cores, from 0 to 1.
    pub fn set_capacity(&mut self, part: f64) {
        let cores = self.plan.capacity() * self.plan.work * part;
        self.renderer.set_cores(cores, self.now);
    }

    /// Raises the target of every sidecar within that time.
    pub fn release(&mut self, spread: Duration) {
        self.fate.target += 1;
        let rollout = self.fate.target;
        for sidecar in 0..self.sidecars.len() {
            let after = spread.mul_f64(self.rng.f64());
            self.at(after, Event::Learn(sidecar, rollout));
        }
    }

    /// Raises the rollout of the settings, which every sidecar reads within `spread` and picks up
    /// after its part of `splay`.
    pub fn release_with_splay(&mut self, spread: Duration, splay: Duration) {
        self.fate.target += 1;
        let rollout = self.fate.target;
        for sidecar in 0..self.sidecars.len() {
            let after = spread.mul_f64(self.rng.f64());
            self.at(after, Event::Splay(sidecar, rollout, splay));
        }
    }

    /// Has every sidecar believe that the rate of the fleet, which is that of the plan, is shared
    /// by as many sidecars.
    pub fn set_fleet_size(&mut self, size: u32) {
        let fleet = FleetRate {
            rate: self.plan.total_rate(),
            size,
        };
        for id in 0..self.sidecars.len() {
            let share = &mut self.sidecars[id].share;
            share.set(fleet.rate / f64::from(size), Some(fleet), self.now);
            self.rise(id);
        }
    }

    /// Replaces a pod by a new one, which holds nothing, and whose applications look everything up.
    pub fn replace(&mut self, id: usize) {
        let mut new = self.new_sidecar(id);
        let old = &mut self.sidecars[id];
        new.incarnation = old.incarnation + 1;
        new.progress.begin(self.plan.projects, self.now);
        new.suspended_until = old.suspended_until;
        *old = new;
        self.watch.started(old, self.now);
        self.settle(id);
        let starting = LOOKED_UP_EVERY * u32::try_from(self.plan.projects).unwrap_or(u32::MAX);
        for project in 0..self.plan.projects {
            let after = starting.mul_f64(self.rng.f64());
            self.at(after, Event::Return(id, project, 0));
        }
    }

    /// Stops a pod for that time, as a frozen process: what happens to it meanwhile happens at the
    /// end.
    pub fn suspend(&mut self, id: usize, lasts: Duration) {
        self.sidecars[id].suspended_until = self.now + lasts;
    }

    /// Sets the renders per second of a sidecar.
    pub fn set_rate(&mut self, id: usize, rate: f64) {
        let now = self.now;
        let mut limits = self.plan.limits();
        limits.rate = rate;
        let sidecar = &mut self.sidecars[id];
        let change = rate - sidecar.admission.limits().rate;
        self.observed.rates_changed(change, now);
        sidecar.epoch += 1;
        sidecar.admission.set_limits(limits, now);
        self.watch.limits_set(sidecar, now);
        self.settle(id);
    }

    /// Puts a sidecar's share in force, and again every second while it rises.
    pub(super) fn rise(&mut self, id: usize) {
        let share = self.sidecars[id].share;
        self.set_rate(id, share.rate(self.now));
        if share.is_rising(self.now) {
            self.at(RISES_EVERY, Event::Rise(id));
        }
    }

    /// Has a sidecar pick a rollout up when its part of the splay is over.
    pub(super) fn pick_up(&mut self, id: usize, rollout: u64, splay: Duration) {
        let sidecar = &mut self.sidecars[id];
        let due = sidecar.splay.due(sidecar.target, rollout, splay, self.now);
        if let Some(rollout) = due {
            self.learn(id, rollout);
        } else if let Some(at) = self.sidecars[id].splay.wakes_at() {
            self.at_moment(at, Event::Splay(id, rollout, splay));
        }
    }

    pub(super) fn new_sidecar(&mut self, id: usize) -> SimulatedSidecar {
        let (seed, replica) = (self.rng.u64(..), self.rng.f64());
        SimulatedSidecar::new(id, &self.plan, self.fate.target, replica, seed, self.now)
    }

    /// Has everything of a project held that was rendered before the run.
    pub(super) fn warm(&mut self, id: usize) {
        let (now, target) = (self.now, self.fate.target);
        let sidecar = &mut self.sidecars[id];
        for slot in &mut sidecar.slots[..self.plan.projects] {
            slot.held = Some(HeldMark {
                order: Order::rollout(target),
                validated_at: now,
            });
        }
        sidecar.progress.behind = 0;
    }

    /// Has a sidecar learn of a target. Every project is watched, so that each is looked up at
    /// once.
    pub(super) fn learn(&mut self, id: usize, rollout: u64) {
        let now = self.now;
        let sidecar = &mut self.sidecars[id];
        if sidecar.target >= rollout {
            return;
        }
        sidecar.target = rollout;
        sidecar.epoch += 1;
        sidecar.admission.set_target(rollout, now);
        let floor = Order::rollout(rollout);
        let known = &sidecar.slots[..self.plan.projects];
        let is_behind = |held: Option<HeldMark>| held.is_none_or(|held| held.order < floor);
        let behind = known.iter().filter(|slot| is_behind(slot.held)).count();
        sidecar.progress.behind = behind;
        sidecar.progress.begin(behind, now);
        self.watch.target_raised(sidecar, now);
        self.settle(id);
        for project in 0..self.plan.projects {
            self.look_up(id, project, TRIES);
        }
    }

    pub(super) fn wake(&mut self, id: usize, incarnation: u32) {
        let now = self.now;
        let sidecar = &mut self.sidecars[id];
        if sidecar.incarnation != incarnation || sidecar.wakes_at.is_none_or(|at| at > now) {
            return;
        }
        sidecar.wakes_at = None;
        sidecar.admission.tick(now);
        self.settle(id);
    }
}
