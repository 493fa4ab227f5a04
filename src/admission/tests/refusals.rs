//! What plain refusals lead to, and fetches that are refused, fail or are pushed back.

use std::collections::BTreeSet;

use super::*;

const PATIENT: Duration = Duration::from_secs(5);
const REFUSED: Landing = Landing::Failed(CallFailure::Refused);

/// A renderer that takes a number of calls at once, each for the same time, and plainly refuses
/// others; for some projects it refuses all.
struct RefusingRenderer {
    admission: Admission,
    now: Moment,
    takes: usize,
    lasts: Duration,
    offers_fetch: bool,
    never: BTreeSet<Project>,
    /// What it is at work on, and when that is done.
    working: Vec<(Moment, Project, bool)>,
    fetches: u32,
    renders: u32,
    refused: u32,
    /// When those who waited were told, and what.
    told: Vec<(Moment, Project, Outcome)>,
}

/// How long a refusal travels.
const TRIP: Duration = Duration::from_millis(1);

impl RefusingRenderer {
    fn new(takes: usize, lasts: Duration, offers_fetch: bool) -> Self {
        Self::seeded(takes, lasts, offers_fetch, 1)
    }

    fn seeded(takes: usize, lasts: Duration, offers_fetch: bool, seed: u64) -> Self {
        let now = Moment::after_start(Duration::from_secs(100));
        let mut limits = limits(1_000.0, 1_000, 16, 512);
        limits.fetch = FetchLimits {
            rate: 50.0,
            concurrency: count(16),
        };
        let mut admission = Admission::new(limits, 1, seed, Moment::START);
        admission.set_link(Link::Up, now);
        Self {
            admission,
            now,
            takes,
            lasts,
            offers_fetch,
            never: BTreeSet::new(),
            working: Vec::new(),
            fetches: 0,
            renders: 0,
            refused: 0,
            told: Vec::new(),
        }
    }

    fn looks_up(&mut self, projects: std::ops::Range<usize>, held: Option<HeldMark>, rollout: u64) {
        for project in projects {
            let wish = wish(held, rollout, held.is_none().then_some(PATIENT), self.now);
            self.admission.want(&name(project), wish, self.now);
        }
    }

    /// Lets time pass until then, or until nothing is left to do.
    fn runs_until(&mut self, end: Moment) {
        loop {
            self.acts();
            let done = self.working.iter().map(|(at, ..)| *at).min();
            let next = [done, self.admission.next_wake()]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = next;
            let due = |(at, ..): &mut (Moment, Project, bool)| *at <= next;
            let landed: Vec<_> = self.working.extract_if(.., due).collect();
            for (_, project, is_fetch) in landed {
                self.lands(&project, is_fetch);
            }
            self.admission.tick(self.now);
        }
    }

    fn acts(&mut self) {
        let mut refused = Vec::new();
        for action in self.admission.take_actions() {
            let (project, is_fetch) = match action {
                Action::Fetch { project, .. } => (project, true),
                Action::Render { project, .. } => (project, false),
                Action::Confirm { .. }
                | Action::Reserve { .. }
                | Action::Return { .. }
                | Action::Redial { .. } => continue,
                Action::Resolve { project, outcome } => {
                    self.told.push((self.now, project, outcome));
                    continue;
                }
            };
            (self.fetches, self.renders) = (
                self.fetches + u32::from(is_fetch),
                self.renders + u32::from(!is_fetch),
            );
            if self.working.len() < self.takes && !self.never.contains(&project) {
                self.working
                    .push((self.now + self.lasts, project, is_fetch));
            } else {
                refused.push((project, is_fetch));
            }
        }
        if refused.is_empty() {
            return;
        }
        self.now = self.now + TRIP;
        for (project, is_fetch) in refused {
            self.refused += 1;
            if is_fetch {
                let landing = FetchLanding::Failed(CallFailure::Refused);
                self.admission.fetched(&project, landing, self.now);
            } else {
                self.admission.landed(&project, REFUSED, self.now);
            }
        }
        self.acts();
    }

    fn lands(&mut self, project: &Project, is_fetch: bool) {
        let held = HeldMark {
            order: Order::rollout(self.admission.target()),
            validated_at: self.now,
        };
        match (is_fetch, self.offers_fetch) {
            (true, true) => {
                let landing = FetchLanding::Held(held);
                self.admission.fetched(project, landing, self.now);
            }
            (true, false) => {
                let landing = FetchLanding::Unimplemented;
                self.admission.fetched(project, landing, self.now);
            }
            (false, _) => self
                .admission
                .landed(project, Landing::Held(held), self.now),
        }
    }

