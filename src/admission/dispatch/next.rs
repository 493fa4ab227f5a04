//! Which project is rendered next: what was granted first, then a probe where one is due, else by
//! the turns of missing and outdated projects.

use super::Look;
use crate::{
    admission::{
        Admission,
        gates::Candidate,
        register::{Stage, WantedKind},
        words::Class,
    },
    moment::Moment,
    revision::Project,
};

/// Which projects may be rendered next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open {
    missing: bool,
    /// Of which the last render failed.
    missing_failed: bool,
    kinds: [bool; WantedKind::ALL.len()],
}

/// What is rendered next.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) project: Project,
    pub(super) class: Class,
}

impl Admission {
    /// The project that is rendered next; of one class only when it is to be asked for beside
    /// others.
    pub(super) fn next_render(
        &mut self,
        only: Option<Class>,
        look: &mut Look,
        now: Moment,
    ) -> Option<Next> {
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
    pub(super) fn next_granted(&self, look: &mut Look, now: Moment) -> Option<Next> {
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

    /// Whether the next render is the probe of a stop.
    pub(in crate::admission) fn wants_probe(&self, now: Moment) -> bool {
        let probes = self.throttle.probes(now);
        probes.breaker || probes.hold || self.budget.learned.is_probing(now)
    }

    /// Which kinds of wanted projects the gates let pass.
    pub(super) fn open(&self, look: &mut Look, now: Moment) -> Open {
        let (queues, wanted) = (&self.register.queues, &self.register.wanted);
        let missing = Candidate::next(Stage::Reserve, Class::Missing);
        let outdated = Candidate::next(Stage::Reserve, Class::Outdated);
        let failed = |next| Candidate {
            is_cooling: true,
            ..next
        };
        let unseen = Candidate {
            is_unseen: true,
            ..outdated
        };
        let mut may_go = |candidate| self.may_go(&candidate, look, now);
        let mut open = Open::default();
        if !queues.missing.is_empty() {
            open.missing = may_go(missing);
            open.missing_failed = open.missing && may_go(failed(missing));
        }
        for kind in WantedKind::ALL {
            open.kinds[kind as usize] = wanted.has(kind)
                && match kind {
                    WantedKind::Held | WantedKind::PushedBack => may_go(outdated),
                    WantedKind::Unseen => may_go(unseen),
                    WantedKind::Failing => may_go(failed(outdated)),
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

    /// The wanted project whose turn it is. Drops those at the head that have not been looked up
    /// for long.
    fn next_outdated(&mut self, open: Open, now: Moment) -> Option<Project> {
        loop {
            let wanted = &self.register.wanted;
            let next = wanted.peek(&|kind| open.kinds[kind as usize])?.clone();
            if self.is_of_interest(&next, now) {
                return Some(next);
            }
        }
    }

    /// Whether a wanted project was looked up recently enough. Drops it otherwise.
    fn is_of_interest(&mut self, project: &Project, now: Moment) -> bool {
        let entry = self.register.get(project);
        let is_of_interest = entry.is_some_and(|entry| entry.is_of_interest(now));
        if !is_of_interest {
            self.register.settle(project, self.around(now));
        }
        is_of_interest
    }

    /// The project whose render tells most of the renderer: one that did not fail and was not
    /// pushed back when it was last rendered; else the one whose last render is longest ago, so
    /// that no bad project is the probe again and again.
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
