//! A value for each gate of admission, as a verdict knows them: by name alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::rounded;

/// A value for each gate, in the order of asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are the gates")]
pub struct PerGate<Value> {
    pub draining: Value,
    pub breaker: Value,
    pub connection: Value,
    pub hold: Value,
    pub project: Value,
    pub queue: Value,
    pub concurrency: Value,
    pub tokens: Value,
}

impl PerGate<Duration> {
    pub(super) fn part_of(&self, before: &Self, seconds: f64) -> PerGate<f64> {
        let mut parts = PerGate::default();
        let both = self.all().into_iter().zip(before.all());
        for (to, (now, before)) in parts.all_mut().into_iter().zip(both) {
            *to = rounded((now.saturating_sub(before).as_secs_f64() / seconds).min(1.0));
        }
        parts
    }
}

impl<Value: Copy> PerGate<Value> {
    /// What each gate is called.
    pub const NAMES: [&str; 8] = [
        "draining",
        "breaker",
        "connection",
        "hold",
        "cool-down",
        "queue",
        "concurrency",
        "tokens",
    ];

    /// Each, in the order of asking.
    pub fn all(&self) -> [Value; 8] {
        [
            self.draining,
            self.breaker,
            self.connection,
            self.hold,
            self.project,
            self.queue,
            self.concurrency,
            self.tokens,
        ]
    }

    pub(super) fn all_mut(&mut self) -> [&mut Value; 8] {
        [
            &mut self.draining,
            &mut self.breaker,
            &mut self.connection,
            &mut self.hold,
            &mut self.project,
            &mut self.queue,
            &mut self.concurrency,
            &mut self.tokens,
        ]
    }
}
