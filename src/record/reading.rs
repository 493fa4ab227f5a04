//! Reads a record, and refuses what is none: each line has to be one of ours, with values that can
//! have been.

use std::{collections::HashSet, ops::Range, time::Duration};

use serde::Deserialize;

use super::{
    RECORD_SCHEMA, RecordStart,
    format::{FactLine, Got, HeadLine, Nonsense, ProjectNumber, RecordEntry, duration},
};
use crate::{
    admission::{AdmissionFact, FetchLanding},
    moment::Moment,
};

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What held at its start.
    pub start: RecordStart,
    /// How many projects it tells apart: their numbers are below that.
    pub projects: u32,
    /// What admission was told, and when, in that order.
    pub facts: Vec<(Moment, AdmissionFact<u32>)>,
    /// Who was looked up.
    pub interest: Vec<RecordedInterest>,
    /// How many facts and lookups it lacks.
    pub lost: u64,
    /// How it ends.
    pub end: RecordEnd,
}

/// The lookups of a while.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedInterest {
    /// The while.
    pub during: Range<Moment>,
    /// How often each project was looked up.
    pub lookups: Vec<(u32, u32)>,
    /// How many lookups were answered outdated meanwhile.
    pub outdated: u64,
    /// How many failed meanwhile.
    pub failed: u64,
}

/// How a record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEnd {
    /// With its sidecar.
    Whole,
    /// It has as many bytes as it may.
    Full,
    /// In the middle of a line.
    Broken,
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}: {problem}")]
pub struct UnreadableRecord {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// A record of which some lines are read.
struct Reading {
    record: Record,
    hashes: HashSet<String>,
    told_until: Moment,
}

/// As much of a first line as tells whose it is.
#[derive(Deserialize)]
struct OnlySchema {
    schema: String,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// When it is of another version, or a line but the last is none of a record.
    pub fn read(text: &str) -> Result<Self, UnreadableRecord> {
        let at = |line, problem| UnreadableRecord { line, problem };
        let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
        let start = begin(head).map_err(|problem| at(1, problem))?;
        let mut reading = Reading::new(start);
        for (number, line) in (2..).zip(rest.split_inclusive('\n')) {
            match serde_json::from_str::<FactLine>(line) {
                Ok(line) => reading
                    .take(line)
                    .map_err(|Nonsense(problem)| at(number, problem))?,
                Err(_) if !line.ends_with('\n') => reading.record.end = RecordEnd::Broken,
                Err(error) => return Err(at(number, format!("not a line of a record: {error}"))),
            }
        }
        Ok(reading.done())
    }

    /// When the last thing of it was.
    pub fn ends_at(&self) -> Moment {
        let facts = self.facts.last().map(|&(at, _)| at);
        let interest = self.interest.last().map(|interest| interest.during.end);
        facts.max(interest).unwrap_or_default()
    }
}

impl Reading {
    fn new(start: RecordStart) -> Self {
        Self {
            record: Record {
                start,
                projects: 0,
                facts: Vec::new(),
                interest: Vec::new(),
                lost: 0,
                end: RecordEnd::Whole,
            },
            hashes: HashSet::new(),
            told_until: Moment::START,
        }
    }

    fn take(&mut self, FactLine { at, entry }: FactLine) -> Result<(), Nonsense> {
        let now = Moment::after_start(duration(at)?);
        let fact = match entry {
            RecordEntry::Project { number, hash } => return self.new_project(number, hash),
            RecordEntry::Lookups {
                of,
                outdated,
                failed,
            } => return self.looked_up(&of, [outdated, failed], now),
            RecordEntry::Lost(lost) => {
                self.record.lost = self.record.lost.saturating_add(lost);
                return Ok(());
            }
            RecordEntry::Full {} => {
                self.record.end = RecordEnd::Full;
                return Ok(());
            }
            RecordEntry::Limits(limits) => AdmissionFact::Limits(limits.read()?),
            RecordEntry::Target(target) => AdmissionFact::Target(target),
            RecordEntry::Link(link) => AdmissionFact::Link(link.read(now)?),
            RecordEntry::Room(room) => AdmissionFact::Room(room),
            RecordEntry::Changed { project, number } => AdmissionFact::Changed {
                project: self.known(project)?,
                number,
            },
            RecordEntry::GaveUp { project, number } => AdmissionFact::GaveUp {
                project: self.known(project)?,
                number,
            },
            RecordEntry::Rendered {
                project,
                asked,
                took,
                got,
            } => AdmissionFact::Rendered {
                project: self.known(project)?,
                asked,
                landing: got.landing(now)?,
                took: taken(took, now)?,
            },
            RecordEntry::Fetched { project, took, got } => AdmissionFact::Fetched {
                project: self.known(project)?,
                landing: got.fetch_landing(now)?,
                took: taken(took, now)?,
            },
            RecordEntry::Confirmed { project, got } => self.confirmed(project, got, now)?,
        };
        self.record.facts.push((now, fact));
        Ok(())
    }

