//! `scripts/acquire.lua`.

use std::time::Duration;

use super::{
    HORIZON, Model, SharedBucket, TOLERANCE, float,
    lasting::{self, Expiring},
    micros, part, whole, whole_millis,
};
use crate::store::{
    Born, StoreTime,
    acquire::{Acquire, AcquireCandidate, Acquired, CandidateAnswer, Urgency},
    head::{ORDER_DIGITS, RawHead, digits, written},
    lease::{Marker, StoreLease, owner_of},
    time::millis,
};

/// The longest hold, in microseconds.
const LONGEST_HOLD: f64 = 120e6;
/// The longest time that a project is left alone, in milliseconds.
const LONGEST_ALONE: u64 = 300_000;

/// What an `acquire` sees of the bucket.
struct Room {
    urgency: Urgency,
    horizon: f64,
    /// Between two tokens, in microseconds.
    interval: f64,
    now: f64,
}

/// What the lease of a candidate says.
enum LeaseFound {
    Free { count: u64 },
    Taken(CandidateAnswer),
}

impl Model {
    /// A sidecar asks for leases and tokens.
    pub fn acquire(&mut self, call: &Acquire, now: StoreTime) -> Acquired {
        let micros = micros(now);
        let Some(mut bucket) = self.bucket.clone() else {
            return Acquired::BeatFirst;
        };
        if Born(bucket.born) != call.born || call.tick > bucket.tick {
            return Acquired::BeatFirst;
        }
        let at = StoreTime::from_millis(now.as_millis());
        let wait = |tick, retry| Acquired::Wait { at, tick, retry };
        let rate = match bucket.rate_at(micros) {
            Ok(rate) => rate,
            Err(retry) => return wait(bucket.tick, retry),
        };
        let room = Room {
            urgency: call.urgency,
            horizon: (float(millis(call.horizon)) * 1e3).min(HORIZON),
            interval: 1e6 / rate,
            now: micros,
        };
        if bucket.is_gap(micros) {
            bucket.tat = bucket.tat.max(micros + HORIZON + TOLERANCE);
        }
        bucket.bound(room.interval, micros);
        let (_, excess) = room.next(&bucket);
        if excess > 0.0 {
            return wait(bucket.tick, whole_millis(excess));
        }

        let (mut answers, mut granted, mut retry) = (Vec::new(), 0, Duration::ZERO);
        for candidate in &call.candidates {
            if let Some(landed) = self.landed(candidate, now) {
                answers.push(landed);
                continue;
            }
            let count = match self.holder(call, candidate, now) {
                LeaseFound::Free { count } => count,
                LeaseFound::Taken(answer) => {
                    answers.push(answer);
                    continue;
                }
            };
            let (start, excess) = room.next(&bucket);
            if granted == call.most || excess > 0.0 {
                retry = whole_millis(excess);
                break;
            }
            granted += 1;
            room.take(&mut bucket, start);
            answers.push(CandidateAnswer::Granted {
                starts_in: whole_millis(start),
                count,
                lease: self.grant(call, candidate, bucket.tick, now),
            });
        }
        let tick = bucket.tick;
        if granted > 0 {
            (bucket.tat, bucket.mtat) = (whole(bucket.tat), whole(bucket.mtat));
            bucket.last = micros;
            self.bucket = Some(bucket);
        }
        Acquired::Answered {
            at,
            tick,
            retry,
            answers,
        }
    }

    fn grant(
        &mut self,
        call: &Acquire,
        to: &AcquireCandidate,
        tick: u64,
        now: StoreTime,
    ) -> StoreLease {
        let lease = StoreLease {
            order: to.least,
            holder: call.id.clone(),
            tick,
        };
        let written = lease.written().into_bytes();
        let lasting = Expiring::new(written, millis(call.lease), now);
        self.leases.insert(to.project.clone(), lasting);
        lease
    }

    /// What landed of a candidate, if it does.
    fn landed(&mut self, candidate: &AcquireCandidate, now: StoreTime) -> Option<CandidateAnswer> {
        let head = lasting::get(&mut self.heads, &candidate.project, now)?;
        let order = part(head, 13, 13 + ORDER_DIGITS);
        let is_enough = order >= written(candidate.least).as_bytes();
        let lost = candidate.lost.map_or_else(String::new, written);
        let at = float(digits(part(head, 0, 13)).unwrap_or(0));
        let is_young = candidate.oldest.is_none_or(|oldest| {
            let oldest = millis(oldest);
            oldest == 0 || at >= float(now.as_millis()) - float(oldest)
        });
        let does = is_enough && order != lost.as_bytes() && is_young;
        does.then(|| CandidateAnswer::Landed(RawHead(head.clone())))
    }

