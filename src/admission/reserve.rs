//! Whether a render may start is asked of somebody, once every gate of this process is open.
//!
//! A process by itself asks no other: [`Local`] says yes at once. Where many processes share a
//! budget, an ask leaves as an
//! [`Action::Reserve`](super::Action::Reserve) and is answered later, or never. Nothing is held
//! meanwhile: neither a permit nor a token is taken before a render starts. An ask that is not
//! answered in time is taken for one that could not be made, and the limits of this process decide
//! alone; in a [`FleetMode`] it is asked again, until the mode changes.

use std::{collections::BTreeMap, fmt};

use super::{action::Lease, tuning::ShareTuning, words::Class};
use crate::{moment::Moment, revision::Project};

/// Counts asks.
pub type AskId = u64;

/// Says whether renders may start.
pub trait Reserve: fmt::Debug + Send {
    /// Answers for each of the candidates, in their order, at once; none when
    /// [`Admission::reserved`](super::Admission::reserved) is to be told later.
    fn ask(&mut self, class: Class, candidates: &[Project], now: Moment) -> Option<Vec<Reserved>>;

    /// Whether it answers every ask at once, so that each project is asked for alone.
    fn answers_at_once(&self) -> bool;
}

/// Whether one render may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It may start at that moment.
    Granted {
        /// Not before.
        starts_at: Moment,
        /// What is given back after it, if anything is to be.
        lease: Option<Lease>,
    },
    /// Somebody else renders the project, or has: what that brought comes by
    /// [`Admission::pulled`](super::Admission::pulled).
    Elsewhere {
        /// When to ask again, if it has not come by then.
        look_again: Moment,
    },
    /// Everybody leaves the project alone.
    LeftAlone {
        /// Until when.
        until: Moment,
    },
    /// It may not, and no other of its class.
    Denied {
        /// When to ask again.
        retry_at: Moment,
    },
    /// The other side could not be asked.
    Unavailable,
}

/// The budget of this process is its own: everything may start at once.
#[derive(Clone, Copy, Debug)]
pub struct Local;

impl Reserve for Local {
    fn ask(&mut self, _: Class, candidates: &[Project], now: Moment) -> Option<Vec<Reserved>> {
        let granted = Reserved::Granted {
            starts_at: now,
            lease: None,
        };
        Some(vec![granted; candidates.len()])
    }

    fn answers_at_once(&self) -> bool {
        true
    }
}

/// Everything is asked of somebody outside of this process.
#[derive(Clone, Copy, Debug)]
pub struct Remote;

impl Reserve for Remote {
    fn ask(&mut self, _: Class, _: &[Project], _: Moment) -> Option<Vec<Reserved>> {
        None
    }

    fn answers_at_once(&self) -> bool {
        false
    }
}

/// Whether renders are asked of the store of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetMode {
    /// The store answers: every render is asked of it, and nothing starts without its word.
    Joined,
    /// The store does not answer. Nothing starts before that moment, when all that it granted has
    /// started, and when it counts this process as absent.
    Lost {
        /// When this process goes on by itself.
        until: Moment,
    },
    /// This process has a part of the fleet's rate, and asks nobody.
    Apart,
}

/// The asks that are out.
#[derive(Debug)]
pub(super) struct Asks {
    tuning: ShareTuning,
    reserve: Box<dyn Reserve>,
    /// None of a process that shares no budget.
    mode: Option<FleetMode>,
    /// Grants whose start no permit or token was free for.
    pub(super) voided: u64,
    out: BTreeMap<AskId, OpenAsk>,
    last: AskId,
    /// Until when nothing of a class is asked for.
    denied_until: [Moment; Class::ALL.len()],
}

#[derive(Debug)]
pub(super) struct OpenAsk {
    pub(super) class: Class,
    pub(super) candidates: Vec<Project>,
    answered_by: Moment,
}

impl Asks {
    pub(super) fn new(tuning: ShareTuning, reserve: Box<dyn Reserve>) -> Self {
        Self {
            tuning,
            reserve,
            mode: None,
            voided: 0,
            out: BTreeMap::new(),
            last: 0,
            denied_until: [Moment::START; Class::ALL.len()],
        }
    }

