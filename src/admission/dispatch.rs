//! Launches what passes every gate: fetches, then what confirms, then renders.
//!
//! A project is peeked at, not taken, until the ladder lets it pass. What it says of those that may not go is kept as the moment
//! to look again.

use super::{
    Action, Admission,
    action::{FetchPermit, Lease, Permit},
    gates::Candidate,
    register::{Effort, Flight, Kind, Probes, Stage},
    reserve::{AskId, Reserved},
    words::Class,
};
use crate::{moment::Moment, revision::Project};

/// The earliest moment at which a gate opens by itself.
#[derive(Clone, Copy, Debug, Default)]
struct Look(Option<Moment>);

impl Look {
    fn at(&mut self, moment: Option<Moment>) {
        self.0 = [self.0, moment].into_iter().flatten().min();
    }
}

/// Which projects may be rendered next.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    missing: bool,
    /// Of which the last render failed.
    missing_failed: bool,
    kinds: [bool; Kind::ALL.len()],
}

/// What is rendered next.
#[derive(Debug)]
struct Next {
    project: Project,
    class: Class,
}

impl Admission {
    pub(super) fn dispatch(&mut self, now: Moment) {
        let mut look = Look::default();
        self.set_rate(now);
        while let Some(project) = self.next_fetch(&mut look, now) {
            if !self.fetches.take(now) {
                look.at(self.fetches.token(now).err().flatten());
                break;
            }
            self.launch_fetch(project, now);
        }
        while let Some(project) = self.next_to_confirm(&mut look, now) {
            if !self.fetches.take(now) {
                look.at(self.fetches.token(now).err().flatten());
                break;
            }
            let launch = self.fetches.learned.launch(self.flights.fetches);
            self.flights.fetches += 1;
            let limits = self.fetches.limits();
            self.confirming.launched(&project, launch, limits, now);
            let permit = FetchPermit::new();
            self.actions.push(Action::Confirm { project, permit });
        }
        while let Some(next) = self.next_render(None, &mut look, now) {
            if !self.begin(next, now) {
                // The bucket knows to the nanosecond: when to look again is asked anew.
                self.next_granted(&mut look, now);
                self.open(&mut look, now);
                break;
            }
        }
        if self.register.any_to_render() && self.rate(now) < self.rules.limits.rate {
            look.at(Some(now + self.rules.tuning.pace.step));
        }
        self.next_look = look.0;
    }

    /// Has the bucket refill at the rate that the ramps and the pace leave.
    pub(super) fn set_rate(&mut self, now: Moment) {
        self.budget.pay(now);
        let rate = self.rate(now);
        self.budget.set_rate(rate, self.rules.limits.burst, now);
    }

    /// Renders per second that the ramps and the pace leave of the rate.
    pub(super) fn rate(&self, now: Moment) -> f64 {
        self.rules.limits.rate * self.throttle.share(now)
    }

    /// Whether the gates let a candidate pass; if not, when to look again.
    fn may_go(&self, candidate: &Candidate, look: &mut Look, now: Moment) -> bool {
        match self.shut(candidate, now) {
            Some(shut) => {
                look.at(shut.opens_at);
                false
            }
            None => true,
        }
    }

    /// The project that is fetched next. Where fetches were given up, one at a time finds out whether they are answered again:
    /// of those that wait for a render the last.
    fn next_fetch(&self, look: &mut Look, now: Moment) -> Option<Project> {
        let queues = &self.register.queues;
        let project = if !self.fetches.store.is_given_up() {
            queues.to_fetch.first()?
        } else {
            let last = queues.missing.last()?;
            if !self.fetches.may_be() || self.flights.fetches > 0 {
                return None;
            }
            let probe_at = self.fetches.store.probe_at();
            if probe_at > now {
                look.at(Some(probe_at));
                return None;
            }
            let is_due = self.register.get(last)?.fetching.is_due;
            is_due.then_some(last)?
        };
        let candidate = Candidate::next(Stage::Fetch, Class::Missing);
        self.may_go(&candidate, look, now).then(|| project.clone())
    }

    /// The project that is confirmed next, when no missing project is to be fetched.
    fn next_to_confirm(&mut self, look: &mut Look, now: Moment) -> Option<Project> {
        if !self.register.queues.to_fetch.is_empty() || !self.fetches.may_be() {
            return None;
        }
        let project = match self.confirming.next(self.fetches.limits(), now) {
            Ok(project) => project,
            Err(next) => {
                look.at(next);
                return None;
            }
        };
        let candidate = Candidate::next(Stage::Confirm, Class::Outdated);
        self.may_go(&candidate, look, now).then_some(project)
    }

