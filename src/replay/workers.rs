//! How many renders the renderer works on at once.
//!
//! A render that waits for a worker takes longer than its work. A record tells how many workers
//! there are where renders took longer because more were in flight: for each number of workers it
//! is computed how long each render then waited, and how well its time is told by that and by the
//! work of its neighbours. The number with the least error is taken, and of those that are about as
//! good the greatest. A queue is only believed in where it explains much.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use super::calls::{RecordedCalls, held};
use crate::moment::Moment;

/// The most numbers of workers that are tried.
const MOST_WORKERS: usize = 256;
/// The most renders that are looked at: those with which a record begins.
const MOST_RENDERS: usize = 20_000;
/// The work of a render is the median of as many before and after it.
const NEIGHBOURS: usize = 7;
/// An error this much greater than the least is about as good.
const ABOUT: f64 = 1.03;
/// A queue is believed in when it leaves no more than this part of the error without one: few
/// renders of very different work look somewhat like a queue.
const MUCH: f64 = 0.65;
/// Errors below this are of measuring.
const LEAST_ERROR: f64 = 0.005;
/// Seconds: less is no work, but how times are rounded.
const LEAST_WORK: f64 = 1e-3;
/// No more than this part of renders may have been without work.
const UNWORKED: f64 = 0.02;

/// The renderer as a replay has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RendererModel {
    /// How many renders it works on at once; the others wait in the order in which they came. None
    /// where no render was seen to wait for another.
    pub workers: Option<usize>,
    /// The most renders that were in flight at once in the record.
    pub seen_at_once: usize,
}

/// A render that brought a revision, and when the renderer began to work on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WorkedRender {
    /// Its place among the recorded renders.
    pub(super) place: usize,
    pub(super) began: Moment,
    pub(super) work: Duration,
}

impl RendererModel {
    /// The renderer of a record, and its work.
    pub(super) fn of(calls: &RecordedCalls) -> (Self, Vec<WorkedRender>) {
        let seen_at_once = calls.most_at_once();
        let most = seen_at_once.min(MOST_WORKERS);
        let spans = RenderSpan::of(calls);
        let seen = &spans[..spans.len().min(MOST_RENDERS)];
        let errors: Vec<_> = (1..=most).map(|workers| error(seen, workers)).collect();
        let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
        let good = (ABOUT * least).max(LEAST_ERROR);
        let workers = errors.iter().rposition(|error| *error <= good);
        // With as many workers as renders in flight, none waits.
        let without = errors.last().copied().unwrap_or_default();
        let model = Self {
            workers: workers
                .filter(|place| errors[*place] <= MUCH * without)
                .map(|place| place + 1)
                .filter(|workers| *workers < most),
            seen_at_once,
        };
        let starts = starts(&spans, model.workers.unwrap_or(usize::MAX));
        let works = spans.iter().zip(starts).map(|(span, began)| WorkedRender {
            place: span.place,
            began,
            work: span.ended.since(began),
        });
        let mut works: Vec<_> = works.collect();
        works.sort_by_key(|work| work.began);
        (model, works)
    }
}

/// When a render was in flight.
#[derive(Clone, Copy, Debug)]
struct RenderSpan {
    place: usize,
    began: Moment,
    ended: Moment,
}

impl RenderSpan {
    fn of(calls: &RecordedCalls) -> Vec<Self> {
        let renders = calls.renders.iter().enumerate();
        let worked = renders.filter(|(_, call)| held(call.landing).is_some());
        let spans = worked.map(|(place, call)| Self {
            place,
            began: call.began,
            ended: call.ended(),
        });
        spans.collect()
    }
}

/// When work began on each render, if that many were worked on at once in the order in which they
/// came, and ended when they did.
fn starts(spans: &[RenderSpan], workers: usize) -> Vec<Moment> {
    let mut busy = BinaryHeap::new();
    let starts = spans.iter().map(|span| {
        let mut start = span.began;
        if busy.len() >= workers
            && let Some(Reverse(free)) = busy.pop()
        {
            start = start.max(free);
        }
        busy.push(Reverse(span.ended));
        start.min(span.ended)
    });
    starts.collect()
}

