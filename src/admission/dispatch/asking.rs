//! Asks whether renders may start, and applies the answers to the projects asked for.

use super::{Look, next::Next};
use crate::{
    admission::{
        Action, Admission,
        register::Effort,
        reserve::{AskId, FleetMode, Reserved},
        words::{Class, HeldMark, Outcome},
    },
    moment::Moment,
    revision::Project,
};

impl Admission {
    /// Renders a project, or asks whether it may be rendered. Returns false if nothing else can go
    /// now.
    pub(super) fn begin(&mut self, next: Next, now: Moment) -> bool {
        let Next { project, class } = next;
        let effort = self.register.get(&project).map(|entry| entry.effort);
        match effort {
            Some(Effort::Granted(_, lease)) => self.start(&project, class, lease, now),
            Some(Effort::None) => self.reserve(project, class, now),
            Some(Effort::Asked(_) | Effort::Flight(_)) | None => false,
        }
    }

    /// Asks whether a project may be rendered, together with others of its class that may go.
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

    /// Records that a project was asked for.
    fn asks(&mut self, project: &Project, ask: AskId, now: Moment) {
        self.register.update(project, self.around(now), |entry| {
            if let Effort::None = entry.effort {
                // None → Asked
                entry.effort = Effort::Asked(ask);
            }
        });
    }

    /// Takes the answers to an ask, one for each candidate in their order.
    pub fn reserved(&mut self, ask: AskId, answers: Vec<Reserved>, now: Moment) {
        match self.reserve.end(ask) {
            Some(asked) => self.apply(ask, asked.class, asked.candidates, answers, now),
            // It was answered before, or given up.
            None => answers.into_iter().for_each(|answer| self.returns(answer)),
        }
        self.proceed(now);
    }

    /// Gives up asks that were not answered in time.
    pub(in crate::admission) fn end_overdue_asks(&mut self, now: Moment) {
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
            let answer = answers
                .next()
                .unwrap_or_else(|| self.reserve.unanswered(now));
            if let Reserved::Denied { retry_at } = answer {
                let until = self.reserve.clamp(retry_at, now);
                self.reserve.deny(class, until);
            }
            let reserve = &self.reserve;
            let longest = self.rules.tuning.cool_down.outdated.most;
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
                        entry.cool_down.leave_to_another(look_again);
                        Effort::None
                    }
                    Reserved::LeftAlone { until } => {
                        let until = until.min(now + longest);
                        entry.cool_down.retry(until.since(now), now);
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

    /// Records whether renders are asked of the store of a fleet. What it granted may start.
    pub fn set_fleet(&mut self, mode: FleetMode, now: Moment) {
        if mode == FleetMode::Apart && self.reserve.mode() != Some(mode) {
            // As at the start: those that are left alone together render neither together nor in
            // step.
            let phase = self.rng.f64();
            self.budget.start_again(&self.rules.limits, phase, now);
        }
        self.reserve.set_mode(mode);
        self.register.queues.review_all();
        self.tick(now);
    }

    /// Notes what is held of a project that another sidecar of the fleet had rendered.
    pub fn pulled(&mut self, project: &Project, held: HeldMark, now: Moment) {
        if let Some(mut entry) = self.register.take(project) {
            if entry.flight().is_none() {
                entry.take_over(held, now);
                if entry.is_satisfied() {
                    self.resolve(project, &mut entry, Outcome::Landed);
                }
            }
            self.register.put(project, entry, self.around(now));
        }
        self.proceed(now);
    }

    /// Gives up grants of a fleet whose render could not start in time. Returns when to look again.
    pub(super) fn void_grants(&mut self, now: Moment) -> Option<Moment> {
        self.reserve.mode()?;
        let around = self.around(now);
        let mut next = None;
        for (starts_at, project) in self.register.queues.all_granted() {
            let void_at = self.reserve.void_at(starts_at);
            if void_at > now {
                next = [next, Some(void_at)].into_iter().flatten().min();
                continue;
            }
            let lease = self.register.update(&project, around, |entry| {
                let Effort::Granted(_, lease) = entry.effort else {
                    return None;
                };
                // Granted → None
                entry.effort = Effort::None;
                lease
            });
            self.reserve.voided += 1;
            let lease = lease.flatten();
            self.actions
                .extend(lease.map(|lease| Action::Return { lease }));
        }
        next
    }

    /// Gives back what was granted and will not start.
    pub(in crate::admission) fn give_grants_back(&mut self, now: Moment) {
        let around = self.around(now);
        for (_, project) in self.register.queues.all_granted() {
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

    /// Gives back the lease of an answer that is not used.
    fn returns(&mut self, answer: Reserved) {
        if let Reserved::Granted {
            lease: Some(lease), ..
        } = answer
        {
            self.actions.push(Action::Return { lease });
        }
    }
}
