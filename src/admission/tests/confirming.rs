//! What is held and may lack a change: when, and in which order, it is confirmed.

use super::*;

fn at(seconds: f64) -> Moment {
    Moment::after_start(Duration::from_secs_f64(seconds))
}

fn fetching(rate: f64, concurrency: u32) -> Limits {
    Limits {
        fetch: FetchLimits {
            rate,
            concurrency: count(concurrency),
        },
        ..limits(100.0, 10, 4, 100)
    }
}

/// A machine with 10 fetches/s that has missed changes at 100 s.
fn machine() -> Admission {
    machine_of(fetching(10.0, 16), 1)
}

fn machine_of(limits: Limits, seed: u64) -> Admission {
    let mut admission = Admission::new(limits, 1, seed, Moment::START);
    admission.set_link(Link::Up, at(100.0));
    admission.resync(at(100.0));
    admission
}

fn confirmed_now(admission: &mut Admission) -> Vec<Project> {
    let actions = admission.take_actions().into_iter();
    let confirmed = actions.filter_map(|action| match action {
        Action::Confirm { project, .. } => Some(project),
        Action::Fetch { .. }
        | Action::Render { .. }
        | Action::Reserve { .. }
        | Action::Return { .. }
        | Action::Redial { .. }
        | Action::Resolve { .. } => None,
    });
    confirmed.collect()
}

/// What is confirmed and when, in seconds, until `end`; `answer` is what comes of each, at once.
fn run(
    admission: &mut Admission,
    end: f64,
    mut answer: impl FnMut(&Project, f64) -> FetchLanding,
) -> Vec<(f64, Project)> {
    let mut launched = Vec::new();
    while let Some(now) = admission.next_wake().filter(|now| *now <= at(end)) {
        admission.tick(now);
        let seconds = now.since_start().as_secs_f64();
        for project in confirmed_now(admission) {
            launched.push((seconds, project.clone()));
            admission.confirmed(&project, answer(&project, seconds), now);
        }
    }
    launched
}

#[test]
fn the_most_wanted_are_confirmed_first_and_all_at_a_tenth_of_the_rate() {
    let mut admission = machine();
    for second in 100..105 {
        for project in 0..100 {
            // Of ten, one is looked up each second, the others once.
            if project % 10 == 0 || second == 100 {
                admission.unconfirmed(&name(project), at(second.into()));
            }
        }
    }
    assert_eq!(admission.left_to_confirm(), 100);
    let launched = run(&mut admission, 1_000.0, |_, _| FetchLanding::Nothing);
    assert_eq!(launched.len(), 100);
    assert_eq!(admission.left_to_confirm(), 0);
    for pair in launched.windows(2) {
        assert!((pair[1].0 - pair[0].0) >= 0.999, "{pair:?}");
    }
    let (first, last) = (launched[0].0, launched[99].0);
    assert!(last - first <= 99.1, "{first} to {last}");
    let hot = launched[5..15].iter();
    let hot = hot.filter(|(_, project)| project.as_str().ends_with('0'));
    assert!(hot.count() >= 5, "{launched:?}");
}

#[test]
fn the_first_comes_after_up_to_10_s_so_that_a_fleet_does_not_ask_at_once() {
    let mut firsts = Vec::new();
    for seed in 0..200 {
        let mut admission = machine_of(fetching(50.0, 16), seed);
        admission.unconfirmed(&name(0), at(100.0));
        let launched = run(&mut admission, 1_000.0, |_, _| FetchLanding::Nothing);
        firsts.push(launched[0].0 - 100.0);
    }
    assert!(firsts.iter().all(|first| (0.0..=10.0).contains(first)));
    for second in 0..10 {
        let second = f64::from(second);
        let within = firsts
            .iter()
            .filter(|first| (second..second + 1.0).contains(*first));
        assert!((5..=40).contains(&within.count()), "{second}");
    }
}

#[test]
fn nothing_is_confirmed_while_a_missing_project_waits_for_a_fetch() {
    let mut admission = machine_of(fetching(2.0, 1), 1);
    let now = at(120.0);
    for project in 1..6 {
        admission.want(
            &name(project),
            wish(None, 1, Some(Duration::from_secs(60)), now),
            now,
        );
    }
    admission.unconfirmed(&name(0), now);
    let mut order = Vec::new();
    let mut now = now;
    while order.len() < 6 {
        admission.tick(now);
        for action in admission.take_actions() {
            match action {
                Action::Fetch { project, .. } => {
                    let held = HeldMark {
                        order: Order::rollout(1),
                        validated_at: now,
                    };
                    admission.fetched(&project, FetchLanding::Held(held), now);
                    order.push("missing");
                }
                Action::Confirm { project, .. } => {
                    admission.confirmed(&project, FetchLanding::Nothing, now);
                    order.push("confirm");
                }
                Action::Render { .. }
                | Action::Reserve { .. }
                | Action::Return { .. }
                | Action::Redial { .. }
                | Action::Resolve { .. } => {}
            }
        }
        now = admission
            .next_wake()
            .unwrap_or(now + Duration::from_millis(1));
    }
    assert_eq!(order[5], "confirm", "{order:?}");
}