    fn answered(&self) -> usize {
        let landed = |(_, _, outcome): &&(Moment, Project, Outcome)| *outcome == Outcome::Landed;
        self.told.iter().filter(landed).count()
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// grpcio's `maximum_concurrent_rpcs` of 2: 28 of 30 refused fetches became renders.
#[test]
fn refused_fetches_are_fetched_again_and_never_rendered() {
    let mut server = RefusingRenderer::new(2, millis(20), true);
    let start = server.now;
    server.looks_up(0..30, None, 1);
    server.runs_until(start + millis(300).mul_f64(1.5) + millis(500));
    assert_eq!(server.answered(), 30, "{:?}", server.told);
    assert_eq!(server.renders, 0);
}

/// As above without Fetch: 28 of 30 lookups failed within 0.1 s.
#[test]
fn refused_renders_of_missing_projects_are_launched_again_in_their_place() {
    let mut server = RefusingRenderer::new(2, millis(50), false);
    let start = server.now;
    server.looks_up(0..30, None, 1);
    server.runs_until(start + millis(750).mul_f64(1.5) + millis(500));
    assert_eq!(server.answered(), 30, "{:?}", server.told);
    assert!(server.refused < 90, "{} were refused", server.refused);
}

/// As above, of a release: each refused project cooled down for 5 s and more.
#[test]
fn a_release_on_a_renderer_that_takes_two_calls_converges_as_fast_as_it_can() {
    let mut server = RefusingRenderer::new(2, millis(50), false);
    let start = server.now;
    let held = HeldMark {
        order: Order::rollout(1),
        validated_at: start,
    };
    server.admission.set_target(2, start);
    server.looks_up(0..60, Some(held), 2);
    server.runs_until(start + millis(1_500).mul_f64(1.5) + millis(2_000));
    assert_eq!(server.admission.wanted(Class::Outdated), 0);
    assert!(server.refused < 60, "{} were refused", server.refused);
}

#[test]
fn a_refusal_is_no_failure_and_its_project_keeps_its_place() {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..6, limits(100.0, 10, 4, 100), now);
    let flying = launched(&mut admission);
    assert_eq!(flying.len(), 4);
    admission.landed(&name(0), REFUSED, now);
    let explained = admission.explain(&name(0), now).unwrap();
    assert_eq!(explained.gate, Some(Gate::Concurrency));
    assert_eq!(explained.refusal.reason, NotRefreshed::ConcurrencyLimited);
    assert_eq!(admission.renders_at_once(now).get(), 2);
    assert!(launched(&mut admission).is_empty());
    let held = HeldMark {
        order: Order::rollout(1),
        validated_at: now,
    };
    admission.landed(&name(1), Landing::Held(held), now);
    admission.landed(&name(2), Landing::Held(held), now);
    let next = launched(&mut admission);
    assert_eq!(next.first().map(|(project, _)| project), Some(&name(0)));
    assert!(!admission.stops().is_broken);
}

#[test]
fn each_attempt_after_a_refusal_takes_a_token() {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..2, limits(0.1, 3, 4, 100), now);
    let before = admission.level(now);
    assert_eq!(launched(&mut admission).len(), 2);
    admission.landed(&name(0), REFUSED, now);
    assert_eq!(launched(&mut admission).len(), 1);
    assert!(admission.level(now) < 1.0, "{before}");
    admission.landed(&name(0), REFUSED, now);
    assert!(launched(&mut admission).is_empty(), "no token is left");
    let explained = admission.explain(&name(0), now).unwrap();
    assert_ne!(explained.gate, Some(Gate::Project));
}

/// Servers say a plain RESOURCE_EXHAUSTED also of a message that is too large.
#[test]
fn a_project_that_is_refused_again_and_again_while_others_land_cools_down_alone() {
    for offers_fetch in [false, true] {
        let mut server = RefusingRenderer::new(8, millis(20), offers_fetch);
        server.never.insert(name(0));
        server.looks_up(0..1, None, 1);
        let projects = 300;
        for project in 1..=projects {
            server.looks_up(project..project + 1, None, 1);
            server.runs_until(server.now + millis(30));
        }
        assert_eq!(
            server.answered(),
            projects,
            "{offers_fetch} {:?}",
            server.told
        );
        assert!(server.refused < 100, "{} were refused", server.refused);
        let refused = &server.admission.register.entries[&name(0)];
        assert!(refused.cool_down.is_cooling(), "{refused:?}");
        assert!(!offers_fetch || server.renders == 0);
    }
}

