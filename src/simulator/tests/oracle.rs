//! The oracle: it watches a world, and judges what admission decided and what callers were told by
//! what it has seen itself. It never asks the machine that it judges.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Deref,
    time::Duration,
};

use super::{gone::Gone, ledger::Ledger, setup::Setup, witness::Witness};
use crate::{
    admission::{Explanation, FetchLanding, HeldMark, Landing, Reserved},
    moment::Moment,
    reason::{NotRefreshed, Refusal},
    simulator::{
        Fate, Launch, Observed, Observer, Plan, ProjectId, RendererAnswer, SimulatedSidecar, Upkeep,
    },
};

/// The median of fewer promises says nothing.
const LEAST_PROMISES: usize = 100;

#[derive(Debug)]
pub(super) struct Oracle {
    observed: Observed,
    plan: Plan,
    recovery: Duration,
    books: Vec<Book>,
    /// Launches that are not the first for the same wish: a project came to be wanted, was
    /// launched, and is wanted still.
    pub(super) repeats: u64,
    /// Of these, those for callers who waited all the time.
    pub(super) retries: u64,
    /// Launches of what was fresh.
    pub(super) wasted: u64,
    /// The most launches of a sidecar from a pushback that held everything to the next.
    pub(super) attempts_in_hold: u32,
    /// How often callers were told of a project that it was pushed back.
    told_pushed_back: HashMap<ProjectId, u64>,
    pub(super) largest_excess: f64,
    /// Callers who were told to wait and of whom the machine then knew nothing, or who were woken
    /// for nothing.
    pub(super) forgotten: usize,
    /// Projects that are outdated though they were looked up long ago, and within the time that
    /// interest lasts.
    pub(super) unfresh: usize,
    /// Held projects that were dropped against the rule.
    pub(super) wrongly_dropped: usize,
    pub(super) untrue: Vec<(Moment, usize, ProjectId, NotRefreshed)>,
    /// How long things took, and what was promised.
    promises: BTreeMap<NotRefreshed, Vec<(Moment, f64, f64)>>,
}

/// What the oracle noted of one sidecar.
#[derive(Debug)]
struct Book {
    pages: Vec<OraclePage>,
    /// Projects that are not in flight, of which callers were told that they are scheduled, and
    /// when.
    scheduled: Vec<(ProjectId, Moment)>,
    /// What callers were told of projects that are not fresh since.
    promises: Vec<(ProjectId, Moment, Refusal)>,
    witness: Witness,
    ledger: Ledger,
    gone: Gone,
    /// Until when renders may wait for an answer from elsewhere, or for the end of a denial.
    asked_until: Moment,
}

/// What it noted of one project.
#[derive(Clone, Copy, Debug, Default)]
struct OraclePage {
    /// When it was first looked up since it is not fresh.
    wanted_since: Option<Moment>,
    /// When the machine was last asked for it.
    asked_at: Moment,
    /// How often it was launched for the same wish.
    attempts: u32,
}

impl Deref for Oracle {
    type Target = Observed;

    fn deref(&self) -> &Observed {
        &self.observed
    }
}

