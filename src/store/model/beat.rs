//! `scripts/beat.lua`.

use super::{
    FleetPace, HORIZON, Model, READ, SEGMENT, SharedBucket, TOLERANCE, float, lasting, micros,
    part, short, whole,
};
use crate::store::{
    Born, SidecarId, StoreTime,
    beat::{Beat, BeatConnection, Beaten, JournalNews, KnownStore, LandingEntry, Rates, claim},
    reply::number,
    time::millis,
};

/// How many sidecars that fell silent a beat moves.
const SILENT: usize = 64;
/// How many claims that are left behind a beat removes.
const LEFT_BEHIND: usize = 64;
/// A tick that is so far ahead was not told by a store.
const FAR_TICK: u64 = 10_000_000;

impl Model {
    /// A sidecar says that it lives.
    pub fn beat(&mut self, call: &Beat, now: StoreTime) -> Beaten {
        let at = micros(now);
        let is_lost = self.is_lost(call);
        self.see(call, now);
        let (present, absent) = (self.present.len(), self.absent.len());
        let since = match &self.bucket {
            Some(bucket) if !is_lost => bucket.since_seen(at),
            Some(_) | None => at,
        };
        let is_learning = at - since < 3e3 * float(millis(call.membership));
        let expected = self.bucket.as_ref().map_or(0, |bucket| bucket.expect);
        let expect = if is_learning {
            expected.max(call.known.count)
        } else {
            0
        };
        let (lowest, least) = self.lowest_claim(call);
        let told = self.operator_rate(now).unwrap_or(least);
        let rate = told * float(present) / float((present + absent).max(expect));

        let is_named = self.bucket.is_some() && call.connection == BeatConnection::Kept;
        let is_born = self.bucket.is_none() || is_lost;
        let mut bucket = self.bucket.take().unwrap_or_else(|| SharedBucket::new(at));
        if !is_named {
            bucket.history = self.history;
        }
        let empty = bucket.tat.max(at + HORIZON + TOLERANCE);
        if is_born {
            (bucket.born, bucket.tat, bucket.mtat) = (now.as_micros(), empty, empty);
            if is_ahead(call.known.tick, bucket.tick) {
                bucket.tick = call.known.tick;
            }
        } else if bucket.is_gap(at) {
            bucket.tat = empty;
        }
        bucket.bound(1e6 / (rate * bucket.throttle.pace).max(1e-6), at);
        bucket.tick += 1;
        let debt = whole((bucket.tat - at) / 1e3);
        (bucket.tat, bucket.mtat, bucket.last) = (whole(bucket.tat), whole(bucket.mtat), at);
        (bucket.expect, bucket.since, bucket.rate) = (expect, since, short(rate));
        let (born, tick, end) = (Born(bucket.born), bucket.tick, bucket.pos);
        let pace = short(bucket.throttle.pace);
        self.bucket = Some(bucket);

        self.renew(call, now);
        Beaten {
            at: StoreTime::from_millis(now.as_millis()),
            born,
            tick,
            journal: self.news(call.known, born, end),
            present,
            absent,
            is_learning,
            rates: Rates {
                told: short(told),
                in_force: short(rate),
                pace,
                lowest: (lowest, short(least)),
            },
            debt_millis: integer(debt),
        }
    }

    /// Whether this goes on with a copy that lacks writes.
    fn is_lost(&self, call: &Beat) -> bool {
        self.bucket.as_ref().is_some_and(|bucket| {
            let is_copy = call.connection == BeatConnection::New && bucket.history != self.history;
            let is_same = call.known.born == Some(Born(bucket.born));
            is_copy || is_same && is_ahead(call.known.tick, bucket.tick)
        })
    }

    /// Who is there, and who fell silent.
    fn see(&mut self, call: &Beat, now: StoreTime) {
        let now = now.as_millis();
        let membership = millis(call.membership);
        self.present.insert(&call.id, now);
        self.absent.remove(&call.id);
        self.silence(
            &self.present.below(now.saturating_sub(membership), SILENT),
            now,
        );
        self.silence(
            &self.present.above(now.saturating_add(membership), SILENT),
            now,
        );
        for id in self.absent.above(now, SILENT) {
            self.absent.insert(&id, now);
        }
        let forgotten = now.saturating_sub(millis(call.forget));
        for id in self.absent.below(forgotten, usize::MAX) {
            self.absent.remove(&id);
        }
    }

    fn silence(&mut self, ids: &[SidecarId], now: u64) {
        for id in ids {
            self.present.remove(id);
            self.claims.remove(id);
            self.absent.insert(id, now);
        }
    }

    /// The lowest rate that a present sidecar was told.
    fn lowest_claim(&mut self, call: &Beat) -> (SidecarId, f64) {
        let own = claim(call.told);
        self.claims.insert(&call.id, own.to_bits());
        for _ in 0..LEFT_BEHIND {
            match self.claims.first() {
                Some((id, _)) if !self.present.contains(&id) => self.claims.remove(&id),
                Some(_) | None => break,
            }
        }
        let lowest = self.claims.first();
        lowest.map_or((call.id.clone(), own), |(id, bits)| {
            (id, f64::from_bits(bits))
        })
    }

    fn operator_rate(&mut self, now: StoreTime) -> Option<f64> {
        self.operator = self.operator.take().filter(|entry| !entry.is_over(now));
        let rate = number(self.operator.as_ref()?.value());
        rate.filter(|rate| (0.0..=1e9).contains(rate))
    }

    fn renew(&mut self, call: &Beat, now: StoreTime) {
        for (project, lease) in &call.renew {
            if let Some(entry) = lasting::entry(&mut self.leases, project, now)
                && *entry.value() == lease.written().into_bytes()
            {
                entry.renew(millis(call.lease), now);
            }
        }
    }

    /// What has landed since a place in the journal.
    fn news(&self, known: KnownStore, born: Born, end: u64) -> JournalNews {
        let segment = known.cursor / SEGMENT;
        let cut = JournalNews {
            cursor: end,
            end,
            is_cut: true,
            landings: Vec::new(),
        };
        let is_old = segment + 1 < end / SEGMENT;
        if known.born != Some(born) || known.cursor > end || is_old {
            return cut;
        }
        let from = known.cursor % SEGMENT;
        let to = (from + READ).min(SEGMENT);
        let journal = &self.journal[usize::from(segment % 2 == 1)];
        let news = if known.cursor == end {
            &[]
        } else {
            part(journal, index(from), index(to))
        };
        if news.is_empty() && known.cursor < end {
            return cut;
        }
        JournalNews {
            cursor: known.cursor + news.len() as u64,
            end,
            is_cut: false,
            landings: LandingEntry::read(news),
        }
    }
}

impl SharedBucket {
    fn new(at: f64) -> Self {
        Self {
            born: 0,
            history: 0,
            tick: 0,
            tat: 0.0,
            mtat: 0.0,
            last: at,
            expect: 0,
            since: 0.0,
            rate: 0.0,
            pos: 0,
            throttle: FleetPace::default(),
        }
    }
}

const fn is_ahead(seen: u64, tick: u64) -> bool {
    seen > tick && seen < tick + FAR_TICK
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "milliseconds, far below 2^53"
)]
const fn integer(whole: f64) -> i64 {
    whole as i64
}
