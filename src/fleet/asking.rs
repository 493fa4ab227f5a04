//! From what admission asks to the call of `acquire`, and from its answer to words for admission.

use std::time::Duration;

use super::{
    BEAT, FAILED_ASKS, FleetWish, GrantedLease, LEASE, LeaseResult, LostValue, Member, REMEMBERED,
    SILENCE,
};
use crate::{
    admission::{AskId, Class, FleetMode, Lease, Reserved},
    moment::Moment,
    revision::Project,
    store::{
        acquire::{Acquire, AcquireCandidate, Acquired, CandidateAnswer, Urgency},
        beat::LandingEntry,
        head::RawHead,
        value::PREFIX_BYTES,
    },
};

/// How far ahead a render may start for somebody who waits, and for nobody.
const HORIZONS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(500)];
/// When to ask again for a project that another sidecar renders, while somebody waits, and while
/// nobody does.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];
/// By how much an age of the store may differ from what is made of it here.
const VAGUE: Duration = Duration::from_millis(100);
/// How long a value that has landed may take to be read.
const PULL: Duration = Duration::from_secs(1);
/// When to ask again after the store could not answer an ask.
const FAILED: Duration = Duration::from_millis(250);
/// How long a project is left alone whose lease is not of a sidecar's making.
const GARBAGE: Duration = Duration::from_secs(10);

/// An ask that is to be put to the store.
#[derive(Clone, Debug)]
pub struct AskedOf {
    /// The number of the ask.
    pub ask: AskId,
    /// The call.
    pub acquire: Acquire,
    class: Class,
}

/// What admission is told, and what is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetAnswers {
    /// One answer for each candidate.
    pub answers: Vec<Reserved>,
    /// What is to be read.
    pub pulls: Vec<ToRead>,
}

/// A value that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToRead {
    /// Of which project.
    pub project: Project,
    /// The head that says so; none when another sign does.
    pub head: Option<RawHead>,
}

impl Member {
    /// Whether a landing elsewhere was told of a project that has not been read since.
    pub fn has_landed(&mut self, wish: &FleetWish) -> bool {
        if self.shared.rollout < wish.least.rollout {
            self.shared.rollout = wish.least.rollout;
            self.shared.landed.clear();
        }
        self.shared
            .landed
            .remove(&LandingEntry::hash(&wish.project))
    }

    /// What is said of a project whose value is being read.
    pub fn being_read(now: Moment) -> Reserved {
        Reserved::Elsewhere {
            look_again: now + PULL,
        }
    }

    /// The call of an ask; none where the store cannot be asked.
    pub fn ask(
        &self,
        ask: AskId,
        class: Class,
        wishes: &[FleetWish],
        now: Moment,
    ) -> Option<AskedOf> {
        if self.mode != FleetMode::Joined {
            return None;
        }
        let candidates = wishes.iter().map(|wish| AcquireCandidate {
            project: wish.project.clone(),
            least: wish.least,
            oldest: (wish.since > Moment::START).then(|| {
                let age = now.since(wish.since).saturating_sub(VAGUE);
                age.max(Duration::from_millis(1))
            }),
            lost: self
                .shared
                .lost
                .get(&wish.project)
                .and_then(|lost| Some(lost.head.read()?.stamp.order)),
        });
        let acquire = Acquire {
            id: self.options.id.clone(),
            born: self.known.born?,
            tick: self.known.tick,
            urgency: match class {
                Class::Missing => Urgency::Missing,
                Class::Outdated => Urgency::Outdated,
            },
            most: wishes.len() as u64,
            horizon: HORIZONS[class as usize],
            lease: LEASE,
            candidates: candidates.collect(),
        };
        Some(AskedOf {
            ask,
            acquire,
            class,
        })
    }

    /// What admission is told of wishes that the store could not be asked for.
    pub fn unasked(&self, wishes: usize, now: Moment) -> Vec<Reserved> {
        let retry_at = now + FAILED;
        vec![Reserved::Denied { retry_at }; wishes]
    }

    /// The store did not answer an ask.
    pub fn ask_failed(&mut self, asked: &AskedOf, now: Moment) -> Vec<Reserved> {
        self.failed_asks += 1;
        if self.failed_asks == FAILED_ASKS {
            self.lost(now);
            self.next_beat = self.apart_at().max(now) + SILENCE;
        }
        self.unasked(asked.acquire.candidates.len(), now)
    }

