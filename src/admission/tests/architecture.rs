//! What `ARCHITECTURE.md` says of admission is so.

use super::*;

const PAGE: &str = include_str!("../../ARCHITECTURE.md");

/// A constant as the page shows it.
trait ShownConstant {
    fn shown(&self) -> String;
}

macro_rules! shown {
    ($($kind:ty),*) => {
        $(impl ShownConstant for $kind {
            fn shown(&self) -> String {
                format!("{self:?}")
            }
        })*
    };
}

shown!(Duration, f64, u32, u64, usize);

impl ShownConstant for Range {
    fn shown(&self) -> String {
        format!("{:?} to {:?}", self.first, self.most)
    }
}

/// The name and the value of every field of every group: a field that is missing here does not
/// compile.
macro_rules! rows {
    ($($group:ident: $kind:ident { $($field:ident),* $(,)? })*) => {{
        let Tuning { $($group),* } = TUNING;
        let mut rows = Vec::new();
        $(
            let $kind { $($field),* } = $group;
            $(rows.push((
                concat!(stringify!($group), ".", stringify!($field)),
                $field.shown(),
            ));)*
        )*
        rows
    }};
}

#[test]
fn the_table_of_constants_is_that_of_the_architecture_page() {
    let rows = rows! {
        interest: InterestTuning { lasts, most, convergence }
        turns: Turns {
            weight_decay, longest_wanted, outdated, probe_candidates, reviewed, swept,
        }
        budget: ShareTuning {
            first_token, missing_start, kept_for_missing, failing, flood_window, flood_share,
            asked_at_once, ask_deadline, ask_horizon, grant_lasts,
        }
        cool_down: CoolDowns { outdated, missing, most_in_a_fault, behind, gone, raised }
        retry: Retries { per_success, saved, floor, attempts, backoff }
        breaker: Breaking { failures, open, ramp, ramp_start, probes }
        hold: HoldTuning { projects, window, most, ramp }
        pace: Pacing { on_pushback, on_failure, epoch, recovery, least, step }
        fault: FaultTuning {
            projects, outcomes, behind_projects, behind_answers, behind_redial, drop_share,
            drop_window, dropped_after, few, few_dropped_after,
        }
        learned: Learning { decrease, lasts, stop, strikes, failures, answered }
        fetch: FetchTuning {
            backoff, failures, fail_after, refused_after, run_forgotten, asked_again, confirming,
            confirm_start, confirm_backoff,
        }
        guess: Guesses { renders, render, retry_after, least_retry_after, reconnect }
    };
    let named = PAGE.lines().filter(|line| {
        line.strip_prefix("| `")
            .and_then(|rest| rest.split_once('.'))
            .is_some_and(|(group, _)| rows.iter().any(|(name, _)| name.starts_with(group)))
    });
    let page: Vec<_> = named
        .filter_map(|line| line.rsplit_once(" | "))
        .map(|(constant, _)| constant.to_owned())
        .collect();
    let ours: Vec<_> = rows
        .iter()
        .map(|(name, value)| format!("| `{name}` | {value}"))
        .collect();
    assert_eq!(page, ours);
}

#[test]
fn the_ladder_is_that_of_the_architecture_page() {
    let gates = Gate::ALL.map(Gate::as_str).join(" ─▶ ");
    assert!(
        PAGE.contains(&format!("wanted ─▶ {gates} ─▶ launch")),
        "{gates}"
    );
}

/// Each gate is shut in turn, from the last to the first: the first that is shut is the one that is
/// told, what is launched is nothing, and every gate is listed.
#[test]
fn the_first_gate_that_is_shut_is_told_and_every_gate_is_listed_without_a_tick() {
    let start = Moment::after_start(Duration::from_secs(100));
    let mut admission = machine_that_misses(0..0, limits(1.0, 1, 4, 10), start);
    let mut now = start;
    let held = Some(HeldMark {
        order: Order::rollout(1),
        validated_at: start,
    });
    // Tokens: the first project takes the only one.
    for project in 0..2 {
        admission.want(&name(project), wish(held, 2, None, now), now);
    }
    let told = |admission: &Admission, project, now| {
        let explained = admission
            .explain(&name(project), now)
            .expect("it is wanted");
        explained.gate
    };
    assert_eq!(told(&admission, 1, now), Some(Gate::Tokens));
    // Time alone opens it, whether anybody ticks or not.
    assert_eq!(told(&admission, 1, now + Duration::from_secs(2)), None);
    admission.set_limits(limits(1.0, 1, 1, 10), now);
    assert_eq!(told(&admission, 1, now), Some(Gate::Concurrency));
    // The project: it is pushed back alone.
    let pushback = |after, scope| {
        Landing::Failed(CallFailure::Exhausted(Pushback {
            after: Some(Duration::from_secs(after)),
            scope,
        }))
    };
    admission.landed(&name(0), pushback(50, PushbackScope::Project), now);
    assert_eq!(told(&admission, 0, now), Some(Gate::Project));
    // The hold, before which the project's own pushback is not asked.
    now = now + Duration::from_secs(10);
    admission.tick(now);
    assert_eq!(launched(&mut admission).len(), 2);
    admission.landed(&name(1), pushback(20, PushbackScope::Global), now);
    assert_eq!(told(&admission, 0, now), Some(Gate::Hold));
    let down = Link::Down {
        retry_at: now + Duration::from_secs(1),
    };
    admission.set_link(down, now);
    assert_eq!(told(&admission, 0, now), Some(Gate::Connection));
    let listed = admission.gates(&name(0), now).expect("it is wanted");
    assert_eq!(listed.map(|(gate, _)| gate), Gate::ALL);
    let shut: Vec<_> = listed
        .iter()
        .filter_map(|(gate, shut)| shut.map(|_| *gate))
        .collect();
    for gate in [Gate::Connection, Gate::Hold, Gate::Project] {
        assert!(shut.contains(&gate), "{shut:?}");
    }
    admission.drain(now);
    assert_eq!(told(&admission, 0, now), Some(Gate::Draining));
}
