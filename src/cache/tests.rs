use std::{sync::Barrier, thread};

use super::*;
use crate::revision::Order;

fn revision(rollout: u64, number: u64, payload: &'static str) -> Revision {
    Revision::new(
        Project::new("demo/shop").unwrap(),
        Order::new(rollout, number),
        None,
        "application/json".into(),
        payload.as_bytes(),
    )
}

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn change(number: u64, since: u64) -> Option<Change> {
    let since = at(since);
    Some(Change { number, since })
}

fn held(cache: &Cache) -> Arc<Held> {
    cache.get("demo/shop").unwrap()
}

#[test]
fn newer_is_stored_older_is_not_whatever_order_they_come_in() {
    let cache = Cache::new(1 << 20);
    for (rollout, number, stored) in [
        (1, 5, Stored::Newer),
        (1, 4, Stored::Older),
        (2, 1, Stored::Newer),
        (1, 9, Stored::Older),
        (2, 2, Stored::Newer),
    ] {
        assert_eq!(cache.store(revision(rollout, number, "a"), at(1)).0, stored);
    }
    assert_eq!(held(&cache).revision.order, Order::new(2, 2));
}

#[test]
fn writers_that_race_never_leave_the_older_revision_behind() {
    for round in 1..=2_000 {
        let cache = Cache::new(1 << 20);
        let start = Barrier::new(3);
        thread::scope(|threads| {
            for (rollout, number) in [(1, round), (2, 1)] {
                let (cache, start) = (&cache, &start);
                threads.spawn(move || {
                    let revision = revision(rollout, number, "a");
                    start.wait();
                    cache.store(revision, at(1));
                });
            }
            start.wait();
            let mut last = Order::default();
            while last < Order::new(2, 1) {
                let order = cache.get("demo/shop").map(|held| held.revision.order);
                assert!(order.unwrap_or(last) >= last, "it fell below {last}");
                last = order.unwrap_or(last);
            }
        });
        assert_eq!(held(&cache).revision.order, Order::new(2, 1));
    }
}

#[test]
fn the_same_order_is_validated_and_the_first_payload_kept_when_they_differ() {
    let cache = Cache::new(1 << 20);
    cache.store(revision(1, 1, "first"), at(1));
    assert_eq!(
        cache.store(revision(1, 1, "first"), at(2)).0,
        Stored::Validated
    );
    assert_eq!(held(&cache).validated_at, at(2));
    assert_eq!(
        cache.store(revision(1, 1, "second"), at(3)).0,
        Stored::Conflict
    );
    assert_eq!(
        (
            held(&cache).validated_at,
            &held(&cache).revision.payload[..]
        ),
        (at(3), &b"first"[..])
    );
}

#[test]
fn a_change_marks_what_is_below_it_until_a_revision_has_it() {
    let cache = Cache::new(1 << 20);
    let shop = Project::new("demo/shop").unwrap();
    assert!(!cache.record_change(&shop, 3, at(1)), "nothing is held");
    cache.store(revision(1, 2, "a"), at(2));
    assert_eq!(
        held(&cache).changed,
        change(3, 1),
        "learned before it was held"
    );
    cache.store(revision(1, 3, "b"), at(3));
    assert_eq!(held(&cache).changed, None);
    assert!(cache.record_change(&shop, 4, at(4)));
    assert!(!cache.record_change(&shop, 4, at(5)));
    assert_eq!(held(&cache).changed, change(4, 4));
}

#[test]
fn what_is_larger_than_the_cache_is_refused_before_it_empties_it() {
    let cache = Cache::new(2_000);
    cache.store(revision(1, 1, "small"), at(1));
    let large: &'static str = "x".repeat(2_000).leak();
    assert_eq!(
        cache.store(revision(1, 2, large), at(2)).0,
        Stored::TooLarge
    );
    assert_eq!(held(&cache).revision.order, Order::new(1, 1));
}

#[test]
fn absence_ends_doubles_and_yields_to_a_raised_target() {
    let cache = Cache::new(1 << 20);
    let shop = Project::new("demo/shop").unwrap();
    assert_eq!(
        cache.record_absent(&shop, 1, at(0)),
        Duration::from_secs(30)
    );
    assert_eq!(
        cache.absent_for(shop.as_str(), 1, at(10)),
        Some(Duration::from_secs(20))
    );
    assert_eq!(cache.absent_for(shop.as_str(), 2, at(10)), None);
    assert_eq!(cache.absent_for(shop.as_str(), 1, at(30)), None);
    assert_eq!(
        cache.record_absent(&shop, 1, at(30)),
        Duration::from_secs(60)
    );
}

