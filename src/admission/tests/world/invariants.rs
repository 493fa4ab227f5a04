//! What holds in the world of the random sequences, whatever happens.

use super::*;

impl CheckedWorld {
    /// Those who waited are told what `explain` says, but for a failure and an unmet demand, which
    /// are news, and but for permits, tokens and the back-off of a fetch, of which the project has
    /// others once no lookup waits for it.
    pub(in crate::admission::tests) fn check_outcome(&self, project: &Project, outcome: Outcome) {
        let Outcome::Refused(refusal) = outcome else {
            return;
        };
        let explained = self.admission.explain(project, self.now);
        let Some(explained) = explained.filter(|explained| !explained.is_in_flight) else {
            return;
        };
        // It may have been asked for since, or have its turn now that another was sent away.
        let is_asked = self.reserver.is_some()
            && (explained.refusal.reason == NotRefreshed::Throttled
                || refusal.reason == NotRefreshed::Scheduled);
        let is_of_class = matches!(
            refusal.reason,
            NotRefreshed::Throttled
                | NotRefreshed::ConcurrencyLimited
                | NotRefreshed::CoolingDown
                | NotRefreshed::Scheduled
        ) && (is_asked || rank(explained.gate) >= rank(Some(Gate::Queue)));
        assert!(
            explained.refusal.reason == refusal.reason
                || refusal.reason == NotRefreshed::RenderFailed
                || refusal.reason == NotRefreshed::RendererBehind
                || rank(explained.gate) < rank(Some(Gate::Project))
                || refusal.retry_after <= TUNING.guess.least_retry_after
                || is_of_class,
            "told {refusal:?}, and it is {explained:?}"
        );
    }

    pub(in crate::admission::tests) fn check_launch(&self) {
        assert!(!self.is_draining, "nothing is launched while draining");
        assert_eq!(
            self.admission.way.link,
            Link::Up,
            "nothing is launched without a connection"
        );
        let calls = self.flights.len() + self.confirms.len();
        let is_within = |room: NonZeroU32| calls <= room.get() as usize;
        assert!(
            self.room.is_none_or(is_within),
            "more than the connection takes"
        );
    }

    /// Retries are a tenth of the first attempts that succeeded, and one in 5 min.
    pub(in crate::admission::tests) fn check_retries(&mut self, project: &Project) {
        let flight = self.admission.register.entries[project].flight();
        let goes_on = self.refused.remove(project);
        let is_retry = flight.is_some_and(|flight| flight.attempt > 1) && !goes_on;
        self.retries += u32::from(is_retry);
        self.reached.retried += u64::from(is_retry);
        let floor = self.now.since_start().as_secs() / 300 + 1;
        let allowed = 0.1 * f64::from(self.succeeded) + floor as f64;
        assert!(
            f64::from(self.retries) <= allowed + 1e-6,
            "{} retries",
            self.retries
        );
    }

    /// No lower class goes first beyond its share: of ten tokens, nine go to missing projects that
    /// could go, and are no bad probes. While a sweep is under way, some projects have not heard
    /// yet that they could go.
    pub(in crate::admission::tests) fn check_turn(&mut self, project: &Project, class: Class) {
        if class == Class::Missing {
            self.missing_turns += 1;
            return;
        }
        let entries = &self.admission.register.entries;
        let is_probe = entries[project]
            .flight()
            .is_some_and(|flight| flight.probes.breaker || flight.probes.hold);
        let could_go = self.missing_with_permits().any(|missing| {
            let entry = &entries[missing];
            !(is_probe && entry.is_suspect())
        });
        assert!(
            !could_go || self.missing_turns >= 9 || self.admission.register.is_sweeping(),
            "an outdated project overtakes"
        );
        self.missing_turns = 0;
    }

    /// Missing projects for which there is a permit, and no flood of names.
    pub(in crate::admission::tests) fn missing_with_permits(
        &self,
    ) -> impl Iterator<Item = &Project> {
        let (machine, now) = (&self.admission, self.now);
        let rate = machine.budget.rate();
        let is_flooded = machine.budget.flood.holds_until(rate, now).is_some();
        let has_permit = move |is_cooling| {
            let candidate = Candidate {
                is_cooling,
                ..Candidate::next(Stage::Reserve, Class::Missing)
            };
            let shut = machine.ask(Gate::Concurrency, &candidate, now);
            shut.is_none() && !is_flooded
        };
        let missing = machine.register.queues.missing.iter();
        missing.filter(move |project| {
            has_permit(machine.register.entries[*project].cool_down.is_cooling())
        })
    }

    pub(in crate::admission::tests) fn is_unsatisfied(&self, project: &Project) -> bool {
        let entry = &self.admission.register.entries[project];
        let is_unmet = |held: HeldMark| {
            entry
                .demands
                .highest
                .is_some_and(|demand| held.order < demand)
        };
        !self.wanted(project).is_met_by(entry.held) || entry.held.is_some_and(is_unmet)
    }