    /// Who stands in the way of a candidate.
    fn holder(
        &mut self,
        call: &Acquire,
        candidate: &AcquireCandidate,
        now: StoreTime,
    ) -> LeaseFound {
        let Some(entry) = lasting::entry(&mut self.leases, &candidate.project, now) else {
            return LeaseFound::Free { count: 0 };
        };
        let (lease, rest) = (entry.value(), entry.rest(now));
        let (kind, after) = (lease.first(), part(lease, 1 + ORDER_DIGITS, usize::MAX));
        let is_lower = part(lease, 1, 1 + ORDER_DIGITS) < written(candidate.least).as_bytes();
        if kind == Some(&b'C') {
            let over = digits(part(after, 0, 13)).filter(|until| {
                now.as_millis() >= *until || *until > now.as_millis() + LONGEST_ALONE
            });
            return match over {
                Some(_) => LeaseFound::Free {
                    count: leading(part(after, 13, usize::MAX)),
                },
                None if is_lower => LeaseFound::Free { count: 0 },
                None => {
                    let marker = Marker::read(after);
                    LeaseFound::Taken(
                        marker.map_or(CandidateAnswer::Garbage, CandidateAnswer::LeftAlone),
                    )
                }
            };
        }
        let is_ours = after.starts_with(format!("{}~", call.id).as_bytes());
        let is_late = rest > millis(call.lease).saturating_mul(2);
        if is_lower || kind == Some(&b'L') && (is_ours || is_late) {
            return LeaseFound::Free { count: 0 };
        }
        let elsewhere = owner_of(after).map(|(holder, _)| CandidateAnswer::Elsewhere {
            ends_in: Duration::from_millis(rest),
            holder,
        });
        LeaseFound::Taken(elsewhere.unwrap_or(CandidateAnswer::Garbage))
    }
}

impl SharedBucket {
    /// The rate in force, or when to ask again where there is none.
    fn rate_at(&self, now: f64) -> Result<f64, Duration> {
        let age = now - self.since_seen(now);
        if age < HORIZON + TOLERANCE {
            return Err(whole_millis(HORIZON + TOLERANCE - age));
        }
        let (hold, ramp) = (self.throttle.hold, self.throttle.ramp);
        if now < hold && hold <= now + LONGEST_HOLD {
            return Err(whole_millis(hold - now));
        }
        let mut rate = self.rate * self.throttle.pace;
        if now >= hold && now < hold + ramp {
            rate *= 0.1 + 0.9 * (now - hold) / ramp;
        }
        if rate < 1e-6 {
            return Err(Duration::from_secs(60));
        }
        Ok(rate)
    }
}

impl Room {
    /// In how long the next token starts, and how much farther ahead that is than it may be.
    fn next(&self, bucket: &SharedBucket) -> (f64, f64) {
        let start = (bucket.tat - TOLERANCE - self.now).max(0.0);
        let missing = bucket.mtat - TOLERANCE - self.now;
        match self.urgency {
            Urgency::Outdated => (start, start - self.horizon),
            Urgency::Missing => {
                let excess = (start - self.horizon).max(missing - self.horizon / 2.0);
                (start.max(missing), excess)
            }
        }
    }

    /// Takes the token of what starts in that time. If that is later than the token is due, the
    /// token moves along: those after it would follow too closely otherwise.
    fn take(&self, bucket: &mut SharedBucket, start: f64) {
        bucket.tick += 1;
        bucket.tat = bucket.tat.max(self.now + start) + self.interval;
        match self.urgency {
            Urgency::Outdated => {}
            Urgency::Missing => {
                bucket.mtat = bucket.mtat.max(self.now) + self.interval / 0.9;
            }
        }
    }
}

/// The number that bytes begin with.
fn leading(bytes: &[u8]) -> u64 {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit());
    digits(&bytes[..end.unwrap_or(bytes.len())]).unwrap_or(0)
}
