//! What a sidecar's launches came to, kept beside its machine: by these facts a reason is true or
//! is not. It knows what was launched and what landed, and the constants of the architecture's
//! table; it never asks the machine.

use std::{collections::HashSet, time::Duration};

use crate::{
    admission::{
        CallFailure, Class, FetchLanding, HeldMark, Landing, Limits, Permits, Pushback,
        PushbackScope, Tuning, Want,
    },
    moment::Moment,
    reason::NotRefreshed,
    simulator::{Launch, ProjectId},
};

/// A pushback is obeyed for longer by a random part, at most by this factor.
const OBEYED: f64 = 1.5;
/// What two counts of the same tokens may differ by.
const ROUNDING: f64 = 1e-6;
const TUNING: Tuning = Tuning::DEFAULT;

#[derive(Debug)]
pub(super) struct Witness {
    projects: Vec<WitnessedProject>,
    tokens: Tokens,
    renders: Renders,
    fetches: u32,
    fetched_at: Option<Moment>,
    /// The projects that failed in a row.
    failures: HashSet<ProjectId>,
    /// The projects that were answered with a failure since a render brought a revision.
    faults: HashSet<ProjectId>,
    /// What stops everything is a refused identity, which fetches carry too.
    is_identity_refused: bool,
    broken: Option<Stop>,
    held: Option<Hold>,
    last_pushback: Option<(ProjectId, Moment)>,
    /// When a render, and a fetch, was last plainly refused.
    render_refused: Option<Moment>,
    fetch_refused: Option<Moment>,
    /// Until when fetches may be held by pushbacks.
    fetches_held: Moment,
    /// A name turned out to be none.
    has_seen_unknown: bool,
}

/// Renders in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Renders {
    all: u32,
    outdated: u32,
    failing: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct WitnessedProject {
    flight: Option<WitnessedFlight>,
    failed_at: Option<Moment>,
    /// It has failed since it was last rendered well.
    is_failing: bool,
    /// Why it is left alone, and until when at most.
    gate: Option<(NotRefreshed, Moment)>,
    /// The longest that its last cool-down can have been.
    longest: Duration,
    /// Renders in a row that did not find it though it is held.
    gone: u32,
    /// Plain refusals of its renders or fetches in a row.
    refusals: u32,
    /// After a render for a raised target.
    raised_until: Moment,
}

#[derive(Clone, Copy, Debug)]
struct WitnessedFlight {
    since: Moment,
    /// The class of a render; none for a fetch.
    class: Option<Class>,
    want: Want,
    is_failing: bool,
}

/// Nothing is launched until then at most, and then a probe.
#[derive(Clone, Copy, Debug)]
struct Stop {
    until: Moment,
    probe: Option<ProjectId>,
}

impl Stop {
    fn until(until: Moment) -> Self {
        Self { until, probe: None }
    }

    fn holds(&self, now: Moment) -> bool {
        self.until > now || self.probe.is_some()
    }
}

/// A pushback that holds everything.
#[derive(Clone, Copy, Debug)]
struct Hold {
    stop: Stop,
    /// What is pushed back before was launched before the hold began.
    least: Moment,
    /// Launches since it began.
    attempts: u32,
}

/// The least that the bucket holds at the full rate; nothing is known of it while the rate is not
/// full.
#[derive(Clone, Copy, Debug)]
struct Tokens {
    level: f64,
    at: Moment,
    rate: f64,
    burst: f64,
}

impl Tokens {
    fn refill(&mut self, now: Moment) {
        let refilled = self.rate * now.since(self.at).as_secs_f64();
        self.level = (self.level + refilled).min(self.burst);
        self.at = self.at.max(now);
    }

    fn take(&mut self, now: Moment) {
        self.refill(now);
        if self.at <= now {
            self.level -= 1.0;
        }
    }

    /// The rate is not full before then.
    fn slow(&mut self, until: Moment) {
        self.level = 0.0;
        self.at = self.at.max(until + TUNING.pace.step);
    }

    fn may_be_none(mut self, now: Moment) -> bool {
        self.refill(now);
        self.at > now || self.level < 1.0 + ROUNDING
    }
}

impl Witness {
    pub(super) fn new(limits: &Limits, projects: usize, now: Moment) -> Self {
        Self {
            projects: vec![WitnessedProject::default(); projects],
            tokens: Tokens {
                level: 0.0,
                at: now,
                rate: limits.rate,
                burst: f64::from(limits.burst.get()),
            },
            renders: Renders::default(),
            fetches: 0,
            fetched_at: None,
            failures: HashSet::new(),
            faults: HashSet::new(),
            is_identity_refused: false,
            broken: None,
            held: None,
            last_pushback: None,
            render_refused: None,
            fetch_refused: None,
            fetches_held: Moment::START,
            has_seen_unknown: false,
        }
    }