    /// P2: over every window that ends now, launches ≤ the largest burst in force in it + the
    /// integral of the rate.
    pub(in crate::admission::tests) fn check_budget(&self) {
        for (first, &from) in self.launches.iter().enumerate() {
            let launched = (self.launches.len() - first) as f64;
            let mut allowed = 0.0;
            let mut largest = 0;
            for (index, &(since, limits)) in self.history.iter().enumerate() {
                let ends = self.history.get(index + 1).map_or(self.now, |&(at, _)| at);
                if ends < from {
                    continue;
                }
                allowed += limits.rate * ends.since(since.max(from)).as_secs_f64();
                largest = largest.max(limits.burst.get());
            }
            allowed += f64::from(largest);
            assert!(
                launched <= allowed + 1e-6,
                "{launched} launched since {from:?}, {allowed} allowed"
            );
        }
        let in_flight = self
            .flights
            .iter()
            .filter(|(_, is_fetch, _)| !is_fetch)
            .count();
        let limit = self.admission.limits().concurrency.get() as usize;
        assert!(in_flight <= limit, "{in_flight} in flight, at most {limit}");
    }

    pub(in crate::admission::tests) fn check(&self) {
        let machine = &self.admission;
        assert!(
            machine.next_wake().is_none_or(|at| at > self.now),
            "a wake is due at {:?}: timer {:?}, look {:?}, asks {:?}",
            self.now,
            machine.register.next_timer(),
            machine.looked.next,
            machine.reserve.next_overdue(),
        );
        self.check_counts();
        self.check_valves();
        self.check_priority();
        self.check_reasons();
    }

    pub(in crate::admission::tests) fn check_counts(&self) {
        let machine = &self.admission;
        let renders = self
            .flights
            .iter()
            .filter(|(_, is_fetch, _)| !is_fetch)
            .count();
        assert_eq!(machine.in_flight(), renders);
        let launched = |(_, project): &(Moment, Project)| {
            machine.register.entries[project]
                .flight()
                .map(|flight| flight.since)
        };
        assert_eq!(machine.flights.launched.len(), renders);
        for flying in &machine.flights.launched {
            assert_eq!(launched(flying), Some(flying.0));
        }
        assert_eq!(
            machine.flights.fetches as usize,
            self.flights.len() - renders + self.confirms.len()
        );
        let mut counts = register::ProjectCounts {
            pending: machine.register.counts.pending,
            ..Default::default()
        };
        for (project, entry) in &machine.register.entries {
            let waiting = self
                .waiters
                .iter()
                .filter(|(waited, _)| waited == project)
                .count();
            assert_eq!(
                entry.waiters.0.values().sum::<u32>() as usize,
                waiting,
                "{project}"
            );
            let class = Class::by_held(entry.held.as_ref());
            counts.wanted[class as usize] += usize::from(entry.seat.place.is_wanted());
            let is_below = entry.seat.place.is_wanted() && entry.is_raised();
            counts.below_target += usize::from(is_below);
            counts.failing += usize::from(entry.cool_down.is_failing());
            counts.waited_for += usize::from(entry.seat.counted == register::QueueCount::WaitedFor);
            counts.demoted += usize::from(entry.seat.counted == register::QueueCount::Demoted);
        }
        assert_eq!(machine.register.counts, counts);
        assert!(
            self.waiters
                .iter()
                .all(|(project, _)| machine.register.entries.contains_key(project))
        );
        let largest = self
            .history
            .iter()
            .map(|(_, limits)| limits.queue.get() as usize)
            .max();
        assert!(counts.demoted <= largest.unwrap_or_default());
        let flew = 5 + 2;
        assert!(
            counts.waited_for <= largest.unwrap_or_default() + flew,
            "only what was in flight comes back to a full queue"
        );
    }

    /// No lower class goes first: while a missing project waits that could go, no token lies
    /// unused.
    pub(in crate::admission::tests) fn check_priority(&self) {
        let machine = &self.admission;
        let next = Candidate::next(Stage::Reserve, Class::Missing);
        let failed = Candidate {
            is_cooling: true,
            ..next
        };
        let may_fail = machine.shut(&failed, self.now).is_none();
        let mut waiting = machine.register.queues.missing.iter();
        let could_go = machine.shut(&next, self.now).is_none()
            && waiting.any(|project| {
                may_fail || !machine.register.entries[project].cool_down.is_cooling()
            });
        assert!(
            !could_go,
            "a token and a permit lie unused while a missing project waits"
        );
    }

    /// Whatever is wanted flies or is held back by a gate, and something is going to open that
    /// gate.
    pub(in crate::admission::tests) fn check_reasons(&self) {
        let machine = &self.admission;
        for (project, entry) in &machine.register.entries {
            let Some(explained) = machine.explain(project, self.now) else {
                continue;
            };
            assert_eq!(explained.is_in_flight, entry.flight().is_some());
            assert_eq!(
                explained.gate.is_none(),
                entry.flight().is_some(),
                "{project}: {explained:?} {entry:?} {machine:?}"
            );
            let is_for_ever = machine.way.is_draining
                || machine.way.link != Link::Up
                || machine.limits().rate <= 0.0;
            let is_flying = !self.flights.is_empty() || !self.confirms.is_empty();
            let goes_on = machine.next_wake().is_some() || is_flying;
            assert!(
                goes_on || is_for_ever,
                "{project} is wanted, and nothing happens: {explained:?}"
            );
        }
    }
}