#[test]
fn fetches_that_fail_halt_it_for_ever_longer_and_a_bad_project_goes_behind_all_others() {
    let mut admission = machine();
    for project in 0..5 {
        admission.unconfirmed(&name(project), at(100.0));
    }
    let refused = FetchLanding::Failed(CallFailure::Refused);
    let launched = run(&mut admission, 400.0, |_, _| refused);
    assert!((6..=20).contains(&launched.len()), "{launched:?}");
    assert_eq!(admission.left_to_confirm(), 5);

    let poison = name(3);
    let broken = FetchLanding::Failed(CallFailure::Other);
    let launched = run(&mut admission, 500.0, |project, _| {
        if *project == poison {
            broken
        } else {
            FetchLanding::Nothing
        }
    });
    assert_eq!(admission.left_to_confirm(), 1);
    let others = launched.iter().filter(|(_, project)| *project != poison);
    assert_eq!(others.count(), 4);
}

#[test]
fn a_pushback_is_obeyed() {
    let mut admission = machine();
    admission.unconfirmed(&name(0), at(100.0));
    let pushback = Pushback {
        after: Some(Duration::from_secs(30)),
        scope: PushbackScope::Project,
    };
    let mut answers = [
        FetchLanding::Failed(CallFailure::Exhausted(pushback)),
        FetchLanding::Nothing,
    ]
    .into_iter();
    let launched = run(&mut admission, 1_000.0, |_, _| answers.next().unwrap());
    let waited = launched[1].0 - launched[0].0;
    assert!((30.0..=45.1).contains(&waited), "{waited}");
    assert!(!admission.stops().is_held, "renders are not held");
}

#[test]
fn renders_that_fail_do_not_halt_it() {
    let mut admission = machine();
    let mut now = at(112.0);
    for project in 0..20 {
        let held = Some(HeldMark {
            order: Order::rollout(1),
            validated_at: Moment::START,
        });
        admission.want(&name(100 + project), wish(held, 2, None, now), now);
    }
    while !admission.stops().is_broken {
        for action in admission.take_actions() {
            if let Action::Render { project, .. } = action {
                let failed = Landing::Failed(CallFailure::Unavailable);
                admission.landed(&project, failed, now);
            }
        }
        now = admission.next_wake().unwrap();
        admission.tick(now);
    }
    admission.unconfirmed(&name(0), now);
    assert_eq!(confirmed_now(&mut admission), [name(0)]);
}

#[test]
fn what_is_fetched_while_more_is_missed_is_confirmed_again() {
    let mut admission = machine();
    admission.unconfirmed(&name(0), at(112.0));
    assert_eq!(confirmed_now(&mut admission), [name(0)]);
    admission.resync(at(113.0));
    admission.confirmed(&name(0), FetchLanding::Nothing, at(114.0));
    assert_eq!(confirmed_now(&mut admission), [name(0)]);
    admission.confirmed(&name(0), FetchLanding::Nothing, at(115.0));
    assert_eq!(admission.left_to_confirm(), 0);
}

#[test]
fn what_is_looked_up_no_longer_or_was_rendered_meanwhile_is_not_fetched() {
    let mut admission = machine_of(fetching(0.0, 16), 1);
    admission.unconfirmed(&name(0), at(100.0));
    let now = at(400.0);
    admission.unconfirmed(&name(1), now);
    admission.unconfirmed(&name(2), now);
    let held = HeldMark {
        order: Order::rollout(1),
        validated_at: Moment::START,
    };
    admission.want(&name(2), wish(Some(held), 2, None, now), now);
    let rendered = admission
        .take_actions()
        .into_iter()
        .any(|action| matches!(action, Action::Render { project, .. } if project == name(2)));
    assert!(rendered);
    let brought = HeldMark {
        order: Order::rollout(2),
        validated_at: now,
    };
    admission.landed(&name(2), Landing::Held(brought), now);
    admission.set_limits(fetching(10.0, 16), at(701.0));
    let mut launched = confirmed_now(&mut admission);
    let later = run(&mut admission, 900.0, |_, _| FetchLanding::Nothing);
    launched.extend(later.into_iter().map(|(_, project)| project));
    assert_eq!(launched, [name(1)]);
}