    /// The project that is rendered next; of one class only when it is to be asked for beside others.
    fn next_render(&mut self, only: Option<Class>, look: &mut Look, now: Moment) -> Option<Next> {
        if only.is_none()
            && let Some(next) = self.next_granted(look, now)
        {
            return Some(next);
        }
        let mut open = self.open(look, now);
        if let Some(only) = only {
            open.only(only);
        }
        if self.wants_probe(now) {
            return self.next_probe(open, now);
        }
        let missing = self.next_missing(open).cloned();
        let outdated = self.next_outdated(open, now);
        let next = |project, class| Some(Next { project, class });
        match (missing, outdated) {
            (Some(_), Some(outdated)) if self.is_turn_of_outdated() => {
                next(outdated, Class::Outdated)
            }
            (Some(missing), _) => next(missing, Class::Missing),
            (None, Some(outdated)) => next(outdated, Class::Outdated),
            (None, None) => None,
        }
    }

    /// The project whose render was granted, and which may start.
    fn next_granted(&self, look: &mut Look, now: Moment) -> Option<Next> {
        let mut may_start = |class: Class| {
            let mut granted = self.register.queues.granted(class, now);
            let project = granted.find(|project| {
                let entry = self.register.get(project);
                let candidate = entry.map(|entry| Candidate {
                    is_cooling: entry.cool_down.is_cooling(),
                    is_unseen: entry.held.is_none(),
                    ..Candidate::next(Stage::Render, class)
                });
                candidate.is_some_and(|candidate| self.may_go(&candidate, look, now))
            })?;
            let project = project.clone();
            Some(Next { project, class })
        };
        let [missing, outdated] = Class::ALL.map(&mut may_start);
        if self.is_turn_of_outdated() {
            outdated.or(missing)
        } else {
            missing.or(outdated)
        }
    }

    fn is_turn_of_outdated(&self) -> bool {
        self.budget.missing_turns.saturating_add(1) >= self.rules.tuning.turns.outdated
    }

    /// Whether the next render tells whether a stop is over.
    pub(super) fn wants_probe(&self, now: Moment) -> bool {
        let probes = self.throttle.probes(now);
        probes.breaker || probes.hold || self.budget.learned.is_probing(now)
    }

    /// Which projects the gates let pass, of those that there are.
    fn open(&self, look: &mut Look, now: Moment) -> Open {
        let (queues, wanted) = (&self.register.queues, &self.register.wanted);
        let mut may_go = |class, is_cooling, is_unseen| {
            let candidate = Candidate {
                is_cooling,
                is_unseen,
                ..Candidate::next(Stage::Reserve, class)
            };
            self.may_go(&candidate, look, now)
        };
        let mut open = Open::default();
        if !queues.missing.is_empty() {
            open.missing = may_go(Class::Missing, false, true);
            open.missing_failed = open.missing && may_go(Class::Missing, true, true);
        }
        for kind in Kind::ALL {
            open.kinds[kind as usize] = wanted.has(kind)
                && match kind {
                    Kind::Held | Kind::PushedBack => may_go(Class::Outdated, false, false),
                    Kind::Unseen => may_go(Class::Outdated, false, true),
                    Kind::Failing => may_go(Class::Outdated, true, false),
                };
        }
        open
    }

    fn next_missing(&self, open: Open) -> Option<&Project> {
        if !open.missing {
            return None;
        }
        let may_go = |project: &&Project| open.missing_failed || !self.is_cooling(project);
        self.register.queues.missing.iter().find(may_go)
    }

    fn is_cooling(&self, project: &Project) -> bool {
        let entry = self.register.get(project);
        entry.is_some_and(|entry| entry.cool_down.is_cooling())
    }

    /// The wanted project whose turn it is; those at the head without a lookup for long are dropped.
    fn next_outdated(&mut self, open: Open, now: Moment) -> Option<Project> {
        loop {
            let wanted = &self.register.wanted;
            let next = wanted.peek(&|kind| open.kinds[kind as usize])?.clone();
            if self.is_of_interest(&next, now) {
                return Some(next);
            }
        }
    }

    /// Whether somebody is interested in a wanted project, which is dropped otherwise.
    fn is_of_interest(&mut self, project: &Project, now: Moment) -> bool {
        let entry = self.register.get(project);
        let is_of_interest = entry.is_some_and(|entry| entry.is_of_interest(now));
        if !is_of_interest {
            self.register.settle(project, self.around(now));
        }
        is_of_interest
    }