/// moka's TinyLFU rejects newcomers: what had just been learned was forgotten.
#[test]
fn when_20_000_projects_change_the_changes_of_the_first_are_forgotten_not_the_last() {
    let cache = Cache::new(64 << 20);
    let projects: Vec<_> = (0..20_000)
        .map(|i| Project::new(&format!("demo/{i}")).unwrap())
        .collect();
    for project in &projects {
        cache.record_change(project, 2, at(1));
    }
    let is_known = |project: &Project| {
        let payload = b"{}";
        let order = Order::new(1, 1);
        let revision = Revision::new(project.clone(), order, None, "".into(), payload);
        cache.store(revision, at(2)).1.unwrap().changed.is_some()
    };
    assert!(projects[10_000..].iter().all(is_known));
}

#[test]
fn when_20_000_projects_are_absent_the_first_are_forgotten_not_the_last() {
    let cache = Cache::new(64 << 20);
    let projects: Vec<_> = (0..20_000)
        .map(|i| Project::new(&format!("demo/{i}")).unwrap())
        .collect();
    for project in &projects {
        cache.record_absent(project, 1, at(1));
    }
    let is_absent = |project: &Project| cache.absent_for(project.as_str(), 1, at(2)).is_some();
    assert!(projects[10_000..].iter().all(is_absent));
}

/// A renderer stuck at number 4 while the input changed every minute was taken to be outdated for a
/// minute.
#[test]
fn what_lands_is_outdated_since_the_first_change_that_it_lacks() {
    let cache = Cache::new(1 << 20);
    let shop = Project::new("demo/shop").unwrap();
    cache.store(revision(1, 4, "a"), at(0));
    for minute in 1..=120 {
        cache.record_change(&shop, 4 + minute, at(60 * minute));
        cache.store(revision(1, 4, "a"), at(60 * minute + 30));
        assert_eq!(
            held(&cache).changed.unwrap().since,
            at(60),
            "minute {minute}"
        );
    }
    cache.store(revision(1, 122, "b"), at(7_230));
    assert_eq!(
        held(&cache).changed,
        change(124, 60 * 119),
        "it lacks the change of minute 119 and the next"
    );
}

/// A renderer that was restarted tells of changes under the first rollout again.
#[test]
fn a_change_is_compared_by_its_number_whatever_the_rollouts() {
    let cache = Cache::new(1 << 20);
    let shop = Project::new("demo/shop").unwrap();
    cache.store(revision(2, 5, "a"), at(1));
    assert!(cache.record_change(&shop, 6, at(2)));
    cache.store(revision(3, 5, "b"), at(3));
    assert_eq!(
        held(&cache).changed,
        change(6, 2),
        "a release alone has it not"
    );
    cache.store(revision(3, 6, "c"), at(4));
    assert_eq!(held(&cache).changed, None);
}

/// A change to the largest number there is took 84 % of the budget, for ever.
#[test]
fn a_change_that_renders_go_on_to_lack_is_given_up_and_a_smaller_one_heard() {
    let cache = Cache::new(1 << 20);
    let shop = Project::new("demo/shop").unwrap();
    cache.store(revision(1, 5, "a"), at(0));
    cache.record_change(&shop, u64::MAX, at(1));
    for _ in 1..8 {
        assert_eq!(cache.record_rendered(&shop, 5), None);
    }
    assert_eq!(held(&cache).changed, change(u64::MAX, 1));
    assert_eq!(cache.record_rendered(&shop, 5), Some(u64::MAX));
    assert_eq!(held(&cache).changed, None);
    assert!(
        cache.record_change(&shop, 6, at(9)),
        "a smaller one is heard"
    );
    assert_eq!(held(&cache).changed, change(6, 9));
}

#[test]
fn a_smaller_change_that_came_meanwhile_outlives_the_one_that_is_given_up() {
    let cache = Cache::new(1 << 20);
    let shop = Project::new("demo/shop").unwrap();
    cache.store(revision(1, 5, "a"), at(0));
    cache.record_change(&shop, u64::MAX, at(1));
    cache.record_change(&shop, 6, at(2));
    for _ in 1..8 {
        cache.record_rendered(&shop, 5);
    }
    assert_eq!(cache.record_rendered(&shop, 5), Some(u64::MAX));
    assert_eq!(held(&cache).changed, change(6, 2));
}

#[test]
fn a_change_that_what_is_held_has_is_known_to_what_is_fetched_after_an_eviction() {
    let cache = Cache::new(1 << 20);
    let shop = Project::new("demo/shop").unwrap();
    cache.store(revision(1, 5, "a"), at(0));
    cache.record_change(&shop, 6, at(1));
    cache.store(revision(1, 6, "b"), at(2));
    cache.record_rendered(&shop, 6);
    cache.evict(&shop);
    cache.store(revision(1, 5, "a"), at(3));
    assert_eq!(held(&cache).changed, change(6, 1));
}

