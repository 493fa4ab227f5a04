use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    KeyNames, ScriptReply, SidecarId, StoreTime,
    acquire::{Acquire, AcquireCandidate, Acquired, CandidateAnswer, Urgency},
    beat::{Beat, BeatConnection, Beaten, KnownStore},
    head::{RawHead, Stamp, StoredHead, order_of, written},
    land::{Land, LandAnswer, LandOutcome},
    lease::StoreLease,
    model::{Model, Segment, StoreKey},
    put::{Put, StoreVerdict},
    value::{PREFIX_BYTES, Packing, Signature, StoredValue, UnreadableValue},
};
use crate::revision::{Digest, Order, Project};

mod fleet;

fn project(name: &str) -> Project {
    Project::new(name).unwrap()
}

fn id(number: usize) -> SidecarId {
    SidecarId::new(&format!("pod-{number}~{number:08x}")).unwrap()
}

fn value(rollout: u64) -> StoredValue {
    StoredValue {
        stamp: Stamp {
            order: Order::rollout(rollout),
            digest: Digest::of(b"{}"),
        },
        rendered_at: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_795_000_123)),
        content_type: "application/json".into(),
        signature: Some(Signature {
            key_id: "2026".into(),
            bytes: [9; 64],
        }),
        packing: Packing::Plain,
        payload: Bytes::from_static(b"{}"),
    }
}

/// What other versions of evenkeel rely on.
#[test]
fn a_value_is_laid_out_as_it_is_for_ever() {
    let mut expected = b"\x01\x02".to_vec();
    expected.extend(b"0000000000000000000700000000000000000000");
    expected.extend(Digest::of(b"{}").as_bytes());
    assert_eq!(expected.len(), PREFIX_BYTES);
    expected.extend(1_795_795_000_123_u64.to_be_bytes());
    expected.extend(b"\x10application/json\x042026");
    expected.extend([9; 64]);
    expected.extend(b"{}");
    assert_eq!(value(7).bytes(), expected);
}

#[test]
fn a_value_of_a_newer_version_or_with_unknown_flags_is_told_apart() {
    for (at, byte, version, flags) in [(0, 2, 2, 2), (1, 4, 1, 4), (1, 0xff, 1, 0xff)] {
        let mut bytes = value(1).bytes();
        bytes[at] = byte;
        let unknown = UnreadableValue::Unknown { version, flags };
        assert_eq!(StoredValue::read(&bytes.into()), Err(unknown));
    }
}

#[test]
fn a_value_that_is_cut_anywhere_before_its_payload_is_malformed() {
    let bytes = Bytes::from(value(1).bytes());
    for end in 0..bytes.len() - 2 {
        let read = StoredValue::read(&bytes.slice(..end));
        assert!(
            matches!(read, Err(UnreadableValue::Malformed(_))),
            "{end}: {read:?}"
        );
    }
}

#[test]
fn keys_of_a_fleet_share_a_slot_and_values_do_not() {
    let names = KeyNames::new("prod", "identity").unwrap();
    assert_eq!(names.bucket(), "{ek:prod:identity}:b");
    assert_eq!(names.operator(), "{ek:prod:identity}:o");
    assert_eq!(names.head(&project("a/b")), "{ek:prod:identity}:r:a/b");
    assert_eq!(names.lease(&project("a/b")), "{ek:prod:identity}:l:a/b");
    assert_eq!(names.value(&project("a/b")), "ek:prod:identity:v:a/b");
    for (namespace, component) in [("", "a"), ("a", "a}b"), ("a:b", "c"), ("a", "b c")] {
        let invalid = KeyNames::new(namespace, component).unwrap_err().to_string();
        assert!(invalid.contains("[A-Za-z0-9._/-]"), "{invalid}");
    }
}

