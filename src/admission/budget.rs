//! The budget of renders: the bucket and its first token, the permits, and the share that names
//! which may not exist get in a flood.

mod bucket;
mod flood;
mod learned;
mod retries;

use std::num::NonZeroU32;

use self::retries::RetryBudget;
pub(super) use self::{
    bucket::Bucket,
    flood::Flood,
    learned::{LaunchedCall, Learned},
};
pub use self::{bucket::MIN_RATE, flood::FirstRenders};
use super::{
    limits::Limits,
    tuning::{ShareTuning, Tuning},
    words::Class,
};
use crate::moment::Moment;

#[derive(Debug)]
pub(super) struct Budget {
    tuning: ShareTuning,
    bucket: Bucket,
    start: Moment,
    /// The part of a token's period after which the first token is there.
    pub(super) phase: f64,
    advance: Advance,
    /// How many renders the renderer takes at once.
    pub(super) learned: Learned,
    pub(super) flood: Flood,
    pub(super) retries: RetryBudget,
    /// Tokens given to missing projects in a row.
    pub(super) missing_turns: u32,
}

/// The first token. A missing project may have it in advance, for its caller waits with nothing
/// held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advance {
    Offered,
    /// A missing project had it in advance; the bucket still owes it.
    Owed,
    Settled,
}

/// How many permits there are, for all renders and for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permits {
    /// For all renders.
    pub all: u32,
    /// For refreshes of outdated projects.
    pub outdated: u32,
    /// For projects whose last render failed.
    pub cooling: u32,
}

/// The permits that a render competes for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) class: Class,
    /// The last render of the project failed.
    pub(super) is_cooling: bool,
}

impl Permits {
    /// Divides the renders that may be in flight at once.
    pub fn of(concurrency: NonZeroU32, tuning: &ShareTuning) -> Self {
        let all = concurrency.get();
        let part = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a part of a u32"
            )]
            let part = (f64::from(all) * share) as u32;
            part.max(u32::from(share > 0.0))
        };
        let kept = part(tuning.kept_for_missing).min(all - 1);
        Self {
            all,
            outdated: all - kept,
            cooling: part(tuning.failing),
        }
    }

    /// How many permits the renders of a lane may hold.
    pub(super) fn of_lane(self, lane: Lane) -> u32 {
        let permits = match lane.class {
            Class::Missing => self.all,
            Class::Outdated => self.outdated,
        };
        if lane.is_cooling {
            permits.min(self.cooling)
        } else {
            permits
        }
    }
}

impl Budget {
    /// The bucket starts with a random part of a token, so that many sidecars that start at once
    /// render neither at once nor in step afterwards.
    pub(super) fn new(
        limits: &Limits,
        tuning: &Tuning,
        now: Moment,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let shares = tuning.budget;
        let phase = rng.f64() * shares.first_token;
        Self {
            tuning: shares,
            bucket: Bucket::new(limits.rate, limits.burst, 1.0 - phase, now),
            start: now,
            phase,
            advance: if shares.first_token > 0.0 {
                Advance::Offered
            } else {
                Advance::Settled
            },
            learned: Learned::new(tuning.learned),
            flood: Flood::new(shares),
            retries: RetryBudget::empty(tuning.retry),
            missing_turns: 0,
        }
    }

    /// Starts as a new one does, with that part of a token missing.
    pub(super) fn start_again(&mut self, limits: &Limits, phase: f64, now: Moment) {
        self.bucket = Bucket::new(limits.rate, limits.burst, 1.0 - phase, now);
    }

    /// Puts a rate in force, in renders per second.
    pub(super) fn set_rate(&mut self, rate: f64, burst: NonZeroU32, now: Moment) {
        self.bucket.set(rate, burst, now);
    }

    /// The rate in force, in renders per second.
    pub(super) fn rate(&self) -> f64 {
        self.bucket.rate()
    }

    /// Whether there is a token for a project of that class, beside that many others that are to
    /// start.
    ///
    /// `full_rate` is the one that is set, in renders per second.
    ///
    /// # Errors The moment at which there is one, or nothing while the rate is 0.
    pub(super) fn token(
        &self,
        class: Class,
        beside: u32,
        full_rate: f64,
        now: Moment,
    ) -> Result<(), Option<Moment>> {
        let tokens = 1 + beside;
        let has = match self.owed() {
            0 => self.bucket.has(tokens, now),
            // The owed token is paid as soon as the bucket has one.
            owed => self
                .bucket
                .has(owed, now)
                .and_then(|()| self.bucket.has(owed + tokens, now)),
        };
        let Err(next) = has else {
            return Ok(());
        };
        let is_offered = self.advance == Advance::Offered && class == Class::Missing && beside == 0;
        if !is_offered || next.is_none() {
            return Err(next);
        }
        let opens = self.advance_opens(full_rate);
        if opens <= now {
            return Ok(());
        }
        Err(next.min(Some(opens)))
    }

    /// Takes a token. Returns false if there is none.
    pub(super) fn take(&mut self, class: Class, full_rate: f64, now: Moment) -> bool {
        self.pay(now);
        if self.advance == Advance::Owed {
            return false;
        }
        if self.bucket.take(now).is_ok() {
            // Offered → Settled
            self.advance = Advance::Settled;
            return true;
        }
        let is_offered = self.advance == Advance::Offered && class == Class::Missing;
        if is_offered && self.advance_opens(full_rate) <= now {
            // Offered → Owed
            self.advance = Advance::Owed;
            return true;
        }
        false
    }

    /// Pays the owed token, as soon as the bucket has one.
    pub(super) fn pay(&mut self, now: Moment) {
        if self.advance == Advance::Owed && self.bucket.take(now).is_ok() {
            // Owed → Settled
            self.advance = Advance::Settled;
        }
    }

    /// When a missing project may have the first token in advance.
    fn advance_opens(&self, full_rate: f64) -> Moment {
        self.start
            + self
                .tuning
                .missing_start
                .mul_f64(self.phase / full_rate.max(1.0))
    }

    /// Tokens that are owed to the bucket.
    pub(super) fn owed(&self) -> u32 {
        u32::from(self.advance == Advance::Owed)
    }

    /// Takes all tokens, and what there is of the next.
    pub(super) fn empty(&mut self, now: Moment) {
        self.bucket.empty(now);
    }

    /// How many tokens there are, with the fraction of the next.
    pub(super) fn level(&self, now: Moment) -> f64 {
        self.bucket.level(now)
    }
}
