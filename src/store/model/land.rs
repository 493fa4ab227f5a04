//! `scripts/land.lua`.

use super::{
    FleetPace, Model, SEGMENT, SharedBucket, float,
    lasting::{self, Expiring},
    micros, part, short, whole,
};
use crate::store::{
    Born, SidecarId, StoreTime,
    beat::{ENTRY_BYTES, LandingEntry},
    head::{ORDER_DIGITS, RawHead, Stamp, StoredHead, written},
    land::{Land, LandAnswer, LandOutcome},
    lease::{Cause, StoreLease},
    put::StoreVerdict,
    time::millis,
};

/// The fleet's pace looks at so much time at once, in microseconds, and two pushbacks within it
/// count.
const WINDOW: f64 = 5e6;
const LONGEST_HOLD: f64 = 120e6;
const LONGEST_RAMP: f64 = 60e6;
const LONGEST_ALONE: u64 = 300_000;
const LEAST_PACE: f64 = 0.02;

impl Model {
    /// A render ended.
    pub fn land(&mut self, call: &Land, now: StoreTime) -> LandAnswer {
        let Some(mut bucket) = self.bucket.take_if(|bucket| Born(bucket.born) == call.born) else {
            return LandAnswer::BeatFirst;
        };
        let old = lasting::get(&mut self.heads, &call.project, now).cloned();
        let verdict = call
            .landed
            .map(|stamp| call.verdict(stamp, old.as_deref().unwrap_or_default()));
        if let (Some(stamp), Some(StoreVerdict::Newer | StoreVerdict::Validated)) =
            (call.landed, verdict)
        {
            let at = StoreTime::from_millis(now.as_millis());
            let head = StoredHead { at, stamp }.raw().0;
            let lasting = Expiring::new(head, millis(call.ttl), now);
            self.heads.insert(call.project.clone(), lasting);
            self.append(
                &mut bucket,
                &LandingEntry::new(&call.project, &stamp.digest),
            );
        }
        if let Some(lease) = &call.lease {
            self.give_back(call, lease, now);
        }
        bucket.tick += 1;
        bucket.throttle.hear(call.outcome, &call.id, micros(now));
        let (tick, end) = (bucket.tick, bucket.pos);
        self.bucket = Some(bucket);
        let found = match verdict {
            Some(StoreVerdict::Older | StoreVerdict::Conflict) => {
                old.filter(|old| !old.is_empty()).map(RawHead)
            }
            Some(StoreVerdict::Newer | StoreVerdict::Validated) | None => None,
        };
        LandAnswer::Told {
            verdict,
            found,
            tick,
            end,
        }
    }

    fn append(&mut self, bucket: &mut SharedBucket, landing: &LandingEntry) {
        let at = bucket.pos % SEGMENT;
        let journal = &mut self.journal[segment(bucket.pos)];
        if at == 0 {
            journal.clear();
        }
        journal.extend(landing.bytes());
        let entry = ENTRY_BYTES as u64;
        if journal.len() as u64 != at + entry {
            bucket.pos = (bucket.pos / SEGMENT + 1) * SEGMENT;
            self.journal[segment(bucket.pos)] = landing.bytes().to_vec();
        }
        bucket.pos += entry;
    }

    fn give_back(&mut self, call: &Land, lease: &StoreLease, now: StoreTime) {
        let held = lasting::get(&mut self.leases, &call.project, now);
        if held.is_none_or(|held| *held != lease.written().into_bytes()) {
            return;
        }
        self.leases.remove(&call.project);
        let alone = call
            .leave_alone
            .map(|(alone, cause)| (millis(alone).min(LONGEST_ALONE), cause));
        if let Some((alone @ 1.., cause)) = alone {
            let marker = marker(lease, now.as_millis() + alone, cause);
            let lasting = Expiring::new(marker.into_bytes(), 2 * alone, now);
            self.leases.insert(call.project.clone(), lasting);
        }
    }
}

impl Land {
    /// What comes of a head beside the one that stands there; empty where none does.
    fn verdict(&self, stamp: Stamp, old: &[u8]) -> StoreVerdict {
        let is = written(stamp.order).into_bytes();
        let was = part(old, 13, 13 + ORDER_DIGITS);
        let is_disowned = self.disowned.as_ref().is_some_and(|head| head.0 == old);
        if *is > *was || !old.is_empty() && is_disowned {
            StoreVerdict::Newer
        } else if *is < *was {
            StoreVerdict::Older
        } else if part(old, 13 + ORDER_DIGITS, usize::MAX) == stamp.digest.as_bytes() {
            StoreVerdict::Validated
        } else {
            StoreVerdict::Conflict
        }
    }
}

impl FleetPace {
    /// What a render says of the renderer.
    fn hear(&mut self, outcome: LandOutcome, id: &SidecarId, now: f64) {
        let since = |moment: f64| if now >= moment { now - moment } else { 1e15 };
        match outcome {
            LandOutcome::Good => self.good += 1,
            LandOutcome::Bad | LandOutcome::PushedBack(_) => self.bad += 1,
            LandOutcome::Nothing => {}
        }
        let window = *self.window.get_or_insert(now);
        if since(window) >= WINDOW {
            if self.bad >= 3 && self.bad * 10 > self.good + self.bad {
                self.pace = (self.pace * 0.85).max(LEAST_PACE);
            } else {
                let windows = ((now - window) / WINDOW).floor().max(1.0);
                self.pace = (self.pace + windows / 12.0).min(1.0);
            }
            (self.window, self.good, self.bad) = (Some(now), 0, 0);
        }
        if self.hold > now + LONGEST_HOLD {
            self.hold = 0.0;
        }
        let pushback = match outcome {
            LandOutcome::PushedBack(by) => float(millis(by)) * 1e3,
            LandOutcome::Good | LandOutcome::Bad | LandOutcome::Nothing => 0.0,
        };
        if pushback > 0.0 {
            let is_other = self.pushed_by.as_ref().is_some_and(|by| by != id);
            if is_other && since(self.pushed_at) < WINDOW {
                let after = pushback.min(LONGEST_HOLD);
                if now + after > self.hold {
                    (self.hold, self.ramp) = (now + after, (4.0 * after).min(LONGEST_RAMP));
                }
                if since(self.slowed) >= WINDOW {
                    (self.pace, self.slowed) = ((self.pace * 0.7).max(LEAST_PACE), now);
                }
            }
            (self.pushed_by, self.pushed_at) = (Some(id.clone()), now);
        }
        self.pace = short(self.pace);
        (self.hold, self.ramp) = (whole(self.hold), whole(self.ramp));
    }
}

/// What stands in a lease's place while a project is left alone.
fn marker(lease: &StoreLease, until: u64, cause: Cause) -> String {
    format!("C{}{until:013}{}", written(lease.order), cause.written())
}

const fn segment(pos: u64) -> usize {
    if (pos / SEGMENT).is_multiple_of(2) {
        0
    } else {
        1
    }
}