    fn new_project(&mut self, number: ProjectNumber, hash: String) -> Result<(), Nonsense> {
        if number != self.record.projects || !self.hashes.insert(hash) {
            return Err(Nonsense(format!(
                "project {number} is not the next new one"
            )));
        }
        self.record.projects += 1;
        Ok(())
    }

    fn known(&self, number: ProjectNumber) -> Result<u32, Nonsense> {
        let is_known = number < self.record.projects;
        is_known
            .then_some(number)
            .ok_or_else(|| Nonsense(format!("project {number} was not said before")))
    }

    fn confirmed(
        &self,
        project: ProjectNumber,
        got: Got,
        now: Moment,
    ) -> Result<AdmissionFact<u32>, Nonsense> {
        match got.fetch_landing(now)? {
            FetchLanding::Held(held) => Ok(AdmissionFact::Confirmed {
                project: self.known(project)?,
                held,
            }),
            FetchLanding::Nothing
            | FetchLanding::Failed(_)
            | FetchLanding::Unreachable
            | FetchLanding::Unimplemented => Err(Nonsense(format!("{got:?} confirms nothing"))),
        }
    }

    fn looked_up(
        &mut self,
        of: &[u32],
        [outdated, failed]: [u64; 2],
        now: Moment,
    ) -> Result<(), Nonsense> {
        let (pairs, rest) = of.as_chunks::<2>();
        let lookups: Vec<_> = pairs.iter().map(|&[of, count]| (of, count)).collect();
        let are_fit = lookups
            .iter()
            .all(|&(of, count)| of < self.record.projects && count > 0);
        if !rest.is_empty() || !are_fit {
            return Err(Nonsense("lookups that cannot be".to_owned()));
        }
        if now < self.told_until {
            return Err(Nonsense("lookups from before the last ones".to_owned()));
        }
        let during = self.told_until..now;
        self.told_until = now;
        self.record.interest.push(RecordedInterest {
            during,
            lookups,
            outdated,
            failed,
        });
        Ok(())
    }

    fn done(mut self) -> Record {
        // What was told while lookups were taken out stands behind them.
        self.record.facts.sort_by_key(|&(at, _)| at);
        self.record
    }
}

/// Reads the first line.
fn begin(line: &str) -> Result<RecordStart, String> {
    let no_record = |error: serde_json::Error| format!("not the first line of a record: {error}");
    let OnlySchema { schema } = serde_json::from_str(line).map_err(no_record)?;
    if schema != RECORD_SCHEMA {
        return Err(format!(
            "a record of the schema `{schema}`: this evenkeel reads `{RECORD_SCHEMA}`"
        ));
    }
    let head: HeadLine = serde_json::from_str(line).map_err(no_record)?;
    let read = || {
        Ok(RecordStart {
            target: head.target,
            limits: head.limits.read()?,
            deadline: duration(head.deadline)?,
            patience: duration(head.patience)?,
            cold_patience: duration(head.cold_patience)?,
            max_age: head.max_age.map(duration).transpose()?,
        })
    };
    read().map_err(|Nonsense(problem)| problem)
}

/// How long a call took that landed at a moment.
fn taken(seconds: f64, now: Moment) -> Result<Duration, Nonsense> {
    let took = duration(seconds)?;
    // Both are rounded.
    let is_fit = took <= now.since_start() + Duration::from_millis(1);
    is_fit
        .then_some(took)
        .ok_or_else(|| Nonsense(format!("a call of {seconds} s began before the record")))
}

#[cfg(test)]
mod tests;