#[test]
fn an_id_that_could_not_be_told_from_a_tick_is_read_back_all_the_same() {
    let lease = StoreLease {
        order: Order::new(3, u64::MAX),
        holder: SidecarId::new("a~7~00000001").unwrap(),
        tick: 12,
    };
    assert_eq!(StoreLease::read(lease.written().as_bytes()), Some(lease));
    assert!(SidecarId::new("a:b").is_err() && SidecarId::new("").is_err());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        rollout: u64, number: u64, millis in 0..9_999_999_999_999_u64, signed: bool, packed: bool,
        key_id in "[a-z]{0,255}", content_type in "[a-z/]{0,255}",
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let order = Order::new(rollout, number);
        prop_assert_eq!(order_of(written(order).as_bytes()), Some(order));
        let stamp = Stamp { order, digest: Digest::of(&payload) };
        let head = StoredHead { at: StoreTime::from_millis(millis), stamp };
        prop_assert_eq!(head.raw().read(), Some(head));
        let signature = Signature { key_id: key_id.into(), bytes: [rollout.to_be_bytes()[0]; 64] };
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let value = StoredValue {
            stamp,
            rendered_at: (millis > 0).then_some(at),
            content_type: content_type.into(),
            signature: signed.then_some(signature),
            packing: if packed { Packing::Zstd } else { Packing::Plain },
            payload: payload.into(),
        };
        prop_assert_eq!(StoredValue::read(&value.bytes().into()), Ok(value));
    }

    /// Anyone with the store's password may write anything.
    #[test]
    fn any_bytes_are_read_without_a_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200), as_value: bool,
    ) {
        if as_value {
            let good = value(1).bytes();
            let end = bytes.len().min(good.len());
            let at = usize::from(bytes.first().copied().unwrap_or(0)) % good.len();
            let mut spoilt = good;
            spoilt.truncate(spoilt.len() - end.min(20));
            if let Some(byte) = spoilt.get_mut(at) { *byte ^= 0x40; }
            bytes = spoilt;
        }
        _ = RawHead(bytes.clone()).read();
        _ = StoreLease::read(&bytes);
        _ = StoredValue::read(&bytes.clone().into());
        _ = Acquire::read(ScriptReply::List(vec![
            ScriptReply::Bytes(b"ok".to_vec()), ScriptReply::Integer(1), ScriptReply::Integer(1), ScriptReply::Integer(0), ScriptReply::Bytes(bytes.clone()),
        ]));
        for kind in [b"C", b"E", b"G", b"L"] {
            let answer = [&kind[..], &bytes].concat();
            _ = Acquire::read(ScriptReply::List(vec![
                ScriptReply::Bytes(b"ok".to_vec()), ScriptReply::Integer(1), ScriptReply::Integer(1), ScriptReply::Integer(0), ScriptReply::Bytes(answer),
            ]));
        }
        _ = Beat::read(ScriptReply::List(vec![ScriptReply::Integer(-1), ScriptReply::Bytes(bytes.clone())]));
        _ = Land::read(ScriptReply::List(vec![ScriptReply::Bytes(bytes.clone())]));
        _ = Put::read(ScriptReply::Bytes(bytes));
    }
}

/// A sidecar before a model, with what it remembers.
struct StoreCaller {
    id: SidecarId,
    told: f64,
    /// How many sidecars there are at least, by its settings.
    fleet_size: usize,
    known: KnownStore,
    connection: BeatConnection,
}

impl StoreCaller {
    fn new(number: usize, told: f64) -> Self {
        Self::of_fleet(number, told, 1)
    }

    fn of_fleet(number: usize, told: f64, fleet_size: usize) -> Self {
        let known = KnownStore {
            count: fleet_size as u64,
            ..KnownStore::default()
        };
        Self {
            id: id(number),
            told,
            fleet_size,
            known,
            connection: BeatConnection::New,
        }
    }

    fn beat(&mut self, model: &mut Model, now: StoreTime) -> Beaten {
        let beaten = model.beat(
            &Beat {
                id: self.id.clone(),
                told: self.told,
                membership: Duration::from_secs(3),
                forget: Duration::from_secs(600),
                known: self.known,
                connection: self.connection,
                renew: Vec::new(),
                lease: Duration::from_secs(10),
            },
            now,
        );
        self.connection = BeatConnection::Kept;
        self.known = KnownStore {
            born: Some(beaten.born),
            tick: beaten.tick,
            cursor: beaten.journal.cursor,
            count: (beaten.present + beaten.absent).max(self.fleet_size as u64),
        };
        beaten
    }

    fn acquire(&mut self, model: &mut Model, names: &[&str], now: StoreTime) -> Acquired {
        self.acquire_as(Urgency::Outdated, model, names, now)
    }

    fn acquire_as(
        &mut self,
        urgency: Urgency,
        model: &mut Model,
        names: &[&str],
        now: StoreTime,
    ) -> Acquired {
        let candidate = |name: &&str| AcquireCandidate {
            project: project(name),
            least: Order::rollout(1),
            oldest: None,
            lost: None,
        };
        let acquired = model.acquire(
            &Acquire {
                id: self.id.clone(),
                born: self.known.born.unwrap(),
                tick: self.known.tick,
                urgency,
                most: 8,
                horizon: Duration::from_millis(900),
                lease: Duration::from_secs(10),
                candidates: names.iter().map(candidate).collect(),
            },
            now,
        );
        if let Acquired::Wait { tick, .. } | Acquired::Answered { tick, .. } = &acquired {
            self.known.tick = *tick;
        }
        acquired
    }

