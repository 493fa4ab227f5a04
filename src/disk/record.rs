//! What is written of a held project, beside its payload: all that an answer and its refresh need
//! to go on as before, and a sum over it.
//!
//! Moments are written as their age at the time of writing, which no clock of another process has
//! to understand. A row whose sum is another, or whose payload has another digest, is not believed.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::stamp::ClockStamp;
use crate::{
    cache::{AnswerOrigin, Change, Held, Recalled},
    moment::Moment,
    revision::{Digest, Order, Project, Revision},
};

/// The connection that the answers of processes before this one came over: none of this one's.
const BEFORE: u64 = u64::MAX;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptRecord {
    pub(super) project: Project,
    pub(super) order: Order,
    pub(super) digest: Digest,
    pub(super) content_type: Arc<str>,
    /// Seconds since 1970, rounded down, and the nanoseconds above.
    pub(super) rendered_at: Option<(i64, u32)>,
    /// Of the payload, in bytes.
    pub(super) size: u64,
    pub(super) written: ClockStamp,
    pub(super) validated_ago: Duration,
    /// The number of the change that it lacks, and how long ago the first one was learned.
    pub(super) changed: Option<(u64, Duration)>,
    pub(super) gone_ago: Option<Duration>,
    pub(super) lower: Option<(Order, Duration)>,
    pub(super) fell_from: Option<Order>,
}

/// When a store was opened, by all clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenedAt {
    pub(super) moment: Moment,
    pub(super) stamp: ClockStamp,
}

impl OpenedAt {
    /// The moment that lay `ago` before `written`.
    pub(super) fn moment_of(self, written: ClockStamp, ago: Duration) -> Moment {
        let elapsed = written.elapsed(self.stamp);
        self.moment.before(ago.saturating_add(elapsed))
    }
}

impl KeptRecord {
    /// What is to be written of something held.
    pub(super) fn of(held: &Held, now: Moment, written: ClockStamp) -> Self {
        let revision = &held.revision;
        let ago = |at: Moment| short(now.since(at));
        Self {
            project: revision.project.clone(),
            order: revision.order,
            digest: revision.digest,
            content_type: Arc::clone(&revision.content_type),
            rendered_at: revision.rendered_at.map(unix_time),
            size: revision.payload.len() as u64,
            written,
            validated_ago: ago(held.validated_at),
            changed: held
                .changed
                .map(|changed| (changed.number, ago(changed.since))),
            gone_ago: held.gone.map(|gone| ago(gone.at)),
            lower: held.lower.map(|(order, origin)| (order, ago(origin.at))),
            fell_from: held.fell_from,
        }
    }

    /// What it was when it was written, as of now; none when the payload is another.
    pub(super) fn recalled(&self, payload: &[u8], opened: OpenedAt) -> Option<Recalled> {
        let at = |ago| opened.moment_of(self.written, ago);
        let origin = |ago| AnswerOrigin {
            at: at(ago),
            connection: Some(BEFORE),
        };
        let rendered_at = match self.rendered_at {
            Some(unix) => Some(system_time(unix)?),
            None => None,
        };
        let revision = Revision::new(
            self.project.clone(),
            self.order,
            rendered_at,
            Arc::clone(&self.content_type),
            payload,
        );
        (revision.digest == self.digest).then(|| Recalled {
            revision,
            validated_at: at(self.validated_ago),
            changed: self.changed.map(|(number, ago)| Change {
                number,
                since: at(ago),
            }),
            gone: self.gone_ago.map(origin),
            lower: self.lower.map(|(order, ago)| (order, origin(ago))),
            fell_from: self.fell_from,
        })
    }