    /// The project whose render tells most of the renderer: one that did not fail and was not pushed back when it was last rendered;
    /// else the one whose last render is longest ago, so that no bad project is the probe again and again.
    fn next_probe(&mut self, open: Open, now: Moment) -> Option<Next> {
        let outdated = loop {
            let wanted = &self.register.wanted;
            let next = wanted.probe(&|kind| open.kinds[kind as usize]).cloned();
            match next {
                Some(next) if !self.is_of_interest(&next, now) => {}
                next => break next,
            }
        };
        let most = self.rules.tuning.turns.probe_candidates;
        let missing = self.register.queues.missing.iter().take(most);
        let missing = missing
            .filter(|project| open.missing && (open.missing_failed || !self.is_cooling(project)));
        let candidates = outdated
            .iter()
            .map(|project| (project, Class::Outdated))
            .chain(missing.map(|project| (project, Class::Missing)));
        let judged = candidates.filter_map(|(project, class)| {
            let entry = self.register.get(project)?;
            let is_suspect = entry.is_suspect();
            let yields = !is_suspect && class == Class::Outdated;
            Some((
                (is_suspect, yields, entry.seat.standing.since),
                project,
                class,
            ))
        });
        let (_, project, class) = judged.min_by_key(|(judged, ..)| *judged)?;
        Some(Next {
            project: project.clone(),
            class,
        })
    }

    /// Renders a project, or asks whether it may be. False when nothing more goes now.
    fn begin(&mut self, next: Next, now: Moment) -> bool {
        let Next { project, class } = next;
        let effort = self.register.get(&project).map(|entry| entry.effort);
        match effort {
            Some(Effort::Granted(_, lease)) => self.start(&project, class, lease, now),
            Some(Effort::None) => self.reserve(project, class, now),
            Some(Effort::Asked(_) | Effort::Flight(_)) | None => false,
        }
    }

    /// Asks whether a project may be rendered, and with it others of its class that may go, too.
    fn reserve(&mut self, project: Project, class: Class, now: Moment) -> bool {
        let ask = self.reserve.next();
        let most = if self.wants_probe(now) {
            1
        } else {
            self.reserve.most()
        };
        let mut candidates = vec![project];
        if most > 1 {
            self.asks(&candidates[0], ask, now);
            while candidates.len() < most
                && let Some(next) = self.next_render(Some(class), &mut Look::default(), now)
            {
                self.asks(&next.project, ask, now);
                candidates.push(next.project);
            }
        }
        let Some(answers) = self.reserve.ask(ask, class, candidates.clone(), now) else {
            self.asks(&candidates[0], ask, now);
            self.actions.push(Action::Reserve {
                ask,
                class,
                candidates,
            });
            return true;
        };
        if let ([project], [Reserved::Granted { starts_at, lease }]) = (&*candidates, &*answers)
            && *starts_at <= now
        {
            return self.start(project, class, *lease, now);
        }
        self.apply(ask, class, candidates, answers, now);
        true
    }

    /// A project is asked for.
    fn asks(&mut self, project: &Project, ask: AskId, now: Moment) {
        self.register.update(project, self.around(now), |entry| {
            if let Effort::None = entry.effort {
                // None → Asked
                entry.effort = Effort::Asked(ask);
            }
        });
    }

    /// Notes the answers to an ask, one for each candidate in their order.
    pub fn reserved(&mut self, ask: AskId, answers: Vec<Reserved>, now: Moment) {
        match self.reserve.end(ask) {
            Some(asked) => self.apply(ask, asked.class, asked.candidates, answers, now),
            // It was answered before, or given up.
            None => answers.into_iter().for_each(|answer| self.returns(answer)),
        }
        self.tick(now);
    }

    /// Gives up asks that were not answered in time.
    pub(super) fn end_overdue_asks(&mut self, now: Moment) {
        while let Some(ask) = self.reserve.overdue(now) {
            if let Some(asked) = self.reserve.end(ask) {
                self.apply(ask, asked.class, asked.candidates, Vec::new(), now);
            }
        }
    }

