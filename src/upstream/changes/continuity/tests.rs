use super::*;

/// The streams of one sidecar, and a clock.
struct Streams {
    known: Continuity,
    start: Instant,
}

/// A Change without a project.
fn stands(position: &str, resync: bool) -> StreamMessage {
    StreamMessage {
        has_project: false,
        position: position.to_owned(),
        resync,
    }
}

/// A change of a project.
fn tells(position: &str) -> StreamMessage {
    StreamMessage {
        has_project: true,
        position: position.to_owned(),
        resync: false,
    }
}

impl Streams {
    fn new() -> Self {
        Self {
            known: Continuity::new(1),
            start: Instant::now(),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn begin(&mut self, generation: u64, seconds: f64) -> (StreamId, String) {
        let now = self.at(seconds);
        self.known.begin(generation, now)
    }

    /// Says since when what is held has to be confirmed, in seconds.
    fn resync(&self, verdict: StreamVerdict) -> Option<f64> {
        let since = verdict.resync?;
        Some(since.duration_since(self.start).as_secs_f64())
    }

    fn heard(&mut self, id: StreamId, word: StreamMessage, seconds: f64) -> Option<f64> {
        let now = self.at(seconds);
        let verdict = self.known.heard(id, word, now);
        self.resync(verdict)
    }

    fn ticked(&mut self, id: StreamId, seconds: f64) -> StreamVerdict {
        let now = self.at(seconds);
        self.known.tick(id, now)
    }

    fn ended(&mut self, id: StreamId, seconds: f64) -> Duration {
        let now = self.at(seconds);
        self.known.ended(id, now)
    }

    /// A stream that has begun at 0 s, and settled at once at position `p1`.
    fn settled() -> (Self, StreamId) {
        let mut streams = Self::new();
        let (id, after) = streams.begin(1, 0.0);
        assert_eq!(after, "");
        streams.known.accepted(id);
        assert_eq!(streams.heard(id, stands("p1", false), 0.1), Some(0.0));
        (streams, id)
    }
}

#[test]
fn a_renderer_with_positions_vouches_for_what_was_told_after_the_last_one() {
    let (mut streams, first) = Streams::settled();
    assert_eq!(streams.heard(first, tells("p2"), 3.0), None);
    assert_eq!(streams.heard(first, tells(""), 4.0), None);
    streams.ended(first, 5.0);
    let (second, after) = streams.begin(2, 6.0);
    assert_eq!(after, "p2");
    assert_eq!(streams.heard(second, stands("p9", false), 6.1), None);
}

#[test]
fn a_renderer_that_cannot_tell_what_was_missed_has_it_confirmed_since_its_stream_began() {
    let (mut streams, first) = Streams::settled();
    streams.ended(first, 5.0);
    let (second, _) = streams.begin(2, 6.0);
    assert_eq!(streams.heard(second, stands("q1", true), 6.5), Some(6.0));
    streams.ended(second, 7.0);
    let (_, after) = streams.begin(3, 8.0);
    assert_eq!(after, "q1");
}

#[test]
fn a_renderer_that_does_not_say_where_it_stands_within_5_s_has_no_positions() {
    let mut streams = Streams::new();
    let (first, _) = streams.begin(1, 0.0);
    streams.known.accepted(first);
    assert_eq!(streams.heard(first, tells(""), 1.0), None);
    assert_eq!(streams.known.due(first), Some(streams.at(5.0)));
    assert_eq!(streams.ticked(first, 4.9), StreamVerdict::default());
    let verdict = streams.ticked(first, 5.0);
    assert_eq!(streams.resync(verdict), Some(0.0));
    assert_eq!(streams.known.due(first), None, "it may be silent for ever");

    streams.ended(first, 100.0);
    let (second, after) = streams.begin(2, 101.0);
    assert_eq!(after, "");
    let verdict = streams.ticked(second, 106.0);
    assert_eq!(streams.resync(verdict), Some(101.0));
}

#[test]
fn a_stream_that_overlaps_the_one_before_missed_nothing() {
    let (mut streams, first) = Streams::settled();
    let (second, _) = streams.begin(2, 600.0);
    assert_eq!(streams.heard(second, stands("q1", true), 600.1), None);
    assert_eq!(streams.known.settled(), 2);
    streams.ended(first, 601.0);
    assert!(streams.known.is_up());

    // Nor where neither has positions.
    let (third, _) = streams.begin(3, 1_200.0);
    assert_eq!(streams.ticked(third, 1_205.0), StreamVerdict::default());
    assert_eq!(streams.known.settled(), 3);
    streams.ended(second, 1_205.1);
    assert!(streams.known.is_up());
}

#[test]
fn a_stream_that_was_taken_only_after_the_one_before_had_ended_does_not_overlap_it() {
    let (mut streams, first) = Streams::settled();
    let (second, _) = streams.begin(2, 10.0);
    streams.ended(first, 10.5);
    streams.known.accepted(second);
    assert_eq!(streams.heard(second, stands("q1", true), 11.0), Some(10.0));
}

/// The first of two overlapping streams ends before it is known whether it missed anything: the
/// second answers for both.
#[test]
fn what_an_unsettled_stream_leaves_open_is_settled_by_the_next() {
    let (mut streams, first) = Streams::settled();
    streams.ended(first, 5.0);
    let (second, _) = streams.begin(2, 6.0);
    streams.known.accepted(second);
    let (third, _) = streams.begin(3, 7.0);
    streams.known.accepted(third);
    streams.ended(second, 8.0);
    let verdict = streams.ticked(third, 12.0);
    assert_eq!(streams.resync(verdict), Some(7.0));
}

#[test]
fn a_renderer_that_missed_changes_itself_says_so_in_the_midst_of_a_stream() {
    let (mut streams, first) = Streams::settled();
    assert_eq!(streams.heard(first, stands("p5", true), 30.0), Some(30.0));
    assert_eq!(streams.heard(first, stands("p6", false), 50.0), None);
}

#[test]
fn a_stream_with_positions_that_misses_two_signs_of_life_is_over() {
    let (mut streams, first) = Streams::settled();
    for seconds in [20.0, 40.0, 60.0] {
        assert_eq!(streams.heard(first, stands("", false), seconds), None);
        assert!(!streams.ticked(first, seconds + 39.9).is_silent);
    }
    let due = streams.known.due(first).unwrap();
    let silent = due.duration_since(streams.start).as_secs_f64();
    assert!((100.0..=110.0).contains(&silent), "{silent}");
    assert!(streams.ticked(first, silent).is_silent);
    assert!(!streams.known.is_up());
    let (second, after) = streams.begin(2, 111.0);
    assert_eq!(after, "p1");
    assert_eq!(
        streams.heard(second, stands("p7", true), 112.0),
        Some(111.0)
    );
}

#[test]
fn the_position_of_the_newest_stream_is_kept_and_one_that_is_too_long_is_not() {
    let (mut streams, first) = Streams::settled();
    let (second, _) = streams.begin(2, 600.0);
    streams.heard(second, stands("q1", false), 600.1);
    streams.heard(first, tells("p8"), 600.2);
    assert_eq!(streams.begin(3, 601.0).1, "q1");
    streams.heard(second, tells(&"x".repeat(MAX_POSITION)), 602.0);
    assert_eq!(streams.begin(4, 603.0).1.len(), MAX_POSITION);
    streams.heard(second, tells(&"x".repeat(MAX_POSITION + 1)), 604.0);
    assert_eq!(streams.begin(5, 605.0).1, "");
}

#[test]
fn streams_that_keep_ending_are_reported_once_and_their_end_once() {
    let mut streams = Streams::new();
    for round in 0..20 {
        let began = f64::from(round) * 60.0;
        let (id, _) = streams.begin(1, began);
        assert_eq!(streams.ticked(id, began + 29.0).report, None, "{round}");
        let lasted = streams.ended(id, began + 30.0);
        let news = streams.known.failed(lasted);
        assert_eq!(news, (round == 2).then_some(StreamNews::Failing), "{round}");
    }
    let (id, _) = streams.begin(1, 2_000.0);
    assert_eq!(streams.ticked(id, 2_059.0).report, None);
    assert_eq!(streams.known.due(id), Some(streams.at(2_060.0)));
    assert_eq!(streams.ticked(id, 2_060.0).report, Some(StreamNews::Healed));
    assert_eq!(streams.ticked(id, 2_070.0).report, None);
    assert_eq!(streams.known.due(id), None);
}
