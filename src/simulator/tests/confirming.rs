//! Many sidecars whose renderer restarts and cannot tell what was missed: real machines against a
//! store, in virtual time.
//!
//! A simulation of its own, since nothing is rendered in it: what is held is fresh as far as the
//! sidecars know.

use std::{cmp::Reverse, collections::BinaryHeap, num::NonZeroU32, time::Duration};

use crate::{
    admission::{Action, Admission, FetchLanding, FetchLimits, HeldMark, Limits, Link},
    moment::Moment,
    revision::{Order, Project},
};

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("a count")
}

const PODS: usize = 100;
const PROJECTS: usize = 500;
/// Fetching per second and sidecar: the default.
const RATE: f64 = 50.0;
/// When the renderer is away, and when it is back.
const AWAY: (f64, f64) = (20.0, 25.0);
/// How long a fetch takes.
const FETCH: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ConfirmingEvent {
    LookUp(usize),
    Wake(usize),
    /// A fetch of a pod's project is answered, which was sent at that moment.
    Answer(usize, usize, Moment),
    Resync,
}

struct Pod {
    admission: Admission,
    /// The number that is held of each project, and when the renderer was asked for it.
    held: Vec<(u64, Moment)>,
    fetches: Vec<Moment>,
    wakes_at: Option<Moment>,
}

struct Pods {
    all: Vec<Pod>,
    names: Vec<Project>,
    events: BinaryHeap<Reverse<(Moment, usize, ConfirmingEvent)>>,
    sequence: usize,
    /// The number of each project's input, which the store has.
    stored: Vec<u64>,
    since: Option<Moment>,
    rng: fastrand::Rng,
}

fn at(seconds: f64) -> Moment {
    Moment::after_start(Duration::from_secs_f64(seconds))
}

impl Pods {
    fn new() -> Self {
        let limits = Limits {
            rate: 1.0,
            burst: count(2),
            concurrency: count(4),
            queue: count(512),
            fetch: FetchLimits {
                rate: RATE,
                concurrency: count(16),
            },
        };
        let pod = |seed| {
            let mut admission = Admission::new(limits, 1, seed, Moment::START);
            admission.set_link(Link::Up, Moment::START);
            Pod {
                admission,
                held: vec![(1, Moment::START); PROJECTS],
                fetches: Vec::new(),
                wakes_at: None,
            }
        };
        let name = |number: usize| Project::new(&format!("p/{number}")).unwrap();
        Self {
            all: (0..PODS as u64).map(pod).collect(),
            names: (0..PROJECTS).map(name).collect(),
            events: BinaryHeap::new(),
            sequence: 0,
            stored: vec![1; PROJECTS],
            since: None,
            rng: fastrand::Rng::with_seed(1),
        }
    }

    fn plan(&mut self, at: Moment, event: ConfirmingEvent) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn run(&mut self, end: Moment) {
        while let Some(Reverse((now, ..))) = self.events.peek()
            && *now <= end
        {
            let Some(Reverse((now, _, event))) = self.events.pop() else {
                return;
            };
            self.happen(event, now);
        }
    }

    fn happen(&mut self, event: ConfirmingEvent, now: Moment) {
        let pod = match event {
            ConfirmingEvent::Resync => {
                self.since = Some(now);
                for pod in 0..PODS {
                    self.all[pod].admission.resync(now);
                    self.settle(pod, now);
                }
                return;
            }
            // Each second ten projects are looked up, some often and most seldom, and one of all in
            // turn.
            ConfirmingEvent::LookUp(pod) => {
                let cubed = self.rng.f64().powi(3);
                for number in 0..PROJECTS {
                    let turn = now.since_start().as_secs() as usize % 50;
                    let is_hot = number < 10 && cubed < 0.9;
                    if (is_hot || number % 50 == turn)
                        && self
                            .since
                            .is_some_and(|since| self.all[pod].held[number].1 < since)
                    {
                        self.all[pod]
                            .admission
                            .unconfirmed(&self.names[number], now);
                    }
                }
                self.plan(now + Duration::from_secs(1), event);
                pod
            }
            ConfirmingEvent::Wake(pod) => {
                if self.all[pod].wakes_at != Some(now) {
                    return;
                }
                self.all[pod].wakes_at = None;
                self.all[pod].admission.tick(now);
                pod
            }
            ConfirmingEvent::Answer(pod, number, asked) => {
                let held = (self.stored[number], asked);
                self.all[pod].held[number] = held;
                let landing = FetchLanding::Held(HeldMark {
                    order: Order::new(1, held.0),
                    validated_at: now,
                });
                self.all[pod]
                    .admission
                    .confirmed(&self.names[number], landing, now);
                pod
            }
        };
        self.settle(pod, now);
    }

