//! Whether changes may have been missed: what the streams of changes, one for each connection,
//! amount to together.
//!
//! Pure: what happened to a stream and `now` go in, a [`StreamVerdict`] comes out. The listener
//! next door feeds it, and wakes it at [`Continuity::due`].
//!
//! While some stream is live, nothing is missed. From the end of the last live one until another
//! has settled, changes may be *missed*. A stream settles when its renderer has said where it
//! stands (a Change without a project), or has said nothing of the kind for [`HELLO`]: then it has
//! no positions. A stream that settles ends the uncertainty: either its renderer vouches that it
//! told everything after the last position, or all that was learnt before the stream began has to
//! be confirmed.

use std::time::Duration;

use tokio::time::Instant;

/// How long a renderer with positions may take to say where it stands.
const HELLO: Duration = Duration::from_secs(5);
/// How long a stream with positions may be silent: two of its signs of life, which are due every 20
/// s, were missed. The range that a stream's own bound is drawn from, so that a fleet does not dial
/// a frozen renderer anew at once.
const SILENCE: (Duration, Duration) = (Duration::from_secs(40), Duration::from_secs(50));
/// The longest position that is kept, in bytes: the contract's bound.
const MAX_POSITION: usize = 4_096;
/// After this many streams in a row that ended by themselves, the log says so.
const FAILURES: u32 = 3;

/// One stream among those of a sidecar; grows with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId(u64);

/// What a message says of its stream, beside the change that it may tell.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamMessage {
    /// Whether it tells a change of a project.
    pub(super) has_project: bool,
    /// Up to where everything has been told; empty when it does not say.
    pub(super) position: String,
    /// The renderer cannot tell what was missed.
    pub(super) resync: bool,
}

/// What follows from something that happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamVerdict {
    /// What was learnt from the renderer before this moment may lack a change.
    pub(super) resync: Option<Instant>,
    /// The stream has been silent for too long: it is over, and its connection suspect.
    pub(super) is_silent: bool,
    /// What an operator is to be told.
    pub(super) report: Option<StreamNews>,
}

/// News of whether changes are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamNews {
    /// Streams keep ending.
    Failing,
    /// They do no longer.
    Healed,
}

/// What is known of all streams.
#[derive(Debug)]
pub(super) struct Continuity {
    streams: Vec<StreamState>,
    begun: u64,
    /// The last position, and the stream that told it.
    position: Option<(StreamId, String)>,
    /// Changes may have been missed, and no stream has settled that yet.
    is_missing: bool,
    /// Streams in a row that ended by themselves, and the longest that one of them lasted.
    failures: u32,
    longest: Duration,
    is_reported: bool,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct StreamState {
    id: StreamId,
    generation: u64,
    began: Instant,
    /// The renderer has taken the call: it tells changes from here on.
    is_live: bool,
    /// Whether a position was sent with the call.
    has_after: bool,
    is_settled: bool,
    has_positions: bool,
    heard: Instant,
    /// How long it may be silent, once it has positions.
    patience: Duration,
}

impl Continuity {
    /// Starts before the first stream. Nothing was told so far.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            streams: Vec::new(),
            begun: 0,
            position: None,
            is_missing: true,
            failures: 0,
            longest: Duration::ZERO,
            is_reported: false,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Begins a stream over the connection of that generation: to be called before the call is
    /// sent. Tells the position to send.
    pub(super) fn begin(&mut self, generation: u64, now: Instant) -> (StreamId, String) {
        self.begun += 1;
        let id = StreamId(self.begun);
        let after = self
            .position
            .as_ref()
            .map_or_else(String::new, |(_, position)| position.clone());
        let (least, most) = SILENCE;
        self.streams.push(StreamState {
            id,
            generation,
            began: now,
            is_live: false,
            has_after: !after.is_empty(),
            is_settled: false,
            has_positions: false,
            heard: now,
            patience: least + (most - least).mul_f64(self.random.f64()),
        });
        (id, after)
    }

    /// Records that the renderer has taken the call.
    pub(super) fn accepted(&mut self, id: StreamId) {
        if let Some(stream) = self.stream(id) {
            stream.is_live = true;
        }
    }