    /// A sum over everything.
    pub(super) fn sum(&self) -> [u8; 16] {
        let mut bytes = Vec::with_capacity(256);
        let text = |bytes: &mut Vec<u8>, text: &str| {
            number(bytes, text.len() as u64);
            bytes.extend_from_slice(text.as_bytes());
        };
        text(&mut bytes, self.project.as_str());
        text(&mut bytes, &self.content_type);
        bytes.extend_from_slice(self.digest.as_bytes());
        order(&mut bytes, Some(self.order));
        let (seconds, nanoseconds) = self.rendered_at.unwrap_or((i64::MIN, u32::MAX));
        number(&mut bytes, seconds.cast_unsigned());
        number(&mut bytes, nanoseconds.into());
        number(&mut bytes, self.size);
        bytes.extend_from_slice(&self.written.boot.unwrap_or_default().to_le_bytes());
        for duration in [
            Some(self.written.since_boot),
            Some(self.written.wall),
            Some(self.validated_ago),
            self.changed.map(|(_, ago)| ago),
            self.gone_ago,
            self.lower.map(|(_, ago)| ago),
        ] {
            bytes.push(duration.is_some().into());
            number(&mut bytes, nanos(duration.unwrap_or_default()));
        }
        number(&mut bytes, self.changed.map_or(0, |(number, _)| number));
        order(&mut bytes, self.lower.map(|(order, _)| order));
        order(&mut bytes, self.fell_from);
        xxh3_128(&bytes).to_le_bytes()
    }
}

/// A number that differs when more has to be written than another time at which the renderer said
/// that something is right.
pub(super) fn facts(held: &Held) -> u64 {
    let mut bytes = Vec::with_capacity(160);
    order(&mut bytes, Some(held.revision.order));
    bytes.extend_from_slice(held.revision.digest.as_bytes());
    let changed = held.changed.map(|changed| (changed.number, changed.since));
    let gone = held.gone.map(|gone| (0, gone.at));
    let lower = held.lower.map(|(_, origin)| (0, origin.at));
    for fact in [changed, gone, lower] {
        bytes.push(fact.is_some().into());
        let (of, at) = fact.unwrap_or_default();
        number(&mut bytes, of);
        number(&mut bytes, nanos(at.since_start()));
    }
    order(&mut bytes, held.lower.map(|(order, _)| order));
    order(&mut bytes, held.fell_from);
    xxh3_64(&bytes)
}

/// Nanoseconds, at most as many as the file can hold.
pub(super) fn nanos(duration: Duration) -> u64 {
    const MOST: u64 = i64::MAX as u64;
    u64::try_from(duration.as_nanos()).map_or(MOST, |nanos| nanos.min(MOST))
}

fn short(duration: Duration) -> Duration {
    Duration::from_nanos(nanos(duration))
}

fn number(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn order(bytes: &mut Vec<u8>, of: Option<Order>) {
    bytes.push(of.is_some().into());
    let Order {
        rollout,
        number: version,
    } = of.unwrap_or_default();
    number(bytes, rollout);
    number(bytes, version);
}

fn unix_time(at: SystemTime) -> (i64, u32) {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs().cast_signed(), since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = -before.as_secs().cast_signed();
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds - 1, 1_000_000_000 - nanoseconds),
            }
        }
    }
}