    fn settle(&mut self, pod: usize, now: Moment) {
        for action in self.all[pod].admission.take_actions() {
            let Action::Confirm { project, .. } = action else {
                panic!("nothing is rendered or missing: {action:?}");
            };
            let number = self.names.iter().position(|name| *name == project).unwrap();
            self.all[pod].fetches.push(now);
            self.plan(now + FETCH, ConfirmingEvent::Answer(pod, number, now));
        }
        let known = self.all[pod].wakes_at;
        let next = self.all[pod].admission.next_wake();
        if let Some(next) = next.filter(|next| known.is_none_or(|known| *next < known)) {
            self.all[pod].wakes_at = Some(next);
            self.plan(next, ConfirmingEvent::Wake(pod));
        }
    }
}

/// The most fetches in any window of that length.
fn most_within(fetches: &[Moment], window: Duration) -> usize {
    let mut start = 0;
    let counts = fetches.iter().enumerate().map(|(end, at)| {
        while fetches[start] + window <= *at {
            start += 1;
        }
        end - start + 1
    });
    counts.max().unwrap_or(0)
}

#[test]
fn a_renderer_that_restarts_under_many_sidecars_is_asked_about_all_that_is_held_within_the_bound() {
    let mut pods = Pods::new();
    for pod in 0..PODS {
        let first = pods.rng.f64();
        pods.plan(at(first), ConfirmingEvent::LookUp(pod));
    }
    // A tenth of the inputs changes while the renderer is away.
    for number in (0..PROJECTS).step_by(10) {
        pods.stored[number] = 2;
    }
    let (away, back) = AWAY;
    assert!(away < back);
    pods.plan(at(back), ConfirmingEvent::Resync);

    // The most wanted are right within seconds.
    pods.run(at(back + 10.0 + 10.0));
    for pod in &pods.all {
        assert_eq!(pod.held[0].0, 2, "the most wanted");
    }
    let share = RATE / 10.0;
    let all = PROJECTS as f64 / share;
    pods.run(at(back + 10.0 + 50.0 + all));
    let mut everything = Vec::new();
    for (number, pod) in pods.all.iter().enumerate() {
        assert_eq!(pod.admission.left_to_confirm(), 0, "pod {number}");
        let held: Vec<_> = pod.held.iter().map(|(number, _)| *number).collect();
        assert_eq!(held, pods.stored, "pod {number}");
        assert_eq!(pod.fetches.len(), PROJECTS, "each is asked about once");
        for seconds in [1, 10, 60] {
            let most = most_within(&pod.fetches, Duration::from_secs(seconds));
            let bound = 1.0 + share * seconds as f64;
            assert!(most as f64 <= bound, "{most} fetches in {seconds} s");
        }
        everything.extend(&pod.fetches);
    }
    everything.sort_unstable();
    let most = most_within(&everything, Duration::from_secs(1));
    let bound = PODS as f64 * (share + 1.0);
    assert!(
        most as f64 <= bound,
        "{most} fetches of all sidecars in a second"
    );
    let at_once = most_within(&everything, Duration::from_millis(100));
    assert!(
        at_once <= PODS,
        "{at_once} fetches of all sidecars in 0.1 s"
    );
}