    pub(super) fn set_rate(&mut self, rate: f64, now: Moment) {
        self.tokens.refill(now);
        self.tokens.rate = rate;
    }

    /// Takes a launch in.
    pub(super) fn launched(&mut self, project: ProjectId, launch: Launch, want: Want, now: Moment) {
        let seen = &mut self.projects[project];
        assert!(seen.flight.is_none(), "one live flight per project");
        let is_failing = seen.is_failing;
        let class = match launch {
            Launch::Render { class, .. } => Some(class),
            Launch::Fetch => None,
        };
        seen.flight = Some(WitnessedFlight {
            since: now,
            class,
            want,
            is_failing,
        });
        let Some(class) = class else {
            self.fetches += 1;
            self.fetched_at = Some(now);
            if let Some(stop) = self.broken.as_mut().filter(|_| self.is_identity_refused) {
                stop.probe.get_or_insert(project);
            }
            return;
        };
        self.tokens.take(now);
        self.renders.all += 1;
        self.renders.outdated += u32::from(class == Class::Outdated);
        self.renders.failing += u32::from(is_failing);
        if let Some(stop) = &mut self.broken {
            stop.probe.get_or_insert(project);
        }
        if let Some(hold) = &mut self.held {
            hold.stop.probe.get_or_insert(project);
            hold.attempts += 1;
        }
    }

    pub(super) fn is_flying(&self, project: ProjectId) -> bool {
        self.projects[project].flight.is_some()
    }

    /// Renders in flight.
    pub(super) fn flying(&self) -> u32 {
        self.renders.all
    }

    /// Launches since everything was held by a pushback that still lasts.
    pub(super) fn attempts_in_hold(&self) -> u32 {
        self.held.map_or(0, |hold| hold.attempts)
    }

    /// Takes the target's rise in: it ends cool-downs, but no pushback.
    pub(super) fn raised(&mut self) {
        for seen in &mut self.projects {
            let is_pushed_back = |(reason, _)| reason == NotRefreshed::PushedBack;
            if !seen.gate.is_some_and(is_pushed_back) {
                seen.forgive();
            }
        }
    }

    /// Takes in what a fetch brought.
    pub(super) fn fetched(&mut self, project: ProjectId, landing: FetchLanding, now: Moment) {
        self.fetches -= 1;
        let seen = &mut self.projects[project];
        seen.flight = None;
        match landing {
            FetchLanding::Held(_) => {
                seen.refusals = 0;
                seen.forgive();
            }
            FetchLanding::Nothing | FetchLanding::Unimplemented | FetchLanding::Unreachable => {}
            FetchLanding::Failed(CallFailure::Exhausted(Pushback {
                after: Some(after), ..
            })) => {
                let until = now + after.mul_f64(OBEYED).min(TUNING.hold.most);
                seen.gate = Some((NotRefreshed::PushedBack, until));
                self.fetches_held = self.fetches_held.max(until);
            }
            FetchLanding::Failed(CallFailure::Refused) => {
                self.fetch_refused = Some(now);
                seen.refused(None, now);
            }
            FetchLanding::Failed(
                CallFailure::Unavailable
                | CallFailure::Aborted
                | CallFailure::DeadlineExceeded
                | CallFailure::Exhausted(_)
                | CallFailure::Other,
            ) => seen.gate = Some((NotRefreshed::CoolingDown, now + TUNING.fetch.backoff.most)),
            FetchLanding::Failed(CallFailure::Unauthenticated) => {}
        }
        let was_probe = self.broken.is_some_and(|stop| stop.probe == Some(project));
        if landing == FetchLanding::Failed(CallFailure::Unauthenticated) {
            self.is_identity_refused = true;
            self.break_off(was_probe, now);
        } else if was_probe {
            self.broken = None;
            self.tokens.slow(now + TUNING.pace.recovery);
        }
    }