    fn land(&self, model: &mut Model, name: &str, number: u64, now: StoreTime) -> LandAnswer {
        let order = Order::new(1, number);
        let stamp = Stamp {
            order,
            digest: Digest::of(&number.to_be_bytes()),
        };
        model.land(
            &Land {
                born: self.known.born.unwrap(),
                id: self.id.clone(),
                project: project(name),
                lease: None,
                landed: Some(stamp),
                ttl: Duration::from_secs(600),
                outcome: LandOutcome::Good,
                leave_alone: None,
                disowned: None,
            },
            now,
        )
    }
}

fn seconds(seconds: f64) -> StoreTime {
    StoreTime::from_micros(
        1_795_795_000_000_000 + Duration::from_secs_f64(seconds).as_micros() as u64,
    )
}

fn granted(acquired: &Acquired) -> usize {
    starts(acquired).len()
}

/// In how long what is granted starts.
fn starts(acquired: &Acquired) -> Vec<Duration> {
    match acquired {
        Acquired::Answered { answers, .. } => {
            let starts = answers.iter().map(|answer| match answer {
                CandidateAnswer::Granted { starts_in, .. } => Some(*starts_in),
                CandidateAnswer::Landed(_)
                | CandidateAnswer::Elsewhere { .. }
                | CandidateAnswer::LeftAlone(_)
                | CandidateAnswer::Garbage => None,
            });
            starts.flatten().collect()
        }
        Acquired::BeatFirst | Acquired::Wait { .. } => Vec::new(),
    }
}

/// Guards against a young store that forgot, by its clock, how many sidecars to expect.
#[test]
fn a_young_store_goes_on_expecting_sidecars_when_its_clock_jumps() {
    for jump in [-4.0, 60.0] {
        let mut model = Model::new();
        let mut caller = StoreCaller::of_fleet(1, 60.0, 6);
        let born = caller.beat(&mut model, seconds(100.0));
        assert_eq!((born.is_learning, born.rates.in_force), (true, 10.0));
        let jumped = caller.beat(&mut model, seconds(101.0 + jump));
        assert_eq!((jumped.is_learning, jumped.rates.in_force), (true, 10.0));
        for second in 102..115_u32 {
            let beaten = caller.beat(&mut model, seconds(f64::from(second) + jump));
            assert_eq!(beaten.is_learning, second < 110, "{second}, {jump}");
        }
    }
}