/// By which factor that many workers mistake the time of a render, as the mean of its logarithm;
/// infinite where renders ended before a worker had come to them.
fn error(spans: &[RenderSpan], workers: usize) -> f64 {
    let starts = starts(spans, workers);
    let timed = || spans.iter().zip(&starts);
    let works: Vec<_> = timed()
        .map(|(span, start)| span.ended.since(*start).as_secs_f64())
        .collect();
    let unworked = works.iter().filter(|work| **work <= LEAST_WORK).count();
    if unworked as f64 > UNWORKED * spans.len() as f64 {
        return f64::INFINITY;
    }
    let errors = timed().enumerate().map(|(place, (span, start))| {
        let told = start.since(span.began).as_secs_f64() + around(&works, place);
        let took = span.ended.since(span.began).as_secs_f64();
        (told.max(LEAST_WORK) / took.max(LEAST_WORK)).ln().abs()
    });
    errors.sum::<f64>() / spans.len().max(1) as f64
}

/// The median of the work of a render and its neighbours.
fn around(works: &[f64], place: usize) -> f64 {
    let from = place.saturating_sub(NEIGHBOURS);
    let to = (place + NEIGHBOURS + 1).min(works.len());
    let mut near = works[from..to].to_vec();
    near.sort_by(f64::total_cmp);
    near[near.len() / 2]
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::{
        admission::{HeldMark, Landing},
        replay::calls::RecordedCall,
        revision::Order,
    };

    /// What is recorded of a renderer with as many workers, of which a sidecar with that many
    /// permits wants 60 renders twice, a minute apart; from half of the time on it is slower.
    fn recorded(workers: usize, permits: usize, slower: f64) -> RecordedCalls {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut calls = RecordedCalls::default();
        for storm in [10.0, 70.0] {
            let mut free = vec![storm; workers];
            let mut flying = VecDeque::from(vec![storm; permits]);
            for project in 0..60 {
                let began: f64 = flying.pop_front().unwrap();
                free.sort_by(f64::total_cmp);
                let start = began.max(free[0]);
                let slow = if project < 30 { 1.0 } else { slower };
                let ended = start + slow * (0.25 + 0.1 * rng.f64());
                free[0] = ended;
                let place = flying.iter().position(|other| *other > ended);
                flying.insert(place.unwrap_or(flying.len()), ended);
                let at = Moment::after_start(Duration::from_secs_f64(began));
                calls.renders.push(RecordedCall {
                    project,
                    asked: 1,
                    began: at,
                    took: Duration::from_secs_f64(ended - began),
                    landing: Landing::Held(HeldMark {
                        order: Order::rollout(1),
                        validated_at: at,
                    }),
                });
            }
        }
        calls
    }

    #[test]
    fn workers_are_counted_where_renders_waited_for_them() {
        for (workers, permits) in [(1, 4), (2, 6), (4, 6), (4, 12), (8, 12)] {
            for slower in [1.0, 5.0] {
                let (model, works) = RendererModel::of(&recorded(workers, permits, slower));
                let found = model.workers.unwrap_or(permits);
                assert!(
                    found.abs_diff(workers) <= workers / 4,
                    "{found} of {workers} workers, {permits} permits, {slower}"
                );
                let mut works: Vec<_> = works.iter().map(|it| it.work.as_secs_f64()).collect();
                works.sort_by(f64::total_cmp);
                let median = works[works.len() / 4];
                assert!((0.2..0.5).contains(&median), "{median} s of work");
            }
        }
    }

    #[test]
    fn where_none_waits_for_a_worker_none_are_counted() {
        for permits in [1, 3, 4, 8] {
            for slower in [1.0, 5.0] {
                let (model, _) = RendererModel::of(&recorded(8, permits, slower));
                assert_eq!(model.workers, None, "{permits} permits, {slower}");
                assert_eq!(model.seen_at_once, permits);
            }
        }
        let (model, works) = RendererModel::of(&RecordedCalls::default());
        assert_eq!((model.workers, model.seen_at_once), (None, 0));
        assert_eq!(works, []);
    }
}
