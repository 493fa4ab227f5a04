//! The constants that the product runs with.

use std::time::Duration;

use super::{
    Breaking, CoolDowns, FaultTuning, FetchTuning, Guesses, HoldTuning, InterestTuning, Learning,
    Pacing, Range, Retries, ShareTuning, Tuning, Turns,
};

impl Tuning {
    /// What the product runs with.
    pub const DEFAULT: Self = Self {
        interest: InterestTuning {
            lasts: Duration::from_secs(600),
            most: Duration::from_secs(86_400),
            convergence: 1.1,
        },
        turns: Turns {
            weight_decay: Duration::from_secs(60),
            longest_wanted: 8,
            outdated: 10,
            probe_candidates: 64,
            reviewed: 64,
            swept: 128,
        },
        budget: ShareTuning {
            first_token: 1.0,
            missing_start: Duration::from_secs(1),
            kept_for_missing: 0.25,
            failing: 0.25,
            flood_window: 20,
            flood_share: 0.2,
            asked_at_once: 8,
            ask_deadline: Duration::from_millis(250),
            ask_horizon: Duration::from_secs(60),
            grant_lasts: Duration::from_millis(100),
        },
        cool_down: CoolDowns {
            outdated: Range::millis(5_000, 300_000),
            missing: Range::millis(500, 15_000),
            most_in_a_fault: Duration::from_secs(60),
            behind: Range::millis(2_000, 30_000),
            gone: Range::millis(30_000, 120_000),
            raised: Duration::from_secs(10),
        },
        retry: Retries {
            per_success: 0.1,
            saved: 5.0,
            floor: Duration::from_secs(300),
            attempts: 3,
            backoff: Range::millis(200, 10_000),
        },
        breaker: Breaking {
            failures: 5,
            open: Range::millis(2_000, 20_000),
            ramp: Duration::from_secs(30),
            ramp_start: 0.1,
            probes: Range::millis(200, 10_000),
        },
        hold: HoldTuning {
            projects: 2,
            window: Duration::from_secs(5),
            most: Duration::from_secs(120),
            ramp: Duration::from_secs(60),
        },
        pace: Pacing {
            on_pushback: 0.7,
            on_failure: 0.85,
            epoch: Duration::from_secs(5),
            recovery: Duration::from_secs(60),
            least: 0.02,
            step: Duration::from_millis(500),
        },
        fault: FaultTuning {
            projects: 5,
            outcomes: 20,
            behind_projects: 3,
            behind_answers: 5,
            behind_redial: Range::millis(5_000, 300_000),
            drop_share: 0.05,
            drop_window: Duration::from_secs(300),
            dropped_after: Duration::from_secs(30),
            few: 20,
            few_dropped_after: Duration::from_secs(300),
        },
        learned: Learning {
            decrease: 0.7,
            lasts: Duration::from_secs(60),
            stop: Range::millis(200, 10_000),
            strikes: 6,
            failures: 3,
            answered: 2,
        },
        fetch: FetchTuning {
            backoff: Range::millis(200, 10_000),
            failures: 3,
            fail_after: Duration::from_secs(3),
            refused_after: Duration::from_secs(30),
            run_forgotten: Duration::from_secs(60),
            asked_again: Duration::from_secs(60),
            confirming: 0.1,
            confirm_start: Duration::from_secs(10),
            confirm_backoff: Range::millis(1_000, 60_000),
        },
        guess: Guesses {
            renders: 32,
            render: Duration::from_secs(1),
            retry_after: Duration::from_secs(60),
            least_retry_after: Duration::from_millis(10),
            reconnect: Duration::from_millis(200),
        },
    };
}
