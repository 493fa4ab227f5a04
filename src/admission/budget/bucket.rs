//! The token bucket: governor's GCRA on a clock that is set to the `now` of each call.
//!
//! One token is one render. Changing the rate or the burst keeps the level and its fraction, so
//! that no schedule of reloads mints or loses tokens. Nothing else in the project names governor.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};

use crate::moment::Moment;

/// Lies between governor's zero and the start of our clock, so that a charge can be dated back.
const BEFORE_START: Duration = Duration::from_secs(1 << 32);

/// The slowest rate that is not taken for 0. Settings accept 10⁻⁶/s and more; the slowest pace and
/// the start of a ramp leave 1/500 of it. The range of governor's arithmetic (584 years in
/// nanoseconds) holds such a period many times over.
pub const MIN_RATE: f64 = 1e-9;

/// The part of a token by which levels may differ in calculation alone.
const ROUNDING: f64 = 1e-9;

type Limiter = RateLimiter<NotKeyed, InMemoryState, Hand, NoOpMiddleware<Nanos>>;

/// A bucket of at most `burst` tokens, refilled at `rate` tokens per second.
#[derive(Debug)]
pub(in crate::admission) struct Bucket {
    rate: f64,
    burst: NonZeroU32,
    state: BucketState,
    /// The level when it last changed.
    shown: (f64, Moment),
    /// The moment before which governor is known to give no token.
    empty_until: Moment,
}

#[derive(Debug)]
enum BucketState {
    Refilling(Limiter),
    /// The rate is 0: nothing is taken and nothing refills.
    Paused {
        level: f64,
    },
}

impl Bucket {
    /// Makes a bucket that holds that many tokens at `now`.
    pub(in crate::admission) fn new(rate: f64, burst: NonZeroU32, level: f64, now: Moment) -> Self {
        let level = level.clamp(0.0, f64::from(burst.get()));
        let state = match period(rate) {
            Some(period) => BucketState::Refilling(charged(period, burst, level, now)),
            None => BucketState::Paused { level },
        };
        Self {
            rate,
            burst,
            state,
            shown: (level, now),
            empty_until: Moment::START,
        }
    }

    /// The rate, in tokens per second.
    pub(in crate::admission) fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether there are that many tokens.
    ///
    /// # Errors
    /// When there are fewer: the moment at which there will be, or nothing while the rate is 0.
    pub(in crate::admission) fn has(&self, tokens: u32, now: Moment) -> Result<(), Option<Moment>> {
        if let BucketState::Paused { .. } = self.state {
            return Err(None);
        }
        let lacking = f64::from(tokens) - self.level(now);
        // Governor counts nanoseconds, and the level is a floating-point number: smaller
        // differences are calculation error.
        if lacking > ROUNDING {
            let seconds = Duration::try_from_secs_f64(lacking / self.rate);
            let wait = seconds
                .unwrap_or(Duration::MAX / 2)
                .max(Duration::from_nanos(1));
            return Err(Some((now + wait).max(self.empty_until)));
        }
        if self.empty_until > now {
            return Err(Some(self.empty_until));
        }
        Ok(())
    }

    /// Takes a token.
    ///
    /// # Errors
    /// When there is none: the moment of the next, or nothing while the rate is 0.
    pub(in crate::admission) fn take(&mut self, now: Moment) -> Result<(), Option<Moment>> {
        let BucketState::Refilling(limiter) = &self.state else {
            return Err(None);
        };
        match check(limiter, now) {
            Ok(()) => {
                self.shown = ((self.level(now) - 1.0).max(0.0), now);
                Ok(())
            }
            Err(wait) => {
                self.empty_until = now + wait;
                Err(Some(self.empty_until))
            }
        }
    }

    /// Changes the rate and the burst, keeping the level as far as the burst holds it. Unchanged
    /// values touch nothing.
    pub(in crate::admission) fn set(&mut self, rate: f64, burst: NonZeroU32, now: Moment) {
        #[expect(clippy::float_cmp, reason = "the very same setting touches nothing")]
        if self.rate == rate && self.burst == burst {
            return;
        }
        let level = match &self.state {
            BucketState::Refilling(limiter) => drain(limiter, self.rate, self.burst, now),
            BucketState::Paused { level } => *level,
        };
        *self = Self::new(rate, burst, level, now);
    }

    /// Takes all tokens, and what there is of the next.
    pub(in crate::admission) fn empty(&mut self, now: Moment) {
        *self = Self::new(self.rate, self.burst, 0.0, now);
    }

    /// How many tokens there are, with the fraction of the next: to be shown.
    pub(in crate::admission) fn level(&self, now: Moment) -> f64 {
        let (level, at) = self.shown;
        let refilled = now.since(at).as_secs_f64() * self.rate;
        (level + refilled).min(f64::from(self.burst.get()))
    }
}

/// The time that one token takes to refill; none at rate 0.
fn period(rate: f64) -> Option<Duration> {
    (rate >= MIN_RATE).then(|| Duration::from_secs_f64(1.0 / rate).max(Duration::from_nanos(1)))
}

/// A limiter that holds `level` tokens at `now`. Whole tokens are charged at a reading of the clock
/// that lies the fraction of a period back.
fn charged(period: Duration, burst: NonZeroU32, level: f64, now: Moment) -> Limiter {
    let quota = Quota::with_period(period)
        .expect("BUG: a period is never zero")
        .allow_burst(burst);
    let limiter = RateLimiter::direct_with_clock(quota, Hand::default());
    let absent = f64::from(burst.get()) - level;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 ≤ absent ≤ burst"
    )]
    if let Some(charge) = NonZeroU32::new(absent.ceil() as u32) {
        let back = period.mul_f64((absent.ceil() - absent).clamp(0.0, 1.0));
        limiter.clock().set(now, back);
        limiter
            .check_n(charge)
            .expect("BUG: the charge is within the burst")
            .expect("BUG: a new limiter is full");
    }
    limiter
}

/// Empties a limiter, and tells how much was in it.
fn drain(limiter: &Limiter, rate: f64, burst: NonZeroU32, now: Moment) -> f64 {
    limiter.clock().set(now, Duration::ZERO);
    let mut whole = 0;
    let mut step = NonZeroU32::new(1 << burst.ilog2());
    while let Some(tokens) = step {
        if let Ok(Ok(())) = limiter.check_n(tokens) {
            whole += tokens.get();
        }
        step = NonZeroU32::new(tokens.get() / 2);
    }
    match check(limiter, now) {
        Ok(()) => f64::from(whole + 1),
        Err(wait) => f64::from(whole) + (1.0 - wait.as_secs_f64() * rate).max(0.0),
    }
}

fn check(limiter: &Limiter, now: Moment) -> Result<(), Duration> {
    limiter.clock().set(now, Duration::ZERO);
    limiter
        .check()
        .map_err(|refused| refused.wait_time_from(limiter.clock().now()))
}

/// A clock that stands where it was set.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Hand {
    fn set(&self, now: Moment, back: Duration) {
        let reading = (BEFORE_START + now.since_start()).saturating_sub(back);
        let nanos = u64::try_from(reading.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests;