impl Oracle {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            observed: Observed::default(),
            plan: setup.plan.clone(),
            recovery: setup.recovery(),
            books: Vec::new(),
            repeats: 0,
            retries: 0,
            wasted: 0,
            attempts_in_hold: 0,
            told_pushed_back: HashMap::new(),
            largest_excess: 0.0,
            forgotten: 0,
            unfresh: 0,
            wrongly_dropped: 0,
            untrue: Vec::new(),
            promises: BTreeMap::new(),
        }
    }

    /// Takes in what the world itself counted.
    pub(super) fn with(mut self, observed: Observed) -> Self {
        self.observed = observed;
        self
    }

    /// How often callers were told that a project other than that was pushed back.
    pub(super) fn pushed_back_besides(&self, project: ProjectId) -> u64 {
        let others = self
            .told_pushed_back
            .iter()
            .filter(|(other, _)| **other != project);
        others.map(|(_, count)| count).sum()
    }

    /// The median of how long things took as a multiple of what was promised, where that was long
    /// enough to matter; none of too few.
    pub(super) fn honesty(&self, reason: NotRefreshed, from: u64, to: u64) -> Option<f64> {
        let promises = self.promises.get(&reason)?;
        let mut ratios: Vec<_> = promises
            .iter()
            .filter(|(at, after, _)| {
                *after >= 0.5 && (from..to).contains(&at.since_start().as_secs())
            })
            .map(|(_, after, took)| took / after)
            .collect();
        ratios.sort_by(f64::total_cmp);
        (ratios.len() >= LEAST_PROMISES).then(|| ratios[ratios.len() / 2])
    }

    fn keep_promises(
        &mut self,
        sidecar: usize,
        project: ProjectId,
        is_of: impl Fn(NotRefreshed) -> bool,
        now: Moment,
    ) {
        let promises = &mut self.books[sidecar].promises;
        let kept = promises.extract_if(.., |(promised, _, refusal)| {
            *promised == project && is_of(refusal.reason)
        });
        for (
            _,
            at,
            Refusal {
                reason,
                retry_after,
            },
        ) in kept
        {
            let promise = (at, retry_after.as_secs_f64(), now.since(at).as_secs_f64());
            self.promises.entry(reason).or_default().push(promise);
        }
    }

    /// What was told to be scheduled, and was not launched at the same moment, was told untruly.
    fn miss_scheduled(&mut self, sidecar: usize, now: Moment) {
        let missed = self.books[sidecar]
            .scheduled
            .extract_if(.., |(_, at)| *at < now)
            .map(|(project, at)| (at, sidecar, project, NotRefreshed::Scheduled));
        self.untrue.extend(missed);
    }

    /// One line.
    pub(super) fn summary(&self, setup: &Setup) -> String {
        let end = setup.seconds;
        let slowest = self
            .converged
            .iter()
            .flatten()
            .map(|converged| converged.took.as_secs_f64())
            .fold(0.0, f64::max);
        let reasons = self.promises.keys();
        let honesty: Vec<_> = reasons
            .map(|&reason| (reason, self.honesty(reason, 0, end)))
            .collect();
        let unconverged = self.converged.iter().filter(|one| one.is_none()).count();
        format!(
            "events {} launches {} repeats {} retries {} wasted {} in a hold {} forgotten {} peak {}/s of {:.0}/s excess {:.2} pushed back {} timed out {} missing {}/{} refused {} fetches {} refused {} unfresh {} converged in {slowest:.0} s (not {unconverged}) took as long as promised {:.2?} untrue {} told {:?}",
            self.events,
            self.launches,
            self.repeats,
            self.retries,
            self.wasted,
            self.attempts_in_hold,
            self.forgotten,
            self.peak(0, end),
            setup.total_rate(),
            self.largest_excess,
            self.pushed_back.sum(0, end),
            self.timed_out.sum(0, end),
            self.missing_answered.sum(0, end),
            self.missing_asked.sum(0, end),
            self.refused.sum(0, end),
            self.fetched.sum(0, end),
            self.fetch_refused.sum(0, end),
            self.unfresh,
            honesty,
            self.untrue.len(),
            self.told,
        )
    }
}

impl Observer for Oracle {
    fn started(&mut self, sidecar: &SimulatedSidecar, now: Moment) {
        let (plan, limits) = (&self.plan, sidecar.admission().limits());
        let projects = plan.projects + plan.unknown;
        let ledger = match self.books.get(sidecar.id()) {
            Some(last) => last.ledger.of_a_new_process(),
            None => Ledger::new(limits.rate, now),
        };
        let book = Book {
            pages: vec![OraclePage::default(); projects],
            scheduled: Vec::new(),
            promises: Vec::new(),
            witness: Witness::new(limits, projects, now),
            ledger,
            gone: Gone::new(projects),
            asked_until: Moment::START,
        };
        match self.books.get_mut(sidecar.id()) {
            Some(last) => *last = book,
            None => self.books.push(book),
        }
    }