/// Thirty cold lookups of a renderer that takes two calls: one of them was told RENDER_FAILED.
#[test]
fn no_project_fails_because_it_is_refused_while_it_is_learned_how_many_calls_are_taken() {
    let mut refused = 0;
    for seed in 0..500 {
        for (takes, offers_fetch) in [(1, false), (2, false), (2, true), (5, true)] {
            let mut server =
                RefusingRenderer::seeded(takes, millis(5 + seed % 40), offers_fetch, seed);
            let lookups = usize::try_from(seed % 40).unwrap() + 10;
            server.looks_up(0..lookups, None, 1);
            server.runs_until(server.now + PATIENT * 2);
            let failed = server.told.iter().find(|(.., outcome)| {
                matches!(outcome, Outcome::Refused(it) if it.reason == NotRefreshed::RenderFailed)
            });
            assert_eq!(failed, None, "{seed} {takes} {offers_fetch}");
            refused += server.refused;
        }
    }
    assert!(refused > 2_000, "{refused} were refused");
}

/// Servers refuse what is too large, however many calls they take and whatever comes before it.
#[test]
fn a_project_that_is_always_refused_cools_down_after_at_most_64_attempts() {
    for seed in 0..200 {
        for (takes, offers_fetch) in [(2, false), (8, false), (2, true), (8, true)] {
            let mut server = RefusingRenderer::seeded(takes, millis(20), offers_fetch, seed);
            server.never.insert(name(0));
            server.looks_up(0..1, None, 1);
            let mut project = 1;
            while !server.admission.register.entries[&name(0)]
                .cool_down
                .is_cooling()
            {
                server.looks_up(project..project + 1, None, 1);
                server.looks_up(0..1, None, 1);
                server.runs_until(server.now + millis(30));
                project += 1;
                assert!(project < 500, "never: {seed} {takes} {offers_fetch}");
            }
            let attempts = server.refused;
            assert!(attempts <= 64, "{attempts}: {seed} {takes} {offers_fetch}");
        }
    }
}

/// With one stream and eight permits, seven calls waited inside the connection while their
/// deadlines ran.
#[test]
fn what_the_connection_does_not_take_waits_without_a_permit_or_a_token() {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..0, limits(100.0, 10, 8, 100), now);
    admission.set_room(Some(count(1)), now);
    for project in 0..5 {
        admission.want(&name(project), wish(None, 1, Some(PATIENT), now), now);
    }
    assert_eq!(launched(&mut admission).len(), 1);
    assert!(admission.level(now) >= 9.0, "{}", admission.level(now));
    let explained = admission.explain(&name(4), now).unwrap();
    assert_eq!(explained.gate, Some(Gate::Concurrency));
    assert_eq!(admission.renders_at_once(now).get(), 1);
    admission.landed(&name(0), Landing::NotFound, now);
    assert_eq!(launched(&mut admission).len(), 1, "the next has its turn");
    admission.set_room(Some(count(3)), now);
    assert_eq!(launched(&mut admission).len(), 2);
    admission.set_room(None, now);
    assert_eq!(launched(&mut admission).len(), 1);
}

/// A store that takes fewer fetches than are set is often met first by what is only to be
/// confirmed.
#[test]
fn a_confirming_fetch_that_is_refused_teaches_how_many_fetches_are_taken() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = Admission::new(limits(100.0, 10, 4, 100), 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    admission.resync(now);
    admission.unconfirmed(&name(0), now);
    let before = admission.fetches_at_once(now);
    let mut launched = None;
    while launched.is_none() {
        now = now + millis(100);
        admission.tick(now);
        launched = admission.take_actions().pop();
    }
    assert!(matches!(launched, Some(Action::Confirm { .. })));
    let refused = FetchLanding::Failed(CallFailure::Refused);
    admission.confirmed(&name(0), refused, now);
    let after = admission.fetches_at_once(now);
    assert!(before.get() > 1 && after.get() == 1, "{before} {after}");
    assert!(admission.fetches.learned.stopped_until(now).is_some());
}

#[test]
fn a_renderer_that_refuses_everything_is_asked_ever_more_seldom_and_used_once_it_does_not() {
    let mut server = RefusingRenderer::new(0, millis(50), false);
    server
        .admission
        .fetched(&name(0), FetchLanding::Unimplemented, server.now);
    let held = HeldMark {
        order: Order::rollout(1),
        validated_at: server.now,
    };
    let start = server.now;
    server.admission.set_target(2, start);
    server.looks_up(0..20, Some(held), 2);
    server.runs_until(start + Duration::from_secs(60));
    assert!(server.refused < 80, "{} were refused", server.refused);
    let explained = server.admission.explain(&name(3), server.now).unwrap();
    assert_eq!(explained.refusal.reason, NotRefreshed::ConcurrencyLimited);
    server.takes = 8;
    let back = server.now;
    server.runs_until(back + Duration::from_secs(12));
    assert_eq!(server.admission.wanted(Class::Outdated), 0);
}