/// Guards against tokens that missing projects leave behind for later, and that outdated ones take
/// in a burst.
#[test]
fn outdated_projects_that_come_after_missing_ones_start_within_the_budget() {
    let rate = 20.0;
    let (mut model, mut caller) = (Model::new(), StoreCaller::new(1, rate));
    let mut found = Vec::new();
    for step in 0..60_u32 {
        let at = f64::from(step) / 10.0;
        caller.beat(&mut model, seconds(at));
        let urgency = if step < 40 {
            Urgency::Missing
        } else {
            Urgency::Outdated
        };
        let names: Vec<_> = (0..8).map(|name| format!("{step}/{name}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let acquired = caller.acquire_as(urgency, &mut model, &names, seconds(at));
        found.extend(
            starts(&acquired)
                .iter()
                .map(|start| at + start.as_secs_f64()),
        );
    }
    found.sort_by(f64::total_cmp);
    assert!(found.len() > 80, "{}", found.len());
    for (first, from) in found.iter().enumerate() {
        for (last, to) in found.iter().enumerate().skip(first) {
            let most = 1.0 + rate * (to - from + 0.2) + 1e-6;
            assert!((last - first + 1) as f64 <= most, "from {from} to {to}");
        }
    }
}

/// Without the name of the history, the one that had not seen the lost writes was given their
/// tokens again.
#[test]
fn an_older_copy_grants_nothing_to_a_sidecar_that_has_not_seen_what_it_lacks() {
    let (mut model, mut one, mut other) = (
        Model::new(),
        StoreCaller::new(1, 10.0),
        StoreCaller::new(2, 10.0),
    );
    one.beat(&mut model, seconds(0.0));
    other.beat(&mut model, seconds(0.1));
    for tenths in 1..50_u32 {
        one.beat(&mut model, seconds(0.1 + f64::from(tenths) / 10.0));
    }
    other.beat(&mut model, seconds(5.05));
    let copy = model.copied(seconds(5.06));
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    assert!(granted(&one.acquire(&mut model, &names, seconds(5.07))) > 2);

    let mut promoted = copy.promoted(1, seconds(5.1));
    other.connection = BeatConnection::New;
    let told = other.beat(&mut promoted, seconds(5.1));
    assert!(told.journal.is_cut && told.debt_millis >= 1_100, "{told:?}");
    let acquired = other.acquire(&mut promoted, &names, seconds(5.11));
    assert_eq!(granted(&acquired), 0, "{acquired:?}");
    assert!(matches!(
        one.acquire(&mut promoted, &names, seconds(5.12)),
        Acquired::BeatFirst
    ));
}

/// A sidecar that left in two steps, of which the second was lost, held the whole fleet at its rate
/// for ever.
#[test]
fn a_claim_that_was_left_behind_counts_for_nothing() {
    let (mut model, mut one, mut other) = (
        Model::new(),
        StoreCaller::new(1, 600.0),
        StoreCaller::new(2, 0.5),
    );
    other.beat(&mut model, seconds(0.0));
    assert_eq!(
        one.beat(&mut model, seconds(0.1)).rates.lowest,
        (id(2), 0.5)
    );
    model.forget(&StoreKey::Present);
    assert_eq!(
        one.beat(&mut model, seconds(0.2)).rates.lowest,
        (id(1), 600.0)
    );
}

/// A script that fails at the operator's typing error would part all sidecars from the store.
#[test]
fn an_operators_rate_that_is_no_rate_is_passed_over() {
    let (mut model, mut one) = (Model::new(), StoreCaller::new(1, 600.0));
    for (word, told) in [
        ("300", 300.0),
        ("fast", 600.0),
        ("nan", 600.0),
        ("-1", 600.0),
        ("0", 0.0),
    ] {
        model.set_rate(word, Duration::from_secs(3_600), seconds(0.0));
        assert_eq!(
            one.beat(&mut model, seconds(1.0)).rates.told,
            told,
            "{word}"
        );
    }
}

#[test]
fn the_journal_tells_of_every_landing_across_its_segments() {
    let (mut model, mut one, mut reader) = (
        Model::new(),
        StoreCaller::new(1, 600.0),
        StoreCaller::new(2, 600.0),
    );
    one.beat(&mut model, seconds(0.0));
    reader.beat(&mut model, seconds(0.0));
    let mut told = 0;
    for number in 1..=300_000 {
        one.land(&mut model, "a", number, seconds(1.0));
        if number % 1_000 == 0 {
            let news = reader.beat(&mut model, seconds(1.0)).journal;
            assert!(!news.is_cut);
            told += news.landings.len();
        }
    }
    assert_eq!(told, 300_000);
}

#[test]
fn a_reader_of_a_segment_that_was_lost_is_told_so_and_reads_on() {
    let (mut model, mut one, mut reader) = (
        Model::new(),
        StoreCaller::new(1, 600.0),
        StoreCaller::new(2, 600.0),
    );
    one.beat(&mut model, seconds(0.0));
    reader.beat(&mut model, seconds(0.0));
    for number in 1..=10 {
        one.land(&mut model, "a", number, seconds(1.0));
    }
    model.forget(&StoreKey::Journal(Segment::Even));
    assert!(reader.beat(&mut model, seconds(1.0)).journal.is_cut);
    one.land(&mut model, "a", 11, seconds(1.0));
    assert!(reader.beat(&mut model, seconds(1.0)).journal.is_cut);
    one.land(&mut model, "a", 12, seconds(1.0));
    assert_eq!(
        reader.beat(&mut model, seconds(1.0)).journal.landings.len(),
        1
    );
}

/// Orders decide, not who comes last; a value that does not verify gives way to any.
#[test]
fn an_older_value_never_replaces_a_newer_one_unless_that_is_disowned() {
    let mut model = Model::new();
    let put = |rollout, disowned| Put {
        project: project("a"),
        value: value(rollout),
        ttl: Duration::from_secs(600),
        disowned,
    };
    let now = seconds(0.0);
    assert_eq!(model.put(&put(5, None), now), StoreVerdict::Newer);
    assert_eq!(model.put(&put(4, None), now), StoreVerdict::Older);
    assert_eq!(model.put(&put(5, None), now), StoreVerdict::Validated);
    let other = StoredValue {
        stamp: Stamp {
            digest: Digest::of(b"another"),
            ..value(5).stamp
        },
        ..value(5)
    };
    let other = Put {
        value: other,
        ..put(5, None)
    };
    assert_eq!(model.put(&other, now), StoreVerdict::Conflict);
    let disowned = StoredValue::prefix(&model.value(&project("a"), now).unwrap());
    assert_eq!(model.put(&put(4, disowned), now), StoreVerdict::Newer);
    assert_eq!(model.read(&project("a"), now), Some(value(4)));
}
