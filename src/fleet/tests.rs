use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    admission::{
        Action, Admission, AskId, CallFailure, Class, FetchLanding, FetchLimits, HeldMark, Landing,
        Limits, Link, Reserved, Want, Wish,
    },
    revision::{Order, Revision},
    store::{
        acquire::{Acquired, CandidateAnswer},
        beat::{JournalNews, Rates},
        land::LandAnswer,
        model::Model,
        value::StoredValue,
    },
};

mod sequences;

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(7 * 86_400);

fn at(millis: u64) -> Moment {
    Moment::after_start(Duration::from_millis(millis))
}

fn name(project: usize) -> Project {
    Project::new(&format!("demo/{project}")).unwrap()
}

fn member(number: usize) -> Member {
    let options = MemberOptions {
        id: SidecarId::new(&format!("pod-{number}~{number:08x}")).unwrap(),
        forget: 600 * SECOND,
        ttl: TTL,
        seed: number as u64,
    };
    let budget = FleetBudget {
        rate: 20.0,
        size: 4,
    };
    Member::new(options, budget, at(0))
}

/// What a store says that lives as `born`.
fn beaten(born: u64, tick: u64) -> Beaten {
    let lowest = SidecarId::new("pod-0~00000000").unwrap();
    Beaten {
        at: StoreTime::from_millis(1_000_000),
        born: Born(born),
        tick,
        journal: JournalNews {
            cursor: 0,
            end: 0,
            is_cut: false,
            landings: Vec::new(),
        },
        present: 4,
        absent: 0,
        is_learning: false,
        rates: Rates {
            told: 20.0,
            in_force: 20.0,
            pace: 1.0,
            lowest: (lowest, 20.0),
        },
        debt_millis: 0,
    }
}

fn joined() -> Member {
    let mut member = member(1);
    member.connected(at(0));
    assert!(member.beat(at(0)).is_some());
    member.beaten(beaten(7, 1), at(0), at(5));
    member
}

fn revision(project: usize, rollout: u64) -> Arc<Revision> {
    let order = Order::rollout(rollout);
    let payload = format!("{project} of {rollout}");
    let kind = "text/plain".into();
    Arc::new(Revision::new(
        name(project),
        order,
        None,
        kind,
        payload.as_bytes(),
    ))
}

fn wish(project: usize) -> FleetWish {
    FleetWish {
        project: name(project),
        least: Order::rollout(2),
        since: Moment::START,
    }
}

#[test]
fn a_sidecar_joins_with_the_first_beat_and_is_apart_4500_ms_after_the_last() {
    let mut member = member(1);
    assert_eq!(member.mode(), FleetMode::Lost { until: at(1_000) });
    member.connected(at(100));
    let beat = member.beat(at(100)).expect("it is due");
    assert_eq!(beat.connection, BeatConnection::New);
    assert_eq!(beat.membership, 3 * SECOND);
    member.beaten(beaten(7, 1), at(100), at(110));
    assert_eq!(member.mode(), FleetMode::Joined);
    let next = member.wakes_at();
    assert!((at(1_000)..=at(1_210)).contains(&next), "{next:?}");
    let beat = member.beat(next).expect("it is due");
    assert_eq!(beat.connection, BeatConnection::Kept);
    assert_eq!(beat.known.tick, 1);
    // One beat may be late by accident.
    member.beat_failed(at(1_300));
    assert_eq!(member.mode(), FleetMode::Joined);
    assert_eq!(member.wakes_at(), at(1_400), "and is made again at once");
    member.beat_failed(at(1_500));
    let until = at(4_600);
    assert_eq!(member.mode(), FleetMode::Lost { until });
    member.tick(at(4_599));
    assert_eq!(member.mode(), FleetMode::Lost { until });
    member.tick(until);
    assert_eq!(member.mode(), FleetMode::Apart);
    member.beaten(beaten(7, 2), at(9_000), at(9_010));
    assert_eq!(member.mode(), FleetMode::Joined);
}

#[test]
fn a_sidecar_whose_beats_pass_and_whose_asks_do_not_falls_silent_before_it_goes_apart() {
    let mut member = joined();
    for _ in 0..3 {
        let asked = member
            .ask(1, Class::Outdated, &[wish(0)], at(1_000))
            .expect("it has joined");
        let answers = member.ask_failed(&asked, at(1_000));
        assert!(
            matches!(&*answers, [Reserved::Denied { .. }]),
            "{answers:?}"
        );
    }
    assert_eq!(member.mode(), FleetMode::Lost { until: at(4_500) });
    assert!(
        member
            .ask(2, Class::Outdated, &[wish(0)], at(1_000))
            .is_none()
    );
    assert!(
        member.beat(at(14_499)).is_none(),
        "the store sees it as absent"
    );
    assert!(member.beat(at(14_500)).is_some());
    member.beaten(beaten(7, 2), at(14_500), at(14_501));
    assert_eq!(member.mode(), FleetMode::Joined);
}

/// An answer of each kind to the first four of five wishes.
fn one_of_each(asked: &AskedOf) -> (StoreLease, Acquired) {
    let lease = StoreLease {
        order: Order::rollout(2),
        holder: asked.acquire.id.clone(),
        tick: 3,
    };
    let stamp = crate::store::head::Stamp {
        order: Order::rollout(2),
        digest: revision(1, 2).digest,
    };
    let head = crate::store::head::StoredHead {
        at: StoreTime::from_millis(1_000_000),
        stamp,
    };
    let acquired = Acquired::Answered {
        at: StoreTime::from_millis(1_002_000),
        tick: 3,
        retry: Duration::from_millis(700),
        answers: vec![
            CandidateAnswer::Granted {
                starts_in: Duration::from_millis(80),
                count: 0,
                lease: lease.clone(),
            },
            CandidateAnswer::Landed(head.raw()),
            CandidateAnswer::Elsewhere {
                ends_in: 9 * SECOND,
                holder: SidecarId::new("pod-2~00000002").unwrap(),
            },
            CandidateAnswer::LeftAlone(crate::store::lease::Marker {
                until: StoreTime::from_millis(1_010_000),
                cause: crate::store::lease::Cause {
                    count: 1,
                    why: crate::store::lease::Why::Failing,
                },
            }),
        ],
    };
    (lease, acquired)
}

