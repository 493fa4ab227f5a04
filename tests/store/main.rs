//! The scripts of `src/store/scripts` on a real server beside their model in Rust: the same random
//! sequences of calls, flushes, restored copies, lost keys and steps of the clock, and every answer
//! compared.
//!
//! The scripts run as they are. `clock.c`, preloaded into the server, is its time of day: it stands
//! still until the test moves it, so that both sides decide by the same microsecond, and times to
//! live end when they should.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "its modules are tests, and end where a server answers what it never should"
)]

mod resp;
mod sequence;
mod server;

use std::{collections::BTreeMap, env};

use self::{sequence::Sequence, server::Server};

/// How many steps are taken, and by which seed: `EVENKEEL_STORE_STEPS=100000`,
/// `EVENKEEL_STORE_SEED=7`.
fn set(name: &str) -> Option<u64> {
    let set = env::var(name).ok()?;
    Some(
        set.parse()
            .unwrap_or_else(|_| panic!("{name}={set} is no number")),
    )
}

#[test]
fn the_model_and_a_real_server_answer_alike() {
    for program in server::programs() {
        let steps = set("EVENKEEL_STORE_STEPS").unwrap_or(3_000);
        let seed = set("EVENKEEL_STORE_SEED").unwrap_or(15);
        eprintln!("{program}: {steps} steps with seed {seed}");
        let mut sequence = Sequence::new(Server::start(&program), seed);
        for _ in 0..steps {
            sequence.step();
        }
        let reached = sequence.reached();
        eprintln!("{reached:#?}");
        let missed: Vec<_> = missed(reached);
        assert!(missed.is_empty(), "{program}: never reached: {missed:?}");
    }
}

/// The journal's segments take turns, and one that was lost is told of.
#[test]
#[ignore = "takes half a minute: tests/long/store runs it"]
fn the_journal_turns_over_and_breaks_alike() {
    for program in server::programs() {
        let mut sequence = Sequence::new(Server::start(&program), 7);
        sequence.fill_the_journal();
    }
}

/// What has to be seen in a sequence, so that agreement means something.
fn missed(reached: &BTreeMap<&'static str, usize>) -> Vec<&'static str> {
    let must = [
        "beat: born",
        "beat: born again of a copy",
        "beat: born again by a higher tick",
        "beat: landings",
        "beat: cut",
        "beat: absent",
        "beat: slowed",
        "beat: another's claim is lowest",
        "beat: operator's rate",
        "acquire: beat first",
        "acquire: wait",
        "acquire: granted",
        "acquire: granted later",
        "acquire: granted, had failed",
        "acquire: landed",
        "acquire: elsewhere",
        "acquire: left alone",
        "acquire: garbage",
        "land: beat first",
        "land: nothing",
        "land: newer",
        "land: validated",
        "land: older",
        "land: conflict",
        "put: newer",
        "put: validated",
        "put: older",
        "put: conflict",
        "value: read",
        "script: lost",
    ];
    must.into_iter()
        .filter(|name| !reached.contains_key(name))
        .collect()
}
