//! Asks whether renders may start, and applies the answers to the projects asked for.

use super::{Look, next::Next};
use crate::{
    admission::{
        Action, Admission,
        register::Effort,
        reserve::{AskId, Reserved},
        words::Class,
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

    /// Gives back what was granted and will not start.
    pub(in crate::admission) fn give_grants_back(&mut self, now: Moment) {
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