    /// Takes in what a render brought to a project of which that was held before.
    pub(super) fn landed(
        &mut self,
        project: ProjectId,
        landing: &Landing,
        before: Option<HeldMark>,
        now: Moment,
    ) {
        let Some(flight) = self.projects[project].flight.take() else {
            return;
        };
        self.renders.all -= 1;
        self.renders.outdated -= u32::from(flight.class == Some(Class::Outdated));
        self.renders.failing -= u32::from(flight.is_failing);
        self.count_failures(project, landing, now);
        match landing {
            Landing::Held(held) => self.projects[project].brought(*held, flight, before, now),
            Landing::Failed(CallFailure::Exhausted(Pushback {
                after: Some(after),
                scope,
            })) => self.pushed_back(project, *after, *scope, now),
            Landing::Failed(CallFailure::Refused) => {
                self.render_refused = Some(now);
                self.projects[project].refused(before, now);
            }
            Landing::NotFound => {
                self.has_seen_unknown = true;
                self.projects[project].failed(NotRefreshed::CoolingDown, before, now);
            }
            Landing::Gone => self.projects[project].gone(now),
            Landing::Failed(_) | Landing::Rejected | Landing::Unreachable => {
                let seen = &mut self.projects[project];
                seen.is_failing = true;
                seen.failed_at = Some(now);
                let is_rejected = *landing == Landing::Rejected;
                let reasons = [NotRefreshed::CoolingDown, NotRefreshed::Rejected];
                seen.failed(reasons[usize::from(is_rejected)], before, now);
            }
        }
        if let Some(hold) = &mut self.held
            && hold.stop.probe == Some(project)
        {
            match landing {
                Landing::Failed(
                    CallFailure::Unavailable
                    | CallFailure::Unauthenticated
                    | CallFailure::DeadlineExceeded
                    | CallFailure::Exhausted(_)
                    | CallFailure::Refused,
                )
                | Landing::Unreachable => hold.stop = Stop::until(now + TUNING.breaker.probes.most),
                Landing::Held(_)
                | Landing::Rejected
                | Landing::NotFound
                | Landing::Gone
                | Landing::Failed(CallFailure::Aborted | CallFailure::Other) => {
                    self.held = None;
                    self.tokens.slow(now + TUNING.hold.ramp);
                }
            }
        }
    }

    /// This many projects that failed in a row stop everything, and so does a failed probe.
    fn count_failures(&mut self, project: ProjectId, landing: &Landing, now: Moment) {
        let was_probe = self.broken.is_some_and(|stop| stop.probe == Some(project));
        if let Landing::Failed(CallFailure::Unavailable | CallFailure::DeadlineExceeded) = landing {
            self.failures.insert(project);
            self.tokens.slow(now + TUNING.pace.recovery);
            if was_probe || self.failures.len() >= TUNING.breaker.failures {
                self.is_identity_refused = false;
                self.break_off(was_probe, now);
            }
            return;
        }
        if *landing == Landing::Failed(CallFailure::Unauthenticated) {
            self.is_identity_refused = true;
            return self.break_off(was_probe, now);
        }
        match landing {
            Landing::Failed(CallFailure::Aborted | CallFailure::Other) | Landing::Rejected => {
                self.faults.insert(project);
                if self.faults.len() >= TUNING.fault.projects {
                    self.tokens.slow(now + TUNING.pace.recovery);
                }
            }
            Landing::Held(_) => self.faults.clear(),
            Landing::NotFound | Landing::Gone | Landing::Unreachable | Landing::Failed(_) => {}
        }
        self.failures.clear();
        if was_probe {
            self.broken = None;
            self.tokens.slow(now + TUNING.pace.recovery);
        }
    }

    fn break_off(&mut self, was_probe: bool, now: Moment) {
        let longest = TUNING.breaker.open.most.mul_f64(1.5);
        let probe = self.broken.and_then(|stop| stop.probe);
        self.broken = Some(Stop {
            until: now + longest,
            probe: probe.filter(|_| !was_probe),
        });
    }

    fn pushed_back(
        &mut self,
        project: ProjectId,
        after: Duration,
        scope: PushbackScope,
        now: Moment,
    ) {
        let until = now + after.mul_f64(OBEYED).min(TUNING.hold.most);
        self.projects[project].gate = Some((NotRefreshed::PushedBack, until));
        let is_another = |(last, at): (ProjectId, Moment)| {
            last != project && now.since(at) <= TUNING.hold.window
        };
        let is_probe = |hold: Hold| hold.stop.probe == Some(project);
        let holds_all = scope == PushbackScope::Global
            || self.held.is_some_and(is_probe)
            || self.last_pushback.is_some_and(is_another);
        self.last_pushback = Some((project, now));
        if !holds_all {
            return;
        }
        self.tokens.slow(now + TUNING.pace.recovery);
        let before = self.held;
        let goes_on = |hold: &Hold| now < hold.least;
        self.held = Some(Hold {
            stop: Stop::until(before.map_or(until, |hold| hold.stop.until.max(until))),
            least: before
                .filter(goes_on)
                .map_or(now + after, |hold| hold.least),
            attempts: before.filter(goes_on).map_or(0, |hold| hold.attempts),
        });
    }