    /// Notes a message.
    pub(super) fn heard(
        &mut self,
        id: StreamId,
        word: StreamMessage,
        now: Instant,
    ) -> StreamVerdict {
        let is_missing = self.is_missing;
        let Some(stream) = self.stream(id) else {
            return StreamVerdict::default();
        };
        (stream.is_live, stream.heard) = (true, now);
        let is_first = !stream.is_settled && !word.has_project;
        let resync = if is_first {
            (stream.is_settled, stream.has_positions) = (true, true);
            let vouches = stream.has_after && !word.resync;
            (is_missing && !vouches).then_some(stream.began)
        } else {
            word.resync.then_some(now)
        };
        if is_first {
            self.is_missing = false;
        }
        self.keep_position(id, word.position);
        StreamVerdict {
            resync,
            ..StreamVerdict::default()
        }
    }

    /// Says what is due for a stream at `now`.
    pub(super) fn tick(&mut self, id: StreamId, now: Instant) -> StreamVerdict {
        let mut verdict = StreamVerdict::default();
        let (heals, is_missing) = (self.heals(id), self.is_missing);
        let Some(stream) = self.stream(id) else {
            return verdict;
        };
        if !stream.is_settled && stream.began + HELLO <= now {
            // A server that sends no headers before its first message has taken the call all the
            // same.
            (stream.is_settled, stream.is_live) = (true, true);
            verdict.resync = is_missing.then_some(stream.began);
        }
        verdict.is_silent = stream.silent_at().is_some_and(|at| at <= now);
        self.is_missing &= verdict.resync.is_none();
        if verdict.is_silent {
            self.remove(id);
        } else if heals.is_some_and(|at| at <= now) {
            verdict.report = self.healed();
        }
        verdict
    }

    /// When to call [`Continuity::tick`] for a stream, unless it speaks before.
    pub(super) fn due(&self, id: StreamId) -> Option<Instant> {
        let stream = self.streams.iter().find(|stream| stream.id == id)?;
        let hello = (!stream.is_settled).then(|| stream.began + HELLO);
        let moments = [hello, stream.silent_at(), self.heals(id)];
        moments.into_iter().flatten().min()
    }

    /// Records that a stream ended, and returns how long it lasted.
    pub(super) fn ended(&mut self, id: StreamId, now: Instant) -> Duration {
        let lasted = self
            .stream(id)
            .map_or(Duration::ZERO, |stream| now.duration_since(stream.began));
        self.remove(id);
        lasted
    }

    /// Records that the stream itself ended after this time, not its connection.
    pub(super) fn failed(&mut self, lasted: Duration) -> Option<StreamNews> {
        self.failures += 1;
        self.longest = self.longest.max(lasted);
        let is_news = self.failures >= FAILURES && !self.is_reported;
        self.is_reported |= is_news;
        is_news.then_some(StreamNews::Failing)
    }

    /// Records that streams work: one lasts, or the renderer offers none.
    pub(super) fn healed(&mut self) -> Option<StreamNews> {
        (self.failures, self.longest) = (0, Duration::ZERO);
        std::mem::take(&mut self.is_reported).then_some(StreamNews::Healed)
    }

    /// Whether changes are heard now.
    pub(super) fn is_up(&self) -> bool {
        self.streams.iter().any(|stream| stream.is_live)
    }

    /// The newest connection whose stream has settled; 0 before the first. Streams over older
    /// connections are no longer needed.
    pub(super) fn settled(&self) -> u64 {
        let settled = self.streams.iter().filter(|stream| stream.is_settled);
        settled.map(|stream| stream.generation).max().unwrap_or(0)
    }

    /// When the failures before the newest stream are forgotten: it has lasted for twice as long as
    /// any that failed.
    fn heals(&self, id: StreamId) -> Option<Instant> {
        let newest = self.streams.last().filter(|newest| newest.id == id)?;
        let lasting = (self.longest * 2).max(HELLO);
        (self.failures > 0).then(|| newest.began + lasting)
    }

    fn keep_position(&mut self, id: StreamId, position: String) {
        // A newer stream may be to another replica, which the next one is more likely to be to too.
        let is_newest = self.position.as_ref().is_none_or(|(by, _)| *by <= id);
        if is_newest && !position.is_empty() {
            let is_bounded = position.len() <= MAX_POSITION;
            self.position = is_bounded.then_some((id, position));
        }
    }

    fn remove(&mut self, id: StreamId) {
        let was_up = self.is_up();
        self.streams.retain(|stream| stream.id != id);
        if was_up && !self.is_up() {
            self.is_missing = true;
        }
    }

    fn stream(&mut self, id: StreamId) -> Option<&mut StreamState> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }
}

// === impl StreamState ===

impl StreamState {
    /// When it has been silent for too long.
    fn silent_at(&self) -> Option<Instant> {
        self.has_positions.then(|| self.heard + self.patience)
    }
}

#[cfg(test)]
mod tests;