/// What a walk over everything held would count.
fn walked(cache: &Cache, rollout: u64) -> u64 {
    let held = cache.iter();
    held.filter(|held| held.revision.order.rollout < rollout)
        .count() as u64
}

#[test]
fn what_is_held_of_older_rollouts_is_counted_without_a_walk() {
    let cache = Cache::new(40 * 1_000);
    let mut rng = fastrand::Rng::with_seed(5);
    for step in 0..5_000 {
        let project = Project::new(&format!("demo/{}", rng.u8(..80))).unwrap();
        match rng.u8(..10) {
            0 => cache.remove(&project),
            1 => {
                let connection = None;
                let at = at(step);
                cache.record_gone(&project, AnswerOrigin { at, connection });
            }
            2 => drop(cache.record_change(&project, 9, at(step))),
            _ => {
                let order = Order::new(rng.u64(1..6), rng.u64(1..3));
                let payload = vec![b'a'; rng.usize(1..2_000)];
                let media_type = "application/json".into();
                let revision = Revision::new(project, order, None, media_type, &payload);
                cache.store(revision, at(step));
            }
        }
        let rollout = rng.u64(..8);
        assert_eq!(cache.below(rollout), walked(&cache, rollout), "step {step}");
    }
    assert!(cache.evictions() > 100, "there was no eviction");
}

#[test]
fn a_project_that_was_thrown_out_and_is_stored_again_came_back() {
    let cache = Cache::new(10 * 1_000);
    let store = |n: u64| {
        let project = Project::new(&format!("demo/{n}")).unwrap();
        let order = Order::new(1, 1);
        let revision = Revision::new(project, order, None, "text/plain".into(), &[b'a'; 300]);
        cache.store(revision, at(1));
    };
    (0..200).for_each(store);
    assert!(cache.evictions() >= 150);
    assert_eq!(cache.returned(), 0, "all were new");
    (0..5).for_each(store);
    assert_eq!(cache.returned(), 5);
    (0..5).for_each(store);
    assert_eq!(cache.returned(), 5, "they are held");
}

#[test]
fn the_order_falls_only_from_ahead_of_the_target_and_by_two_words_that_agree() {
    let shop = "demo/shop";
    let origin = |seconds, connection| AnswerOrigin {
        at: at(seconds),
        connection: Some(connection),
    };
    let cache = Cache::new(1 << 20);
    let store = |rollout, number, origin| {
        let revision = revision(rollout, number, "a");
        cache.store_from(revision, origin, 4).0
    };
    assert_eq!(store(9, 5, origin(0, 1)), Stored::Newer);
    assert_eq!(store(4, 5, origin(10, 1)), Stored::Older, "the first");
    assert_eq!(
        store(4, 6, origin(60, 1)),
        Stored::Older,
        "over the same one"
    );
    assert_eq!(store(4, 6, origin(39, 2)), Stored::Older, "too soon");
    assert_eq!(
        store(3, 6, origin(60, 2)),
        Stored::Older,
        "below the target"
    );
    assert_eq!(store(4, 4, origin(70, 2)), Stored::Older, "it disagrees");
    assert_eq!(store(4, 6, origin(80, 3)), Stored::Older, "and starts anew");
    assert_eq!(store(4, 6, origin(100, 3)), Stored::Lower);
    let held = cache.get(shop).unwrap();
    assert_eq!(held.revision.order, Order::new(4, 6));
    assert_eq!(held.fell_from, Some(Order::new(9, 5)));
    for connection in 4..9 {
        let later = origin(1_000 * connection, connection);
        assert_eq!(store(4, 5, later), Stored::Older, "it is of the target");
    }
}

proptest::proptest! {
    /// Whatever comes over whatever connections, the order falls only from above the target, to the
    /// target or above it.
    #[test]
    fn the_order_never_falls_otherwise(
        answers in proptest::collection::vec((0_u64..6, 0_u64..4, 0_u64..3, 0_u64..40), 1..60),
        target in 1_u64..5,
    ) {
        let cache = Cache::new(1 << 20);
        let mut now = 0;
        for (rollout, number, connection, wait) in answers {
            now += wait;
            let before = cache.get("demo/shop").map(|held| held.revision.order);
            let origin = AnswerOrigin { at: at(now), connection: Some(connection) };
            let (stored, _) = cache.store_from(revision(rollout, number, "a"), origin, target);
            let after = held(&cache).revision.order;
            if before.is_some_and(|before| after < before) {
                proptest::prop_assert_eq!(stored, Stored::Lower);
                proptest::prop_assert!(before.unwrap_or_default().rollout > target);
                proptest::prop_assert!(after.rollout >= target);
            }
        }
    }
}