/// A store that answered in 1.5 s turned 20 stored projects into 20 renders.
#[test]
fn a_fetch_that_times_out_is_fetched_again_and_rendered_only_when_all_fail_for_a_while() {
    let start = Moment::after_start(Duration::from_secs(100));
    let mut admission = Admission::new(limits(100.0, 10, 4, 100), 1, 1, Moment::START);
    admission.set_link(Link::Up, start);
    let patient = wish(None, 1, Some(Duration::from_secs(60)), start);
    for project in 0..4 {
        admission.want(&name(project), patient, start);
    }
    let (mut now, mut fetches) = (start, 0);
    let mut rendered_at = None;
    while rendered_at.is_none() && now < start + Duration::from_secs(20) {
        for action in admission.take_actions() {
            match action {
                Action::Fetch { project, .. } => {
                    fetches += 1;
                    let late = FetchLanding::Failed(CallFailure::DeadlineExceeded);
                    admission.fetched(&project, late, now);
                }
                Action::Render { .. } => {
                    rendered_at.get_or_insert(now);
                }
                Action::Confirm { .. }
                | Action::Reserve { .. }
                | Action::Return { .. }
                | Action::Redial { .. }
                | Action::Resolve { .. } => panic!("told too early"),
            }
        }
        now = admission.next_wake().unwrap();
        admission.tick(now);
    }
    assert!(
        rendered_at.unwrap() >= start + Duration::from_secs(3),
        "{rendered_at:?}"
    );
    assert!(fetches > 4, "{fetches} fetches");
    assert!(admission.has_given_fetches_up());
    // The first that is answered is fetched, and what waits is fetched again.
    let mut probe = None;
    while probe.is_none() {
        probe = admission
            .take_actions()
            .into_iter()
            .find_map(|action| match action {
                Action::Fetch { project, .. } => Some(project),
                Action::Render { .. }
                | Action::Confirm { .. }
                | Action::Reserve { .. }
                | Action::Return { .. }
                | Action::Redial { .. }
                | Action::Resolve { .. } => None,
            });
        now = admission.next_wake().unwrap_or(now);
        admission.tick(now);
        admission.want(&name(5), wish(None, 1, Some(PATIENT), now), now);
    }
    admission.fetched(&probe.unwrap(), FetchLanding::Nothing, now);
    assert!(!admission.has_given_fetches_up());
}

/// Fetch pushed back by 1 s each time, and Render was idle: 25 fetches, no render, and every cold
/// lookup failed.
#[test]
fn where_every_fetch_is_pushed_back_missing_projects_are_rendered_after_a_while() {
    let start = Moment::after_start(Duration::from_secs(100));
    let mut admission = Admission::new(limits(100.0, 10, 4, 100), 1, 1, Moment::START);
    admission.set_link(Link::Up, start);
    let (mut now, mut answered) = (start, 0);
    let pushback = Pushback {
        after: Some(Duration::from_secs(1)),
        scope: PushbackScope::Project,
    };
    while now < start + Duration::from_secs(20) {
        for project in 0..3 {
            admission.want(&name(project), wish(None, 1, Some(PATIENT), now), now);
        }
        for action in admission.take_actions() {
            match action {
                Action::Fetch { project, .. } => {
                    let landing = FetchLanding::Failed(CallFailure::Exhausted(pushback));
                    admission.fetched(&project, landing, now);
                }
                Action::Render { project, .. } => {
                    let held = HeldMark {
                        order: Order::rollout(1),
                        validated_at: now,
                    };
                    admission.landed(&project, Landing::Held(held), now);
                    answered += 1;
                }
                Action::Confirm { .. }
                | Action::Reserve { .. }
                | Action::Return { .. }
                | Action::Redial { .. }
                | Action::Resolve { .. } => {}
            }
        }
        now = now + millis(50);
        admission.tick(now);
    }
    assert!(answered >= 3, "{answered} were rendered");
}

#[test]
fn what_is_stored_of_one_project_and_cannot_be_had_is_rendered_while_others_are_fetched() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = Admission::new(limits(100.0, 10, 4, 100), 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    let patient = wish(None, 1, Some(Duration::from_secs(60)), now);
    admission.want(&name(0), patient, now);
    for other in 1..200 {
        for action in admission.take_actions() {
            match action {
                Action::Fetch { project, .. } if project == name(0) => {
                    let broken = FetchLanding::Failed(CallFailure::Other);
                    admission.fetched(&project, broken, now);
                }
                Action::Fetch { project, .. } => {
                    admission.fetched(&project, FetchLanding::Nothing, now);
                }
                Action::Render { project, .. } if project == name(0) => return,
                Action::Render { project, .. } => {
                    admission.landed(&project, Landing::NotFound, now);
                }
                Action::Confirm { .. }
                | Action::Reserve { .. }
                | Action::Return { .. }
                | Action::Redial { .. }
                | Action::Resolve { .. } => {}
            }
        }
        now = now + millis(100);
        admission.want(&name(other), wish(None, 1, Some(PATIENT), now), now);
        admission.tick(now);
    }
    panic!("it was never rendered");
}
