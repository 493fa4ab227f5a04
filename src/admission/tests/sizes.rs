//! What an operation costs by what waits: ratios of the same work at two sizes, the best of some
//! rounds. What is paid for each that waits would show as the ratio of the sizes, whatever else the
//! machine does.

use std::hint::black_box;

use tokio::time::Instant;

use super::*;

const SMALL: usize = 1_000;
const LARGE: usize = 32_000;

fn flights(admission: &mut Admission) -> Vec<(Project, bool)> {
    let actions = admission.take_actions().into_iter();
    actions
        .filter_map(|action| match action {
            Action::Render { project, .. } => Some((project, false)),
            Action::Fetch { project, .. } => Some((project, true)),
            Action::Resolve { .. }
            | Action::Reserve { .. }
            | Action::Return { .. }
            | Action::Redial { .. }
            | Action::Confirm { .. } => None,
        })
        .collect()
}

/// The least time that 100 rounds of landings and a lookup take while that many missing projects
/// wait, of three attempts.
fn takes(projects: usize, fetch_rate: f64) -> Duration {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut limits = limits(100.0, 100, 4, 1_000_000);
    limits.fetch.rate = fetch_rate;
    let mut admission = Admission::new(limits, 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    for project in 0..projects {
        let patient = Some(Duration::from_secs(1_000_000));
        admission.want(&name(project), wish(None, 1, patient, now), now);
    }
    let mut flying = flights(&mut admission);
    let last = name(projects - 1);
    let attempts = (0..3).map(|_| {
        let began = Instant::now();
        for _ in 0..100 {
            now = now + Duration::from_millis(10);
            for (project, is_fetch) in std::mem::take(&mut flying) {
                let held = HeldMark {
                    order: Order::rollout(1),
                    validated_at: now,
                };
                if is_fetch {
                    admission.fetched(&project, FetchLanding::Held(held), now);
                } else {
                    admission.landed(&project, Landing::Held(held), now);
                }
            }
            let impatient = wish(None, 1, Some(Duration::from_millis(1)), now);
            black_box(admission.want(&last, impatient, now));
            flying = flights(&mut admission);
        }
        began.elapsed()
    });
    attempts.min().expect("some attempts")
}

/// With 10,000 and 40,000 that waited, a landing held the mutex for 0.3 s and 15 s.
#[test]
fn the_cost_of_a_landing_does_not_grow_with_waiting_missing_projects() {
    for fetch_rate in [0.0, 1_000.0] {
        let (small, large) = (takes(SMALL, fetch_rate), takes(LARGE, fetch_rate));
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        assert!(
            ratio < 16.0,
            "{ratio:.1} times as long for 32 times as many"
        );
    }
}

/// A machine that wants that many outdated projects.
fn outdated(projects: usize, rate: f64, now: Moment) -> Admission {
    let mut admission = Admission::new(limits(rate, 1, 4, 512), 2, 1, Moment::START);
    admission.set_link(Link::Up, now);
    for project in 0..projects {
        let held = Some(HeldMark {
            order: Order::rollout(1),
            validated_at: Moment::START,
        });
        admission.want(&name(project), wish(held, 2, None, now), now);
    }
    admission
}

/// It took more than 30 times as long for 32 times as many, and held the lock meanwhile.
#[test]
fn no_step_of_a_raised_target_costs_more_where_more_outdated_projects_wait() {
    let takes = |projects: usize| {
        let mut now = Moment::after_start(Duration::from_secs(100));
        let mut admission = outdated(projects, 0.001, now);
        // The first step, and the usual one: the longest of many says most of whatever else the
        // machine does.
        let attempts = (3..9).map(|rollout| {
            now = now + Duration::from_secs(1);
            let mut began = Instant::now();
            admission.set_target(rollout, now);
            let first = began.elapsed();
            let mut steps = Vec::new();
            while !admission.is_settled() {
                assert_eq!(admission.next_wake(), Some(now), "the rest is due at once");
                began = Instant::now();
                admission.tick(now);
                steps.push(began.elapsed());
            }
            assert_eq!(admission.below_target(), projects);
            assert!(
                steps.len() >= projects / TUNING.turns.swept - 1,
                "{steps:?}"
            );
            steps.sort_unstable();
            first.max(steps[steps.len() / 2])
        });
        attempts.min().expect("some attempts")
    };
    let ratio = takes(LARGE).as_secs_f64() / takes(SMALL).as_secs_f64();
    assert!(
        ratio < 16.0,
        "{ratio:.1} times as long for 32 times as many"
    );
}

/// Each lookup took up to three steps of a raised target, under the lock: with 50,000 outdated
/// projects those that came together waited 100 ms for each other.
#[test]
fn lookups_take_no_step_of_a_raised_target() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let projects = 8 * TUNING.turns.swept;
    let mut admission = outdated(projects, 0.001, now);
    now = now + Duration::from_secs(1);
    admission.set_target(3, now);
    let held = Some(HeldMark {
        order: Order::rollout(1),
        validated_at: Moment::START,
    });
    for _ in 0..100 {
        admission.want(&name(0), wish(held, 3, None, now), now);
        assert!(!admission.is_settled());
    }
    // The first step was that of the target itself.
    for _ in 1..projects / TUNING.turns.swept {
        assert!(!admission.is_settled());
        assert_eq!(admission.next_wake(), Some(now), "the rest is due at once");
        admission.tick(now);
    }
    // Where the last step is full, one more finds that nothing is left.
    admission.tick(now);
    assert!(admission.is_settled());
    assert_eq!(admission.below_target(), projects);
}

/// With 50,000 outdated projects a render cost four times what it cost with 2,000.
#[test]
fn the_cost_of_a_render_does_not_grow_with_wanted_outdated_projects() {
    let takes = |projects: usize| {
        let mut now = Moment::after_start(Duration::from_secs(100));
        let mut admission = outdated(projects, 1_000.0, now);
        let attempts = (0..3).map(|_| {
            let began = Instant::now();
            for _ in 0..200 {
                now = now + Duration::from_millis(1);
                admission.tick(now);
                for (project, _) in flights(&mut admission) {
                    let held = HeldMark {
                        order: Order::rollout(2),
                        validated_at: now,
                    };
                    admission.landed(&project, Landing::Held(held), now);
                }
            }
            began.elapsed()
        });
        attempts.min().expect("some attempts")
    };
    let ratio = takes(LARGE).as_secs_f64() / takes(SMALL).as_secs_f64();
    assert!(ratio < 8.0, "{ratio:.1} times as long for 32 times as many");
}
