//! What holds fetches, and what becomes of projects that are not fetched.

use super::*;

#[test]
fn fetches_that_are_pushed_back_for_all_hold_the_fetches() {
    let start = at_100();
    let mut admission = Admission::new(limits(100.0, 10, 4, 1_000), 1, 1, Moment::START);
    admission.set_link(Link::Up, start);
    for project in 0..200 {
        admission.want(&name(project), wish(None, 1, Some(PATIENT), start), start);
    }
    let pushed_back = FetchLanding::Failed(CallFailure::Exhausted(Pushback {
        after: Some(Duration::from_secs(3)),
        scope: PushbackScope::Global,
    }));
    let mut now = start;
    let (mut fetched, mut rendered) = (0, 0);
    while now <= start + Duration::from_secs(10) {
        let (fetches, renders) = launches(&mut admission);
        fetched += fetches.len();
        rendered += renders.len();
        for project in fetches {
            admission.fetched(&project, pushed_back, now);
        }
        let refused = admission.explain(&name(199), now).unwrap();
        assert_eq!(refused.refusal.reason, NotRefreshed::PushedBack);
        now = admission.next_wake().unwrap();
        admission.tick(now);
    }
    // Two may fly at once, and a pushback is obeyed for at least 3 s.
    assert!(fetched <= 4 * 2, "{fetched} fetches in 10 s");
    assert!(rendered <= 1, "{rendered} renders but for the probe");
}

#[test]
fn a_fetch_that_is_not_to_be_retried_leads_to_no_render() {
    let now = at_100();
    let mut admission = Admission::new(limits(100.0, 10, 4, 100), 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    admission.want(&name(0), wish(None, 1, Some(PATIENT), now), now);
    launches(&mut admission);
    let never = Pushback {
        after: None,
        scope: PushbackScope::Global,
    };
    admission.fetched(
        &name(0),
        FetchLanding::Failed(CallFailure::Exhausted(never)),
        now,
    );
    assert_eq!(launches(&mut admission), (vec![], vec![]));
    let explained = admission.explain(&name(0), now).unwrap();
    assert_eq!(explained.refusal.reason, NotRefreshed::CoolingDown);
}

#[test]
fn where_nothing_is_fetched_a_missing_project_is_rendered_at_once() {
    let now = Moment::after_start(Duration::from_secs(100));
    let fetching = limits(100.0, 10, 4, 100);
    let mut rendering = fetching;
    rendering.fetch.rate = 0.0;
    for before in [rendering, fetching] {
        let mut admission = Admission::new(before, 1, 1, Moment::START);
        admission.set_link(Link::Up, now);
        for project in 0..3 {
            let patience = Some(Duration::from_secs(10));
            admission.want(&name(project), wish(None, 1, patience, now), now);
        }
        admission.set_limits(rendering, now);
        let fetched = admission.flights.fetches as usize;
        assert_eq!(launched(&mut admission).len() + fetched, 3);
    }
}

#[test]
fn a_fetch_that_is_pushed_back_is_not_followed_by_a_render_but_by_a_fetch_when_the_hold_ends() {
    let mut now = Moment::after_start(Duration::from_secs(100));
    let mut admission = Admission::new(limits(100.0, 10, 4, 100), 1, 1, Moment::START);
    admission.set_link(Link::Up, now);
    admission.want(
        &name(0),
        wish(None, 1, Some(Duration::from_secs(20)), now),
        now,
    );
    assert!(matches!(
        admission.take_actions()[..],
        [Action::Fetch { .. }]
    ));
    let pushback = Pushback {
        after: Some(Duration::from_secs(5)),
        scope: PushbackScope::Project,
    };
    admission.fetched(
        &name(0),
        FetchLanding::Failed(CallFailure::Exhausted(pushback)),
        now,
    );
    let explained = admission.explain(&name(0), now).unwrap();
    assert_eq!(explained.refusal.reason, NotRefreshed::PushedBack);
    assert!(admission.take_actions().is_empty());
    now = now + explained.refusal.retry_after;
    admission.tick(now);
    assert!(matches!(
        admission.take_actions()[..],
        [Action::Fetch { .. }]
    ));
}

#[test]
fn goes_on_when_a_new_connection_may_offer_fetch_again() {
    let now = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..1, limits(0.0, 1, 1, 100), now);
    admission.set_link(Link::Down { retry_at: now }, now);
    admission.set_link(Link::Up, now);
    let actions = admission.take_actions();
    assert!(
        matches!(actions.as_slice(), [.., Action::Fetch { .. }]),
        "{actions:?}"
    );
}
