//! How long a render takes: a fixed time, or one out of a range.
//!
//! Within a range the time follows from what is rendered, so that a run can be repeated and a dear
//! project is dear each time.

use std::{str::FromStr, time::Duration};

/// How long a render takes; written `200ms` or `100ms..300ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    least: Duration,
    most: Duration,
}

/// A text that is no [`Cost`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no cost: write a duration such as `200ms`, or a range such as `100ms..300ms`, of a day at most"
)]
pub struct InvalidCost(String);

/// The longest that a render may be told to take: far longer than any caller waits.
const LONGEST: Duration = Duration::from_secs(86_400);

impl Cost {
    /// Every render takes that long.
    pub const fn fixed(cost: Duration) -> Self {
        Self {
            least: cost,
            most: cost,
        }
    }

    /// Renders take from `least` to `most`.
    pub const fn range(least: Duration, most: Duration) -> Self {
        Self { least, most }
    }

    /// How long the render with this hash takes.
    pub(super) fn of(&self, hash: u64) -> Duration {
        let share = hash as f64 / u64::MAX as f64;
        self.least + (self.most - self.least).mul_f64(share)
    }

    /// How long a render takes in the mean.
    pub fn mean(&self) -> Duration {
        (self.least + self.most) / 2
    }
}

impl FromStr for Cost {
    type Err = InvalidCost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        match (
            humantime::parse_duration(least),
            humantime::parse_duration(most),
        ) {
            (Ok(least), Ok(most)) if least <= most && most <= LONGEST => Ok(Self { least, most }),
            _ => Err(InvalidCost(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_a_duration_or_a_range() {
        let fixed: Cost = "200ms".parse().unwrap();
        assert_eq!(fixed, Cost::fixed(Duration::from_millis(200)));
        assert_eq!(fixed.of(12345), Duration::from_millis(200));

        let range: Cost = "100ms..300ms".parse().unwrap();
        assert_eq!(range.of(0), Duration::from_millis(100));
        assert_eq!(range.of(u64::MAX), Duration::from_millis(300));
        assert_eq!(range.mean(), Duration::from_millis(200));

        for text in ["", "5", "300ms..100ms", "..", "1s..", "-1s", "1s..2d"] {
            assert!(text.parse::<Cost>().is_err(), "{text:?}");
        }
    }
}