    fn apply(
        &mut self,
        ask: AskId,
        class: Class,
        candidates: Vec<Project>,
        answers: Vec<Reserved>,
        now: Moment,
    ) {
        let mut answers = answers.into_iter();
        for project in candidates {
            let answer = answers.next().unwrap_or(Reserved::Unavailable);
            if let Reserved::Denied { retry_at } = answer {
                let until = self.reserve.clamp(retry_at, now);
                self.reserve.deny(class, until);
            }
            let reserve = &self.reserve;
            let is_noted = self.register.update(&project, self.around(now), |entry| {
                match entry.effort {
                    Effort::None => {}
                    Effort::Asked(asked) if asked == ask => {}
                    Effort::Asked(_) | Effort::Granted(..) | Effort::Flight(_) => return false,
                }
                entry.effort = match answer {
                    // Asked → Granted
                    Reserved::Granted { starts_at, lease } => {
                        Effort::Granted(reserve.clamp(starts_at, now), lease)
                    }
                    Reserved::Unavailable => Effort::Granted(now, None),
                    // Asked → None
                    Reserved::Denied { .. } => Effort::None,
                    Reserved::Elsewhere { look_again } => {
                        let look_again = reserve.clamp(look_again, now);
                        if entry.held.is_none() {
                            entry.fetching.wait_until(look_again);
                        } else {
                            entry.cool_down.retry(look_again.since(now), now);
                        }
                        Effort::None
                    }
                };
                true
            });
            if is_noted != Some(true) {
                self.returns(answer);
            }
        }
        answers.for_each(|answer| self.returns(answer));
        if self.way.is_draining {
            self.give_grants_back(now);
        }
    }

    /// Gives back what was granted and will not start any more.
    pub(super) fn give_grants_back(&mut self, now: Moment) {
        let around = self.around(now);
        for project in self.register.queues.all_granted() {
            let lease = self.register.update(&project, around, |entry| {
                let Effort::Granted(_, lease) = entry.effort else {
                    return None;
                };
                // Granted → None
                entry.effort = Effort::None;
                lease
            });
            let lease = lease.flatten();
            self.actions
                .extend(lease.map(|lease| Action::Return { lease }));
        }
    }

    /// Gives the lease of an answer back, of which no use is made.
    fn returns(&mut self, answer: Reserved) {
        if let Reserved::Granted {
            lease: Some(lease), ..
        } = answer
        {
            self.actions.push(Action::Return { lease });
        }
    }

    /// Renders a project.
    fn start(
        &mut self,
        project: &Project,
        class: Class,
        lease: Option<Lease>,
        now: Moment,
    ) -> bool {
        let rate = self.rules.limits.rate;
        if !self.budget.take(class, rate, now) {
            return false;
        }
        match class {
            Class::Missing if self.register.wanted.is_empty() => self.budget.missing_turns = 0,
            Class::Missing => {
                self.budget.missing_turns = self.budget.missing_turns.saturating_add(1);
            }
            Class::Outdated => {
                self.budget.missing_turns = 0;
                self.register.wanted.turn();
            }
        }
        let Some(flight) = self.take_off(project, Stage::Render, lease, now) else {
            return true;
        };
        if flight.is_unseen {
            self.budget.flood.launched(now);
        }
        self.actions.push(Action::Render {
            project: project.clone(),
            rollout: self.register.target(),
            is_demand: flight.demand.is_some(),
            class,
            attempt: flight.attempt,
            permit: Permit::new(lease),
        });
        true
    }

    fn launch_fetch(&mut self, project: Project, now: Moment) {
        self.take_off(&project, Stage::Fetch, None, now);
        let permit = FetchPermit::new();
        self.actions.push(Action::Fetch { project, permit });
    }

    fn take_off(
        &mut self,
        project: &Project,
        stage: Stage,
        lease: Option<Lease>,
        now: Moment,
    ) -> Option<Flight> {
        let due = self.throttle.probes(now);
        let launch = match stage {
            Stage::Render | Stage::Reserve => self.budget.learned.launch(self.flights.renders),
            Stage::Fetch | Stage::Confirm => self.fetches.learned.launch(self.flights.fetches),
        };
        let is_render = stage == Stage::Render;
        let probes = Probes {
            // Render and Fetch carry the same identity.
            breaker: due.breaker && (is_render || self.throttle.is_identity_refused()),
            hold: due.hold && is_render,
        };
        let around = self.around(now);
        let flight = self.register.update(project, around, |entry| {
            let flight = Flight {
                stage,
                launch,
                since: now,
                want: entry.want,
                demand: entry.demands.highest,
                class: entry.class(),
                is_cooling: entry.cool_down.is_cooling(),
                is_unseen: entry.held.is_none(),
                probes,
                attempt: entry.attempts + 1,
                lease,
            };
            // None | Granted → Flight
            entry.effort = Effort::Flight(flight);
            flight
        })?;
        self.throttle.launched(probes, now);
        self.flights.launched(project, &flight);
        Some(flight)
    }
}

impl Open {
    /// Shuts what is not of a class.
    fn only(&mut self, class: Class) {
        match class {
            Class::Missing => self.kinds = Default::default(),
            Class::Outdated => (self.missing, self.missing_failed) = (false, false),
        }
    }
}