    /// Takes the answer to an ask.
    pub fn acquired(&mut self, asked: &AskedOf, acquired: Acquired, now: Moment) -> FleetAnswers {
        self.failed_asks = 0;
        let candidates = &asked.acquire.candidates;
        let (tick, retry, answers) = match acquired {
            Acquired::BeatFirst => {
                self.next_beat = now;
                return FleetAnswers {
                    answers: self.unasked(candidates.len(), now),
                    pulls: Vec::new(),
                };
            }
            Acquired::Wait { tick, retry, .. } => (tick, retry, Vec::new()),
            Acquired::Answered {
                tick,
                retry,
                answers,
                ..
            } => (tick, retry, answers),
        };
        self.learn(asked.acquire.born, tick);
        let retry_at = now + retry.max(self.pause(asked));
        let mut told = FleetAnswers::default();
        let mut answers = answers.into_iter();
        for candidate in candidates {
            let (reserved, result) = match answers.next() {
                None => (Reserved::Denied { retry_at }, LeaseResult::Waits),
                Some(CandidateAnswer::Landed(head)) => {
                    told.pulls.push(ToRead {
                        project: candidate.project.clone(),
                        head: Some(head),
                    });
                    (Self::being_read(now), LeaseResult::Landed)
                }
                Some(answer) => self.reserved(asked.class, &candidate.project, answer, now),
            };
            self.numbers.leases[result as usize] += 1;
            told.answers.push(reserved);
        }
        told
    }

    /// Counts the grants that admission gave up, by all that there were.
    pub fn set_voided(&mut self, voided: u64) {
        self.numbers.leases[LeaseResult::Void as usize] = voided;
    }

    /// The value that a head stands for is gone, or cannot be held: it is rendered anew.
    pub fn note_lost(&mut self, read: &ToRead, prefix: Option<[u8; PREFIX_BYTES]>) {
        let Some(head) = read.head.clone() else {
            return;
        };
        if self.shared.lost.len() >= REMEMBERED {
            self.shared.lost.clear();
        }
        let lost = LostValue { head, prefix };
        self.shared.lost.insert(read.project.clone(), lost);
    }

    fn reserved(
        &mut self,
        class: Class,
        project: &Project,
        answer: CandidateAnswer,
        now: Moment,
    ) -> (Reserved, LeaseResult) {
        match answer {
            CandidateAnswer::Granted {
                starts_in,
                count,
                lease,
            } => {
                self.leased += 1;
                let id = Lease(self.leased);
                let granted = GrantedLease {
                    project: project.clone(),
                    lease,
                    count,
                };
                self.leases.insert(id, granted);
                let reserved = Reserved::Granted {
                    starts_at: now + starts_in,
                    lease: Some(id),
                };
                (reserved, LeaseResult::Granted)
            }
            CandidateAnswer::Landed(_) => (Self::being_read(now), LeaseResult::Landed),
            CandidateAnswer::Elsewhere { ends_in, .. } => {
                let least = Duration::from_millis(50);
                let look_again = now + LOOK_AGAIN[class as usize].min(ends_in.max(least));
                (Reserved::Elsewhere { look_again }, LeaseResult::Elsewhere)
            }
            CandidateAnswer::LeftAlone(marker) => {
                let rest = self
                    .store_time(now)
                    .map_or(BEAT, |store| marker.until.since(store));
                let until = now + rest.max(Duration::from_millis(50));
                (Reserved::LeftAlone { until }, LeaseResult::LeftAlone)
            }
            CandidateAnswer::Garbage => {
                let until = now + GARBAGE;
                (Reserved::LeftAlone { until }, LeaseResult::LeftAlone)
            }
        }
    }

    /// How long to leave the store alone after an ask that no token was left for: the fleet's
    /// tokens are shared by all who ask, and none comes more often than twice for each of its own.
    fn pause(&mut self, asked: &AskedOf) -> Duration {
        let least = Duration::from_millis(10);
        let Some(last) = self
            .last
            .as_ref()
            .filter(|_| asked.class == Class::Outdated)
        else {
            return least;
        };
        let rate = (last.rates.in_force * last.rates.pace).max(1e-6);
        #[expect(clippy::cast_precision_loss, reason = "few")]
        let tokens = asked.acquire.candidates.len() as f64 / rate;
        let turn = 0.5 * tokens * f64::from(self.count());
        let turn = Duration::try_from_secs_f64(turn).unwrap_or(BEAT);
        turn.clamp(least, self.period())
            .mul_f64(0.5 + self.rng.f64())
    }
}
