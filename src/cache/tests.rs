use std::{sync::Barrier, thread};

use super::*;

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
    assert!(
        !cache.note_change(&shop, Order::new(1, 3), at(1)),
        "nothing is held"
    );
    cache.store(revision(1, 2, "a"), at(2));
    assert_eq!(
        held(&cache).changed,
        Some((Order::new(1, 3), at(1))),
        "learned before it was held"
    );
    cache.store(revision(1, 3, "b"), at(3));
    assert_eq!(held(&cache).changed, None);
    assert!(cache.note_change(&shop, Order::new(1, 4), at(4)));
    assert!(!cache.note_change(&shop, Order::new(1, 4), at(5)));
    assert_eq!(held(&cache).changed, Some((Order::new(1, 4), at(4))));
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
    assert_eq!(cache.note_absent(&shop, 1, at(0)), Duration::from_secs(30));
    assert_eq!(
        cache.absent_for(&shop, 1, at(10)),
        Some(Duration::from_secs(20))
    );
    assert_eq!(cache.absent_for(&shop, 2, at(10)), None);
    assert_eq!(cache.absent_for(&shop, 1, at(30)), None);
    assert_eq!(cache.note_absent(&shop, 1, at(30)), Duration::from_secs(60));
}