    pub(super) fn mode(&self) -> Option<FleetMode> {
        self.mode
    }

    pub(super) fn set_mode(&mut self, mode: FleetMode) {
        self.mode = Some(mode);
        self.reserve = match mode {
            FleetMode::Joined | FleetMode::Lost { .. } => Box::new(Remote),
            FleetMode::Apart => Box::new(Local),
        };
        self.denied_until = [Moment::START; Class::ALL.len()];
    }

    /// Until when nothing is asked for, because the store of the fleet does not answer.
    pub(super) fn lost_until(&self, now: Moment) -> Option<Moment> {
        match self.mode? {
            FleetMode::Lost { until } => Some(until.max(now + self.tuning.ask_deadline)),
            FleetMode::Joined | FleetMode::Apart => None,
        }
    }

    /// What an ask comes to that is not answered in time. Where a fleet shares its budget, only its
    /// word lets a render start.
    pub(super) fn unanswered(&self, now: Moment) -> Reserved {
        match self.mode {
            None => Reserved::Unavailable,
            Some(_) => Reserved::Denied {
                retry_at: now + self.tuning.ask_deadline,
            },
        }
    }

    /// When a grant is void whose render has not started.
    pub(super) fn void_at(&self, starts_at: Moment) -> Moment {
        starts_at + self.tuning.grant_lasts
    }

    /// The most projects of one ask.
    pub(super) fn most(&self) -> usize {
        if self.reserve.answers_at_once() {
            1
        } else {
            self.tuning.asked_at_once
        }
    }

    /// The number of the next ask.
    pub(super) fn next(&mut self) -> AskId {
        self.last += 1;
        self.last
    }

    /// Asks for some projects; the answers, if they come at once.
    pub(super) fn ask(
        &mut self,
        ask: AskId,
        class: Class,
        candidates: Vec<Project>,
        now: Moment,
    ) -> Option<Vec<Reserved>> {
        let answers = self.reserve.ask(class, &candidates, now);
        if answers.is_none() {
            let answered_by = now + self.tuning.ask_deadline;
            let out = OpenAsk {
                class,
                candidates,
                answered_by,
            };
            self.out.insert(ask, out);
        }
        answers
    }

    /// Ends an ask; none when it is over.
    pub(super) fn end(&mut self, ask: AskId) -> Option<OpenAsk> {
        self.out.remove(&ask)
    }

    /// An ask that was not answered in time.
    pub(super) fn overdue(&self, now: Moment) -> Option<AskId> {
        let is_overdue = |(_, ask): &(&AskId, &OpenAsk)| ask.answered_by <= now;
        self.out.iter().find(is_overdue).map(|(id, _)| *id)
    }

    /// When the next ask is overdue.
    pub(super) fn next_overdue(&self) -> Option<Moment> {
        self.out.values().map(|ask| ask.answered_by).min()
    }

    /// When an ask is answered at the latest.
    pub(super) fn ends_at(&self, ask: AskId) -> Moment {
        let ask = self.out.get(&ask);
        ask.map_or(Moment::START, |ask| ask.answered_by)
    }

    /// The latest moment at which the open ask of a class is answered; none while no ask is open.
    pub(super) fn answered_by(&self, class: Class) -> Option<Moment> {
        let out = self.out.values().find(|ask| ask.class == class);
        out.map(|ask| ask.answered_by)
    }

    /// Until when nothing of a class is asked for; none when it may be.
    pub(super) fn denied_until(&self, class: Class, now: Moment) -> Option<Moment> {
        let until = self.denied_until[class as usize];
        (until > now).then_some(until)
    }

    pub(super) fn deny(&mut self, class: Class, until: Moment) {
        let denied_until = &mut self.denied_until[class as usize];
        *denied_until = until.max(*denied_until);
    }

    /// A moment that an answer names, as far off as it may be.
    pub(super) fn clamp(&self, moment: Moment, now: Moment) -> Moment {
        moment.min(now + self.tuning.ask_horizon)
    }
}