    fn target_raised(&mut self, sidecar: &SimulatedSidecar, _: Moment) {
        let book = &mut self.books[sidecar.id()];
        for (project, page) in book.pages.iter_mut().enumerate() {
            // What is under way asks for less, so that it does not meet this wish.
            if project < self.plan.projects && book.witness.is_flying(project) {
                page.attempts = 0;
            }
        }
        book.witness.raised();
    }

    fn limits_set(&mut self, sidecar: &SimulatedSidecar, now: Moment) {
        let book = &mut self.books[sidecar.id()];
        let rate = sidecar.admission().limits().rate;
        book.ledger.set_rate(rate, now);
        book.witness.set_rate(rate, now);
    }

    fn evicted(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, _: Moment) {
        let promises = &mut self.books[sidecar.id()].promises;
        promises.retain(|(promised, ..)| *promised != project);
    }

    fn dropped(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {
        let book = &mut self.books[sidecar.id()];
        let is_rightful = book.gone.dropped(sidecar, project, now);
        self.wrongly_dropped += usize::from(!is_rightful);
        book.promises.retain(|(promised, ..)| *promised != project);
    }

    fn looked_up(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {
        let page = &mut self.books[sidecar.id()].pages[project];
        page.wanted_since.get_or_insert(now);
    }

    fn asked(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {
        self.books[sidecar.id()].pages[project].asked_at = now;
    }

    fn refused(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        refusal: Refusal,
        now: Moment,
    ) {
        if refusal.reason != NotRefreshed::QueueFull {
            return;
        }
        let book = &mut self.books[sidecar.id()];
        if !book.is_queue_full(sidecar) {
            self.untrue
                .push((now, sidecar.id(), project, refusal.reason));
        }
        book.pages[project].wanted_since = None;
    }

    fn leaves(
        &mut self,
        _: &SimulatedSidecar,
        _: ProjectId,
        explained: Option<Explanation>,
        _: Moment,
    ) {
        self.forgotten += usize::from(explained.is_none());
    }

    fn told(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        refusal: Refusal,
        now: Moment,
    ) {
        let (id, reason) = (sidecar.id(), refusal.reason);
        self.miss_scheduled(id, now);
        let book = &mut self.books[id];
        if reason == NotRefreshed::Scheduled && !book.witness.is_flying(project) {
            book.scheduled.push((project, now));
        } else if !book.is_true(sidecar, project, reason, now) {
            self.untrue.push((now, id, project, reason));
        }
        if reason == NotRefreshed::PushedBack {
            *self.told_pushed_back.entry(project).or_default() += 1;
        }
        if project < self.plan.projects {
            book.promises.push((project, now, refusal));
        }
    }

    fn woken(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, _: Moment) {
        self.forgotten += usize::from(sidecar.held(project).is_none());
    }

    fn asks(&mut self, sidecar: &SimulatedSidecar, now: Moment) {
        let answered_by = now + self.plan.tuning.budget.ask_deadline;
        let book = &mut self.books[sidecar.id()];
        book.asked_until = book.asked_until.max(answered_by);
    }

    fn reserved(&mut self, sidecar: &SimulatedSidecar, answers: &[Reserved], _: Moment) {
        for answer in answers {
            if let Reserved::Denied { retry_at } = answer {
                let book = &mut self.books[sidecar.id()];
                book.asked_until = book.asked_until.max(*retry_at);
            }
        }
    }

    fn launched(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        launch: Launch,
        now: Moment,
    ) {
        let id = sidecar.id();
        if self.plan.way == Upkeep::Incident {
            let is_retry = matches!(launch, Launch::Render { attempt, .. } if attempt > 1);
            self.repeats += u64::from(is_retry);
            self.retries += u64::from(is_retry);
            return;
        }
        self.miss_scheduled(id, now);
        let book = &mut self.books[id];
        book.witness
            .launched(project, launch, sidecar.want(project), now);
        book.gone.launched(sidecar, project);
        book.scheduled
            .retain(|(scheduled, _)| *scheduled != project);
        let Launch::Render { attempt, .. } = launch else {
            return;
        };
        let (flying, limit) = (book.witness.flying(), self.plan.concurrency);
        assert!(flying <= limit, "P2: {flying} in flight, at most {limit}");
        let attempts_in_hold = book.witness.attempts_in_hold();
        self.attempts_in_hold = self.attempts_in_hold.max(attempts_in_hold);
        self.largest_excess = self.largest_excess.max(book.ledger.launched(now));
        let page = &mut book.pages[project];
        self.repeats += u64::from(page.attempts > 0);
        self.retries += u64::from(attempt > 1);
        self.wasted += u64::from(sidecar.is_fresh(project));
        page.attempts += 1;
        // What a flight tells is kept when it lands; what a gate tells, when it opens.
        let is_of_gate =
            |reason| !matches!(reason, NotRefreshed::TimedOut | NotRefreshed::Scheduled);
        self.keep_promises(id, project, is_of_gate, now);
    }

    fn fetched(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        landing: FetchLanding,
        now: Moment,
    ) {
        let book = &mut self.books[sidecar.id()];
        book.witness.fetched(project, landing, now);
    }

    fn landed(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        landing: Landing,
        before: Option<HeldMark>,
        now: Moment,
    ) {
        let book = &mut self.books[sidecar.id()];
        if landing == Landing::NotFound {
            book.pages[project].wanted_since = None;
        }
        book.gone.landed(project, &landing, now);
        book.witness.landed(project, &landing, before, now);
    }

    fn became_fresh(&mut self, sidecar: &SimulatedSidecar, project: ProjectId, now: Moment) {
        self.books[sidecar.id()].pages[project] = OraclePage::default();
        self.keep_promises(sidecar.id(), project, |_| true, now);
    }

    fn answered(
        &mut self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        answer: RendererAnswer,
        _: Moment,
    ) {
        // What is refused is tried again for those who wait.
        if sidecar.held(project).is_some() && answer != RendererAnswer::Refused {
            let forgotten = sidecar.waited_for().filter(|waited| *waited == project);
            self.forgotten += forgotten.count();
        }
    }

    fn ended(&mut self, sidecars: &[SimulatedSidecar], fate: &Fate, now: Moment) {
        let lasts = self.plan.tuning.interest.lasts;
        for (sidecar, book) in sidecars.iter().zip(&self.books) {
            let known =
                (fate.deleted..self.plan.projects).filter(|project| Some(*project) != fate.quota);
            let is_late = |project: &ProjectId| {
                let page = book.pages[*project];
                let is_long_ago = |at| at + self.recovery <= now;
                !sidecar.is_fresh(*project)
                    && page.wanted_since.is_some_and(is_long_ago)
                    && page.asked_at + lasts > now
            };
            self.unfresh += known.filter(is_late).count();
        }
        for sidecar in 0..self.books.len() {
            self.miss_scheduled(sidecar, now);
        }
    }
}

impl Book {
    /// Whether a reason is true, as far as the world can tell without asking the machine.
    fn is_true(
        &self,
        sidecar: &SimulatedSidecar,
        project: ProjectId,
        reason: NotRefreshed,
        now: Moment,
    ) -> bool {
        // What is asked for elsewhere may start at any moment: it counts as in flight, and others
        // wait.
        let waits = [NotRefreshed::Throttled, NotRefreshed::ConcurrencyLimited];
        if waits.contains(&reason) && self.asked_until > now {
            return true;
        }
        let held = sidecar.held(project);
        let limits = sidecar.admission().limits();
        self.witness
            .bears_out(reason, project, held, sidecar.target(), limits, now)
    }

    /// Whether as many projects as the queue takes are waited for of which nothing is held, or were
    /// until all who waited left.
    fn is_queue_full(&self, sidecar: &SimulatedSidecar) -> bool {
        let queue = sidecar.admission().limits().queue.get() as usize;
        let is_queued = |project: &ProjectId| {
            sidecar.held(*project).is_none() && !self.witness.is_flying(*project)
        };
        let waited_for: HashSet<_> = sidecar.waited_for().filter(is_queued).collect();
        let is_demoted = |project: &ProjectId| {
            is_queued(project)
                && self.pages[*project].wanted_since.is_some()
                && !waited_for.contains(project)
        };
        waited_for.len() >= queue || (0..self.pages.len()).filter(is_demoted).count() >= queue
    }
}
