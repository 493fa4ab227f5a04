//! What has to hold of many sidecars and the renderer that they share.

mod confirming;
mod controllers;
mod gone;
mod ledger;
mod oracle;
mod scenarios;
mod setup;
mod verdict;
mod witness;

/// How many sidecars, and how many projects: `EVENKEEL_SIMULATE=1000x200`.
fn size() -> (usize, usize) {
    let set = std::env::var("EVENKEEL_SIMULATE").unwrap_or_else(|_| "100x100".to_owned());
    let (sidecars, projects) = set
        .split_once('x')
        .expect("EVENKEEL_SIMULATE is not like 100x100");
    let number = |text: &str| text.parse().expect("EVENKEEL_SIMULATE is not like 100x100");
    (number(sidecars), number(projects))
}
