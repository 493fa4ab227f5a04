//! When an answer of the renderer came and over which connection, and whether another answer
//! confirms what it says.
//!
//! One bad replica must not undo what a whole fleet holds. Replicas differ between connections
//! alone: that two answers came over two of them is as much as a sidecar can know.

use std::time::Duration;

use crate::moment::Moment;

/// After how long an answer over the same connection counts as one over another: connections are
/// replaced every 10 min ± 20 %, so that this is only needed where that does not come about.
const ALONE: Duration = Duration::from_secs(15 * 60);

/// An answer: when it came, and over which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerOrigin {
    /// When it came.
    pub at: Moment,
    /// The number of the connection; none when that is not known.
    pub connection: Option<u64>,
}

impl AnswerOrigin {
    /// Whether a later answer that says the same confirms this one: it came at least `after` later
    /// over another connection, or a quarter of an hour later over any.
    pub fn is_confirmed_by(self, later: Self, after: Duration) -> bool {
        let elapsed = later.at.since(self.at);
        let is_another = match (self.connection, later.connection) {
            (Some(first), Some(second)) => first != second,
            (None, _) | (_, None) => false,
        };
        elapsed >= after.max(if is_another { Duration::ZERO } else { ALONE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_confirmed_after_a_while_and_over_another_connection_or_after_long() {
        let after = Duration::from_secs(30);
        let origin = |seconds, connection| AnswerOrigin {
            at: Moment::after_start(Duration::from_secs(seconds)),
            connection,
        };
        let first = origin(100, Some(4));
        for (later, confirms) in [
            (origin(101, Some(5)), false),
            (origin(129, Some(5)), false),
            (origin(130, Some(5)), true),
            (origin(130, Some(4)), false),
            (origin(130, None), false),
            (origin(999, Some(4)), false),
            (origin(1_000, Some(4)), true),
            (origin(1_000, None), true),
        ] {
            assert_eq!(first.is_confirmed_by(later, after), confirms, "{later:?}");
        }
    }
}