fn system_time((seconds, nanoseconds): (i64, u32)) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 {
        UNIX_EPOCH.checked_sub(whole)?
    } else {
        UNIX_EPOCH.checked_add(whole)?
    };
    at.checked_add(Duration::from_nanos(nanoseconds.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::HeldStanding;

    fn at(nanos: u64) -> Moment {
        Moment::after_start(Duration::from_nanos(nanos))
    }

    fn stamp(since_boot: u64) -> ClockStamp {
        ClockStamp {
            boot: Some(1),
            since_boot: Duration::from_nanos(since_boot),
            wall: Duration::from_secs(1_800_000_000),
        }
    }

    prop_compose! {
        fn held()(
            (rollout, number) in any::<(u64, u64)>(),
            rendered in prop::option::of((any::<i32>(), 0_u32..1_000_000_000)),
            payload in prop::collection::vec(any::<u8>(), 0..80),
            ages in prop::array::uniform4(1_u64..900_000),
            changed in prop::option::of(any::<u64>()),
            has_gone in any::<bool>(),
            lower in prop::option::of(any::<(u64, u64)>()),
            fell in prop::option::of(any::<(u64, u64)>()),
        ) -> Held {
            let rendered = rendered.map(|(seconds, nanos)| system_time((seconds.into(), nanos)).unwrap());
            let project = Project::new("team/shop").unwrap();
            let order = Order::new(rollout, number);
            let origin = |age| AnswerOrigin { at: at(1_000_000 - age), connection: Some(BEFORE) };
            Held {
                revision: Arc::new(Revision::new(project, order, rendered, "a/b".into(), &payload)),
                validated_at: at(1_000_000 - ages[0]),
                asked_at: Moment::START,
                changed: changed.map(|number| Change { number, since: at(1_000_000 - ages[1]) }),
                gone: has_gone.then(|| origin(ages[2])),
                lower: lower.map(|(rollout, number)| (Order::new(rollout, number), origin(ages[3]))),
                fell_from: fell.map(|(rollout, number)| Order::new(rollout, number)),
                memo: Arc::default(),
                standing: HeldStanding::default(),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_recalled_is_what_was_held_and_as_much_older_as_it_took(
            held in held(),
            took in 0_u64..1_000_000,
        ) {
            let record = KeptRecord::of(&held, at(1_000_000), stamp(5_000_000));
            let opened = OpenedAt { moment: at(9_000_000), stamp: stamp(5_000_000 + took) };
            let recalled = record.recalled(&held.revision.payload, opened).unwrap();
            prop_assert_eq!(&recalled.revision, &*held.revision);
            let later = |moment: Moment| at(9_000_000).before(at(1_000_000).since(moment) + Duration::from_nanos(took));
            prop_assert_eq!(recalled.validated_at, later(held.validated_at));
            prop_assert_eq!(recalled.changed, held.changed.map(|changed| Change { since: later(changed.since), ..changed }));
            let origin = |origin: AnswerOrigin| AnswerOrigin { at: later(origin.at), ..origin };
            prop_assert_eq!(recalled.gone, held.gone.map(origin));
            prop_assert_eq!(recalled.lower, held.lower.map(|(order, at)| (order, origin(at))));
            prop_assert_eq!(recalled.fell_from, held.fell_from);
            let other = [&held.revision.payload[..], b"!"].concat();
            prop_assert_eq!(record.recalled(&other, opened), None);
        }
    }

    #[test]
    fn the_sum_is_another_for_each_thing_that_is() {
        let record = KeptRecord {
            project: Project::new("team/shop").unwrap(),
            order: Order::new(3, 4),
            digest: Digest::of(b"{}"),
            content_type: "application/json".into(),
            rendered_at: Some((5, 6)),
            size: 2,
            written: stamp(7),
            validated_ago: Duration::from_nanos(8),
            changed: Some((9, Duration::from_nanos(10))),
            gone_ago: Some(Duration::from_nanos(11)),
            lower: Some((Order::new(12, 13), Duration::from_nanos(14))),
            fell_from: Some(Order::new(15, 16)),
        };
        let changes: [fn(&mut KeptRecord); 20] = [
            |it| it.project = Project::new("team/shoq").unwrap(),
            |it| it.order.rollout = 2,
            |it| it.order.number = 5,
            |it| it.digest = Digest::of(b"[]"),
            |it| it.content_type = "application/jsom".into(),
            |it| it.rendered_at = None,
            |it| it.rendered_at = Some((4, 6)),
            |it| it.rendered_at = Some((5, 7)),
            |it| it.size = 3,
            |it| it.written.boot = None,
            |it| it.written.since_boot += Duration::from_nanos(1),
            |it| it.written.wall += Duration::from_nanos(1),
            |it| it.validated_ago = Duration::ZERO,
            |it| it.changed = None,
            |it| it.changed = Some((8, Duration::from_nanos(10))),
            |it| it.gone_ago = None,
            |it| it.gone_ago = Some(Duration::ZERO),
            |it| it.lower = Some((Order::new(12, 13), Duration::ZERO)),
            |it| it.lower = Some((Order::new(12, 12), Duration::from_nanos(14))),
            |it| it.fell_from = None,
        ];
        for change in changes {
            let mut other = record.clone();
            change(&mut other);
            assert_ne!(other.sum(), record.sum(), "{other:?}");
        }
    }
}