#[test]
fn answers_of_the_store_become_words_for_admission() {
    let mut member = joined();
    let now = at(2_000);
    let wishes: Vec<_> = (0..5).map(wish).collect();
    let asked = member.ask(9, Class::Outdated, &wishes, now).unwrap();
    let (lease, acquired) = one_of_each(&asked);
    let told = member.acquired(&asked, acquired, now);
    let [granted, landed, elsewhere, alone, waits] = &*told.answers else {
        panic!("{told:?}");
    };
    let starts_at = at(2_080);
    assert!(
        matches!(granted, Reserved::Granted { starts_at: at, lease: Some(_) } if *at == starts_at),
        "{granted:?}"
    );
    assert_eq!(
        *landed,
        Reserved::Elsewhere {
            look_again: at(3_000)
        }
    );
    assert_eq!(
        *elsewhere,
        Reserved::Elsewhere {
            look_again: at(4_000)
        }
    );
    // The store's clock has gone on by 2 s since the beat.
    assert_eq!(*alone, Reserved::LeftAlone { until: at(10_000) });
    assert_eq!(
        *waits,
        Reserved::Denied {
            retry_at: at(2_700)
        }
    );
    assert_eq!(told.pulls.len(), 1);
    // A lease is renewed until its render has landed, and goes into `land`.
    let beat = member.beat(at(3_000)).unwrap();
    assert_eq!(beat.renew, [(name(0), lease.clone())]);
    assert_eq!(beat.known.tick, 3);
    let end = RenderEnd::Held(revision(0, 2));
    let publication = member.ended(&name(0), Some(Lease(1)), &end).unwrap();
    assert_eq!(publication.land.lease, Some(lease));
    assert!(publication.put.is_some());
    assert!(member.gives_back(Lease(1)).is_none());
    // What is gone is rendered anew.
    member.note_lost(&told.pulls[0], None);
    let asked = member.ask(10, Class::Outdated, &[wish(1)], now).unwrap();
    assert_eq!(asked.acquire.candidates[0].lost, Some(Order::rollout(2)));
}

#[test]
fn what_was_rendered_is_told_again_to_a_store_that_lost_its_state() {
    let mut member = joined();
    let end = RenderEnd::Held(revision(0, 2));
    let publication = member.ended(&name(0), None, &end).unwrap();
    let answer = LandAnswer::Told {
        verdict: None,
        found: None,
        tick: 5,
        end: 8,
    };
    member.published(&publication, Some(&answer), at(100));
    assert_eq!(member.next_unpublished(), None);
    member.beaten(beaten(7, 6), at(1_000), at(1_001));
    assert_eq!(member.next_unpublished(), None, "the store is as it was");
    member.beaten(beaten(8, 1), at(2_000), at(2_001));
    assert_eq!(member.next_unpublished(), Some(name(0)));
    assert_eq!(
        member.beat(at(4_000)).unwrap().known.tick,
        1,
        "ticks are of a life"
    );
    // What landed while the sidecar was apart is told when it joins.
    member.lost(at(4_001));
    member.tick(at(60_000));
    let end = RenderEnd::Held(revision(1, 2));
    assert!(member.ended(&name(1), None, &end).is_none());
    assert_eq!(member.next_unpublished(), None);
    member.beaten(beaten(8, 2), at(61_000), at(61_001));
    assert_eq!(member.next_unpublished(), Some(name(1)));
}

#[test]
fn a_project_that_fails_is_left_alone_by_all_for_twice_as_long_each_time() {
    for (count, seconds) in [(0, 5), (1, 10), (5, 160), (9, 300), (1_000, 300)] {
        let mut member = joined();
        let asked = member.ask(1, Class::Outdated, &[wish(0)], at(0)).unwrap();
        let lease = StoreLease {
            order: Order::rollout(2),
            holder: asked.acquire.id.clone(),
            tick: 3,
        };
        let granted = Acquired::Answered {
            at: StoreTime::from_millis(1_000_000),
            tick: 3,
            retry: Duration::ZERO,
            answers: vec![CandidateAnswer::Granted {
                starts_in: Duration::ZERO,
                count,
                lease,
            }],
        };
        member.acquired(&asked, granted, at(0));
        let publication = member.ended(&name(0), Some(Lease(1)), &RenderEnd::Failed);
        let (alone, cause) = publication.unwrap().land.leave_alone.unwrap();
        assert_eq!((alone, cause.count), (seconds * SECOND, count + 1));
    }
}

#[test]
fn a_landing_elsewhere_is_read_once_when_its_project_is_wanted() {
    let mut member = joined();
    let digest = revision(0, 2).digest;
    assert!(!member.has_landed(&wish(0)));
    member.note_landings([LandingEntry::new(&name(0), &digest)]);
    assert!(member.has_landed(&wish(0)));
    assert!(!member.has_landed(&wish(0)));
    // What landed for an earlier release is of no use for a later one.
    member.note_landings([LandingEntry::new(&name(0), &digest)]);
    let later = FleetWish {
        least: Order::rollout(3),
        ..wish(0)
    };
    assert!(!member.has_landed(&later));
}