    /// Whether a reason is true of a project of which that is held, below a target. That the queue
    /// is full is for others to tell.
    pub(super) fn bears_out(
        &self,
        reason: NotRefreshed,
        project: ProjectId,
        held: Option<HeldMark>,
        target: u64,
        limits: &Limits,
        now: Moment,
    ) -> bool {
        let seen = &self.projects[project];
        let is_left_alone = || {
            seen.gate
                .is_some_and(|(why, until)| why == reason && until > now)
        };
        match reason {
            NotRefreshed::Throttled => {
                self.tokens.may_be_none(now)
                    || (held.is_none() && self.holds_back_unseen(limits, now))
            }
            NotRefreshed::ConcurrencyLimited => {
                let permits = Permits::of(limits.concurrency, &TUNING.budget);
                self.renders.all >= limits.concurrency.get()
                    || self.renders.outdated >= permits.outdated
                    || (seen.is_failing && self.renders.failing >= permits.cooling)
                    || (held.is_none() && self.fetches >= limits.fetch.concurrency.get())
                    || may_take_fewer(self.render_refused, self.renders.all, now)
                    || (held.is_none() && may_take_fewer(self.fetch_refused, self.fetches, now))
            }
            NotRefreshed::Scheduled | NotRefreshed::TimedOut => seen.flight.is_some(),
            NotRefreshed::RenderFailed => seen.failed_at == Some(now),
            NotRefreshed::CoolingDown => {
                let is_raised = held.is_some_and(|held| held.order.rollout < target);
                is_left_alone() || (is_raised && seen.raised_until > now)
            }
            NotRefreshed::BreakerOpen => self.broken.is_some_and(|stop| stop.holds(now)),
            NotRefreshed::PushedBack => {
                is_left_alone()
                    || self.held.is_some_and(|hold| hold.stop.holds(now))
                    || (held.is_none() && self.fetches_held > now)
            }
            NotRefreshed::RendererBehind | NotRefreshed::Rejected => is_left_alone(),
            NotRefreshed::ProjectGone => held.is_some() && is_left_alone(),
            NotRefreshed::QueueFull => true,
            NotRefreshed::Unreachable
            | NotRefreshed::Draining
            | NotRefreshed::RenderingElsewhere
            | NotRefreshed::FleetUnreachable => false,
        }
    }

    /// Projects of which nothing is held have less than the rate after names that are none, and a
    /// bucket of their own for fetches.
    fn holds_back_unseen(&self, limits: &Limits, now: Moment) -> bool {
        let period = Duration::from_secs_f64(1.0 / limits.fetch.rate);
        self.has_seen_unknown || self.fetched_at.is_some_and(|at| now.since(at) <= period)
    }
}

/// Whether fewer calls than are set may be all that the renderer takes: it refused one within a
/// minute, and others are in flight or one that was refused alone stops them.
fn may_take_fewer(refused: Option<Moment>, flying: u32, now: Moment) -> bool {
    refused.is_some_and(|at| {
        let since = now.since(at);
        since < TUNING.learned.lasts && (flying > 0 || since <= TUNING.learned.stop.most)
    })
}

impl WitnessedProject {
    fn forgive(&mut self) {
        (self.gate, self.longest, self.is_failing) = (None, Duration::ZERO, false);
        self.gone = 0;
    }

    /// So often in a row it may be the project's fault.
    fn refused(&mut self, before: Option<HeldMark>, now: Moment) {
        self.refusals += 1;
        if self.refusals >= TUNING.learned.strikes {
            (self.is_failing, self.failed_at) = (true, Some(now));
            self.failed(NotRefreshed::CoolingDown, before, now);
        }
    }

    /// It is asked for again after a wait that doubles.
    fn gone(&mut self, now: Moment) {
        let range = TUNING.cool_down.gone;
        let wait = (range.first * 2_u32.pow(self.gone.min(8))).min(range.most);
        self.gone += 1;
        self.gate = Some((NotRefreshed::ProjectGone, now + wait));
    }

    fn brought(
        &mut self,
        held: HeldMark,
        flight: WitnessedFlight,
        before: Option<HeldMark>,
        now: Moment,
    ) {
        self.refusals = 0;
        if !flight.want.is_met_by(Some(held)) {
            let longest = TUNING.cool_down.behind.most;
            self.gate = Some((NotRefreshed::RendererBehind, now + longest));
            self.raised_until = Moment::START;
            return;
        }
        self.forgive();
        if before.is_some_and(|before| before.order.rollout < flight.want.rollout) {
            self.raised_until = flight.since + TUNING.cool_down.raised;
        }
    }

    /// Decorrelated jitter: at most three times the longest that the last can have been.
    fn failed(&mut self, reason: NotRefreshed, before: Option<HeldMark>, now: Moment) {
        let range = match before {
            Some(_) => TUNING.cool_down.outdated,
            None => TUNING.cool_down.missing,
        };
        self.longest = (self.longest.max(range.first) * 3).min(range.most);
        self.gate = Some((reason, now + self.longest));
    }
}
