//! Somebody outside of the sidecars who is asked whether renders may start, as a model: it takes a
//! while to answer, denies a part of what it is asked, or is dead.

use std::time::Duration;

use super::{watch::Observer, world::World};
use crate::{
    admission::{AskId, Lease, Reserved},
    moment::Moment,
};

/// Where renders are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserving {
    /// In the sidecar itself, which says yes at once.
    Local,
    /// At the world's [`Reserver`].
    Remote,
}

/// Who is asked whether renders may start.
#[derive(Clone, Debug)]
pub struct Reserver {
    /// How long an answer takes.
    pub takes: Duration,
    /// The part of asks that are denied, from 0 to 1.
    pub denies: f64,
    /// When to ask again after a denial.
    pub retry_after: Duration,
    /// Asks vanish.
    pub is_dead: bool,
    last: u64,
}

impl Reserver {
    pub(super) fn new() -> Self {
        Self {
            takes: Duration::from_millis(5),
            denies: 0.0,
            retry_after: Duration::from_secs(1),
            is_dead: false,
            last: 0,
        }
    }

    fn grant(&mut self, now: Moment) -> Reserved {
        self.last += 1;
        Reserved::Granted {
            starts_at: now,
            lease: Some(Lease(self.last)),
        }
    }
}

impl<W: Observer> World<W> {
    /// An answer arrives: each candidate may start, or none of the class may.
    pub(super) fn reserved(&mut self, id: usize, incarnation: u32, ask: AskId, candidates: usize) {
        let now = self.now;
        let is_denied = self.reserver.denies > 0.0 && self.rng.f64() < self.reserver.denies;
        let answers: Vec<_> = if is_denied {
            let retry_at = now + self.reserver.retry_after;
            vec![Reserved::Denied { retry_at }; candidates]
        } else {
            let grants = (0..candidates).map(|_| self.reserver.grant(now));
            grants.collect()
        };
        let sidecar = &mut self.sidecars[id];
        if sidecar.incarnation != incarnation || self.reserver.is_dead {
            return;
        }
        self.observed.asks_answered.add(now);
        self.watch.reserved(sidecar, &answers, now);
        sidecar.admission.reserved(ask, answers, now);
        self.settle(id);
    }
}
